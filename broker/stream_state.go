package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// stream is one JetStream stream of ours. Its names never change.
type stream struct {
	namespace string
	name      string
	once      bool
	subject   string // of the once stream; of the others, all channels: "<prefix>.hist.<ns>.>"
	epochAt   string // subject of the epoch
	codec     codec  // channel -> subject
	ackPrefix []byte

	subjects subjects // the publisher's
	wake     chan struct{}

	state      atomic.Pointer[streamState]
	replicas   atomic.Int64  // as in NATS
	high       atomic.Uint64 // highest sequence of this epoch known to this node
	rewriteAt  atomic.Uint64 // sequence at which the epoch is to be written again; 0: never
	generation atomic.Uint64 // grows whenever the stream may have become another one
	urgent     atomic.Bool   // the manager is to look at once
	unsure     atomic.Int32  // looks to follow soon: JetStream tells of a deletion before it is done
	full       atomic.Int64  // when a publication was last refused for want of room; Unix nanoseconds
	lag        atomic.Int64  // how long the latest acknowledgement took, AckTimeout if it did not come; nanoseconds
	waiting    int           // publications in the table; under ackTable.mu
	silent     atomic.Bool   // publications have gone unanswered since the last answer

	// The manager's.
	attempts  int
	next      time.Time
	regress   int // looks in a row that found the stream behind high
	lastEpoch string
	missing   time.Time // since when it is not there

	mu     sync.Mutex // leaf
	cfg    StreamConfig
	wishes int // counts configurations given
	done   int // the one brought into NATS
	status StreamStatus
}

// streamState is immutable.
type streamState struct {
	ready   bool
	epoch   string // "" while it is in doubt
	why     error  // why it is not ready; nil while it is being looked at
	changed chan struct{}
}

func (n *NATS) newStream(c StreamConfig, wake chan struct{}) *stream {
	st := newStreamOf(n.cfg.Prefix, c)
	st.codec.max, st.wake = n.codec.max, wake
	st.init()
	return st
}

// newStreamOf has the names and the configuration only.
func newStreamOf(prefix string, c StreamConfig) *stream {
	token, root := namespaceToken(c.Namespace), prefix+"."
	return &stream{
		namespace: c.Namespace, name: histName(prefix, token), cfg: c, wishes: 1,
		subject: root + histToken + "." + token + ".>", epochAt: root + epochToken + "." + token,
		codec: codec{live: root + histToken + "." + token + "."},
	}
}

func (n *NATS) newOnce(c StreamConfig, wake chan struct{}) *stream {
	st := &stream{
		once: true, name: onceName(n.cfg.Prefix), cfg: c, wake: wake, wishes: 1,
		subject: n.cfg.Prefix + "." + onceToken,
	}
	st.init()
	return st
}

func (st *stream) init() {
	st.ackPrefix = ackPrefix(st.name)
	st.subjects = newSubjects(st.codec, "", nil)
	st.state.Store(&streamState{changed: make(chan struct{})})
	st.status = StreamStatus{Namespace: st.namespace, Stream: st.name}
}

// become replaces the state and wakes who waits for that; it returns the one before. Any goroutine.
func (st *stream) become(next streamState) *streamState {
	next.changed = make(chan struct{})
	before := st.state.Swap(&next)
	close(before.changed)
	return before
}

// doubt has the manager look at the stream before it is used again: it may be another one.
func (st *stream) doubt() {
	st.generation.Add(1)
	st.unsure.Store(looksWhenUnsure)
	st.become(streamState{})
	st.look()
}

// looksWhenUnsure, each four times as long after the one before as that was, come after a doubt: 0.1, 0.4 and 1.6 s.
const looksWhenUnsure = 3

func (st *stream) look() {
	st.urgent.Store(true)
	trySignal(st.wake)
}

// saw notes that a sequence exists.
func (st *stream) saw(seq uint64) {
	for {
		high := st.high.Load()
		if seq <= high || st.high.CompareAndSwap(high, seq) {
			break
		}
	}
	if at := st.rewriteAt.Load(); at > 0 && seq >= at && st.rewriteAt.CompareAndSwap(at, 0) {
		st.look()
	}
}

// refusal is why a stream that is not ready cannot be used.
func (state *streamState) refusal() error {
	if state.why == nil {
		return fmt.Errorf("%w yet: it is being looked at", ErrNoStream)
	}
	return state.why
}

func (s *Streams) lookup(namespace string) (*stream, error) {
	st := (*s.known.Load())[namespace]
	if st == nil {
		return nil, fmt.Errorf("%w for the namespace %q", ErrNoStream, namespace)
	}
	return st, nil
}

// ready returns the stream of a namespace when publications can go there now.
func (s *Streams) ready(namespace string) (*stream, error) {
	st, err := s.lookup(namespace)
	if err != nil {
		return nil, err
	}
	if state := st.state.Load(); !state.ready {
		return nil, state.refusal()
	}
	return st, nil
}

func (s *Streams) all() []*stream {
	var all []*stream
	for _, st := range *s.known.Load() {
		all = append(all, st)
	}
	if once := s.once.Load(); once != nil {
		all = append(all, once)
	}
	return all
}
