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
		return // ended already: forget has counted it, or nobody wanted its messages any more
	}
	d.collect(sub)
}

// forget counts a subscription's last drops; called just before it is ended.
func (d *dropLog) forget(sub *nats.Subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.collect(sub)
	delete(d.watched, sub)
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
