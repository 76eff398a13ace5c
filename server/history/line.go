package history

import (
	"sync"
	"time"

	"throng/server/hub"
)

// Stream is how a namespace keeps history; given with each call, because rules may be reloaded.
type Stream struct {
	Namespace string
	Size      int           // publications per channel; 0: the namespace keeps none
	TTL       time.Duration // older ones are not shown; 0: all are
}

// Position is a place in the stream of a channel.
type Position struct {
	Offset uint64
	Epoch  string
}

// state of a line; the package comment has the picture.
type state uint8

const (
	closed  state = iota // nothing is known; messages pass
	opening              // its space's openAll asks for the top; messages pass
	open                 // every message up to top was handed to the hub
	broken               // so it was, but the next is not at hand: messages wait in trouble
)

// Line is what the node knows of one channel. Subscribers are counted by Join and Leave; all methods are safe for concurrent use.
type Line struct {
	v       *Service
	space   *space
	channel string

	order sync.Mutex // held from the decision to deliver until the delivery has ended; pollers never take it

	// Guarded by the stripe of the table.
	refs   int32
	queued bool          // in the linger queue
	left   time.Duration // when the last subscriber left; 0: there are some

	mu sync.Mutex // guards the rest; a leaf

	state   state
	checkIn bool // in the early queue
	active  bool // a message came since the last periodic check
	bare    bool // the newest stored message of the channel is no publication, or there is none
	whole   bool // the tail has every publication that is stored
	full    bool // the next delta must be left out
	reading bool // a read for waiters is under way or scheduled
	gone    bool // out of the table
	deltas  int32

	stream  Stream // as of the last Join; the namespace is constant
	epoch   string
	top     uint64
	seen    uint64 // >= top: up to here the stream holds nothing of the channel beyond top
	passed  uint64 // highest offset handed to the hub while not open
	acked   uint64 // highest offset this node was told for its own publications
	topTime int64  // when the top was stored, unix milliseconds; 0: not known

	passedTime int64  // when passed was stored
	floor      uint64 // positions below it are known to be lost

	tail     tail
	trouble  *trouble // while broken
	waiters  []waiter
	nextRead time.Duration // not before it
}

// waiter is a Recover that memory could not answer.
type waiter struct {
	q    Request
	done func(Recovered)
	end  time.Duration // after which it is not tried again
}

func (l *Line) configure(s Stream) {
	l.mu.Lock()
	l.stream = s
	l.mu.Unlock()
}

// WantDelta adds n, which may be negative, to the count of subscribers for which deltas are worth computing. The caller
// takes its own back before Leave. Any goroutine, never blocks.
func (l *Line) WantDelta(n int) {
	l.mu.Lock()
	l.deltas += int32(n)
	l.mu.Unlock()
}

// retire makes the line forget everything if nobody waits for it and nothing is on its way.
func (l *Line) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == opening || l.state == broken || l.reading || len(l.waiters) > 0 {
		return false
	}
	l.reset()
	l.gone = true
	return true
}

// reset closes the line. What passed stays known: a position must not be older than what went by.
func (l *Line) reset() {
	l.state = closed
	l.forget(0)
	l.trouble = nil
	l.epoch = ""
	l.top, l.seen, l.topTime, l.floor = 0, 0, 0, 0
	l.acked = 0
	l.bare, l.whole, l.active = false, false, false
}

// abandon answers who waits when the service ends.
func (l *Line) abandon() {
	l.mu.Lock()
	waiters := l.waiters
	l.waiters = nil
	l.mu.Unlock()
	for _, w := range waiters {
		w.done(Recovered{Err: hub.ErrClosed})
	}
}

// acknowledged notes that the store has a publication of this node: what is told from memory must not be older. An
// acknowledgement by another stream than the line's has it looked at.
func (l *Line) acknowledged(s *Stored) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.epoch == s.Epoch:
		l.acked = max(l.acked, s.Offset)
	case l.epoch != "":
		l.checkSoon(0)
	}
}
