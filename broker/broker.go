package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Message is one publication as it arrives. Data belongs to the receiver and is shared with nobody; Channel may
// share its memory with nothing the receiver can see change. Binary is false for text, which nobody has validated:
// a foreign NATS publisher may send any bytes.
type Message struct {
	Channel string
	Data    []byte
	Meta    string // the line PublishMeta was given; "" for every other publication
	Binary  bool

	// Set for a publication that a stream stored and republished only; Offset 0 says that it is live only.
	Offset    uint64    // its number in the stream of Namespace
	Previous  uint64    // Offset of the channel's message stored before it, 0 when there was none any more
	Namespace string    // as in StreamConfig
	Time      time.Time // of storing, by the NATS server's clock

	// Concrete is the publication's own channel where Channel stands for many (a wildcard on subjects of others, see
	// Native); "" otherwise.
	Concrete string
}

// Handler takes the publications of this node's channels. It is called by the reader goroutines, always by the same
// one for one channel, so a channel's messages come one at a time and in order. It may block: that is the
// back-pressure, and when a reader's channel is full further messages are dropped and counted (LostReaderFull).
// It must return in the end, because Close and Drain wait for it.
type Handler func(m Message)

// Broker is the contract that Memory and NATS keep and brokertest.Test checks.
//
// Publish, Subscribe, Unsubscribe, CheckChannel, Ready and Stats may be called by any goroutine at any time and
// never block. Sync, Drain and Close block and are not for pollers.
type Broker interface {
	// Publish queues one publication. The data is copied (one allocation, the only one on the caller's side).
	// Calls of one goroutine are published in call order, also across channels and relative to Subscribe: a node
	// that subscribed a channel before publishing on it hears itself.
	// Errors: ErrBadChannel, ErrTooBig, ErrBusy, ErrDisconnected, ErrClosed; each refusal is counted as lost.
	Publish(channel string, data []byte, binary bool) error

	// PublishMeta is Publish of text with one line of text beside it, which arrives as Message.Meta: what the data itself
	// must not be changed for. Both are copied, with one allocation. Errors besides Publish's: ErrBadMeta.
	PublishMeta(channel string, data, meta []byte) error

	// Subscribe declares interest in a channel, Unsubscribe ends it. Both set a level, are idempotent and take
	// effect soon, in order with this node's publications; the last call wins. A channel that CheckChannel
	// refuses is counted (LostBadSubject), logged and otherwise ignored. A message already under way may still be
	// handled after Unsubscribe.
	Subscribe(channel string)
	Unsubscribe(channel string)

	// CheckChannel says whether the name can be a channel here; the error wraps ErrBadChannel. No allocation when
	// the name is good.
	CheckChannel(channel string) error

	// Ready is nil when a publication made now would be accepted and interest is in force; otherwise it says why
	// not, in words fit for an operator. Errors wrap ErrDisconnected or ErrClosed.
	Ready() error

	// Sync blocks until everything this node asked for before the call, interest and publications, has been
	// processed by the NATS server this node is connected to, and what that server had sent to this node by then is in the
	// readers' channels. (Servers of a cluster learn of new interest a moment later.)
	// Errors: ErrDisconnected, ErrClosed, or the context's.
	Sync(ctx context.Context) error

	// Drain refuses new publications, publishes what is queued, has NATS confirm it, hands every message already
	// received to Handler, and closes. When ctx ends first it closes at once, counts what was left, and returns
	// the context's error. The broker is closed in every case.
	Drain(ctx context.Context) error

	// Close closes at once; what is still queued or undelivered is counted (LostClosed). It returns when Handler
	// is no longer running. Idempotent.
	Close()

	// Stats is a snapshot; its counters only grow.
	Stats() Stats
}

// The errors of the contract. Test with errors.Is: they come wrapped with details.
var (
	ErrBusy         = errors.New("broker: publish queue full")
	ErrDisconnected = errors.New("broker: not connected to NATS")
	ErrClosed       = errors.New("broker: closed")
	ErrTooBig       = errors.New("broker: message too big")
	ErrBadChannel   = errors.New("broker: bad channel name")
	ErrBadMeta      = errors.New("broker: meta is empty or no single line")
)

