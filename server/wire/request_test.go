package wire

import (
	"bytes"
	"strings"
	"testing"
)

// upgradeHead is the handshake of RFC 6455, 1.2, as a browser sends it.
const upgradeHead = "GET /chat?room=a%20b&x=1 HTTP/1.1\r\n" +
	"Host: server.example.com\r\n" +
	"Connection: keep-alive, Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: http://example.com\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: de,en;q=0.9\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"Sec-WebSocket-Protocol: chat, superchat\r\n\r\n"

// swap returns the handshake with one piece exchanged.
func swap(old, new string) string {
	if !strings.Contains(upgradeHead, old) {
		panic("no such piece: " + old)
	}
	return strings.Replace(upgradeHead, old, new, 1)
}

// with returns the handshake with further header lines.
func with(lines string) string { return swap("Pragma: no-cache\r\n", lines) }

const (
	hostLine    = "Host: server.example.com\r\n"
	keyLine     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	versionLine = "Sec-WebSocket-Version: 13\r\n"
	firstLine   = "GET /chat?room=a%20b&x=1 HTTP/1.1\r\n"
)

// handshakeVectors are heads and their fate: the rows of reliability.md N5, N6,
// S7, S16, RFC 6455, 4.2.1, and RFC 9112.
var handshakeVectors = []struct {
	meaning string
	head    string
	want    error // of Parse, else of CheckUpgrade
	rfc     string
}{
	{"browser's handshake", upgradeHead, nil, "6455 4.1"},
	{"smallest handshake", "GET / HTTP/1.1\r\nHost:a\r\nUpgrade:websocket\r\nConnection:upgrade\r\n" + keyLine + versionLine + "\r\n", nil, "6455 4.1"},

	// Host.
	{"no Host", swap(hostLine, ""), ErrNoHost, "9112 3.2"},
	{"two Hosts", with(hostLine), ErrManyHosts, "9112 3.2"},
	{"two Hosts, other case", with("hOST: other\r\n"), ErrManyHosts, "9112 3.2"},
	{"empty Host", swap(hostLine, "Host: \r\n"), ErrUpgradeHost, "6455 4.2.1"},
	{"Hosts joined by a proxy", swap(hostLine, "Host: a, b\r\n"), ErrBadHost, "9112 3.2"},
	{"Host with path", swap(hostLine, "Host: a/b\r\n"), ErrBadHost, "9112 3.2"},
	{"Host with user", swap(hostLine, "Host: u@b\r\n"), ErrBadHost, "9110 4.2.4"},
	{"Host with a space", swap(hostLine, "Host: a b\r\n"), ErrBadHost, "9112 3.2"},
	{"Host with UTF-8", swap(hostLine, "Host: b\u00fccher.example\r\n"), ErrBadHost, "9112 3.2"},
	{"Host percent-encoded", swap(hostLine, "Host: a%00\r\n"), ErrBadHost, "3986 3.2.2"},
	{"Host with two ports", swap(hostLine, "Host: a:1:2\r\n"), ErrBadHost, "3986 3.2.3"},
	{"Host with a named port", swap(hostLine, "Host: a:http\r\n"), ErrBadHost, "3986 3.2.3"},
	{"Host of a port alone", swap(hostLine, "Host: :80\r\n"), ErrBadHost, "3986 3.2.2"},
	{"Host with half a bracket", swap(hostLine, "Host: [::1\r\n"), ErrBadHost, "3986 3.2.2"},
	{"Host with empty brackets", swap(hostLine, "Host: []\r\n"), ErrBadHost, "3986 3.2.2"},
	{"Host with junk behind brackets", swap(hostLine, "Host: [::1]a\r\n"), ErrBadHost, "3986 3.2.2"},
	{"Host with an empty port", swap(hostLine, "Host: a_b.example:\r\n"), nil, "3986 3.2.3"},
	{"Host IPv6 and port", swap(hostLine, "Host: [::1]:8080\r\n"), nil, "3986 3.2.2"},

	// Request line.
	{"HTTP/1.0", swap("HTTP/1.1", "HTTP/1.0"), ErrUpgradeHTTP10, "6455 4.2.1"},
	{"HTTP/1.2 is 1.1 to us", swap("HTTP/1.1", "HTTP/1.2"), nil, "9110 2.5"},
	{"HTTP/9.9", swap("HTTP/1.1", "HTTP/9.9"), ErrHTTPVersion, "9110 15.6.6"},
	{"HTTP/0.9", swap("HTTP/1.1", "HTTP/0.9"), ErrHTTPVersion, "9110 15.6.6"},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ErrHTTPVersion, "9113 3.4"},
	{"HTTP/1.11", swap("HTTP/1.1", "HTTP/1.11"), ErrBadProto, "9112 2.3"},
	{"http/1.1 in lower case", swap("HTTP/1.1", "http/1.1"), ErrBadProto, "9112 2.3"},
	{"no version (HTTP/0.9 line)", swap(firstLine, "GET /\r\n"), ErrBadTarget, "9112 3"},
	{"two spaces before the version", swap(" HTTP/1.1", "  HTTP/1.1"), ErrBadTarget, "9112 3"},
	{"space behind the version", swap("HTTP/1.1\r", "HTTP/1.1 \r"), ErrBadProto, "9112 3"},
	{"space inside the target", swap("/chat", "/ch at"), ErrBadTarget, "9112 3.2"},
	{"tab as separator", swap("GET /chat", "GET\t/chat"), ErrBadMethod, "9112 3"},
	{"empty line first", "\r\n" + upgradeHead, ErrBadMethod, "9112 2.2"},
	{"space first", " " + upgradeHead, ErrBadMethod, "9112 3"},
	{"empty target", swap("/chat?room=a%20b&x=1", ""), ErrBadTarget, "9112 3.2"},
	{"NUL in the target", swap("/chat", "/ch\x00at"), ErrBadTarget, "9112 3.2"},
	{"raw UTF-8 in the target", swap("/chat", "/\u00fc"), ErrBadTarget, "9112 3.2"},
	{"fragment in the target", swap("x=1", "x=1#f"), ErrBadTarget, "6455 3"},
	{"asterisk", swap("/chat?room=a%20b&x=1", "*"), ErrBadTarget, "9112 3.2.4"},
	{"target without slash", swap("/chat", "chat"), ErrBadTarget, "9112 3.2"},
	{"broken percent-encoding", swap("a%20b", "a%2"), ErrPercent, "3986 2.1"},
	{"broken percent-encoding in the path", swap("/chat", "/%zz"), ErrPercent, "3986 2.1"},
	{"absolute target", swap("/chat", "http://server.example.com/chat"), nil, "9112 3.2.2"},
	{"absolute https target without path", swap("/chat", "https://server.example.com"), nil, "9112 3.2.2"},
	{"absolute target with user", swap("/chat", "http://u@server.example.com/chat"), ErrBadTarget, "9110 4.2.4"},
	{"absolute target of another scheme", swap("/chat", "ftp://server.example.com/chat"), ErrBadTarget, "6455 4.2.1"},
	{"absolute target, host percent-encoded", swap("/chat", "http://0%00/chat"), ErrBadTarget, "3986 3.2.2"},
	{"CONNECT to no host", "CONNECT /chat HTTP/1.1\r\nHost: a\r\n\r\n", ErrBadTarget, "9112 3.2.3"},
	{"absolute target without host", swap("/chat", "http:///chat"), ErrBadTarget, "9112 3.2.2"},
	{"TLS hello on the plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ErrBadMethod, "9112 3"},
	{"POST", swap("GET ", "POST "), ErrMethod, "6455 4.2.1"},
	{"HEAD", swap("GET ", "HEAD "), ErrMethod, "6455 4.2.1"},
	{"get in lower case", swap("GET ", "get "), ErrMethod, "9110 9.1"},

	// Lines.
	{"bare LF behind the request line", swap("HTTP/1.1\r\n", "HTTP/1.1\n"), ErrBareLF, "9112 2.2"},
	{"bare LF behind a header", swap(hostLine, "Host: a\n"), ErrBareLF, "9112 2.2"},
	{"bare LF at the end", swap("superchat\r\n\r\n", "superchat\r\n\n"), ErrBareLF, "9112 2.2"},
	{"CR without LF in a value", with("X: a\rb\r\n"), ErrBadHeaderValue, "9112 2.2"},
	{"CR CR LF", with("X: a\r\r\n"), ErrBadHeaderValue, "9112 2.2"},
	{"CR without LF in the request line", swap("/chat", "/ch\rat"), ErrBadTarget, "9112 2.2"},
	{"folded line", with("X: a\r\n b\r\n"), ErrObsFold, "9112 5.2"},
	{"folded line with tab", with("X: a\r\n\tb\r\n"), ErrObsFold, "9112 5.2"},
	{"space before the first header", swap(hostLine, " "+hostLine), ErrObsFold, "9112 2.2"},
	{"space before the colon", swap("Upgrade: w", "Upgrade : w"), ErrBadHeaderName, "9112 5.1"},
	{"tab before the colon", swap("Upgrade: w", "Upgrade\t: w"), ErrBadHeaderName, "9112 5.1"},
	{"no colon", with("X\r\n"), ErrBadHeaderName, "9112 5"},
	{"empty name", with(": a\r\n"), ErrBadHeaderName, "9112 5"},
	{"NUL in a name", with("X\x00: a\r\n"), ErrBadHeaderName, "9110 5.1"},
	{"NUL in a value", with("X: a\x00b\r\n"), ErrBadHeaderValue, "9110 5.5"},
	{"ESC in a value", with("X: a\x1bb\r\n"), ErrBadHeaderValue, "9110 5.5"},
	{"DEL in a value", with("X: a\x7fb\r\n"), ErrBadHeaderValue, "9110 5.5"},
	{"tab and high bytes in a value", with("X: a\tb\xff\r\n"), nil, "9110 5.5"},
	{"brackets in a name", with("X[]: a\r\n"), ErrBadHeaderName, "9110 5.6.2"},
	{"huge header line", with("X: " + rep("a", 2<<20) + "\r\n"), ErrHeadTooBig, "6585 5"},
	{"huge request line", swap("/chat", "/"+rep("a", 1<<20)), ErrTargetTooLong, "9112 3"},
	{"100 lines", with(rep("X: a\r\n", 100-12)), nil, "6585 5"},
	{"101 lines", with(rep("X: a\r\n", 101-12)), ErrTooManyLines, "6585 5"},

	// Upgrade and Connection.
	{"no Upgrade", swap("Upgrade: websocket\r\n", ""), ErrNoUpgrade, "6455 4.2.1"},
	{"other Upgrade", swap("websocket\r", "h2c\r"), ErrNoUpgrade, "6455 4.2.1"},
	{"Upgrade in capitals", swap("websocket\r", "WebSocket\r"), nil, "6455 4.2.1"},
	{"Upgrade in a list", swap("websocket\r", "h2c, ,\twebsocket \r"), nil, "9110 7.8"},
	{"Upgrade over two lines", with("Upgrade: h2c\r\n"), nil, "9110 5.3"},
	{"Upgrade: websocketx", swap("websocket\r", "websocketx\r"), ErrNoUpgrade, "6455 4.2.1"},
	{"Upgrade: xwebsocket", swap("websocket\r", "x websocket\r"), ErrNoUpgrade, "6455 4.2.1"},
	{"Upgrade with the Kelvin sign", swap("websocket\r", "websoc\u212aet\r"), ErrNoUpgrade, "6455 4.2.1"},
	{"no Connection", swap("Connection: keep-alive, Upgrade\r\n", ""), ErrNoConnection, "6455 4.2.1"},
	{"Connection: keep-alive", swap("keep-alive, Upgrade", "keep-alive"), ErrNoConnection, "6455 4.2.1"},
	{"Connection in a list, any case", swap("keep-alive, Upgrade", "foo,,uPGRADE ,bar"), nil, "6455 4.2.1"},
	{"Connection over two lines", swap("Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"), nil, "9110 5.3"},

	// Version and key.
	{"version 8", swap("Version: 13", "Version: 8"), ErrVersion, "6455 4.4"},
	{"version 14", swap("Version: 13", "Version: 14"), ErrVersion, "6455 4.4"},
	{"version 013", swap("Version: 13", "Version: 013"), ErrVersion, "6455 4.3"},
	{"version list", swap("Version: 13", "Version: 13, 8"), ErrVersion, "6455 4.4"},
	{"no version", swap(versionLine, ""), ErrVersion, "6455 4.2.1"},
	{"empty version", swap("Version: 13", "Version: "), ErrVersion, "6455 4.2.1"},
	{"two versions", with(versionLine), ErrManyVersions, "6455 11.3.5"},
	{"version with white space around", swap("Version: 13", "Version: \t 13 \t"), nil, "9110 5.5"},
	{"no key", swap(keyLine, ""), ErrKey, "6455 4.2.1"},
	{"empty key", swap(keyLine, "Sec-WebSocket-Key:\r\n"), ErrKey, "6455 4.2.1"},
	{"two keys", with(keyLine), ErrManyKeys, "6455 11.3.1"},
	{"key of 15 bytes", swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), ErrKey, "6455 4.2.1"},
	{"key of 17 bytes", swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWU="), ErrKey, "6455 4.2.1"},
	{"key of 18 bytes", swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWVl"), ErrKey, "6455 4.2.1"},
	{"key without padding", swap("ZQ==\r", "ZQ\r"), ErrKey, "6455 4.2.1"},
	{"key with junk", swap("dGhlIHNh", "dGhl!HNh"), ErrKey, "6455 4.2.1"},
	{"key with a space", swap("dGhlIHNh", "dGhl HNh"), ErrKey, "6455 4.2.1"},
	{"key of RFC 6455, 4.1, with loose last bits", swap("dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC=="), nil, "6455 4.1"},

	// Bodies and smuggling.
	{"Content-Length 5", with("Content-Length: 5\r\n"), ErrUpgradeBody, "9110 7.8"},
	{"Content-Length 0", with("Content-Length: 0\r\n"), nil, "9110 8.6"},
	{"Content-Length 0 twice", with("Content-Length: 0\r\nContent-Length: 0\r\n"), ErrUpgradeBody, "9112 6.3"},
	{"Content-Length +0", with("Content-Length: +0\r\n"), ErrUpgradeBody, "9110 8.6"},
	{"chunked", with("Transfer-Encoding: chunked\r\n"), ErrUpgradeBody, "9112 6.1"},
	{"identity", with("Transfer-Encoding: identity\r\n"), ErrUpgradeBody, "9112 6.1"},
	{"both", with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), ErrBodyFraming, "9112 6.1"},
	{"chunked behind a space", with("Transfer-Encoding : chunked\r\n"), ErrBadHeaderName, "9112 5.1"},
	{"two Origins", with("Origin: http://evil.example\r\n"), ErrManyOrigins, "6454 7.3"},
}

