package history

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

func TestMissingMessagesAreReadBackInOrder(t *testing.T) {
	calm(t, Config{PageLen: 2}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		r.put("ns:a", "1")
		l.want("the first of an empty channel", "1")
		r.lose = func(m Message) bool { return string(m.Data) < "5" }
		for _, d := range []string{"2", "3", "4"} {
			r.put("ns:a", d)
		}
		l.want("all were lost")
		r.put("ns:a", "5")
		l.want("the next shows it", "2", "3", "4", "5")
		before := r.reads("ns:a")
		r.put("ns:a", "6")
		l.want("the chain holds again", "6")
		if n := r.reads("ns:a"); n != before {
			t.Errorf("%d reads on a line without trouble", n-before)
		}
		if !l.cut.IsZero() {
			t.Error("cut")
		}
	})
}

func TestABrokenChainIsToldAfterRepairTimeoutAndNotBefore(t *testing.T) {
	for _, c := range []struct {
		down time.Duration
		cut  bool
	}{{10 * time.Second, false}, {13500 * time.Millisecond, false}, {40 * time.Second, true}} {
		calm(t, Config{}, func(r *rig) {
			l := r.listenNow("ns:a", Request{})
			r.put("ns:a", "1")
			l.want("live", "1")
			var down atomic.Bool
			down.Store(true)
			r.store.during(func(context.Context, string) error {
				if down.Load() {
					return errDown
				}
				return nil
			})
			r.lose = func(m Message) bool { return string(m.Data) == "2" }
			r.put("ns:a", "2")
			r.put("ns:a", "3")
			begin := time.Now()
			rest(c.down)
			down.Store(false)
			rest(5 * time.Second)
			if !c.cut {
				l.want("read back in the end", "2", "3")
			}
			if c.cut == l.cut.IsZero() || c.cut && l.cut.Sub(begin) > 16*time.Second {
				t.Errorf("down for %v: cut after %v", c.down, l.cut.Sub(begin))
			}
		})
	}
}

