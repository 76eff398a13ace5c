package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Streams is the stored half of the broker: publications that JetStream keeps, numbers and acknowledges, and reading
// them back. It shares the connection, the publish queue and the publisher goroutine of its NATS.
//
// One JetStream stream per namespace that keeps history, and a small one in memory for StoreOnce:
//
//	stream                | subjects                                        | republished to
//	----------------------|-------------------------------------------------|----------------------
//	<prefix>_hist_<ns>    | <prefix>.hist.<ns>.<channel>, <prefix>.epoch.<ns> | <prefix>.live.<channel>
//	<prefix>_once         | <prefix>.once                                   | -
//
// so that a stored publication reaches the readers of every node on the channel's ordinary live subject, as a Message
// with Offset > 0. The namespace is one token, escaped like a channel, "%" for channels without a namespace.
//
// An offset is the stream's sequence: it grows, and is not dense within one channel. The epoch is a random id that is
// itself stored in the stream, and is therefore lost exactly when the stream's data are; it is never "" nor "_".
//
// Store, StoreOnce, Status and Stats may be called by any goroutine and never block; the others wait for NATS.
type Streams struct {
	n        *NATS
	cfg      StreamsConfig
	acks     *ackTable
	ackInbox string // with a dot at the end
	inbox    string // of answers to reads, likewise
	slots    chan struct{}
	count    streamCounters

	known atomic.Pointer[map[string]*stream] // by namespace; the map is never changed
	once  atomic.Pointer[stream]             // nil when StoreOnce is off
	link  atomic.Pointer[linkLife]
	look  atomic.Pointer[context.CancelFunc] // ends the manager's questions about the stream it is looking at; nil: at none

	mu    sync.Mutex // leaf
	calls map[uint64]chan *nats.Msg
	last  uint64 // id of the latest call

	wake chan struct{} // capacity 1: the manager has something to look at
	stop chan struct{}
	subs []*nats.Subscription
	ends sync.WaitGroup // goroutines and callbacks
}

// StreamConfig says how the publications of one namespace are kept.
type StreamConfig struct {
	// Namespace the stream is for; "" for the channels without one.
	Namespace string
	// Size is how many publications of one channel can be asked for. One more is stored, which proves continuity.
	Size int
	// MaxAge is how long a publication is stored: the time for which a client's position stays usable.
	MaxAge time.Duration
	// DuplicateWindow is how long a repeated StorePublication.ID is recognised. Default 2 min, at most MaxAge.
	DuplicateWindow time.Duration
	// MaxBytes bounds the stream; the oldest publications go first. Default 0: bounded by the server's store only.
	MaxBytes int64
	// Replicas in a cluster of NATS servers. Default 1; odd, at most 5.
	Replicas int
	// Storage is "file" or "memory". Default "file". An existing stream cannot be moved from the one to the other.
	Storage string
	// Cluster and Tags say where NATS places the stream. Default: anywhere.
	Cluster string
	Tags    []string
}

// StreamsConfig says which streams there are and within which bounds they are used. Zero values mean the defaults named
// here.
type StreamsConfig struct {
	// Streams, one per namespace with history.
	Streams []StreamConfig
	// Once is how long StoreOnce remembers an id. Default 0: StoreOnce is refused with ErrNoStream.
	Once time.Duration
	// OnDoubt is told when messages of a namespace, or of all ("", which the namespace of channels without one shares), may
	// have been missed by this node: after a connect, when this node was too slow, when the stream elected a leader, was
	// deleted or made anew. Called by goroutines of the broker: it must not block. Nil if nobody wants to know.
	OnDoubt func(namespace string)
	// OnLost is told when the link is lost, and for how long nothing had come from NATS by then: whoever counts on being told
	// of gaps in time has been without for so long already. Called as OnDoubt, which follows when the link is back.
	OnLost func(silent time.Duration)

	// AckTimeout is how long a stored publication may wait for its acknowledgement, from its acceptance on. Default 2 s:
	// a client is told in time to try again (reliability.md F18).
	AckTimeout time.Duration
	// MaxPending bounds the publications that wait for an acknowledgement; beyond it ErrBusy, as while those of the same
	// stream take longer than half of AckTimeout. Default 65,536, as
	// Limits.QueueMessages: more than a second of full speed.
	MaxPending int
	// ReadTimeout bounds one question to JetStream, beside the caller's context. Default 2 s.
	ReadTimeout time.Duration
	// MaxReads bounds the questions under way at once; further callers wait. Default 32: each may bring ReadBytes.
	MaxReads int
	// ReadBytes bounds one answer of JetStream, in bytes of stored messages, when ReadQuery.MaxBytes does not. Default
	// 1 MiB.
	ReadBytes int
	// RetryMin and RetryMax bound the wait between attempts to create a stream while NATS or JetStream is away; it doubles
	// from the one to the other. Defaults 100 ms and 5 s.
	RetryMin, RetryMax time.Duration
	// CheckInterval is the time between looks at the state of each stream, of which Status tells. Default 15 s.
	CheckInterval time.Duration
}

// StorePublication is a publication to be stored. Everything is copied by Store.
type StorePublication struct {
	Namespace, Channel string
	Data               []byte
	Meta               []byte // one line of text, as in PublishMeta; may be empty
	Binary             bool
	// ID makes a repetition recognisable within StreamConfig.DuplicateWindow. It counts per channel. "" for none.
	ID string
	// ExpectLast makes NATS refuse the publication, with ErrConflict, unless the last stored message of the channel has
	// LastOffset; 0 for none at all.
	ExpectLast bool
	LastOffset uint64
	// Done is told the outcome exactly once when Store returned nil, and never otherwise. It is called by goroutines of
	// the broker, possibly before Store returns: it must not block. Nil if nobody wants to know.
	Done func(Stored)
}

