package hub

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// interest is the hub-wide table of channels: who has to see a publication, and what the broker has to be told.
type interest struct {
	seed    maphash.Seed
	stripes []stripe
	broker  Broker
	linger  time.Duration // <= 0: none
	warmth  time.Duration // how long a channel that was warmed stays; the linger if there is one
	start   time.Time

	channels  atomic.Int64
	lingering atomic.Int64
	wake      chan struct{} // the first channel began to linger
}

// stripe is one part of the table. The broker is called under mu, so that it hears on and off in the order they happened.
type stripe struct {
	mu     sync.Mutex
	topics map[string]*topic
	peak   int // most topics since the map was made; Go maps do not shrink
	oldest *topic
	newest *topic
	_      [24]byte // own cache line
}

// topic is one channel of the table, from its first subscriber until the linger after its last has passed. Guarded by its
// stripe, except the name, which is constant.
type topic struct {
	name     string
	branches *branch // one per shard with subscribers; none: lingering
	prev     *topic  // lingering topics of the stripe, in order of deadline
	next     *topic
	deadline time.Duration // of the linger, on the table's clock; the lowest bit is confirmed, see there
}

// confirmed, in a topic's deadline: the broker is known to act upon the interest. It does not have room of its own because
// there are a million topics, and what a topic takes is rounded up to 64 bytes beyond 48.
const confirmed = 1

// branch is one shard's part of a channel.
type branch struct {
	topic  *topic
	next   *branch // stripe's
	count  uint32  // stripe's: subscriptions that have called Subscribe and not Unsubscribe
	stripe uint16
	shard  uint16

	queued atomic.Int32 // publications in the shard's mailbox or job
	torn   uint16       // shard's: see frames

	subs []*Subscription // shard's
	job  *job            // shard's: fan-out in progress or waiting
}

const (
	evictBatch = 128 // channels let go per hold of a stripe's lock: about 50 us
	minPeak    = 64  // smaller maps are not worth a rebuild
)

func (in *interest) init(cfg *Config, b Broker) {
	in.seed = maphash.MakeSeed()
	in.stripes = make([]stripe, cfg.InterestStripes)
	in.broker = b
	in.linger, in.warmth = cfg.InterestLinger, cfg.InterestLinger
	if in.warmth <= 0 {
		in.warmth = defaultInterestLinger
	}
	in.start = time.Now()
	in.wake = make(chan struct{}, 1)
}

// now is monotonic time since the table was made: 8 bytes where a time.Time takes 24.
func (in *interest) now() time.Duration { return time.Since(in.start) }

func (in *interest) stripeOf(channel string) uint16 {
	return uint16(maphash.String(in.seed, channel) % uint64(len(in.stripes)))
}

// acquire counts one more subscriber of channel on shard.
func (in *interest) acquire(channel string, shard uint16) *branch {
	i := in.stripeOf(channel)
	st := &in.stripes[i]
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.topics[channel]
	switch {
	case t == nil:
		t = in.add(st, channel)
	case t.branches == nil:
		in.unlinger(st, t)
	}
	b := t.branches
	for b != nil && b.shard != shard {
		b = b.next
	}
	if b == nil {
		b = &branch{topic: t, next: t.branches, stripe: i, shard: shard}
		t.branches = b
	}
	b.count++
	return b
}

// release takes back one acquire of b. The last one unlinks b: publications no longer go there, and what the shard still has
// of it dies with the last reference.
func (in *interest) release(b *branch) {
	st := &in.stripes[b.stripe]
	st.mu.Lock()
	defer st.mu.Unlock()
	b.count--
	if b.count > 0 {
		return
	}
	t := b.topic
	at := &t.branches
	for *at != b {
		at = &(*at).next
	}
	*at = b.next
	b.next = nil
	if t.branches != nil {
		return
	}
	if in.linger <= 0 {
		in.remove(st, t)
		return
	}
	in.beginLinger(st, t)
}