// judge parses and checks a head as the server does.
func judge(r *Request, p []byte) (int, error) {
	n, err := r.Parse(p, DefaultMaxHead, DefaultMaxLines)
	if err != nil {
		return 0, err
	}
	return n, r.CheckUpgrade()
}

func TestHandshakeVectors(t *testing.T) {
	var r Request
	for _, v := range handshakeVectors {
		n, err := judge(&r, []byte(v.head))
		if err != v.want {
			t.Errorf("%s (RFC %s): got %v, want %v", v.meaning, v.rfc, err, v.want)
		}
		if err == nil && n != len(v.head) {
			t.Errorf("%s: took %d of %d bytes", v.meaning, n, len(v.head))
		}
	}
}

// Wherever the network cuts, the head is incomplete until it is whole or wrong,
// and a wrong one is always wrong in the same way.
func TestHandshakeCutAtEveryPointGivesTheSame(t *testing.T) {
	var r Request
	for _, v := range handshakeVectors {
		p := []byte(v.head)
		whole, wholeErr := r.Parse(p, DefaultMaxHead, DefaultMaxLines)
		for cut := range min(len(p), DefaultMaxHead+10) {
			if cut > 2000 && cut < DefaultMaxHead-10 {
				continue
			}
			n, err := r.Parse(p[:cut], DefaultMaxHead, DefaultMaxLines)
			if err != ErrIncomplete && (err != wholeErr || n != whole) {
				t.Fatalf("%s cut at %d: got %d, %v; whole %d, %v", v.meaning, cut, n, err, whole, wholeErr)
			}
			if err == nil && cut < whole {
				t.Fatalf("%s cut at %d: taken as whole", v.meaning, cut)
			}
		}
	}
}

