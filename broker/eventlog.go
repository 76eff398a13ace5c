package broker

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// eventLog logs the world's faults, each kind at most once per interval, saying how many it kept back. A NATS that
// flaps, or a foreign publisher that sends rubbish, cannot fill the disk.
type eventLog struct {
	log      *slog.Logger
	interval time.Duration

	mu    sync.Mutex
	kinds map[string]*eventKind // bounded: kinds are constants of this package
}

type eventKind struct {
	last       time.Time
	suppressed int
}

func newEventLog(log *slog.Logger, interval time.Duration) *eventLog {
	return &eventLog{log: log, interval: interval, kinds: make(map[string]*eventKind)}
}

// event logs one event of a kind; the kind is also the message.
func (l *eventLog) event(level slog.Level, kind string, args ...any) {
	l.mu.Lock()
	k := l.kinds[kind]
	if k == nil {
		k = &eventKind{}
		l.kinds[kind] = k
	}
	now := time.Now()
	if !k.last.IsZero() && now.Sub(k.last) < l.interval {
		k.suppressed++
		l.mu.Unlock()
		return
	}
	suppressed := k.suppressed
	k.last, k.suppressed = now, 0
	l.mu.Unlock()
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	l.log.Log(context.Background(), level, kind, args...)
}
