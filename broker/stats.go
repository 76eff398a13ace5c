package broker

import "sync/atomic"

// LossReason is the closed list of reasons for which a publication does not arrive. String is the metric label.
type LossReason uint8

const (
	// LostQueueFull: refused with ErrBusy.
	LostQueueFull LossReason = iota
	// LostDisconnected: refused with ErrDisconnected, or accepted and found without a link before it was written.
	LostDisconnected
	// LostUnconfirmed: written, but the link died before NATS confirmed reading it. May have arrived all the same:
	// an upper bound.
	LostUnconfirmed
	// LostReaderFull: received, but the reader's channel was full because Handler was too slow.
	LostReaderFull
	// LostOversize: larger than the limit or than NATS takes.
	LostOversize
	// LostBadSubject: the channel name is refused, or a message came on a subject that is no channel's spelling.
	LostBadSubject
	// LostRejected: nats.go refused it for a reason the log gives (for example a server without header support).
	LostRejected
	// LostClosed: published after, or still queued or undelivered at, Close or a Drain that ran out of time.
	LostClosed

	// NumLossReasons is the length of Stats.Lost.
	NumLossReasons = int(iota)
)

var lossNames = [NumLossReasons]string{
	"publish_queue_full", "disconnected", "unconfirmed", "reader_full", "oversize", "bad_subject", "rejected", "closed",
}

func (r LossReason) String() string {
	if int(r) < len(lossNames) {
		return lossNames[r]
	}
	return "unknown"
}

// Stats is a snapshot of a broker. Counters are totals since the start; the others are of this moment.
type Stats struct {
	Published, PublishedBytes uint64                 // handed to NATS; payload bytes
	Delivered, DeliveredBytes uint64                 // given to Handler; payload bytes
	Lost                      [NumLossReasons]uint64 // by LossReason
	Disconnects, Reconnects   uint64                 // of the NATS link; the first connect is neither
	SlowConsumer              uint64                 // times a channel of this node began to overflow its reader, or NATS cut this node as slow
	AsyncErrors               uint64                 // errors NATS reported outside any call (permissions and the like); see the log
	LameDuck                  uint64                 // times the connected server announced its shutdown
	Unwanted                  uint64                 // messages of channels that the wide subscription heard for nothing

	Connected                 bool
	MaxPayload                int64 // bytes; 0 until first connected
	Interest                  int   // channels in force at NATS
	WideInterest              int   // of Interest: heard by the one wide subscription
	NativeInterest            int   // of Interest: on subjects of others
	InterestPending           int   // changes not yet passed to NATS
	QueueMessages, QueueBytes int   // accepted, not yet written
	ReaderMessages            int   // received, waiting for Handler
}

// counters is what the goroutines of a broker count into.
type counters struct {
	published, publishedBytes atomic.Uint64
	delivered, deliveredBytes atomic.Uint64
	lost                      [NumLossReasons]atomic.Uint64
	disconnects, reconnects   atomic.Uint64
	slowConsumer, asyncErrors atomic.Uint64
	lameDuck                  atomic.Uint64
	interest                  atomic.Int64
}

func (c *counters) lose(r LossReason, n uint64) {
	if n > 0 {
		c.lost[r].Add(n)
	}
}

func (c *counters) snapshot() Stats {
	s := Stats{
		Published: c.published.Load(), PublishedBytes: c.publishedBytes.Load(),
		Delivered: c.delivered.Load(), DeliveredBytes: c.deliveredBytes.Load(),
		Disconnects: c.disconnects.Load(), Reconnects: c.reconnects.Load(),
		SlowConsumer: c.slowConsumer.Load(), AsyncErrors: c.asyncErrors.Load(), LameDuck: c.lameDuck.Load(),
		Interest: int(c.interest.Load()),
	}
	for i := range c.lost {
		s.Lost[i] = c.lost[i].Load()
	}
	return s
}