func TestNoiseIsRefusedByItsFirstByte(t *testing.T) {
	var r Request
	for _, noise := range []string{"\x16", "\x00", "\n", "\r", " ", "{", "\xff"} {
		if _, err := r.Parse([]byte(noise), DefaultMaxHead, DefaultMaxLines); err != ErrBadMethod {
			t.Errorf("%q: got %v", noise, err)
		}
	}
}

func TestParseGivesTheParts(t *testing.T) {
	var r Request
	p := upgradeHead + "\x81\x80\x00\x00\x00\x00"
	n, err := r.Parse([]byte(p), DefaultMaxHead, DefaultMaxLines)
	if err != nil || n != len(upgradeHead) {
		t.Fatalf("got %d, %v", n, err)
	}
	for _, c := range []struct {
		name      string
		got, want string
	}{
		{"method", string(r.Method), "GET"},
		{"target", string(r.Target), "/chat?room=a%20b&x=1"},
		{"path", string(r.Path), "/chat"},
		{"query", string(r.RawQuery), "room=a%20b&x=1"},
		{"host", string(r.Host), "server.example.com"},
		{"origin", string(r.Origin), "http://example.com"},
		{"key", string(r.Key), "dGhlIHNhbXBsZSBub25jZQ=="},
		{"header", string(r.Header("accept-LANGUAGE")), "de,en;q=0.9"},
		{"first header", firstHeader(&r), "Host=server.example.com"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
	if r.Minor != 1 || r.NumHeaders() != 13 || r.Header("X-None") != nil {
		t.Errorf("minor %d, %d lines, absent header %q", r.Minor, r.NumHeaders(), r.Header("X-None"))
	}
}

func firstHeader(r *Request) string {
	name, value := r.HeaderAt(0)
	return string(name) + "=" + string(value)
}

func TestTargetsComeApart(t *testing.T) {
	for _, c := range []struct{ line, path, query, host string }{
		{"GET / HTTP/1.1", "/", "<nil>", "h"},
		{"GET /? HTTP/1.1", "/", "", "h"},
		{"GET /a?b?c HTTP/1.1", "/a", "b?c", "h"},
		{"GET //a HTTP/1.1", "//a", "<nil>", "h"},
		{"GET http://o:1 HTTP/1.1", "/", "<nil>", "o:1"},
		{"GET HTTP://o?q HTTP/1.1", "/", "q", "o"},
		{"GET https://o/a/b?q HTTP/1.1", "/a/b", "q", "o"},
		{"OPTIONS * HTTP/1.1", "*", "<nil>", "h"},
		{"CONNECT o:443 HTTP/1.1", "o:443", "<nil>", "h"},
	} {
		var r Request
		if _, err := r.Parse([]byte(c.line+"\r\nHost: h\r\n\r\n"), DefaultMaxHead, DefaultMaxLines); err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		query := string(r.RawQuery)
		if r.RawQuery == nil {
			query = "<nil>"
		}
		if string(r.Path) != c.path || query != c.query || string(r.Host) != c.host {
			t.Errorf("%s: got path %q, query %q, host %q", c.line, r.Path, query, r.Host)
		}
	}
}

// What is no upgrade must pass, for net/http to serve.
func TestPlainHTTPPassesTheParser(t *testing.T) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n", // what a balancer's health check sends
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
		"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n",
	} {
		var r Request
		n, err := r.Parse([]byte(head), DefaultMaxHead, DefaultMaxLines)
		if err != nil || n != len(head) || r.IsUpgrade() {
			t.Errorf("%q: n %d, err %v, upgrade %v", head, n, err, r.IsUpgrade())
		}
	}
}

