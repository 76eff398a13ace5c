package broker

import (
	"sync"
	"sync/atomic"
)

// item is one accepted publication, live or, when storing is set, to be stored; or a fence when fence is set.
type item struct {
	channel string
	data    []byte // the queue's own copy, the meta line behind the payload
	meta    int    // length of the meta line
	fence   *fence
	storing *storing
	binary  bool
}

func (it *item) payload() []byte { return it.data[: len(it.data)-it.meta : len(it.data)-it.meta] }

func (it *item) metaLine() string { return string(it.data[len(it.data)-it.meta:]) }

// fence is a Sync under way: answered exactly once, on a channel with room for the answer.
type fence struct{ answer chan error }

func newFence() *fence { return &fence{answer: make(chan error, 1)} }

// queue stands between the callers, who must not block, and the publisher, who may. It holds two things under one
// leaf mutex, because their order matters: publications, and the latest wish per channel. take hands over both at
// once, so a wish made before a publication is never seen after it.
//
// Its budget is reserved with atomics before the copy is made: a full queue costs no allocation, and the copy is
// made outside the mutex.
type queue struct {
	maxMessages, maxBytes int64
	messages, bytes       atomic.Int64 // reserved: accepted, not yet released by the publisher

	wake chan struct{} // capacity 1: something to take

	mu      sync.Mutex
	items   []item
	spare   []item          // the publisher's last batch, emptied
	changes map[string]bool // channel -> wanted, since the last take
	closed  bool
}

// batch is what one take hands over. The publisher owns it until recycle.
type batch struct {
	items   []item
	changes map[string]bool // nil when there are none
	closed  bool            // nothing will follow
}

// maxSpareItems bounds the emptied batch kept for reuse; a burst's array beyond it goes back to the collector.
const maxSpareItems = 8192

func newQueue(l *Limits) *queue {
	return &queue{
		maxMessages: int64(l.QueueMessages),
		maxBytes:    int64(l.QueueBytes),
		wake:        make(chan struct{}, 1),
		changes:     make(map[string]bool),
	}
}

// publish copies data and queues it. Never blocks. Errors: ErrBusy, ErrClosed.
func (q *queue) publish(channel string, data []byte, binary bool) error {
	return q.publishMeta(item{channel: channel, binary: binary}, data, nil)
}

// publishMeta is publish with a meta line; the rest of the item is given.
func (q *queue) publishMeta(it item, data, meta []byte) error {
	size := int64(len(data) + len(meta))
	// Two callers meeting at a bound may both be refused where one would have fitted; the bound is never exceeded.
	if q.messages.Add(1) > q.maxMessages {
		q.messages.Add(-1)
		return ErrBusy
	}
	if q.bytes.Add(size) > q.maxBytes {
		q.release(1, size)
		return ErrBusy
	}
	kept := make([]byte, size)
	copy(kept[copy(kept, data):], meta)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		q.release(1, size)
		return ErrClosed
	}
	it.data, it.meta = kept, len(meta)
	q.items = append(q.items, it)
	q.mu.Unlock()
	q.signal()
	return nil
}

// fence queues a fence behind everything accepted so far. It takes no budget.
func (q *queue) fence(f *fence) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.items = append(q.items, item{fence: f})
	q.mu.Unlock()
	q.signal()
	return nil
}

// want records the latest wish for a channel. Never blocks.
func (q *queue) want(channel string, wanted bool) {
	q.mu.Lock()
	if !q.closed {
		q.changes[channel] = wanted
	}
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() { trySignal(q.wake) }

// take hands over everything queued; with holdChanges the interest changes stay behind.
func (q *queue) take(holdChanges bool) batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := batch{items: q.items, closed: q.closed}
	q.items, q.spare = q.spare, nil
	if !holdChanges && len(q.changes) > 0 {
		b.changes = q.changes
		q.changes = make(map[string]bool)
	}
	return b
}

// release gives budget back as publications leave the publisher's hands.
func (q *queue) release(messages, bytes int64) {
	q.messages.Add(-messages)
	q.bytes.Add(-bytes)
}

// recycle takes back the array of a batch. The publications in it are forgotten.
func (q *queue) recycle(items []item) {
	clear(items)
	if cap(items) > maxSpareItems {
		return
	}
	q.mu.Lock()
	q.spare = items[:0]
	q.mu.Unlock()
}

// close refuses all that follows. What is queued stays for the publisher, and last, if not nil, behind it.
func (q *queue) close(last *fence) {
	q.mu.Lock()
	if last != nil && !q.closed {
		q.items = append(q.items, item{fence: last})
	}
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *queue) pendingChanges() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.changes)
}
