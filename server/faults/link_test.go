package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"throng/broker/natstest"
	"throng/broker/natstest/chaosproxy"
)

func jetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// toldWithin is how long a node may be cut from NATS before subscribers of recoverable channels are told (F7).
const toldWithin = 15 * time.Second

// A node that is cut off for a moment mends the gap, and nobody notices.
func TestNodeCutFromNATSForAMoment(t *testing.T) { // F7, 3 s
	t.Parallel()
	server := natstest.Start(t, natstest.Config{})
	p := chaosproxy.Start(t, server.Addr())
	cut := startNode(t, "cut", "nats://"+p.Addr(), setting{})
	whole := startNode(t, "whole", server.URL(), setting{})
	s := begin(t, layout{[]*node{cut, whole}, []*node{cut, whole}, []*node{whole}})
	since := time.Now()
	p.Hold() // silence
	time.Sleep(pick(1500*time.Millisecond, 3*time.Second))
	p.Heal()
	s.flow("publications are acknowledged", 50)
	p.Cut() // reset
	v := s.end(since)
	s.wantRecovered(v)
	for _, m := range s.crowd.members {
		if m.told.Load() > since.UnixNano() {
			t.Errorf("%s was disturbed: %v", m.name, m.lastError.Load())
		}
	}
	if got := cut.metric(`throng_history_read_back_total`); got == 0 {
		t.Error("nothing was read back from the stream: what was lost meanwhile?")
	}
}

// A node that stays cut off says so to its recoverable subscribers in time, and they miss nothing when it is back.
func TestNodeCutFromNATSForLong(t *testing.T) { // F7, 30 s and 120 s
	t.Parallel()
	server := natstest.Start(t, natstest.Config{})
	p := chaosproxy.Start(t, server.Addr())
	cut := startNode(t, "cut", "nats://"+p.Addr(), setting{})
	whole := startNode(t, "whole", server.URL(), setting{})
	s := begin(t, layout{[]*node{cut}, []*node{cut}, []*node{whole}})
	since := time.Now()
	p.Hold()
	s.crowd.await("told that something is amiss", func(m *subscriber) bool { return m.told.Load() > since.UnixNano() })
	last := time.Duration(0)
	for _, m := range s.crowd.members {
		last = max(last, time.Duration(m.told.Load()-since.UnixNano()))
	}
	t.Logf("all were told within %v", last.Round(time.Millisecond))
	if last > toldWithin+time.Second { // and what the last of many clients takes on a busy machine
		t.Errorf("told after %v, want %v at most", last, toldWithin)
	}
	time.Sleep(pick(0, 120*time.Second))
	p.Heal()
	s.end(since)
}

// F27: the acknowledgement of a publication is lost on its way, again and again; its repetition is recognised.
func TestRetryAfterALostAcknowledgementIsStoredOnce(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Config{})
	p := chaosproxy.Start(t, server.Addr())
	n := startNode(t, "n", "nats://"+p.Addr(), setting{size: 10_000})
	js := jetStream(t, server.Connect())
	l := newLedger()
	rounds, each := pick(3, 200), pick(20, 50)
	channels := []string{"rec:once"}
	for round := range rounds {
		stored := messages(t, js)
		var first, second sync.WaitGroup
		p.Hold(chaosproxy.Down)
		for i := range each {
			id := fmt.Sprintf("%d-%d", round, i)
			l.send(id, channels[0])
			pub := newPublisher(l, id, []*node{n}, channels)
			lost := make(chan struct{})
			first.Go(func() {
				defer close(lost)
				if _, err := pub.publish(t.Context(), n, channels[0], id); err == nil {
					t.Errorf("%s was acknowledged through a link that is cut", id)
				}
			})
			second.Go(func() {
				<-lost
				defer pub.client.CloseIdleConnections()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				for {
					a, err := pub.publish(ctx, n, channels[0], id)
					if err == nil {
						l.confirm(channels[0], a)
						return
					}
					select {
					case <-ctx.Done():
						t.Errorf("%s: %v", id, err)
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			})
		}
		await(t, "all are stored", func() bool { return messages(t, js) >= stored+uint64(each) })
		p.Cut()
		p.Heal()
		first.Wait()
		second.Wait()
		if got := messages(t, js); got != stored+uint64(each) {
			t.Fatalf("round %d: %d messages were stored, want %d", round, got-stored, each)
		}
	}
	for _, w := range l.stored() {
		t.Error(w)
	}
	acked, _ := l.count()
	t.Logf("%d publications repeated after a lost acknowledgement, %d messages stored", acked, messages(t, js))
}

// messages counts what the stream holds.
func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := js.Stream(ctx, recStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// F28: who was away for longer than the history reaches is told so, and gets no part of what was missed.
func TestHistoryShorterThanTheOutage(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Config{})
	n := startNode(t, "n", server.URL(), setting{size: 10})
	l := newLedger()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := newPublisher(l, "p", []*node{n}, []string{"rec:short"})
	defer p.client.CloseIdleConnections()
	for missed, recovered := range map[int]bool{1: true, 10: true, 11: false, 40: false} {
		first := join(t, p.nodes, p.channels, 1)
		p.next(ctx)
		first.heard("rec:short", p.said())
		first.end()
		was := first.members[0]
		for range missed {
			p.next(ctx)
		}
		back := startCrowd(t)
		again := &subscriber{record: record{channel: "rec:short"}, nodes: p.nodes, started: true, epoch: was.epoch, offset: was.offset}
		back.add(again)
		back.joined()
		p.next(ctx)
		back.heard("rec:short", p.said())
		back.end()
		position, publications := again.events[0], len(again.events)-1
		if position.recovered != recovered || !recovered && publications != 1 || recovered && publications != missed+1 {
			t.Errorf("%d missed: recovered is %v, then %d publications", missed, position.recovered, publications)
		}
		// The record of the one life goes on in the other.
		whole := record{name: "s", channel: "rec:short", events: append(was.events, again.events...)}
		for _, w := range l.check(&whole).wrong {
			t.Errorf("%d missed: %s", missed, w)
		}
	}
}

// F6: a stream in memory does not survive its server, and everybody is told.
func TestMemoryStoreRestarted(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Config{})
	nodes := []*node{
		startNode(t, "a", server.URL(), setting{storage: "memory"}), startNode(t, "b", server.URL(), setting{storage: "memory"}),
	}
	s := begin(t, everywhere(nodes))
	since := time.Now()
	server.Restart()
	s.toldOfNewEpoch(s.end(since))
}

