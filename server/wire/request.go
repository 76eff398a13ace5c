package wire

import (
	"bytes"
	"errors"
)

// Defaults for Request.Parse, from reliability.md, N6 and S7.
const (
	DefaultMaxHead  = 16 << 10 // bytes of a request head: generous for cookies and tokens, poor for an attacker
	DefaultMaxLines = 100      // header lines: what net/http and proxies send is below 40
)

// ErrIncomplete tells that the request head does not end within the bytes given:
// read more and parse all of it again.
var ErrIncomplete = errors.New("wire: request head incomplete")

// HandshakeError says why a request is refused and with which HTTP status. The
// values are sentinels: compare them with == or errors.Is, never change them.
type HandshakeError struct {
	Status int    // HTTP status for AppendRefusal
	Reason string // short constant text, fit for the body and for a metric label
}

// Error returns the reason.
func (e *HandshakeError) Error() string { return "wire: handshake: " + e.Reason }

// What Request.Parse can refuse.
var (
	ErrBadMethod      = &HandshakeError{400, "malformed method"}
	ErrBadTarget      = &HandshakeError{400, "malformed request target"}
	ErrBadProto       = &HandshakeError{400, "malformed HTTP version"}
	ErrHTTPVersion    = &HandshakeError{505, "HTTP version not supported"}
	ErrBareLF         = &HandshakeError{400, "line ends without CR"}
	ErrObsFold        = &HandshakeError{400, "folded header line"}
	ErrBadHeaderName  = &HandshakeError{400, "malformed header name"}
	ErrBadHeaderValue = &HandshakeError{400, "control byte in header value"}
	ErrNoHost         = &HandshakeError{400, "no Host"}
	ErrManyHosts      = &HandshakeError{400, "more than one Host"}
	ErrBadHost        = &HandshakeError{400, "malformed Host"}
	ErrBodyFraming    = &HandshakeError{400, "both Content-Length and Transfer-Encoding"}
	ErrTargetTooLong  = &HandshakeError{414, "request line too long"}
	ErrHeadTooBig     = &HandshakeError{431, "request head too big"}
	ErrTooManyLines   = &HandshakeError{431, "too many header lines"}
)

// span is a piece of the head, without a pointer for the garbage collector.
type span struct{ start, end uint32 }

// headerLine is one header line: where its name and its trimmed value are.
type headerLine struct{ name, value span }

// Request is the head of one HTTP/1.x request. Its byte fields alias what Parse
// was given and hold until the next Parse or Reset. A Request is meant to be
// pooled: it keeps the memory for its header lines. One goroutine at a time.
type Request struct {
	Method   []byte
	Target   []byte // as sent
	Path     []byte // of the target, still percent-encoded; "/" when an absolute target has none
	RawQuery []byte // behind the first '?', without it; nil when there is none
	Host     []byte // of an absolute target, else of the Host line (RFC 9112, 3.2.2); nil in HTTP/1.0 without Host
	Origin   []byte // first Origin line; nil when absent, as native clients leave it
	Key      []byte // first Sec-WebSocket-Key
	Minor    int    // HTTP/1.Minor

	head      []byte
	lines     []headerLine
	authority []byte // of an absolute target
	seen      [numNames]uint8
}

// Reset drops every reference into parsed bytes and keeps the memory for header
// lines, so that a pooled Request pins no read buffer.
func (r *Request) Reset() { *r = Request{lines: r.lines[:0]} }

// Parse reads a request head from the beginning of p: request line, header
// lines, blank line. n is the number of its bytes; what follows is the first
// bytes of the WebSocket stream, or a body.
//
// It is strict, because what two parsers read differently is what smuggling is
// made of: lines end in CRLF, no folding, no space before a colon, no control
// byte, exactly one Host in HTTP/1.1, HTTP/1.0 or 1.1 and nothing else, and
// never Content-Length together with Transfer-Encoding. It does not ask for an
// upgrade: plain HTTP passes, for net/http to serve.
//
// maxBytes bounds the head, maxLines its header lines. p is borrowed and
// unchanged; r aliases it. Given more of the same stream, an error stays the
// same error; ErrIncomplete asks for more. A head that arrives byte by byte is
// parsed anew for each, at most maxBytes times maxBytes in all.
//
// Errors: ErrIncomplete, or a *HandshakeError with status 400, 414, 431 or 505.
// Allocates only when a Request sees more header lines than ever before.
// RFC 9112, 2 to 6.
func (r *Request) Parse(p []byte, maxBytes, maxLines int) (n int, err error) {
	r.Reset()
	full := len(p) >= maxBytes
	if full {
		p = p[:maxBytes]
	}
	r.head = p
	n, err = r.requestLine(p)
	if err == ErrIncomplete && full {
		return 0, ErrTargetTooLong
	}
	if err != nil {
		return 0, err
	}
	n, err = r.headerLines(n, maxLines)
	if err == ErrIncomplete && full {
		return 0, ErrHeadTooBig
	}
	if err == nil {
		err = r.checkHead()
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// requestLine reads the first line and returns the offset behind it. The method
// is judged before the line is complete, so that a TLS hello or other noise is
// refused by its first byte (RFC 9112, 3).
func (r *Request) requestLine(p []byte) (int, error) {
	space := 0
	for space < len(p) && isToken[p[space]] {
		space++
	}
	if space == len(p) {
		return 0, ErrIncomplete
	}
	if space == 0 || p[space] != ' ' {
		return 0, ErrBadMethod
	}
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return 0, ErrIncomplete
	}
	if p[end-1] != '\r' {
		return 0, ErrBareLF
	}
	r.Method = p[:space]
	rest := p[space+1 : end-1]
	last := bytes.LastIndexByte(rest, ' ')
	if last < 0 {
		return 0, ErrBadTarget
	}
	if err := r.setProto(rest[last+1:]); err != nil {
		return 0, err
	}
	r.Target = rest[:last]
	return end + 1, r.splitTarget()
}

// setProto takes "HTTP/1.x". A higher minor version means 1.1 to us (RFC 9110,
// 2.5).
func (r *Request) setProto(p []byte) error {
	const shape = "HTTP/d.d"
	if len(p) != len(shape) || string(p[:5]) != shape[:5] || !isDigit(p[5]) || p[6] != '.' || !isDigit(p[7]) {
		return ErrBadProto
	}
	if p[5] != '1' {
		return ErrHTTPVersion
	}
	r.Minor = int(p[7] - '0')
	return nil
}

// splitTarget takes the target apart: origin-form, absolute-form, and the two
// that only net/http has a use for, "*" and CONNECT's authority-form (RFC 9112,
// 3.2). A fragment never belongs into a request (RFC 6455, 3).
func (r *Request) splitTarget() error {
	t := r.Target
	for _, b := range t {
		if b <= ' ' || b >= 0x7f || b == '#' {
			return ErrBadTarget
		}
	}
	switch {
	case len(t) == 0:
		return ErrBadTarget
	case string(r.Method) == "CONNECT":
		if !isHost(t) {
			return ErrBadTarget
		}
	case t[0] == '/':
	case string(t) == "*" && string(r.Method) == "OPTIONS":
	default:
		var ok bool
		if t, ok = r.cutAuthority(t); !ok {
			return ErrBadTarget
		}
	}
	r.Path = t
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		r.Path, r.RawQuery = t[:i], t[i+1:]
	}
	if len(r.Path) == 0 {
		r.Path = rootPath
	}
	return nil
}

