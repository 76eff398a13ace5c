package history

import (
	"context"
	"errors"

	"throng/server/wire"
)

// Publication is what Publish takes. Nothing of it is kept after Publish has returned, unless Version or IdempotencyKey is set:
// then Data and Meta must not change until done was called.
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
	switch {
	case p.Stream.Size <= 0:
		return v.publishLive(p, done)
	case p.Version > 0:
		return v.publishVersion(p, done)
	}
	return v.store(p, nil, func(s Stored) {
		done(Position{s.Offset, s.Epoch}, s.Err)
	})
}

// publishLive sends what nobody keeps. The key is remembered first: a repetition after a crash in between is lost, as live
// publications may be, and never delivered twice.
func (v *Service) publishLive(p *Publication, done func(Position, error)) error {
	if p.IdempotencyKey == "" {
		if err := v.parts.Live(p.Channel, p.Data, p.Meta, p.Binary); err != nil {
			return err
		}
		done(Position{}, nil)
		return nil
	}
	kept := *p
	return v.parts.Store.StoreOnce(p.Channel, p.IdempotencyKey, func(s Stored) {
		switch {
		case s.Err != nil:
		case s.Duplicate:
			v.n.duplicates.Add(1)
		default:
			s.Err = v.parts.Live(kept.Channel, kept.Data, kept.Meta, kept.Binary)
		}
		done(Position{}, s.Err)
	})
}

// store hands p to the store; last is what the channel's newest message must be, nil for anything.
func (v *Service) store(p *Publication, last *uint64, done func(Stored)) error {
	sp := StorePublication{Namespace: p.Stream.Namespace, Channel: p.Channel, Data: p.Data, Binary: p.Binary, ID: p.IdempotencyKey}
	if last != nil {
		sp.ExpectLast, sp.LastOffset = true, *last
	}
	var room [256]byte
	if meta, ok := p.line(); ok {
		sp.Meta = wire.AppendMeta(room[:0], &meta)
	}
	channel := p.Channel
	sp.Done = func(s Stored) {
		v.stored(channel, &s)
		done(s)
	}
	return v.parts.Store.Store(&sp)
}

// line is what travels beside the data, if there is anything.
func (p *Publication) line() (wire.Meta, bool) {
	var meta wire.Meta
	if p.Meta != nil {
		meta = *p.Meta
	}
	if meta.Kind != wire.KindPurge {
		meta.Offset = 0 // the store's to give
	}
	meta.Version, meta.VersionEpoch = p.Version, p.VersionEpoch
	if p.Version == 0 {
		meta.VersionEpoch = ""
	}
	return meta, !meta.Plain()
}

// stored counts an outcome, and keeps memory from telling less than the publisher knows.
func (v *Service) stored(channel string, s *Stored) {
	switch {
	case s.Err != nil:
		return
	case s.Duplicate:
		v.n.duplicates.Add(1)
		return
	}
	v.n.published.Add(1)
	if l := v.find(channel); l != nil {
		l.acknowledged(s)
	}
}

// storeWait is store for those who can wait. Errors: the store's, or ErrUnconfirmed when ctx ends first.
func (v *Service) storeWait(ctx context.Context, p *Publication, last *uint64) Stored {
	answer := make(chan Stored, 1)
	if err := v.store(p, last, func(s Stored) { answer <- s }); err != nil {
		return Stored{Err: err}
	}
	select {
	case s := <-answer:
		return s
	case <-ctx.Done():
		return Stored{Err: v.why(errors.Join(ErrUnconfirmed, ctx.Err()))}
	}
}