// F1: a node is killed, and its clients recover at the other one, publications flowing all the while.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Config{})
	stays := startNode(t, "stays", server.URL(), setting{})
	for round := range pick(1, 5) {
		dies := startNode(t, fmt.Sprint("dies", round), server.URL(), setting{})
		s := begin(t, layout{[]*node{dies, stays}, []*node{stays}, []*node{dies, stays}})
		since := time.Now()
		dies.kill()
		v := s.end(since)
		s.wantRecovered(v)
		if v.recovered == 0 {
			t.Error("nobody had to recover: was that the wrong node?")
		}
	}
}

// F15: very many come back to one channel at once, to a node that has it in memory, and to one that has not.
func TestThunderingRecovery(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Config{})
	warm := startNode(t, "warm", server.URL(), setting{})
	l := newLedger()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := newPublisher(l, "p", []*node{warm}, []string{"rec:storm"})
	defer p.client.CloseIdleConnections()
	first := join(t, p.nodes, p.channels, 1)
	first.end()
	was := first.members[0]
	for range stormMissed {
		p.next(ctx)
	}
	for _, n := range []*node{warm, startNode(t, "cold", server.URL(), setting{})} {
		storm(t, l, n, was)
	}
}

const stormMissed = 100 // publications that each of them has missed

func storm(t *testing.T, l *ledger, n *node, was *subscriber) {
	const reads = `throng_stream_reads_total{kind="all"}`
	before := n.metric(reads)
	began := time.Now()
	c := startCrowd(t)
	for range pick(1000, 10_000) {
		c.add(&subscriber{record: record{channel: was.channel}, nodes: []*node{n}, started: true, epoch: was.epoch, offset: was.offset})
	}
	c.await("recovered", func(s *subscriber) bool { _, seen := s.stands(); return seen == stormMissed })
	took := time.Since(began)
	asked := n.metric(reads) - before
	c.end()
	for _, s := range c.members { // who comes with a position continues the record of who had it
		s.events = append([]event{{epoch: was.epoch, offset: was.offset}}, s.events...)
	}
	v := c.check(l)
	t.Logf("%s: %d subscribers recovered %d publications in %v with %.0f questions to NATS", n.id, len(c.members), v.seen, took.Round(time.Millisecond), asked)
	if v.unrecovered > 0 || v.recovered < len(c.members) {
		t.Errorf("%s: %d recovered, %d not", n.id, v.recovered, v.unrecovered)
	}
	// One read of a channel per 100 ms, of a few questions each: the page, and what proves that nothing is missing before it.
	if most := 5 * (took.Seconds()*10 + 2); asked > most {
		t.Errorf("%s: %.0f questions to NATS in %v, want %.0f at most", n.id, asked, took, most)
	}
}
