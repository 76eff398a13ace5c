package hub

import (
	"errors"
	"sync"
	"sync/atomic"

	"throng/server/wire"
)

// Errors of Broker.Publish that callers of Hub.Publish tell apart with errors.Is; the adapter of a broker translates its own.
var (
	ErrBusy         = errors.New("hub: broker's publish queue is full")
	ErrTooBig       = errors.New("hub: message is larger than the broker takes")
	ErrDisconnected = errors.New("hub: broker has no link")
	ErrClosed       = errors.New("hub: broker is closed")
)

// Broker is what the hub needs of the road between nodes.
type Broker interface {
	// Publish sends data to every node interested in channel, this one included. It never blocks, copies data and keeps
	// channel, which must not change. Errors
	// are, or wrap, ErrBusy, ErrTooBig, ErrDisconnected and ErrClosed.
	Publish(channel string, data []byte, binary bool) error
	// PublishMeta is Publish of a message that is more than its data. meta is one line as wire.AppendMeta writes it, and is
	// copied too; receivers hand it to Hub.Receive.
	PublishMeta(channel string, data, meta []byte) error
	// Subscribe turns interest in channel on, Unsubscribe off. Level-triggered and idempotent; called in the right order
	// for each channel and under a lock of the hub: they must not block and must not call the hub.
	Subscribe(channel string)
	Unsubscribe(channel string)
}

// Hub is the node's subscriptions and their fan-out. Make it with New.
type Hub struct {
	cfg      Config
	broker   Broker
	interest interest
	shards   []*shard

	publications atomic.Uint64
	unheard      atomic.Uint64
	unreadable   atomic.Uint64

	closeOnce sync.Once
	done      chan struct{}
	wg        sync.WaitGroup
}

// New makes a Hub that publishes and declares interest through b. Nothing is fanned out before Start.
func New(cfg Config, b Broker) *Hub {
	h := &Hub{cfg: cfg.withDefaults(), broker: b, done: make(chan struct{})}
	h.interest.init(&h.cfg, b)
	h.shards = make([]*shard, h.cfg.Shards)
	for i := range h.shards {
		h.shards[i] = newShard(&h.cfg)
	}
	return h
}

// Start begins the fan-out: one goroutine per shard and one for lingering channels. Once only.
func (h *Hub) Start() {
	for _, sh := range h.shards {
		h.wg.Go(sh.run)
	}
	h.wg.Go(func() { h.interest.sweepLoop(h.done) })
}

// Close stops the fan-out after each shard's present turn and waits for that. Publications still queued are abandoned and
// counted in Stats.LostClosed, as are later ones; Deliver does not wait any more. Idempotent. Not for Subscribers to call.
func (h *Hub) Close() {
	h.closeOnce.Do(func() {
		close(h.done)
		for _, sh := range h.shards {
			sh.mail.close()
		}
	})
	h.wg.Wait()
}

// Subscribe makes s a member of channel. Any goroutine, but not concurrently for one s; never blocks. It panics if s is
// subscribed already, has no Sub, or an Encoding without an Encoder. The hub keeps its own copy of channel. Allocates only for
// the first subscriber of a channel on a shard, and for encodings of deltas.
func (h *Hub) Subscribe(s *Subscription, channel string) { h.SubscribeSpecial(s, channel, Special{}) }

