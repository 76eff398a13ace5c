package wire

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func parsed(t *testing.T, head string) *Request {
	t.Helper()
	var r Request
	if _, err := r.Parse([]byte(head), DefaultMaxHead, DefaultMaxLines); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestSubprotocolIsTheClientsFirstThatWeKnow(t *testing.T) {
	known := []string{"centrifuge-json", "superchat", "chat"}
	for _, c := range []struct{ lines, want string }{
		{"Sec-WebSocket-Protocol: chat, superchat\r\n", "chat"},
		{"Sec-WebSocket-Protocol: superchat,chat\r\n", "superchat"},
		{"Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: chat\r\n", "chat"},
		{"Sec-WebSocket-Protocol: other, \t, superchat\r\nSec-WebSocket-Protocol: chat\r\n", "superchat"},
		{"Sec-WebSocket-Protocol: Chat\r\n", ""},
		{"Sec-WebSocket-Protocol: chatx, xchat, cha\r\n", ""},
		{"Sec-WebSocket-Protocol:\r\n", ""},
		{"", ""},
	} {
		r := parsed(t, swap("Sec-WebSocket-Protocol: chat, superchat\r\n", c.lines))
		if got := r.Subprotocol(known); got != c.want {
			t.Errorf("%q: got %q, want %q", c.lines, got, c.want)
		}
		if got := r.Subprotocol(nil); got != "" {
			t.Errorf("%q: got %q of none", c.lines, got)
		}
	}
}

func TestQueryValues(t *testing.T) {
	for _, c := range []struct {
		query, name, want string
		ok                bool
	}{
		{"room=a", "room", "a", true},
		{"room=a%20b", "room", "a b", true},
		{"room=a+b", "room", "a b", true},
		{"room=%F0%9f%98%80", "room", "😀", true},
		{"x=1&room=b&room=c", "room", "b", true},
		{"r%6fom=d", "room", "d", true},
		{"room", "room", "", true},
		{"room=", "room", "", true},
		{"room=a=b", "room", "a=b", true},
		{"&&room=a&", "room", "a", true},
		{"room=a;b", "room", "a;b", true},
		{"rooms=a", "room", "", false},
		{"roo=a", "room", "", false},
		{"Room=a", "room", "", false},
		{"room=%2", "room", "", false},
		{"room=%zz", "room", "", false},
		{"%zz=a&room=b", "room", "b", true},
		{"", "room", "", false},
	} {
		r := parsed(t, swap("room=a%20b&x=1", c.query))
		if got, ok := r.QueryValue(c.name); got != c.want || ok != c.ok {
			t.Errorf("%q: got %q %v, want %q %v", c.query, got, ok, c.want, c.ok)
		}
	}
	if _, ok := parsed(t, swap("?room=a%20b&x=1", "")).QueryValue("room"); ok {
		t.Error("value found without a query")
	}
}

func TestSwitchingIsTheAnswerOfTheStandard(t *testing.T) {
	key := []byte("dGhlIHNhbXBsZSBub25jZQ==")
	want := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nX: y\r\n\r\n"
	if got := string(AppendSwitching(nil, key, "chat", "X: y\r\n")); got != want {
		t.Errorf("got %q, want %q (RFC 6455, 1.3)", got, want)
	}
	plain := string(AppendSwitching([]byte("kept"), key, "", ""))
	if !strings.HasPrefix(plain, "keptHTTP/1.1 101 ") || strings.Contains(plain, "Protocol:") || !strings.HasSuffix(plain, "xOo=\r\n\r\n") {
		t.Errorf("got %q", plain)
	}
}

// Refusals are read back by net/http, the strictest reader at hand.
func TestRefusalsAreWholeResponses(t *testing.T) {
	for _, c := range []struct {
		status        int
		extra         string
		header, value string
	}{
		{400, "", "Content-Length", "12"},
		{403, "X-Why: origin\r\n", "X-Why", "origin"},
		{405, "", "Allow", "GET"},
		{426, "", "Sec-Websocket-Version", "13"},
		{426, "", "Upgrade", "websocket"},
		{429, "", "Retry-After", "5"},
		{431, "", "Content-Type", "text/plain; charset=utf-8"},
		{503, "", "Retry-After", "5"},
		{503, "Retry-After: 1\r\n", "Retry-After", "1"},
		{505, "", "X-Content-Type-Options", "nosniff"},
	} {
		in := bufio.NewReader(bytes.NewReader(AppendRefusal(nil, c.status, "some reason", c.extra)))
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%d: %v", c.status, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "some reason\n" || in.Buffered() != 0 {
			t.Errorf("%d: body %q, err %v, %d bytes behind", c.status, body, err, in.Buffered())
		}
		if res.StatusCode != c.status || res.Header.Get(c.header) != c.value || len(res.Header[c.header]) != 1 {
			t.Errorf("%d: status %d, %s %q", c.status, res.StatusCode, c.header, res.Header[c.header])
		}
		if !res.Close {
			t.Errorf("%d: does not announce to close", c.status)
		}
	}
}

