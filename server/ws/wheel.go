package ws

import (
	"sync"
	"sync/atomic"
	"time"
)

// wheel keeps the next deadline of every connection: one goroutine and eight bytes per connection, where
// a runtime timer costs 185 (nbio.md). Reading bytes does not touch it: a connection only notes when it
// was last seen, and the wheel looks at that when the deadline comes.
//
// A connection is in one slot at most. Deadlines beyond the wheel's horizon are put into its last slot and looked at again.
type wheel struct {
	tick  time.Duration
	ticks atomic.Uint32 // since start; at 100 ms it wraps after 13 years

	mu    sync.Mutex
	slots [wheelSlots][]*Conn

	stop, stopped chan struct{}
}

const (
	wheelSlots = 512 // at 100 ms a horizon of 51 s, above every default deadline
	wheelGone  = 1<<16 - 1
)

func newWheel(tick time.Duration) *wheel {
	w := &wheel{tick: tick, stop: make(chan struct{}), stopped: make(chan struct{})}
	w.ticks.Store(1) // 0 is "never seen"
	return w
}

// now is the coarse clock of lastSeen, in ticks.
func (w *wheel) now() uint32 { return w.ticks.Load() }

// in converts a duration into ticks, at least one.
func (w *wheel) in(d time.Duration) uint32 {
	return max(1, uint32((d+w.tick-1)/w.tick))
}

// schedule moves c's deadline to d from now. Any goroutine.
func (w *wheel) schedule(c *Conn, d time.Duration) {
	w.mu.Lock()
	if c.wheelAt != wheelGone {
		w.unlink(c)
		w.link(c, w.in(d))
	}
	w.mu.Unlock()
}

// scheduleEarlier moves c's deadline to d from now unless it comes earlier anyway. Any goroutine.
func (w *wheel) scheduleEarlier(c *Conn, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ticks := w.in(d)
	if c.wheelAt == wheelGone {
		return
	}
	if c.wheelAt != 0 {
		if left := (uint32(c.wheelAt-1) - w.ticks.Load()) % wheelSlots; left <= ticks {
			return
		}
	}
	w.unlink(c)
	w.link(c, ticks)
}

// remove takes c out for good. Any goroutine; a deadline being handled right now will not put it back.
func (w *wheel) remove(c *Conn) {
	w.mu.Lock()
	w.unlink(c)
	c.wheelAt = wheelGone
	w.mu.Unlock()
}

func (w *wheel) link(c *Conn, ticks uint32) {
	slot := (w.ticks.Load() + min(ticks, wheelSlots-1)) % wheelSlots
	c.wheelAt, c.wheelIx = uint16(slot+1), uint32(len(w.slots[slot]))
	w.slots[slot] = append(w.slots[slot], c)
}

func (w *wheel) unlink(c *Conn) {
	if c.wheelAt == 0 || c.wheelAt == wheelGone {
		return
	}
	slot := w.slots[c.wheelAt-1]
	last := len(slot) - 1
	slot[c.wheelIx] = slot[last]
	slot[c.wheelIx].wheelIx = c.wheelIx
	slot[last] = nil
	slot = slot[:last]
	if cap(slot) > 64 && last < cap(slot)/4 {
		slot = append(make([]*Conn, 0, cap(slot)/2), slot...) // give a storm's peak back
	}
	w.slots[c.wheelAt-1] = slot
	c.wheelAt = 0
}

// run advances the wheel until halt. due handles one connection's deadline and returns the ticks until
// its next, 0 for none; it is called without the lock and must not block.
func (w *wheel) run(due func(*Conn) uint32) {
	defer close(w.stopped)
	t := time.NewTicker(w.tick)
	defer t.Stop()
	start := time.Now()
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
		}
		// A ticker drops ticks when its receiver is late; the clock must not.
		for target := uint32(time.Since(start)/w.tick) + 1; int32(target-w.ticks.Load()) > 0; {
			w.advance(due)
		}
	}
}

// advance moves on by one tick and handles what is due.
func (w *wheel) advance(due func(*Conn) uint32) {
	w.mu.Lock()
	slot := w.ticks.Add(1) % wheelSlots
	batch := w.slots[slot]
	w.slots[slot] = nil
	for _, c := range batch {
		c.wheelAt = 0
	}
	w.mu.Unlock()
	for _, c := range batch {
		next := due(c)
		if next == 0 {
			continue
		}
		w.mu.Lock()
		if c.wheelAt == 0 { // neither closed nor rescheduled meanwhile
			w.link(c, next)
		}
		w.mu.Unlock()
	}
}

// halt stops run and waits for it.
func (w *wheel) halt() {
	close(w.stop)
	<-w.stopped
}

// all returns every connection that has a deadline, which is every open one.
func (w *wheel) all() []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	var cs []*Conn
	for _, slot := range w.slots {
		cs = append(cs, slot...)
	}
	return cs
}