func TestHeadLimitIsExact(t *testing.T) {
	var r Request
	n := len(upgradeHead)
	follow := []byte(upgradeHead + "frames")
	if got, err := r.Parse(follow, n, DefaultMaxLines); err != nil || got != n {
		t.Errorf("head of exactly the limit: got %d, %v", got, err)
	}
	if _, err := r.Parse(follow, n-1, DefaultMaxLines); err != ErrHeadTooBig {
		t.Errorf("head one over the limit: got %v", err)
	}
	if _, err := r.Parse(follow[:n-2], n-1, DefaultMaxLines); err != ErrIncomplete {
		t.Errorf("room left: got %v", err)
	}
}

func TestResetDropsWhatWasParsed(t *testing.T) {
	var r Request
	if _, err := judge(&r, []byte(upgradeHead)); err != nil {
		t.Fatal(err)
	}
	r.Reset()
	if r.head != nil || r.Method != nil || r.Key != nil || r.Host != nil || r.NumHeaders() != 0 || r.IsUpgrade() {
		t.Error("something is left after Reset")
	}
	if cap(r.lines) == 0 {
		t.Error("the memory for lines is gone, which pooling is for")
	}
	if _, err := r.Parse([]byte("GET / HTTP/1.0\r\n\r\n"), DefaultMaxHead, DefaultMaxLines); err != nil || r.Host != nil || r.Origin != nil {
		t.Errorf("the next request sees the last one's: host %q, err %v", r.Host, err)
	}
}

func TestParseLeavesItsInputAlone(t *testing.T) {
	p := []byte(upgradeHead)
	var r Request
	if _, err := judge(&r, p); err != nil || !bytes.Equal(p, []byte(upgradeHead)) {
		t.Error("input changed")
	}
}
