package history

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// earlyQueue is the lines to be looked at ahead of the next round, in order of when; a line is in it once at most.
type earlyQueue struct {
	mu      sync.Mutex
	entries []earlyEntry // those with a delay, which is the same for all
	now     []*Line
}

type earlyEntry struct {
	line *Line
	when time.Duration
}

// checkSoon has the line looked at after d, which is 0 or Config.EarlyCheck. l.mu is held.
func (l *Line) checkSoon(d time.Duration) {
	if l.checkIn {
		return
	}
	l.checkIn = true
	q := &l.v.early
	q.mu.Lock()
	defer q.mu.Unlock()
	if d <= 0 {
		q.now = append(q.now, l)
		return
	}
	q.entries = append(q.entries, earlyEntry{l, l.v.now() + d})
}

func (q *earlyQueue) take(now time.Duration) []*Line {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines := q.now
	q.now = nil
	n := 0
	for n < len(q.entries) && q.entries[n].when <= now {
		lines = append(lines, q.entries[n].line)
		n++
	}
	if q.entries = q.entries[n:]; len(q.entries) == 0 {
		q.entries = nil
	}
	return lines
}

// sweepLoop is the one goroutine for all that is not urgent.
func (v *Service) sweepLoop() {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	nextRound := v.now() + v.cfg.CheckInterval
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-t.C:
		}
		now := v.now()
		v.tick.Store(int64(now))
		v.expireLines()
		v.trimTails()
		v.checkEarly(now)
		if v.cfg.CheckInterval > 0 && now >= nextRound {
			nextRound = now + v.cfg.CheckInterval
			if v.round.CompareAndSwap(false, true) && !v.work.run(v.checkIdle) {
				return
			}
		}
	}
}

func (v *Service) checkEarly(now time.Duration) {
	bySpace := map[*space][]*Line{}
	for _, l := range v.early.take(now) {
		l.mu.Lock()
		l.checkIn = false
		l.mu.Unlock()
		bySpace[l.space] = append(bySpace[l.space], l)
	}
	for sp, lines := range bySpace {
		v.work.run(func() { _ = sp.check(v.ctx, lines) }) // an error is counted, and the next round comes
	}
}

// checkIdle looks at all open lines that had no message since the last round. One question for one line shows where the stream
// is; lines that were looked at up to there are left alone.
func (v *Service) checkIdle() {
	defer v.round.Store(false)
	for _, sp := range v.allSpaces() {
		idle := sp.linesOf(func(l *Line) bool {
			was := l.active
			l.active = false
			return l.state == open && !was
		})
		if len(idle) == 0 {
			continue
		}
		t, err := sp.tops(v.ctx, idle[:1])
		if err != nil {
			continue
		}
		idle = sp.behind(idle, t.Epoch, t.Last)
		_ = sp.check(v.ctx, idle) // an error is counted, and the next round comes
	}
}

func (sp *space) behind(lines []*Line, epoch string, last uint64) []*Line {
	n := 0
	for _, l := range lines {
		l.mu.Lock()
		if l.state == open && (l.seen < last || l.epoch != epoch) {
			lines[n] = l
			n++
		}
		l.mu.Unlock()
	}
	return lines[:n]
}

func (v *Service) allSpaces() []*space {
	v.spacesMu.Lock()
	defer v.spacesMu.Unlock()
	all := make([]*space, 0, len(v.spaces))
	for _, sp := range v.spaces {
		all = append(all, sp)
	}
	return all
}

// check compares lines with the store, in batches; the first error ends it.
func (sp *space) check(ctx context.Context, lines []*Line) error {
	v := sp.v
	for len(lines) > 0 && !v.closed() {
		n := min(len(lines), v.cfg.CheckBatch)
		if err := sp.checkBatch(ctx, lines[:n]); err != nil {
			return err
		}
		if lines = lines[n:]; len(lines) > 0 {
			v.wait(v.cfg.CheckPace)
		}
	}
	return nil
}

// stand is where a line was when the store was asked.
type stand struct{ top, seen uint64 }

func (sp *space) checkBatch(ctx context.Context, lines []*Line) error {
	before := make([]stand, len(lines))
	for i, l := range lines {
		l.mu.Lock()
		before[i] = stand{l.top, l.seen}
		l.mu.Unlock()
	}
	t, err := sp.tops(ctx, lines)
	if err != nil {
		return err
	}
	sp.v.n.checked.Add(uint64(len(lines)))
	var empty []int // lines of channels without a stored message, of which that says nothing yet
	for i, l := range lines {
		if l.compare(before[i], &t, t.Top[i]) {
			empty = append(empty, i)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	// The first message of the stream, read after the tops, tells for all of them whether anything was removed.
	l := lines[empty[0]]
	p, err := sp.v.page(ctx, ReadQuery{Namespace: sp.namespace, Channel: l.channel, Since: before[empty[0]].seen, Limit: 1, MaxBytes: sp.v.cfg.PageBytes})
	if err != nil {
		return err
	}
	for _, i := range empty {
		lines[i].compareEmpty(before[i], &t, &p)
	}
	return nil
}

// compare acts on what the store says of the line. True: the channel is empty, and the stream has moved.
func (l *Line) compare(before stand, t *Tops, top uint64) (empty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state != open:
	case t.Epoch != l.epoch, top > l.top:
		l.stray()
	case l.top != before.top: // messages came: the chain knows better
	case top == l.top:
		l.seen = max(l.seen, t.Last)
	case top > 0 && t.Last >= l.top: // its newest message is gone, the older ones are not
		l.stray()
	case top == 0 && t.Last > l.seen:
		return true
	case t.Last < l.top: // it lags, or is another one with the same name
		l.stray()
	}
	return false
}

// compareEmpty goes on where compare could not: p was read after t.
func (l *Line) compareEmpty(before stand, t *Tops, p *Page) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state != open || l.top != before.top:
	case p.Epoch == l.epoch && p.StreamFirst > 0 && p.StreamFirst <= before.seen+1:
		l.seen = max(l.seen, t.Last)
	default:
		l.stray()
	}
}

