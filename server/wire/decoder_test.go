package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// recorder is a Sink that remembers, and that spoils what it was lent, as its
// owner may.
type recorder struct {
	events []event
	fail   error // returned by the call that makes len(events) == failAt
	failAt int
}

func (r *recorder) take(op Opcode, p []byte) error {
	r.events = append(r.events, event{op, string(p)})
	for i := range p {
		p[i] = 0xAA
	}
	if r.fail != nil && len(r.events) == r.failAt {
		return r.fail
	}
	return nil
}

func (r *recorder) OnMessage(op Opcode, p []byte) error {
	if op != OpText && op != OpBinary {
		return fmt.Errorf("OnMessage with opcode %v", op)
	}
	return r.take(op, p)
}

func (r *recorder) OnControl(op Opcode, p []byte) error {
	if !op.isControl() || len(p) > MaxControlPayload {
		return fmt.Errorf("OnControl with opcode %v, %d bytes", op, len(p))
	}
	return r.take(op, p)
}

var testLimits = Limits{MaxMessage: 65536}

// feedPieces feeds every piece in memory of its own and returns what came of it.
func feedPieces(from side, lim *Limits, pieces ...[]byte) (r recorder, d Decoder, err error) {
	for _, p := range pieces {
		p = bytes.Clone(p)
		if from == client {
			err = d.Feed(p, lim, &r)
		} else {
			err = d.FeedServer(p, lim, &r)
		}
		if err != nil {
			break
		}
	}
	return r, d, err
}

func (v *vector) want(t *testing.T, how string, r recorder, err error) {
	t.Helper()
	if err != v.err {
		t.Fatalf("%s, %s: got error %v, want %v (RFC 6455, %s)", v.meaning, how, err, v.err, v.rfc)
	}
	if !slices.Equal(r.events, v.events) {
		t.Fatalf("%s, %s: got %v, want %v (RFC 6455, %s)", v.meaning, how, r.events, v.events, v.rfc)
	}
}

func TestDecoderGivesTheEventsOfTheVectors(t *testing.T) {
	for _, v := range vectors {
		r, d, err := feedPieces(v.from, &testLimits, unhexed(t, v.hex))
		v.want(t, "whole", r, err)
		if d.st != nil {
			t.Errorf("%s: state kept: %+v", v.meaning, d.st)
		}
	}
}

func TestDecoderCutAtEveryPointGivesTheSame(t *testing.T) {
	for _, v := range vectors {
		p := unhexed(t, v.hex)
		for cut := 0; cut <= len(p); cut++ {
			if len(p) > 4096 && cut > 64 && cut < len(p)-64 {
				cut = min(cut+996, len(p)-64)
			}
			r, d, err := feedPieces(v.from, &testLimits, p[:cut], p[cut:])
			v.want(t, fmt.Sprintf("cut at %d", cut), r, err)
			if d.st != nil {
				t.Fatalf("%s, cut at %d: state kept", v.meaning, cut)
			}
		}
	}
}

func TestDecoderByteByByteGivesTheSame(t *testing.T) {
	for _, v := range vectors {
		p := unhexed(t, v.hex)
		r, d, err := feedPieces(v.from, &testLimits, slices.Collect(slices.Chunk(p, 1))...)
		v.want(t, "byte by byte", r, err)
		if d.st != nil {
			t.Fatalf("%s: state kept", v.meaning)
		}
	}
}

func TestDecoderAtRandomPointsGivesTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		for _, v := range vectors {
			r, _, err := feedPieces(v.from, &testLimits, randomPieces(rng, unhexed(t, v.hex))...)
			v.want(t, "random pieces", r, err)
		}
	}
}

func randomPieces(rng *rand.Rand, p []byte) (pieces [][]byte) {
	top := 1 + rng.IntN(len(p)+1)
	for len(p) > 0 {
		n := min(len(p), rng.IntN(top)+1)
		pieces, p = append(pieces, p[:n]), p[n:]
	}
	return pieces
}

func TestIdleDecoderIsOnePointer(t *testing.T) {
	if size := unsafe.Sizeof(Decoder{}); size != 8 {
		t.Errorf("got %d bytes, want 8: one sits in every connection", size)
	}
	if size := unsafe.Sizeof(partial{}); size > 64 {
		t.Errorf("partial is %d bytes, want at most 64: a slow peer holds one", size)
	}
}

