package webtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Page is one tab. Its verbs are for the goroutine of the test.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// Open loads url in a tab of a new person: storage is empty and shared with no other person's tabs. The tab closes with t.
func (b *Browser) Open(t testing.TB, url string) *Page {
	t.Helper()
	return open(t, b.ctx, url, chromedp.WithNewBrowserContext())
}

// OpenTab loads url in a further tab of the same person.
func (p *Page) OpenTab(url string) *Page {
	p.t.Helper()
	return open(p.t, p.ctx, url)
}

func open(t testing.TB, parent context.Context, url string, options ...chromedp.ContextOption) *Page {
	t.Helper()
	p := &Page{t: t}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(p.listen))...)
	p.ctx = ctx
	t.Cleanup(cancel)
	p.Do("opening a tab")
	// Every tab counts as the one in front, so that none is throttled.
	call(p, "focusing the tab", emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	p.Do("loading "+url, chromedp.Navigate(url))
	return p
}

// listen gathers what the page has no business saying. It runs on chromedp's reader and must not call the page.
func (p *Page) listen(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.note("exception: " + e.ExceptionDetails.Text + " " + describe(e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if kind := string(e.Type); kind == "error" || kind == "warning" || kind == "assert" {
			text := "console." + kind + ":"
			for _, arg := range e.Args {
				text += " " + describe(arg)
			}
			p.note(text)
		}
	case *log.EventEntryAdded:
		if level := string(e.Entry.Level); level == "error" || level == "warning" {
			p.note(fmt.Sprintf("%s: %s %s", level, e.Entry.Text, e.Entry.URL))
		}
	}
}

func describe(o *runtime.RemoteObject) string {
	switch {
	case o == nil:
		return ""
	case o.Description != "":
		return o.Description
	default:
		return string(o.Value)
	}
}

func (p *Page) note(problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, problem)
}

// Problems returns what the console of the page holds so far: exceptions, errors, warnings, blocked by policy. A
// connection that is refused is an error there too.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.problems)
}

// Do runs actions; why says in a failure what they were for.
func (p *Page) Do(why string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	// The first run on a context starts its tab, which would end with a context that has a deadline.
	ctx := p.ctx
	if c := chromedp.FromContext(ctx); c != nil && c.Target != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(p.ctx, verbTimeout)
		defer cancel()
	}
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.fail(why, err)
	}
}

// call sends one command of the protocol to the tab.
func call[P, R any](p *Page, why string, command cdp.Command[P, R], params P) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, verbTimeout)
	defer cancel()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		p.fail(why, err)
	}
}

// quote spells a string as JavaScript.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // no string fails
	}
	return string(text)
}

// Eval evaluates a JavaScript expression in the page and returns its value.
func Eval[T any](p *Page, js string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, verbTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		p.fail("evaluating "+js, err)
	}
	return value
}

// Wait waits until a JavaScript expression is true. It is evaluated after each change of the document, so it must speak
// of the document.
func (p *Page) Wait(why, js string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, verbTimeout)
	defer cancel()
	watch := fmt.Sprintf(`new Promise((resolve) => {
		const check = () => {
			if (!(%s)) return;
			observer.disconnect();
			resolve(true);
		};
		const observer = new MutationObserver(check);
		observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
		check();
	})`, js)
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](watch, chromedp.EvalAwaitPromise)); err != nil {
		p.fail("waiting: "+why, err)
	}
}

// View sets the size of the view in CSS pixels and the colour scheme, light or dark; mobile makes it a phone with touch.
func (p *Page) View(width, height int64, scheme string, mobile bool) {
	p.t.Helper()
	scale := 1.0
	if mobile {
		scale = 2
	}
	call(p, "setting the view", emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: scale, Mobile: mobile,
	})
	call(p, "setting touch", emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: mobile})
	call(p, "setting the scheme", emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// Network sets what the browser tells the page about the network: navigator.onLine and its events. Requests go on.
func (p *Page) Network(up bool) {
	p.t.Helper()
	call(p, "switching the network", network.OverrideNetworkState, network.OverrideNetworkStateParams{
		Offline: !up, DownloadThroughput: -1, UploadThroughput: -1,
	})
}

// Reload loads the page again.
func (p *Page) Reload() {
	p.t.Helper()
	p.Do("reloading", chromedp.Reload())
}

// Screenshot writes what the tab shows as a PNG.
func (p *Page) Screenshot(path string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, verbTimeout)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.fail("taking a screenshot", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// fail ends the test with what can be known about the page.
func (p *Page) fail(why string, err error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, verbTimeout)
	defer cancel()
	const state = `({ url: location.href, data: { ...document.documentElement.dataset }, text: document.body.innerText })`
	shown, evalErr := chromedp.Run(ctx, chromedp.Evaluate[json.RawMessage](state))
	if evalErr != nil {
		shown = fmt.Appendf(nil, "unknown (%v)", evalErr)
	}
	p.t.Fatalf("%s: %v\npage: %s\nconsole: %q", why, err, shown, p.Problems())
}
