package wire

import "unicode/utf8"

// utf8Check validates UTF-8 that arrives in pieces and fails at the first byte
// that cannot be part of any valid text (RFC 3629, 4; RFC 6455, 8.1). The zero
// value is ready.
type utf8Check struct {
	tail [3]byte // an incomplete rune at the end of the last piece
	n    uint8   // bytes used of tail
}

// write takes the next piece and reports whether the text can still be valid.
func (u *utf8Check) write(p []byte) bool {
	for u.n > 0 {
		if len(p) == 0 {
			return true
		}
		var buf [utf8.UTFMax]byte
		n := copy(buf[:], u.tail[:u.n])
		buf[n] = p[0]
		p = p[1:]
		r := buf[:n+1]
		if !utf8.FullRune(r) {
			u.tail[u.n] = r[n]
			u.n++
			continue
		}
		if !utf8.Valid(r) {
			return false
		}
		u.n = 0
	}
	cut := len(p) - incompleteTail(p)
	u.n = uint8(copy(u.tail[:], p[cut:]))
	return utf8.Valid(p[:cut])
}

// complete reports whether the text may end here.
func (u *utf8Check) complete() bool { return u.n == 0 }

// incompleteTail returns how many bytes at the end of p begin a rune that may
// still become valid: 0 to 3. FullRune calls a hopeless beginning full, which
// leaves it to utf8.Valid and makes the failure immediate.
func incompleteTail(p []byte) int {
	for n := 1; n <= len(p) && n < utf8.UTFMax; n++ {
		if utf8.RuneStart(p[len(p)-n]) {
			if utf8.FullRune(p[len(p)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}
