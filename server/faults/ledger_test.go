package faults

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// ack is one publication that a publisher was told is stored.
type ack struct {
	id     string
	offset uint64
	epoch  string
	at     time.Time
}

// ledger knows everything that was said and acknowledged. Safe for concurrent use.
type ledger struct {
	mu     sync.Mutex
	sent   map[string]string          // id -> channel, from before it is sent
	acked  map[string]ack             // by id
	failed map[string]string          // ids that were given up, with the last error
	epochs map[string]map[string]bool // by channel, as acknowledged
	byTime []time.Time                // of acks, as they came
	refuse []refusal
}

// refusal is a request that was answered with an error, or not at all.
type refusal struct {
	at   time.Time
	took time.Duration
	why  string
}

func newLedger() *ledger {
	return &ledger{sent: map[string]string{}, acked: map[string]ack{}, failed: map[string]string{}, epochs: map[string]map[string]bool{}}
}

func (l *ledger) send(id, channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[id] = channel
}

func (l *ledger) confirm(channel string, a ack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.at = time.Now()
	l.acked[a.id] = a
	l.byTime = append(l.byTime, a.at)
	if l.epochs[channel] == nil {
		l.epochs[channel] = map[string]bool{}
	}
	l.epochs[channel][a.epoch] = true
}

func (l *ledger) refused(began time.Time, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.refuse = append(l.refuse, refusal{now, now.Sub(began), why})
}

func (l *ledger) giveUp(id, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[id] = why
}

func (l *ledger) count() (acked, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), len(l.refuse)
}

// since counts what happened after a moment, and tells the slowest refusal.
func (l *ledger) since(t time.Time) (acked, refused int, slowest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.byTime {
		if at.After(t) {
			acked++
		}
	}
	for _, r := range l.refuse {
		if r.at.Add(-r.took).After(t) {
			refused++
			slowest = max(slowest, r.took)
		}
	}
	return acked, refused, slowest
}

// gap is the longest time between two acknowledgements from t on.
func (l *ledger) gap(t time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := t
	for _, at := range l.byTime {
		if at.Before(t) {
			continue
		}
		longest = max(longest, at.Sub(before))
		before = at
	}
	return longest
}

// of lists what was acknowledged in a channel, by epoch, each in the order of offsets.
func (l *ledger) of(channel string) map[string][]ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string][]ack{}
	for id, a := range l.acked {
		if l.sent[id] == channel {
			out[a.epoch] = append(out[a.epoch], a)
		}
	}
	for _, acks := range out {
		slices.SortFunc(acks, func(a, b ack) int { return int(int64(a.offset) - int64(b.offset)) })
	}
	return out
}

// last is the newest acknowledgement of a channel.
func (l *ledger) last(channel string) (newest ack) {
	for _, acks := range l.of(channel) {
		for _, a := range acks {
			if a.at.After(newest.at) {
				newest = a
			}
		}
	}
	return newest
}

// event is what a subscriber was told: a new position, or a publication.
type event struct {
	publication bool
	offset      uint64
	epoch       string // of a position
	id          string // of a publication
	asked       bool   // a position: recovery was asked for
	recovered   bool   // a position: and succeeded
}

// record is everything one subscriber was told about one channel.
type record struct {
	name, channel string

	mu     sync.Mutex
	events []event
	epoch  string
	top    uint64 // of the last publication or position
	seen   int
}

func (r *record) note(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if e.publication {
		r.seen++
		r.top = max(r.top, e.offset)
		return
	}
	r.epoch = e.epoch
	if !e.recovered {
		r.top = e.offset
	}
}

// reached says whether the subscriber stands at that place or beyond.
func (r *record) reached(a ack) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch == a.epoch && r.top >= a.offset
}

// stands is where the subscriber is and how much it has seen.
func (r *record) stands() (top uint64, seen int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.top, r.seen
}

// has says whether the subscriber was told a publication.
func (r *record) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.events) - 1; i >= 0; i-- {
		if r.events[i].id == id {
			return true
		}
	}
	return false
}

// verdict is what a check of one record came to.
type verdict struct {
	seen, recovered, unrecovered int
	wrong                        []string
}

