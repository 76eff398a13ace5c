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

const (
	specialChannels = 3
	specialMessages = 4000 // per channel, while subscriptions come and go
	specialLast     = 20   // per channel, at the end
)

// specialStress is one stream per channel: offsets are dense, and what has been said is told to those who come.
type specialStress struct {
	*harness
	names  [specialChannels]string
	tops   [specialChannels]atomic.Uint64
	owners sync.Map // *Subscription -> *recoveringConn
	faults atomic.Int64
	total  atomic.Int64
}

// cut is Config.OnCut.
func (x *specialStress) cut(s *Subscription) {
	c, _ := x.owners.Load(s)
	c.(*recoveringConn).cut.Store(true)
}

func (x *specialStress) say(k int, n uint64) {
	x.tops[k].Store(n) // as history: who subscribes from now on is told
	x.h.Deliver(Publication{Channel: x.names[k], Data: binary.BigEndian.AppendUint64(nil, n), Meta: &wire.Meta{Offset: n}})
}

func (x *specialStress) enter(k, shard int, e Encoding) (*Subscription, *recoveringConn) {
	c := &recoveringConn{shard: shard, faults: &x.faults, total: &x.total}
	s := &Subscription{Sub: c, Encoding: e}
	x.owners.Store(s, c)
	x.h.SubscribeSpecial(s, x.names[k], Special{Hold: true})
	return s, c
}

func (x *specialStress) answer(k int, s *Subscription, c *recoveringConn) {
	after := x.tops[k].Load()
	c.answered.Store(after + 1)
	x.h.Open(s, after, true)
}

// live is one subscription after another until stop.
func (x *specialStress) live(seed uint64, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for {
		select {
		case <-stop:
			return
		default:
		}
		k := rng.IntN(specialChannels)
		s, c := x.enter(k, rng.IntN(100), Encoding(rng.IntN(int(numEncodings))))
		pause(rng)
		x.answer(k, s, c)
		pause(rng)
		var leavers sync.WaitGroup
		for range 2 {
			leavers.Go(func() { x.h.Unsubscribe(s) })
		}
		leavers.Wait()
	}
}

// atRest waits until the shards have done everything.
func (x *specialStress) atRest() {
	for s := x.h.Stats(); s.MailboxDepth+s.ControlDepth > 0; s = x.h.Stats() {
		runtime.Gosched()
	}
}

// Real goroutines subscribe, are told how far the stream is, open, leave and are cut while it goes on. Whoever is there at the
// end gets the end of the stream, or is told.
func TestSpecialStress(t *testing.T) {
	x := &specialStress{names: [specialChannels]string{"a", "b", "c"}}
	cfg := Config{Shards: 3, MailboxLen: 32, BatchBytes: 40, TurnSubscribers: 5, InterestLinger: time.Millisecond, InterestStripes: 2, OnCut: x.cut}
	for e := range cfg.Encoders {
		cfg.Encoders[e] = stressEncoder
	}
	x.harness = started(t, cfg)
	var deliverers, members sync.WaitGroup
	stop := make(chan struct{})
	for k, name := range x.names {
		deliverers.Go(func() {
			for n := uint64(1); n <= specialMessages; n++ {
				x.say(k, n)
				if n%500 == 0 {
					x.h.Cut(name)
				}
			}
		})
	}
	for i := range uint64(8) {
		members.Go(func() { x.live(i, stop) })
	}
	deliverers.Wait()
	for x.h.Stats().MailboxDepth > 0 { // a cut that has not begun would take those who join now
		runtime.Gosched()
	}
	x.toTheEnd()
	close(stop)
	members.Wait()
	x.atRest()
	x.h.Close()
	x.h.interest.sweep(time.Hour)
	x.check()
	x.verify()
}

// toTheEnd adds subscriptions that stay, says the last of each channel, and cuts the first one.
func (x *specialStress) toTheEnd() {
	for i := range 10 * specialChannels {
		k := i % specialChannels
		s, c := x.enter(k, i, EncodingJSON)
		x.answer(k, s, c)
	}
	for k := range x.names {
		for n := range uint64(specialLast) {
			x.say(k, specialMessages+1+n)
		}
	}
	x.h.Cut(x.names[0])
}

func (x *specialStress) verify() {
	there, wrong := 0, 0
	x.owners.Range(func(key, value any) bool {
		s, c := key.(*Subscription), value.(*recoveringConn)
		name := s.Channel()
		if name == "" {
			return true // left
		}
		there++
		if cut := c.cut.Load(); cut != (name == x.names[0]) || !cut && c.next != specialMessages+specialLast+1 {
			wrong++
		}
		return true
	})
	if there != 10*specialChannels || wrong > 0 {
		x.t.Errorf("of %d at the end %d have neither all nor were told", there, wrong)
	}
	if n := x.faults.Load(); n > 0 {
		x.t.Errorf("%d gaps, repetitions, early or late ones", n)
	}
	x.t.Logf("%d received, %+v", x.total.Load(), x.h.Stats())
}

func pause(rng *rand.Rand) {
	for range rng.IntN(40) {
		runtime.Gosched()
	}
}
