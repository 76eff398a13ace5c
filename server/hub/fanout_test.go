package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

func TestPublicationsOfOneTurnLeaveJoinedAndFlushedOnce(t *testing.T) {
	x := newHarness(t, Config{})
	a, b := &fakeConn{}, &fakeConn{}
	x.join(a, "news")
	x.join(b, "news")
	x.deliver("news", "1", "2", "3")
	x.step(0)
	x.want("a", a.text(), "news/1;news/2;news/3;")
	x.want("b", b.text(), "news/1;news/2;news/3;")
	if len(a.frames) != 1 || a.writes != 1 || b.writes != 1 {
		t.Errorf("a got %d frames in %d writes, b %d writes, want one each", len(a.frames), a.writes, b.writes)
	}
	if unsafe.SliceData(a.frames[0]) != unsafe.SliceData(b.frames[0]) || cap(a.frames[0]) != len(a.frames[0]) {
		t.Error("the frame must be shared and of exact size")
	}
}

func TestSubscriberOfManyChannelsIsFlushedOncePerTurn(t *testing.T) {
	x := newHarness(t, Config{})
	a := &fakeConn{}
	for _, ch := range []string{"x", "y", "z"} {
		x.join(a, ch)
	}
	for i := range 3 {
		for _, ch := range []string{"x", "y", "z"} {
			x.deliver(ch, fmt.Sprint(i))
		}
	}
	x.step(0)
	x.want("grouped by channel", a.text(), "x/0;x/1;x/2;y/0;y/1;y/2;z/0;z/1;z/2;")
	if a.writes != 1 {
		t.Errorf("%d writes, want 1", a.writes)
	}
}

func TestEachEncodingInUseIsBuiltOnce(t *testing.T) {
	var cfg Config
	built := map[Encoding]int{}
	for e := range Encoding(numEncodings) {
		cfg.Encoders[e] = func(dst []byte, p *Publication) []byte {
			built[e]++
			return append(dst, byte('0'+e))
		}
	}
	x := newHarness(t, cfg)
	conns := make([]*fakeConn, 9)
	for i := range conns {
		conns[i] = &fakeConn{}
		x.h.Subscribe(&Subscription{Sub: conns[i], Encoding: Encoding(i % 3)}, "c")
	}
	x.deliver("c", "p")
	x.step(0)
	for i, c := range conns {
		x.want("encoding", c.text(), fmt.Sprint(i%3))
	}
	if built[0] != 1 || built[1] != 1 || built[2] != 1 || built[3] != 0 {
		t.Errorf("encoders called %v, want once for each of 0, 1, 2", built)
	}
	if s := x.h.Stats(); s.Frames != 3 || s.Deliveries != 9 || s.Batches != 1 || s.Bytes != 9 {
		t.Errorf("stats %+v", s)
	}
}

func TestEncoderThatAppendsNothingSendsNothing(t *testing.T) {
	calls := 0
	var cfg Config
	cfg.Encoders[EncodingRaw] = func(dst []byte, p *Publication) []byte { calls++; return dst }
	x := newHarness(t, cfg)
	a, b := &fakeConn{}, &fakeConn{}
	x.join(a, "c")
	x.join(b, "c")
	x.deliver("c", "p")
	x.settle()
	if len(a.frames)+len(b.frames) != 0 || calls != 1 {
		t.Errorf("%d frames, encoder called %d times; want 0 and 1", len(a.frames)+len(b.frames), calls)
	}
}

