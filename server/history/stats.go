package history

import "sync/atomic"

// Stats is a snapshot of counters since New and of present levels. Every figure is right by itself; between them there may be
// traffic.
type Stats struct {
	Lines     int // channels this node knows the position of, lingering ones included
	Lingering int // of these, without a subscriber
	TailBytes int // of publications in memory, overhead included

	Received    uint64 // Receive calls
	Unreadable  uint64 // messages with a meta line that no version we know writes; not delivered
	Repeats     uint64 // messages that were delivered before, and were dropped
	Broken      uint64 // messages that did not follow their line's top: the live path had lost something, or changed the order
	PendingFull uint64 // messages that found no room while their line was repaired; read back later
	Repaired    uint64 // lines that were put in order again
	ReadBack    uint64 // messages delivered from the store instead of the live path

	CutLost    uint64 // lines cut because what was missed is not stored any more
	CutEpoch   uint64 // lines cut because their stream is another one
	CutTimeout uint64 // lines cut because the store did not answer in time

	Opened       uint64 // lines opened
	OpenFailures uint64 // lines that could not be opened; who waited was told an error
	FromMemory   uint64 // subscribers answered without asking the store
	Recovered    uint64 // recoveries with nothing missing
	Unrecovered  uint64 // recoveries that were told to begin anew
	RecoverError uint64 // subscribers told an error: the store did not answer

	TopsRequests uint64 // questions for the tops of channels
	Reads        uint64 // pages read
	ReadMessages uint64 // messages in them
	ReadErrors   uint64 // questions and pages that failed
	Checked      uint64 // lines compared with the store
	Strays       uint64 // of these, found elsewhere than the store
	Doubts       uint64 // calls of Doubt, per namespace
	TailsGivenUp uint64 // tails that went because all were too large

	Published  uint64 // publications stored
	Duplicates uint64 // publications not stored again because of their idempotency key
	Suppressed uint64 // publications not stored because of their version
	Conflicts  uint64 // attempts repeated because another publication came first
	Removed    uint64 // histories removed
	Queries    uint64 // Query calls
	QueryReads uint64 // of these, answered by the store
}

// counters are Stats as they are counted.
type counters struct {
	lines, lingering                                                               atomic.Int64
	received, unreadable, repeats, broken, pendingFull, repaired, readBack         atomic.Uint64
	cutLost, cutEpoch, cutTimeout                                                  atomic.Uint64
	opened, openFailures, fromMemory, recovered, unrecovered, recoverError         atomic.Uint64
	tops, reads, readMessages, readErrors, checked, strays, doubts, tailsGivenUp   atomic.Uint64
	published, duplicates, suppressed, conflicts, removed, queries, queriesOfStore atomic.Uint64
}

func (n *counters) countRecovery(q *Request, r *Recovered) {
	switch {
	case r.Err != nil:
		n.recoverError.Add(1)
	case q.Recover && r.Recovered:
		n.recovered.Add(1)
	case q.Recover:
		n.unrecovered.Add(1)
	}
}

// Stats may be called by any goroutine and never blocks.
func (v *Service) Stats() Stats {
	n := &v.n
	return Stats{
		Lines: int(n.lines.Load()), Lingering: int(n.lingering.Load()), TailBytes: int(v.tailBytes.Load()),
		Received: n.received.Load(), Unreadable: n.unreadable.Load(), Repeats: n.repeats.Load(), Broken: n.broken.Load(),
		PendingFull: n.pendingFull.Load(), Repaired: n.repaired.Load(), ReadBack: n.readBack.Load(),
		CutLost: n.cutLost.Load(), CutEpoch: n.cutEpoch.Load(), CutTimeout: n.cutTimeout.Load(),
		Opened: n.opened.Load(), OpenFailures: n.openFailures.Load(), FromMemory: n.fromMemory.Load(),
		Recovered: n.recovered.Load(), Unrecovered: n.unrecovered.Load(), RecoverError: n.recoverError.Load(),
		TopsRequests: n.tops.Load(), Reads: n.reads.Load(), ReadMessages: n.readMessages.Load(), ReadErrors: n.readErrors.Load(),
		Checked: n.checked.Load(), Strays: n.strays.Load(), Doubts: n.doubts.Load(), TailsGivenUp: n.tailsGivenUp.Load(),
		Published: n.published.Load(), Duplicates: n.duplicates.Load(), Suppressed: n.suppressed.Load(),
		Conflicts: n.conflicts.Load(), Removed: n.removed.Load(), Queries: n.queries.Load(), QueryReads: n.queriesOfStore.Load(),
	}
}
