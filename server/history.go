package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"throng/broker"
	"throng/server/history"
	"throng/server/hub"
	"throng/server/wire"
)

// startHistory makes what keeps the past of channels: the streams in NATS and this node's view of them. NATS without JetStream is
// no error: channels without history go on, and readyz says what is missing.
func (n *node) startHistory() (err error) {
	n.syncs = &syncer{broker: n.broker, timeout: syncTimeout}
	c := &n.cfg.History
	n.streams, err = n.broker.Streams(broker.StreamsConfig{
		Streams: c.streams(n.rules.Load()), Once: c.IdempotencyWindow, OnDoubt: n.doubt, OnLost: n.lost,
		AckTimeout: c.AckTimeout, ReadTimeout: c.ReadTimeout,
	})
	if err != nil {
		return n.natsError(err)
	}
	n.past = history.New(c.service(), history.Parts{
		Store: streamStore{n.streams}, Hub: n.hub, Sync: n.broker.Sync, Live: n.publishLive,
	})
	n.pastReady.Store(n.past)
	return nil
}

// doubt is told by the broker, possibly before there is anything to doubt.
func (n *node) doubt(namespace string) {
	if past := n.pastReady.Load(); past != nil {
		past.Doubt(namespace)
	}
}

// lost is told by the broker when NATS is away.
func (n *node) lost(silent time.Duration) {
	if past := n.pastReady.Load(); past != nil {
		past.Lost(silent)
	}
}

// historyReady tells why a namespace cannot keep history now; what does not is served all the same.
func (n *node) historyReady() error {
	var errs []error
	for _, st := range n.streams.Status() {
		if !st.Ready {
			name := st.Namespace
			if name == "" {
				name = "(without namespace)"
			}
			errs = append(errs, fmt.Errorf("namespace %s: %s", name, st.Why))
		}
	}
	return errors.Join(errs...)
}

func (n *node) publishLive(channel string, data []byte, meta *wire.Meta, binary bool) error {
	if binary && meta.Plain() {
		return n.hub.Publish(channel, data, true)
	}
	return n.hub.PublishMeta(channel, data, meta)
}

// receive is the broker's Handler: what is stored goes by the channel's stream, so that a gap is seen and mended, all else straight
// to the hub.
func (n *node) receive(m broker.Message) {
	if m.Offset == 0 {
		p := hub.Publication{Channel: m.Channel, Data: m.Data, Binary: m.Binary}
		if m.Concrete != "" {
			p.Meta = concreteMeta(m.Concrete)
			n.hub.Deliver(p)
			return
		}
		if m.Meta == "" || !n.members.Receive(m.Channel, m.Meta) {
			n.receiveUnstored(p, m.Meta)
		}
		return
	}
	past := n.pastReady.Load()
	if past == nil {
		return // nobody can have subscribed yet
	}
	past.Receive(history.Message{
		Channel: m.Channel, Namespace: m.Namespace, Data: m.Data, Meta: m.Meta, Binary: m.Binary,
		Offset: m.Offset, Previous: m.Previous, Time: m.Time,
	})
}

// receiveUnstored delivers what no stream holds. On a channel with history, where that is one of skip_history, deltas must know.
func (n *node) receiveUnstored(p hub.Publication, meta string) {
	if past := n.pastReady.Load(); past != nil {
		defer past.Unstored(p.Channel)()
	}
	n.hub.Receive(p, meta)
}

// streamStore is the broker's streams as history wants them: the two packages do not know each other.
type streamStore struct{ streams *broker.Streams }

// Tops implements history.Store.
func (s streamStore) Tops(ctx context.Context, namespace string, channels []string) (history.Tops, error) {
	t, err := s.streams.Tops(ctx, namespace, channels)
	return history.Tops(t), historyError(err)
}

// Read implements history.Store.
func (s streamStore) Read(ctx context.Context, q history.ReadQuery) (history.Page, error) {
	p, err := s.streams.Read(ctx, broker.ReadQuery(q))
	if err != nil {
		return history.Page{}, historyError(err)
	}
	page := history.Page{
		Epoch: p.Epoch, Last: p.Last, Top: p.Top, More: p.More, SinceStored: p.SinceStored,
		Oldest: p.Oldest, Count: p.Count, StreamFirst: p.StreamFirst,
	}
	if len(p.Messages) > 0 {
		page.Messages = make([]history.StoredMessage, len(p.Messages))
	}
	for i := range p.Messages {
		page.Messages[i] = history.StoredMessage(p.Messages[i])
	}
	return page, nil
}

// Store implements history.Store.
func (s streamStore) Store(p *history.StorePublication) error {
	out := broker.StorePublication{
		Namespace: p.Namespace, Channel: p.Channel, Data: p.Data, Meta: p.Meta, Binary: p.Binary,
		ID: p.ID, ExpectLast: p.ExpectLast, LastOffset: p.LastOffset,
	}
	if done := p.Done; done != nil {
		out.Done = func(r broker.Stored) { done(storedOf(r)) }
	}
	return historyError(s.streams.Store(&out))
}

// StoreOnce implements history.Store.
func (s streamStore) StoreOnce(channel, id string, done func(history.Stored)) error {
	return historyError(s.streams.StoreOnce(channel, id, func(r broker.Stored) { done(storedOf(r)) }))
}

// Purge implements history.Store.
func (s streamStore) Purge(ctx context.Context, namespace, channel string, below uint64) error {
	return historyError(s.streams.Purge(ctx, namespace, channel, below))
}

func storedOf(r broker.Stored) history.Stored {
	return history.Stored{Offset: r.Offset, Epoch: r.Epoch, Duplicate: r.Duplicate, Err: historyError(r.Err)}
}

// translated keeps the words of the broker's error and answers errors.Is for history's.
type translated struct {
	error
	as error
}

func (t translated) Unwrap() []error { return []error{t.error, t.as} }

func historyError(err error) error {
	if err == nil {
		return nil
	}
	for _, k := range []struct{ from, to error }{
		{broker.ErrNoStream, history.ErrNoStream}, {broker.ErrStoreFull, history.ErrStoreFull},
		{broker.ErrUnconfirmed, history.ErrUnconfirmed}, {broker.ErrConflict, history.ErrConflict},
	} {
		if errors.Is(err, k.from) {
			return translated{err, k.to}
		}
	}
	if as := hubError(err); as != err {
		return translated{err, as}
	}
	return err
}

// syncer asks NATS whether it knows this node's interest, once for all who ask at about the same time.
type syncer struct {
	broker  interface{ Sync(context.Context) error }
	timeout time.Duration

	mu      sync.Mutex
	waiting []func(error)
	running bool
}

// syncTimeout leaves a client's subscribe command time to be answered all the same.
const syncTimeout = time.Second

// Confirm is session.Parts.Confirm.
func (s *syncer) Confirm(done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, done)
	if !s.running {
		s.running = true
		go s.run()
	}
}

// run serves whoever waits, and ends.
func (s *syncer) run() {
	for {
		s.mu.Lock()
		waiting := s.waiting
		s.waiting = nil
		s.running = len(waiting) > 0
		s.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		err := s.broker.Sync(ctx)
		cancel()
		for _, done := range waiting {
			done(err)
		}
	}
}
