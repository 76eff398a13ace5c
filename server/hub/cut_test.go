package hub

import (
	"strings"
	"testing"

	"throng/server/wire"
)

func TestCutEndsPositionedSubscriptionsOnly(t *testing.T) {
	var log cutLog
	x := newHarness(t, everyEncoding(Config{OnCut: log.cut, Shards: 2}))
	conns := make([]*fakeConn, 6)
	for i := range conns {
		conns[i] = &fakeConn{}
	}
	fast := x.joinSpecial(conns[0], EncodingJSON, Special{Hold: true})
	x.h.Open(fast, 0, false)
	held := x.joinSpecial(conns[1], EncodingJSON, Special{Hold: true})
	filtered := x.joinSpecial(conns[2], EncodingJSON, Special{Hold: true, Filter: prefixFilter("")})
	x.h.Open(filtered, 0, false)
	x.joinSpecial(conns[3], EncodingJSON, Special{})
	x.joinSpecial(conns[4], EncodingJSON, Special{Filter: prefixFilter("")})
	left := x.joinSpecial(conns[5], EncodingJSON, Special{Hold: true})
	elsewhere := &Subscription{Sub: conns[5], Encoding: EncodingJSON}
	x.h.SubscribeSpecial(elsewhere, "d", Special{Hold: true})
	x.stream("c", 1)
	x.settle()
	x.h.Unsubscribe(left)
	x.h.Cut("c")
	x.h.Cut("nobody")
	x.stream("c", 3)
	x.settle()
	log.want(t, fast, held, filtered)
	x.h.Open(held, 0, false)
	x.h.Cut("c") // nobody is told twice
	x.stream("c", 4)
	x.settle()
	log.want(t, fast, held, filtered)
	for i, want := range []string{"0>1;", "", "0>1;", "0>1;2>3;3>4;", "0>1;2>3;3>4;", ""} {
		x.want("member", conns[i].text(), want)
	}
	if st := x.h.Stats(); st.Cuts != 3 || st.Special != 2 || st.Held != 1 {
		t.Errorf("stats %+v", st)
	}
	x.h.Unsubscribe(fast)
	x.h.SubscribeSpecial(fast, "c", Special{Hold: true})
	x.h.Open(fast, 4, false)
	x.stream("c", 5)
	x.settle()
	x.want("back", conns[0].text(), "0>1;4>5;")
	x.h.Unsubscribe(held)
	x.h.Subscribe(held, "c")
	x.settle()
	x.h.Cut("c")
	x.settle()
	log.want(t, fast, held, filtered, fast) // held is plain now
}

// However far a cut has come: nothing delivered after it is sent, who joins meanwhile is not cut by it if it has come to
// others already, and other channels have their turns.
func TestCutIsSpreadOverTurns(t *testing.T) {
	var log cutLog
	x := newHarness(t, everyEncoding(Config{OnCut: log.cut, TurnSubscribers: 4}))
	conns := make([]*fakeConn, 20)
	for i := range conns {
		conns[i] = &fakeConn{}
		x.h.Open(x.joinSpecial(conns[i], EncodingJSON, Special{Hold: true}), 0, false)
	}
	other := &fakeConn{}
	x.join(other, "small")
	x.settle()
	x.stream("c", 1)
	x.h.Cut("c")
	x.stream("c", 3)
	for len(log.told) == 0 {
		x.step(0)
	}
	told := len(log.told)
	late := &fakeConn{}
	x.h.Open(x.joinSpecial(late, EncodingJSON, Special{Hold: true}), 2, false)
	x.deliver("small", "1")
	x.step(0)
	x.step(0)
	if told > 4 || len(log.told) == len(conns) || other.text() != "1;" {
		t.Errorf("%d cut in one turn, %d in three, the other channel got %q", told, len(log.told), other.text())
	}
	x.settle()
	for _, c := range conns {
		x.want("cut", c.text(), "0>1;")
	}
	x.want("came after it", late.text(), "2>3;")
	if len(log.told) != len(conns) {
		t.Errorf("%d told, want %d", len(log.told), len(conns))
	}
}