// warm makes sure that channel is in the table for a linger at least.
func (in *interest) warm(channel string) (t *topic, known bool) {
	st := &in.stripes[in.stripeOf(channel)]
	st.mu.Lock()
	defer st.mu.Unlock()
	t = st.topics[channel]
	switch {
	case t == nil:
		t = in.add(st, channel)
		in.beginLinger(st, t)
	case t.branches == nil:
		in.unlinger(st, t)
		in.beginLinger(st, t)
	}
	return t, t.deadline&confirmed != 0
}

// confirm marks t. If it was let go meanwhile nobody sees the mark: the table has another topic for the channel, or none.
func (in *interest) confirm(t *topic) {
	st := &in.stripes[in.stripeOf(t.name)]
	st.mu.Lock()
	defer st.mu.Unlock()
	t.deadline |= confirmed
}

// lookup appends the branches of channel to dst.
func (in *interest) lookup(channel string, dst []*branch) []*branch {
	st := &in.stripes[in.stripeOf(channel)]
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.topics[channel]
	if t == nil {
		return dst
	}
	for b := t.branches; b != nil; b = b.next {
		dst = append(dst, b)
	}
	return dst
}

// each tells f every channel with subscribers, and how many, stripe by stripe.
func (in *interest) each(f func(channel string, subscribers int)) {
	type entry struct {
		name  string
		count int
	}
	var batch []entry
	for i := range in.stripes {
		st := &in.stripes[i]
		batch = batch[:0]
		st.mu.Lock()
		for name, t := range st.topics {
			n := 0
			for b := t.branches; b != nil; b = b.next {
				n += int(b.count)
			}
			if n > 0 {
				batch = append(batch, entry{name, n})
			}
		}
		st.mu.Unlock()
		for _, e := range batch {
			f(e.name, e.count)
		}
	}
}

func (in *interest) add(st *stripe, channel string) *topic {
	t := &topic{name: strings.Clone(channel)}
	if st.topics == nil {
		st.topics = make(map[string]*topic)
	}
	st.topics[t.name] = t
	st.peak = max(st.peak, len(st.topics))
	in.channels.Add(1)
	in.broker.Subscribe(t.name)
	return t
}

func (in *interest) remove(st *stripe, t *topic) {
	delete(st.topics, t.name)
	in.channels.Add(-1)
	in.broker.Unsubscribe(t.name)
	if st.peak < minPeak || len(st.topics) > st.peak/4 {
		return
	}
	smaller := make(map[string]*topic, len(st.topics))
	for name, t := range st.topics {
		smaller[name] = t
	}
	st.topics = smaller
	st.peak = len(smaller)
}

func (in *interest) beginLinger(st *stripe, t *topic) {
	t.deadline = (in.now()+in.warmth)&^confirmed | t.deadline&confirmed
	t.prev = st.newest
	if t.prev == nil {
		st.oldest = t
	} else {
		t.prev.next = t
	}
	st.newest = t
	if in.lingering.Add(1) > 1 {
		return
	}
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *interest) unlinger(st *stripe, t *topic) {
	if t.prev == nil {
		st.oldest = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		st.newest = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	in.lingering.Add(-1)
}

// sweepLoop lets lingering channels go. One goroutine and one timer for all: the linger is the same for every channel, so
// each stripe's list is in order of deadline and a sweep looks at its head. It sleeps while nothing lingers.
func (in *interest) sweepLoop(done <-chan struct{}) {
	step := max(in.warmth/4, time.Millisecond)
	for {
		select {
		case <-in.wake:
		case <-done:
			return
		}
		for in.lingering.Load() > 0 {
			select {
			case <-time.After(step):
			case <-done:
				return
			}
			in.sweep(in.now())
		}
	}
}

func (in *interest) sweep(now time.Duration) {
	for i := range in.stripes {
		for in.evict(&in.stripes[i], now) {
		}
	}
}

// evict lets go at most evictBatch channels whose deadline has passed and says whether there may be more.
func (in *interest) evict(st *stripe, now time.Duration) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for range evictBatch {
		t := st.oldest
		if t == nil || t.deadline > now {
			return false
		}
		in.unlinger(st, t)
		in.remove(st, t)
	}
	return true
}
