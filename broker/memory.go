package broker

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Bus connects Memory brokers of one process, as a NATS server connects nodes. The zero value is not usable; NewBus.
type Bus struct {
	down    atomic.Bool
	control switchboard

	mu       sync.RWMutex
	interest map[string][]*Memory
	members  []*Memory
}

// NewBus returns a bus without members.
func NewBus() *Bus { return &Bus{interest: make(map[string][]*Memory)} }

// SetDown cuts all members off from each other and themselves, or reconnects them, as a lost and found NATS server
// would: for tests of what stands on a broker.
func (b *Bus) SetDown(down bool) {
	if b.down.Swap(down) == down {
		return
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, m := range b.members {
		if down {
			m.count.disconnects.Add(1)
		} else {
			m.count.reconnects.Add(1)
		}
	}
}

// set makes m hear a channel or not.
func (b *Bus) set(m *Memory, channel string, wanted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setLocked(m, channel, wanted)
}

func (b *Bus) setLocked(m *Memory, channel string, wanted bool) {
	members := b.interest[channel]
	at := slices.Index(members, m)
	switch {
	case wanted && at < 0:
		b.interest[channel] = append(slices.Clip(members), m)
	case !wanted && at >= 0 && len(members) == 1:
		delete(b.interest, channel)
	case !wanted && at >= 0:
		b.interest[channel] = slices.Delete(slices.Clone(members), at, at+1)
	}
}

// hearers returns who hears a channel. The slice is never changed afterwards.
func (b *Bus) hearers(channel string) []*Memory {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.interest[channel]
}

// MemoryConfig bounds a Memory broker and says with whom it talks.
type MemoryConfig struct {
	Limits Limits
	// Bus to join. Default: one of its own, so that the node hears only itself.
	Bus *Bus
}

// Memory is the Broker within one process: the same contract, queue, readers and counters as NATS, without a
// network. For tests and for a single node that wants no NATS at all. Goroutines: one publisher, and the readers.
type Memory struct {
	bus      *Bus
	codec    codec // for its rules on names only
	limits   Limits
	handler  Handler
	queue    *queue
	readers  *readers[Message]
	interest map[string]struct{} // publisher's
	count    counters

	sending sync.RWMutex // read-held by whoever sends to readers, so that closing them waits
	ended   bool         // under sending: readers are closed

	life      context.Context
	abort     context.CancelFunc
	shutting  atomic.Bool
	published chan struct{} // closed when the publisher has ended
	done      chan struct{}
}

var _ Broker = (*Memory)(nil)

// NewMemory starts a broker. Negative limits are programming errors and panic.
func NewMemory(h Handler, cfg MemoryConfig) *Memory {
	cfg.Limits.setDefaults()
	if err := cfg.Limits.validate(); err != nil {
		panic(err)
	}
	if cfg.Bus == nil {
		cfg.Bus = NewBus()
	}
	m := &Memory{
		bus: cfg.Bus, limits: cfg.Limits, handler: h,
		codec:     codec{live: liveToken + ".", max: cfg.Limits.MaxChannelBytes},
		queue:     newQueue(&cfg.Limits),
		interest:  make(map[string]struct{}),
		published: make(chan struct{}), done: make(chan struct{}),
	}
	m.life, m.abort = context.WithCancel(context.Background())
	m.readers = startReaders(&cfg.Limits, m.deliver)
	m.bus.mu.Lock()
	m.bus.members = append(m.bus.members, m)
	m.bus.mu.Unlock()
	go m.run()
	return m
}

// Publish implements Broker.
func (m *Memory) Publish(channel string, data []byte, binary bool) error {
	err := m.accept(channel, len(data))
	if err == nil {
		err = m.queue.publish(channel, data, binary)
	}
	if err != nil {
		m.count.refused(err)
	}
	return err
}

// PublishMeta implements Broker.
func (m *Memory) PublishMeta(channel string, data, meta []byte) error {
	err := checkMeta(meta)
	if err == nil {
		err = m.accept(channel, len(data)+len(meta))
	}
	if err == nil {
		err = m.queue.publishMeta(item{channel: channel}, data, meta)
	}
	if err != nil {
		m.count.refused(err)
	}
	return err
}

func (m *Memory) accept(channel string, size int) error {
	if m.shutting.Load() {
		return ErrClosed
	}
	if err := m.codec.check(channel); err != nil {
		return err
	}
	if m.bus.down.Load() {
		return ErrDisconnected
	}
	return checkSize(size, m.limits.MaxMessageBytes)
}

// Subscribe implements Broker.
func (m *Memory) Subscribe(channel string) { m.want(channel, true) }

// Unsubscribe implements Broker.
func (m *Memory) Unsubscribe(channel string) { m.want(channel, false) }

func (m *Memory) want(channel string, wanted bool) {
	if m.codec.check(channel) != nil {
		m.count.lose(LostBadSubject, 1)
		return
	}
	m.queue.want(channel, wanted)
}

// CheckChannel implements Broker.
func (m *Memory) CheckChannel(channel string) error { return m.codec.check(channel) }

// Ready implements Broker.
func (m *Memory) Ready() error {
	if m.shutting.Load() {
		return ErrClosed
	}
	if m.bus.down.Load() {
		return ErrDisconnected
	}
	return nil
}

// Sync implements Broker.
func (m *Memory) Sync(ctx context.Context) error {
	f := newFence()
	if err := m.queue.fence(f); err != nil {
		return err
	}
	select {
	case err := <-f.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats implements Broker.
func (m *Memory) Stats() Stats {
	s := m.count.snapshot()
	s.Connected = !m.bus.down.Load()
	s.MaxPayload = int64(m.limits.MaxMessageBytes)
	s.InterestPending = m.queue.pendingChanges()
	s.QueueMessages, s.QueueBytes = int(m.queue.messages.Load()), int(m.queue.bytes.Load())
	s.ReaderMessages = m.readers.waiting()
	return s
}

// run is the publisher's goroutine.
func (m *Memory) run() {
	defer close(m.published)
	for range m.queue.wake {
		b := m.queue.take(false)
		for channel, wanted := range b.changes {
			m.bus.set(m, channel, wanted)
			if wanted {
				m.interest[channel] = struct{}{}
			} else {
				delete(m.interest, channel)
			}
		}
		m.count.interest.Store(int64(len(m.interest)))
		for i := range b.items {
			m.forward(&b.items[i])
		}
		m.queue.recycle(b.items)
		if b.closed {
			return
		}
	}
}

// forward does what NATS does: it passes one publication to all who hear its channel.
func (m *Memory) forward(it *item) {
	down := m.bus.down.Load()
	if it.fence != nil {
		if down {
			it.fence.answer <- ErrDisconnected
		} else {
			it.fence.answer <- nil
		}
		return
	}
	size := len(it.data)
	m.queue.release(1, int64(size))
	switch {
	case m.life.Err() != nil:
		m.count.lose(LostClosed, 1)
		return
	case down:
		m.count.lose(LostDisconnected, 1)
		return
	}
	m.count.published.Add(1)
	m.count.publishedBytes.Add(uint64(size))
	for _, node := range m.bus.hearers(it.channel) {
		node.receive(Message{Channel: it.channel, Data: bytes.Clone(it.payload()), Meta: it.metaLine(), Binary: it.binary})
	}
}

// receive is the NATS read loop: it never waits for a slow Handler.
func (m *Memory) receive(msg Message) {
	m.sending.RLock()
	defer m.sending.RUnlock()
	if m.ended {
		return
	}
	select {
	case m.readers.of(msg.Channel) <- msg:
	default:
		m.count.lose(LostReaderFull, 1)
		m.count.slowConsumer.Add(1)
	}
}

func (m *Memory) deliver(msg Message) {
	if m.life.Err() != nil {
		m.count.lose(LostClosed, 1)
		return
	}
	m.count.delivered.Add(1)
	m.count.deliveredBytes.Add(uint64(len(msg.Data)))
	m.handler(msg)
}

// Drain implements Broker.
func (m *Memory) Drain(ctx context.Context) error {
	if m.shutting.CompareAndSwap(false, true) {
		m.queue.close(nil)
		go m.teardown()
	}
	stop := context.AfterFunc(ctx, m.abort)
	defer stop()
	<-m.done
	if m.life.Err() != nil {
		return ctx.Err()
	}
	return nil
}

// Close implements Broker.
func (m *Memory) Close() {
	m.abort()
	if m.shutting.CompareAndSwap(false, true) {
		m.queue.close(nil)
		m.teardown()
	}
	<-m.done
}

func (m *Memory) teardown() {
	<-m.published
	m.bus.mu.Lock()
	for channel := range m.interest {
		m.bus.setLocked(m, channel, false)
	}
	m.bus.members = slices.DeleteFunc(m.bus.members, func(o *Memory) bool { return o == m })
	m.bus.mu.Unlock()
	m.count.interest.Store(0)
	m.sending.Lock()
	m.ended = true
	m.readers.finish()
	m.sending.Unlock()
	m.readers.wait()
	close(m.done)
}
