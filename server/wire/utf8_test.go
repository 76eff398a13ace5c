package wire

import (
	"testing"
	"unicode/utf8"
)

// viable reports whether some text starts with p, by trying every kind of
// completion: the slow definition that utf8Check is held against.
func viable(p []byte) bool {
	if utf8.Valid(p) {
		return true
	}
	edges := []byte{0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf} // RFC 3629, 4: where ranges of second bytes end
	tries := [][]byte{p}
	for range 3 {
		var next [][]byte
		for _, t := range tries {
			for _, e := range edges {
				longer := append(append([]byte(nil), t...), e)
				if utf8.Valid(longer) {
					return true
				}
				next = append(next, longer)
			}
		}
		tries = next
	}
	return false
}

// utf8Texts are Autobahn's texts of 6.2 to 6.23, after Markus Kuhn's stress test.
var utf8Texts = []string{
	"Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!", // 6.2
	"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",          // 6.3: surrogate inside
	"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",      // 6.4: above U+10FFFF
	"\xce", "\xce\xba\xe1", "\xce\xba\xe1\xbd", "\xce\xba\xe1\xbd\xb9", // 6.6: prefixes
	"\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80", // 6.7: first of each length
	"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", // 6.8: five and six bytes
	"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", // 6.9: last of each length
	"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf", // 6.10
	"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80", // 6.11
	"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80\xbf\x80\xbf", // 6.12: lone continuations
	"\xc0 \xc1 \xc2 ", "\xe0 \xe1 ", "\xf0 \xf1 ", "\xf8 \xf9 ", "\xfc ", // 6.13: lone starts
	"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80", // 6.14: last byte missing
	"\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf", // 6.14
	"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80", // 6.15
	"\xfe", "\xff", "\xfe\xfe\xff\xff", // 6.16
	"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", // 6.17: overlong
	"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", // 6.18
	"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80", // 6.19: overlong NUL
	"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf", // 6.20
	"\xed\xa0\x80\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf", // 6.21: surrogate pairs
	"\xef\xbf\xbe", "\xef\xbf\xbf", "\xf0\x9f\xbf\xbe", "\xf4\x8f\xbf\xbf", // 6.22: non-characters are legal
	"\xef\xbf\xb9", "\xef\xbf\xbc", "\xef\xbf\xbd", // 6.23
	"", "plain", "\xe2\x82\xac and \xf0\x9f\x98\x80 end",
}

// failsAt returns the length of the shortest prefix of p that no text starts
// with, len(p)+1 when there is none.
func failsAt(p string) int {
	for n := range len(p) + 1 {
		if !viable([]byte(p[:n])) {
			return n
		}
	}
	return len(p) + 1
}

func TestUTF8FailsAtTheFirstHopelessByte(t *testing.T) {
	for _, text := range utf8Texts {
		want := failsAt(text)
		var u utf8Check
		got := len(text) + 1
		for i := range len(text) {
			if !u.write([]byte(text[i : i+1])) {
				got = i + 1
				break
			}
		}
		if got != want {
			t.Errorf("%q: failed at byte %d, want %d", text, got, want)
		}
		if got > len(text) && u.complete() != utf8.ValidString(text) {
			t.Errorf("%q: complete %v", text, u.complete())
		}
	}
}

func TestUTF8InTwoPiecesIsUTF8InOne(t *testing.T) {
	for _, text := range utf8Texts {
		for cut := range len(text) + 1 {
			var u utf8Check
			first := u.write([]byte(text[:cut]))
			if want := failsAt(text) > cut; first != want {
				t.Errorf("%q to %d: got %v, want %v", text, cut, first, want)
			}
			if !first {
				continue
			}
			valid := u.write([]byte(text[cut:])) && u.complete()
			if valid != utf8.ValidString(text) {
				t.Errorf("%q cut at %d: got %v", text, cut, valid)
			}
		}
	}
}

// Every sequence of four bytes from the edges of all ranges, one byte per write.
func TestUTF8AgreesWithTheStandardLibraryOnAllShortSequences(t *testing.T) {
	interesting := []byte{0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
		0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff}
	var p [4]byte
	for _, p[0] = range interesting {
		for _, p[1] = range interesting {
			for _, p[2] = range interesting {
				for _, p[3] = range interesting {
					var u utf8Check
					ok := u.write(p[:1]) && u.write(p[1:2]) && u.write(p[2:3]) && u.write(p[3:]) && u.complete()
					if ok != utf8.Valid(p[:]) {
						t.Fatalf("%x: got %v", p, ok)
					}
				}
			}
		}
	}
}
