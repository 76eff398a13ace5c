package history

import (
	"context"
	"errors"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

// Store keeps the publications of channels with history: one stream per namespace, whose sequence numbers are the offsets.
// Implementations must be safe for concurrent use. Errors of Store and StoreOnce, and of what they report, wrap hub.ErrBusy,
// hub.ErrTooBig, hub.ErrDisconnected, hub.ErrClosed, ErrNoStream, ErrStoreFull, ErrUnconfirmed or ErrConflict where these fit.
type Store interface {
	// Tops reads where channels of one namespace stand. An answer older than what this node has seen is not given.
	Tops(ctx context.Context, namespace string, channels []string) (Tops, error)
	// Read reads one channel forward. What Page says beside its Messages must have been read after them: a proof that
	// nothing was removed holds for messages that were read before it.
	Read(ctx context.Context, q ReadQuery) (Page, error)
	// Store stores p and never blocks. p.Done is called exactly once if it returned nil, on a goroutine that must not block.
	// It keeps nothing of p's bytes.
	Store(p *StorePublication) error
	// StoreOnce remembers id for a channel without history for the time of idempotency: Stored.Duplicate if it was known.
	StoreOnce(channel, id string, done func(Stored)) error
	// Purge removes the messages of a channel with offsets less than below.
	Purge(ctx context.Context, namespace, channel string, below uint64) error
}

// Errors that a Store and its adapter report beside those of the hub.
var (
	ErrNoStream    = errors.New("history: the namespace has no stream now")
	ErrStoreFull   = errors.New("history: the store is full")
	ErrUnconfirmed = errors.New("history: not confirmed in time, may or may not be stored")
	ErrConflict    = errors.New("history: another publication came first")
)

// Tops is where channels stand.
type Tops struct {
	Epoch string
	Last  uint64   // last sequence of the stream
	Top   []uint64 // offset of each channel's newest stored message, in the order asked for; 0: none stored
}

// ReadQuery asks for the messages of a channel after Since.
type ReadQuery struct {
	Namespace, Channel string
	Since              uint64
	Limit              int // messages at most
	MaxBytes           int // of data at most, one message may exceed it
}

// Page is the answer to a ReadQuery.
type Page struct {
	Epoch       string
	Last        uint64          // last sequence of the stream
	Top         uint64          // of the channel, 0: nothing stored
	Messages    []StoredMessage // oldest first, all with Offset > Since
	More        bool            // stopped before Top
	SinceStored bool            // the message with offset Since is stored
	Oldest      uint64          // of the channel, 0: nothing stored, or not asked since SinceStored
	Count       int             // messages of the channel; told unless SinceStored
	StreamFirst uint64          // oldest stored message of any channel, Last+1 if there is none; told unless SinceStored
}

// StoredMessage is one message of a Page. Data is not changed any more.
type StoredMessage struct {
	Offset uint64
	Time   time.Time
	Data   []byte
	Meta   string // the line stored with it, "" for none
	Binary bool
}

// StorePublication is one message to store.
type StorePublication struct {
	Namespace, Channel string
	Data, Meta         []byte
	Binary             bool
	ID                 string // of idempotency, within the channel; "" for none
	ExpectLast         bool   // store only if the channel's newest message has offset LastOffset (0: it has none)
	LastOffset         uint64
	Done               func(Stored)
}

// Stored is the outcome of a Store or StoreOnce.
type Stored struct {
	Offset    uint64
	Epoch     string
	Duplicate bool // stored before under this ID; Offset is that one's
	Err       error
}

// Hub is what fans publications out.
type Hub interface {
	// Deliver hands p to the subscribers of its channel; it may wait. Never called twice at once for one channel of the store.
	Deliver(p hub.Publication)
	// Cut ends every positioned subscription of channel that exists when it is called, after what was delivered before.
	Cut(channel string)
}

// Parts is what a Service works with.
type Parts struct {
	Store Store
	Hub   Hub

	// Sync returns nil when the interest that this node declared before the call is in force.
	Sync func(ctx context.Context) error

	// Live publishes into a channel without history; it never blocks and copies. Its errors are the hub's.
	Live func(channel string, data []byte, meta *wire.Meta, binary bool) error

	// Clock tells wall time, for history_ttl; nil: time.Now.
	Clock func() time.Time
}
