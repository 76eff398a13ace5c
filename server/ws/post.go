package ws

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// inbox brings work of other goroutines onto a poller: what belongs to a connection is changed by its poller alone, and
// nbio has no way of its own to wake one. It is an eventfd that the poller watches like a client.
type inbox struct {
	conn *Conn // embeds nbio's connection of the eventfd; state is stateInbox
	fd   int

	mu      sync.Mutex
	queue   []posted
	spare   []posted // empty, for reuse
	started func()   // called by the first run, then nil
}

type posted struct {
	c  *Conn
	fn func()
}

// Post runs fn on c's poller, soon, if c is open by then, so never after or beside the Handler's Closed; frames fn sends
// are flushed after it. Any goroutine; never blocks. It returns false when the poller's inbox is full (Config.Inbox) and fn will not run.
func (c *Conn) Post(fn func()) bool {
	b := &c.srv.inboxes[c.Shard()]
	b.mu.Lock()
	if len(b.queue) >= c.srv.cfg.Inbox {
		b.mu.Unlock()
		c.srv.statsOf(c).lostPosts.Add(1)
		return false
	}
	b.queue = append(b.queue, posted{c, fn})
	wake := len(b.queue) == 1
	b.mu.Unlock()
	if wake {
		b.wake()
	}
	return true
}

func (b *inbox) wake() {
	_, _ = write(b.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// keptPosts bounds the queue memory an inbox keeps between bursts.
const keptPosts = 1024

// run does what was posted. Poller only.
func (b *inbox) run(s *Server) {
	var count [8]byte
	_, _ = read(b.fd, count[:])
	b.mu.Lock()
	if b.started != nil {
		b.started()
		b.started = nil
	}
	work := b.queue
	b.queue, b.spare = b.spare, nil
	b.mu.Unlock()
	for i := range work {
		work[i].c.runPosted(s, work[i].fn)
	}
	clear(work)
	if cap(work) <= keptPosts {
		b.mu.Lock()
		b.spare = work[:0]
		b.mu.Unlock()
	}
}

func (c *Conn) runPosted(s *Server, fn func()) {
	// nbio's flag too: it closes on this goroutine and tells gone on another, which may be at the Handler's Closed by now.
	c.lock()
	open := c.load() == stateOpen && !c.closedLocked()
	c.unlock()
	if !open {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			c.panicked(s, r)
		}
	}()
	fn()
	c.Flush()
}

// openInboxes gives every poller its inbox. Descriptors choose their poller by number, so it may take a few to reach all.
func (s *Server) openInboxes() error {
	s.inboxes = make([]inbox, s.cfg.Pollers)
	var surplus []int
	defer func() {
		for _, fd := range surplus {
			_ = unix.Close(fd)
		}
	}()
	for missing := len(s.inboxes); missing > 0; {
		fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("ws: wake-up of pollers: %w", err)
		}
		b := &s.inboxes[fd%len(s.inboxes)]
		if b.conn != nil {
			surplus = append(surplus, fd)
			continue
		}
		missing--
		b.fd, b.conn = fd, s.newConn(fd)
		b.conn.setHandler(nil)
		b.conn.flags = flagHTTP // holds no slot
		b.conn.state.Store(uint32(stateInbox))
		if err := s.register(b.conn); err != nil {
			return fmt.Errorf("ws: wake-up of pollers: %w", err)
		}
	}
	return nil
}

// awaitPollers returns when every poller is in its loop. nbio's pollers clear their stop flag when they begin, so a Stop
// that comes earlier is forgotten and waits for ever while the poller spins.
func (s *Server) awaitPollers() {
	var running sync.WaitGroup
	for i := range s.inboxes {
		running.Add(1)
		b := &s.inboxes[i]
		b.mu.Lock() // run takes it too: this is what makes started visible to the poller
		b.started = running.Done
		b.mu.Unlock()
		b.wake()
	}
	running.Wait()
}
