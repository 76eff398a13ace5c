package hub

import (
	"time"

	"throng/server/wire"
)

// cutMark is the Meta of what stands in a channel's queue for a cut. It makes a batch of its own.
var cutMark = new(wire.Meta)

// job is the fan-out of one branch: a batch in progress and the publications that wait behind it. It exists only while there
// is something to fan out, so there are at most MailboxLen of them per shard. All of it is the shard's.
//
// While a batch is in progress the branch's list has three parts, which join and leave preserve, so that every receiver is
// met once and only once however the list changes between slices:
//
//	[0, cursor) got the batch    [cursor, end) will get it    [end, len) came too late for it
type job struct {
	next   *job // in the run queue or the free list
	branch *branch
	pubs   []Publication // oldest first
	batch  int           // how many of pubs are being fanned out; 0: not begun
	cursor int
	end    int
	sent   int // receivers that got a frame
	began  time.Time
	spans  bool // does not end in the turn it began in
	// The batch is not sent, the positioned among its receivers are cut: it is a cut, or an encoder has panicked.
	cutting bool
	frames  frames
	kept    *heldBatch // the batch for those that hold it; nil: nobody yet
}

// keepPubs is the longest list of publications a job on the free list keeps.
const keepPubs = 8

func (sh *shard) newJob(b *branch) *job {
	j := sh.free
	if j == nil {
		j = new(job)
	} else {
		sh.free, j.next = j.next, nil
	}
	j.branch = b
	b.job = j
	return j
}

// jobQueue is first in, first out.
type jobQueue struct{ head, tail *job }

func (q *jobQueue) empty() bool { return q.head == nil }

// largest is the number of subscribers of the largest fan-out that waits.
func (q *jobQueue) largest() int {
	n := 0
	for j := q.head; j != nil; j = j.next {
		n = max(n, len(j.branch.subs))
	}
	return n
}

func (q *jobQueue) push(j *job) {
	if q.tail == nil {
		q.head = j
	} else {
		q.tail.next = j
	}
	q.tail = j
}

func (q *jobQueue) pop() *job {
	j := q.head
	q.head, j.next = j.next, nil
	if q.head == nil {
		q.tail = nil
	}
	return j
}

// minShrink is the smallest capacity of a list worth copying to shrink it.
const minShrink = 16

func (b *branch) join(s *Subscription) {
	s.index = uint32(len(b.subs))
	b.subs = append(b.subs, s)
}

func (b *branch) leave(s *Subscription) {
	hole := int(s.index)
	if hole >= len(b.subs) || b.subs[hole] != s {
		panic("hub: subscription is not where it was put")
	}
	if j := b.job; j != nil {
		if hole < j.cursor {
			j.cursor--
			hole = b.fill(hole, j.cursor)
		}
		if hole < j.end {
			j.end--
			hole = b.fill(hole, j.end)
		}
	}
	last := len(b.subs) - 1
	b.fill(hole, last)
	b.subs[last] = nil
	b.subs = b.subs[:last]
	b.shrink()
}

// fill moves the subscription at from to the hole and returns from, the new hole.
func (b *branch) fill(hole, from int) int {
	if hole != from { // else the place still shows the one that moved away before
		b.subs[hole] = b.subs[from]
		b.subs[hole].index = uint32(hole)
	}
	return from
}

// shrink gives memory back when three quarters of the list are unused: at most one copy of a subscription per three leaves.
func (b *branch) shrink() {
	if len(b.subs) == 0 {
		b.subs = nil
		return
	}
	if cap(b.subs) >= minShrink && len(b.subs) <= cap(b.subs)/4 {
		b.subs = append(make([]*Subscription, 0, 2*len(b.subs)), b.subs...)
	}
}
