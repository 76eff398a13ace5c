package history

import (
	"context"
	"errors"

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
func (v *Service) Query(ctx context.Context, st Stream, channel string, q Query) (Result, error) {
	return Result{}, ErrNoStream
}
