package hub

import "sync"

// mailbox is all that other goroutines share with a shard: a bounded queue of deliveries and an unbounded one of control,
// which is bounded by the connections there are. Its mutex is a leaf.
type mailbox struct {
	maxLen     int
	maxBytes   int
	maxChannel int

	mu      sync.Mutex
	work    sync.Cond // the shard waits here
	space   sync.Cond // deliver waits here
	queue   []delivery
	control []op
	depth   int // publications, and cuts, in queue or taken and not yet fanned out
	bytes   int // their data
	lost    uint64
	closed  bool
}

type delivery struct {
	branch *branch
	pub    Publication
}

// op is a change of sub's membership in branch.
type op struct {
	sub     *Subscription
	branch  *branch
	special *special // of a join: nil for one of the fast path
	after   uint64   // of an opening
	kind    opKind
	hold    bool // of a join: it holds until it is opened
	whole   bool // of an opening: the next publication must be sent without its delta
}

type opKind uint8

const (
	opLeave opKind = iota
	opJoin
	opOpen
)

// taken is what the shard took out of its mailbox, and what it gives back the next time.
type taken struct {
	queue         []delivery
	control       []op
	released      int // publications whose fan-out is finished
	releasedBytes int
}

// keepControl is the longest control buffer kept for reuse: a mass leave is rare and its buffer is large.
const keepControl = 1024

func (m *mailbox) init(cfg *Config) {
	m.maxLen, m.maxBytes, m.maxChannel = cfg.MailboxLen, cfg.MailboxBytes, cfg.ChannelLen
	m.work.L, m.space.L = &m.mu, &m.mu
}

func (m *mailbox) post(o op) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.control = append(m.control, o)
	m.work.Signal()
}

// deliver queues p for b and waits while there is no room.
func (m *mailbox) deliver(b *branch, p *Publication) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !m.closed && (m.depth >= m.maxLen || m.bytes >= m.maxBytes || int(b.queued.Load()) >= m.maxChannel) {
		m.space.Wait()
	}
	if m.closed {
		m.lost++
		return
	}
	m.enqueue(b, p)
}

// cut queues a cut of b behind what was delivered before. It does not wait, there are few: what is delivered next does.
func (m *mailbox) cut(b *branch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.enqueue(b, &Publication{Meta: cutMark})
	}
}

func (m *mailbox) enqueue(b *branch, p *Publication) {
	m.queue = append(m.queue, delivery{branch: b, pub: *p})
	m.depth++
	m.bytes += p.size()
	b.queued.Add(1)
	m.work.Signal()
}

// take swaps t's buffers, which the shard has used up, for what is queued, and frees the room t gives back. With wait it
// blocks until there is something. False: the mailbox is closed.
func (m *mailbox) take(t *taken, wait bool) bool {
	clear(t.queue)
	clear(t.control)
	if cap(t.control) > keepControl {
		t.control = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.released > 0 {
		m.depth -= t.released
		m.bytes -= t.releasedBytes
		t.released, t.releasedBytes = 0, 0
		m.space.Broadcast()
	}
	for wait && !m.closed && len(m.queue) == 0 && len(m.control) == 0 {
		m.work.Wait()
	}
	m.queue, t.queue = t.queue[:0], m.queue
	m.control, t.control = t.control[:0], m.control
	return !m.closed
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	m.work.Broadcast()
	m.space.Broadcast()
}

// abandon counts what a closed mailbox still held.
func (m *mailbox) abandon() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost += uint64(m.depth)
	m.depth, m.bytes = 0, 0
}
