package broker

import (
	"context"
	"log/slog"
	"sync"
)

// lineCounter is a slog.Handler that counts lines by level.
type lineCounter struct {
	mu     sync.Mutex
	levels []slog.Level
}

func (l *lineCounter) Enabled(context.Context, slog.Level) bool { return true }
func (l *lineCounter) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lineCounter) WithGroup(string) slog.Handler            { return l }

func (l *lineCounter) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.levels = append(l.levels, r.Level)
	return nil
}

func (l *lineCounter) count(from slog.Level) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, level := range l.levels {
		if level >= from {
			n++
		}
	}
	return n
}