// Stored is the outcome of a Store.
type Stored struct {
	Offset    uint64
	Epoch     string
	Duplicate bool // the ID had been stored before, with this Offset
	// Err wraps ErrUnconfirmed, ErrStoreFull, ErrNoStream, ErrConflict, ErrTooBig, ErrDisconnected or ErrClosed; all
	// but the first mean that nothing was stored.
	Err error
}

// Errors of Streams, beside those of Publish.
var (
	// ErrUnconfirmed: no acknowledgement came in time, or the link was lost before it came. The publication may or may not
	// be stored; a repetition with the same ID stores it once.
	ErrUnconfirmed = errors.New("broker: publication not acknowledged by NATS")
	// ErrStoreFull: a limit on storage is reached.
	ErrStoreFull = errors.New("broker: NATS store is full")
	// ErrNoStream: the namespace has no stream, or not now.
	ErrNoStream = errors.New("broker: no stream")
	// ErrConflict: StorePublication.ExpectLast did not hold.
	ErrConflict = errors.New("broker: another publication came first")
)

// Tops are the positions of several channels of one namespace.
type Tops struct {
	Epoch string
	Last  uint64   // of the whole stream
	Top   []uint64 // in the order asked for: offset of the channel's newest stored message, 0 when none is stored
}

// ReadQuery asks for stored publications of one channel.
type ReadQuery struct {
	Namespace, Channel string
	Since              uint64 // offsets above this one
	Limit              int    // at most so many messages; 0: none, only Epoch, Last and Top
	MaxBytes           int    // of messages, about; 0: StreamsConfig.ReadBytes
}

// Page is the answer to a ReadQuery.
type Page struct {
	Epoch    string
	Last     uint64          // of the whole stream
	Top      uint64          // offset of the channel's newest stored message, 0 when none is stored
	Messages []StoredMessage // offset > Since, oldest first
	More     bool            // stopped before Top
	// SinceStored says that the message with the offset Since is stored and is the channel's.
	SinceStored bool
	// Oldest is the offset of the channel's oldest stored message, 0 for none; Count is how many are stored; StreamFirst
	// is the offset of the oldest stored channel message of the whole stream, Last+1 when there is none. Known only when
	// SinceStored is false. Where replicas disagree, or the number of messages kept per channel has changed meanwhile,
	// StreamFirst errs on the high side: it never makes a gap look whole.
	Oldest      uint64
	Count       int
	StreamFirst uint64
}

// StoredMessage is one message of a stream. Data belongs to the receiver. Meta is "" and Binary false for a message that
// some other program put into the stream.
type StoredMessage struct {
	Offset uint64
	Time   time.Time // of storing, by the NATS server's clock
	Data   []byte
	Meta   string
	Binary bool
}

// StreamStatus is the state of one stream when it was last looked at.
type StreamStatus struct {
	Namespace string
	Stream    string // its name in NATS
	Ready     bool
	Why       string // why it is not ready, and what to do, for an operator
	// Mismatches are settings that NATS cannot or may not change on the existing stream, one sentence each. The stream is used as
	// it is.
	Mismatches []string
	Epoch      string
	Storage    string
	Replicas   int
	Leader     string // server name; "" without a cluster
	First      uint64
	Last       uint64
	Messages   uint64
	Bytes      uint64
	MaxBytes   int64 // -1 or 0: no limit
	Checked    time.Time
}

// Streams starts the stored half of the broker. It returns at once: creating and updating streams goes on in a goroutine
// for as long as it takes, and Status says why it does. One per broker; it ends with the broker's Close or Drain.
// Errors: *ConfigError, ErrClosed.
func (n *NATS) Streams(cfg StreamsConfig) (*Streams, error) { return startStreams(n, cfg) }

// Configure replaces the list of streams (on SIGHUP). A stream that is no longer listed stays in NATS with all it holds.
// Returns at once. Errors: *ConfigError, and nothing is changed then.
func (s *Streams) Configure(streams []StreamConfig) error { return s.configure(streams) }

// Store queues a publication for its namespace's stream, in order with the Publish calls of the same goroutine. Never
// blocks. Errors: ErrBadChannel, ErrBadMeta, ErrTooBig, ErrBusy, ErrDisconnected, ErrNoStream, ErrClosed.
func (s *Streams) Store(p *StorePublication) error { return s.refused(s.store(p)) }

// StoreOnce remembers id for a channel whose publications are not stored; Stored.Duplicate tells that it was remembered
// already. Offset and Epoch mean nothing. Never blocks. done as StorePublication.Done, errors as Store.
func (s *Streams) StoreOnce(channel, id string, done func(Stored)) error {
	return s.refused(s.storeOnce(channel, id, done))
}

// Tops reads where channels of a namespace stand, with one question per 1,024 of them. An answer that lies behind what this
// node knows to be stored is asked for again until ctx ends. Errors: ErrNoStream, ErrBadChannel, ErrDisconnected, ErrClosed, or the context's.
func (s *Streams) Tops(ctx context.Context, namespace string, channels []string) (Tops, error) {
	t, err := s.tops(ctx, namespace, channels)
	return t, s.unread(err)
}

// Read reads one channel, oldest message first. Repetition and errors as Tops.
func (s *Streams) Read(ctx context.Context, q ReadQuery) (Page, error) {
	p, err := s.read(ctx, q)
	return p, s.unread(err)
}

// Purge removes the stored messages of a channel with offsets below the given one. Errors as Tops.
func (s *Streams) Purge(ctx context.Context, namespace, channel string, below uint64) error {
	return s.unread(s.purge(ctx, namespace, channel, below))
}

// Status tells of every stream, by namespace. A snapshot; never blocks.
func (s *Streams) Status() []StreamStatus { return s.statuses() }
