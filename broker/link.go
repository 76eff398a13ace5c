package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// link is what the rest of the package knows of the NATS connection. nats.go's own state cannot be asked by callers
// that must not block: its mutex is held while it dials.
//
//	connecting --connected--> up --disconnected--> down --reconnected--> up ...   any --closed--> closed
//
// Only nats.go's callback goroutine moves it, except to closed.
type link struct {
	up         atomic.Bool
	closed     atomic.Bool
	maxPayload atomic.Int64 // bytes; of the server last connected to

	mu    sync.Mutex
	why   error // why it is not up
	since time.Time
}

var errConnecting = errors.New("first connection not made yet")

func newLink() *link { return &link{why: errConnecting, since: time.Now()} }

func (l *link) setUp(maxPayload int64) {
	l.maxPayload.Store(maxPayload)
	l.mu.Lock()
	l.why = nil
	l.mu.Unlock()
	l.up.Store(true)
}

// setDown records that the link is gone, or, while it is, why the last attempt to restore it failed.
func (l *link) setDown(why error) {
	if why == nil {
		why = nats.ErrDisconnected
	}
	wasUp := l.up.Swap(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = why
	if wasUp {
		l.since = time.Now()
	}
}

// ready is nil when up.
func (l *link) ready() error {
	if l.up.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		return ErrDisconnected
	}
	return fmt.Errorf("%w for %v: %w", ErrDisconnected, time.Since(l.since).Round(time.Millisecond), l.why)
}

// reconnectDelay is the wait before round n of attempts, counting from 1.
func (c *Config) reconnectDelay(n int) time.Duration {
	wait := c.ReconnectMax
	if doublings := n - 1; doublings < 16 {
		wait = min(wait, c.ReconnectMin<<max(doublings, 0))
	}
	return wait/2 + rand.N(wait/2+1)
}

// callbacks are run by nats.go one after another in a goroutine of its own.
func (n *NATS) callbacks() []nats.Option {
	return []nats.Option{
		nats.ConnectHandler(n.onConnected),
		nats.ReconnectHandler(n.onReconnected),
		nats.DisconnectErrHandler(n.onDisconnected),
		nats.ReconnectErrHandler(n.onAttemptFailed),
		nats.ClosedHandler(n.onClosed),
		nats.ErrorHandler(n.onAsyncError),
		nats.LameDuckModeHandler(n.onLameDuck),
	}
}

func (n *NATS) onConnected(conn *nats.Conn) {
	n.linkUp(conn)
	n.events.event(slog.LevelInfo, "connected to NATS", n.linkAttrs(conn)...)
}

func (n *NATS) onReconnected(conn *nats.Conn) {
	n.count.reconnects.Add(1)
	n.linkUp(conn)
	n.events.event(slog.LevelInfo, "reconnected to NATS", n.linkAttrs(conn)...)
}

func (n *NATS) linkAttrs(conn *nats.Conn) []any {
	url := conn.ConnectedUrlRedacted()
	if n.cfg.Server != nil {
		url = "in-process" // nats.go reports its default URL, to which nothing is connected
	}
	return []any{
		"url", url, "server", conn.ConnectedServerName(),
		"version", conn.ConnectedServerVersion(), "max_payload", conn.MaxPayload(),
	}
}

// linkUp makes the broker ready and has the publisher apply what was wished meanwhile. nats.go has re-sent the
// subscriptions in force by now; the publisher checks them (interest.recheck).
func (n *NATS) linkUp(conn *nats.Conn) {
	// The link may be gone again by the time this callback runs; then its own callback is next in line.
	if !conn.IsConnected() {
		return
	}
	n.link.setUp(conn.MaxPayload())
	n.recheck.Store(true)
	n.queue.signal()
	if s := n.streams.Load(); s != nil {
		s.linkUp()
	}
	n.firstUp.Do(func() { close(n.connected) })
}

func (n *NATS) onDisconnected(conn *nats.Conn, err error) {
	n.link.setDown(err)
	if n.link.closed.Load() {
		return
	}
	// Already reconnected: the publisher sees that by the count of reconnects, and what it wrote since is no victim.
	if !conn.IsConnected() {
		n.confirm.linkLost()
	}
	if s := n.streams.Load(); s != nil {
		s.linkDown()
	}
	n.count.disconnects.Add(1)
	if isSlowConsumer(err) {
		n.count.slowConsumer.Add(1)
	}
	n.queue.signal()
	n.events.event(slog.LevelWarn, "NATS link lost", "err", err)
}

// isSlowConsumer recognises the server's reason for cutting us; nats.go has no error value for it.
func isSlowConsumer(err error) bool {
	return err != nil && strings.Contains(strings.ToLower(err.Error()), "slow consumer")
}

func (n *NATS) onAttemptFailed(_ *nats.Conn, err error) {
	n.link.setDown(err)
	n.events.event(slog.LevelWarn, "cannot reach NATS, still trying", "err", err)
}

// onClosed is the last callback. nats.go closes by itself only when it gives up, which the options forbid.
func (n *NATS) onClosed(conn *nats.Conn) {
	if !n.link.closed.Load() {
		n.link.setDown(nats.ErrConnectionClosed)
		n.events.event(slog.LevelError, "nats.go gave up; restart the node", "err", conn.LastError())
	}
	close(n.callbacksDone)
}

func (n *NATS) onLameDuck(conn *nats.Conn) {
	n.count.lameDuck.Add(1)
	n.events.event(slog.LevelInfo, "NATS server is about to shut down", n.linkAttrs(conn)...)
}

func (n *NATS) onAsyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) && sub != nil {
		n.drops.watch(sub)
		n.overflowed(sub.Subject)
		return
	}
	n.count.asyncErrors.Add(1)
	n.events.event(slog.LevelWarn, "NATS reported an error", "err", err)
}

// overflowed is told when messages begin to be dropped because nobody takes them fast enough.
func (n *NATS) overflowed(subject string) {
	n.count.slowConsumer.Add(1)
	if s := n.streams.Load(); s != nil {
		s.tellDoubt("")
	}
	n.events.event(slog.LevelWarn, "messages dropped: Handler is slower than NATS", "subject", subject)
}
