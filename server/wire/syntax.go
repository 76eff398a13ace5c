package wire

// headerName numbers the header names that decide about an upgrade.
type headerName uint8

const (
	nameOther headerName = iota
	nameHost
	nameOrigin
	nameUpgrade
	nameConnection
	nameLength
	nameTransfer
	nameKey
	nameVersion
	nameProtocol
	numNames
)

// nameOf recognises a header name. The length alone rules out nearly all others.
func nameOf(name []byte) headerName {
	switch len(name) {
	case len("Host"):
		return orOther(name, "Host", nameHost)
	case len("Origin"):
		return orOther(name, "Origin", nameOrigin)
	case len("Upgrade"):
		return orOther(name, "Upgrade", nameUpgrade)
	case len("Connection"):
		return orOther(name, "Connection", nameConnection)
	case len("Content-Length"):
		return orOther(name, "Content-Length", nameLength)
	case len("Sec-WebSocket-Key"): // as long as Transfer-Encoding
		if equalFold(name, "Transfer-Encoding") {
			return nameTransfer
		}
		return orOther(name, "Sec-WebSocket-Key", nameKey)
	case len("Sec-WebSocket-Version"):
		return orOther(name, "Sec-WebSocket-Version", nameVersion)
	case len("Sec-WebSocket-Protocol"):
		return orOther(name, "Sec-WebSocket-Protocol", nameProtocol)
	}
	return nameOther
}

func orOther(name []byte, want string, id headerName) headerName {
	if equalFold(name, want) {
		return id
	}
	return nameOther
}

// isToken marks tchar (RFC 9110, 5.6.2).
var isToken = charset("!#$%&'*+-.^_`|~")

// isHostChar marks what a host name or IPv4 address consists of. RFC 3986 would
// also allow percent-encoding and sub-delims; no host in DNS has them, parsers
// disagree about them, and a comma is how proxies join two Host lines.
var isHostChar = charset("-._~")

// charset marks letters, digits and the bytes of extra.
func charset(extra string) (set [256]bool) {
	for b := range 256 {
		c := byte(b)
		set[b] = isDigit(c) || lower(c) >= 'a' && lower(c) <= 'z'
	}
	for _, c := range []byte(extra) {
		set[c] = true
	}
	return set
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }
func isSpace(b byte) bool { return b == ' ' || b == '\t' }

// lower maps A-Z to a-z and leaves every other byte alone.
func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + ('a' - 'A')
	}
	return b
}

// isHost reports whether p is a host with an optional port: a name or IPv4
// address, or an IPv6 address in brackets without a zone (RFC 3986, 3.2.2).
func isHost(p []byte) bool {
	end := 0
	if len(p) > 0 && p[0] == '[' {
		for end = 1; end < len(p) && (isHex(p[end]) || p[end] == ':' || p[end] == '.'); end++ {
		}
		if end == 1 || end == len(p) || p[end] != ']' {
			return false
		}
		end++
	} else {
		for end < len(p) && isHostChar[p[end]] {
			end++
		}
	}
	return end > 0 && isPort(p[end:])
}

// isPort reports whether p is empty, or a colon and digits, which may be missing
// (RFC 3986, 3.2.3).
func isPort(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	if p[0] != ':' {
		return false
	}
	for _, b := range p[1:] {
		if !isDigit(b) {
			return false
		}
	}
	return true
}

// equalFold compares in ASCII without regard to case; Unicode folding would let
// U+212A pass for a 'k'.
func equalFold(p []byte, s string) bool {
	if len(p) != len(s) {
		return false
	}
	for i, b := range p {
		if lower(b) != lower(s[i]) {
			return false
		}
	}
	return true
}

// nextElement cuts the first element off a comma list and trims white space.
// Empty elements are legal and come back empty (RFC 9110, 5.6.1.2). more is
// false when list was exhausted before.
func nextElement(list []byte) (element, rest []byte, more bool) {
	if list == nil {
		return nil, nil, false
	}
	element = list
	for i, b := range list {
		if b == ',' {
			element, rest = list[:i], list[i+1:]
			break
		}
	}
	for len(element) > 0 && isSpace(element[0]) {
		element = element[1:]
	}
	for len(element) > 0 && isSpace(element[len(element)-1]) {
		element = element[:len(element)-1]
	}
	return element, rest, true
}
