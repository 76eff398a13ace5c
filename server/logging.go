package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// newLogger writes to w in format ("text" or "json") what is at least as weighty as level ("debug",
// "info", "warn", "error"), at most rate lines per second of each message (0 = no limit). Both words
// have been checked by loadConfig. The limiter tells how many lines it held back.
func newLogger(w io.Writer, level, format string, rate int) (*slog.Logger, *logLimiter) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		panic(err) // ours: loadConfig lets only known words through
	}
	options := &slog.HandlerOptions{Level: least}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	limiter := newLogLimiter(rate)
	return slog.New(limitedHandler{handler, limiter}), limiter
}

// maxLimitedMessages bounds the limiter's memory. Messages are constants of the program, so a table that
// fills up means that somebody formats data into them; those then share one allowance.
const maxLimitedMessages = 512

// logLimiter counts lines per message and second. It is a leaf lock, safe for any goroutine.
type logLimiter struct {
	perSecond int
	now       func() time.Time

	mu         sync.Mutex
	messages   map[string]*messageCount
	suppressed atomic.Uint64
}

type messageCount struct {
	second time.Time // start of the second being counted
	lines  int
	held   int // lines held back since the last one that was let through
}

func newLogLimiter(perSecond int) *logLimiter {
	return &logLimiter{perSecond: perSecond, now: time.Now, messages: map[string]*messageCount{}}
}

// Suppressed returns how many lines were held back since the start.
func (l *logLimiter) Suppressed() uint64 { return l.suppressed.Load() }

// allow says whether a line with this message may be written now, and how many were held back before it.
func (l *logLimiter) allow(message string) (held int, ok bool) {
	if l.perSecond <= 0 {
		return 0, true
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[message]
	if m == nil && len(l.messages) >= maxLimitedMessages {
		message = ""
		m = l.messages[message]
	}
	if m == nil {
		m = &messageCount{second: now}
		l.messages[message] = m
	}
	if now.Sub(m.second) >= time.Second {
		m.second, m.lines = now, 0
	}
	if m.lines++; m.lines > l.perSecond {
		m.held++
		l.suppressed.Add(1)
		return 0, false
	}
	held, m.held = m.held, 0
	return held, true
}

// limitedHandler passes records on as the limiter allows; debug is not limited, who asks for it wants all.
type limitedHandler struct {
	slog.Handler
	limiter *logLimiter
}

// Handle implements slog.Handler. A line that follows held-back ones carries their number as "suppressed".
func (h limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level <= slog.LevelDebug {
		return h.Handler.Handle(ctx, r)
	}
	held, ok := h.limiter.allow(r.Message)
	if !ok {
		return nil
	}
	if held > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", held))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler; the limit stays shared.
func (h limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limitedHandler{h.Handler.WithAttrs(attrs), h.limiter}
}

// WithGroup implements slog.Handler; the limit stays shared.
func (h limitedHandler) WithGroup(name string) slog.Handler {
	return limitedHandler{h.Handler.WithGroup(name), h.limiter}
}
