package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"throng/broker"
)

func busy(t *testing.T, start Factory) {
	p, a, _ := pair(t, start, broker.Limits{QueueMessages: 4, QueueBytes: 64})
	if err := p.A.Publish("c", make([]byte, 65), false); !errors.Is(err, broker.ErrTooBig) {
		t.Fatalf("a message larger than the whole queue: %v", err)
	}
	refused, accepted := uint64(0), 0
	p.A.Subscribe("c")
	for tries := 0; refused == 0; tries++ {
		switch err := p.A.Publish("c", []byte("x"), false); {
		case err == nil:
			accepted++
		case errors.Is(err, broker.ErrBusy):
			refused++
		default:
			t.Fatal(err)
		}
		if s := p.A.Stats(); s.QueueMessages > 4 || s.QueueBytes > 64 {
			t.Fatalf("queue bounds exceeded: %+v", s)
		}
		if tries == 10_000_000 {
			t.Fatal("a queue of 4 never filled")
		}
	}
	if got := p.A.Stats().Lost[broker.LostQueueFull]; got != refused {
		t.Errorf("%d refusals counted, want %d", got, refused)
	}
	eventually(t, "queue empty again", p, func() bool { return p.A.Stats().QueueMessages == 0 })
	mustPublish(t, p.A, "c", "again")
	lost := int(p.A.Stats().Lost[broker.LostReaderFull])
	heard := a.await(t, accepted+1-lost, p)
	if last := heard[len(heard)-1]; string(last.Data) != "again" {
		t.Errorf("last heard %q", last.Data)
	}
}

func oversize(t *testing.T, start Factory) {
	const limit = 5000
	p, _, b := pair(t, start, broker.Limits{MaxMessageBytes: limit})
	p.B.Subscribe("c")
	mustSync(t, p.B)
	for _, size := range []int{limit + 1, 1 << 20, 3 << 20} {
		for _, binary := range []bool{false, true} {
			if err := p.A.Publish("c", make([]byte, size), binary); !errors.Is(err, broker.ErrTooBig) {
				t.Errorf("%d bytes, binary %v: %v", size, binary, err)
			}
		}
	}
	if got := p.A.Stats().Lost[broker.LostOversize]; got != 6 {
		t.Errorf("%d refusals counted, want 6", got)
	}
	data := bytes.Repeat([]byte("y"), limit)
	if err := p.A.Publish("c", data, true); err != nil {
		t.Fatal(err)
	}
	if got := b.await(t, 1, p); !bytes.Equal(got[0].Data, data) {
		t.Errorf("%d bytes arrived, want %d", len(got[0].Data), limit)
	}
	if err := p.A.Ready(); err != nil {
		t.Errorf("the link did not survive: %v", err)
	}
}