// What found no room while the line was repaired is read back, although no later message shows that it is missing.
func TestMoreThanFindsRoomIsReadBack(t *testing.T) {
	calm(t, Config{PendingLen: 3, CheckInterval: -1}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		r.put("ns:a", "1")
		l.want("live", "1")
		rest(3 * time.Second)
		r.store.during(func(_ context.Context, what string) error {
			if what == "facts" { // the page is read, the answer on its way
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		r.lose = func(m Message) bool { return string(m.Data) == "2" }
		var want []string
		for i := 2; i < 20; i++ {
			r.put("ns:a", fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
			rest(time.Millisecond)
		}
		rest(time.Second)
		l.want("in the end", want...)
		if n := r.v.Stats().PendingFull; n == 0 {
			t.Error("there was room")
		}
	})
}

// A read may be so slow that the tail has moved beyond what it shows.
func TestAReadThatTheTailHasOvertakenIsMadeAgain(t *testing.T) {
	calm(t, Config{TailLen: 3, CheckInterval: -1}, func(r *rig) {
		puts(5)(r)
		r.listenNow("ns:a", Request{})
		var slow atomic.Bool
		slow.Store(true)
		r.store.during(func(_ context.Context, what string) error {
			if what == "facts" && slow.CompareAndSwap(true, false) {
				for i := range 10 {
					r.put("ns:a", fmt.Sprint(6+i))
				}
			}
			return nil
		})
		l := r.listen("ns:a", Request{Recover: true, Offset: 2, Epoch: r.js.epoch("ns")})
		rest(time.Second)
		l.wantAnswer("all of it", true, "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15")
	})
}

// A store that is silent, not failing, must not hold a repair or a doubt beyond its time.
func TestASilentStoreIsGivenUpInTime(t *testing.T) {
	calm(t, Config{CheckInterval: -1}, func(r *rig) {
		a, b := r.listenNow("ns:a", Request{}), r.listenNow("ns:b", Request{})
		r.put("ns:a", "1")
		a.want("live", "1")
		rest(3 * time.Second)
		r.store.during(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		r.lose = func(m Message) bool { return string(m.Data) == "2" }
		begin := time.Now()
		r.put("ns:a", "2")
		r.put("ns:a", "3")
		rest(20 * time.Second)
		if a.cut.IsZero() || a.cut.Sub(begin) > 15*time.Second || !b.cut.IsZero() {
			t.Errorf("cut after %v", a.cut.Sub(begin))
		}
		begin = time.Now()
		r.v.Doubt("ns")
		rest(20 * time.Second)
		if b.cut.IsZero() || b.cut.Sub(begin) > 15*time.Second {
			t.Errorf("in doubt: cut after %v", b.cut.Sub(begin))
		}
	})
}

// F7 of reliability.md: a node cut off from NATS.
func TestADoubtThatIsNotResolvedIsToldAfterRepairTimeout(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		a, b := r.listenNow("ns:a", Request{}), r.listenNow("ns:b", Request{})
		var down atomic.Bool
		down.Store(true)
		r.store.during(func(context.Context, string) error {
			if down.Load() {
				return errDown
			}
			return nil
		})
		r.lose = func(Message) bool { return down.Load() }
		begin := time.Now()
		r.v.Doubt("")
		r.put("ns:a", "1")
		rest(2 * time.Minute)
		for _, l := range []*listener{a, b} {
			if l.cut.IsZero() || l.cut.Sub(begin) > 16*time.Second || l.cut.Sub(begin) < 14*time.Second {
				t.Errorf("%s cut after %v", l.channel, l.cut.Sub(begin))
			}
		}
		c := r.listen("ns:a", Request{Recover: true, Offset: a.answer.Top, Epoch: a.answer.Epoch})
		synctest.Wait()
		if c.called != 1 || c.answer.Err == nil {
			t.Errorf("while the store is away: %+v", c.answer)
		}
		down.Store(false)
		r.v.Doubt("")
		d := r.listenNow("ns:a", Request{Recover: true, Offset: a.answer.Top, Epoch: a.answer.Epoch})
		d.wantAnswer("after healing", true, "1")
	})
}

// However late its silence was noticed.
func TestALostStoreIsToldAfterRepairTimeoutFromItsSilenceOn(t *testing.T) {
	for silent, within := range map[time.Duration]time.Duration{0: 15 * time.Second, 12 * time.Second: 3 * time.Second, time.Minute: time.Second} {
		calm(t, Config{}, func(r *rig) {
			a := r.listenNow("ns:a", Request{})
			r.store.during(func(context.Context, string) error { return errDown })
			begin := time.Now()
			r.v.Lost(silent)
			rest(time.Minute)
			if took := a.cut.Sub(begin); a.cut.IsZero() || took > within || took < within-time.Second*3/2 {
				t.Errorf("silent for %v: cut after %v, want %v", silent, took, within)
			}
		})
	}
}

// A link that is back in time disturbs nobody.
func TestALostStoreThatComesBackIsNotTold(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		a := r.listenNow("ns:a", Request{})
		var down atomic.Bool
		down.Store(true)
		r.store.during(func(context.Context, string) error {
			if down.Load() {
				return errDown
			}
			return nil
		})
		r.lose = func(Message) bool { return down.Load() }
		r.v.Lost(0)
		r.put("ns:a", "1")
		rest(10 * time.Second)
		down.Store(false)
		r.v.Doubt("")
		rest(time.Minute)
		if !a.cut.IsZero() {
			t.Error("cut")
		}
		a.want("after healing", "1")
	})
}

func TestALostLastMessageIsFound(t *testing.T) {
	for _, c := range []struct {
		why    string
		act    func(r *rig)
		within time.Duration
	}{
		{"by a doubt", func(r *rig) { r.v.Doubt("ns") }, time.Second},
		{"by a doubt about all", func(r *rig) { r.v.Doubt("") }, time.Second},
		{"by the next round", func(*rig) {}, 41 * time.Second},
	} {
		calm(t, Config{}, func(r *rig) {
			l := r.listenNow("ns:a", Request{})
			rest(3 * time.Second)
			r.lose = func(Message) bool { return true }
			r.put("ns:a", "1")
			c.act(r)
			rest(c.within)
			l.want(c.why, "1")
		})
	}
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		r.lose = func(Message) bool { return true }
		r.put("ns:a", "1")
		rest(2500 * time.Millisecond)
		l.want("by the early look", "1")
	})
}