// A frame that announces 64 KiB and arrives in small pieces must never make the
// decoder hold more than has arrived, size classes apart.
func TestBuffersFollowWhatArrivedNotWhatWasAnnounced(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	p := AppendMaskedFrame(nil, OpText, true, body, [4]byte{1, 2, 3, 4})
	var d Decoder
	var r recorder
	fed := 0
	for piece := range slices.Chunk(p, 100) {
		if err := d.Feed(piece, &testLimits, &r); err != nil {
			t.Fatal(err)
		}
		fed += len(piece)
		if fed < len(p) {
			wantBounded(t, &d, fed)
		}
	}
	if len(r.events) != 1 || r.events[0].payload != string(body) {
		t.Fatal("message lost or altered")
	}
	if d.st != nil {
		t.Error("state kept after the message")
	}
}

// wantBounded checks the memory of a decoder that was fed that many bytes.
func wantBounded(t testing.TB, d *Decoder, fed int) {
	t.Helper()
	if d.Buffered() > fed {
		t.Fatalf("holds %d bytes of %d fed", d.Buffered(), fed)
	}
	if d.st == nil {
		return
	}
	for _, b := range []*buffer{d.st.data, d.st.ctl} {
		if b != nil && cap(b.b) > max(minBuffer, 2*len(b.b)) {
			t.Fatalf("buffer of %d for %d bytes", cap(b.b), len(b.b))
		}
	}
	if n := len(d.st.ctl.bytes()); n > MaxControlPayload {
		t.Fatalf("control buffer holds %d", n)
	}
}

func TestBufferedCountsHeaderFrameAndMessage(t *testing.T) {
	var d Decoder
	var r recorder
	for i, step := range []struct {
		hex  string
		want int
	}{
		{"01", 1},                // half a header
		{"83 0000", 4},           // more of it
		{"0000 61", 1},           // header done: only payload counts
		{"62 63", 3},             // frame done, message not
		{"89 82 00000000 70", 4}, // half a ping between
		{"71", 3},                // ping done
		{"80 80 00000000", 0},    // message done
	} {
		if err := d.Feed(unhexed(t, step.hex), &testLimits, &r); err != nil {
			t.Fatal(err)
		}
		if d.Buffered() != step.want {
			t.Errorf("step %d: holds %d, want %d", i, d.Buffered(), step.want)
		}
	}
	if want := []event{{OpPing, "pq"}, {OpText, "abc"}}; !slices.Equal(r.events, want) {
		t.Errorf("got %v, want %v", r.events, want)
	}
}

func TestAnErrorReleasesEverything(t *testing.T) {
	var d Decoder
	var r recorder
	if err := d.Feed(unhexed(t, "01 83 00000000 616263 09 80"), &testLimits, &r); err != ErrControlFragmented {
		t.Fatalf("got %v", err)
	}
	if d.st != nil || d.Buffered() != 0 {
		t.Error("memory kept after an error")
	}
}

func TestReleaseMakesADecoderNew(t *testing.T) {
	var d Decoder
	var r recorder
	d.Release()
	if err := d.Feed(unhexed(t, "01 83 00000000 616263 89 82 00000000 70"), &testLimits, &r); err != nil {
		t.Fatal(err)
	}
	d.Release()
	if d.Buffered() != 0 {
		t.Error("bytes held after Release")
	}
	if err := d.Feed(unhexed(t, "81 81 00000000 61"), &testLimits, &r); err != nil {
		t.Fatal(err)
	}
	if want := []event{{OpText, "a"}}; !slices.Equal(r.events, want) {
		t.Errorf("got %v, want %v", r.events, want)
	}
}

