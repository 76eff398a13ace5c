// Package webtest drives Throng's pages in a headless Chromium, for tests: a Browser is one Chromium process, a Page one
// tab with verbs in the words of the chat (Say, WaitState, WaitHeard).
//
// It is test support only: nothing in the server imports it. It does not start nodes and judges nothing but what a verb
// says it waits for; every verb fails the test itself, with what the page showed.
//
// Goroutines: chromedp's, all ended when the test that started the Browser ends.
// Ownership: Start owns the process and its profile folder, a new empty one, and removes both at the end of the test.
// Chromium is driven over a pipe, so nothing listens, and it can reach 127.0.0.1 and localhost only.
//
// Source: Chrome DevTools Protocol, through github.com/chromedp/chromedp.
package webtest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	// verbTimeout bounds one verb. It is far above what a page takes: it turns a hang into a failure, and on a machine
	// shared with other test runs it must not turn slowness into one.
	verbTimeout = 30 * time.Second

	// closeTimeout bounds the orderly end of Chromium; after it the process is killed.
	closeTimeout = 15 * time.Second
)

// chromiumNames is where a Chromium may be found, in order of preference.
var chromiumNames = []string{"/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// flags make Chromium headless, quiet and local. The resolver rule makes every name but this machine's unknown, so a page
// that wants anything from elsewhere fails its test.
var flags = map[string]any{
	"headless":                      true,
	"no-sandbox":                    true, // the sandbox needs privileges that CI containers do not give
	"disable-gpu":                   true,
	"disable-quic":                  true,
	"no-first-run":                  true,
	"disable-background-networking": true,
	"disable-component-update":      true,
	"disable-sync":                  true,
	"disable-dev-shm-usage":         true, // /dev/shm is 64 MB in a container
	"hide-scrollbars":               true,
	"force-color-profile":           "srgb",
	"host-resolver-rules":           "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
}

// Browser is one Chromium process.
type Browser struct {
	ctx context.Context
}

// Start runs a Chromium that ends with t. Without a Chromium on this machine it skips t, or fails it where CI=true says
// that the machine ought to have one.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := findChromium()
	if path == "" {
		const missing = "no Chromium found; install the package chromium to run the browser tests"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path)}
	for name, value := range flags {
		options = append(options, chromedp.Flag(name, value))
	}
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancelBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closing, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		if err := chromedp.Cancel(closing); err != nil {
			t.Logf("closing Chromium: %v", err)
		}
		cancelBrowser()
		cancelAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return &Browser{ctx: ctx}
}

func findChromium() string {
	for _, name := range chromiumNames {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
