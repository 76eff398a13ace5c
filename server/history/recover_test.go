package history

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// F15 of reliability.md: ten thousand come back to one channel.
func TestAStormOnOneChannelIsOneReadAndThenMemory(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		for i := range 100 {
			r.put("ns:a", fmt.Sprint(i))
			r.put("ns:b", "x")
		}
		epoch := r.js.epoch("ns")
		r.store.during(func(context.Context, string) error { time.Sleep(20 * time.Millisecond); return nil })
		var all []*listener
		for i := range 10_000 {
			all = append(all, r.listen("ns:a", Request{Recover: true, Offset: uint64(2 * (i % 100)), Epoch: epoch}))
			if i%100 == 0 {
				rest(10 * time.Millisecond)
			}
		}
		rest(time.Second)
		for i, l := range all {
			missed := 100 - i%100
			if l.called != 1 || !l.answer.Recovered || len(l.answer.Publications) != missed || l.answer.Top != 199 {
				t.Fatalf("%d: %d answers, recovered %v with %d of %d, top %d", i, l.called, l.answer.Recovered, len(l.answer.Publications), missed, l.answer.Top)
			}
		}
		if n := r.reads("ns:a"); n > 2 {
			t.Errorf("%d reads", n)
		}
		if all[0].answer.Publications[99].Meta != all[100].answer.Publications[99].Meta {
			t.Error("not shared")
		}
	})
}

// Those who were never recoverable are refused without a read for each.
func TestAStormOfHopelessPositionsIsRateLimited(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		r.s.Size = 5
		r.js.streams["ns"].size = 5
		for range 500 {
			r.put("ns:a", "x")
			r.put("ns:b", "x")
		}
		epoch := r.js.epoch("ns")
		for i := range 1000 {
			r.listen("ns:a", Request{Recover: true, Offset: uint64(980 - i%900), Epoch: epoch})
			rest(time.Millisecond)
		}
		rest(5 * time.Second)
		if s := r.v.Stats(); s.Unrecovered != 1000 || s.RecoverError != 0 {
			t.Errorf("%+v", s)
		}
		if n := r.reads("ns:a"); n > 11 {
			t.Errorf("%d reads in a second", n)
		}
	})
}

func TestRecovery(t *testing.T) {
	type want struct {
		recovered bool
		data      string
	}
	for _, c := range []struct {
		why   string
		setup func(r *rig)
		q     Request // epoch "." stands for the right one
		want  want
		top   uint64
	}{
		{"nothing missed", puts(3), Request{Offset: 3, Epoch: "."}, want{true, "[]"}, 3},
		{"some missed", puts(3), Request{Offset: 1, Epoch: "."}, want{true, "[2 3]"}, 3},
		{"all missed", puts(3), Request{Offset: 0, Epoch: "."}, want{true, "[1 2 3]"}, 3},
		{"any epoch", puts(3), Request{Offset: 2}, want{true, "[3]"}, 3},
		{"another epoch", puts(3), Request{Offset: 3, Epoch: "other"}, want{false, "[]"}, 3},
		{"the sentinel of SDKs", puts(3), Request{Epoch: "_"}, want{false, "[]"}, 3},
		{"beyond the top", puts(3), Request{Offset: 9, Epoch: "."}, want{false, "[]"}, 3},
		{"an empty channel, from its position", puts(0), Request{Offset: 0, Epoch: "."}, want{true, "[]"}, 0},
		{"size is 4: the last kept one is the base", puts(9), Request{Offset: 5, Epoch: "."}, want{true, "[6 7 8 9]"}, 9},
		{"size is 4: more than that is not told", puts(9), Request{Offset: 4, Epoch: "."}, want{false, "[]"}, 9},
		{"more than the limit", puts(4), Request{Offset: 1, Epoch: ".", Limit: 2}, want{false, "[]"}, 4},
		{"as many as the limit", puts(4), Request{Offset: 2, Epoch: ".", Limit: 2}, want{true, "[3 4]"}, 4},
		{"older than ttl", func(r *rig) { puts(2)(r); time.Sleep(time.Hour / 3); r.put("ns:a", "3") }, Request{Offset: 1, Epoch: "."}, want{false, "[]"}, 3},
		{"not older than ttl", func(r *rig) { puts(2)(r); time.Sleep(time.Hour / 3); r.put("ns:a", "3") }, Request{Offset: 2, Epoch: "."}, want{true, "[3]"}, 3},
		{"expired", func(r *rig) { puts(2)(r); time.Sleep(2 * time.Hour) }, Request{Offset: 1, Epoch: "."}, want{false, "[]"}, 2},
		{"removed", func(r *rig) { puts(2)(r); remove(r) }, Request{Offset: 1, Epoch: "."}, want{false, "[]"}, 3},
		{"removed, but all was seen", func(r *rig) { puts(2)(r); remove(r) }, Request{Offset: 2, Epoch: "."}, want{true, "[]"}, 3},
		{"removed, then published", func(r *rig) { puts(2)(r); remove(r); r.put("ns:a", "3") }, Request{Offset: 3, Epoch: "."}, want{true, "[3]"}, 4},
	} {
		for _, state := range []string{"cold", "warm", "live"} {
			calm(t, Config{}, func(r *rig) {
				r.s.Size, r.s.TTL = 4, time.Hour/4
				r.js.streams["ns"].size = 4
				if state == "live" {
					r.listenNow("ns:a", Request{})
				}
				c.setup(r)
				if state == "warm" {
					r.listenNow("ns:a", Request{})
				}
				if c.q.Recover = true; c.q.Epoch == "." {
					c.q.Epoch = r.js.epoch("ns")
				}
				if state == "live" && c.why == "size is 4: more than that is not told" && r.v.cfg.TailLen < 5 {
					t.Skip()
				}
				l := r.listen("ns:a", c.q)
				rest(time.Second)
				got := []string{}
				for _, p := range l.answer.Publications {
					got = append(got, string(p.Data))
				}
				if g := (want{l.answer.Recovered, fmt.Sprint(got)}); l.called != 1 || l.answer.Err != nil || g != c.want || l.answer.Top != c.top {
					if !(state == "live" && c.why == "expired" && l.answer.Top == c.top) {
						t.Errorf("%s (%s): %d answers, %+v, top %d, err %v; want %+v, top %d", c.why, state, l.called, g, l.answer.Top, l.answer.Err, c.want, c.top)
					}
				}
			})
		}
	}
}