// The sink's error stops the feed at exactly that message, whether it lay whole
// in the input or was put together.
func TestSinkErrorStopsTheFeedAndIsReturnedAsItIs(t *testing.T) {
	stop := errors.New("stop")
	p := unhexed(t, "81 81 00000000 61 01 81 00000000 62 80 81 00000000 63 89 80 00000000 81 81 00000000 64")
	all := []event{{OpText, "a"}, {OpText, "bc"}, {OpPing, ""}, {OpText, "d"}}
	for at := 1; at <= len(all); at++ {
		for _, size := range []int{1, 3, len(p)} {
			r := recorder{fail: stop, failAt: at}
			var d Decoder
			var err error
			for piece := range slices.Chunk(bytes.Clone(p), size) {
				if err = d.Feed(piece, &testLimits, &r); err != nil {
					break
				}
			}
			if err != stop || !slices.Equal(r.events, all[:at]) || d.st != nil {
				t.Errorf("stop at %d, pieces of %d: err %v, events %v, state %v", at, size, err, r.events, d.st)
			}
		}
	}
}

// releasing is a connection that closes itself in every callback.
type releasing struct {
	recorder
	d *Decoder
}

func (r *releasing) OnMessage(op Opcode, p []byte) error {
	r.d.Release()
	return r.recorder.OnMessage(op, p)
}

func (r *releasing) OnControl(op Opcode, p []byte) error {
	r.d.Release()
	return r.recorder.OnControl(op, p)
}

func TestSinkMayReleaseTheDecoder(t *testing.T) {
	p := unhexed(t, "81 82 00000000 6162 89 82 00000000 7071 02 81 00000000 62 80 81 00000000 63 81 81 00000000 64")
	want := []event{{OpText, "ab"}, {OpPing, "pq"}, {OpBinary, "bc"}, {OpText, "d"}}
	for size := 1; size <= len(p); size++ {
		var d Decoder
		r := releasing{d: &d}
		for piece := range slices.Chunk(bytes.Clone(p), size) {
			if err := d.Feed(piece, &testLimits, &r); err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
		}
		if !slices.Equal(r.events, want) {
			t.Errorf("pieces of %d: got %v", size, r.events)
		}
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	h := func(n int) []byte { return AppendMaskedFrame(nil, OpBinary, true, make([]byte, n), [4]byte{}) }
	for _, c := range []struct {
		lim  Limits
		n    int
		want error
	}{
		{Limits{}, DefaultMaxMessage, nil},
		{Limits{}, DefaultMaxMessage + 1, ErrFrameTooBig},
		{Limits{MaxMessage: 10}, 10, nil},
		{Limits{MaxMessage: 10}, 11, ErrFrameTooBig},
		{Limits{MaxMessage: 10, MaxFrame: 5}, 5, nil},
		{Limits{MaxMessage: 10, MaxFrame: 5}, 6, ErrFrameTooBig},
		{Limits{MaxMessage: 10, MaxFrame: 20}, 11, ErrMessageTooBig},
	} {
		if _, _, err := feedPieces(client, &c.lim, h(c.n)); err != c.want {
			t.Errorf("%+v, %d bytes: got %v, want %v", c.lim, c.n, err, c.want)
		}
	}
}

// Control frames are not bound by the limits of data frames: a node with a tiny
// message limit must still answer pings.
func TestLimitsLeaveControlFramesAlone(t *testing.T) {
	lim := Limits{MaxMessage: 1, MaxFrame: 1}
	p := AppendMaskedFrame(nil, OpPing, true, make([]byte, MaxControlPayload), [4]byte{})
	if r, _, err := feedPieces(client, &lim, p); err != nil || len(r.events) != 1 {
		t.Errorf("got %v, %d events", err, len(r.events))
	}
}

func TestAnnouncedSizesCostNothing(t *testing.T) {
	var d Decoder
	lim := Limits{MaxMessage: 1 << 40}
	if err := d.Feed(unhexed(t, "82 ff 000000ffffffffff 00000000 61"), &lim, &recorder{}); err != nil {
		t.Fatal(err)
	}
	if got := cap(d.st.data.b); got != minBuffer {
		t.Errorf("one byte of a terabyte took a buffer of %d", got)
	}
	d.Release()
}

func TestProtocolErrorsNameTheirCode(t *testing.T) {
	if got, want := ErrInvalidUTF8.Error(), "wire: invalid_payload: invalid UTF-8"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var pe *ProtocolError
	if err := error(ErrFrameTooBig); !errors.As(err, &pe) || pe.Code != CloseTooBig {
		t.Error("errors.As does not find the code")
	}
}
