package hub

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"throng/server/wire"
)

// recoveringConn is one membership that was told everything up to a position and must be sent what follows, every offset
// once and in order. Its Subscription is used again by other lives, its connection's poller is the test's goroutine.
type recoveringConn struct {
	shard    int
	answered atomic.Uint64 // position told, plus one; 0: nothing may be sent
	next     uint64        // the shard's
	dirty    bool
	cut      atomic.Bool
	faults   *atomic.Int64
	total    *atomic.Int64
}

func (c *recoveringConn) Shard() int { return c.shard }
func (c *recoveringConn) Flush()     { c.dirty = false }

func (c *recoveringConn) Send(frame []byte) bool {
	for ; len(frame) > 0; frame = frame[8:] {
		n := binary.BigEndian.Uint64(frame)
		if c.next == 0 {
			c.next = c.answered.Load()
		}
		if n != c.next || c.cut.Load() {
			c.faults.Add(1)
		}
		c.next = n + 1
		c.total.Add(1)
	}
	was := c.dirty
	c.dirty = true
	return !was
}

// TestSpecialStress: real goroutines subscribe, are told how far the stream is, open, leave and are cut while it goes on.
func TestSpecialStress(t *testing.T) {
	const channels, messages = 3, 4000
	cfg := Config{Shards: 3, MailboxLen: 32, BatchBytes: 40, TurnSubscribers: 5, InterestLinger: time.Millisecond, InterestStripes: 2}
	for e := range cfg.Encoders {
		cfg.Encoders[e] = stressEncoder
	}
	var owners sync.Map // *Subscription -> *recoveringConn
	cfg.OnCut = func(s *Subscription) {
		c, _ := owners.Load(s)
		c.(*recoveringConn).cut.Store(true)
	}
	x := started(t, cfg)
	names := [channels]string{"a", "b", "c"}
	var tops [channels]atomic.Uint64
	var faults, total, untold atomic.Int64
	var deliverers, members sync.WaitGroup
	stop := make(chan struct{})
	for k, name := range names {
		deliverers.Go(func() {
			for n := uint64(1); n <= messages; n++ {
				tops[k].Store(n) // as history: what it has seen is told to those who subscribe from now on
				x.h.Deliver(Publication{Channel: name, Data: binary.BigEndian.AppendUint64(nil, n), Meta: &wire.Meta{Offset: n}})
				if n%500 == 0 {
					x.h.Cut(name)
				}
			}
		})
	}
	for i := range 8 {
		members.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			for lives := 0; ; lives++ {
				select {
				case <-stop:
					return
				default:
				}
				k := rng.IntN(channels)
				c := &recoveringConn{shard: rng.IntN(100), faults: &faults, total: &total}
				s := &Subscription{Sub: c, Encoding: Encoding(rng.IntN(int(numEncodings)))}
				owners.Store(s, c)
				x.h.SubscribeSpecial(s, names[k], Special{Hold: true})
				pause(rng)
				after := tops[k].Load()
				c.answered.Store(after + 1)
				x.h.Open(s, after, true)
				pause(rng)
				var leavers sync.WaitGroup
				for range 2 {
					leavers.Go(func() { x.h.Unsubscribe(s) })
				}
				leavers.Wait()
			}
		})
	}
	deliverers.Wait()
	for x.h.Stats().MailboxDepth > 0 { // a cut that has not begun would take those who join now
		runtime.Gosched()
	}
	// Whoever is there at the end gets the end of the stream, or is told.
	type last struct {
		c *recoveringConn
		k int
	}
	var there []last
	for i := range 30 {
		k := i % channels
		c := &recoveringConn{shard: i, faults: &faults, total: &total}
		s := &Subscription{Sub: c, Encoding: EncodingJSON}
		owners.Store(s, c)
		x.h.SubscribeSpecial(s, names[k], Special{Hold: true})
		c.answered.Store(tops[k].Load() + 1)
		x.h.Open(s, tops[k].Load(), true)
		there = append(there, last{c, k})
	}
	for k, name := range names {
		for n := uint64(messages + 1); n <= messages+20; n++ {
			tops[k].Store(n)
			x.h.Deliver(Publication{Channel: name, Data: binary.BigEndian.AppendUint64(nil, n), Meta: &wire.Meta{Offset: n}})
		}
		if k == 0 {
			x.h.Cut(name)
		}
	}
	close(stop)
	members.Wait()
	for s := x.h.Stats(); s.MailboxDepth+s.ControlDepth > 0; s = x.h.Stats() {
		runtime.Gosched()
	}
	x.h.Close()
	x.h.interest.sweep(time.Hour)
	x.check()
	for _, l := range there {
		if cut := l.c.cut.Load(); cut != (l.k == 0) || !cut && l.c.next != messages+21 {
			untold.Add(1)
		}
	}
	if faults.Load() != 0 || untold.Load() != 0 {
		t.Errorf("%d gaps, repetitions, early or late ones; %d at the end have neither all nor were told", faults.Load(), untold.Load())
	}
	t.Logf("%d received, %+v", total.Load(), x.h.Stats())
}

func pause(rng *rand.Rand) {
	for range rng.IntN(40) {
		runtime.Gosched()
	}
}
