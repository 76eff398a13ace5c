package history

import "context"

// open queues a line whose state has become opening. Its mu is held.
func (sp *space) open(l *Line) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.opening = append(sp.opening, l)
	if sp.opener {
		return
	}
	sp.opener = sp.v.work.run(sp.openAll)
}

// openAll opens lines, as many as are queued with one Sync and one Tops, until there are no more. On a worker, one per space.
// While it waits for the store others gather, so that a storm costs few requests.
func (sp *space) openAll() {
	for {
		batch := sp.takeOpening(sp.v.cfg.CheckBatch)
		if len(batch) == 0 {
			return
		}
		passed := make([]uint64, len(batch))
		for i, l := range batch {
			l.mu.Lock()
			passed[i] = l.passed
			l.mu.Unlock()
		}
		tops, err := sp.ask(batch)
		if err != nil {
			batch = append(batch, sp.takeOpening(1<<30)...) // they have waited as long
		}
		for i, l := range batch {
			switch {
			case err != nil:
				l.openFailed(err)
			case passed[i] > tops.Last: // it lags, or what passed was of another stream
				l.openFailed(errLag)
			default:
				l.opened(tops.Epoch, tops.Last, tops.Top[i])
			}
		}
	}
}

func (sp *space) takeOpening(n int) []*Line {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	n = min(n, len(sp.opening))
	if n == 0 {
		sp.opening, sp.opener = nil, false
		return nil
	}
	batch := append([]*Line(nil), sp.opening[:n]...)
	sp.opening = sp.opening[n:]
	return batch
}

// ask reads the tops of lines whose interest is in force.
func (sp *space) ask(lines []*Line) (Tops, error) {
	ctx, cancel := context.WithTimeout(sp.v.ctx, sp.v.cfg.OpenTimeout)
	defer cancel()
	if err := sp.v.parts.Sync(ctx); err != nil {
		return Tops{}, sp.v.why(err)
	}
	return sp.tops(ctx, lines)
}

// tops asks the store once, within ReadTimeout.
func (sp *space) tops(ctx context.Context, lines []*Line) (Tops, error) {
	ctx, cancel := context.WithTimeout(ctx, sp.v.cfg.ReadTimeout)
	defer cancel()
	channels := make([]string, len(lines))
	for i, l := range lines {
		channels[i] = l.channel
	}
	sp.v.n.tops.Add(1)
	t, err := sp.v.parts.Store.Tops(ctx, sp.namespace, channels)
	if err == nil && len(t.Top) != len(lines) {
		err = errLag
	}
	if err != nil {
		sp.v.n.readErrors.Add(1)
		return t, sp.v.why(err)
	}
	return t, nil
}

// opened begins the line at what the store said, or at what passed since. A position beyond the store's top is as good: what is
// at or below it was handed to the hub, or missed before anybody was told of it.
func (l *Line) opened(epoch string, last, top uint64) {
	v := l.v
	l.mu.Lock()
	if l.state != opening {
		l.mu.Unlock()
		return
	}
	l.state, l.epoch = open, epoch
	l.bare = top == 0
	l.top, l.seen = top, last
	if top == 0 {
		l.top = last
	}
	if l.passed > l.top {
		l.top, l.seen, l.bare = l.passed, l.passed, false
	}
	if l.passed == l.top {
		l.topTime = l.passedTime
	}
	l.seen = max(l.seen, l.top)
	l.forget(l.top)
	l.whole = l.bare
	v.n.opened.Add(1)
	out := l.serve(&l.tail)
	l.seek()
	l.checkSoon(v.cfg.EarlyCheck)
	l.mu.Unlock()
	v.finish(out)
}

// openFailed tells who waits, and lets the next one try again.
func (l *Line) openFailed(err error) {
	l.mu.Lock()
	if l.state == opening {
		l.state = closed
	}
	l.passed = 0
	out := l.fail(err, everyone)
	l.mu.Unlock()
	l.v.n.openFailures.Add(1)
	l.v.finish(out)
}
