package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// serverLog is nats-server's Logger on slog. nats-server's notices while it starts and stops, some thirty lines of
// banner, go to debug; once it serves they tell of routes, leaders and clients and go to info. It limits its own
// repeated warnings.
type serverLog struct {
	log     *slog.Logger
	started atomic.Bool

	mu    sync.Mutex
	fatal error
}

func (l *serverLog) write(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	l.log.Log(ctx, level, "nats-server: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l *serverLog) Noticef(format string, args ...any) {
	level := slog.LevelDebug
	if l.started.Load() {
		level = slog.LevelInfo
	}
	l.write(level, format, args)
}

func (l *serverLog) Warnf(format string, args ...any)  { l.write(slog.LevelWarn, format, args) }
func (l *serverLog) Errorf(format string, args ...any) { l.write(slog.LevelError, format, args) }
func (l *serverLog) Debugf(format string, args ...any) { l.write(slog.LevelDebug, format, args) }
func (l *serverLog) Tracef(format string, args ...any) { l.write(slog.LevelDebug-4, format, args) }

// Fatalf keeps the first reason for StartEmbedded to return; a library must not end the process. Logged only at
// debug, since the error is returned; after the start it is logged as an error.
func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	if l.fatal == nil {
		l.fatal = errors.New(strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
	l.mu.Unlock()
	level := slog.LevelDebug
	if l.started.Load() {
		level = slog.LevelError
	}
	l.write(level, format, args)
}

func (l *serverLog) fatalError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
