package livechat

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/wire"
)

const delay = 300 * time.Millisecond

func TestGreetingComesAfterItsDelayAndMessagesDoNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n", GreetDelay: delay})
		defer c.stop()
		a, connA := c.nodes[0].join(t, "")
		time.Sleep(delay / 2)
		_, connB := c.nodes[0].join(t, "")
		say(t, a, "early")
		time.Sleep(delay/2 - 1)
		synctest.Wait()
		want(t, "before", connA.text(), "text n:early")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		want(t, "first", connA.text(), "text n:early|text Connected to server n")
		want(t, "second", connB.text(), "text n:early")
		time.Sleep(delay / 2)
		synctest.Wait()
		want(t, "second", connB.text(), "text n:early|text Connected to server n")
		if s := c.nodes[0].chat.Stats(); s.Greetings != 2 || s.GreetingsWaiting != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestGreetingsShareOneGoroutineAndComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chat := New(Config{NodeID: "n", GreetDelay: delay}, silentHub{})
		defer chat.Close()
		synctest.Wait()
		before := runtime.NumGoroutine()
		const n = 5000
		conns := make([]*fakeConn, n)
		for i := range conns {
			conns[i] = &fakeConn{}
			s, err := chat.Join(conns[i], "")
			if err != nil {
				t.Fatal(err)
			}
			s.Open()
			time.Sleep(100 * time.Microsecond)
		}
		synctest.Wait()
		if now := runtime.NumGoroutine(); now > before {
			t.Errorf("%d goroutines, %d before", now, before)
		}
		if s := chat.Stats(); int(s.Greetings)+s.GreetingsWaiting != n || s.GreetingsWaiting != 2999 {
			t.Errorf("stats %+v: want those of the last 300 ms waiting", s)
		}
		time.Sleep(delay)
		synctest.Wait()
		for i, conn := range conns {
			if conn.text() != "text Connected to server n" {
				t.Fatalf("client %d: %q", i, conn.text())
			}
		}
		if q := chat.greeter.queue; q != nil {
			t.Errorf("empty queue keeps room for %d", cap(q))
		}
	})
}

func TestWhoLeavesBeforeTheGreetingIsNotGreeted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n", GreetDelay: delay})
		defer c.stop()
		a, connA := c.nodes[0].join(t, "")
		_, connB := c.nodes[0].join(t, "")
		a.Closed(wire.CloseGoingAway)
		time.Sleep(2 * delay)
		synctest.Wait()
		want(t, "left", connA.text(), "")
		want(t, "stays", connB.text(), "text Connected to server n")
	})
}

func TestTooManyWaitingAreGreetedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n", GreetDelay: delay, MaxGreetings: 2})
		defer c.stop()
		var conns []*fakeConn
		for range 3 {
			_, conn := c.nodes[0].join(t, "")
			conns = append(conns, conn)
		}
		want(t, "third", conns[2].text(), "text Connected to server n")
		want(t, "first", conns[0].text(), "")
		time.Sleep(delay)
		synctest.Wait()
		want(t, "first", conns[0].text(), "text Connected to server n")
		if s := c.nodes[0].chat.Stats(); s.Greetings != 3 || s.GreetingsEarly != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestCloseEndsWaitingGreetings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n", GreetDelay: delay})
		_, conn := c.nodes[0].join(t, "")
		c.stop()
		c.nodes[0].chat.Close()
		time.Sleep(2 * delay)
		want(t, "after Close", conn.text(), "")
	})
}
