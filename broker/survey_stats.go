package broker

import "sync/atomic"

// controlCounters count since the start.
type controlCounters struct {
	surveys, asks, requests     atomic.Uint64
	incomplete, silent          atomic.Uint64
	handled, failed, panics     atomic.Uint64
	refused, expired, unsent    atomic.Uint64
	malformed, stray, forgotten atomic.Uint64
	busy                        atomic.Uint64
}

// ControlStats is a snapshot of a control plane. Counters are totals since the start; the others are of this moment.
type ControlStats struct {
	Surveys, Asks, Requests  uint64 // begun by this node
	Incomplete               uint64 // of the surveys: not every node answered well
	Silent                   uint64 // nodes that did not answer, over all surveys
	Handled, Failed, Panics  uint64 // requests this node's handlers answered, and how
	Refused, Expired, Unsent uint64 // requests not answered: queue full, too late, answer could not be sent
	Malformed                uint64 // control messages that make no sense
	Stray                    uint64 // answers that nobody waited for any more
	Forgotten                uint64 // nodes that went silent without goodbye
	Busy                     uint64 // calls refused with ErrBusy

	Nodes    int // known, this one included
	InFlight int // calls waiting for answers
	Queued   int // requests waiting for a worker
}

func (c *Control) stats() ControlStats {
	k := &c.count
	s := ControlStats{
		Surveys: k.surveys.Load(), Asks: k.asks.Load(), Requests: k.requests.Load(),
		Incomplete: k.incomplete.Load(), Silent: k.silent.Load(),
		Handled: k.handled.Load(), Failed: k.failed.Load(), Panics: k.panics.Load(),
		Refused: k.refused.Load(), Expired: k.expired.Load(), Unsent: k.unsent.Load(),
		Malformed: k.malformed.Load(), Stray: k.stray.Load(), Forgotten: k.forgotten.Load(), Busy: k.busy.Load(),
		Queued: len(c.work),
	}
	c.mu.RLock()
	s.Nodes, s.InFlight = len(c.known)+1, len(c.pending)
	c.mu.RUnlock()
	return s
}
