package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const testChatPath = "/chat"

var (
	defaultHandler = sync.OnceValue(func() http.Handler { return Handler(Config{ChatPath: testChatPath}) })
	defaultSite    = sync.OnceValue(func() *site { return newSite(Config{ChatPath: testChatPath}.withDefaults()) })
)

// get asks the handler as a client would; headers are name, value pairs.
func get(t *testing.T, method, path string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	defaultHandler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everyPath is each path the site serves.
func everyPath() []string {
	s := defaultSite()
	var paths []string
	for path := range s.root {
		paths = append(paths, path)
	}
	for name := range s.assets {
		paths = append(paths, assetPrefix+name, assetPrefix+s.version+"/"+name)
	}
	return paths
}

func TestEveryDocumentIsServedWithItsTypeAndLength(t *testing.T) {
	types := map[string]string{
		"/":                     "text/html; charset=utf-8",
		"/chat":                 "text/html; charset=utf-8",
		"/robots.txt":           "text/plain; charset=utf-8",
		"/favicon.ico":          "image/x-icon",
		"/apple-touch-icon.png": "image/png",
		"/assets/main.js":       "text/javascript; charset=utf-8",
		"/assets/chat.css":      "text/css; charset=utf-8",
		"/assets/icon.svg":      "image/svg+xml; charset=utf-8",
	}
	for path, want := range types {
		if got := get(t, "GET", path).Header.Get("Content-Type"); got != want {
			t.Errorf("%s has the type %q, want %q", path, got, want)
		}
	}
	for _, path := range everyPath() {
		r := get(t, "GET", path)
		b := body(t, r)
		if r.StatusCode != 200 || len(b) == 0 || r.ContentLength != int64(len(b)) {
			t.Errorf("%s: status %d, %d bytes, Content-Length %d", path, r.StatusCode, len(b), r.ContentLength)
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	answers := map[string]*http.Response{
		"404": get(t, "GET", "/nowhere"),
		"405": get(t, "POST", "/"),
		"304": get(t, "GET", "/", "If-None-Match", "*"),
	}
	for _, path := range everyPath() {
		answers[path] = get(t, "GET", path)
	}
	for name, r := range answers {
		h := r.Header
		if got := h.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options is %q", name, got)
		}
		if got := h.Get("Referrer-Policy"); got != "no-referrer" {
			t.Errorf("%s: Referrer-Policy is %q", name, got)
		}
		if got := h.Get("Permissions-Policy"); !strings.Contains(got, "camera=()") {
			t.Errorf("%s: Permissions-Policy is %q", name, got)
		}
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
			"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy+";", want+";") {
				t.Errorf("%s: the policy %q lacks %q", name, policy, want)
			}
		}
		for _, bad := range []string{"unsafe", "data:", "blob:", "*", "http:", "https:"} {
			if strings.Contains(policy, bad) {
				t.Errorf("%s: the policy %q allows %q", name, policy, bad)
			}
		}
	}
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	for _, path := range append(everyPath(), "/nowhere") {
		for _, encoding := range []string{"", "gzip"} {
			g, h := get(t, "GET", path, "Accept-Encoding", encoding), get(t, "HEAD", path, "Accept-Encoding", encoding)
			if n := len(body(t, h)); n != 0 {
				t.Errorf("HEAD %s has %d bytes of body", path, n)
			}
			if g.StatusCode != h.StatusCode || !reflect.DeepEqual(g.Header, h.Header) {
				t.Errorf("HEAD %s answers %d %v, GET %d %v", path, h.StatusCode, h.Header, g.StatusCode, g.Header)
			}
		}
	}
}

func TestOtherMethodsAndPathsAreRefused(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		r := get(t, method, "/assets/main.js")
		if r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: status %d, Allow %q", method, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	for _, path := range []string{"/nowhere", "/index.html", "/404.html", "/assets", "/assets/", "/assets/main.js/",
		"/assets/../index.html", "/static/index.html", "/assets/0123456789abcdef", "/assets/0123456789abcdef/",
		"/assets/0123456789abcdeg/main.js", "/assets/x/main.js", "//", "/metrics", "/livez", "/debug/pprof/"} {
		r := get(t, "GET", path)
		b := body(t, r)
		if r.StatusCode != 404 || len(b) > 1024 || r.Header.Get("ETag") != "" {
			t.Errorf("%s: status %d, %d bytes, ETag %q", path, r.StatusCode, len(b), r.Header.Get("ETag"))
		}
	}
}

func TestCacheLifetimeFollowsThePath(t *testing.T) {
	version := defaultSite().version
	for path, want := range map[string]string{
		"/":                                  "no-cache",
		"/chat":                              "no-cache",
		"/nowhere":                           "no-cache",
		"/favicon.ico":                       "public, max-age=3600",
		"/assets/main.js":                    "public, max-age=3600",
		"/assets/" + version + "/main.js":    "public, max-age=31536000, immutable",
		"/assets/0123456789abcdef/main.js":   "no-cache", // another build's: served, never kept
		"/assets/" + version + "/nowhere.js": "no-cache",
	} {
		if got := get(t, "GET", path).Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control is %q, want %q", path, got, want)
		}
	}
	short := newSite(Config{AssetMaxAge: time.Minute}.withDefaults())
	if _, got, _ := short.lookup("/assets/main.js"); got != "public, max-age=60" {
		t.Errorf("AssetMaxAge of a minute gives %q", got)
	}
}

