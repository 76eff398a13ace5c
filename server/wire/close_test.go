package wire

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// closeVectors holds close bodies and their fate: Autobahn's 7.3, 7.5, 7.7, 7.9
// and 7.13, RFC 6455, 5.5.1 and 7.4.
var closeVectors = []struct {
	meaning string
	body    string
	code    CloseCode
	reason  string
	err     error
}{
	{"7.3.1 no body", "", CloseNoStatus, "", nil},
	{"7.3.2 one byte", "a", CloseProtocolError, "", ErrCloseLength},
	{"7.3.3 code only", "\x03\xe8", CloseNormal, "", nil},
	{"7.3.4 code and reason", "\x03\xe8Hello World!", CloseNormal, "Hello World!", nil},
	{"7.3.5 longest reason", "\x03\xe8" + rep("*", 123), CloseNormal, rep("*", 123), nil},
	{"7.5.1 reason not UTF-8", "\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", CloseInvalidPayload, "", ErrCloseReason},
	{"reason cut inside a rune", "\x03\xe8\xe2\x82", CloseInvalidPayload, "", ErrCloseReason},
	{"code wrong and reason wrong", "\x00\x00\xff", CloseProtocolError, "", ErrCloseCode},
	{"reason in UTF-8", "\x03\xe9\xe2\x82\xac", CloseGoingAway, "€", nil},
}

func TestCloseBodiesOfTheVectors(t *testing.T) {
	for _, v := range closeVectors {
		code, reason, err := ParseCloseBody([]byte(v.body))
		if code != v.code || reason != v.reason || err != v.err {
			t.Errorf("%s: got %d %q %v", v.meaning, code, reason, err)
		}
		if v.err == nil {
			want := AppendFrame(nil, OpClose, []byte(v.body))
			if got := AppendCloseFrame(nil, v.code, v.reason); !bytes.Equal(got, want) {
				t.Errorf("%s: encoded as %x, want %x", v.meaning, got, want)
			}
		}
	}
}

// Every one of the 65,536 codes, against the list of the registry.
func TestCloseCodesThatAPeerMaySend(t *testing.T) {
	valid := map[CloseCode]bool{}
	for _, c := range []CloseCode{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
		valid[c] = true
	}
	for c := CloseCode(3000); c < 5000; c++ {
		valid[c] = true
	}
	for i := range 1 << 16 {
		c := CloseCode(i)
		if ValidCloseCode(c) != valid[c] {
			t.Errorf("code %d: got %v", c, ValidCloseCode(c))
		}
		_, _, err := ParseCloseBody([]byte{byte(i >> 8), byte(i)})
		if valid[c] != (err == nil) || err != nil && err != ErrCloseCode {
			t.Errorf("code %d: parsed with %v", c, err)
		}
		if frame := AppendCloseFrame(nil, c, "x"); valid[c] != (len(frame) == 5) || !valid[c] && len(frame) != 2 {
			t.Errorf("code %d: frame %x", c, frame)
		}
	}
	// Autobahn 7.9 and 7.13 by name, N13's 1015 too.
	for _, c := range []CloseCode{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		if ValidCloseCode(c) {
			t.Errorf("code %d must not be accepted", c)
		}
	}
}

func TestCloseCodeNamesAreAClosedSet(t *testing.T) {
	names := map[string]int{}
	for i := range 1 << 16 {
		names[CloseCode(i).String()]++
	}
	if want := len(closeNames) + 3; len(names) != want {
		t.Errorf("got %d names, want %d: metric labels must be bounded", len(names), want)
	}
	for c, name := range closeNames {
		if names[name] != 1 {
			t.Errorf("code %d: name %q used %d times", c, name, names[name])
		}
	}
	for c, want := range map[CloseCode]string{1000: "normal", 3008: "slow", 3999: "registered", 4000: "private", 4999: "private", 5000: "invalid", 0: "invalid"} {
		if c.String() != want {
			t.Errorf("code %d: got %q, want %q", c, c, want)
		}
	}
}

func TestCloseReasonIsCutAtARune(t *testing.T) {
	for _, c := range []struct{ reason, want string }{
		{"", ""},
		{rep("a", 123), rep("a", 123)},
		{rep("a", 124), rep("a", 123)},
		{rep("a", 122) + "é", rep("a", 122)},
		{rep("a", 121) + "é", rep("a", 121) + "é"},
		{rep("a", 120) + "😀", rep("a", 120)},
		{rep("a", 119) + "😀b", rep("a", 119) + "😀"},
		{"good\xffbad", "good"},
		{"\ufffd is a rune of its own", "\ufffd is a rune of its own"},
	} {
		frame := AppendCloseFrame(nil, CloseShutdown, c.reason)
		if got := string(frame[4:]); got != c.want {
			t.Errorf("%.20q…: got %.20q…, %d bytes", c.reason, got, len(got))
		}
	}
}

func FuzzClose(f *testing.F) {
	for _, v := range closeVectors {
		f.Add([]byte(v.body), uint16(v.code), v.reason)
	}
	f.Fuzz(func(t *testing.T, body []byte, c uint16, reason string) {
		before := bytes.Clone(body)
		code, text, err := ParseCloseBody(body)
		if !bytes.Equal(before, body) {
			t.Fatal("input changed")
		}
		// parse, then append: the same body, when a frame can carry it.
		if err == nil && len(body) <= MaxControlPayload {
			if got := AppendCloseFrame(nil, code, text); !bytes.Equal(got[2:], body) {
				t.Fatalf("%x became %x", body, got[2:])
			}
		}
		// append, then parse: the same code and the start of the reason.
		frame := AppendCloseFrame(nil, CloseCode(c), reason)
		if len(frame) > 2+MaxControlPayload || int(frame[1]) != len(frame)-2 || frame[0] != finBit|byte(OpClose) {
			t.Fatalf("frame %x", frame)
		}
		code, text, err = ParseCloseBody(frame[2:])
		if err != nil {
			t.Fatalf("own frame %x: %v", frame, err)
		}
		if !ValidCloseCode(CloseCode(c)) {
			if code != CloseNoStatus {
				t.Fatalf("code %d was sent as %d", c, code)
			}
			return
		}
		if code != CloseCode(c) || !strings.HasPrefix(reason, text) {
			t.Fatalf("%d %q became %d %q", c, reason, code, text)
		}
		if utf8.ValidString(reason) && len(reason) <= maxCloseReason && text != reason {
			t.Fatalf("reason %q became %q without need", reason, text)
		}
	})
}
