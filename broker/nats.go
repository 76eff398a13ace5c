package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// NATS is the Broker over a NATS server or cluster.
type NATS struct {
	cfg     Config
	codec   codec
	handler Handler
	conn    *nats.Conn
	events  *eventLog

	link    *link
	dialer  *dialer
	queue   *queue
	readers *readers[*nats.Msg]
	confirm *confirmer
	publish *publisher
	drops   *dropLog
	count   counters
	streams atomic.Pointer[Streams] // set once, by Streams

	wide    atomic.Pointer[wide] // nil until there were many channels
	native  atomic.Pointer[Native]
	natives natives

	recheck       atomic.Bool // the publisher is to compare interest with nats.go
	remap         atomic.Bool // the publisher is to compare subjects with native
	firstUp       sync.Once
	connected     chan struct{} // closed when first up
	callbacksDone chan struct{} // closed by nats.go's last callback

	life     context.Context // ends when waiting is over: Close, or a Drain that ran out of time
	abort    context.CancelFunc
	shutting atomic.Bool
	done     chan struct{} // closed when everything has ended
}

var _ Broker = (*NATS)(nil)

// Connect starts a broker. It returns when the first round of attempts is over, connected or not: with NATS away, or
// its credentials refused, it succeeds, Ready says why, and attempts go on for ever. Blocks for at most
// ConnectTimeout per server. Errors: *ConfigError, possibly several joined.
func Connect(cfg Config, h Handler) (*NATS, error) {
	cfg.setDefaults()
	c, err := newCodec(cfg.Prefix, cfg.Limits.MaxChannelBytes)
	if err := errors.Join(cfg.validate(), err, cfg.checkCreds()); err != nil {
		return nil, err
	}
	n := &NATS{
		cfg: cfg, codec: c, handler: h,
		events:    newEventLog(cfg.Logger, cfg.LogInterval),
		link:      newLink(),
		queue:     newQueue(&cfg.Limits),
		connected: make(chan struct{}), callbacksDone: make(chan struct{}), done: make(chan struct{}),
	}
	n.drops = newDropLog(&n.count)
	n.confirm = newConfirmer(n.link, &n.count, &cfg)
	n.life, n.abort = context.WithCancel(context.Background())
	n.dialer = &dialer{
		net: net.Dialer{Timeout: cfg.ConnectTimeout}, server: cfg.Server,
		timeout: cfg.WriteTimeout, silence: cfg.silence(), start: time.Now(), limit: int64(cfg.OutboundBytes),
	}
	conn, err := nats.Connect(strings.Join(cfg.URLs, ","), append(cfg.options(n.dialer), n.callbacks()...)...)
	if err != nil {
		n.abort()
		return nil, &ConfigError{Field: "URLs", Value: redact(strings.Join(cfg.URLs, ",")), Why: err, Fix: "correct the NATS connection settings"}
	}
	n.conn = conn
	n.confirm.conn = conn
	n.readers = startReaders(&cfg.Limits, n.deliver)
	n.publish = newPublisher(n)
	go n.confirm.run()
	go n.publish.run()
	n.awaitFirstUp()
	return n, nil
}

// awaitFirstUp lets the callback of a connect that has succeeded run, so that Ready holds when Connect returns.
func (n *NATS) awaitFirstUp() {
	if !n.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(n.life, n.cfg.ConnectTimeout)
	defer cancel()
	select {
	case <-n.connected:
	case <-ctx.Done():
	}
}

// checkCreds finds a missing credentials file now; nats.go would find it at each attempt.
func (c *Config) checkCreds() error {
	if c.CredsFile == "" {
		return nil
	}
	f, err := os.Open(c.CredsFile)
	if err != nil {
		return &ConfigError{Field: "CredsFile", Value: c.CredsFile, Why: err, Fix: "give the path of a readable NATS .creds file"}
	}
	return f.Close()
}

