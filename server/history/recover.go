package history

import (
	"slices"

	"throng/server/hub"
)

// Request is what a subscriber asks of a line.
type Request struct {
	Recover bool // false: only the position is wanted
	Cache   bool // the newest publication is the state (centrifuge-protocol.md, 10.4)
	Offset  uint64
	Epoch   string // "" matches any
	Limit   int    // publications at most; 0: Config.RecoverLimit
}

// Recovered is the answer to a Request.
type Recovered struct {
	Epoch     string
	Top       uint64 // for hub.Open: what is at or below it is in Publications or was seen before; all else comes live
	Recovered bool
	// Publications that were missed, oldest first; shared with others, read only. Delta is not set.
	Publications []hub.Publication
	Err          error // the store did not answer, or lags; nothing else is set
}

// answered is a Recovered on its way to who asked.
type answered struct {
	w waiter
	r Recovered
}

// Recover tells where a subscriber of the line begins and, if q wants it, what it missed. If memory knows, now is true and done
// is not called. Otherwise done is called exactly once, on a goroutine of the service, which it must not block, within about
// Config.OpenTimeout. Any goroutine, never blocks. centrifuge-protocol.md, 10.2 to 10.4.
func (l *Line) Recover(q Request, done func(Recovered)) (r Recovered, now bool) {
	v := l.v
	if q.Limit <= 0 {
		q.Limit = v.cfg.RecoverLimit
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v.closed() {
		return Recovered{Err: hub.ErrClosed}, true
	}
	if r, ok := l.answer(&q, &l.tail); ok {
		v.n.fromMemory.Add(1)
		v.n.countRecovery(&q, &r)
		return r, true
	}
	l.waiters = append(l.waiters, waiter{q: q, done: done, end: v.now() + v.cfg.OpenTimeout})
	l.seek()
	return Recovered{}, false
}

// seek sees to it that somebody answers the waiters. l.mu is held.
func (l *Line) seek() {
	switch {
	case len(l.waiters) == 0:
	case l.state == closed:
		l.state = opening
		l.space.open(l)
	case l.state != opening && !l.reading:
		l.reading = true
		l.v.later(l.nextRead-l.v.now(), l.read)
	}
}

// answer decides by what memory has; t is a tail that ends at the top. l.mu is held.
func (l *Line) answer(q *Request, t *tail) (r Recovered, ok bool) {
	if l.state != open && l.state != broken {
		return r, false
	}
	r = Recovered{Epoch: l.epoch, Top: l.top}
	switch {
	case !q.Recover:
		return r, true
	case q.Cache:
		return l.answerCache(q, t, r)
	case q.Epoch != "" && q.Epoch != l.epoch:
		l.checkSoon(0) // perhaps ours is the old one
		return r, true
	case q.Offset < l.floor:
		return r, true
	case q.Offset > l.top:
		// Given where the channel was empty: that nothing came since is known as far as it was looked at.
		r.Recovered = q.Offset <= l.seen
		r.Top = max(r.Top, min(q.Offset, l.seen))
		return r, r.Recovered
	case q.Offset < t.base:
		return r, false
	}
	missed := t.after(q.Offset)
	l.tail.used = l.v.tick.Load()
	l.attach(q, &missed, &r)
	return r, true
}

// attach makes r a recovery with what was missed, if that is within the limits of request and namespace.
func (l *Line) attach(q *Request, missed *tail, r *Recovered) {
	n := len(missed.pubs)
	if n > q.Limit || n > l.stream.Size {
		return
	}
	if n > 0 {
		if _, old := missed.fresh(l.v.age(l.stream)); old > 0 {
			return
		}
	}
	r.Recovered, r.Publications = true, missed.pubs
}

// answerCache is answer where the newest publication is all that counts.
func (l *Line) answerCache(q *Request, t *tail, r Recovered) (Recovered, bool) {
	same := q.Epoch == l.epoch && q.Offset >= l.top && q.Offset <= l.seen
	newest := t.after(max(l.top, 1) - 1)
	fresh, _ := newest.fresh(l.v.age(l.stream))
	switch {
	case len(fresh.pubs) > 0:
		r.Recovered = true
		if !same || q.Offset == 0 {
			r.Publications = fresh.pubs
		}
	case len(newest.pubs) > 0, l.bare, t.base < l.top: // there is none
		r.Recovered = same
	default:
		return r, false
	}
	return r, true
}

// serve takes those waiters out that t answers. l.mu is held; the caller passes the result to finish without it.
func (l *Line) serve(t *tail) (out []answered) {
	l.waiters = slices.DeleteFunc(l.waiters, func(w waiter) bool {
		r, ok := l.answer(&w.q, t)
		if ok {
			out = append(out, answered{w, r})
		}
		return ok
	})
	if len(l.waiters) == 0 {
		l.waiters = nil
	}
	return out
}

// fail takes those waiters out for which which is true. l.mu is held.
func (l *Line) fail(err error, which func(w *waiter) bool) (out []answered) {
	l.waiters = slices.DeleteFunc(l.waiters, func(w waiter) bool {
		if !which(&w) {
			return false
		}
		out = append(out, answered{w, Recovered{Err: err}})
		return true
	})
	return out
}

func everyone(*waiter) bool { return true }

func (v *Service) finish(out []answered) {
	for i := range out {
		v.n.countRecovery(&out[i].w.q, &out[i].r)
		out[i].w.done(out[i].r)
	}
}

// read asks the store on behalf of all waiters of the line. On a worker; l.reading is set.
func (l *Line) read() {
	v := l.v
	l.mu.Lock()
	out := l.serve(&l.tail)
	if len(l.waiters) == 0 || l.state != open && l.state != broken {
		l.reading = false
		l.seek()
		l.mu.Unlock()
		v.finish(out)
		return
	}
	since, limit := l.wanted()
	s, channel := l.stream, l.channel
	l.mu.Unlock()
	v.finish(out)

	r, err := v.gather(v.ctx, s, channel, since, limit+1)

	l.mu.Lock()
	now := v.now()
	if err != nil {
		out = l.fail(err, everyone)
	} else {
		out = l.absorb(&r, since)
		out = append(out, l.fail(errLag, func(w *waiter) bool { return w.end <= now })...)
	}
	l.nextRead = now + v.cfg.ReadInterval
	l.reading = false
	l.seek()
	l.mu.Unlock()
	v.finish(out)
}

// wanted is the lowest position that a waiter needs read, and the largest limit. l.mu is held, and there are waiters.
func (l *Line) wanted() (since uint64, limit int) {
	since = 1<<64 - 1
	for i := range l.waiters {
		q := &l.waiters[i].q
		limit = max(limit, q.Limit)
		if q.Cache {
			since = min(since, max(l.top, 1)-1)
		} else {
			since = min(since, q.Offset)
		}
	}
	return since, limit
}

// absorb answers waiters by what was read after since, and keeps it for those who come. l.mu is held.
func (l *Line) absorb(r *reading, since uint64) (out []answered) {
	if l.state != open && l.state != broken {
		return nil
	}
	if r.epoch != l.epoch {
		l.breakUp(true)
		return nil
	}
	base := l.tail.base
	if r.low > since {
		l.floor = max(l.floor, min(r.low, base))
	}
	if r.more {
		return l.refuseFar(r, since)
	}
	out = l.serveAhead(r)
	if base > r.reach() { // between the two something may be missing: a follower answered, or much came meanwhile
		return out
	}
	if r.top == l.top || r.top == 0 && r.last >= l.top {
		l.bare = r.bare
		if r.low <= l.seen {
			l.seen = max(l.seen, r.last)
		}
	}
	if r.low <= base {
		out = append(out, l.extend(r, since)...)
	}
	return append(out, l.serve(&l.tail)...)
}

// extend puts what was read in front of the tail, as far as they fit together within its bounds; those who wait are served before
// anything is cut off. l.mu is held.
func (l *Line) extend(r *reading, since uint64) (out []answered) {
	before := r.tail.until(l.tail.base)
	both := tail{base: max(r.low, l.floor)}
	both.pubs = append(slices.Clip(before.pubs), l.tail.pubs...)
	both.times = append(slices.Clip(before.times), l.tail.times...)
	both.drop(both.index(both.base))
	both.base = max(r.low, l.floor)
	out = l.serve(&both)
	l.replace(both, since == 0 || l.whole)
	return out
}

// refuseFar answers those who missed more than they may, by a reading that did not reach the top. l.mu is held.
func (l *Line) refuseFar(r *reading, since uint64) (out []answered) {
	l.waiters = slices.DeleteFunc(l.waiters, func(w waiter) bool {
		a := Recovered{Epoch: l.epoch, Top: l.top}
		far := w.q.Recover && !w.q.Cache && w.q.Offset >= since && (w.q.Offset < r.low || len(r.tail.pubs)-r.tail.index(w.q.Offset) > w.q.Limit)
		if far {
			out = append(out, answered{w, a})
		}
		return far
	})
	return out
}

// serveAhead answers those whose position is beyond the line's top: they were somewhere where more is known. l.mu is held.
func (l *Line) serveAhead(r *reading) (out []answered) {
	reach := r.reach()
	if r.top > l.top {
		l.checkSoon(0)
	}
	l.waiters = slices.DeleteFunc(l.waiters, func(w waiter) bool {
		q := &w.q
		if !q.Recover || q.Cache || q.Offset <= l.top || q.Epoch != "" && q.Epoch != l.epoch {
			return false
		}
		a := Recovered{Epoch: l.epoch, Top: l.top}
		if q.Offset <= reach && q.Offset >= r.low {
			missed := r.tail.after(q.Offset)
			if l.attach(q, &missed, &a); a.Recovered {
				a.Top = max(a.Top, reach)
			}
		}
		out = append(out, answered{w, a})
		return true
	})
	return out
}
