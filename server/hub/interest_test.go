package hub

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

const testLinger = 2 * time.Second

func TestInterestFollowsFirstAndLastSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := started(t, Config{Shards: 2, InterestLinger: testLinger})
		defer x.h.Close()
		a, b := x.join(&fakeConn{shard: 0}, "c"), x.join(&fakeConn{shard: 1}, "c")
		x.want("first subscriber", x.broker.history(), "+c")
		x.h.Unsubscribe(a)
		time.Sleep(10 * testLinger)
		x.want("one is left", x.broker.history(), "+c")
		x.h.Unsubscribe(b)
		time.Sleep(testLinger - 1)
		synctest.Wait()
		x.check()
		x.want("lingering", x.broker.history(), "+c")
		time.Sleep(testLinger/4 + 1)
		synctest.Wait()
		x.check()
		x.want("linger over", x.broker.history(), "+c -c")
		x.join(&fakeConn{}, "c")
		synctest.Wait()
		x.check()
		x.want("back", x.broker.history(), "+c -c +c")
	})
}

func TestReconnectChurnDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := started(t, Config{Shards: 2, InterestLinger: testLinger})
		defer x.h.Close()
		s := &Subscription{Sub: &fakeConn{}}
		for i := range 200 {
			x.h.Subscribe(s, "c")
			time.Sleep(time.Duration(i) * time.Millisecond)
			x.h.Unsubscribe(s)
			time.Sleep(testLinger - time.Duration(1+i)*time.Millisecond)
			synctest.Wait()
			x.check()
		}
		x.want("200 reconnects over minutes", x.broker.history(), "+c")
		time.Sleep(2 * testLinger)
		synctest.Wait()
		x.check()
		x.want("gone for good", x.broker.history(), "+c -c")
	})
}

func TestLingeringChannelsShareOneGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := started(t, Config{InterestLinger: testLinger, InterestStripes: 4})
		defer x.h.Close()
		synctest.Wait()
		before := runtime.NumGoroutine()
		const n = 3000
		for i := range n {
			x.h.Unsubscribe(x.join(&fakeConn{}, fmt.Sprint(i)))
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		synctest.Wait()
		x.check()
		if s := x.h.Stats(); s.Lingering != n || s.Channels != n || s.Subscribers != 0 {
			t.Errorf("stats %+v, want %d lingering", s, n)
		}
		if now := runtime.NumGoroutine(); now > before {
			t.Errorf("%d goroutines, %d before", now, before)
		}
		for i := 0; i < n; i += 2 {
			x.join(&fakeConn{}, fmt.Sprint(i))
		}
		time.Sleep(2 * testLinger)
		synctest.Wait()
		x.check()
		if s := x.h.Stats(); s.Lingering != 0 || s.Channels != n/2 {
			t.Errorf("stats %+v, want the %d that came back", s, n/2)
		}
	})
}

func TestNoLinger(t *testing.T) {
	x := newHarness(t, Config{InterestLinger: -1})
	x.h.Unsubscribe(x.join(&fakeConn{}, "c"))
	x.settle()
	x.check()
	x.want("at once", x.broker.history(), "+c -c")
}

func TestInterestTableShrinks(t *testing.T) {
	x := newHarness(t, Config{InterestLinger: -1, InterestStripes: 1})
	const n = 10_000
	subs := make([]*Subscription, n)
	for i := range subs {
		subs[i] = x.join(&fakeConn{}, fmt.Sprint(i))
	}
	for _, s := range subs[1:] {
		x.h.Unsubscribe(s)
	}
	x.settle()
	x.check()
	if peak := x.h.interest.stripes[0].peak; peak >= 2*minPeak {
		t.Errorf("map still sized for %d topics", peak)
	}
}

func TestChannelNameIsTheHubsOwnCopy(t *testing.T) {
	x := newHarness(t, Config{})
	a := x.join(&fakeConn{}, "room:"+fmt.Sprint(1))
	b := x.join(&fakeConn{}, "room:"+fmt.Sprint(1))
	x.want("name", a.Channel(), "room:1")
	if unsafe.StringData(a.Channel()) != unsafe.StringData(b.Channel()) {
		t.Error("two copies of one name")
	}
}
