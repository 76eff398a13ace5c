package hub

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// gated is a started hub whose only shard is stuck in the Send of a subscriber of "gate" until open is called.
func gated(t *testing.T, cfg Config) (x *harness, open func()) {
	t.Helper()
	cfg.InterestLinger = -1
	x = started(t, cfg)
	gate := make(chan struct{})
	x.join(&fakeConn{onSend: func([]byte) { <-gate }}, "gate")
	x.deliver("gate", "1")
	synctest.Wait()
	return x, func() { close(gate) }
}

func TestDeliverWaitsForAFullMailboxAndNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, open := gated(t, Config{MailboxLen: 8, ChannelLen: 8})
		defer x.h.Close()
		a := &fakeConn{}
		x.join(a, "c")
		var delivered atomic.Int32
		go func() {
			for _, n := range numbers(0, 100) {
				x.deliver("c", n)
				delivered.Add(1)
			}
		}()
		synctest.Wait()
		if n := delivered.Load(); n != 7 {
			t.Errorf("%d delivered beside the one in progress, want 7", n)
		}
		late := &fakeConn{}
		x.h.Unsubscribe(x.join(&fakeConn{}, "c")) // control does not wait
		x.join(late, "d")
		if s := x.h.Stats(); s.MailboxDepth != 8 || s.ControlDepth != 4 {
			t.Errorf("stats %+v, want depth 8 and 4 control operations", s)
		}
		open()
		synctest.Wait()
		x.check()
		x.want("all, in order", a.text(), "c/"+strings.Join(numbers(0, 100), ";c/")+";")
	})
}

func TestDeliverWaitsForBytesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, open := gated(t, Config{MailboxBytes: 100})
		defer x.h.Close()
		a := &fakeConn{}
		x.join(a, "c")
		big := strings.Repeat("x", 99)
		var delivered atomic.Int32
		go func() {
			for range 4 {
				x.deliver("c", big)
				delivered.Add(1)
			}
		}()
		synctest.Wait()
		if n := delivered.Load(); n != 1 {
			t.Errorf("%d of 99 bytes delivered into 100 bytes with 1 in use, want 1", n)
		}
		open()
		synctest.Wait()
		x.check()
		x.want("all", a.text(), strings.Repeat("c/"+big+";", 4))
	})
}

func TestFloodedChannelStopsItsOwnReaderOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, open := gated(t, Config{MailboxLen: 16, ChannelLen: 4})
		defer x.h.Close()
		a, b := &fakeConn{}, &fakeConn{}
		x.join(a, "flood")
		x.join(b, "calm")
		go x.deliver("flood", numbers(0, 50)...)
		synctest.Wait()
		x.deliver("calm", "1", "2") // would hang the test if it waited
		if s := x.h.Stats(); s.MailboxDepth != 1+4+2 {
			t.Errorf("depth %d, want the gate's 1, the flood's 4, the calm one's 2", s.MailboxDepth)
		}
		open()
		synctest.Wait()
		x.check()
		x.want("calm", b.text(), "calm/1;calm/2;")
		x.want("flood", a.text(), "flood/"+strings.Join(numbers(0, 50), ";flood/")+";")
	})
}

func TestCloseFreesReadersAndCountsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, open := gated(t, Config{MailboxLen: 4, ChannelLen: 4})
		x.join(&fakeConn{}, "c")
		go x.deliver("c", numbers(0, 10)...)
		synctest.Wait()
		closed := make(chan struct{})
		go func() { x.h.Close(); close(closed) }()
		synctest.Wait()
		open()
		<-closed
		if s := x.h.Stats(); s.LostClosed != 10 || s.MailboxDepth != 0 {
			t.Errorf("lost %d, depth %d; want 10 and 0", s.LostClosed, s.MailboxDepth)
		}
		s := x.join(&fakeConn{}, "c")
		x.deliver("c", "late")
		x.h.Unsubscribe(s)
		x.h.Close()
		if got := x.h.Stats().LostClosed; got != 11 {
			t.Errorf("lost %d after a late one, want 11", got)
		}
	})
}

func TestCloseWithoutStart(t *testing.T) {
	x := newHarness(t, Config{})
	x.join(&fakeConn{}, "c")
	x.h.Close()
	x.h.Close()
	x.deliver("c", "1")
}
