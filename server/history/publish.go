package history

import (
	"throng/server/hub"
	"throng/server/wire"
)

// Publication is what Publish takes. Nothing of it is kept after Publish has returned, unless Version is set: then Data and Meta
// must not change until done was called.
type Publication struct {
	Stream         Stream
	Channel        string
	Data           []byte
	Meta           *wire.Meta // nil for none
	Binary         bool
	IdempotencyKey string
	Version        uint64 // 0: none
	VersionEpoch   string
}

// Publish stores p, or sends it if its stream keeps nothing, and tells done the position: exactly once if Publish returned nil,
// perhaps before it returns, else never. A repeated key gets the first position; a publication whose version is not newer than the
// newest stored one (and of the same epoch, or of none) gets the position of the top; neither is delivered. Channels without
// history have position zero, and no versions. Any goroutine, never blocks; done must not block either.
// Errors: hub.ErrBusy, ErrTooBig, ErrDisconnected, ErrClosed, ErrNoStream; through done also ErrUnconfirmed, ErrStoreFull and
// ErrConflict. centrifuge-protocol.md, 10.7.
func (v *Service) Publish(p *Publication, done func(Position, error)) error {
	return hub.ErrClosed
}