// stray has the line read: a check has found it elsewhere than the store. l.mu is held.
func (l *Line) stray() {
	l.v.n.strays.Add(1)
	l.breakUp(true)
}

// Doubt says that messages of namespace, "" for all, may have been missed at the end, or that its stream may be another one. Its
// messages wait until the epoch was looked at, and all its lines are checked soon. Any goroutine, never blocks.
func (v *Service) Doubt(namespace string) {
	if namespace != "" {
		v.space(namespace).doubt()
		return
	}
	for _, sp := range v.allSpaces() {
		sp.doubt()
	}
}

// Lost says that the store cannot be reached, and that nothing had come from it for some time before. As Doubt for all, but who
// listens has been without for that time already: Config.RepairTimeout counts from then. Doubt is to follow when the store is
// back. Any goroutine, never blocks.
func (v *Service) Lost(silent time.Duration) {
	now := v.now()
	since := max(now-silent, now-v.cfg.RepairTimeout+lastTry)
	for _, sp := range v.allSpaces() {
		sp.doubtSince(since)
	}
}

func (sp *space) doubt() { sp.doubtSince(sp.v.now()) }

func (sp *space) doubtSince(since time.Duration) {
	sp.v.n.doubts.Add(1)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.doubted.Store(true)
	sp.again, sp.since = true, since
	if sp.verifying || sp.v.closed() {
		return
	}
	sp.verifying = sp.v.doubts.run(sp.verify)
}

// verify resolves doubts, those that come meanwhile too.
func (sp *space) verify() {
	v := sp.v
	for {
		sp.mu.Lock()
		if !sp.again || v.closed() {
			sp.verifying = false
			sp.mu.Unlock()
			return
		}
		begin := sp.since
		sp.again = false
		sp.mu.Unlock()

		epoch, ok := sp.stillThere(begin)
		for _, l := range sp.linesOf(func(l *Line) bool { return (l.state == open || l.state == broken) && (!ok || l.epoch != epoch) }) {
			if ok {
				l.cut(&v.n.cutEpoch)
			} else {
				l.cut(&v.n.cutTimeout)
			}
		}
		sp.believe()
		v.wait(rand.N(v.cfg.DoubtJitter + 1))
		sp.checkAll(v.now()) // the store is back: what is missing is worth its own time
	}
}

// stillThere asks the store for the epoch until it answers. False: it did not in time. Without a line that counts there is
// nothing to ask for.
func (sp *space) stillThere(begin time.Duration) (epoch string, ok bool) {
	v := sp.v
	ctx, cancel := v.until(begin + v.cfg.RepairTimeout)
	defer cancel()
	retry := v.cfg.RetryMin
	for !v.closed() {
		lines := sp.linesOf(func(l *Line) bool { return l.state == open || l.state == broken })
		if len(lines) == 0 {
			return "", true
		}
		if t, err := sp.tops(ctx, lines[:1]); err == nil {
			return t.Epoch, true
		}
		left := v.cfg.RepairTimeout - (v.now() - begin)
		if left <= 0 {
			return "", false
		}
		v.wait(pause(retry, left))
		retry = backOff(retry, v.cfg.RetryMax)
	}
	return "", false
}

// believe ends the doubt about the epoch, unless there is a new one, and lets go on what waited for it.
func (sp *space) believe() {
	sp.mu.Lock()
	if !sp.again {
		sp.doubted.Store(false)
	}
	sp.mu.Unlock()
	for _, l := range sp.linesOf(func(l *Line) bool { return l.trouble != nil && l.trouble.parked }) {
		sp.v.work.run(l.repair)
	}
}

// checkAll checks all lines; what cannot be checked in time is cut.
func (sp *space) checkAll(begin time.Duration) {
	v := sp.v
	ctx, cancel := v.until(begin + v.cfg.RepairTimeout)
	defer cancel()
	retry := v.cfg.RetryMin
	for !v.closed() {
		err := sp.check(ctx, sp.linesOf(func(l *Line) bool {
			if l.trouble != nil {
				l.trouble.read = true // what waits does not show what is missing after it
			}
			return l.state == open
		}))
		if err == nil {
			return
		}
		left := v.cfg.RepairTimeout - (v.now() - begin)
		if left <= 0 {
			for _, l := range sp.linesOf(func(l *Line) bool { return l.state == open }) {
				l.cut(&v.n.cutTimeout)
			}
			return
		}
		v.wait(pause(retry, left))
		retry = backOff(retry, v.cfg.RetryMax)
	}
}