func TestBatchesRespectBatchBytes(t *testing.T) {
	x := newHarness(t, Config{BatchBytes: 10})
	a := &fakeConn{}
	x.join(a, "c")
	x.deliver("c", "aaaa", "bbbb", "cccc", strings.Repeat("d", 30), "e")
	x.settle()
	var got []string
	for _, f := range a.frames {
		got = append(got, string(f))
	}
	want := []string{"c/aaaa;c/bbbb;", "c/cccc;", "c/" + strings.Repeat("d", 30) + ";", "c/e;"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if a.writes != 1 {
		t.Errorf("%d writes in one turn, want 1", a.writes)
	}
}

func TestHugeFanoutLetsOtherChannelsAndControlThrough(t *testing.T) {
	x := newHarness(t, Config{TurnSubscribers: 4})
	crowd := make([]*fakeConn, 20)
	for i := range crowd {
		crowd[i] = &fakeConn{}
		x.join(crowd[i], "huge")
	}
	other := &fakeConn{}
	x.join(other, "small")
	x.deliver("huge", "1")
	x.step(0)
	x.deliver("small", "hi")
	late := &fakeConn{}
	x.join(late, "small")
	x.step(0) // the rest of the queue before small: one slice of huge
	x.step(0)
	x.want("other channel, two turns later", other.text(), "small/hi;")
	x.want("who subscribed before the delivery began", late.text(), "small/hi;")
	reached := 0
	for _, c := range crowd {
		reached += len(c.frames)
	}
	if reached >= len(crowd) {
		t.Errorf("the huge fan-out was over before the small one began")
	}
	x.deliver("huge", "2", "3")
	x.settle()
	for _, c := range crowd {
		x.want("order across slices", c.text(), "huge/1;huge/2;huge/3;")
		if len(c.frames) != 2 {
			t.Errorf("%d frames, want what gathered meanwhile joined", len(c.frames))
		}
	}
}

func TestFloodedChannelTakesTurnsWithOthers(t *testing.T) {
	x := newHarness(t, Config{TurnSubscribers: 4, BatchBytes: 1})
	a, b := &fakeConn{}, &fakeConn{}
	x.join(a, "flood")
	x.join(b, "calm")
	x.deliver("flood", numbers(0, 100)...)
	x.step(0)
	x.deliver("calm", "1")
	x.step(0)
	x.want("behind a hundred batches", b.text(), "calm/1;")
	x.settle()
	x.want("all, in order", a.text(), "flood/"+strings.Join(numbers(0, 100), ";flood/")+";")
}

// Every place in the list, at every point of a batch: whoever stays gets it once, whoever leaves before his turn does not,
// whoever joins late gets the next one only.
func TestListChangesDuringABatch(t *testing.T) {
	const n = 7
	for stop := 0; stop <= n; stop++ {
		for who := range n {
			for _, joins := range []int{0, 2} {
				testListChange(t, stop, who, joins)
			}
		}
	}
}

func testListChange(t *testing.T, stop, who, joins int) {
	t.Helper()
	const n = 7
	x := newHarness(t, Config{TurnSubscribers: 1})
	conns, subs := make([]*fakeConn, n), make([]*Subscription, n)
	for i := range conns {
		conns[i] = &fakeConn{}
		subs[i] = x.join(conns[i], "c")
	}
	x.step(0)
	x.deliver("c", "1")
	for range stop {
		x.step(0)
	}
	had := conns[who].text()
	var late []*fakeConn
	for range joins {
		late = append(late, &fakeConn{})
		x.join(late[len(late)-1], "c")
	}
	x.h.Unsubscribe(subs[who])
	again := conns[who]
	if joins > 0 {
		x.h.Unsubscribe(subs[who])
		x.h.Subscribe(subs[who], "c") // at once, with the leave still queued
	}
	x.deliver("c", "2")
	x.settle()
	for i, c := range conns {
		if i != who {
			x.want(fmt.Sprintf("stop %d, leaver %d, member %d", stop, who, i), c.text(), "c/1;c/2;")
		}
	}
	if joins == 0 {
		x.want("left", again.text(), had)
		return
	}
	for _, c := range append(late, again) {
		got := strings.TrimPrefix(c.text(), had)
		if stop == 0 { // the batch had not begun: late ones may have both
			got = strings.TrimPrefix(got, "c/1;")
		}
		if stop > 0 || c != again {
			x.want(fmt.Sprintf("stop %d, leaver %d, late", stop, who), strings.TrimPrefix(got, had), "c/2;")
		}
	}
}

func TestUnsubscribeIsExactlyOnce(t *testing.T) {
	x := newHarness(t, Config{})
	a, stays := &fakeConn{}, &fakeConn{}
	s := x.join(a, "c")
	x.join(stays, "c")
	x.step(0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { x.h.Unsubscribe(s) })
	}
	wg.Wait()
	x.settle()
	x.check()
	x.deliver("c", "1")
	x.settle()
	x.want("left", a.text(), "")
	x.want("stays", stays.text(), "c/1;")
	if s.Channel() != "" {
		t.Errorf("Channel() = %q after Unsubscribe", s.Channel())
	}
	x.h.Unsubscribe(new(Subscription)) // never subscribed
	if st := x.h.Stats(); st.Subscribers != 1 {
		t.Errorf("%d subscribers, want 1", st.Subscribers)
	}
}