// While a cut goes through the list, one that it has not come to leaves, another leaves and comes back.
func TestCutSparesThoseWhoHaveLeftOrComeBack(t *testing.T) {
	var log cutLog
	var first, left, back *Subscription
	cfg := everyEncoding(Config{})
	x := (*harness)(nil)
	cfg.OnCut = func(s *Subscription) {
		log.cut(s)
		if s == first {
			x.h.Unsubscribe(left)
			x.h.Unsubscribe(back)
			x.h.SubscribeSpecial(back, "c", Special{Hold: true})
			x.h.Open(back, 1, false)
		}
	}
	x = newHarness(t, cfg)
	a, b := &fakeConn{}, &fakeConn{}
	first = x.joinSpecial(&fakeConn{}, EncodingJSON, Special{Hold: true})
	left = x.joinSpecial(a, EncodingJSON, Special{Hold: true})
	back = x.joinSpecial(b, EncodingJSON, Special{Hold: true})
	x.settle()
	x.h.Cut("c")
	x.settle()
	x.stream("c", 2)
	x.settle()
	log.want(t, first)
	x.want("left", a.text(), "")
	x.want("came back", b.text(), "1>2;")
}

func TestCutAfterCloseDoesNothing(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	x.joinSpecial(&fakeConn{}, EncodingJSON, Special{Hold: true})
	x.h.Close()
	x.h.Cut("c")
	if st := x.h.Stats(); st.MailboxDepth != 0 {
		t.Errorf("depth %d", st.MailboxDepth)
	}
}

type panickyFilter struct{}

func (panickyFilter) Match([]wire.Tag) bool { panic("filter") }

// boom panics once it is told to.
type boom struct{ on bool }

func (b *boom) check() {
	if b.on {
		b.on = false
		panic("boom")
	}
}

type panickyConn struct {
	fakeConn
	flush boom
}

func (c *panickyConn) Flush() {
	c.flush.check()
	c.fakeConn.Flush()
}

// panicHarness counts what is reported.
func panicHarness(t *testing.T, cfg Config, log *cutLog) (x *harness, reported *int) {
	t.Helper()
	reported = new(int)
	cfg.OnCut = log.cut
	cfg.OnPanic = func(v any, stack []byte) {
		*reported++
		if v == nil || !strings.Contains(string(stack), "panic") {
			t.Errorf("reported %v without a stack", v)
		}
	}
	if cfg.Encoders[EncodingJSON] == nil {
		cfg = everyEncoding(cfg)
	}
	return newHarness(t, cfg), reported
}

func TestPanicOfAnEncoderCostsTheBatchForThoseWhoDoNotHaveItYet(t *testing.T) {
	var log cutLog
	var b boom
	var cfg Config
	cfg.TurnSubscribers = 2
	cfg.Encoders[EncodingRaw] = textEncoder
	cfg.Encoders[EncodingJSONDelta] = deltaEncoder
	cfg.Encoders[EncodingJSON] = func(dst []byte, p *Publication) []byte {
		b.check()
		return deltaEncoder(dst, p)
	}
	x, reported := panicHarness(t, cfg, &log)
	before, deltas, plain, positioned, heldConn, other := &fakeConn{}, &fakeConn{}, &fakeConn{}, &fakeConn{}, &fakeConn{}, &fakeConn{}
	had := x.joinSpecial(before, EncodingRaw, Special{Hold: true})
	x.h.Open(had, 0, false)
	x.joinSpecial(plain, EncodingJSON, Special{})
	x.joinSpecial(deltas, EncodingJSONDelta, Special{})
	s := x.joinSpecial(positioned, EncodingJSON, Special{Hold: true})
	x.h.Open(s, 0, false)
	held := x.joinSpecial(heldConn, EncodingJSON, Special{Hold: true})
	x.join(other, "d")
	x.stream("c", 1)
	x.settle()
	b.on = true
	x.stream("c", 2)
	x.deliver("d", "1")
	x.settle()
	x.stream("c", 3, 4)
	x.settle()
	x.want("had it before", before.text(), "c/1;c/2;c/3;c/4;")
	x.want("plain: one is lost", plain.text(), "0>1;2>3;3>4;")
	x.want("deltas: not against what is lost", deltas.text(), "1;3;3>4;")
	x.want("positioned: cut", positioned.text(), "0>1;")
	x.want("other channel", other.text(), "d/1;")
	log.want(t, s, held)
	if st := x.h.Stats(); *reported != 1 || st.Panics != 1 || st.LostPanic != 1 || st.Cuts != 2 {
		t.Errorf("%d reported, stats %+v", *reported, st)
	}
}