// Publish implements Broker.
func (n *NATS) Publish(channel string, data []byte, binary bool) error {
	overhead := 0
	if binary {
		overhead = binaryOverhead
	}
	err := n.accept(channel, len(data), overhead)
	if err == nil {
		err = n.queue.publish(channel, data, binary)
	}
	if err != nil {
		n.count.refused(err)
	}
	return err
}

// PublishMeta implements Broker.
func (n *NATS) PublishMeta(channel string, data, meta []byte) error {
	err := checkMeta(meta)
	if err == nil {
		err = n.accept(channel, len(data), metaOverhead+len(meta))
	}
	if err == nil {
		err = n.queue.publishMeta(item{channel: channel}, data, meta)
	}
	if err != nil {
		n.count.refused(err)
	}
	return err
}

// checkMeta refuses what a NATS header cannot carry unchanged.
func checkMeta(meta []byte) error {
	if len(bytes.TrimSpace(meta)) != len(meta) || len(meta) == 0 || bytes.ContainsAny(meta, "\r\n") {
		return ErrBadMeta
	}
	return nil
}

// accept says whether a publication may be queued; overhead is what its header takes of the payload that NATS limits.
func (n *NATS) accept(channel string, size, overhead int) error {
	if n.shutting.Load() {
		return ErrClosed
	}
	if err := n.codec.check(channel); err != nil {
		return err
	}
	if !n.link.up.Load() {
		return ErrDisconnected
	}
	limit := int(n.link.maxPayload.Load()) - overhead
	return checkSize(size, min(limit, n.cfg.Limits.MaxMessageBytes))
}

func checkSize(size, limit int) error {
	if size > limit {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooBig, size, limit)
	}
	return nil
}

// refused counts a publication that Publish refuses with err.
func (c *counters) refused(err error) {
	switch {
	case errors.Is(err, ErrBusy):
		c.lose(LostQueueFull, 1)
	case errors.Is(err, ErrDisconnected):
		c.lose(LostDisconnected, 1)
	case errors.Is(err, ErrTooBig):
		c.lose(LostOversize, 1)
	case errors.Is(err, ErrBadChannel):
		c.lose(LostBadSubject, 1)
	case errors.Is(err, ErrBadMeta):
		c.lose(LostRejected, 1)
	case errors.Is(err, ErrClosed):
		c.lose(LostClosed, 1)
	default:
		c.lose(LostRejected, 1)
	}
}

// Subscribe implements Broker.
func (n *NATS) Subscribe(channel string) { n.want(channel, true) }

// Unsubscribe implements Broker.
func (n *NATS) Unsubscribe(channel string) { n.want(channel, false) }

func (n *NATS) want(channel string, wanted bool) {
	if err := n.codec.check(channel); err != nil {
		n.count.lose(LostBadSubject, 1)
		n.events.event(slog.LevelWarn, "interest in a bad channel name ignored", "err", err)
		return
	}
	n.queue.want(channel, wanted)
}

// CheckChannel implements Broker.
func (n *NATS) CheckChannel(channel string) error { return n.codec.check(channel) }

// Ready implements Broker.
func (n *NATS) Ready() error {
	if n.shutting.Load() {
		return ErrClosed
	}
	return n.link.ready()
}