func TestNothingQueuedReachesWhoLeft(t *testing.T) {
	x := newHarness(t, Config{})
	a := &fakeConn{}
	s := x.join(a, "c")
	x.deliver("c", "1")
	x.h.Unsubscribe(s)
	x.settle()
	x.want("after Unsubscribe was applied", a.text(), "")
}

func TestClosedSubscriberDoesNotHurtOthers(t *testing.T) {
	x := newHarness(t, Config{})
	dead, alive := &fakeConn{closed: true}, &fakeConn{}
	x.join(dead, "c")
	x.join(alive, "c")
	x.deliver("c", "1")
	x.settle()
	x.want("alive", alive.text(), "c/1;")
	if dead.writes != 0 {
		t.Error("a connection that was not dirty was flushed")
	}
}

func TestSubscriberMayLeaveFromWithinSend(t *testing.T) {
	x := newHarness(t, Config{})
	a := &fakeConn{}
	s := x.join(a, "c")
	a.onSend = func([]byte) { x.h.Unsubscribe(s) }
	x.deliver("c", "1")
	x.step(0)
	x.deliver("c", "2")
	x.settle()
	x.want("one more at most", a.text(), "c/1;")
}

func TestMassLeaveGivesMemoryBack(t *testing.T) {
	x := newHarness(t, Config{})
	const n = 10_000
	subs := make([]*Subscription, n)
	for i := range subs {
		subs[i] = x.join(&fakeConn{}, "c")
	}
	x.settle()
	b := subs[0].branch.Load()
	for _, s := range subs[10:] {
		x.h.Unsubscribe(s)
	}
	x.settle()
	if cap(b.subs) > 40 {
		t.Errorf("list of %d keeps room for %d", len(b.subs), cap(b.subs))
	}
	sh := x.h.shards[0]
	x.step(0)
	if cap(sh.in.control) > keepControl || cap(sh.mail.control) > keepControl {
		t.Errorf("control buffers keep room for %d and %d", cap(sh.in.control), cap(sh.mail.control))
	}
	for _, s := range subs[:10] {
		x.h.Unsubscribe(s)
	}
	x.settle()
	if b.subs != nil {
		t.Error("empty list keeps memory")
	}
}

func TestFanoutHookCountsWholeFanouts(t *testing.T) {
	var got []int
	x := newHarness(t, Config{TurnSubscribers: 4, OnFanout: func(d time.Duration, n int) {
		if d < 0 {
			t.Errorf("duration %v", d)
		}
		got = append(got, n)
	}})
	for range 10 {
		x.join(&fakeConn{}, "huge")
	}
	x.join(&fakeConn{}, "a")
	x.join(&fakeConn{}, "b")
	x.deliver("a", "1")
	x.deliver("b", "1")
	x.deliver("nobody", "1")
	x.settle()
	x.deliver("huge", "1")
	x.settle()
	if !slices.Equal(got, []int{2, 10}) {
		t.Errorf("hook got %v, want [2 10]: two short ones of one turn together, the long one whole", got)
	}
	if s := x.h.Stats(); s.Publications != 4 || s.Unheard != 1 || s.MailboxDepth != 0 || s.Turns != 4 {
		t.Errorf("stats %+v", s)
	}
}

func TestSubscribeRefusesMisuse(t *testing.T) {
	x := newHarness(t, Config{})
	used := x.join(&fakeConn{}, "c")
	for name, s := range map[string]*Subscription{
		"no Sub":     {},
		"no encoder": {Sub: &fakeConn{}, Encoding: 1},
		"no such":    {Sub: &fakeConn{}, Encoding: numEncodings},
		"in use":     used,
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			x.h.Subscribe(s, "d")
		}()
	}
	x.settle()
	x.check()
}

func TestSubscriptionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Subscription{}); n > 40 {
		t.Errorf("Subscription is %d bytes, want at most 40", n)
	}
	if n := unsafe.Sizeof(branch{}); n > 64 {
		t.Errorf("branch is %d bytes, want at most 64", n)
	}
	if n := unsafe.Sizeof(topic{}); n > 48 {
		t.Errorf("topic is %d bytes, want at most 48", n)
	}
	if n := unsafe.Sizeof(stripe{}); n != 64 {
		t.Errorf("stripe is %d bytes, want a cache line", n)
	}
}