func TestPanicOfAFilterOrSubscriberDoesNotStopTheShard(t *testing.T) {
	var log cutLog
	x, reported := panicHarness(t, Config{}, &log)
	filtered := x.joinSpecial(&fakeConn{}, EncodingJSON, Special{Hold: true, Filter: panickyFilter{}})
	x.h.Open(filtered, 0, false)
	last := &fakeConn{}
	x.joinSpecial(last, EncodingJSON, Special{})
	x.stream("c", 1)
	x.settle()
	log.want(t, filtered)
	x.stream("c", 2)
	x.settle()
	x.want("behind the filter", last.text(), "1>2;")

	send, flush := &panickyConn{}, &panickyConn{}
	send.onSend = func([]byte) { send.onSend = nil; panic("send") }
	flush.flush.on = true
	x.h.Subscribe(&Subscription{Sub: flush, Encoding: EncodingJSON}, "d")
	x.h.Subscribe(&Subscription{Sub: send, Encoding: EncodingJSON}, "d")
	after := &fakeConn{}
	x.h.Subscribe(&Subscription{Sub: after, Encoding: EncodingJSON}, "d")
	x.stream("d", 1)
	x.stream("c", 3)
	x.settle()
	x.stream("d", 2)
	x.settle()
	x.want("panics once", send.text(), "1>2;")
	x.want("behind it", after.text(), "1>2;")
	x.want("other channel", last.text(), "1>2;2>3;")
	if last.pending != 0 || after.pending != 0 {
		t.Error("not flushed")
	}
	if st := x.h.Stats(); *reported != 3 || st.Panics != 3 || st.LostPanic != 2 {
		t.Errorf("%d reported, stats %+v", *reported, st)
	}
}

func TestPanicWhileHeldIsSentCuts(t *testing.T) {
	var log cutLog
	var b boom
	var cfg Config
	cfg.Encoders[EncodingJSON] = func(dst []byte, p *Publication) []byte {
		b.check()
		return deltaEncoder(dst, p)
	}
	x, _ := panicHarness(t, cfg, &log)
	a, c := &fakeConn{}, &fakeConn{}
	s := x.joinSpecial(a, EncodingJSON, Special{Hold: true})
	fine := x.joinSpecial(c, EncodingJSON, Special{Hold: true})
	x.stream("c", 1)
	x.settle()
	x.stream("c", 2)
	x.settle()
	b.on = true
	x.h.Open(s, 0, false)
	x.h.Open(fine, 0, false)
	x.stream("c", 3)
	x.settle()
	log.want(t, s)
	x.want("cut", a.text(), "")
	x.want("opened next", c.text(), "0>1;1>2;2>3;")
	if st := x.h.Stats(); st.LostPanic != 2 || st.Panics != 1 || st.Special != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestPanicOfOnCutCutsTheOthersStill(t *testing.T) {
	calls, reported := 0, 0
	cfg := everyEncoding(Config{HoldLen: 1, OnPanic: func(any, []byte) { reported++ }})
	cfg.OnCut = func(*Subscription) {
		calls++
		panic("cut")
	}
	x := newHarness(t, cfg)
	for range 3 {
		x.joinSpecial(&fakeConn{}, EncodingJSON, Special{Hold: true})
	}
	x.h.Cut("c")
	x.settle()
	x.joinSpecial(&fakeConn{}, EncodingJSON, Special{Hold: true})
	x.stream("c", 1, 2)
	x.settle()
	if st := x.h.Stats(); calls != 4 || reported != 4 || st.Cuts != 4 || st.MailboxDepth != 0 {
		t.Errorf("%d called, %d reported, stats %+v", calls, reported, st)
	}
}
