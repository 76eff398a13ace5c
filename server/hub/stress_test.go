package hub

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// countingConn checks that the numbers of each publisher follow one another. Send comes from one shard only, so the fields
// need no lock; the race detector would say if that were not so.
type countingConn struct {
	shard  int
	next   [stressChannels]uint32 // expected number per channel, 0 = anything
	steady bool                   // must begin with number 1
	dirty  bool
	gaps   *atomic.Int64
	total  *atomic.Int64
}

const (
	stressChannels = 4
	stressMessages = 3000
)

// stressEncoder: channel number, publication number.
func stressEncoder(dst []byte, p *Publication) []byte {
	return append(dst, p.Data...)
}

func (c *countingConn) Shard() int { return c.shard }
func (c *countingConn) Flush()     { c.dirty = false }

func (c *countingConn) Send(frame []byte) bool {
	for ; len(frame) > 0; frame = frame[5:] {
		k, n := frame[0], binary.BigEndian.Uint32(frame[1:])
		want := c.next[k]
		if want == 0 && c.steady {
			want = 1
		}
		if want != 0 && n != want {
			c.gaps.Add(1)
		}
		c.next[k] = n + 1
		c.total.Add(1)
	}
	was := c.dirty
	c.dirty = true
	return !was
}

// Real goroutines: a deliverer per channel, steady subscribers that must get everything, others that come and go on all
// shards, with mailboxes, batches and turns so small that every bound is met.
func TestStress(t *testing.T) {
	cfg := Config{Shards: 3, MailboxLen: 32, BatchBytes: 40, TurnSubscribers: 5, InterestLinger: time.Millisecond, InterestStripes: 2}
	cfg.Encoders[EncodingRaw] = stressEncoder
	x := started(t, cfg)
	names := [stressChannels]string{"a", "b", "c", "d"}
	var gaps, steady, churned atomic.Int64
	for i := range 12 {
		c := &countingConn{shard: i, steady: true, gaps: &gaps, total: &steady}
		for _, name := range names {
			x.h.Subscribe(&Subscription{Sub: c}, name)
		}
	}
	var deliverers, churners sync.WaitGroup
	stop := make(chan struct{})
	for k := range names {
		deliverers.Go(func() {
			for n := range uint32(stressMessages) {
				data := binary.BigEndian.AppendUint32([]byte{byte(k)}, n+1)
				x.h.Deliver(Publication{Channel: names[k], Data: data})
			}
		})
	}
	for i := range 4 {
		churners.Go(func() { churn(x, i, names[:], stop, &gaps, &churned) })
	}
	deliverers.Wait()
	close(stop)
	churners.Wait()
	for s := x.h.Stats(); s.MailboxDepth+s.ControlDepth > 0; s = x.h.Stats() {
		runtime.Gosched()
	}
	x.h.Close()
	x.h.interest.sweep(time.Hour)
	x.check()
	if n := gaps.Load(); n != 0 {
		t.Errorf("%d gaps, repetitions or late arrivals", n)
	}
	if n, want := steady.Load(), int64(12*stressChannels*stressMessages); n != want {
		t.Errorf("steady subscribers got %d, want %d", n, want)
	}
	s := x.h.Stats()
	if s.Deliveries != uint64(steady.Load()+churned.Load()) || s.Subscribers != 12*stressChannels || s.LostClosed != 0 {
		t.Errorf("stats %+v, but %d were received", s, steady.Load()+churned.Load())
	}
	t.Logf("%d received by steady, %d by churning subscribers, %+v", steady.Load(), churned.Load(), s)
}

// churn subscribes and unsubscribes, each life a connection of its own, and races with itself to unsubscribe.
func churn(x *harness, seed int, names []string, stop <-chan struct{}, gaps, total *atomic.Int64) {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	for {
		select {
		case <-stop:
			return
		default:
		}
		c := &countingConn{shard: rng.IntN(100), gaps: gaps, total: total}
		subs := make([]Subscription, len(names)+1)
		for i := range subs {
			subs[i].Sub = c
		}
		for i, name := range names {
			x.h.Subscribe(&subs[i], name)
		}
		x.h.Subscribe(&subs[len(names)], "own")
		for range rng.IntN(20) {
			runtime.Gosched()
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for i := range subs {
					x.h.Unsubscribe(&subs[i])
				}
			})
		}
		wg.Wait()
	}
}

// The hub has no race of its own: this proves that the detector would see one in a subscriber, were shards to share it.
func TestSubscribersOfOneConnectionAreCalledByOneGoroutine(t *testing.T) {
	cfg := Config{Shards: 4}
	cfg.Encoders[EncodingRaw] = stressEncoder
	x := started(t, cfg)
	var gaps, total atomic.Int64
	c := &countingConn{shard: 7, steady: true, gaps: &gaps, total: &total}
	for _, name := range []string{"a", "b", "c", "d"} {
		x.h.Subscribe(&Subscription{Sub: c}, name)
	}
	var wg sync.WaitGroup
	for k, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for n := range uint32(200) {
				x.h.Deliver(Publication{Channel: name, Data: binary.BigEndian.AppendUint32([]byte{byte(k)}, n+1)})
			}
		})
	}
	wg.Wait()
	for total.Load() < 800 {
		runtime.Gosched()
	}
	x.h.Close()
	if gaps.Load() != 0 {
		t.Errorf("%d gaps", gaps.Load())
	}
}