func readerFull(t *testing.T, start Factory) {
	const n, room = 1000, 8
	gate := make(chan struct{})
	a, b := newInbox(), newInbox()
	p := start(t, Options{
		Limits: broker.Limits{Readers: 1, ReaderMessages: room},
		A:      func(m broker.Message) { <-gate; a.take(m) },
		B:      b.take,
	})
	opened := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(opened) // before the brokers' own cleanup, which waits for Handler
	awaitReady(t, p)
	p.A.Subscribe("c")
	mustSync(t, p.A)
	for _, text := range numbered("", n) {
		if err := publishAll(p.B, "c", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	// What B published has left B; A's Sync then finds it all in A's reader, or dropped.
	mustSync(t, p.B, p.A)
	s := p.A.Stats()
	lost := int(s.Lost[broker.LostReaderFull])
	if lost < n-room-1 || s.SlowConsumer == 0 {
		t.Errorf("%d lost, want at least %d; slow consumer seen %d times", lost, n-room-1, s.SlowConsumer)
	}
	if err := p.A.Ready(); err != nil {
		t.Errorf("a slow Handler cost the link: %v", err)
	}
	opened()
	a.await(t, n-lost, p)
	texts := a.texts("c")
	if len(texts)+lost != n {
		t.Errorf("%d heard + %d lost, want %d", len(texts), lost, n)
	}
	if !slices.IsSorted(texts) {
		t.Error("out of order after drops")
	}
}

func reconnect(t *testing.T, start Factory) {
	p, a, b := pair(t, start, broker.Limits{})
	if p.Cut == nil {
		t.Skip("this broker has no link to lose")
	}
	for _, c := range []string{"kept", "left while away"} {
		p.A.Subscribe(c)
		p.B.Subscribe(c)
	}
	mustSync(t, p.A, p.B)
	mustPublish(t, p.A, "kept", "before")
	a.await(t, 1, p)
	b.await(t, 1, p)
	p.Cut()
	for _, node := range []broker.Broker{p.A, p.B} {
		eventually(t, "link loss noticed", p, func() bool { return errors.Is(node.Ready(), broker.ErrDisconnected) })
	}
	before := p.A.Stats().Lost[broker.LostDisconnected]
	for range 10 {
		if err := p.A.Publish("kept", []byte("away"), false); !errors.Is(err, broker.ErrDisconnected) {
			t.Errorf("Publish without a link: %v", err)
		}
	}
	if got := p.A.Stats().Lost[broker.LostDisconnected] - before; got != 10 {
		t.Errorf("%d losses counted, want 10", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.A.Sync(ctx); !errors.Is(err, broker.ErrDisconnected) {
		t.Errorf("Sync without a link: %v", err)
	}
	p.A.Subscribe("joined while away")
	p.A.Unsubscribe("left while away")
	p.Heal()
	awaitReady(t, p)
	mustSync(t, p.A, p.B)
	for _, c := range []string{"left while away", "joined while away", "kept"} {
		mustPublish(t, p.B, c, "after")
	}
	a.await(t, 3, p)
	mustSync(t, p.B, p.A)
	if got := a.texts("kept"); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("kept channel: %q", got)
	}
	if got := a.texts("joined while away"); !slices.Equal(got, []string{"after"}) {
		t.Errorf("channel joined while away: %q", got)
	}
	if got := a.texts("left while away"); len(got) != 0 {
		t.Errorf("channel left while away: %q", got)
	}
	b.await(t, 3, p)
	for _, node := range []broker.Broker{p.A, p.B} {
		if s := node.Stats(); s.Disconnects == 0 || s.Reconnects == 0 || !s.Connected {
			t.Errorf("Stats after reconnect: %+v", s)
		}
	}
}

func drain(t *testing.T, start Factory) {
	p, _, b := pair(t, start, broker.Limits{})
	p.B.Subscribe("c")
	mustSync(t, p.B)
	const n = 2000
	for _, text := range numbered("", n) {
		mustPublish(t, p.A, "c", text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.A.Drain(ctx); err != nil {
		t.Fatalf("Drain: %v", err)
	}
	b.await(t, n, p)
	if err := p.A.Publish("c", []byte("late"), false); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Publish after Drain: %v", err)
	}
	if err := p.A.Ready(); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Ready after Drain: %v", err)
	}
	if err := p.A.Sync(ctx); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Sync after Drain: %v", err)
	}
	p.A.Subscribe("c")
	p.A.Unsubscribe("c")
	s := p.A.Stats()
	if s.Published != n || s.QueueMessages != 0 || s.QueueBytes != 0 || s.Interest != 0 {
		t.Errorf("Stats after Drain: %+v", s)
	}
	if s.Lost[broker.LostClosed] != 1 || s.Lost[broker.LostUnconfirmed] != 0 {
		t.Errorf("losses after Drain: %v", s.Lost)
	}
	if err := p.A.Drain(ctx); err != nil {
		t.Errorf("second Drain: %v", err)
	}
	p.A.Close()
}

func drainDelivers(t *testing.T, start Factory) {
	gate := make(chan struct{})
	a, b := newInbox(), newInbox()
	p := start(t, Options{A: func(m broker.Message) { <-gate; a.take(m) }, B: b.take})
	opened := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(opened)
	awaitReady(t, p)
	p.A.Subscribe("c")
	const n = 100
	for _, text := range numbered("", n) {
		mustPublish(t, p.A, "c", text)
	}
	mustSync(t, p.A)
	drained := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() { drained <- p.A.Drain(ctx) }()
	eventually(t, "draining", p, func() bool { return errors.Is(p.A.Ready(), broker.ErrClosed) })
	opened()
	if err := <-drained; err != nil {
		t.Fatalf("Drain: %v", err)
	}
	if got := a.texts("c"); !slices.Equal(got, numbered("", n)) {
		t.Errorf("%d of %d messages handled before Drain returned", len(got), n)
	}
}

func closeEnds(t *testing.T, start Factory) {
	var inside atomic.Int64
	entered := make(chan struct{}, 1)
	gate := make(chan struct{})
	p := start(t, Options{
		A: func(broker.Message) {
			inside.Add(1)
			defer inside.Add(-1)
			select {
			case entered <- struct{}{}:
			default:
			}
			<-gate
		},
		B: func(broker.Message) {},
	})
	opened := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(opened)
	awaitReady(t, p)
	p.A.Subscribe("c")
	const n = 50
	for range n {
		mustPublish(t, p.A, "c", "x")
	}
	mustSync(t, p.A)
	<-entered
	closed := make(chan struct{})
	go func() { p.A.Close(); close(closed) }()
	eventually(t, "closing", p, func() bool { return errors.Is(p.A.Ready(), broker.ErrClosed) })
	opened()
	<-closed
	if inside.Load() != 0 {
		t.Error("Handler still running after Close")
	}
	s := p.A.Stats()
	if s.Delivered+s.Lost[broker.LostClosed] != n {
		t.Errorf("%d delivered + %d lost at Close, want %d", s.Delivered, s.Lost[broker.LostClosed], n)
	}
	p.A.Close()
}

func hammer(t *testing.T, start Factory) {
	p, a, _ := pair(t, start, broker.Limits{ReaderMessages: 1 << 14})
	const workers, rounds, channels = 4, 2000, 64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range rounds {
				c := fmt.Sprintf("hammer.%d.%d", w, rng.IntN(channels))
				switch rng.IntN(3) {
				case 0:
					p.A.Subscribe(c)
				case 1:
					p.A.Unsubscribe(c)
				default:
					if err := p.A.Publish(c, []byte(c), rng.IntN(2) == 0); err != nil && !errors.Is(err, broker.ErrBusy) {
						t.Error(err)
					}
				}
			}
			for i := range channels {
				if c := fmt.Sprintf("hammer.%d.%d", w, i); i%2 == 0 {
					p.A.Subscribe(c)
				} else {
					p.A.Unsubscribe(c)
				}
			}
		})
	}
	wg.Wait()
	mustSync(t, p.A)
	if n := p.A.Stats().Interest; n != workers*channels/2 {
		t.Fatalf("interest in %d channels, want %d", n, workers*channels/2)
	}
	for _, m := range a.all() {
		if m.Channel != string(m.Data) {
			t.Fatalf("channel %q heard %q", m.Channel, m.Data)
		}
	}
	for w := range workers {
		for i := range channels {
			mustPublish(t, p.B, fmt.Sprintf("hammer.%d.%d", w, i), "final")
		}
	}
	mustSync(t, p.B, p.A)
	eventually(t, "final messages heard", p, func() bool { return countFinal(a) == workers*channels/2 })
}

func countFinal(in *inbox) int {
	n := 0
	for _, m := range in.all() {
		if string(m.Data) == "final" {
			n++
		}
	}
	return n
}
