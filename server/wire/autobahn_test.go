package wire

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"unicode/utf8"
)

// This file tells Autobahn's cases 1 to 7 and 10 again, class by class, as far
// as they are about bytes. What a connection answers is tested in ws.

var autobahnKey = [4]byte{0xde, 0xad, 0xbe, 0xef}

// stream builds the bytes a client sends.
func stream(frames ...frameValue) (b []byte) {
	for _, f := range frames {
		b = AppendMaskedFrame(b, f.op, f.fin, []byte(f.payload), autobahnKey)
	}
	return b
}

// wantStream feeds the stream in pieces of several sizes.
func wantStream(t *testing.T, name string, p []byte, wantErr error, want ...event) {
	t.Helper()
	for _, size := range []int{1, 2, 7, 997, 65536, len(p)} {
		if size < 5 && len(p) > 1<<17 {
			continue // a megabyte byte by byte, through a recorder, shows nothing new
		}
		r, d, err := feedPieces(client, &Limits{MaxMessage: 16 << 20}, slices.Collect(slices.Chunk(p, max(size, 1)))...)
		if err != wantErr {
			t.Fatalf("%s, pieces of %d: got %v, want %v", name, size, err, wantErr)
		}
		if !slices.Equal(r.events, want) {
			t.Fatalf("%s, pieces of %d: got %d events, want %d: %.300v", name, size, len(r.events), len(want), r.events)
		}
		if d.st != nil {
			t.Fatalf("%s, pieces of %d: state kept", name, size)
		}
	}
}

func TestAutobahn1FramingSizes(t *testing.T) {
	for _, op := range []Opcode{OpText, OpBinary} {
		for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
			body := rep("*", n)
			wantStream(t, fmt.Sprintf("1.%d.%d", op, i+1), stream(frameValue{op, true, body}), nil, event{op, body})
		}
	}
}

func TestAutobahn2PingsAndPongs(t *testing.T) {
	for i, body := range []string{"", "Hello, world!", "\x00\xff\xfe\xfd\xfc\xfb\x00\xff", rep("\xfe", 125)} {
		wantStream(t, fmt.Sprintf("2.%d", i+1), stream(frameValue{OpPing, true, body}), nil, event{OpPing, body})
	}
	wantStream(t, "2.5", stream(frameValue{OpPing, true, rep("\xfe", 126)}), ErrControlTooLong)
	wantStream(t, "2.7", stream(frameValue{OpPong, true, ""}), nil, event{OpPong, ""})
	wantStream(t, "2.8", stream(frameValue{OpPong, true, "unsolicited"}), nil, event{OpPong, "unsolicited"})
	var frames []frameValue
	var events []event
	for i := range 10 {
		body := fmt.Sprintf("payload-%d", i)
		frames, events = append(frames, frameValue{OpPing, true, body}), append(events, event{OpPing, body})
	}
	wantStream(t, "2.10", stream(frames...), nil, events...)
}

func TestAutobahn3ReservedBits(t *testing.T) {
	for rsv := 1; rsv <= 7; rsv++ {
		for _, op := range []Opcode{OpText, OpBinary, OpClose, OpPing, OpPong} {
			bad := stream(frameValue{op, true, ""})
			bad[0] |= byte(rsv) << 4
			p := append(stream(frameValue{OpText, true, "first"}), bad...)
			wantStream(t, fmt.Sprintf("3.%d %v", rsv, op), p, ErrReservedBits, event{OpText, "first"})
		}
	}
}

func TestAutobahn4ReservedOpcodes(t *testing.T) {
	for _, op := range []Opcode{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		for _, body := range []string{"", "reserved opcode payload"} {
			p := stream(frameValue{OpText, true, "first"}, frameValue{op, true, body}, frameValue{OpPing, true, ""})
			wantStream(t, fmt.Sprintf("4.* opcode %d", op), p, ErrReservedOpcode, event{OpText, "first"})
		}
	}
}

func TestAutobahn5Fragmentation(t *testing.T) {
	a, b := frameValue{OpText, false, "fragment1"}, frameValue{OpContinuation, true, "fragment2"}
	mid := frameValue{OpContinuation, false, "fragment2"}
	ping, whole := frameValue{OpPing, true, "ping payload"}, event{OpText, "fragment1fragment2"}
	pinged := event{OpPing, "ping payload"}
	wantStream(t, "5.1 ping in fragments", stream(frameValue{OpPing, false, "fragment1"}, b), ErrControlFragmented)
	wantStream(t, "5.2 pong in fragments", stream(frameValue{OpPong, false, "fragment1"}, b), ErrControlFragmented)
	wantStream(t, "5.3-5.5 text in two", stream(a, b), nil, whole)
	wantStream(t, "5.6-5.8 ping between", stream(a, ping, b), nil, pinged, whole)
	wantStream(t, "5.9-5.11 continuation first", stream(frameValue{OpContinuation, true, "x"}, frameValue{OpText, true, "y"}), ErrStrayContinuation)
	wantStream(t, "5.12-5.14 the same, no FIN", stream(frameValue{OpContinuation, false, "x"}, frameValue{OpText, true, "y"}), ErrStrayContinuation)
	wantStream(t, "5.15 continuation after the end", stream(a, b, frameValue{OpContinuation, false, "x"}), ErrStrayContinuation, whole)
	wantStream(t, "5.16-5.17 continuation first, repeated", stream(frameValue{OpContinuation, false, "x"}, a, b), ErrStrayContinuation)
	wantStream(t, "5.18 second text begun", stream(a, frameValue{OpText, true, "fragment2"}), ErrInterleaved)
	wantStream(t, "5.19-5.20 five fragments, two pings",
		stream(a, mid, ping, mid, mid, ping, frameValue{OpContinuation, true, "fragment5"}), nil,
		pinged, pinged, event{OpText, "fragment1fragment2fragment2fragment2fragment5"})
}

