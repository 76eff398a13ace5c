package broker

import (
	"sync"

	"github.com/nats-io/nats.go"
)

// dropLog turns nats.go's drop counts, kept per subscription, into one total. nats.go announces only the first drop
// of an episode, so a subscription that ever dropped is watched until it ends. Bounded by the subscriptions in force.
type dropLog struct {
	mu      sync.Mutex
	watched map[*nats.Subscription]int // drops already counted
	total   *counters
}

func newDropLog(total *counters) *dropLog {
	return &dropLog{watched: make(map[*nats.Subscription]int), total: total}
}

// watch begins to follow a subscription. Called on its first drop, by nats.go's callback goroutine.
func (d *dropLog) watch(sub *nats.Subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !sub.IsValid() {
		return // ended: counted already
	}
	d.collect(sub)
}

// end ends a subscription and counts its last drops. A drop between the count and the end is of a message that
// nobody wants any more. nats.go is not called with mu held, since Stats takes it; a callback that comes between
// finds the count so far in watched, and one that comes later finds the subscription ended.
func (d *dropLog) end(sub *nats.Subscription) {
	d.mu.Lock()
	d.collect(sub)
	d.mu.Unlock()
	_ = sub.Unsubscribe() // fails only when ended already
	d.mu.Lock()
	delete(d.watched, sub)
	d.mu.Unlock()
}

// tally brings the total up to date.
func (d *dropLog) tally() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for sub := range d.watched {
		d.collect(sub)
	}
}

func (d *dropLog) collect(sub *nats.Subscription) {
	dropped, err := sub.Dropped()
	if err != nil {
		delete(d.watched, sub)
		return
	}
	if dropped > d.watched[sub] {
		d.total.lose(LostReaderFull, uint64(dropped-d.watched[sub]))
		d.watched[sub] = dropped
	}
}
