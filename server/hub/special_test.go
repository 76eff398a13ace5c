package hub

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"throng/server/wire"
)

// deltaEncoder shows whether a publication came with its delta; joins are "+", leaves "-".
func deltaEncoder(dst []byte, p *Publication) []byte {
	switch {
	case !p.isMessage() && p.Meta.Kind == wire.KindJoin:
		return append(dst, "+;"...)
	case !p.isMessage():
		return append(dst, "-;"...)
	case strings.HasPrefix(string(p.Data), "mute"):
		return dst
	case p.Delta != nil:
		dst = append(dst, p.Delta...)
	default:
		dst = append(dst, p.Data...)
	}
	return append(dst, ';')
}

// everyEncoding has deltaEncoder in all of them.
func everyEncoding(cfg Config) Config {
	for e := range cfg.Encoders {
		cfg.Encoders[e] = deltaEncoder
	}
	return cfg
}

// prefixFilter wants publications whose first tag begins with it.
type prefixFilter string

func (f prefixFilter) Match(tags []wire.Tag) bool {
	return len(tags) > 0 && strings.HasPrefix(tags[0].Value, string(f))
}

// at makes a publication of a stream. Its delta names the one before.
func at(channel string, offset uint64) Publication {
	return Publication{
		Channel: channel, Data: []byte(strconv.FormatUint(offset, 10)), Delta: fmt.Appendf(nil, "%d>%d", offset-1, offset),
		Meta: &wire.Meta{Offset: offset, Tags: []wire.Tag{{Key: "t", Value: strconv.FormatUint(offset, 10)}}},
	}
}

// live makes a publication outside any stream.
func live(channel, data string) Publication { return Publication{Channel: channel, Data: []byte(data)} }

func joinOf(channel string) Publication {
	return Publication{Channel: channel, Meta: &wire.Meta{Kind: wire.KindJoin}}
}

func (x *harness) stream(channel string, offsets ...uint64) {
	x.t.Helper()
	for _, o := range offsets {
		x.h.Deliver(at(channel, o))
	}
}

func (x *harness) joinSpecial(c *fakeConn, e Encoding, sp Special) *Subscription {
	x.t.Helper()
	s := &Subscription{Sub: c, Encoding: e}
	x.h.SubscribeSpecial(s, "c", sp)
	return s
}

// cutLog is a Config.OnCut that remembers.
type cutLog struct{ told []*Subscription }

func (l *cutLog) cut(s *Subscription) { l.told = append(l.told, s) }

func (l *cutLog) want(t *testing.T, subs ...*Subscription) {
	t.Helper()
	if !slices.Equal(l.told, subs) {
		t.Errorf("%d told that they were cut, want %d or others", len(l.told), len(subs))
	}
}

func TestNothingIsSentBeforeOpenAndEverythingAfterOnce(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	a, plain := &fakeConn{}, &fakeConn{}
	s := x.joinSpecial(a, EncodingJSONJoins, Special{Hold: true})
	x.joinSpecial(plain, EncodingJSONJoins, Special{})
	x.stream("c", 1, 2)
	x.settle()
	x.h.Deliver(live("c", "x"))
	x.h.Deliver(joinOf("c"))
	x.stream("c", 3)
	x.settle()
	x.stream("c", 4) // still in the mailbox when Open comes
	x.want("held", a.text(), "")
	if st := x.h.Stats(); st.Special != 1 || st.Held != 1 || st.Deliveries != 5 {
		t.Errorf("stats %+v", st)
	}
	x.h.Open(s, 2, false)
	x.settle()
	x.want("opened", a.text(), "x;+;2>3;3>4;")
	x.want("plain", plain.text(), "0>1;1>2;x;+;2>3;3>4;")
	if s.special.Load() != nil {
		t.Error("nothing is special about it any more")
	}
	x.h.Open(s, 100, true) // again: nothing
	x.stream("c", 5)
	x.settle()
	x.want("on the fast path", a.text(), "x;+;2>3;3>4;4>5;")
	if a.writes != 2 {
		t.Errorf("%d writes, want one per turn with something to send", a.writes)
	}
	if st := x.h.Stats(); st.Special != 0 || st.Held != 0 || st.Deliveries != 7+5 {
		t.Errorf("stats %+v", st)
	}
}

