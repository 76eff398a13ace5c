package history

import (
	"sync/atomic"
	"time"
)

// drained is what became of the messages that wait.
type drained uint8

const (
	lineOpen  drained = iota // all were delivered, or the line is not broken any more
	lineWaits                // verify calls again
	lineGap                  // the first does not follow
	lineRead                 // something is missing besides
)

// repair brings a broken line up to date: what waits is delivered as far as it follows, what is missing is read back. On a
// worker; it goes on until the line is open, cut, or has to wait for another attempt.
func (l *Line) repair() {
	v := l.v
	complete := false // the last page reached the top
	for !v.closed() {
		switch l.drain() {
		case lineOpen, lineWaits:
			return
		case lineGap:
			if complete { // what waits is newer than what the store shows
				l.setBack()
				return
			}
		}
		q, s, end := l.missing()
		if end == 0 {
			return
		}
		p, err := v.pageUntil(end, q)
		if err != nil {
			l.setBack()
			return
		}
		if !l.take(&p, q.Since, s) {
			return
		}
		complete = !p.More
	}
}

// drain delivers what waits, as far as it follows.
func (l *Line) drain() drained {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.trouble
	if t == nil {
		return lineOpen
	}
	if l.space.doubted.Load() {
		if t.parked = true; l.space.doubted.Load() { // else verify has ended in between and may have missed the mark
			return lineWaits
		}
	}
	if t.parked {
		t.parked, t.since = false, l.v.now()
	}
	if t.read {
		return lineRead
	}
	t.sorted()
	batch := t.pending
	t.pending, t.bytes = nil, 0
	for i := range batch {
		e := &batch[i]
		if e.offset() <= l.top {
			l.v.n.repeats.Add(1)
			continue
		}
		if !l.follows(e) {
			t.pending = batch[i:]
			for _, e := range t.pending {
				t.bytes += len(e.pub.Data)
			}
			return lineGap
		}
		l.pass(e)
	}
	if t.read || t.overflow {
		return lineRead
	}
	l.state, l.trouble = open, nil
	l.v.n.repaired.Add(1)
	return lineOpen
}

// pass makes e the top and delivers it. l.order and l.mu are held; mu is let go meanwhile.
func (l *Line) pass(e *incoming) {
	base := l.advance(e)
	if e.silent {
		return
	}
	l.mu.Unlock()
	defer l.mu.Lock()
	l.deliver(e, base)
}

// missing is what to read for the line, and until when; 0: nothing. What finds no room from now on has to be read again.
func (l *Line) missing() (q ReadQuery, s Stream, end time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble == nil {
		return q, s, 0
	}
	end = l.trouble.since + l.v.cfg.RepairTimeout
	l.trouble.read, l.trouble.overflow = false, false
	c := &l.v.cfg
	return ReadQuery{Namespace: l.space.namespace, Channel: l.channel, Since: l.top, Limit: c.PageLen, MaxBytes: c.PageBytes}, l.stream, end
}

// take delivers a page, if it proves that nothing is missing before it and belongs to the same stream. False: somebody else
// goes on.
func (l *Line) take(p *Page, since uint64, s Stream) bool {
	f := pageFacts(p, since, s.Size)
	messages := make([]incoming, len(p.Messages))
	for i := range p.Messages {
		messages[i] = l.v.understand(l.channel, &p.Messages[i])
		f.see(&messages[i])
	}
	reach := p.Top
	if reach == 0 {
		reach = p.Last
	}
	l.order.Lock()
	l.mu.Lock()
	verdict := l.judge(p, &f, reach)
	if verdict != nil {
		l.mu.Unlock()
		l.order.Unlock()
		verdict()
		return false
	}
	before := l.top
	for i := range messages {
		if messages[i].offset() > l.top {
			l.v.n.readBack.Add(1)
			l.pass(&messages[i])
		}
	}
	if t := l.trouble; t != nil { // a cut may have come in between
		if l.top > before { // else what waits may not be of this stream, and would wait for ever
			t.since, t.retry = l.v.now(), l.v.cfg.RetryMin
		}
		t.read = t.read || p.More
		if !p.More && l.top == max(since, p.Top) {
			l.seen = max(l.seen, p.Last)
		}
	}
	l.mu.Unlock()
	l.order.Unlock()
	return true
}

// judge says what to do instead of delivering a page; nil: deliver it. l.mu is held.
func (l *Line) judge(p *Page, f *facts, reach uint64) func() {
	switch {
	case l.trouble == nil:
		return func() {}
	case p.Epoch != l.epoch:
		return func() {
			l.cut(&l.v.n.cutEpoch)
			l.space.doubt() // the other lines too
		}
	case reach < l.top, p.More && len(p.Messages) == 0:
		return l.setBack
	case f.provable() > l.seen:
		return func() { l.cut(&l.v.n.cutLost) }
	}
	return nil
}

// setBack lets the next attempt come later, or gives the line up.
func (l *Line) setBack() {
	v := l.v
	l.mu.Lock()
	t := l.trouble
	if t == nil {
		l.mu.Unlock()
		return
	}
	t.read = true
	left := v.cfg.RepairTimeout - (v.now() - t.since)
	if left <= 0 {
		l.mu.Unlock()
		l.cut(&v.n.cutTimeout)
		return
	}
	wait := pause(t.retry, left)
	t.retry = backOff(t.retry, v.cfg.RetryMax)
	l.mu.Unlock()
	v.later(wait, l.repair)
}

// cut gives the line up: its positioned subscribers are told, and who comes begins anew. First nobody may be answered from
// memory any more, then those who were are cut. What waits passes, for subscribers without a position.
func (l *Line) cut(reason *atomic.Uint64) {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	if l.state != open && l.state != broken {
		l.mu.Unlock()
		return
	}
	var waiting []incoming
	if l.trouble != nil {
		l.trouble.sorted()
		waiting = l.trouble.pending
	}
	top := l.top
	l.passed = 0
	l.reset()
	if n := len(waiting); n > 0 && reason != &l.v.n.cutEpoch {
		l.passBy(&waiting[n-1])
	}
	l.seek()
	l.mu.Unlock()
	reason.Add(1)
	l.v.parts.Hub.Cut(l.channel)
	for i := range waiting {
		if e := &waiting[i]; e.offset() > top && !e.silent {
			l.v.parts.Hub.Deliver(e.pub)
		}
	}
}