// SubscribeSpecial is Subscribe of a subscription that needs more. With Hold nothing is sent until Open; every publication
// whose Deliver begins after the return is held, and what was delivered shortly before may be too. They are kept by reference,
// up to Config.HoldLen and HoldBytes; more cut the subscription. Allocates 48 bytes if it needs anything.
func (h *Hub) SubscribeSpecial(s *Subscription, channel string, needs Special) {
	switch {
	case s.Sub == nil:
		panic("hub: Subscribe without Sub")
	case s.Encoding >= numEncodings || h.cfg.Encoders[s.Encoding] == nil:
		panic("hub: Subscribe with an Encoding that has no Encoder")
	case s.branch.Load() != nil:
		panic("hub: Subscribe of a Subscription in use")
	}
	sp := newSpecial(s.Encoding, needs)
	if sp != nil || s.special.Load() != nil {
		s.special.Store(sp)
	}
	shard := uint(s.Sub.Shard()) % uint(len(h.shards))
	b := h.interest.acquire(channel, uint16(shard))
	h.shards[shard].mail.post(op{kind: opJoin, sub: s, branch: b, special: sp, hold: needs.Hold})
	// Last, so that an Unsubscribe that sees it queues behind the join.
	s.branch.Store(b)
}

// Open lets a subscription with Hold have what it held and what comes, in order and once: everything with an offset above
// after, and everything without one. The owner has queued its answer on the connection before, in which it told everything
// up to after. whole, of encodings of deltas: the answer contained no publication, so the next one must be without its delta.
// Nothing happens if s was cut, is open already or has left. Any goroutine, but not concurrently with SubscribeSpecial of the
// same s; never blocks.
func (h *Hub) Open(s *Subscription, after uint64, whole bool) {
	if b := s.branch.Load(); b != nil {
		h.shards[b.shard].mail.post(op{kind: opOpen, sub: s, branch: b, after: after, whole: whole})
	}
}

// Cut ends the positioned subscriptions of channel, those with Hold: publications whose Deliver begins after the return are not
// sent to them, and Config.OnCut is told each, in as many turns as that takes. Publications delivered before may still be sent.
// The others go on, as do those that SubscribeSpecial makes afterwards, or which are at worst cut too. Any goroutine, never blocks.
func (h *Hub) Cut(channel string) {
	var room [16]*branch
	for _, b := range h.interest.lookup(channel, room[:0]) {
		h.shards[b.shard].mail.cut(b)
	}
}

// Interest is a channel whose interest was turned on by Warm, until it is let go. The zero value is none.
type Interest struct{ topic *topic }

// Warm turns interest in channel on ahead of Subscribe and keeps it for a linger, also where Config.InterestLinger is none: then
// for the default. confirmed: the broker is known to act upon it, because Confirm said so and it was not let go since. Any goroutine, never
// blocks.
func (h *Hub) Warm(channel string) (i Interest, confirmed bool) {
	t, confirmed := h.interest.warm(channel)
	return Interest{t}, confirmed
}

// Confirm says that a synchronisation with the broker that was begun after Warm returned i has ended well: whoever subscribes
// from now on misses nothing. If the interest was let go meanwhile, nothing happens, even if it is on again. Any goroutine, never
// blocks.
func (h *Hub) Confirm(i Interest) {
	if i.topic != nil {
		h.interest.confirm(i.topic)
	}
}

// Unsubscribe ends the membership of s; without one it does nothing. Any goroutine, never blocks, exactly-once. A call that
// races with Subscribe of the same s counts as before it.
func (h *Hub) Unsubscribe(s *Subscription) {
	b := s.branch.Swap(nil)
	if b == nil {
		return
	}
	h.interest.release(b)
	h.shards[b.shard].mail.post(op{kind: opLeave, sub: s, branch: b})
}

// Publish hands data to the broker, which copies it, and returns the broker's error. Local subscribers get it when it comes
// back: one path, one order. Any goroutine, never blocks.
func (h *Hub) Publish(channel string, data []byte, binary bool) error {
	return h.broker.Publish(channel, data, binary)
}

// PublishMeta hands data and meta, where it tells anything, to the broker, which copies them, and returns the broker's error. Joins and leaves come this
// way too, without data. Otherwise as Publish; allocates nothing itself while meta is small.
func (h *Hub) PublishMeta(channel string, data []byte, meta *wire.Meta) error {
	if meta.Plain() {
		return h.broker.Publish(channel, data, false)
	}
	room := metaLines.Get().(*[]byte)
	line := wire.AppendMeta((*room)[:0], meta)
	err := h.broker.PublishMeta(channel, data, line)
	if cap(line) <= keptMetaLine {
		*room = line
		metaLines.Put(room)
	}
	return err
}

