package history

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

const (
	stripes  = 256 // locks and maps of the table, as the hub's
	minPeak  = 64  // smaller maps are not worth a rebuild
	minQueue = 64  // nor are shorter queues
)

// stripe is one part of the table of lines.
type stripe struct {
	mu    sync.Mutex
	lines map[string]*Line
	peak  int // most lines since the map was made; Go maps do not shrink
}

func (v *Service) stripeOf(channel string) *stripe {
	return &v.stripes[maphash.String(v.seed, channel)%stripes]
}

func (v *Service) find(channel string) *Line {
	st := v.stripeOf(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.lines[channel]
}

// Join counts one positioned subscriber of channel and returns its line. Call it after the hub holds the subscription
// (hub.SubscribeSpecial), then ask Recover, and Leave in the end. Any goroutine, never blocks.
func (v *Service) Join(s Stream, channel string) *Line {
	st := v.stripeOf(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	l := st.lines[channel]
	if l == nil {
		l = &Line{v: v, space: v.space(s.Namespace), channel: strings.Clone(channel)}
		if st.lines == nil {
			st.lines = map[string]*Line{}
		}
		st.lines[l.channel] = l
		st.peak = max(st.peak, len(st.lines))
		v.n.lines.Add(1)
	}
	if l.refs == 0 && l.left != 0 {
		l.left = 0
		v.n.lingering.Add(-1)
	}
	l.refs++
	l.configure(s)
	return l
}

// Leave takes back one Join; once for each. Any goroutine, never blocks.
func (l *Line) Leave() {
	v := l.v
	st := v.stripeOf(l.channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	l.refs--
	if l.refs > 0 {
		return
	}
	if l.refs < 0 {
		panic("history: Leave without Join")
	}
	l.left = max(v.now(), 1)
	v.n.lingering.Add(1)
	if v.cfg.Linger < 0 && v.evict(st, l) {
		return
	}
	if !l.queued {
		l.queued = true
		v.linger.push(l, l.left)
	}
}

// lingerQueue is the lines without subscribers, in the order in which they lost the last one. A line is in it once at most;
// one that was joined again meanwhile is found out when its turn comes.
type lingerQueue struct {
	mu      sync.Mutex
	entries []lingering
}

type lingering struct {
	line *Line
	left time.Duration
}

func (q *lingerQueue) push(l *Line, left time.Duration) {
	q.mu.Lock()
	q.entries = append(q.entries, lingering{l, left})
	q.mu.Unlock()
}

// pop takes the first if it left before.
func (q *lingerQueue) pop(before time.Duration) (lingering, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) == 0 || q.entries[0].left > before {
		return lingering{}, false
	}
	e := q.entries[0]
	q.entries[0] = lingering{}
	q.entries = q.entries[1:]
	if len(q.entries) == 0 && cap(q.entries) > minQueue {
		q.entries = nil
	}
	return e, true
}

// expireLines drops the lines whose linger is over, and those beyond MaxLingering.
func (v *Service) expireLines() {
	now := v.now()
	before := now - v.cfg.Linger
	var busy []lingering
	for {
		if v.n.lingering.Load() > int64(v.cfg.MaxLingering) {
			before = now
		}
		e, ok := v.linger.pop(before)
		if !ok {
			break
		}
		st := v.stripeOf(e.line.channel)
		st.mu.Lock()
		l := e.line
		switch {
		case l.refs > 0:
			l.queued = false
		case l.left > before, !v.evict(st, l):
			busy = append(busy, lingering{l, max(l.left, now)})
		}
		st.mu.Unlock()
		before = now - v.cfg.Linger
	}
	for _, e := range busy {
		v.linger.push(e.line, e.left)
	}
}

// evict takes a line without subscribers out of the table, unless something is going on in it. The stripe is locked.
func (v *Service) evict(st *stripe, l *Line) bool {
	if !l.retire() {
		return false
	}
	l.queued = false
	delete(st.lines, l.channel)
	v.n.lines.Add(-1)
	v.n.lingering.Add(-1)
	if st.peak < minPeak || len(st.lines) > st.peak/4 {
		return true
	}
	smaller := make(map[string]*Line, len(st.lines))
	for name, l := range st.lines {
		smaller[name] = l
	}
	st.lines, st.peak = smaller, len(smaller)
	return true
}

// each tells f every line, with no lock held.
func (v *Service) each(f func(l *Line)) {
	var batch []*Line
	for i := range v.stripes {
		st := &v.stripes[i]
		st.mu.Lock()
		batch = batch[:0]
		for _, l := range st.lines {
			batch = append(batch, l)
		}
		st.mu.Unlock()
		for _, l := range batch {
			f(l)
		}
	}
}

// linesOf are the lines of a space for which keep is true; keep is called with the line's mu held.
func (sp *space) linesOf(keep func(l *Line) bool) []*Line {
	var lines []*Line
	sp.v.each(func(l *Line) {
		if l.space != sp {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if keep(l) {
			lines = append(lines, l)
		}
	})
	return lines
}
