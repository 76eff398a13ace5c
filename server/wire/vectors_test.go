package wire

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// frameValue is one frame as a value.
type frameValue struct {
	op      Opcode
	fin     bool
	payload string
}

// event is what a Sink was told.
type event struct {
	op      Opcode
	payload string
}

// String keeps failure output readable: payloads are quoted and cut.
func (e event) String() string {
	return fmt.Sprintf("%v %.60q", e.op, e.payload)
}

// side says whose bytes a vector holds.
type side bool

const (
	client side = true
	server side = false
)

// vector is one stream of bytes and all that must be true of it.
type vector struct {
	meaning string
	rfc     string // section of RFC 6455
	from    side
	hex     string       // the stream; blanks are ignored
	key     string       // mask of all its frames, hex; empty for a server's
	frames  []frameValue // the stream as values; nil when it is not well formed
	events  []event      // what a Decoder hands over
	err     error        // how its Feed ends
}

const zeroKey = "00000000" // masks nothing, so the payload can be read in the hex

// vectors is the one table that drives the encoder, header and decoder tests.
var vectors = []vector{
	// RFC 6455, 5.7: the examples of the standard.
	{"unmasked text Hello", "5.7", server, "81 05 48656c6c6f", "",
		[]frameValue{{OpText, true, "Hello"}}, []event{{OpText, "Hello"}}, nil},
	{"masked text Hello", "5.7", client, "81 85 37fa213d 7f9f4d5158", "37fa213d",
		[]frameValue{{OpText, true, "Hello"}}, []event{{OpText, "Hello"}}, nil},
	{"unmasked text in two fragments", "5.7", server, "01 03 48656c 80 02 6c6f", "",
		[]frameValue{{OpText, false, "Hel"}, {OpContinuation, true, "lo"}}, []event{{OpText, "Hello"}}, nil},
	{"unmasked ping", "5.7", server, "89 05 48656c6c6f", "",
		[]frameValue{{OpPing, true, "Hello"}}, []event{{OpPing, "Hello"}}, nil},
	{"masked pong", "5.7", client, "8a 85 37fa213d 7f9f4d5158", "37fa213d",
		[]frameValue{{OpPong, true, "Hello"}}, []event{{OpPong, "Hello"}}, nil},
	{"256 bytes binary: 16-bit length", "5.7", server, "82 7e 0100" + rep("2a", 256), "",
		[]frameValue{{OpBinary, true, rep("*", 256)}}, []event{{OpBinary, rep("*", 256)}}, nil},
	{"64 KiB binary: 64-bit length", "5.7", server, "82 7f 0000000000010000" + rep("2a", 65536), "",
		[]frameValue{{OpBinary, true, rep("*", 65536)}}, []event{{OpBinary, rep("*", 65536)}}, nil},

	// Lengths around every change of form.
	{"empty text", "5.2", client, "81 80 00000000", zeroKey,
		[]frameValue{{OpText, true, ""}}, []event{{OpText, ""}}, nil},
	{"125 bytes: last 7-bit length", "5.2", client, "82 fd 00000000" + rep("61", 125), zeroKey,
		[]frameValue{{OpBinary, true, rep("a", 125)}}, []event{{OpBinary, rep("a", 125)}}, nil},
	{"126 bytes: first 16-bit length", "5.2", client, "82 fe 007e 00000000" + rep("61", 126), zeroKey,
		[]frameValue{{OpBinary, true, rep("a", 126)}}, []event{{OpBinary, rep("a", 126)}}, nil},
	{"127 bytes", "5.2", client, "81 fe 007f 00000000" + rep("61", 127), zeroKey,
		[]frameValue{{OpText, true, rep("a", 127)}}, []event{{OpText, rep("a", 127)}}, nil},
	{"65535 bytes: last 16-bit length", "5.2", client, "81 fe ffff 00000000" + rep("61", 65535), zeroKey,
		[]frameValue{{OpText, true, rep("a", 65535)}}, []event{{OpText, rep("a", 65535)}}, nil},
	{"65536 bytes: first 64-bit length", "5.2", client, "81 ff 0000000000010000 00000000" + rep("61", 65536), zeroKey,
		[]frameValue{{OpText, true, rep("a", 65536)}}, []event{{OpText, rep("a", 65536)}}, nil},
	{"65537 bytes over a limit of 65536", "10.4", client, "82 ff 0000000000010001", "", nil, nil, ErrFrameTooBig},
	{"2^62 announced", "10.4", client, "82 ff 4000000000000000 00000000 61", "", nil, nil, ErrFrameTooBig},
	{"2^63-1 announced", "10.4", client, "82 ff 7fffffffffffffff 00000000", "", nil, nil, ErrFrameTooBig},
	{"sum over the limit", "10.4", client, "02 fe ffff 00000000" + rep("61", 65535) + "80 82 00000000 6161", "",
		nil, nil, ErrMessageTooBig},
	{"sum at the limit", "10.4", client, "02 fe ffff 00000000" + rep("61", 65535) + "80 81 00000000 61", zeroKey,
		[]frameValue{{OpBinary, false, rep("a", 65535)}, {OpContinuation, true, "a"}}, []event{{OpBinary, rep("a", 65536)}}, nil},
	{"125 in a 16-bit length", "5.2", client, "82 fe 007d 00000000", "", nil, nil, ErrLengthNotMinimal},
	{"65535 in a 64-bit length", "5.2", client, "82 ff 000000000000ffff 00000000", "", nil, nil, ErrLengthNotMinimal},
	{"64-bit length with the high bit", "5.2", client, "82 ff 8000000000000000 00000000", "", nil, nil, ErrLengthHighBit},

	// Masks (N2).
	{"client frame without mask", "5.1", client, "81 05 48656c6c6f", "", nil, nil, ErrNotMasked},
	{"client ping without mask", "5.1", client, "89 00", "", nil, nil, ErrNotMasked},
	{"server frame with mask", "5.1", server, "81 85 37fa213d 7f9f4d5158", "", nil, nil, ErrMasked},

	// Reserved bits, also without payload, on controls and continuations (N3, N10).
	{"RSV1, empty", "5.2", client, "c1 80 00000000", "", nil, nil, ErrReservedBits},
	{"RSV2", "5.2", client, "a1 81 00000000 61", "", nil, nil, ErrReservedBits},
	{"RSV3", "5.2", client, "91 81 00000000 61", "", nil, nil, ErrReservedBits},
	{"RSV1 on ping", "5.2", client, "c9 80 00000000", "", nil, nil, ErrReservedBits},
	{"RSV1 on close", "5.2", client, "c8 80 00000000", "", nil, nil, ErrReservedBits},
	{"RSV1 on continuation", "5.2", client, "01 81 00000000 61 c0 80 00000000", "", nil, nil, ErrReservedBits},

	// Reserved opcodes.
	{"opcode 3", "5.2", client, "83 80 00000000", "", nil, nil, ErrReservedOpcode},
	{"opcode 7 after a message", "5.2", client, "81 81 00000000 61 87 80 00000000", "",
		nil, []event{{OpText, "a"}}, ErrReservedOpcode},
	{"opcode 11", "5.2", client, "8b 80 00000000", "", nil, nil, ErrReservedOpcode},
	{"opcode 15 without FIN", "5.2", client, "0f 80 00000000", "", nil, nil, ErrReservedOpcode},

	// Control frames.
	{"ping of 125", "5.5", client, "89 fd 00000000" + rep("61", 125), zeroKey,
		[]frameValue{{OpPing, true, rep("a", 125)}}, []event{{OpPing, rep("a", 125)}}, nil},
	{"ping of 126", "5.5", client, "89 fe 007e 00000000" + rep("61", 126), "", nil, nil, ErrControlTooLong},
	{"close of 126", "5.5", client, "88 fe 007e 00000000" + rep("61", 126), "", nil, nil, ErrControlTooLong},
	{"ping without FIN", "5.5", client, "09 80 00000000", "", nil, nil, ErrControlFragmented},
	{"close without FIN", "5.5", client, "08 80 00000000", "", nil, nil, ErrControlFragmented},
	{"close 1000 bye", "5.5.1", client, "88 85 00000000 03e8 627965", zeroKey,
		[]frameValue{{OpClose, true, "\x03\xe8bye"}}, []event{{OpClose, "\x03\xe8bye"}}, nil},

	// Fragmentation (N4).
	{"stray continuation", "5.4", client, "80 81 00000000 61", "", nil, nil, ErrStrayContinuation},
	{"stray continuation without FIN", "5.4", client, "00 81 00000000 61", "", nil, nil, ErrStrayContinuation},
	{"continuation after the end", "5.4", client, "01 80 00000000 80 80 00000000 80 80 00000000", "",
		nil, []event{{OpText, ""}}, ErrStrayContinuation},
	{"text inside text", "5.4", client, "01 81 00000000 61 81 81 00000000 62", "", nil, nil, ErrInterleaved},
	{"binary inside text, no FIN", "5.4", client, "01 81 00000000 61 02 81 00000000 62", "", nil, nil, ErrInterleaved},
	{"ping between fragments", "5.4", client, "01 81 00000000 61 89 81 00000000 70 80 81 00000000 62", zeroKey,
		[]frameValue{{OpText, false, "a"}, {OpPing, true, "p"}, {OpContinuation, true, "b"}},
		[]event{{OpPing, "p"}, {OpText, "ab"}}, nil},
	{"three empty fragments", "5.4", client, "02 80 00000000 00 80 00000000 80 80 00000000", zeroKey,
		[]frameValue{{OpBinary, false, ""}, {OpContinuation, false, ""}, {OpContinuation, true, ""}},
		[]event{{OpBinary, ""}}, nil},
	{"two messages and a pong", "5.4", client, "81 81 00000000 61 8a 80 00000000 82 81 00000000 62", zeroKey,
		[]frameValue{{OpText, true, "a"}, {OpPong, true, ""}, {OpBinary, true, "b"}},
		[]event{{OpText, "a"}, {OpPong, ""}, {OpBinary, "b"}}, nil},

	// Text.
	{"rune split between fragments", "8.1", client, "01 82 00000000 e282 80 81 00000000 ac", zeroKey,
		[]frameValue{{OpText, false, "\xe2\x82"}, {OpContinuation, true, "\xac"}}, []event{{OpText, "€"}}, nil},
	{"rune incomplete at the end", "8.1", client, "81 82 00000000 e282", "", nil, nil, ErrInvalidUTF8},
	{"rune incomplete at the end of fragments", "8.1", client, "01 81 00000000 61 80 82 00000000 e282", "", nil, nil, ErrInvalidUTF8},
	{"surrogate", "8.1", client, "81 83 00000000 eda080", "", nil, nil, ErrInvalidUTF8},
	{"bad first fragment", "8.1", client, "01 81 00000000 ff", "", nil, nil, ErrInvalidUTF8},
	{"binary need not be UTF-8", "5.6", client, "82 81 00000000 ff", zeroKey,
		[]frameValue{{OpBinary, true, "\xff"}}, []event{{OpBinary, "\xff"}}, nil},
}

func rep(s string, n int) string { return strings.Repeat(s, n) }

func unhexed(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("bad hex in a vector: %v", err)
	}
	return b
}

// mask returns the key of v's frames.
func (v *vector) mask(t testing.TB) (key [4]byte) {
	copy(key[:], unhexed(t, v.key))
	return key
}

// encode turns v's frames into bytes by the functions under test.
func (v *vector) encode(t testing.TB) []byte {
	var b []byte
	for _, f := range v.frames {
		switch {
		case v.from == client:
			b = AppendMaskedFrame(b, f.op, f.fin, []byte(f.payload), v.mask(t))
		case f.fin:
			b = AppendFrame(b, f.op, []byte(f.payload))
		default: // a server that fragments: only the header byte differs
			at := len(b)
			b = AppendFrame(b, f.op, []byte(f.payload))
			b[at] &^= finBit
		}
	}
	return b
}