var rootPath = []byte("/")

// cutAuthority takes scheme and authority off an absolute target.
func (r *Request) cutAuthority(t []byte) (rest []byte, ok bool) {
	i := bytes.Index(t, []byte("://"))
	if i < 0 || !equalFold(t[:i], "http") && !equalFold(t[:i], "https") {
		return nil, false
	}
	t = t[i+3:]
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	r.authority = t[:end]
	return t[end:], isHost(t[:end])
}

// headerLines reads the lines from offset at to the blank one and returns the
// offset behind that (RFC 9112, 5).
func (r *Request) headerLines(at, maxLines int) (int, error) {
	for {
		size := bytes.IndexByte(r.head[at:], '\n')
		if size < 0 {
			return 0, ErrIncomplete
		}
		end := at + size
		if size == 0 || r.head[end-1] != '\r' {
			return 0, ErrBareLF
		}
		if size == 1 {
			return end + 1, nil
		}
		if len(r.lines) == maxLines {
			return 0, ErrTooManyLines
		}
		if err := r.headerLine(at, end-1); err != nil {
			return 0, err
		}
		at = end + 1
	}
}

// headerLine reads the line head[at:end], which is not empty.
func (r *Request) headerLine(at, end int) error {
	if isSpace(r.head[at]) {
		return ErrObsFold
	}
	colon := at
	for colon < end && isToken[r.head[colon]] {
		colon++
	}
	if colon == at || colon == end || r.head[colon] != ':' {
		return ErrBadHeaderName
	}
	from := colon + 1
	for _, b := range r.head[from:end] {
		if b < ' ' && b != '\t' || b == 0x7f {
			return ErrBadHeaderValue
		}
	}
	for from < end && isSpace(r.head[from]) {
		from++
	}
	for end > from && isSpace(r.head[end-1]) {
		end--
	}
	r.lines = append(r.lines, headerLine{
		name:  span{uint32(at), uint32(colon)},
		value: span{uint32(from), uint32(end)},
	})
	r.note(r.head[at:colon], r.head[from:end:end])
	return nil
}

// note counts the headers that decide about an upgrade and keeps the values that
// have a field.
func (r *Request) note(name, value []byte) {
	id := nameOf(name)
	if id == nameOther {
		return
	}
	first := r.seen[id] == 0
	if r.seen[id] < 2 {
		r.seen[id]++
	}
	if !first {
		return
	}
	switch id {
	case nameHost:
		r.Host = value
	case nameOrigin:
		r.Origin = value
	case nameKey:
		r.Key = value
	}
}

// checkHead judges what only the whole head shows (RFC 9112, 3.2 and 6.1).
func (r *Request) checkHead() error {
	switch {
	case r.seen[nameHost] > 1:
		return ErrManyHosts
	case r.seen[nameHost] == 0 && r.Minor > 0:
		return ErrNoHost
	case len(r.Host) > 0 && !isHost(r.Host):
		return ErrBadHost
	case r.seen[nameLength] > 0 && r.seen[nameTransfer] > 0:
		return ErrBodyFraming
	}
	if r.authority != nil {
		r.Host = r.authority
	}
	return nil
}

// NumHeaders returns the number of header lines.
func (r *Request) NumHeaders() int { return len(r.lines) }

// HeaderAt returns name and value of header line i, in the order sent. Both
// alias the parsed bytes; the value has no white space around it.
func (r *Request) HeaderAt(i int) (name, value []byte) {
	l := r.lines[i]
	return r.head[l.name.start:l.name.end], r.head[l.value.start:l.value.end:l.value.end]
}

// Header returns the value of the first line of that name, nil when there is
// none and empty but not nil when its value is. Names are compared without
// regard to ASCII case. The value aliases the parsed bytes.
func (r *Request) Header(name string) []byte {
	for i := range r.lines {
		if n, v := r.HeaderAt(i); equalFold(n, name) {
			return v
		}
	}
	return nil
}