func TestWhatWasToldIsNotSentEvenIfItComesAfterOpen(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	a := &fakeConn{}
	s := x.joinSpecial(a, EncodingJSON, Special{Hold: true})
	x.h.Open(s, 7, false)
	x.settle()
	x.stream("c", 5, 6)
	x.settle()
	x.h.Deliver(live("c", "x"))
	x.stream("c", 7)
	x.settle()
	x.want("told by its owner", a.text(), "x;")
	x.stream("c", 9, 11)
	x.settle()
	x.want("news", a.text(), "x;8>9;10>11;")
	if s.special.Load() != nil {
		t.Error("still off the fast path")
	}
}

// At every point of a batch, for every place in the list: who opens late gets each publication once, and so do the others,
// who share their frame.
func TestOpeningDuringABatch(t *testing.T) {
	const n = 5
	for stop := 0; stop <= 2*n+2; stop++ {
		for who := range n {
			testOpeningDuringABatch(t, stop, who)
		}
	}
}

func testOpeningDuringABatch(t *testing.T, stop, who int) {
	const n = 5
	x := newHarness(t, everyEncoding(Config{TurnSubscribers: 1, BatchBytes: 1}))
	conns, late := make([]*fakeConn, n), (*Subscription)(nil)
	for i := range conns {
		conns[i] = &fakeConn{}
		s := x.joinSpecial(conns[i], EncodingJSON, Special{Hold: i == who})
		if i == who {
			late = s
		}
	}
	x.stream("c", 1, 2, 3)
	for range stop {
		x.step(0)
	}
	x.h.Open(late, 1, false)
	x.settle()
	x.stream("c", 4)
	x.settle()
	for i, c := range conns {
		want := "0>1;1>2;2>3;3>4;"
		if i == who {
			want = "1>2;2>3;3>4;"
		}
		x.want(fmt.Sprintf("stop %d, opener %d, member %d", stop, who, i), c.text(), want)
	}
	other := conns[(who+1)%n]
	for i, f := range conns[(who+2)%n].frames {
		if unsafe.SliceData(f) != unsafe.SliceData(other.frames[i]) {
			t.Fatal("frames of others are not shared")
		}
	}
}

func TestOpeningsShareFramesAndAreSpreadOverTurns(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{TurnSubscribers: 10}))
	const n = 50
	conns, subs := make([]*fakeConn, n), make([]*Subscription, n)
	for i := range conns {
		conns[i] = &fakeConn{}
		subs[i] = x.joinSpecial(conns[i], EncodingJSON, Special{Hold: true})
	}
	x.stream("c", 1, 2)
	x.settle()
	for _, s := range subs {
		x.h.Open(s, 0, false)
	}
	x.step(0)
	early := 0
	for _, c := range conns {
		early += len(c.frames)
	}
	if early == 0 || early > 10 {
		t.Errorf("%d were sent what they held in the first turn, want some and at most 10", early)
	}
	x.stream("c", 3) // those that still wait hold this too
	x.settle()
	for i, c := range conns {
		x.want("opened", c.text(), "0>1;1>2;2>3;")
		if subs[i].special.Load() != nil || unsafe.SliceData(c.frames[0]) != unsafe.SliceData(conns[0].frames[0]) {
			t.Fatal("not on the fast path, or a frame of its own")
		}
	}
	if x.h.shards[0].opening != nil {
		t.Error("the list of openings keeps memory")
	}
}

