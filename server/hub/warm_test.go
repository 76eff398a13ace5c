package hub

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWarmTurnsInterestOnForALinger(t *testing.T) {
	for name, linger := range map[string]time.Duration{"linger": testLinger, "no linger": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := started(t, Config{InterestLinger: linger})
				defer x.h.Close()
				if _, confirmed := x.h.Warm("c"); confirmed {
					t.Error("confirmed by nobody")
				}
				time.Sleep(testLinger / 2)
				i, _ := x.h.Warm("c") // from now on
				time.Sleep(testLinger - 1)
				synctest.Wait()
				x.check()
				x.want("warm", x.broker.history(), "+c")
				x.h.Confirm(i)
				if _, confirmed := x.h.Warm("c"); !confirmed {
					t.Error("forgot that it was confirmed")
				}
				time.Sleep(2 * testLinger)
				synctest.Wait()
				x.check()
				x.want("let go", x.broker.history(), "+c -c")
				x.h.Confirm(i) // too late
				if _, confirmed := x.h.Warm("c"); confirmed {
					t.Error("confirmed what was let go")
				}
				x.h.Confirm(i) // of a former interest
				if _, confirmed := x.h.Warm("c"); confirmed {
					t.Error("confirmed by what began before it was on")
				}
				x.h.Confirm(Interest{})
			})
		})
	}
}

func TestConfirmedLastsWhileThereAreSubscribersAndThroughTheLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := started(t, Config{InterestLinger: testLinger})
		defer x.h.Close()
		s := x.join(&fakeConn{}, "c")
		i, confirmed := x.h.Warm("c")
		if confirmed {
			t.Error("a subscriber confirms nothing")
		}
		x.h.Confirm(i)
		confirmedNow := func(want bool, why string) {
			t.Helper()
			synctest.Wait()
			x.check()
			if _, is := x.h.Warm("c"); is != want {
				t.Errorf("%s: confirmed %v", why, is)
			}
		}
		time.Sleep(10 * testLinger)
		confirmedNow(true, "subscribed")
		for range 3 {
			x.h.Unsubscribe(s)
			time.Sleep(testLinger / 2)
			confirmedNow(true, "lingers")
			x.h.Subscribe(s, "c")
			confirmedNow(true, "back")
		}
		x.h.Unsubscribe(s)
		time.Sleep(3 * testLinger)
		confirmedNow(false, "let go")
	})
}

func TestWarmChannelHearsNothing(t *testing.T) {
	x := newHarness(t, Config{})
	x.h.Warm("c")
	x.deliver("c", "1")
	x.h.Cut("c")
	x.settle()
	if st := x.h.Stats(); st.Unheard != 1 || st.Lingering != 1 || st.Channels != 1 {
		t.Errorf("stats %+v", st)
	}
}