// check walks a record beside what was acknowledged in its channel (reliability.md, C1).
func (l *ledger) check(r *record) verdict {
	acked := l.of(r.channel)
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &checker{l: l, r: r, acked: acked, heard: map[string]int{}}
	for i := range r.events {
		c.step(i)
	}
	if c.begun {
		c.hole(^uint64(0), "the end")
	} else {
		c.wrong("never subscribed")
	}
	return c.v
}

type checker struct {
	l     *ledger
	r     *record
	acked map[string][]ack // by epoch
	heard map[string]int   // id -> event
	begun bool
	epoch string
	pos   uint64
	v     verdict
}

// maxWrong bounds what one record complains about: the first says it all.
const maxWrong = 5

func (c *checker) wrong(format string, args ...any) {
	if len(c.v.wrong) < maxWrong {
		c.v.wrong = append(c.v.wrong, fmt.Sprintf("%s on %s: ", c.r.name, c.r.channel)+fmt.Sprintf(format, args...))
	}
}

func (c *checker) step(i int) {
	e := c.r.events[i]
	if e.publication {
		c.publication(i, e)
		return
	}
	switch {
	case e.epoch == "" || e.epoch == "_":
		c.wrong("event %d: position with the epoch %q", i, e.epoch)
	case !c.begun:
		c.begun, c.epoch, c.pos = true, e.epoch, e.offset
	case !e.asked:
		c.wrong("event %d: a fresh position where recovery was asked for", i)
	case e.recovered && e.epoch != c.epoch:
		c.wrong("event %d: recovered into epoch %s from %s", i, e.epoch, c.epoch)
	case e.recovered:
		c.v.recovered++
	default: // told: what lies between is excused
		if e.epoch == c.epoch && e.offset < c.pos {
			c.wrong("event %d: the position went back from %d to %d in one epoch", i, c.pos, e.offset)
		}
		c.v.unrecovered++
		c.epoch, c.pos = e.epoch, e.offset
	}
}

func (c *checker) publication(i int, e event) {
	c.v.seen++
	if !c.begun {
		c.wrong("event %d: %s before any position", i, e.id)
		return
	}
	if channel, known := c.known(e.id); !known || channel != c.r.channel {
		c.wrong("event %d: %q was never sent to this channel (%q)", i, e.id, channel)
	}
	if first, twice := c.heard[e.id]; twice {
		c.wrong("event %d: %s at %d again, first at event %d (%d)", i, e.id, e.offset, first, c.r.events[first].offset)
	}
	c.heard[e.id] = i
	if e.offset <= c.pos {
		c.wrong("event %d: %s at %d after %d", i, e.id, e.offset, c.pos)
		return
	}
	if a, is := c.ackOf(e.id); is && (a.offset != e.offset || a.epoch != c.epoch) {
		c.wrong("event %d: %s at %d of %s was acknowledged as %d of %s", i, e.id, e.offset, c.epoch, a.offset, a.epoch)
	}
	c.hole(e.offset, e.id)
	c.pos = e.offset
}

func (c *checker) known(id string) (string, bool) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	channel, known := c.l.sent[id]
	return channel, known
}

func (c *checker) ackOf(id string) (ack, bool) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	a, is := c.l.acked[id]
	return a, is
}

// hole complains of everything acknowledged between the position and before.
func (c *checker) hole(before uint64, what string) {
	acks := c.acked[c.epoch]
	from, _ := slices.BinarySearchFunc(acks, c.pos+1, func(a ack, offset uint64) int {
		switch {
		case a.offset < offset:
			return -1
		case a.offset > offset:
			return 1
		}
		return 0
	})
	for _, a := range acks[from:] {
		if a.offset >= before {
			return
		}
		c.wrong("%s at %d of %s is missing before %s (position %d)", a.id, a.offset, a.epoch, what, c.pos)
	}
}

// stored complains of publications that were acknowledged at one place, or of one place acknowledged to two.
func (l *ledger) stored() (wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(l.acked)) {
		a := l.acked[id]
		// The streams of namespaces number independently, their channels do not.
		key := fmt.Sprintf("%s %d", a.epoch, a.offset)
		if other, taken := at[key]; taken {
			wrong = append(wrong, fmt.Sprintf("%s and %s were both acknowledged as %s", other, id, key))
		}
		at[key] = id
	}
	return wrong
}
