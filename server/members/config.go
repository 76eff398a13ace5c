package members

import (
	"errors"
	"fmt"
	"time"
)

// Config bounds a Table. A zero field takes its default.
type Config struct {
	// MaxChannel is how many members on other nodes are kept of one channel. Beyond it the channel's joins and leaves are passed
	// on as they come, and a node that dies takes its members along silently. Default 10,000: to more, joins and leaves are
	// noise.
	MaxChannel int
	// MaxBytes bounds the memory for members, all channels together. Default 64 MiB: about 150,000 members with small infos.
	MaxBytes int64
	// SeedInterval is the pause before each question to other nodes. Default 100 ms: long enough for a storm of new
	// subscriptions to share questions, short beside the seconds it takes to miss a node.
	SeedInterval time.Duration
	// SeedChannels is how many channels one question is about. Default 256.
	SeedChannels int
	// SeedTimeout is how long an answer is waited for. Default 3 s.
	SeedTimeout time.Duration
	// SeedRetry is when a question that not all nodes answered is put again. Default 5 s. After SeedTries (default 5) the
	// channel makes do with what is known.
	SeedRetry time.Duration
	SeedTries int
	// PollInterval is how often the list of nodes is looked at. Default 1 s.
	PollInterval time.Duration
	// StrangerGrace is how long a node may speak without the control plane knowing it. Default 15 s: five heartbeats.
	StrangerGrace time.Duration
	// Linger is how long the hub keeps a channel that nobody listens to; it must be the hub's Config.InterestLinger. A roster
	// lives half as long and needs no seed when clients come back. Default 0: it needs one.
	Linger time.Duration
}

func (c Config) withDefaults() Config {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.SeedInterval, 100 * time.Millisecond}, {&c.SeedTimeout, 3 * time.Second}, {&c.SeedRetry, 5 * time.Second},
		{&c.PollInterval, time.Second}, {&c.StrangerGrace, 15 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *int
		value int
	}{{&c.MaxChannel, 10_000}, {&c.SeedChannels, 256}, {&c.SeedTries, 5}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	return c
}

// Validate says what is wrong with c, all of it, or returns nil.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxChannel", int64(c.MaxChannel)}, {"MaxBytes", c.MaxBytes}, {"SeedInterval", int64(c.SeedInterval)},
		{"SeedChannels", int64(c.SeedChannels)}, {"SeedTimeout", int64(c.SeedTimeout)}, {"SeedRetry", int64(c.SeedRetry)},
		{"SeedTries", int64(c.SeedTries)}, {"PollInterval", int64(c.PollInterval)}, {"StrangerGrace", int64(c.StrangerGrace)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("members: %s %d: must not be negative", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}
