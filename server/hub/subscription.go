package hub

import (
	"sync/atomic"

	"throng/server/wire"
)

// Encoding says in which form a subscriber takes publications, and which it takes; one buffer is built per batch and encoding
// and shared by all receivers.
type Encoding uint8

// The encodings so far. Subscribers with Joins are told who comes and goes; the encoders of the others never see a join or a
// leave.
const (
	EncodingRaw           Encoding = iota // plain WebSocket text or binary message
	EncodingJSON                          // Centrifuge push in a text frame
	EncodingJSONJoins                     // the same, joins and leaves too
	EncodingProtobuf                      // Centrifuge push in a binary frame
	EncodingProtobufJoins                 // the same, joins and leaves too

	// Of those to whom deltas were promised; see Publication.Delta.
	EncodingJSONDelta
	EncodingJSONDeltaJoins
	EncodingProtobufDelta
	EncodingProtobufDeltaJoins

	numEncodings // at most 16: frames keeps them in bit sets
)

// takes tells whether subscribers with this encoding get p.
func (e Encoding) takes(p *Publication) bool {
	const joins = 1<<EncodingJSONJoins | 1<<EncodingProtobufJoins | 1<<EncodingJSONDeltaJoins | 1<<EncodingProtobufDeltaJoins
	return p.isMessage() || joins&(1<<e) != 0
}

// deltas tells whether subscribers with this encoding get deltas.
func (e Encoding) deltas() bool { return e >= EncodingJSONDelta }

// Publication is one message of a channel. Data, Delta and Meta are shared and immutable from Deliver on.
type Publication struct {
	Channel string
	Data    []byte
	Meta    *wire.Meta // what travels beside the data, nil for plain messages; joins and leaves have no data
	// Delta is the fossil delta that makes Data of the Data of the channel's publication before this one; nil: none. The
	// encoders of the delta encodings see it only where the receivers were sent that one before; where they were not, it is nil.
	Delta  []byte
	Binary bool
}

// isMessage: neither a join nor a leave.
func (p *Publication) isMessage() bool { return p.Meta == nil || p.Meta.Kind == wire.KindPublication }

func (p *Publication) tags() []wire.Tag {
	if p.Meta == nil {
		return nil
	}
	return p.Meta.Tags
}

// size is what p counts in bounds of bytes.
func (p *Publication) size() int { return len(p.Data) + len(p.Delta) }

// Encoder appends the wire frame or frames of pub to dst and returns the result, like append. It may append nothing: then
// nothing is sent, and in the delta encodings the next publication comes without Delta. Called by shard goroutines,
// concurrently; must neither keep nor change pub. A panic costs the batch, see Config.OnPanic.
type Encoder func(dst []byte, pub *Publication) []byte

// Filter chooses publications for one subscription. Called by the subscription's shard goroutine, for publications only, not
// for joins and leaves; must neither keep nor change tags, nor block. A panic costs the batch, see Config.OnPanic.
type Filter interface {
	Match(tags []wire.Tag) bool
}

// Subscriber is one connection as the hub sees it. The hub calls Send and Flush on the owning shard's goroutine only; the
// connection's own goroutine may do so too. No method may block or call [Hub.Deliver] or [Hub.Close]; calling Subscribe,
// Unsubscribe and Publish is fine. All must bear being called after the connection was closed.
type Subscriber interface {
	// Send queues frame, which is shared and immutable. True: it became dirty and the caller must Flush it later.
	// False: it is dirty already, blocked or gone.
	Send(frame []byte) bool
	// Flush writes all that is pending in one write.
	Flush()
	// Shard is a stable number chosen by the connection layer, usually its poller; the hub takes it modulo its shards.
	Shard() int
}

// Subscription is one (subscriber, channel) membership, embedded by its owner, so that subscribing allocates nothing. The
// zero value with Sub and Encoding set is ready. It must not be copied or put back into a pool: the owning shard may still
// use it for one turn after Unsubscribe. It may be subscribed again at once if Sub and Encoding stay the same.
type Subscription struct {
	Sub Subscriber // set before Subscribe, constant thereafter

	branch  atomic.Pointer[branch]  // non-nil from Subscribe to Unsubscribe; the swap to nil makes leaving exactly-once
	special atomic.Pointer[special] // nil: every batch is sent as it is, the fast path
	index   uint32                  // place in branch.subs; the shard's

	Encoding Encoding // set before Subscribe, constant thereafter
	marks    marks    // the shard's
}

// Channel is the name of the channel subscribed to, "" if none. The string is the hub's own copy, one for all subscribers of
// the channel: an owner that must remember the name should keep this one. Any goroutine, never blocks.
func (s *Subscription) Channel() string {
	if b := s.branch.Load(); b != nil {
		return b.topic.name
	}
	return ""
}
