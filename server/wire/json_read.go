package wire

import (
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// members walks an object:
//
//	for m := c.members(); m.next(); { switch m.key { ... } }
//
// The body has to consume each value. null counts as an object without members.
type members struct {
	c     *jsonCursor
	key   string
	begun bool
	null  bool
}

func (c *jsonCursor) members() members {
	if c.null() {
		return members{c: c, null: true}
	}
	c.want('{')
	return members{c: c}
}

func (m *members) next() bool {
	c := m.c
	if m.null || c.bad || c.take('}') {
		return false
	}
	if m.begun {
		c.want(',')
	}
	m.begun = true
	if c.peek() != '"' {
		c.fail()
		return false
	}
	m.key = c.text()
	c.want(':')
	return !c.bad
}

// null consumes null if it comes next.
func (c *jsonCursor) null() bool { return c.peek() == 'n' && c.literal("null") }

// raw consumes a value and returns its text, borrowed.
func (c *jsonCursor) raw() []byte {
	c.peek()
	start := c.i
	c.skip()
	if c.bad {
		return nil
	}
	return c.p[start:c.i:c.i]
}

// text consumes a string or null. The result aliases the input, or scratch where there were escapes.
func (c *jsonCursor) text() string {
	if c.null() {
		return ""
	}
	start := c.i + 1
	escaped := c.skipString()
	if c.bad {
		return ""
	}
	inner := c.p[start : c.i-1]
	if !escaped {
		return alias(inner)
	}
	from := len(*c.scratch)
	*c.scratch = appendUnescaped(*c.scratch, inner)
	return alias((*c.scratch)[from:])
}

// alias is p as a string without a copy: it changes when p does.
func alias(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// appendUnescaped appends the text that p, the inside of a valid JSON string, stands for. A surrogate without its partner
// becomes U+FFFD.
func appendUnescaped(dst, p []byte) []byte {
	for i := 0; i < len(p); {
		if p[i] != '\\' {
			dst = append(dst, p[i])
			i++
			continue
		}
		switch e := p[i+1]; e {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := unescapeRune(p[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		default:
			dst = append(dst, e)
		}
		i += 2
	}
	return dst
}

// unescapeRune decodes the \u escape p begins with, and its low surrogate.
func unescapeRune(p []byte) (rune, int) {
	r, _ := hex4(p[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(p) >= 12 && p[6] == '\\' && p[7] == 'u' {
		low, _ := hex4(p[8:])
		if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
			return full, 12
		}
	}
	return utf8.RuneError, 6
}

// uint consumes a non-negative integer of at most max, or null.
func (c *jsonCursor) uint(max uint64) uint64 {
	if c.null() {
		return 0
	}
	start := c.i
	c.skipNumber()
	if c.bad {
		return 0
	}
	var v uint64
	for _, b := range c.p[start:c.i] {
		d := uint64(b - '0')
		if b < '0' || b > '9' || v > (max-d)/10 {
			c.fail()
			return 0
		}
		v = v*10 + d
	}
	return v
}

// int consumes an integer whose absolute value is at most max, or null.
func (c *jsonCursor) int(max int64) int64 {
	negative := c.take('-')
	if negative && (c.i == len(c.p) || c.p[c.i] < '0' || c.p[c.i] > '9') {
		c.fail()
		return 0
	}
	v := int64(c.uint(uint64(max)))
	if negative {
		return -v
	}
	return v
}

// bool consumes true, false or null.
func (c *jsonCursor) bool() bool {
	switch c.peek() {
	case 't':
		return c.literal("true")
	case 'n':
		c.literal("null")
	default:
		c.literal("false")
	}
	return false
}