func TestAStreamThatStandsStillCostsOneQuestionARound(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		for i := range 3000 {
			r.listen(fmt.Sprint("ns:", i), Request{})
		}
		r.put("ns:1", "x")
		rest(130 * time.Second) // between two rounds
		tops, asked := r.store.questions()
		rest(40 * time.Second)
		if n, all := r.store.questions(); n-tops != 1 || all-asked != 1 {
			t.Errorf("%d questions for %d channels", n-tops, all-asked)
		}
		r.put("ns:other", "x")
		tops, _ = r.store.questions()
		rest(40 * time.Second)
		if n, _ := r.store.questions(); n-tops != 4 { // one to see that it moved, three of 1,024
			t.Errorf("%d questions for 3,000 lines in a stream that moved", n-tops)
		}
		if n := len(r.store.reads); n > 4 { // one empty one for each batch tells of the whole stream
			t.Errorf("%d channels were read", n)
		}
	})
}

func TestAnotherStreamUnderTheSameNameIsToldAtTheFirstMessage(t *testing.T) {
	calm(t, Config{CheckInterval: -1}, func(r *rig) {
		r.put("ns:a", "0")
		l := r.listenNow("ns:a", Request{})
		r.put("ns:a", "1")
		l.want("live", "1")
		rest(3 * time.Second)
		r.js.recreate("ns", 0)
		r.put("ns:a", "new 1")
		r.put("ns:a", "new 2")
		r.put("ns:a", "new 3")
		l.want("nothing of the new one")
		if l.cut.IsZero() {
			t.Fatal("not told")
		}
		m := r.listenNow("ns:a", Request{Recover: true, Offset: l.answer.Top, Epoch: l.answer.Epoch})
		m.wantAnswer("in the new one", false)
		if m.answer.Top != 3 || m.answer.Epoch == l.answer.Epoch {
			t.Errorf("position %+v", m.answer)
		}
	})
}

func TestMessagesOfADoubtedStreamWaitUntilItsEpochWasSeen(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		r.put("ns:a", "1")
		l.want("live", "1")
		r.store.during(func(context.Context, string) error { time.Sleep(300 * time.Millisecond); return nil })
		r.v.Doubt("ns")
		r.put("ns:a", "2")
		l.want("in doubt")
		rest(time.Second)
		l.want("believed", "2")
	})
}

func TestALineLingersForThoseWhoComeBack(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		r.put("ns:a", "1")
		l.leave()
		rest(8 * time.Second)
		r.put("ns:a", "2")
		q := Request{Recover: true, Offset: 1, Epoch: l.answer.Epoch}
		m := r.listenNow("ns:a", q)
		if m.wantAnswer("back in time", true, "2"); !m.now {
			t.Error("asked the store")
		}
		m.leave()
		rest(25 * time.Second)
		if s := r.v.Stats(); s.Lines != 0 || s.Lingering != 0 || s.TailBytes != 0 {
			t.Errorf("left over: %+v", s)
		}
		if m = r.listenNow("ns:a", q); m.now {
			t.Error("remembered for too long")
		}
		m.wantAnswer("from the store", true, "2")
	})
}

func TestLingeringLinesAreBounded(t *testing.T) {
	calm(t, Config{MaxLingering: 10}, func(r *rig) {
		for i := range 100 {
			r.listenNow(fmt.Sprint("ns:", i), Request{}).leave()
		}
		rest(time.Second)
		if s := r.v.Stats(); s.Lines > 10 {
			t.Errorf("%d lines", s.Lines)
		}
	})
}

func TestTailsAreBoundedOneByOneAndTogether(t *testing.T) {
	calm(t, Config{TailLen: 10, LineTailBytes: 20_000, TailBytes: 60_000}, func(r *rig) {
		big := strings.Repeat("x", 4000)
		for i := range 20 {
			l := r.listenNow(fmt.Sprint("ns:", i), Request{})
			for range 30 {
				r.put(l.channel, big)
			}
			if n := r.v.tailBytes.Load(); n > 100_000 {
				t.Fatalf("%d bytes", n)
			}
			rest(300 * time.Millisecond)
		}
		if n := r.v.tailBytes.Load(); n > 60_000 {
			t.Errorf("%d bytes", n)
		}
		sum, newest := 0, r.v.find("ns:19")
		r.v.each(func(l *Line) { sum += l.tail.bytes })
		if sum != int(r.v.tailBytes.Load()) {
			t.Errorf("%d counted, %d there", r.v.tailBytes.Load(), sum)
		}
		if len(newest.tail.pubs) == 0 {
			t.Error("the newest tail was given up")
		}
	})
}