func TestHoldingTooMuchCuts(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg   Config
		fits  int
		batch bool
	}{
		"publications, together": {Config{HoldLen: 8}, 8, true},
		"publications, apart":    {Config{HoldLen: 8}, 8, false},
		"bytes":                  {Config{HoldBytes: 40}, 10, false}, // 1 byte of data and 3 of delta each
	} {
		t.Run(name, func(t *testing.T) {
			var log cutLog
			tc.cfg.OnCut = log.cut
			x := newHarness(t, everyEncoding(tc.cfg))
			a, b, plain := &fakeConn{}, &fakeConn{}, &fakeConn{}
			s := x.joinSpecial(a, EncodingJSON, Special{Hold: true})
			quick := x.joinSpecial(b, EncodingJSON, Special{Hold: true})
			x.joinSpecial(plain, EncodingJSON, Special{})
			for i := range tc.fits {
				x.h.Deliver(Publication{Channel: "c", Data: []byte{'x'}, Delta: []byte("123")})
				if i == 5 {
					x.h.Open(quick, 0, false)
				}
				if !tc.batch {
					x.settle()
				}
			}
			x.settle()
			log.want(t)
			x.h.Deliver(live("c", "x"))
			x.settle()
			log.want(t, s)
			x.h.Open(s, 0, false)
			x.h.Deliver(live("c", "x"))
			x.settle()
			x.want("cut", a.text(), "")
			all := strings.Repeat("123;", tc.fits) + "x;x;"
			x.want("opened in time", b.text(), all)
			x.want("plain", plain.text(), all)
			if st := x.h.Stats(); st.Cuts != 1 || st.HoldOverflows != 1 || st.Held != 0 || st.Special != 0 {
				t.Errorf("stats %+v", st)
			}
			x.h.Unsubscribe(s)
			x.settle()
			log.want(t, s)
		})
	}
}

func TestFilterChoosesPublicationsOnly(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	a := &fakeConn{}
	s := x.joinSpecial(a, EncodingJSONJoins, Special{Hold: true, Filter: prefixFilter("1")})
	x.stream("c", 1, 2)
	x.h.Deliver(joinOf("c"))
	x.stream("c", 10, 11)
	x.settle()
	x.h.Open(s, 1, false)
	x.settle()
	x.stream("c", 20, 100)
	x.h.Deliver(live("c", "without tags"))
	x.settle()
	x.want("chosen", a.text(), "+;9>10;10>11;99>100;")
	if s.special.Load() == nil {
		t.Error("the filter was forgotten")
	}
	if st := x.h.Stats(); st.Filtered != 3 || st.Deliveries != 4 {
		t.Errorf("stats %+v, want 3 filtered after the position, 4 sent", st)
	}
}

func TestFramesAreSharedByAllWhoTakeTheSame(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	conn := func(f Filter) *fakeConn {
		c := &fakeConn{}
		x.joinSpecial(c, EncodingJSON, Special{Filter: f})
		return c
	}
	plain, all, none := conn(nil), conn(prefixFilter("")), conn(prefixFilter("x"))
	ones, others, ten := conn(prefixFilter("1")), conn(prefixFilter("1")), conn(prefixFilter("10"))
	x.stream("c", 10, 11, 20)
	x.settle()
	x.want("plain", plain.text(), "9>10;10>11;19>20;")
	x.want("none", none.text(), "")
	x.want("ones", ones.text(), "9>10;10>11;")
	x.want("ten", ten.text(), "9>10;")
	if unsafe.SliceData(plain.frames[0]) != unsafe.SliceData(all.frames[0]) {
		t.Error("who takes all has a frame of its own")
	}
	if unsafe.SliceData(ones.frames[0]) != unsafe.SliceData(others.frames[0]) {
		t.Error("who takes the same part does not share it")
	}
	if st := x.h.Stats(); st.Frames != 3 {
		t.Errorf("%d frames built, want 3", st.Frames)
	}
}

// More publications than a part's bit set has room for, and more different parts than are kept.
func TestLargeBatchesAndManyPartsAreNotShared(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	const n = 2 * maxParts
	conns := make([]*fakeConn, n)
	for i := range conns {
		conns[i] = &fakeConn{}
		x.h.Open(x.joinSpecial(conns[i], EncodingJSON, Special{Hold: true}), uint64(i), false)
	}
	deltas := make([]string, n)
	for i := range deltas {
		deltas[i] = fmt.Sprintf("%d>%d;", i, i+1)
	}
	for _, size := range []int{maxParts, n} {
		for i := range conns {
			conns[i].frames = nil
		}
		x.settle()
		for i := range size {
			x.stream("c", uint64(i+1))
		}
		x.settle()
		for i, c := range conns {
			if size == maxParts && i < size { // those beyond have seen everything before
				x.want(fmt.Sprint("first batch, ", i), c.text(), strings.Join(deltas[i:size], ""))
			}
			if size == n && i >= maxParts {
				x.want(fmt.Sprint("second batch, ", i), c.text(), strings.Join(deltas[i:], ""))
			}
		}
	}
}