func TestKnownTagGives304(t *testing.T) {
	for _, path := range everyPath() {
		for _, encoding := range []string{"identity", "gzip"} {
			first := get(t, "GET", path, "Accept-Encoding", encoding)
			tag := first.Header.Get("ETag")
			for _, known := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
				r := get(t, "GET", path, "Accept-Encoding", encoding, "If-None-Match", known)
				checkNotModified(t, path, first, r)
			}
			if r := get(t, "GET", path, "Accept-Encoding", encoding, "If-None-Match", `"other"`); r.StatusCode != 200 {
				t.Errorf("%s with another tag: status %d", path, r.StatusCode)
			}
		}
	}
}

// checkNotModified compares a 304 with the 200 it stands for (RFC 9110, 15.4.5).
func checkNotModified(t *testing.T, path string, first, r *http.Response) {
	t.Helper()
	if r.StatusCode != 304 || len(body(t, r)) != 0 {
		t.Errorf("%s with a known tag: status %d", path, r.StatusCode)
	}
	for _, name := range []string{"ETag", "Cache-Control", "Vary"} {
		if r.Header.Get(name) != first.Header.Get(name) {
			t.Errorf("%s: 304 has %s %q, 200 has %q", path, name, r.Header.Get(name), first.Header.Get(name))
		}
	}
	if got := r.Header.Get("Content-Length") + r.Header.Get("Content-Encoding"); got != "" {
		t.Errorf("%s: 304 describes a body: %q", path, got)
	}
}

func TestTagsAreStrongAndNameTheBytes(t *testing.T) {
	strong := regexp.MustCompile(`^"[0-9a-f]{24}(-gzip)?"$`)
	bytesOf := make(map[string][]byte)
	for _, path := range everyPath() {
		for _, encoding := range []string{"identity", "gzip"} {
			r := get(t, "GET", path, "Accept-Encoding", encoding)
			tag, b := r.Header.Get("ETag"), body(t, r)
			if !strong.MatchString(tag) {
				t.Errorf("%s has the tag %q", path, tag)
			}
			if known, ok := bytesOf[tag]; ok && !bytes.Equal(known, b) {
				t.Errorf("the tag %s names two different bodies", tag)
			}
			bytesOf[tag] = b
		}
	}
}

func TestCompressedBodyIsTheSameDocument(t *testing.T) {
	compressed := 0
	for _, path := range everyPath() {
		plain, zipped := get(t, "GET", path), get(t, "GET", path, "Accept-Encoding", "gzip, deflate, br")
		want, got := body(t, plain), body(t, zipped)
		if plain.Header.Get("Vary") != zipped.Header.Get("Vary") {
			t.Errorf("%s: Vary is %q plain and %q compressed", path, plain.Header.Get("Vary"), zipped.Header.Get("Vary"))
		}
		if zipped.Header.Get("Content-Encoding") != "gzip" {
			continue
		}
		compressed++
		if len(got) >= len(want) || zipped.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %d bytes of %d, Vary %q", path, len(got), len(want), zipped.Header.Get("Vary"))
		}
		r, err := gzip.NewReader(bytes.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: decompressed it differs (%v)", path, err)
		}
	}
	if compressed == 0 {
		t.Error("nothing was compressed")
	}
}

func TestVersionFollowsTheAssets(t *testing.T) {
	a, b := defaultSite(), newSite(Config{DefaultRoom: "x"}.withDefaults())
	if a.version != b.version || len(a.version) != versionLen {
		t.Errorf("versions %q and %q of the same assets", a.version, b.version)
	}
}

func TestConfigReachesThePageEscaped(t *testing.T) {
	w := httptest.NewRecorder()
	cfg := Config{SocketPath: "/chat", DefaultRoom: `"><script>`, MaxRoomBytes: 7, MaxMessageBytes: 99}
	Handler(cfg).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	page := w.Body.String()
	for _, want := range []string{`data-socket-path="/chat"`, `data-max-room-bytes="7"`, `data-max-message-bytes="99"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, `"><script>`) {
		t.Error("a room name is markup")
	}
}

func TestChatWithRoomsIsThereOnlyWhereItIsSwitchedOn(t *testing.T) {
	w := httptest.NewRecorder()
	off := Handler(Config{})
	off.ServeHTTP(w, httptest.NewRequest("GET", testChatPath, nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("switched off, the page answers %d", w.Code)
	}
	w = httptest.NewRecorder()
	off.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if strings.Contains(w.Body.String(), `href="/chat"`) {
		t.Error("switched off, it is still linked to")
	}
	if !strings.Contains(string(body(t, get(t, "GET", "/"))), `href="/chat"`) {
		t.Error("switched on, it is not linked to")
	}
}

func TestEveryEmbeddedFileIsServed(t *testing.T) {
	s := defaultSite()
	served := map[string]bool{"index.html": true, "chat.html": true, "404.html": true}
	for path := range s.root {
		served[strings.TrimPrefix(path, "/")] = true
	}
	for name := range s.assets {
		served["assets/"+name] = true
	}
	err := fs.WalkDir(staticFiles, "static", func(path string, d fs.DirEntry, err error) error {
		if name := strings.TrimPrefix(path, "static/"); err == nil && !d.IsDir() && !served[name] {
			t.Errorf("%s is embedded but has no path", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
