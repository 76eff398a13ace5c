package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// FuzzDecoder feeds arbitrary bytes whole and in random pieces: no panic, the
// same events, the same error, the same bytes held, and memory bounded by what
// arrived.
func FuzzDecoder(f *testing.F) {
	for i, v := range vectors {
		if len(v.hex) < 4096 {
			f.Add(unhexed(f, v.hex), uint64(i), uint16(1000), uint16(500), bool(v.from))
		}
	}
	f.Add(stream(frameValue{OpText, false, rep("€", 400)}, frameValue{OpPing, true, "p"}, frameValue{OpContinuation, true, "x"}),
		uint64(1), uint16(2000), uint16(2000), true)
	f.Fuzz(func(t *testing.T, p []byte, seed uint64, maxMessage, maxFrame uint16, from bool) {
		lim := Limits{MaxMessage: int(maxMessage), MaxFrame: int(maxFrame)}
		whole, wholeD, wholeErr := feedPieces(side(from), &lim, p)
		wantProtocolError(t, wholeErr)

		rng := rand.New(rand.NewPCG(seed, 1))
		var r recorder
		var d Decoder
		var err error
		fed := 0
		for _, piece := range randomPieces(rng, bytes.Clone(p)) {
			if from {
				err = d.Feed(piece, &lim, &r)
			} else {
				err = d.FeedServer(piece, &lim, &r)
			}
			if err != nil {
				break
			}
			fed += len(piece)
			wantBounded(t, &d, fed)
			if top := effective(lim.MaxMessage) + MaxControlPayload + MaxHeader; d.Buffered() > top {
				t.Fatalf("holds %d, limit %d", d.Buffered(), top)
			}
		}
		if err != wholeErr {
			t.Fatalf("in pieces %v, whole %v", err, wholeErr)
		}
		if !slices.Equal(r.events, whole.events) {
			t.Fatalf("in pieces %v, whole %v", r.events, whole.events)
		}
		if d.Buffered() != wholeD.Buffered() || (d.st == nil) != (wholeD.st == nil) {
			t.Fatalf("in pieces %d held, whole %d", d.Buffered(), wholeD.Buffered())
		}
		d.Release()
		wholeD.Release()
	})
}

func effective(max int) int {
	if max == 0 {
		return DefaultMaxMessage
	}
	return max
}

func wantProtocolError(t *testing.T, err error) {
	t.Helper()
	var pe *ProtocolError
	if err != nil && (!errors.As(err, &pe) || !ValidCloseCode(pe.Code) || pe.Reason == "") {
		t.Fatalf("error %v", err)
	}
}

// FuzzDecoderVsGorilla reads the same valid stream with gorilla/websocket's
// server side: both must find the same messages and control frames.
func FuzzDecoderVsGorilla(f *testing.F) {
	for _, script := range []string{"", "\x00\x05", "\x02\x03\x04\x05\x06\x07", "\x0a\xff\x09\x10\x02\x80\x06\x01\x07\x20", "\x03\x7e\x03\x7f\x03\xff"} {
		f.Add([]byte(script), uint64(len(script)))
	}
	f.Fuzz(func(t *testing.T, script []byte, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		p, want := scripted(rng, script)
		r, d, err := feedPieces(client, &Limits{MaxMessage: 1 << 24}, randomPieces(rng, p)...)
		if err != nil || d.Buffered() != 0 {
			t.Fatalf("valid stream: %v, %d held", err, d.Buffered())
		}
		if !slices.Equal(r.events, want) {
			t.Fatalf("got %v, want %v", r.events, want)
		}
		if got := readByGorilla(t, p); !slices.Equal(got, want) {
			t.Fatalf("gorilla got %v, we %v", got, want)
		}
	})
}

