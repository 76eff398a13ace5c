package proxy

import "sync/atomic"

type counters struct {
	done [numHooks][numReasons]atomic.Uint64
}

// Stats is a snapshot. Done counts since the start; the others are of this moment.
type Stats struct {
	Done    [][]uint64 // calls by Hook and Reason
	Running int        // calls under way
	Waiting int        // calls in queues
}

// Stats may be called by any goroutine and does not block.
func (p *Proxies) Stats() Stats {
	s := Stats{Done: make([][]uint64, numHooks)}
	for hook := range p.count.done {
		s.Done[hook] = make([]uint64, numReasons)
		for reason := range p.count.done[hook] {
			s.Done[hook][reason] = p.count.done[hook][reason].Load()
		}
	}
	for _, pool := range p.pools() {
		running, waiting := pool.state()
		s.Running += running
		s.Waiting += waiting
	}
	return s
}
