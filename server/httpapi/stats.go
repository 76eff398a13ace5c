package httpapi

import (
	"sync"
	"sync/atomic"
)

// counters count since the start.
type counters struct {
	unauthorized, malformed, oversize, busy atomic.Uint64
	incomplete, unanswered                  atomic.Uint64

	mu       sync.Mutex // leaf
	commands map[string]uint64
	errors   map[MethodError]uint64
}

// MethodError is a kind of failure: the method and the code the caller was told.
type MethodError struct {
	Method string // of Methods, or "broadcast_publish" or "unknown"
	Code   uint32
}

func (c *counters) init() {
	c.commands = make(map[string]uint64)
	c.errors = make(map[MethodError]uint64)
}

func (c *counters) command(method string, failure *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands[method]++
	if failure != nil {
		c.errors[MethodError{method, failure.Code}]++
	}
}

// Stats is a snapshot of an API. All but Running only grow.
type Stats struct {
	Commands     map[string]uint64      // by method
	Errors       map[MethodError]uint64 // of these, failed
	Unauthorized uint64                 // requests with a wrong key or none
	Malformed    uint64                 // requests that were no JSON of the right shape
	Oversize     uint64                 // requests over MaxBodyBytes
	Busy         uint64                 // requests over MaxConcurrent
	Incomplete   uint64                 // surveys that some node did not answer
	Unanswered   uint64                 // such nodes, over all surveys
	Running      int                    // requests under way
}

// Stats may be called by any goroutine and does not block.
func (a *API) Stats() Stats {
	k := &a.count
	s := Stats{
		Commands: make(map[string]uint64), Errors: make(map[MethodError]uint64),
		Unauthorized: k.unauthorized.Load(), Malformed: k.malformed.Load(), Oversize: k.oversize.Load(), Busy: k.busy.Load(),
		Incomplete: k.incomplete.Load(), Unanswered: k.unanswered.Load(), Running: len(a.slots),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for m, n := range k.commands {
		s.Commands[m] = n
	}
	for e, n := range k.errors {
		s.Errors[e] = n
	}
	return s
}