var metaLines = sync.Pool{New: func() any { return new([]byte) }}

// keptMetaLine bounds the lines kept for reuse, bytes: a client with a large conn_info is rare.
const keptMetaLine = 4 << 10

// Receive delivers a message as it came from the broker: Deliver, once its meta line is read, "" for none. A line that cannot
// be read, or speaks of a kind this version does not know, makes the message worthless: it is dropped and counted in
// Stats.Unreadable. p.Meta is ignored.
func (h *Hub) Receive(p Publication, meta string) {
	p.Meta = nil
	if meta != "" {
		m, ok := wire.ParseMeta(meta)
		if !ok {
			h.unreadable.Add(1)
			return
		}
		p.Meta = m
	}
	h.Deliver(p)
}

// Deliver hands p to the shards that have subscribers of its channel and waits while the mailbox of one of them is full: that
// is the back-pressure on the broker's reader. p.Data is kept, shared and must not change any more. For order, one goroutine at
// a time per channel. Never from within a Subscriber.
func (h *Hub) Deliver(p Publication) {
	h.publications.Add(1)
	var room [16]*branch
	branches := h.interest.lookup(p.Channel, room[:0])
	if len(branches) == 0 {
		h.unheard.Add(1)
		return
	}
	for _, b := range branches {
		h.shards[b.shard].mail.deliver(b, &p)
	}
}

// Channels tells f every channel that has subscribers on this node, and how many. Expensive with many channels: it holds one
// stripe's lock at a time, for a millisecond per ten thousand channels of the stripe. f is called without a lock. Any
// goroutine; not for pollers.
func (h *Hub) Channels(f func(channel string, subscribers int)) { h.interest.each(f) }

// Stats is a snapshot of counters since New and of present levels. Every figure is right by itself; between them there may be
// traffic.
type Stats struct {
	Publications  uint64 // Deliver calls
	Unheard       uint64 // of these, for channels without a local subscriber: late ones, and those of lingering channels
	Unreadable    uint64 // Receive calls with a meta line that no version we know writes
	LostClosed    uint64 // abandoned by Close, counted per shard
	LostPanic     uint64 // of which some subscribers were not sent because of a panic, counted per shard
	Batches       uint64 // groups of publications fanned out, per channel and shard
	Frames        uint64 // buffers built: one per batch and encoding in use, and for those that take a part of a batch
	Deliveries    uint64 // publications times subscribers they were sent to
	Bytes         uint64 // bytes handed to subscribers
	Filtered      uint64 // publications times subscribers whose filter did not want them
	Turns         uint64 // fan-out turns
	Cuts          uint64 // positioned subscriptions that were cut, for whatever reason
	HoldOverflows uint64 // of these, because they held too much
	Panics        uint64 // of encoders, filters, subscribers and OnCut
	Subscribers   int    // subscriptions in the shards' lists
	Special       int    // of these, off the fast path: held, filtered, or waiting for their first publication
	Held          int    // of these, not open yet
	Channels      int    // channels in the interest table, lingering ones included
	Lingering     int    // of these, without a subscriber
	MailboxDepth  int    // publications queued or being fanned out, over all shards
	ControlDepth  int    // joins, openings and leaves not yet applied
}

// Stats may be called by any goroutine; it takes each mailbox's lock for a moment.
func (h *Hub) Stats() Stats {
	s := Stats{
		Publications: h.publications.Load(),
		Unheard:      h.unheard.Load(),
		Unreadable:   h.unreadable.Load(),
		Channels:     int(h.interest.channels.Load()),
		Lingering:    int(h.interest.lingering.Load()),
	}
	for _, sh := range h.shards {
		sh.addTo(&s)
	}
	return s
}
