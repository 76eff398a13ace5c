package hub

import (
	"runtime"
	"time"
)

// Config holds the sizes and times of a Hub. A zero field takes its default; New does not change the caller's copy.
type Config struct {
	// Shards is the number of fan-out goroutines. Default GOMAXPROCS: fan-out is CPU and system calls, never waiting.
	Shards int

	// MailboxLen is how many publications one shard may hold, queued or being fanned out, before Deliver waits.
	// Default 1,024: enough to join what arrives during one turn, small enough that the broker notices within a second.
	MailboxLen int

	// MailboxBytes is the same bound in bytes of data; one publication more may exceed it. Default 8 MiB, so that
	// 1,024 publications of the largest size do not hold 64 MiB per shard.
	MailboxBytes int

	// ChannelLen is how many publications of one channel one shard may hold. Default a quarter of MailboxLen: a flooded
	// channel stops its own reader while those of other channels still find room.
	ChannelLen int

	// BatchBytes bounds the data joined into one buffer, in bytes; a single larger publication goes alone. Default 64 KiB:
	// a write of that size costs little more per byte than a larger one, and an outbox limit is not met in one step.
	BatchBytes int

	// TurnSubscribers bounds one turn: sends plus batches until the shard flushes and looks at its mailbox again.
	// Default 512, about 5 ms of write(2); between 256 and 16,384 BenchmarkTurn shows no difference, but a subscriber of many
	// channels is flushed once per turn, so much shorter ones would give away writes. See the package comment.
	TurnSubscribers int

	// GatherSubscribers is from how many subscribers on an idle shard a fan-out waits GatherDelay for more publications to join
	// it. Default 1,000: writing to so many takes 5 ms and more.
	GatherSubscribers int

	// GatherDelay is that wait. Default 100 us, about the time a burst needs from the publisher's socket through NATS to here
	// and 2 % of the shortest fan-out it delays; it saves a write per subscriber. Negative: no wait.
	GatherDelay time.Duration

	// InterestLinger is how long the node stays subscribed to a channel after its last subscriber left, so that reconnects
	// do not flap at the broker. Default 2 s: clients come back within a second or not soon. Negative: no linger.
	// A channel is let go between one and one and a quarter lingers after the last leave.
	InterestLinger time.Duration

	// InterestStripes is the number of locks and maps of the interest table. Default 256: collisions of a few dozen pollers
	// are rare, and with a million channels one map is small enough to be rebuilt under its lock (about 0.3 ms).
	InterestStripes int

	// HoldLen is how many publications a subscription that is not open yet holds; one with more is cut. Default 512: some
	// seconds of a lively channel, more than a read of history takes. They are shared with others that hold them.
	HoldLen int

	// HoldBytes is the same bound in bytes of data. Default 1 MiB.
	HoldBytes int

	// Encoders make the wire form of a publication, indexed by Encoding. Subscribing with an Encoding that has none panics.
	Encoders [numEncodings]Encoder

	// OnFanout is told how long fan-outs took, from the begin of their turn until the last subscriber was flushed, and how many
	// sends that were: once per turn for all batches that began and ended in it, and once for each batch that ended in it but
	// began in an earlier one. Called by shard goroutines, concurrently; must not block. May be nil.
	OnFanout func(d time.Duration, subscribers int)

	// OnCut is told a positioned subscription that gets nothing more because it would miss something: for Hub.Cut, because
	// it held too much, or because of a panic. Its owner should unsubscribe it; it may have done so already, and even have
	// subscribed it again. Called by the shard goroutine, once per membership; must not block. May be nil.
	OnCut func(s *Subscription)

	// OnPanic is told what an Encoder, a Filter, a Subscriber or OnCut panicked with, and the stack. The batch is lost for the
	// rest of its receivers, of whom the positioned ones are cut; nothing else is. Called by shard goroutines, concurrently and
	// as often as it happens; must not block, nor panic. May be nil.
	OnPanic func(v any, stack []byte)
}

const (
	defaultMailboxLen      = 1024
	defaultMailboxBytes    = 8 << 20
	defaultBatchBytes      = 64 << 10
	defaultTurnSubscribers = 512
	defaultGather          = 1000
	defaultGatherDelay     = 100 * time.Microsecond
	defaultInterestLinger  = 2 * time.Second
	defaultHoldLen         = 512
	defaultHoldBytes       = 1 << 20
	defaultStripes         = 256
	maxShards              = 1 << 15 // a branch keeps its shard's and stripe's number in 16 bits
	maxStripes             = 1 << 15
)

func (c Config) withDefaults() Config {
	c.Shards = min(positive(c.Shards, runtime.GOMAXPROCS(0)), maxShards)
	c.MailboxLen = positive(c.MailboxLen, defaultMailboxLen)
	c.MailboxBytes = positive(c.MailboxBytes, defaultMailboxBytes)
	c.ChannelLen = min(positive(c.ChannelLen, max(c.MailboxLen/4, 1)), c.MailboxLen)
	c.BatchBytes = positive(c.BatchBytes, defaultBatchBytes)
	c.TurnSubscribers = positive(c.TurnSubscribers, defaultTurnSubscribers)
	c.GatherSubscribers = positive(c.GatherSubscribers, defaultGather)
	c.HoldLen = positive(c.HoldLen, defaultHoldLen)
	c.HoldBytes = positive(c.HoldBytes, defaultHoldBytes)
	if c.GatherDelay == 0 {
		c.GatherDelay = defaultGatherDelay
	}
	if c.InterestLinger == 0 {
		c.InterestLinger = defaultInterestLinger
	}
	c.InterestStripes = min(positive(c.InterestStripes, defaultStripes), maxStripes)
	return c
}

func positive(v, otherwise int) int {
	if v > 0 {
		return v
	}
	return otherwise
}
