package members

import "sync/atomic"

type counters struct {
	questions, incomplete, unreadable, unfinished atomic.Uint64
	degraded, gone                                atomic.Uint64
	mourned, missed, found, repeated              atomic.Uint64
}

// Stats is a snapshot of present levels and of counters since New.
type Stats struct {
	Channels int   // rosters
	Degraded int   // of these, over a limit: nothing is kept of them
	Members  int   // clients on other nodes, once for each channel they are in
	Bytes    int64 // memory they are counted with
	Waiting  int   // rosters and nodes that wait to be asked about

	Degradations uint64 // rosters that went over a limit
	Questions    uint64 // put to other nodes
	Incomplete   uint64 // of these, not answered by all, or not wholly
	Unreadable   uint64 // answers that make no sense
	Unfinished   uint64 // rosters that make do without some node's answer
	GoneNodes    uint64 // nodes that said goodbye or went silent
	Mourned      uint64 // leaves told because their node was gone
	Missed       uint64 // leaves told because a node did not name the client any more
	Found        uint64 // joins told because a node named a client not known before
	Repeated     uint64 // joins and leaves not passed on because they had been told
}

// Stats may be called by any goroutine and does not block.
func (t *Table) Stats() Stats {
	k := &t.count
	return Stats{
		Channels: int(t.rosters.Load()), Degraded: int(t.spoilt.Load()), Members: int(t.members.Load()), Bytes: t.bytes.Load(), Waiting: t.queue.waiting(),
		Degradations: k.degraded.Load(), Questions: k.questions.Load(), Incomplete: k.incomplete.Load(), Unreadable: k.unreadable.Load(),
		Unfinished: k.unfinished.Load(), GoneNodes: k.gone.Load(), Mourned: k.mourned.Load(), Missed: k.missed.Load(), Found: k.found.Load(),
		Repeated: k.repeated.Load(),
	}
}
