package broker

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"
)

// StoreFailure is the closed list of reasons for which a publication accepted by Store was not acknowledged. String is
// the metric label.
type StoreFailure uint8

const (
	// FailedUnconfirmed: no acknowledgement came; it may or may not be stored.
	FailedUnconfirmed StoreFailure = iota
	// FailedStoreFull: a limit on storage, or a full disk.
	FailedStoreFull
	// FailedNoStream: JetStream or the stream was not there.
	FailedNoStream
	// FailedConflict: StorePublication.ExpectLast did not hold.
	FailedConflict
	// FailedTooBig: larger than NATS or the stream takes.
	FailedTooBig
	// FailedDisconnected: the link went before it was written.
	FailedDisconnected
	// FailedClosed: still queued at Close, or at a Drain that ran out of time.
	FailedClosed
	// FailedBusy: NATS refused it for want of room in its own queues.
	FailedBusy
	// FailedRejected: refused for a reason that the log gives.
	FailedRejected

	// NumStoreFailures is the length of StreamsStats.Failed.
	NumStoreFailures = int(iota)
)

var failureNames = [NumStoreFailures]string{
	"unconfirmed", "store_full", "no_stream", "conflict", "too_big", "disconnected", "closed", "busy", "rejected",
}

func (f StoreFailure) String() string {
	if int(f) < len(failureNames) {
		return failureNames[f]
	}
	return "unknown"
}

var failureErrors = [NumStoreFailures]error{
	ErrUnconfirmed, ErrStoreFull, ErrNoStream, ErrConflict, ErrTooBig, ErrDisconnected, ErrClosed, ErrBusy, nil,
}

func failureOf(err error) StoreFailure {
	for i, known := range failureErrors {
		if known != nil && errors.Is(err, known) {
			return StoreFailure(i)
		}
	}
	return FailedRejected
}

// AckBuckets is the length of StreamsStats.AckBuckets. Bucket i counts acknowledgements that took at most 2^i x 16 us;
// the last counts the rest, beyond 8 s.
const AckBuckets = 21

// StreamsStats is a snapshot. Counters are totals since the start; Pending and ReadsWaiting are of this moment.
type StreamsStats struct {
	Stored, StoredBytes uint64                   // acknowledged, repetitions not included; payload bytes
	Duplicates          uint64                   // acknowledged as stored before
	OnceNew, OnceSeen   uint64                   // the same two, of StoreOnce
	Failed              [NumStoreFailures]uint64 // by StoreFailure
	Refused             [NumStoreFailures]uint64 // by Store and StoreOnce themselves, by the error they returned
	StrayAcks           uint64                   // acknowledgements that came after the publication had been answered as unconfirmed
	AckBuckets          [AckBuckets]uint64       // how long acknowledgements took, from Store on
	AckTime             time.Duration            // all of them together

	Reads, ReadMessages, ReadBytes uint64 // questions to JetStream, and what they brought
	ReadRetries                    uint64 // answers that lay behind what this node knew, or did not fit together
	ReadFailures                   uint64 // of Tops, Read and Purge
	Doubts                         uint64 // times OnDoubt was told
	Epochs                         uint64 // epochs this node began
	StreamFaults                   uint64 // times a stream that was in use turned out unusable

	Pending      int // publications waiting for an acknowledgement, queued ones included
	ReadsWaiting int // questions under way
}

type streamCounters struct {
	storedNew, storedBytes, duplicates atomic.Uint64
	onceNew, onceSeen                  atomic.Uint64
	failed, refused                    [NumStoreFailures]atomic.Uint64
	strayAcks                          atomic.Uint64
	ackBuckets                         [AckBuckets]atomic.Uint64
	ackNanos                           atomic.Int64

	reads, readMessages, readBytes atomic.Uint64
	readRetries, readFailures      atomic.Uint64
	doubts, epochs, faults         atomic.Uint64
}

// stored counts one outcome.
func (c *streamCounters) stored(p *storing, r *Stored) {
	if r.Err != nil {
		c.failed[failureOf(r.Err)].Add(1)
		return
	}
	took := time.Since(p.accepted)
	p.to.lag.Store(int64(took))
	c.ackNanos.Add(int64(took))
	c.ackBuckets[ackBucket(took)].Add(1)
	switch {
	case p.to.once && r.Duplicate:
		c.onceSeen.Add(1)
	case p.to.once:
		c.onceNew.Add(1)
	case r.Duplicate:
		c.duplicates.Add(1)
	default:
		c.storedNew.Add(1)
		c.storedBytes.Add(uint64(p.bytes))
	}
}

func ackBucket(took time.Duration) int {
	us := uint64(max(took, 0)+time.Microsecond-1) / uint64(time.Microsecond)
	if us <= 16 {
		return 0
	}
	return min(bits.Len64(us-1)-4, AckBuckets-1)
}

// Stats is a snapshot; its counters only grow.
func (s *Streams) Stats() StreamsStats {
	c := &s.count
	out := StreamsStats{
		Stored: c.storedNew.Load(), StoredBytes: c.storedBytes.Load(), Duplicates: c.duplicates.Load(),
		OnceNew: c.onceNew.Load(), OnceSeen: c.onceSeen.Load(), StrayAcks: c.strayAcks.Load(),
		AckTime: time.Duration(c.ackNanos.Load()),
		Reads:   c.reads.Load(), ReadMessages: c.readMessages.Load(), ReadBytes: c.readBytes.Load(),
		ReadRetries: c.readRetries.Load(), ReadFailures: c.readFailures.Load(),
		Doubts: c.doubts.Load(), Epochs: c.epochs.Load(), StreamFaults: c.faults.Load(),
		Pending: s.acks.len(), ReadsWaiting: len(s.slots),
	}
	for i := range c.failed {
		out.Failed[i], out.Refused[i] = c.failed[i].Load(), c.refused[i].Load()
	}
	for i := range c.ackBuckets {
		out.AckBuckets[i] = c.ackBuckets[i].Load()
	}
	return out
}