// scripted turns two bytes of script at a time, kind and size, into frames of a
// valid stream and into what they mean. Fragmented messages get control frames
// in between.
func scripted(rng *rand.Rand, script []byte) (p []byte, want []event) {
	add := func(op Opcode, fin bool, payload string) {
		key := [4]byte{byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}
		p = AppendMaskedFrame(p, op, fin, []byte(payload), key)
	}
	for ; len(script) >= 2 && len(want) < 50; script = script[2:] {
		kind, size := script[0], int(script[1])
		switch kind % 4 {
		case 0:
			op := []Opcode{OpPing, OpPong}[kind>>2&1]
			body := rep("c", min(size, MaxControlPayload))
			add(op, true, body)
			want = append(want, event{op, body})
		case 1:
			add(OpBinary, true, rep("\xfe", size*size))
			want = append(want, event{OpBinary, rep("\xfe", size*size)})
		case 2:
			body := rep("aé€😀", size*4)
			add(OpText, true, body)
			want = append(want, event{OpText, body})
		case 3:
			body := rep("aé€😀", size)
			op, rest := OpText, body
			for n := rng.IntN(4); n > 0; n-- {
				cut := rng.IntN(len(rest) + 1)
				add(op, false, rest[:cut])
				op, rest = OpContinuation, rest[cut:]
				add(OpPing, true, "between")
				want = append(want, event{OpPing, "between"})
			}
			add(op, true, rest)
			want = append(want, event{OpText, body})
		}
	}
	return p, want
}

// memoryConn is a connection that was already read into memory.
type memoryConn struct{ in *bytes.Reader }

func (c memoryConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c memoryConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c memoryConn) Close() error                     { return nil }
func (c memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c memoryConn) SetDeadline(time.Time) error      { return nil }
func (c memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c memoryConn) SetWriteDeadline(time.Time) error { return nil }

// hijacked lets gorilla take a memoryConn over from a request.
type hijacked struct {
	http.ResponseWriter
	conn memoryConn
}

func (h hijacked) Header() http.Header { return http.Header{} }
func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

func readByGorilla(t *testing.T, p []byte) (events []event) {
	t.Helper()
	req, err := http.NewRequest("GET", "http://a/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	var up websocket.Upgrader
	c, err := up.Upgrade(hijacked{conn: memoryConn{bytes.NewReader(p)}}, req, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.SetPingHandler(func(s string) error { events = append(events, event{OpPing, s}); return nil })
	c.SetPongHandler(func(s string) error { events = append(events, event{OpPong, s}); return nil })
	for {
		op, r, err := c.NextReader()
		if err != nil {
			if !errors.Is(err, io.EOF) && !websocket.IsCloseError(err, websocket.CloseAbnormalClosure) {
				t.Fatalf("gorilla: %v", err)
			}
			return events
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("gorilla: %v", err)
		}
		events = append(events, event{Opcode(op), string(body)})
	}
}

// FuzzFrame: what was appended must be parsed back, whatever the payload.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("Hello"), uint8(1), true, uint32(0x37fa213d))
	f.Add(bytes.Repeat([]byte("x"), 126), uint8(2), false, uint32(0))
	f.Fuzz(func(t *testing.T, payload []byte, code uint8, fin bool, k uint32) {
		op := []Opcode{OpText, OpBinary, OpClose, OpPing, OpPong}[code%5]
		if op.isControl() {
			payload, fin = payload[:min(len(payload), MaxControlPayload)], true
		}
		key := [4]byte{byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}
		rules := headerRules{maxFrame: len(payload), room: len(payload), masked: true}
		p := AppendMaskedFrame(nil, op, fin, payload, key)
		h, n, err := rules.parse(p)
		if err != nil || h.op != op || h.fin != fin || h.length != len(payload) || h.key != key || n+h.length != len(p) {
			t.Fatalf("%x became %+v, n %d, err %v", head(p), h, n, err)
		}
		var r recorder
		var d Decoder
		p = AppendFrame(nil, op, payload)
		err = d.FeedServer(bytes.Clone(p), &Limits{MaxMessage: len(payload) + 1}, &r)
		if op == OpText && err == ErrInvalidUTF8 {
			return
		}
		if want := (event{op, string(payload)}); err != nil || len(r.events) != 1 || r.events[0] != want {
			t.Fatalf("%x gave %v, err %v", head(p), r.events, err)
		}
	})
}
