package history

import (
	"context"
	"errors"
	"slices"

	"throng/server/hub"
)

// Errors of Query, by what clients are told.
var (
	ErrUnrecoverable = errors.New("history: since is of another epoch") // 112
	ErrBadQuery      = errors.New("history: reverse since offset 0")    // 107
)

// Query is what history is asked for.
type Query struct {
	Limit   int       // publications at most; 0: only the position; negative: all that the namespace keeps
	Since   *Position // exclusive; nil: from the oldest, or for Reverse the newest
	Reverse bool
}

// Result is what Query found. Publications are shared with others, read only.
type Result struct {
	Position     Position // the top of the channel
	Publications []hub.Publication
}

// Query reads the history of a channel, from memory where a line's tail covers it, else from the store. Blocks until ctx ends at
// most; not for pollers. Errors: ErrUnrecoverable, ErrBadQuery, ErrNoStream, the store's. centrifuge-protocol.md, 12.
func (v *Service) Query(ctx context.Context, s Stream, channel string, q Query) (Result, error) {
	v.n.queries.Add(1)
	switch {
	case q.Reverse && q.Since != nil && q.Since.Offset == 0:
		return Result{}, ErrBadQuery
	case s.Size <= 0:
		return Result{}, ErrNoStream
	}
	if q.Limit < 0 || q.Limit > s.Size {
		q.Limit = s.Size
	}
	if r, ok := v.queryMemory(s, channel, &q); ok {
		return r, nil
	}
	select {
	case v.queryRoom <- struct{}{}:
		defer func() { <-v.queryRoom }()
	case <-ctx.Done():
		return Result{}, ctx.Err()
	case <-v.ctx.Done():
		return Result{}, hub.ErrClosed
	}
	if r, ok := v.queryMemory(s, channel, &q); ok { // those before have read it
		return r, nil
	}
	v.n.queriesOfStore.Add(1)
	if q.Limit == 0 {
		return v.queryTop(ctx, s, channel, &q)
	}
	return v.queryStore(ctx, s, channel, &q)
}

func (v *Service) queryMemory(s Stream, channel string, q *Query) (Result, bool) {
	l := v.find(channel)
	if l == nil || l.space.namespace != s.Namespace {
		return Result{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state != open || l.space.doubted.Load() || l.top < l.acked:
		return Result{}, false
	case q.Since != nil && (q.Since.Offset > l.top || q.Since.Epoch != "" && q.Since.Epoch != l.epoch):
		return Result{}, false // the store decides
	}
	r := Result{Position: Position{l.top, l.epoch}}
	if q.Limit == 0 {
		return r, true
	}
	l.tail.used = v.tick.Load()
	shown, complete := v.shown(s, &l.tail)
	pubs, ok := shown.choose(q, complete || l.whole)
	r.Publications = pubs
	return r, ok
}

// shown leaves out what the namespace does not show any more; complete: something was left out, so there is nothing older.
func (v *Service) shown(s Stream, t *tail) (shown tail, complete bool) {
	shown, old := t.fresh(v.age(s))
	if n := len(shown.pubs) - s.Size; n >= 0 {
		return tail{base: shown.base, pubs: shown.pubs[n:], times: shown.times[n:]}, true
	}
	return shown, old > 0
}

// choose picks what q asks for from t, which ends at the top; ok: t goes far enough back. complete: there is nothing older.
func (t *tail) choose(q *Query, complete bool) (pubs []hub.Publication, ok bool) {
	pubs = t.pubs
	if !q.Reverse {
		if q.Since != nil {
			pubs = pubs[t.index(q.Since.Offset):]
			complete = complete || q.Since.Offset >= t.base
		}
		return slices.Clip(pubs[:min(len(pubs), q.Limit)]), complete
	}
	if q.Since != nil {
		pubs = pubs[:t.index(q.Since.Offset-1)]
	}
	n := min(len(pubs), q.Limit)
	pubs = slices.Clone(pubs[len(pubs)-n:])
	slices.Reverse(pubs)
	return pubs, complete || n == q.Limit
}

func (v *Service) queryTop(ctx context.Context, s Stream, channel string, q *Query) (Result, error) {
	v.n.tops.Add(1)
	ctx, cancel := context.WithTimeout(ctx, v.cfg.ReadTimeout)
	defer cancel()
	t, err := v.parts.Store.Tops(ctx, s.Namespace, []string{channel})
	if err == nil && len(t.Top) != 1 {
		err = errLag
	}
	if err != nil {
		v.n.readErrors.Add(1)
		return Result{}, v.why(err)
	}
	if q.Since != nil && q.Since.Epoch != "" && q.Since.Epoch != t.Epoch {
		return Result{}, ErrUnrecoverable
	}
	top := t.Top[0]
	if top == 0 {
		top = t.Last
	}
	return Result{Position: Position{top, t.Epoch}}, nil
}

// queryStore reads forward, which is all a store can: for Reverse everything, and the end of it is taken. Who reads everything
// leaves it to the line.
func (v *Service) queryStore(ctx context.Context, s Stream, channel string, q *Query) (Result, error) {
	since, limit := uint64(0), s.Size+1
	if !q.Reverse && q.Since != nil {
		since = q.Since.Offset
	}
	if !q.Reverse {
		limit = q.Limit + 1 // the oldest may be the one that is stored beyond size
	}
	r, err := v.gather(ctx, s, channel, since, limit)
	if err != nil {
		return Result{}, err
	}
	if q.Since != nil && q.Since.Epoch != "" && q.Since.Epoch != r.epoch {
		return Result{}, ErrUnrecoverable
	}
	t := r.tail
	if excess := min(r.count-s.Size, len(t.pubs)); excess > 0 && !r.older {
		t = t.after(t.pubs[excess-1].Meta.Offset)
	}
	t, _ = t.fresh(v.age(s))
	pubs, _ := t.choose(q, true)
	if l := v.find(channel); l != nil && since == 0 && !r.more && l.space.namespace == s.Namespace {
		l.learn(&r)
	}
	return Result{Position: Position{r.reach(), r.epoch}, Publications: pubs}, nil
}

// learn keeps in memory what a query has read from the beginning.
func (l *Line) learn(r *reading) {
	l.mu.Lock()
	var out []answered
	if l.state == open && r.epoch == l.epoch {
		out = l.absorb(r, 0)
	}
	l.mu.Unlock()
	l.v.finish(out)
}
