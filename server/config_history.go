package main

import (
	"errors"
	"fmt"
	"time"

	"throng/broker"
	"throng/server/channel"
	"throng/server/history"
)

// HistoryConfig is the history: section: how NATS keeps what is published in namespaces with history_size, and what this node
// keeps of it in memory. Storage, replicas and max_bytes can be overruled by a namespace.
type HistoryConfig struct {
	// Storage is "file" or "memory". Default "file".
	Storage string `yaml:"storage"`
	// Replicas in a cluster of NATS servers: 1, 3 or 5. Default 1; with three NATS servers or more use 3.
	Replicas int `yaml:"replicas"`
	// MaxBytes bounds the stream of each namespace; its oldest publications go first. NATS sets that much of its store aside.
	// Default 256 MiB: a stream without a bound fills the disk, after which JetStream stops until its server is restarted.
	MaxBytes int64 `yaml:"max_bytes"`
	// Cluster and Tags say where NATS places the streams. Default: anywhere.
	Cluster string   `yaml:"placement_cluster"`
	Tags    []string `yaml:"placement_tags"`
	// IdempotencyWindow is how long a repeated idempotency_key is recognised. Default 5m.
	IdempotencyWindow time.Duration `yaml:"idempotency_window"`
	// AckTimeout is how long a publication may wait for NATS to store it. Default 2s.
	AckTimeout time.Duration `yaml:"ack_timeout"`
	// ReadTimeout bounds one question to NATS. Default 5s.
	ReadTimeout time.Duration `yaml:"read_timeout"`
	// TailBytes bounds what this node keeps in memory of channels in use, for clients that come back. Default 64 MiB.
	TailBytes int `yaml:"tail_bytes"`
	// CheckInterval is how often an idle channel's position is compared with NATS, many channels at once. Default 40s.
	CheckInterval time.Duration `yaml:"position_check_interval"`
	// RepairTimeout is how long a gap may take to be read back before subscribers are told. Default 15s.
	RepairTimeout time.Duration `yaml:"repair_timeout"`
}

const (
	defaultIdempotency  = 5 * time.Minute
	defaultStreamBytes  = 256 << 20
	defaultHistoryAck   = 2 * time.Second
	defaultHistoryRead  = 5 * time.Second
	defaultTailBytes    = 64 << 20
	defaultCheck        = 40 * time.Second
	defaultRepair       = 15 * time.Second
	smallestStreamBytes = 1 << 20
)

func defaultHistory() HistoryConfig {
	return HistoryConfig{
		Storage: "file", Replicas: 1, MaxBytes: defaultStreamBytes, IdempotencyWindow: defaultIdempotency, AckTimeout: defaultHistoryAck,
		ReadTimeout: defaultHistoryRead, TailBytes: defaultTailBytes, CheckInterval: defaultCheck, RepairTimeout: defaultRepair,
	}
}

// validate says what is wrong, all of it, each with its field.
func (c *HistoryConfig) validate() error {
	var errs []error
	bad := func(wrong bool, field, value, fix string) {
		if wrong {
			errs = append(errs, &channel.FieldError{Field: "history." + field, Value: value, Fix: fix})
		}
	}
	bad(c.Storage != "file" && c.Storage != "memory", "storage", fmt.Sprintf("%q", c.Storage), "must be file or memory")
	bad(c.Replicas < 1 || c.Replicas > 5 || c.Replicas%2 == 0, "replicas", fmt.Sprint(c.Replicas), "must be 1, 3 or 5")
	bad(c.MaxBytes < smallestStreamBytes, "max_bytes", fmt.Sprint(c.MaxBytes), "must be a number of bytes, 1048576 at least")
	bad(c.TailBytes < 1, "tail_bytes", fmt.Sprint(c.TailBytes), "must be a number of bytes; 67108864 is usual")
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"idempotency_window", c.IdempotencyWindow}, {"ack_timeout", c.AckTimeout}, {"read_timeout", c.ReadTimeout},
		{"position_check_interval", c.CheckInterval}, {"repair_timeout", c.RepairTimeout},
	} {
		bad(d.value < 100*time.Millisecond, d.field, d.value.String(), "must be 100ms at least")
	}
	return errors.Join(errs...)
}

// streams are the streams of the namespaces that keep history.
func (c *HistoryConfig) streams(rules *channel.Rules) []broker.StreamConfig {
	var out []broker.StreamConfig
	for _, ns := range rules.Kept() {
		s := broker.StreamConfig{
			Namespace: ns.Name, Size: ns.HistorySize, MaxAge: ns.HistoryMetaTTL, DuplicateWindow: min(c.IdempotencyWindow, ns.HistoryMetaTTL),
			Storage: c.Storage, Replicas: c.Replicas, MaxBytes: c.MaxBytes, Cluster: c.Cluster, Tags: c.Tags,
		}
		if ns.HistoryStorage != "" {
			s.Storage = ns.HistoryStorage
		}
		if ns.HistoryReplicas != 0 {
			s.Replicas = ns.HistoryReplicas
		}
		if ns.HistoryMaxBytes != 0 {
			s.MaxBytes = ns.HistoryMaxBytes
		}
		out = append(out, s)
	}
	return out
}

// service is the part that this node's memory of streams takes.
func (c *HistoryConfig) service() history.Config {
	return history.Config{TailBytes: c.TailBytes, CheckInterval: c.CheckInterval, RepairTimeout: c.RepairTimeout}
}