// Sync implements Broker.
func (n *NATS) Sync(ctx context.Context) error {
	f := newFence()
	if err := n.queue.fence(f); err != nil {
		return err
	}
	select {
	case err := <-f.answer:
		if w := n.wide.Load(); w != nil && err == nil {
			return w.settle(ctx)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats implements Broker.
func (n *NATS) Stats() Stats {
	n.drops.tally()
	s := n.count.snapshot()
	s.Connected = n.link.up.Load()
	s.MaxPayload = n.link.maxPayload.Load()
	s.InterestPending = n.queue.pendingChanges()
	s.QueueMessages, s.QueueBytes = int(n.queue.messages.Load()), int(n.queue.bytes.Load())
	s.ReaderMessages = n.readers.waiting()
	s.NativeInterest = n.natives.count()
	if w := n.wide.Load(); w != nil {
		s.WideInterest, s.Unwanted = int(w.heard.Load()), w.unwanted.Load()
		s.Interest += s.WideInterest
	}
	return s
}

// deliver is what the readers do with each message.
func (n *NATS) deliver(m *nats.Msg) {
	if n.aborted() {
		n.count.lose(LostClosed, 1)
		return
	}
	if !strings.HasPrefix(m.Subject, n.codec.live) {
		n.deliverNative(m)
		return
	}
	channel, ok := n.codec.channel(m.Subject)
	if !ok {
		n.count.lose(LostBadSubject, 1)
		n.events.event(slog.LevelWarn, "message on a subject that is no channel's", "subject", m.Subject)
		return
	}
	n.count.delivered.Add(1)
	n.count.deliveredBytes.Add(uint64(len(m.Data)))
	msg := Message{Channel: channel, Data: m.Data, Meta: first(m.Header[metaHeader]), Binary: isBinary(m.Header)}
	if m.Header != nil {
		n.numbered(m, &msg)
	}
	n.handler(msg)
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// isBinary does not canonicalise the key: NATS header names are case-sensitive.
func isBinary(h nats.Header) bool {
	return first(h[binaryHeader]) == binaryValue
}

func (n *NATS) aborted() bool { return n.life.Err() != nil }

// Drain implements Broker.
func (n *NATS) Drain(ctx context.Context) error {
	if !n.shutting.CompareAndSwap(false, true) {
		return n.awaitDone(ctx)
	}
	before := n.count.lostWithLink()
	f := newFence()
	n.queue.close(f)
	stop := context.AfterFunc(ctx, n.abort)
	defer stop()
	err := n.awaitConfirmed(f)
	if s := n.streams.Load(); s != nil {
		err = errors.Join(err, s.drainAcks(n.life.Done()))
	}
	n.teardown()
	switch {
	case n.aborted() && ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrDisconnected) && n.count.lostWithLink() == before:
		return nil // there was no link, and nothing that needed one
	}
	return err
}

// awaitConfirmed waits until NATS has confirmed the last publication.
func (n *NATS) awaitConfirmed(f *fence) error {
	select {
	case err := <-f.answer:
		return err
	case <-n.life.Done():
		return ErrClosed
	}
}

// lostWithLink counts what the absence or death of the link has cost.
func (c *counters) lostWithLink() uint64 {
	return c.lost[LostDisconnected].Load() + c.lost[LostUnconfirmed].Load()
}

// Close implements Broker.
func (n *NATS) Close() {
	n.abort()
	if !n.shutting.CompareAndSwap(false, true) {
		<-n.done
		return
	}
	n.queue.close(nil)
	n.teardown()
}

func (n *NATS) awaitDone(ctx context.Context) error {
	select {
	case <-n.done:
		return nil
	case <-ctx.Done():
		n.abort()
		<-n.done
		return ctx.Err()
	}
}

// teardown ends every goroutine: the publisher (its queue is closed), NATS, the readers. nats.go sends nothing into
// the readers' channels once its Close has returned: it marks each subscription closed under the mutex it sends under.
func (n *NATS) teardown() {
	<-n.publish.done
	n.link.closed.Store(true)
	n.drops.tally()
	s := n.streams.Load()
	if s != nil {
		s.halt()
	}
	close(n.confirm.stop)
	n.conn.Close()
	n.dialer.close()
	<-n.confirm.done
	<-n.callbacksDone
	n.confirm.linkLost()
	if s != nil {
		s.end()
	}
	n.link.up.Store(false)
	n.count.interest.Store(0)
	if w := n.wide.Load(); w != nil {
		w.finish()
	}
	n.readers.finish()
	n.readers.wait()
	close(n.done)
}
