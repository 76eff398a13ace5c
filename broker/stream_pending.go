package broker

import (
	"sync"
	"time"
)

// storing is one accepted publication on its way into a stream: first in the publish queue, then waiting for NATS's answer. It is
// answered exactly once, by whoever takes it out of the table.
type storing struct {
	to       *stream
	id       uint64
	msgID    string // value of Nats-Msg-Id, "" for none
	expect   string // value of Nats-Expected-Last-Subject-Sequence, "" for none
	bytes    int    // of payload
	accepted time.Time
	done     func(Stored)

	// Under ackTable.mu.
	written    bool // handed to nats.go, or about to be
	next, prev *storing
}

// ackTable holds what waits for an answer, oldest first: all wait equally long, so the first to be overdue is the
// first. Its mutex is a leaf; callers of Store touch it twice.
type ackTable struct {
	max  int
	wait time.Duration

	kick    chan struct{} // capacity 1: the sweeper sleeps without a deadline and there is one now
	emptied chan struct{} // capacity 1

	mu          sync.Mutex
	waiting     map[uint64]*storing
	first, last *storing
	lastID      uint64
	closed      bool
	asleep      bool
}

func newAckTable(most int, wait time.Duration) *ackTable {
	return &ackTable{
		max: most, wait: wait, waiting: make(map[uint64]*storing), asleep: true,
		kick: make(chan struct{}, 1), emptied: make(chan struct{}, 1),
	}
}

// add gives p its id. Errors: ErrBusy, ErrClosed.
func (t *ackTable) add(p *storing) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	// Where acknowledgements take long, what is queued behind would be overdue when it is stored: everything would be stored
	// and nothing confirmed. Who comes now is told while there is time.
	if len(t.waiting) >= t.max || p.to.waiting > 0 && p.to.lag.Load() > int64(t.wait/2) {
		return ErrBusy
	}
	p.to.waiting++
	t.lastID++
	p.id = t.lastID
	t.waiting[p.id] = p
	if p.prev = t.last; p.prev == nil {
		t.first = p
	} else {
		p.prev.next = p
	}
	t.last = p
	if t.asleep {
		t.asleep = false
		trySignal(t.kick)
	}
	return nil
}

// remove takes p out; false when it has been answered already.
func (t *ackTable) remove(p *storing) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting[p.id] != p {
		return false
	}
	t.unlink(p)
	return true
}

// take takes out the one with the id, or returns nil.
func (t *ackTable) take(id uint64) *storing {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.waiting[id]
	if p != nil {
		t.unlink(p)
	}
	return p
}

// writing marks p as about to be written; false when it has been answered already and must not be written any more.
func (t *ackTable) writing(p *storing) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting[p.id] != p {
		return false
	}
	p.written = true
	return true
}

// overdue takes out what has waited too long, and says after which time to look again; 0: at the next kick.
func (t *ackTable) overdue(now time.Time) (late []*storing, again time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := t.first; p != nil; p = t.first {
		if left := t.wait - now.Sub(p.accepted); left > 0 {
			return late, left
		}
		t.unlink(p)
		late = append(late, p)
	}
	t.asleep = true
	return late, 0
}

// takeWritten takes out everything that was written: the link it was written to is gone. What is still queued stays.
func (t *ackTable) takeWritten() (lost []*storing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := t.first; p != nil; {
		next := p.next
		if p.written {
			t.unlink(p)
			lost = append(lost, p)
		}
		p = next
	}
	return lost
}

// close takes out everything and refuses more.
func (t *ackTable) close() (left []*storing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for p := t.first; p != nil; p = t.first {
		t.unlink(p)
		left = append(left, p)
	}
	return left
}

// unlink removes p. The caller holds mu.
func (t *ackTable) unlink(p *storing) {
	delete(t.waiting, p.id)
	p.to.waiting--
	if p.prev == nil {
		t.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		t.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.next, p.prev = nil, nil
	if len(t.waiting) == 0 {
		trySignal(t.emptied)
	}
}

func (t *ackTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}