// The shard has not heard of the leave yet, so its list still has the former membership, at which it must not mistake a new
// one for one that is open.
func TestHoldBeginsWithTheReturnOfSubscribeThoughAFormerMembershipIsStillListed(t *testing.T) {
	for name, before := range map[string]Special{"plain": {}, "held": {Hold: true}, "filtered": {Filter: prefixFilter("")}} {
		t.Run(name, func(t *testing.T) {
			x := newHarness(t, everyEncoding(Config{TurnSubscribers: 1}))
			first, a, keeps := &fakeConn{}, &fakeConn{}, &fakeConn{}
			x.joinSpecial(first, EncodingJSON, Special{})
			s := x.joinSpecial(a, EncodingJSON, before)
			x.h.Open(s, 0, false)
			x.joinSpecial(keeps, EncodingJSON, Special{})
			x.stream("c", 1)
			x.settle()
			a.frames = nil
			first.onSend = func([]byte) {
				first.onSend = nil
				x.h.Unsubscribe(s)
				x.h.SubscribeSpecial(s, "c", Special{Hold: true})
				x.h.Open(s, 2, false) // what is sent before would come before the answer
			}
			x.stream("c", 2)
			sh := x.h.shards[0]
			sh.cfg.TurnSubscribers = 100 // all in one turn, without control in between
			x.settle()
			x.stream("c", 3)
			x.settle()
			x.want("new membership", a.text(), "2>3;")
			if st := x.h.Stats(); st.Special != 0 || st.Held != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestNothingHeldIsSentToOneWhoLeavesWhileOthersAreOpened(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	a, b := &fakeConn{}, &fakeConn{}
	first := x.joinSpecial(a, EncodingJSON, Special{Hold: true})
	second := x.joinSpecial(b, EncodingJSON, Special{Hold: true})
	x.stream("c", 1)
	x.settle()
	a.onSend = func([]byte) { x.h.Unsubscribe(second) }
	x.h.Open(first, 0, false)
	x.h.Open(second, 0, false)
	x.settle()
	x.want("stays", a.text(), "0>1;")
	x.want("left", b.text(), "")
}

// flushedConn tells its channel what it was sent.
type flushedConn struct {
	fakeConn
	out chan string
}

func (c *flushedConn) Flush() { c.out <- c.text() }

func TestShardGoesOnUntilAllAreOpen(t *testing.T) {
	x := started(t, everyEncoding(Config{TurnSubscribers: 1}))
	defer x.h.Close()
	out, all := make(chan string, 100), make(chan struct{})
	var subs []*Subscription
	for i := range 50 {
		c := &flushedConn{out: out}
		if i == 0 {
			c.onSend = func([]byte) { <-all }
		}
		s := &Subscription{Sub: c, Encoding: EncodingJSON}
		x.h.SubscribeSpecial(s, "c", Special{Hold: true})
		subs = append(subs, s)
	}
	x.stream("c", 1)
	for x.h.Stats().MailboxDepth > 0 {
		runtime.Gosched()
	}
	for _, s := range subs {
		x.h.Open(s, 0, false)
	}
	close(all)
	for range subs {
		x.want("opened", <-out, "0>1;")
	}
}

func TestUnsubscribeBeforeOpen(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	a := &fakeConn{}
	s := x.joinSpecial(a, EncodingJSON, Special{Hold: true})
	x.stream("c", 1)
	x.settle()
	x.h.Open(s, 0, false)
	x.h.Unsubscribe(s)
	x.h.Open(s, 0, false)
	x.settle()
	x.want("left", a.text(), "")
	if st := x.h.Stats(); st.Held != 0 || st.Special != 0 || s.special.Load() != nil {
		t.Errorf("stats %+v", st)
	}
	x.h.Subscribe(s, "c") // plain now
	x.h.Deliver(live("c", "x"))
	x.settle()
	x.want("plain", a.text(), "x;")
}
