package wire

import (
	"bytes"
	"encoding/base64"
)

// What Request.CheckUpgrade can refuse.
var (
	ErrMethod        = &HandshakeError{405, "method is not GET"}
	ErrUpgradeHTTP10 = &HandshakeError{400, "upgrade needs HTTP/1.1"}
	ErrUpgradeHost   = &HandshakeError{400, "empty Host"}
	ErrUpgradeBody   = &HandshakeError{400, "upgrade with a body"}
	ErrNoUpgrade     = &HandshakeError{400, "Upgrade does not name websocket"}
	ErrNoConnection  = &HandshakeError{400, "Connection does not name upgrade"}
	ErrManyVersions  = &HandshakeError{400, "more than one Sec-WebSocket-Version"}
	ErrVersion       = &HandshakeError{426, "Sec-WebSocket-Version is not 13"}
	ErrManyKeys      = &HandshakeError{400, "more than one Sec-WebSocket-Key"}
	ErrKey           = &HandshakeError{400, "Sec-WebSocket-Key is not 16 bytes in base64"}
	ErrManyOrigins   = &HandshakeError{400, "more than one Origin"}
	ErrPercent       = &HandshakeError{400, "malformed percent-encoding"}
)

// IsUpgrade reports whether the request wants a WebSocket: some Upgrade line
// lists "websocket", in any case. Such a request is ours, to accept or to
// refuse; every other one belongs to net/http.
func (r *Request) IsUpgrade() bool {
	return r.seen[nameUpgrade] > 0 && r.listHas(nameUpgrade, "websocket")
}

// CheckUpgrade judges a parsed request by RFC 6455, 4.2.1: GET, HTTP/1.1, a
// Host, Upgrade and Connection, version 13 once, a key of 16 bytes once, no body
// and at most one Origin. Whether the origin is welcome is not asked here.
//
// Errors: a *HandshakeError with status 400, 405 or 426.
func (r *Request) CheckUpgrade() error {
	switch {
	case string(r.Method) != "GET":
		return ErrMethod
	case r.Minor < 1:
		return ErrUpgradeHTTP10
	case len(r.Host) == 0:
		return ErrUpgradeHost
	case !r.IsUpgrade():
		return ErrNoUpgrade
	case !r.listHas(nameConnection, "upgrade"):
		return ErrNoConnection
	case r.seen[nameVersion] > 1:
		return ErrManyVersions
	case string(r.Header("Sec-WebSocket-Version")) != "13":
		return ErrVersion
	case r.seen[nameKey] > 1:
		return ErrManyKeys
	case !validKey(r.Key):
		return ErrKey
	case r.seen[nameOrigin] > 1:
		return ErrManyOrigins
	case r.hasBody():
		return ErrUpgradeBody
	case !validEscapes(r.Target):
		return ErrPercent
	}
	return nil
}

// hasBody reports whether the head announces a body. Bytes behind an upgrade are
// frames, so a body there is a second request in disguise.
func (r *Request) hasBody() bool {
	if r.seen[nameTransfer] > 0 || r.seen[nameLength] > 1 {
		return true
	}
	return r.seen[nameLength] == 1 && string(r.Header("Content-Length")) != "0"
}

// listHas reports whether any line of that name lists token, in any case.
func (r *Request) listHas(id headerName, token string) bool {
	for i := range r.lines {
		name, list := r.HeaderAt(i)
		if nameOf(name) != id {
			continue
		}
		for e, rest, more := nextElement(list); more; e, rest, more = nextElement(rest) {
			if equalFold(e, token) {
				return true
			}
		}
	}
	return false
}

// validKey reports whether key is base64 of 16 bytes. The unused bits of the
// last character are not looked at: RFC 6455's own example in 4.1 sets them.
func validKey(key []byte) bool {
	var nonce [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], key)
	return err == nil && n == 16
}

// Subprotocol returns the first of the client's offers, in the client's order
// over all Sec-WebSocket-Protocol lines, that supported has too, and "" when
// there is none. Names are compared exactly. The result is the string from
// supported. RFC 6455, 4.1 (item 10) and 4.2.2.
func (r *Request) Subprotocol(supported []string) string {
	if r.seen[nameProtocol] == 0 {
		return ""
	}
	for i := range r.lines {
		name, list := r.HeaderAt(i)
		if nameOf(name) != nameProtocol {
			continue
		}
		if s := firstSupported(list, supported); s != "" {
			return s
		}
	}
	return ""
}

// firstSupported returns the first element of a comma-separated list that supported has too, or "".
func firstSupported(list []byte, supported []string) string {
	for e, rest, more := nextElement(list); more; e, rest, more = nextElement(rest) {
		for _, s := range supported {
			if string(e) == s && s != "" {
				return s
			}
		}
	}
	return ""
}

// QueryValue returns the first value of that name in the query, percent-decoded
// with '+' as space; false when it is absent or its encoding is broken
// (CheckUpgrade refuses such requests). The result is a copy. The name, too,
// may come percent-encoded. WHATWG URL, application/x-www-form-urlencoded.
func (r *Request) QueryValue(name string) (string, bool) {
	for q := r.RawQuery; len(q) > 0; {
		pair := q
		if i := bytes.IndexByte(q, '&'); i >= 0 {
			pair, q = q[:i], q[i+1:]
		} else {
			q = nil
		}
		key, value := pair, []byte(nil)
		if i := bytes.IndexByte(pair, '='); i >= 0 {
			key, value = pair[:i], pair[i+1:]
		}
		if !decodesTo(key, name) {
			continue
		}
		if !validEscapes(value) {
			return "", false
		}
		return decode(value), true
	}
	return "", false
}

// validEscapes reports whether every '%' is followed by two hex digits.
func validEscapes(p []byte) bool {
	for i := 0; i < len(p); i++ {
		if p[i] != '%' {
			continue
		}
		if i+2 >= len(p) || !isHex(p[i+1]) || !isHex(p[i+2]) {
			return false
		}
		i += 2
	}
	return true
}

// decodesTo compares p, decoded, with s.
func decodesTo(p []byte, s string) bool {
	if !validEscapes(p) {
		return false
	}
	n := 0
	for len(p) > 0 {
		b, size := decodeByte(p)
		if n == len(s) || b != s[n] {
			return false
		}
		p, n = p[size:], n+1
	}
	return n == len(s)
}

// decode decodes p, whose escapes are valid.
func decode(p []byte) string {
	if bytes.IndexByte(p, '%') < 0 && bytes.IndexByte(p, '+') < 0 {
		return string(p)
	}
	out := make([]byte, 0, len(p))
	for len(p) > 0 {
		b, size := decodeByte(p)
		out, p = append(out, b), p[size:]
	}
	return string(out)
}

// decodeByte decodes the first byte of p, whose escapes are valid.
func decodeByte(p []byte) (b byte, size int) {
	switch p[0] {
	case '+':
		return ' ', 1
	case '%':
		return unhex(p[1])<<4 | unhex(p[2]), 3
	}
	return p[0], 1
}

func isHex(b byte) bool {
	b = lower(b)
	return isDigit(b) || b >= 'a' && b <= 'f'
}

func unhex(b byte) byte {
	if isDigit(b) {
		return b - '0'
	}
	return lower(b) - 'a' + 10
}