func TestDeltasAreMadeOnlyAgainstWhatSubscribersHave(t *testing.T) {
	text := func(n int) string { return fmt.Sprintf(`{"text":"%s","n":%d}`, strings.Repeat("abcdefgh", 20), n) }
	calm(t, Config{}, func(r *rig) {
		put := func(n int) {
			r.js.put(&StorePublication{Namespace: "ns", Channel: "ns:a", Data: []byte(text(n)), Meta: wire.AppendMeta(nil, &wire.Meta{Delta: true})})
			synctest.Wait()
		}
		var deltas []hub.Publication
		r.hub.all = func(p hub.Publication) {
			if p.Delta != nil {
				deltas = append(deltas, p)
			}
		}
		l := r.listenNow("ns:a", Request{})
		put(1)
		put(2)
		if len(deltas) != 0 {
			t.Error("nobody wants deltas")
		}
		l.line.WantDelta(1)
		put(3)
		if len(deltas) != 1 || string(deltas[0].Delta) != string(wire.Delta([]byte(text(2)), []byte(text(3)))) {
			t.Errorf("%d deltas", len(deltas))
		}
		r.v.Receive(Message{Channel: "ns:a", Data: []byte("not stored")})
		put(4)
		if len(deltas) != 1 {
			t.Error("a delta after something else")
		}
		put(5)
		if len(deltas) != 2 {
			t.Error("no delta after the next")
		}
		l.line.WantDelta(-1)
		put(6)
		if len(deltas) != 2 {
			t.Error("nobody wants deltas any more")
		}
	})
}

func TestSubscribersWithoutPositionHearWhatComesWhileALineOpens(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		r.store.during(func(context.Context, string) error { time.Sleep(100 * time.Millisecond); return nil })
		var plain []string
		r.hub.all = func(p hub.Publication) { plain = append(plain, string(p.Data)) }
		l := r.listen("ns:a", Request{})
		for _, d := range []string{"1", "2", "3"} {
			r.put("ns:a", d)
			rest(80 * time.Millisecond)
		}
		rest(time.Second)
		if fmt.Sprint(plain) != "[1 2 3]" {
			t.Errorf("heard %v", plain)
		}
		if n := len(l.got); int(l.answer.Top)+n != 3 {
			t.Errorf("top %d and then %v", l.answer.Top, l.got)
		}
	})
}

func TestUnreadableMessagesDoNotBreakTheChain(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		r.put("ns:a", "1")
		r.js.put(&StorePublication{Namespace: "ns", Channel: "ns:a", Data: []byte("?"), Meta: []byte(`{"kind":"newer"}`)})
		r.put("ns:a", "2")
		l.want("around it", "1", "2")
		if s := r.v.Stats(); s.Unreadable == 0 || s.TailBytes != 2*(entryOverhead+1) {
			t.Errorf("%+v", s)
		}
	})
}

func TestCloseAnswersWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.store.during(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		var all []*listener
		for i := range 50 {
			all = append(all, r.listen(fmt.Sprint("ns:", i), Request{}))
		}
		r.v.Doubt("")
		synctest.Wait()
		r.v.Close()
		r.v.Close()
		for _, l := range all {
			if l.called != 1 || !errors.Is(l.answer.Err, hub.ErrClosed) {
				t.Fatalf("%s: %d answers, %v", l.channel, l.called, l.answer.Err)
			}
		}
		if a := r.listen("ns:a", Request{}); !a.now || a.answer.Err == nil {
			t.Errorf("after Close: %+v", a.answer)
		}
		r.put("ns:a", "1")
		if err := r.v.Publish(&Publication{Stream: r.s, Channel: "ns:a", Version: 1}, nil); !errors.Is(err, hub.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestIdleLinesHaveNoGoroutines(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		r.store.during(func(context.Context, string) error { time.Sleep(time.Millisecond); return nil })
		before := runtime.NumGoroutine()
		for i := range 10_000 {
			r.listen(fmt.Sprint("ns:", i), Request{})
		}
		rest(5 * time.Second)
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 1 {
			t.Errorf("%d goroutines more", n)
		}
		if tops, _ := r.store.questions(); tops > 60 {
			t.Errorf("%d questions to open and look once at 10,000 lines", tops)
		}
	})
}