func puts(n int) func(r *rig) {
	return func(r *rig) {
		for i := range n {
			r.put("ns:a", fmt.Sprint(i+1))
		}
		synctest.Wait()
	}
}

func remove(r *rig) {
	r.t.Helper()
	if _, err := r.v.Remove(context.Background(), r.s, "ns:a"); err != nil {
		r.t.Error(err)
	}
}

// Two messages are stored beyond what the second node has heard; its client was on the first one.
func TestAPositionBeyondTheLineIsJudgedByTheStore(t *testing.T) {
	calm(t, Config{CheckInterval: -1}, func(r *rig) {
		r.listenNow("ns:a", Request{})
		r.put("ns:a", "1")
		rest(3 * time.Second)
		r.lose = func(Message) bool { return true }
		r.put("ns:a", "2")
		r.put("ns:a", "3")
		epoch := r.js.epoch("ns")
		l := r.listenNow("ns:a", Request{Recover: true, Offset: 2, Epoch: epoch})
		l.wantAnswer("ahead", true, "3")
		if l.answer.Top != 3 {
			t.Errorf("top %d", l.answer.Top)
		}
		rest(time.Second)
		l.want("what the line catches up with was told")
		r.lose = nil
		r.put("ns:a", "4")
		l.want("live", "4")
	})
}

func TestAnEmptyChannelsPositionIsAnsweredFromMemory(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		r.put("ns:other", "x")
		l := r.listenNow("ns:a", Request{})
		for range 10 {
			r.put("ns:other", "x")
		}
		rest(41 * time.Second)
		reads := r.reads("ns:a")
		for x := l.answer.Top; x <= 11; x++ {
			m := r.listenNow("ns:a", Request{Recover: true, Offset: x, Epoch: l.answer.Epoch})
			m.wantAnswer(fmt.Sprint("since ", x), true)
		}
		if n := r.reads("ns:a") - reads; n != 0 {
			t.Errorf("%d reads", n)
		}
	})
}

// centrifuge-protocol.md, 10.4.
func TestCacheMode(t *testing.T) {
	for _, c := range []struct {
		why       string
		setup     func(r *rig)
		offset    uint64
		epoch     string
		recovered bool
		data      string
	}{
		{"first subscribe", puts(3), 0, "", true, "[3]"},
		{"same position", puts(3), 3, ".", true, "[]"},
		{"older position", puts(3), 1, ".", true, "[3]"},
		{"other epoch", puts(3), 3, "x", true, "[3]"},
		{"nothing there", puts(0), 0, "", false, "[]"},
		{"removed", func(r *rig) { puts(3)(r); remove(r) }, 1, ".", false, "[]"},
		{"removed, at the mark", func(r *rig) { puts(3)(r); remove(r) }, 4, ".", true, "[]"},
		{"removed and published", func(r *rig) { puts(3)(r); remove(r); r.put("ns:a", "4") }, 1, ".", true, "[4]"},
		{"too old", func(r *rig) { puts(3)(r); time.Sleep(time.Hour / 2) }, 1, ".", false, "[]"},
		{"too old, but known", func(r *rig) { puts(3)(r); time.Sleep(time.Hour / 2) }, 3, ".", true, "[]"},
	} {
		for _, state := range []string{"cold", "live"} {
			calm(t, Config{}, func(r *rig) {
				r.s.TTL = time.Hour / 4
				if state == "live" {
					r.listenNow("ns:a", Request{})
				}
				c.setup(r)
				q := Request{Recover: true, Cache: true, Offset: c.offset, Epoch: c.epoch}
				if q.Epoch == "." {
					q.Epoch = r.js.epoch("ns")
				}
				l := r.listenNow("ns:a", q)
				var got []string
				for _, p := range l.answer.Publications {
					got = append(got, string(p.Data))
				}
				if l.answer.Recovered != c.recovered || fmt.Sprint(got) != c.data {
					t.Errorf("%s (%s): %v %v, want %v %s", c.why, state, l.answer.Recovered, got, c.recovered, c.data)
				}
			})
		}
	}
}
