package wire

import "unicode/utf8"

// MaxJSONDepth is how deep JSON may nest. Nothing people send comes near it, and a parser that keeps a bit per level needs
// no recursion: 64 KiB of brackets cost as much as 64 KiB of anything else.
const MaxJSONDepth = 128

// ValidJSON reports whether p is exactly one JSON value in UTF-8, surrounding whitespace allowed, nested at most
// MaxJSONDepth deep: whether it may be embedded in a frame of a JSON client. Linear in len(p), allocates nothing. RFC 8259.
func ValidJSON(p []byte) bool {
	c := jsonCursor{p: p}
	c.skip()
	return !c.bad && c.atEnd() && utf8.Valid(p)
}

// jsonCursor reads JSON text from front to back without building anything. bad is sticky: after the first fault everything
// returns zero values, so callers look at it once at the end.
type jsonCursor struct {
	p       []byte
	i       int
	bad     bool
	scratch *[]byte // unescaped text is appended here; needed for text and members only
}

// nesting remembers for each open container whether it is an object.
type nesting struct {
	objects [MaxJSONDepth / 64]uint64
	depth   int
}

func (n *nesting) push(object bool) bool {
	if n.depth == MaxJSONDepth {
		return false
	}
	word, bit := n.depth/64, uint64(1)<<(n.depth%64)
	n.objects[word] &^= bit
	if object {
		n.objects[word] |= bit
	}
	n.depth++
	return true
}

func (n *nesting) inObject() bool {
	top := n.depth - 1
	return n.objects[top/64]&(1<<(top%64)) != 0
}

// peek returns the next byte that is not whitespace, 0 at the end.
func (c *jsonCursor) peek() byte {
	for c.i < len(c.p) {
		b := c.p[c.i]
		if b > ' ' || b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			return b
		}
		c.i++
	}
	return 0
}

func (c *jsonCursor) atEnd() bool {
	c.peek()
	return c.i == len(c.p)
}

func (c *jsonCursor) fail() {
	c.bad = true
	c.i = len(c.p)
}

// take consumes b if it comes next.
func (c *jsonCursor) take(b byte) bool {
	if c.peek() != b || c.i == len(c.p) {
		return false
	}
	c.i++
	return true
}

func (c *jsonCursor) want(b byte) {
	if !c.take(b) {
		c.fail()
	}
}

// skip consumes one value of any kind and depth and checks its grammar.
func (c *jsonCursor) skip() {
	var n nesting
	for !c.bad {
		if c.open(&n) {
			continue
		}
		if c.close(&n) {
			return
		}
	}
}

// open consumes a scalar or an empty container; or, and then it returns true, the beginning of a container up to its first
// value.
func (c *jsonCursor) open(n *nesting) bool {
	switch c.peek() {
	case '{':
		c.enter(n, true)
		if c.take('}') {
			n.depth--
			return false
		}
		c.key()
		return true
	case '[':
		c.enter(n, false)
		if c.take(']') {
			n.depth--
			return false
		}
		return true
	}
	c.skipScalar()
	return false
}

func (c *jsonCursor) enter(n *nesting, object bool) {
	c.i++
	if !n.push(object) {
		c.fail()
	}
}

// close consumes what may follow a value: ends of containers, then a comma up to the next value. True: all are closed.
func (c *jsonCursor) close(n *nesting) bool {
	for n.depth > 0 && !c.bad {
		object := n.inObject()
		switch b := c.peek(); {
		case b == ',' && object:
			c.i++
			c.key()
			return false
		case b == ',':
			c.i++
			return false
		case b == '}' && object, b == ']' && !object:
			c.i++
			n.depth--
		default:
			c.fail()
		}
	}
	return true
}

func (c *jsonCursor) key() {
	c.peek()
	c.skipString()
	c.want(':')
}

func (c *jsonCursor) skipScalar() {
	switch c.peek() {
	case '"':
		c.skipString()
	case 't':
		c.literal("true")
	case 'f':
		c.literal("false")
	case 'n':
		c.literal("null")
	default:
		c.skipNumber()
	}
}

func (c *jsonCursor) literal(word string) bool {
	if len(c.p)-c.i < len(word) || string(c.p[c.i:c.i+len(word)]) != word {
		c.fail()
		return false
	}
	c.i += len(word)
	return true
}

// plainByte marks what stands for itself inside a string: everything but quote, backslash and control characters.
var plainByte = func() (t [256]bool) {
	for b := range t {
		t[b] = b >= 0x20 && b != '"' && b != '\\'
	}
	return t
}()

// skipString consumes a string, the cursor standing on its quote, and says whether it holds escapes.
func (c *jsonCursor) skipString() (escaped bool) {
	if c.i >= len(c.p) || c.p[c.i] != '"' {
		c.fail()
		return false
	}
	i := c.i + 1
	for i < len(c.p) {
		for i < len(c.p) && plainByte[c.p[i]] {
			i++
		}
		if i == len(c.p) || c.p[i] < 0x20 {
			break
		}
		if c.p[i] == '"' {
			c.i = i + 1
			return escaped
		}
		escaped = true
		n := escapeLen(c.p[i:])
		if n == 0 {
			break
		}
		i += n
	}
	c.fail()
	return false
}

// escapeLen returns the length of the escape at the beginning of p, 0 if it is none.
func escapeLen(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch p[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(p[2:]); ok {
			return 6
		}
	}
	return 0
}

func hex4(p []byte) (rune, bool) {
	if len(p) < 4 {
		return 0, false
	}
	var v rune
	for _, b := range p[:4] {
		switch {
		case b >= '0' && b <= '9':
			v = v<<4 | rune(b-'0')
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			v = v<<4 | rune(b|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

func (c *jsonCursor) skipNumber() {
	i := c.i
	if i < len(c.p) && c.p[i] == '-' {
		i++
	}
	start := i
	i = digits(c.p, i)
	if i == start || c.p[start] == '0' && i > start+1 {
		c.fail()
		return
	}
	if i < len(c.p) && c.p[i] == '.' {
		start = i + 1
		if i = digits(c.p, start); i == start {
			c.fail()
			return
		}
	}
	if i < len(c.p) && c.p[i]|0x20 == 'e' {
		i++
		if i < len(c.p) && (c.p[i] == '+' || c.p[i] == '-') {
			i++
		}
		start = i
		if i = digits(c.p, start); i == start {
			c.fail()
			return
		}
	}
	c.i = i
}

func digits(p []byte, i int) int {
	for i < len(p) && p[i] >= '0' && p[i] <= '9' {
		i++
	}
	return i
}
