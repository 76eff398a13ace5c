package broker

import (
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// confirmer knows which publications NATS has read. Core NATS acknowledges nothing, but it answers PING in order:
// a PONG proves that the server read all that was written before the PING on the same TCP connection. At most one
// PING is under way, and at most one per interval unless somebody waits for it (Sync). When the connection dies,
// what was written and not confirmed is counted as LostUnconfirmed.
//
// The answer may take as long as the messages before it: whether the link lives is for outbound to say.
type confirmer struct {
	conn     *nats.Conn // set before run
	link     *link
	count    *counters
	interval time.Duration

	kick   chan struct{} // capacity 1: something to confirm
	urgent chan struct{} // capacity 1: somebody waits
	stop   chan struct{}
	done   chan struct{}

	mu         sync.Mutex
	generation uint64 // nats.go's count of reconnects when handed was last added to
	handed     uint64 // publications written
	confirmed  uint64 // of these, confirmed or counted as lost
	fences     []*fence
}

// confirmWait is no limit in practice: nats.go ends the wait itself when the link dies or is closed.
const confirmWait = time.Hour

func newConfirmer(l *link, c *counters, cfg *Config) *confirmer {
	return &confirmer{
		link: l, count: c, interval: cfg.ConfirmInterval,
		kick: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// begin is called by the publisher before it writes, so that what it writes is not taken for a victim of a
// connection that died before.
func (c *confirmer) begin() {
	generation := c.conn.Stats().Reconnects
	c.mu.Lock()
	c.roll(generation)
	c.mu.Unlock()
}

// wrote is called by the publisher after it wrote n publications. A connection that died meanwhile took some of them
// with it; which ones is not known, so all are in doubt.
func (c *confirmer) wrote(n uint64) {
	generation := c.conn.Stats().Reconnects
	c.mu.Lock()
	c.handed += n
	c.roll(generation)
	c.mu.Unlock()
	trySignal(c.kick)
}

// roll counts what the previous connection left unconfirmed. The caller holds mu.
func (c *confirmer) roll(generation uint64) {
	if generation <= c.generation {
		return
	}
	c.generation = generation
	c.loseDoubtful()
}

func (c *confirmer) loseDoubtful() {
	c.count.lose(LostUnconfirmed, c.handed-c.confirmed)
	c.confirmed = c.handed
}

// linkLost counts at once, rather than at the reconnect, what a dead link left unconfirmed.
func (c *confirmer) linkLost() {
	c.mu.Lock()
	c.loseDoubtful()
	c.mu.Unlock()
}

// await answers f once all that was written so far is confirmed.
func (c *confirmer) await(f *fence) {
	c.mu.Lock()
	c.fences = append(c.fences, f)
	c.mu.Unlock()
	trySignal(c.urgent)
	trySignal(c.kick)
}

// run is the confirmer's goroutine.
func (c *confirmer) run() {
	defer close(c.done)
	pace := time.NewTimer(c.interval)
	defer pace.Stop()
	for {
		select {
		case <-c.kick:
			c.confirm()
		case <-c.stop:
			c.answer(c.takeFences(), ErrClosed)
			return
		}
		pace.Reset(c.interval)
		select {
		case <-pace.C:
		case <-c.urgent:
		case <-c.stop:
		}
	}
}

func (c *confirmer) confirm() {
	c.mu.Lock()
	generation, handed := c.generation, c.handed
	fences := c.fences
	c.fences = nil
	c.mu.Unlock()
	if !c.link.up.Load() {
		c.answer(fences, ErrDisconnected)
		return
	}
	err := c.conn.FlushTimeout(confirmWait)
	now := c.conn.Stats().Reconnects
	c.mu.Lock()
	c.roll(now)
	if err == nil && now != generation {
		err = nats.ErrDisconnected // the answer came from a later connection than the one written to
	}
	if err == nil {
		c.confirmed = max(c.confirmed, handed)
	}
	c.mu.Unlock()
	if err == nil {
		c.answer(fences, nil)
		return
	}
	c.answer(fences, fmt.Errorf("%w: %w", ErrDisconnected, err))
	trySignal(c.kick)
}

func (c *confirmer) takeFences() []*fence {
	c.mu.Lock()
	defer c.mu.Unlock()
	fences := c.fences
	c.fences = nil
	return fences
}

func (c *confirmer) answer(fences []*fence, err error) {
	for _, f := range fences {
		f.answer <- err
	}
}

// trySignal sets a flag channel of capacity 1.
func trySignal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