func TestStatusTextsAreThoseOfNetHTTP(t *testing.T) {
	for status := 400; status < 600; status++ {
		got := statusText(status)
		if got == "Refused" || status == 413 || status == 414 { // net/http keeps the names of RFC 2616 for these
			continue
		}
		if want := http.StatusText(status); got != want {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
	}
}

func TestHandshakeErrorsHaveAStatusText(t *testing.T) {
	for _, v := range handshakeVectors {
		if e, ok := v.want.(*HandshakeError); ok && (statusText(e.Status) == "Refused" || e.Error() == "") {
			t.Errorf("%s: status %d has no text", v.meaning, e.Status)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	for _, v := range handshakeVectors {
		if len(v.head) < 4096 {
			f.Add([]byte(v.head), uint16(len(v.head)/2))
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, at uint16) {
		const maxBytes, maxLines = 2048, 20
		input := bytes.Clone(p)
		var r, early Request
		n, err := r.Parse(p, maxBytes, maxLines)
		if !bytes.Equal(input, p) {
			t.Fatal("input changed")
		}
		cut := min(int(at), len(p))
		earlyN, earlyErr := early.Parse(p[:cut], maxBytes, maxLines)
		if earlyErr != ErrIncomplete && (earlyErr != err || earlyN != n) {
			t.Fatalf("cut at %d: %d %v, whole: %d %v", cut, earlyN, earlyErr, n, err)
		}
		if err != nil {
			if e, ok := err.(*HandshakeError); err != ErrIncomplete && (!ok || e.Status < 400) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if n > maxBytes || r.NumHeaders() > maxLines || !bytes.HasSuffix(p[:n], []byte("\r\n\r\n")) {
			t.Fatalf("limits passed: %d bytes, %d lines", n, r.NumHeaders())
		}
		if earlyErr == nil && cut < n {
			t.Fatalf("%d bytes taken as whole, the head has %d", cut, n)
		}
		r.Subprotocol([]string{"chat"})
		r.QueryValue("room")
		if r.CheckUpgrade() == nil {
			wantLikeNetHTTP(t, &r, p[:n])
		}
	})
}

// wantLikeNetHTTP holds an accepted upgrade against net/http: whatever we let
// pass, it must read in the same way, or the two could be played off against
// each other.
func wantLikeNetHTTP(t *testing.T, r *Request, head []byte) {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		t.Fatalf("net/http refuses what we accept: %v\n%q", err, head)
	}
	if req.Method != string(r.Method) || req.RequestURI != string(r.Target) || req.Host != string(r.Host) {
		t.Fatalf("net/http reads %q %q %q, we %q %q %q", req.Method, req.RequestURI, req.Host, r.Method, r.Target, r.Host)
	}
	if req.Header.Get("Sec-WebSocket-Key") != string(r.Key) || req.Header.Get("Origin") != string(r.Origin) || req.ContentLength != 0 {
		t.Fatalf("key %q, origin %q, length %d", req.Header.Get("Sec-WebSocket-Key"), req.Header.Get("Origin"), req.ContentLength)
	}
	if nonce, err := base64.StdEncoding.DecodeString(string(r.Key)); err != nil || len(nonce) != 16 {
		t.Fatalf("key %q accepted", r.Key)
	}
	want, err := url.ParseQuery(string(r.RawQuery))
	if err != nil {
		return // semicolons, which net/url refuses and we read as text
	}
	got, ok := r.QueryValue("room")
	if ok != want.Has("room") || got != want.Get("room") {
		t.Fatalf("query %q: got %q %v, net/url %q", r.RawQuery, got, ok, want["room"])
	}
}
