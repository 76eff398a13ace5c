package broker

import (
	"errors"
	"fmt"
	"time"
)

func (c *StreamsConfig) setDefaults() {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.AckTimeout, 2 * time.Second}, {&c.ReadTimeout, 2 * time.Second},
		{&c.RetryMin, 100 * time.Millisecond}, {&c.RetryMax, 5 * time.Second}, {&c.CheckInterval, 15 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *int
		value int
	}{
		{&c.MaxPending, 65536}, {&c.MaxReads, 32}, {&c.ReadBytes, 1 << 20},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
}

func (c *StreamsConfig) validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxPending", c.MaxPending}, {"MaxReads", c.MaxReads}, {"ReadBytes", c.ReadBytes}, {"Once", int(c.Once)},
		{"AckTimeout", int(c.AckTimeout)}, {"ReadTimeout", int(c.ReadTimeout)}, {"RetryMin", int(c.RetryMin)},
		{"RetryMax", int(c.RetryMax)}, {"CheckInterval", int(c.CheckInterval)},
	} {
		errs = append(errs, checkCount(f.name, f.value))
	}
	if c.Once > 0 && c.Once < leastWindow {
		errs = append(errs, &ConfigError{
			Field: "Once", Value: c.Once.String(), Why: errTooShort, Fix: fmt.Sprintf("give at least %v, or 0 for none", leastWindow),
		})
	}
	return errors.Join(append(errs, validateStreams(c.Streams))...)
}

const (
	defaultWindow = 2 * time.Minute
	leastWindow   = 100 * time.Millisecond // nats-server's
	maxReplicas   = 5                      // nats-server's
)

var errTooShort = errors.New("is too short")

func validateStreams(streams []StreamConfig) error {
	var errs []error
	seen := make(map[string]bool)
	for i := range streams {
		c := &streams[i]
		bad := func(field string, value any, why error, fix string) {
			errs = append(errs, &ConfigError{
				Field: field, Value: fmt.Sprint(value), Why: fmt.Errorf("namespace %q: %w", c.Namespace, why), Fix: fix,
			})
		}
		switch {
		case seen[c.Namespace]:
			bad("Namespace", c.Namespace, errors.New("is given twice"), "give each namespace one stream")
		case len(c.Namespace) > maxNamespace:
			bad("Namespace", c.Namespace, errors.New("is too long"), fmt.Sprintf("give at most %d bytes", maxNamespace))
		}
		seen[c.Namespace] = true
		if c.Size < 1 {
			bad("Size", c.Size, errors.New("keeps nothing"), "give at least 1, or leave the stream out")
		}
		if c.MaxAge < time.Second {
			bad("MaxAge", c.MaxAge, errTooShort, "give at least 1s")
		}
		if c.DuplicateWindow != 0 && (c.DuplicateWindow < leastWindow || c.DuplicateWindow > c.MaxAge) {
			bad("DuplicateWindow", c.DuplicateWindow, errors.New("NATS does not take it"), fmt.Sprintf("give %v to MaxAge", leastWindow))
		}
		if c.MaxBytes < 0 {
			bad("MaxBytes", c.MaxBytes, errors.New("is negative"), "give a positive number, or 0 for no limit")
		}
		if c.Replicas < 0 || c.Replicas > maxReplicas {
			bad("Replicas", c.Replicas, errors.New("NATS does not take it"), "give 1, 3 or 5")
		}
		if c.Storage != "" && c.Storage != "file" && c.Storage != "memory" {
			bad("Storage", c.Storage, errors.New("is unknown"), `give "file" or "memory"`)
		}
	}
	return errors.Join(errs...)
}

func (c *StreamConfig) setDefaults() {
	if c.DuplicateWindow == 0 {
		c.DuplicateWindow = min(defaultWindow, c.MaxAge)
	}
	c.Replicas = max(c.Replicas, 1)
	if c.Storage == "" {
		c.Storage = "file"
	}
}
