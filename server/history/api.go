package history

import "context"

// Service is the history of a node's channels. Make it with New.
type Service struct{}

// Line is what the node knows of one channel, counted by those who Join.
type Line struct{}

// New starts a Service, which has one goroutine until Close.
func New(cfg Config, parts Parts) *Service { return nil }

// Close ends the service: who waits gets hub.ErrClosed, messages are dropped. It waits for what is running. Idempotent.
func (v *Service) Close() {}

// Receive takes every message of the broker's readers, stored or not, for one channel one at a time, and hands to the hub what
// is next in its line: at once, after what was missing was read back, or never (repeats, marks of removal, unreadable meta
// lines). It may wait in Hub.Deliver.
func (v *Service) Receive(m Message) {}

// Join counts one positioned subscriber of channel and returns its line. Call it after the hub holds the subscription
// (hub.SubscribeSpecial), then ask Recover, and Leave in the end. Any goroutine, never blocks.
func (v *Service) Join(st Stream, channel string) *Line { return nil }

// Leave takes back one Join; once for each. Any goroutine, never blocks.
func (l *Line) Leave() {}

// WantDelta adds n, which may be negative, to the count of subscribers for which deltas are worth computing. The caller
// takes its own back before Leave. Any goroutine, never blocks.
func (l *Line) WantDelta(n int) {}

// Recover tells where a subscriber of the line begins and, if q wants it, what it missed. If memory knows, now is true and done
// is not called. Otherwise done is called exactly once, on a goroutine of the service, which it must not block, within about
// Config.OpenTimeout. Any goroutine, never blocks. centrifuge-protocol.md, 10.2 to 10.4.
func (l *Line) Recover(q Request, done func(Recovered)) (r Recovered, now bool) {
	return Recovered{}, true
}

// Remove empties the history of a channel: positions go on, and who is behind is told so when it recovers. Blocks; not for pollers. Errors: the
// store's, ErrConflict if others kept publishing.
func (v *Service) Remove(ctx context.Context, st Stream, channel string) (Position, error) {
	return Position{}, ErrNoStream
}

// Doubt says that messages of namespace, "" for all, may have been missed at the end, or that its stream may be another one. Its
// messages wait until the epoch was looked at, and all its lines are checked soon. Any goroutine, never blocks.
func (v *Service) Doubt(namespace string) {}