// The failure must come with the byte that proves it, not with the end of the
// frame or the message (6.4 is where others are NON-STRICT).
func TestAutobahn6TextFailsFast(t *testing.T) {
	for _, text := range utf8Texts {
		at := failsAt(text)
		if at > len(text) {
			continue
		}
		for _, shape := range []struct {
			name   string
			frames []frameValue
		}{
			{"one frame", []frameValue{{OpText, true, text + rep("x", 1000)}}},
			{"first fragment", []frameValue{{OpText, false, text + rep("x", 1000)}}},
			{"second fragment", []frameValue{{OpText, false, "ok: "}, {OpContinuation, true, text + rep("x", 1000)}}},
		} {
			p := stream(shape.frames...)
			bad := len(p) - len(text) - 1000 + at // bytes up to and with the hopeless one
			var d Decoder
			var r recorder
			if err := d.Feed(bytes.Clone(p[:bad-1]), &testLimits, &r); err != nil {
				t.Errorf("%q in %s: failed early: %v", text, shape.name, err)
				continue
			}
			if err := d.Feed(bytes.Clone(p[bad-1:bad]), &testLimits, &r); err != ErrInvalidUTF8 {
				t.Errorf("%q in %s: byte %d gave %v", text, shape.name, at, err)
			}
			d.Release()
		}
	}
}

func TestAutobahn6TextInEveryFragmentation(t *testing.T) {
	for _, text := range utf8Texts {
		wantErr, want := error(ErrInvalidUTF8), []event(nil)
		if utf8.ValidString(text) {
			wantErr, want = nil, []event{{OpText, text}}
		}
		wantStream(t, fmt.Sprintf("%q whole", text), stream(frameValue{OpText, true, text}), wantErr, want...)
		for cut := range len(text) + 1 {
			p := stream(frameValue{OpText, false, text[:cut]}, frameValue{OpContinuation, true, text[cut:]})
			wantStream(t, fmt.Sprintf("%q cut at %d", text, cut), p, wantErr, want...)
		}
		frames := []frameValue{{OpText, false, ""}}
		for i := range len(text) {
			frames = append(frames, frameValue{OpContinuation, false, text[i : i+1]})
		}
		frames = append(frames, frameValue{OpContinuation, true, ""})
		wantStream(t, fmt.Sprintf("%q in fragments of a byte", text), stream(frames...), wantErr, want...)
	}
}

func TestAutobahn7CloseFramesReachTheSink(t *testing.T) {
	body := "\x03\xe8Hello World!"
	text := frameValue{OpText, true, "Hello World!"}
	wantStream(t, "7.1.1", stream(text, frameValue{OpClose, true, body}), nil, event{OpText, "Hello World!"}, event{OpClose, body})
	wantStream(t, "7.1.4 close inside a message", stream(frameValue{OpText, false, "fragment1"}, frameValue{OpClose, true, body},
		frameValue{OpContinuation, true, "fragment2"}), nil, event{OpClose, body}, event{OpText, "fragment1fragment2"})
	wantStream(t, "7.3.6 reason too long", stream(frameValue{OpClose, true, "\x03\xe8" + rep("*", 124)}), ErrControlTooLong)
	for _, v := range closeVectors {
		wantStream(t, v.meaning, stream(frameValue{OpClose, true, v.body}), nil, event{OpClose, v.body})
	}
}

func TestAutobahn10MessageInManyFrames(t *testing.T) {
	body := rep("*", 65536)
	frames := []frameValue{{OpText, false, body[:1300]}}
	rest := body[1300:]
	for len(rest) > 1300 {
		frames, rest = append(frames, frameValue{OpContinuation, false, rest[:1300]}), rest[1300:]
	}
	frames = append(frames, frameValue{OpContinuation, true, rest})
	wantStream(t, "10.1.1", stream(frames...), nil, event{OpText, body})
}

// Autobahn's 9.*: megabytes, whole and in fragments, beyond the largest pooled buffer.
func TestAutobahn9LargeMessages(t *testing.T) {
	body := rep("Throng€", 4<<20/9)
	wantStream(t, "9.1 whole", stream(frameValue{OpText, true, body}), nil, event{OpText, body})
	var frames []frameValue
	for at := 0; at < len(body); at += 65521 {
		op := OpContinuation
		if at == 0 {
			op = OpText
		}
		end := min(at+65521, len(body))
		frames = append(frames, frameValue{op, end == len(body), body[at:end]})
	}
	wantStream(t, "9.3 fragments", stream(frames...), nil, event{OpText, body})
}
