package history

import "time"

// Config holds the bounds and times of a Service. A zero field takes its default; New does not change the caller's copy.
type Config struct {
	// Linger is how long a line stays after its last subscriber left, so that reconnecting clients are answered from memory.
	// Default 10 s: clients come back within seconds or not soon. Negative: none.
	Linger time.Duration

	// MaxLingering bounds the lines without subscribers. Default 100,000, some 40 MiB beside their tails; beyond it the one
	// that waits longest goes.
	MaxLingering int

	// ReadInterval is the least time between two reads of one channel on behalf of recovering subscribers. Default 100 ms
	// (reliability.md F15). Negative: none.
	ReadInterval time.Duration

	// OpenTimeout bounds how long a Recover waits for the store. Default 4 s, within the SDKs' 5 s for a subscribe command.
	OpenTimeout time.Duration

	// ReadTimeout bounds one request to the store. Default 3 s.
	ReadTimeout time.Duration

	// RepairTimeout is how long a broken chain, or a doubt, may last before the subscribers are told. Default 15 s
	// (reliability.md F7).
	RepairTimeout time.Duration

	// RetryMin and RetryMax bound the wait between attempts to read for a repair; it doubles. Defaults 50 ms and 2 s.
	RetryMin, RetryMax time.Duration

	// CheckInterval is the time between looks whether idle lines still stand where the store does. Default 40 s
	// (centrifuge-protocol.md, 10.6). Negative: none.
	CheckInterval time.Duration

	// EarlyCheck is how long after opening a line is looked at once more: what answered the opening may have lagged. Default
	// 2 s, longer than a follower of a healthy cluster is late.
	EarlyCheck time.Duration

	// CheckBatch is how many channels one request asks for. Default 1,024, what one direct get takes.
	CheckBatch int

	// CheckPace is the least time between two of these requests. Default 10 ms: a million lines in 10 s.
	CheckPace time.Duration

	// DoubtJitter bounds the random wait before all lines of a doubted namespace are re-checked; its epoch is looked at
	// at once. Default 200 ms: all nodes hear of a new leader together.
	DoubtJitter time.Duration

	// TailLen bounds the publications kept in memory per line. Default 300, the recovery limit of Centrifugo.
	TailLen int

	// LineTailBytes bounds them in bytes of data and overhead. Default 256 KiB.
	LineTailBytes int

	// TailBytes bounds all tails together. Default 64 MiB; beyond it the least recently used lines give theirs up.
	TailBytes int

	// PendingLen and PendingBytes bound what waits on one line while it is being repaired. Defaults 1,024 and 1 MiB; what
	// finds no room is read back later.
	PendingLen   int
	PendingBytes int

	// PageLen and PageBytes bound one read of the store, in messages and bytes of data. Defaults 512 and 1 MiB.
	PageLen   int
	PageBytes int

	// RecoverLimit is how many publications a recovery may attach where the request does not say. Default 300.
	RecoverLimit int

	// Workers bounds the goroutines that read the store for lines. Default 32.
	Workers int

	// PublishWorkers bounds the goroutines for publications with a version. Default 16: each waits for acknowledgements.
	PublishWorkers int

	// PublishQueue bounds the publications with a version that wait; beyond it hub.ErrBusy. Default 4,096.
	PublishQueue int

	// Versions bounds the channels whose newest version is remembered, to spare a read. Default 10,000, about 2 MiB.
	Versions int

	// AckTimeout bounds the wait for a store's answer to Remove and to publications with a version, beside the store's own.
	// Default 5 s.
	AckTimeout time.Duration

	// Conflicts is how often a publication with a version, or a Remove, is tried again after another came first. Default 16.
	Conflicts int
}

const sweepInterval = 250 * time.Millisecond // how late the sweeper may be; lingers and checks are counted in seconds

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Linger, 10 * time.Second},
		{&c.ReadInterval, 100 * time.Millisecond},
		{&c.OpenTimeout, 4 * time.Second},
		{&c.ReadTimeout, 3 * time.Second},
		{&c.RepairTimeout, 15 * time.Second},
		{&c.RetryMin, 50 * time.Millisecond},
		{&c.RetryMax, 2 * time.Second},
		{&c.CheckInterval, 40 * time.Second},
		{&c.EarlyCheck, 2 * time.Second},
		{&c.CheckPace, 10 * time.Millisecond},
		{&c.DoubtJitter, 200 * time.Millisecond},
		{&c.AckTimeout, 5 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.MaxLingering, 100_000},
		{&c.CheckBatch, 1024},
		{&c.TailLen, 300},
		{&c.LineTailBytes, 256 << 10},
		{&c.TailBytes, 64 << 20},
		{&c.PendingLen, 1024},
		{&c.PendingBytes, 1 << 20},
		{&c.PageLen, 512},
		{&c.PageBytes, 1 << 20},
		{&c.RecoverLimit, 300},
		{&c.Workers, 32},
		{&c.PublishWorkers, 16},
		{&c.PublishQueue, 4096},
		{&c.Versions, 10_000},
		{&c.Conflicts, 16},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return c
}
