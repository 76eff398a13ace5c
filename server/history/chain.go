package history

import (
	"slices"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

// Message is a message as the broker's reader has it. Data is kept and must not change any more.
type Message struct {
	Channel   string
	Namespace string // of the stream
	Data      []byte
	Meta      string // the line that travelled with it, "" for none
	Binary    bool
	Offset    uint64 // 0: not stored
	Previous  uint64 // offset of the channel's message before, 0: none was stored then
	Time      time.Time
}

// incoming is a message once it is understood.
type incoming struct {
	pub      hub.Publication // Meta.Offset is set
	previous uint64
	at       int64  // of storing, unix milliseconds
	silent   bool   // advances the line but is nothing for subscribers: a mark of removal, or not to be understood
	purge    bool   // a mark of removal
	after    uint64 // of a mark: the last offset removed
}

func (e *incoming) offset() uint64 { return e.pub.Meta.Offset }

// understand reads the meta line. A stored message that cannot be read is silent: the chain goes on over it.
func (v *Service) understand(channel string, m *StoredMessage) incoming {
	e := incoming{pub: hub.Publication{Channel: channel, Data: m.Data, Binary: m.Binary}, at: millis(m.Time)}
	meta, ok := new(wire.Meta), true
	if m.Meta != "" {
		meta, ok = wire.ParseMeta(m.Meta)
	}
	switch {
	case !ok:
		v.n.unreadable.Add(1)
		meta, e.silent = new(wire.Meta), true
	case meta.Kind == wire.KindPurge:
		e.silent, e.purge, e.after = true, true, min(meta.Offset, m.Offset)
	case meta.Kind != wire.KindPublication: // nobody of ours stores it
		e.silent = true
	}
	meta.Offset = m.Offset
	e.pub.Meta = meta
	return e
}

// Receive takes every message of the broker's readers, stored or not, for one channel one at a time, and hands to the hub what
// is next in its line: at once, after what was missing was read back, or never (repeats, marks of removal, unreadable meta
// lines). It may wait in Hub.Deliver.
func (v *Service) Receive(m Message) {
	if v.closed() {
		return
	}
	v.n.received.Add(1)
	e := v.understand(m.Channel, &StoredMessage{Offset: m.Offset, Time: m.Time, Data: m.Data, Meta: m.Meta, Binary: m.Binary})
	e.previous = m.Previous
	if m.Offset == 0 {
		v.receiveLive(m.Meta, &e)
		return
	}
	l := v.find(m.Channel)
	if l == nil {
		if !e.silent {
			v.parts.Hub.Deliver(e.pub)
		}
		return
	}
	l.receive(&e)
}

// receiveLive delivers what is not stored: joins, leaves, and publications of channels without history or in spite of it.
func (v *Service) receiveLive(line string, e *incoming) {
	kind := e.pub.Meta.Kind
	if e.silent && kind != wire.KindJoin && kind != wire.KindLeave {
		return
	}
	if line == "" {
		e.pub.Meta = nil
	}
	defer v.Unstored(e.pub.Channel)()
	v.parts.Hub.Deliver(e.pub)
}

// Unstored is called before the hub is given a message of channel that is not stored, and what it returns, behind that. Subscribers
// then no longer have what the line's next delta would be made against, so that one is left out; meanwhile nothing of the line is
// delivered. For who knows already that a message is not stored, instead of Receive; called as that. Most channels have no line:
// for them it costs a look-up and allocates nothing.
func (v *Service) Unstored(channel string) (delivered func()) {
	if v.n.lines.Load() == 0 {
		return nothing
	}
	l := v.find(channel)
	if l == nil {
		return nothing
	}
	l.order.Lock()
	l.mu.Lock()
	l.full = true
	l.mu.Unlock()
	return l.order.Unlock
}

func nothing() {}

func (l *Line) receive(e *incoming) {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	deliver, base := l.accept(e)
	l.mu.Unlock()
	if deliver {
		l.deliver(e, base)
	}
}

// deliver hands e to the hub; base is the publication its delta is made against, if any. l.order is held, l.mu not.
func (l *Line) deliver(e *incoming, base []byte) {
	if base != nil {
		e.pub.Delta = wire.Delta(base, e.pub.Data)
	}
	l.v.parts.Hub.Deliver(e.pub)
}

// accept decides what becomes of a message; l.order and l.mu are held.
func (l *Line) accept(e *incoming) (deliver bool, base []byte) {
	off := e.offset()
	switch {
	case l.state == closed || l.state == opening:
		l.passBy(e)
		return !e.silent, nil
	case l.state == broken:
		l.hold(e)
	case l.space.doubted.Load():
		l.breakUp(false)
		l.hold(e)
	case off <= l.top:
		return l.repeated(e), nil
	case !l.follows(e):
		l.v.n.broken.Add(1)
		l.breakUp(false)
		l.hold(e)
	default:
		return !e.silent, l.advance(e)
	}
	return false, nil
}

// follows says that nothing of the channel was stored between what the line has and e. "None was stored before e" does not say so:
// what was between may have been removed since. Then the store is asked, once, since from there on e is the one before.
func (l *Line) follows(e *incoming) bool { return e.previous != 0 && e.previous == l.top }

// passBy notes that e goes to the hub without being the line's next.
func (l *Line) passBy(e *incoming) {
	if e.offset() > l.passed {
		l.passed, l.passedTime = e.offset(), e.at
	}
}

// repeated deals with a message at or below the top. Mostly a read was faster than it. One that was stored after what is known at
// or beyond its offset is no repeat: the stream is another one. When nothing is known, since the line was opened from the store,
// that has to be looked up; and subscribers without a position may still want it, the others skip it.
func (l *Line) repeated(e *incoming) (deliver bool) {
	known := l.topTime
	if known == 0 && e.offset() <= l.passed {
		known = l.passedTime
	}
	if known == 0 {
		l.passBy(e)
		l.breakUp(true)
		return !e.silent
	}
	l.v.n.repeats.Add(1)
	if e.at > known {
		l.breakUp(true)
	}
	return false
}

// advance makes e the top, and returns the data its delta is made against, nil for none. l.mu is held.
func (l *Line) advance(e *incoming) (base []byte) {
	off := e.offset()
	if !e.silent && l.deltas > 0 && e.pub.Meta.Delta && !l.full && l.tail.last(l.top) {
		base = l.tail.pubs[len(l.tail.pubs)-1].Data
	}
	before := l.top
	l.top, l.seen = off, max(l.seen, off)
	l.topTime = max(l.topTime, e.at)
	l.active, l.bare = true, e.silent
	switch {
	case e.purge:
		l.floor = max(l.floor, min(e.after, before))
		l.forget(l.floor)
		l.whole = true
	case !e.silent:
		l.full = false
		l.keep(e.pub, e.at)
	}
	return base
}

// trouble is what a broken line needs.
type trouble struct {
	since    time.Duration // when it broke, or was last read successfully
	retry    time.Duration // wait before the next attempt
	read     bool          // something is missing that pending does not show
	overflow bool          // pending had no room
	parked   bool          // waits for the space to be verified
	pending  []incoming
	bytes    int
}

// breakUp stops the line until repair has been there. read: the store must be asked in any case. l.mu is held.
func (l *Line) breakUp(read bool) {
	if l.state == broken {
		l.trouble.read = l.trouble.read || read
		return
	}
	l.state = broken
	l.trouble = &trouble{since: l.v.now(), retry: l.v.cfg.RetryMin, read: read}
	l.v.work.run(l.repair)
}

// hold keeps e until the line is repaired. l.mu is held.
func (l *Line) hold(e *incoming) {
	t, c := l.trouble, &l.v.cfg
	if t.overflow || len(t.pending) >= c.PendingLen || t.bytes+len(e.pub.Data) > c.PendingBytes && len(t.pending) > 0 {
		t.overflow = true
		l.v.n.pendingFull.Add(1)
		return
	}
	t.pending = append(t.pending, *e)
	t.bytes += len(e.pub.Data)
}

// sorted puts what waits in order; it came so, unless the road between nodes was changed meanwhile.
func (t *trouble) sorted() {
	slices.SortStableFunc(t.pending, func(a, b incoming) int {
		switch {
		case a.offset() < b.offset():
			return -1
		case a.offset() > b.offset():
			return 1
		}
		return 0
	})
}
