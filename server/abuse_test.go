package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"throng/server/wire"
)

// unharmed runs abuse beside a client that chats all the while: it must be served throughout, by the same connection,
// and when the abuse is over the node must hold nothing but it. Whatever peers do wrong is no line in the log.
func unharmed(t *testing.T, n *testNode, abuse func()) {
	t.Helper()
	good := n.enter("/livechat?room=good")
	over, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- good.talkUntil(over, n.id) }()
	abuse()
	close(over)
	if err := <-ended; err != nil {
		t.Errorf("the good client was harmed: %v", err)
	}
	await(t, "only the good client is left", func() bool {
		_, body := get(n.admin + "/metrics")
		return sample(t, body, `throng_ws_connections{state="open"}`) == 1 &&
			sample(t, body, `throng_ws_connections{state="handshaking"}`) == 0 &&
			sample(t, body, `throng_ws_connections{state="http"}`) == 0
	})
	good.leave()
	if log := n.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log holds the mistakes of peers:\n%s", log)
	}
}

// talkUntil says things to itself until over, and once more after that.
func (c *client) talkUntil(over chan struct{}, id string) error {
	for last, i := false, 0; !last; i++ {
		select {
		case <-over:
			last = true
		default:
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		text := fmt.Sprintf("talk %d", i)
		if _, err := c.Write(wire.AppendMaskedFrame(nil, wire.OpText, true, []byte(text), clientMask)); err != nil {
			return err
		}
		op, p, err := c.frame()
		if err != nil || op != wire.OpText || string(p) != id+":"+text {
			return fmt.Errorf("want %q, got %v %q, %w", text, op, p, err)
		}
	}
	return nil
}

// answersTo sends raw bytes and returns everything that comes back.
func answersTo(t *testing.T, addr, request string) string {
	t.Helper()
	c := dialRaw(t, addr)
	if _, err := io.WriteString(c, request); err != nil {
		t.Logf("write: %v", err) // cut while sending: what was answered counts
	}
	all, err := io.ReadAll(c.r)
	if err != nil && isTimeout(err) {
		t.Errorf("not closed after %.100q", request)
	}
	c.Close()
	return string(all)
}

func TestBadHandshakesGetTheirStatus(t *testing.T) {
	n := startTestNode(t, "1111")
	good := upgradeHead(n.addr, "/", "")
	with := func(replace ...string) string { return strings.NewReplacer(replace...).Replace(good) }
	host := "Host: " + n.addr + "\r\n"
	bad := []struct {
		name, request string
		status        int
		result        string // as /metrics names it
	}{
		{"head of 17 KiB", with(host, host+"X: "+strings.Repeat("x", 17<<10)+"\r\n"), 431, "bad_request"},
		{"endless header line", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), 431, "bad_request"},
		{"101 header lines", with(host, host+strings.Repeat("X: y\r\n", 101)), 431, "bad_request"},
		{"endless request line", "GET /" + strings.Repeat("x", 64<<10), 414, "bad_request"},
		{"no Host (N5)", with(host, ""), 400, "bad_request"},
		{"two Hosts (N5)", with(host, host+host), 400, "bad_request"},
		{"HTTP/1.0 (N5)", with("HTTP/1.1", "HTTP/1.0"), 400, "bad_request"},
		{"HTTP/9.9 (N5)", with("HTTP/1.1", "HTTP/9.9"), 505, "bad_request"},
		{"space before the colon (N5)", with("Upgrade:", "Upgrade :"), 400, "bad_request"},
		{"NUL in a header (N5)", with(host, host+"X: a\x00b\r\n"), 400, "bad_request"},
		{"wrong version (N5)", with("Version: 13", "Version: 8"), 426, "bad_request"},
		{"no version", with("Sec-WebSocket-Version: 13\r\n", ""), 426, "bad_request"},
		{"bad key", with("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, "bad_request"},
		{"POST", with("GET /", "POST /"), 405, "bad_request"},
		{"bare line feeds", with("\r\n", "\n"), 400, "bad_request"},
		{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"},
		{"foreign origin (S3)", with(host, host+"Origin: http://evil.example\r\n"), 403, "origin"},
		{"null origin (S3)", with(host, host+"Origin: null\r\n"), 403, "origin"},
		{"unknown path", with("GET / ", "GET /nothing "), 404, "refused"},
	}
	counted := map[string]float64{}
	unharmed(t, n, func() {
		for _, b := range bad {
			answer := answersTo(t, n.addr, b.request)
			if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", b.status)) || strings.Count(answer, "HTTP/1.1 ") != 1 ||
				!strings.Contains(answer, "Connection: close") {
				t.Errorf("%s: want one answer with status %d, got %q", b.name, b.status, answer)
			}
			if b.status == 426 && !strings.Contains(answer, "Sec-WebSocket-Version: 13\r\n") {
				t.Errorf("%s: no version in %q", b.name, answer)
			}
			counted[b.result]++
		}
	})
	for result, want := range counted {
		if got := n.metric(`throng_ws_handshakes_total{result="` + result + `"}`); got != want {
			t.Errorf("%s: %v counted, want %v", result, got, want)
		}
	}
}

func TestOriginsThatMayConnect(t *testing.T) { // S3
	n := startTestNode(t, "1111", "--allowed-origins=https://ok.example,http://other.example:8080")
	_, port, _ := net.SplitHostPort(n.addr)
	for origin, want := range map[string]int{
		"http://" + n.addr: 101, "https://" + n.addr: 101, "HTTP://" + n.addr: 101, "https://ok.example": 101, "https://OK.example": 101, "http://other.example:8080": 101,
		"http://ok.example": 403, "https://ok.example:444": 403, "https://ok.example.evil": 403, "https://evil.ok.example": 403, "https://okXexample": 403,
		"https://evil/ok.example": 403, "https://ok.example@evil": 403, "null": 403, "http://127.0.0.1": 403, "http://127.0.0.1:1" + port: 403,
		"http://" + n.addr + ".evil": 403, "http://evil#" + n.addr: 403, "file://": 403, "http://": 403, "https://evil?" + n.addr: 403, " ": 101, "%": 403,
	} {
		c := dialRaw(t, n.addr)
		c.write(upgradeHead(n.addr, "/", "Origin: "+origin+"\r\n"))
		if answer, err := http.ReadResponse(c.r, nil); err != nil || answer.StatusCode != want {
			t.Errorf("%q: got %v, %v, want %d", origin, answer, err, want)
		}
		c.Close()
	}
}

func TestBrokenFramesGetTheirCloseCode(t *testing.T) {
	n := startTestNode(t, "1111")
	frame := func(op wire.Opcode, fin bool, p string) string {
		return string(wire.AppendMaskedFrame(nil, op, fin, []byte(p), clientMask))
	}
	const key = "\x00\x00\x00\x00"
	bad := []struct {
		name, in string
		code     wire.CloseCode
	}{
		{"unmasked (N2)", "\x81\x01x", wire.CloseProtocolError},
		{"RSV1 (N3)", "\xc1\x80" + key, wire.CloseProtocolError},
		{"RSV2", "\xa1\x80" + key, wire.CloseProtocolError},
		{"RSV1 on an empty ping (N10)", "\xc9\x80" + key, wire.CloseProtocolError},
		{"stray continuation (N4)", frame(wire.OpContinuation, true, "x"), wire.CloseProtocolError},
		{"message inside a message", frame(wire.OpText, false, "x") + frame(wire.OpText, true, "y"), wire.CloseProtocolError},
		{"reserved opcode 3", frame(3, true, ""), wire.CloseProtocolError},
		{"reserved opcode 11", frame(11, true, ""), wire.CloseProtocolError},
		{"ping in pieces", frame(wire.OpPing, false, "x"), wire.CloseProtocolError},
		{"ping of 126 bytes", "\x89\xfe\x00\x7e" + key, wire.CloseProtocolError},
		{"length not minimal", "\x82\xfe\x00\x01" + key + "x", wire.CloseProtocolError},
		{"length of 2^63", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" + key, wire.CloseProtocolError},
		{"length of 2^62", "\x82\xff\x40\x00\x00\x00\x00\x00\x00\x00" + key, wire.CloseTooBig},
		{"one byte over the limit", frame(wire.OpBinary, true, strings.Repeat("x", 65537)), wire.CloseTooBig},
		{"over the limit in pieces", frame(wire.OpBinary, false, strings.Repeat("x", 40000)) + frame(wire.OpContinuation, true, strings.Repeat("x", 40000)), wire.CloseTooBig},
		{"invalid UTF-8", frame(wire.OpText, true, "a\xffb"), wire.CloseInvalidPayload},
		{"surrogate in UTF-8", frame(wire.OpText, true, "\xed\xa0\x80"), wire.CloseInvalidPayload},
		{"UTF-8 cut off", frame(wire.OpText, true, "\xf0\x9f\x98"), wire.CloseInvalidPayload},
		{"invalid UTF-8 in the first piece", frame(wire.OpText, false, "\xc0\xaf"), wire.CloseInvalidPayload},
		{"close code 1005", frame(wire.OpClose, true, "\x03\xed"), wire.CloseProtocolError},
		{"close code 1015 (N13)", frame(wire.OpClose, true, "\x03\xf7"), wire.CloseProtocolError},
		{"close body of one byte", frame(wire.OpClose, true, "\x03"), wire.CloseProtocolError},
		{"close reason not UTF-8", frame(wire.OpClose, true, "\x03\xe8\xff"), wire.CloseInvalidPayload},
		{"a request for another page (S16)", "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n", wire.CloseProtocolError},
	}
	counted := map[wire.CloseCode]float64{}
	unharmed(t, n, func() {
		for _, b := range bad {
			// In the good client's room, which must hear nothing of it.
			c := dial(t, n.addr, "/livechat?room=good")
			c.write(b.in)
			if code, err := c.closeCode(); err != nil || code != b.code {
				t.Errorf("%s: got %d, %v, want %d", b.name, code, err, b.code)
			}
			c.wantEnd()
			c.Close()
			counted[b.code]++
		}
	})
	for code, want := range counted {
		if got := n.metric(`throng_ws_closes_total{code="` + code.String() + `",side="server"}`); got != want {
			t.Errorf("%v: %v counted, want %v", code, got, want)
		}
	}
	if panics := n.metric("throng_ws_panics_total"); panics != 0 {
		t.Errorf("%v panics", panics)
	}
}

// crowd runs one misbehaving client 200 times at once.
func crowd(misbehave func(i int) error) (errs []error) {
	const members = 200
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range members {
		wg.Go(func() {
			if err := misbehave(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("client %d: %w", i, err))
			}
		})
	}
	wg.Wait()
	return errs
}

func TestSilentAndSlowClientsAreEnded(t *testing.T) {
	t.Parallel() // N6, S5, S6
	n := startTestNode(t, "1111", "--handshake-timeout=2s", "--close-timeout=500ms", "--http-header-timeout=1s", "--http-idle-timeout=1s")
	kinds := []func(net.Conn) error{silent, halfHead, slowHead, goneMidway}
	unharmed(t, n, func() {
		for _, err := range crowd(func(i int) error {
			nc, err := net.Dial("tcp", n.addr)
			if err != nil {
				return err
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(patience))
			return kinds[i%len(kinds)](nc)
		}) {
			t.Error(err)
		}
		// The same behind a first request, where net/http has the connection.
		for _, second := range []string{"", "GET / HTTP/1.1\r\nHost: x\r\n"} {
			c := dialRaw(t, n.addr)
			c.write("GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n" + second)
			answer := c.wantStatus(200)
			_, _ = io.Copy(io.Discard, answer.Body)
			c.wantEnd()
		}
	})
	if got := n.metric(`throng_ws_handshakes_total{result="timeout"}`); got != 150 {
		t.Errorf("%v time-outs counted, want 150", got)
	}
}

func silent(nc net.Conn) error { return want408(nc) }

func halfHead(nc net.Conn) error {
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: webs"); err != nil {
		return err
	}
	return want408(nc)
}

// slowHead sends a byte at a time, which must not extend its time.
func slowHead(nc net.Conn) error {
	answered := make(chan error, 1)
	go func() { answered <- want408(nc) }()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nX: ")
	for {
		select {
		case err := <-answered:
			return err
		case <-pace.C:
			_, _ = io.WriteString(nc, "x")
		}
	}
}

// goneMidway leaves before its head is complete.
func goneMidway(nc net.Conn) error {
	_, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n")
	return err
}

func want408(nc net.Conn) error {
	const want = "HTTP/1.1 408 "
	answer := make([]byte, len(want))
	if _, err := io.ReadFull(nc, answer); err != nil || string(answer) != want {
		return fmt.Errorf("got %q, %w, want %q", answer, err, want)
	}
	if _, err := io.Copy(io.Discard, nc); err != nil && isTimeout(err) {
		return err
	}
	return nil
}