// ConfigError says which field of a Config is wrong, what it holds, and what to do about it. The caller that maps
// fields to flags can find the field by name.
type ConfigError struct {
	Field string // Go name in Config, Limits or EmbeddedConfig, e.g. "StoreDir"
	Value string // as given; never a secret
	Why   error  // what is wrong
	Fix   string // what to do
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("broker: %s %q: %v; %s", e.Field, e.Value, e.Why, e.Fix)
}

func (e *ConfigError) Unwrap() error { return e.Why }

// Limits bound what a broker may hold. Zero means the default.
type Limits struct {
	// MaxChannelBytes is the longest channel name, in bytes. Default 255 (Centrifugo's default); at most 1000,
	// because escaping triples the worst name and a NATS protocol line ends at 4096 bytes, beyond which the server
	// cuts the connection of the whole node.
	MaxChannelBytes int
	// MaxMessageBytes is the largest payload Publish takes, in bytes. Default: what the NATS server takes (1 MiB
	// unless configured); a larger value is cut down to that, and to QueueBytes.
	MaxMessageBytes int
	// QueueMessages and QueueBytes bound the publications accepted but not yet written, by number and by payload
	// bytes. Defaults 65,536 and 16 MiB: about half a second of full speed for small messages, and a bounded price
	// for a NATS that stalls. Full means ErrBusy.
	QueueMessages int
	QueueBytes    int
	// Readers is the number of reader goroutines. Default GOMAXPROCS: Handler work is CPU work. Channels are
	// spread over them by hash.
	Readers int
	// ReaderMessages bounds each reader's channel, by number of messages. Default 16,384: a burst of one message
	// from each of 10,000 clients fits, on one channel. nats.go cannot bound a shared channel by bytes, so the
	// worst case is Readers x ReaderMessages x the server's maximum payload; the usual one is a few MiB.
	ReaderMessages int
	// WideInterest is the number of channels from which on new ones are heard by one NATS subscription on all of Throng's
	// channels, instead of one each: that saves about 1,000 bytes for each, most of it in the NATS server, and costs a look at
	// every message of the whole cluster. Back at half of it. Default 50,000, which is 50 MB; math.MaxInt for never.
	WideInterest int
}

const (
	defaultMaxChannelBytes = 255
	maxMaxChannelBytes     = 1000
	defaultMaxMessageBytes = 1 << 20
	defaultQueueMessages   = 65536
	defaultQueueBytes      = 16 << 20
	defaultReaderMessages  = 16384
	defaultWideInterest    = 50_000
)

func (l *Limits) setDefaults() {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.MaxChannelBytes, defaultMaxChannelBytes},
		{&l.MaxMessageBytes, defaultMaxMessageBytes},
		{&l.QueueMessages, defaultQueueMessages},
		{&l.QueueBytes, defaultQueueBytes},
		{&l.Readers, runtime.GOMAXPROCS(0)},
		{&l.ReaderMessages, defaultReaderMessages},
		{&l.WideInterest, defaultWideInterest},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	l.MaxMessageBytes = min(l.MaxMessageBytes, l.QueueBytes) // what can never fit is too big, not "busy"
}

func (l *Limits) validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxChannelBytes", l.MaxChannelBytes},
		{"MaxMessageBytes", l.MaxMessageBytes},
		{"QueueMessages", l.QueueMessages},
		{"QueueBytes", l.QueueBytes},
		{"Readers", l.Readers},
		{"ReaderMessages", l.ReaderMessages}, {"WideInterest", l.WideInterest},
	} {
		errs = append(errs, checkCount(f.name, f.value))
	}
	if l.MaxChannelBytes > maxMaxChannelBytes {
		errs = append(errs, &ConfigError{
			Field: "MaxChannelBytes", Value: fmt.Sprint(l.MaxChannelBytes),
			Why: errors.New("escaped names would not fit a NATS protocol line"),
			Fix: fmt.Sprintf("give at most %d", maxMaxChannelBytes),
		})
	}
	return errors.Join(errs...)
}

func checkCount(field string, value int) error {
	if value >= 0 {
		return nil
	}
	return &ConfigError{
		Field: field, Value: fmt.Sprint(value),
		Why: errors.New("is negative"), Fix: "give a positive number, or 0 for the default",
	}
}
