package history

import (
	"context"
	"errors"

	"throng/server/wire"
)

// Remove empties the history of a channel: positions go on, and who is behind is told so when it recovers. Blocks; not for
// pollers. Errors: the store's, ErrConflict if others kept publishing. centrifuge-protocol.md, 10.1.
//
// A mark is stored that tells the last offset removed, on top of that one and nothing else, then what is before it is purged. A
// node that dies in between leaves publications that every reader of the mark knows to be removed.
func (v *Service) Remove(ctx context.Context, s Stream, channel string) (Position, error) {
	if s.Size <= 0 {
		return Position{}, ErrNoStream
	}
	ctx, cancel := context.WithTimeout(ctx, v.cfg.AckTimeout)
	defer cancel()
	for range v.cfg.Conflicts + 1 {
		at, err := v.queryTop(ctx, s, channel, &Query{})
		if err != nil {
			return Position{}, err
		}
		top := at.Position.Offset
		p, err := v.page(ctx, ReadQuery{Namespace: s.Namespace, Channel: channel, Since: max(top, 1) - 1, Limit: 1, MaxBytes: v.cfg.PageBytes})
		switch {
		case err != nil:
			return Position{}, err
		case p.Top == 0: // nothing is stored
			return Position{p.Last, p.Epoch}, nil
		case p.Top != top || len(p.Messages) == 0:
			continue
		}
		if e := v.understand(channel, &p.Messages[0]); e.purge { // perhaps the other node did not come to purge
			return Position{top, p.Epoch}, v.why(v.parts.Store.Purge(ctx, s.Namespace, channel, top))
		}
		mark := Publication{Stream: s, Channel: channel, Meta: &wire.Meta{Kind: wire.KindPurge, Offset: top}}
		st := v.storeWait(ctx, &mark, &top)
		if errors.Is(st.Err, ErrConflict) {
			v.n.conflicts.Add(1)
			continue
		}
		if st.Err != nil {
			return Position{}, st.Err
		}
		v.n.removed.Add(1)
		return Position{st.Offset, st.Epoch}, v.why(v.parts.Store.Purge(ctx, s.Namespace, channel, st.Offset))
	}
	return Position{}, ErrConflict
}
