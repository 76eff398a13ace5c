// Package brokertest is the conformance suite of broker.Broker: what every implementation must keep, run by
// broker's own tests on the in-memory broker and on NATS.
//
// It asserts no timing: what must happen is awaited (with a generous limit, after which the test fails with the
// brokers' Stats), what must not happen is excluded by something later that is ordered behind it.
package brokertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"throng/broker"
)

// Options is what a test wants of the two brokers it is given.
type Options struct {
	Limits broker.Limits
	A, B   broker.Handler
}

// Pair is two nodes on one backing service.
type Pair struct {
	A, B broker.Broker
	// Cut takes the backing service away from both nodes, Heal brings it back. Nil: the implementation has none.
	Cut, Heal func()
}

// Factory starts two brokers that are, or soon will be, ready, and registers their end with t.Cleanup.
type Factory func(t *testing.T, o Options) *Pair

// patience is how long something that must happen may take, even with the race detector on a busy machine.
const patience = 30 * time.Second

// Test runs the suite.
func Test(t *testing.T, start Factory) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, start Factory)
	}{
		{"ready means that publications are accepted", readyMeansReady},
		{"a publication right after Subscribe is heard by its own node", selfDelivery},
		{"a publication reaches the nodes with interest and no other", crossNode},
		{"order per publisher and channel is kept on every node", order},
		{"Unsubscribe stops and a later Subscribe resumes", unsubscribe},
		{"the last of many changes of mind wins", lastWishWins},
		{"binary flag and every byte survive", bytesSurvive},
		{"a meta line arrives beside its data, and only one line is taken", metaSurvives},
		{"Publish copies and receivers share nothing", notAliased},
		{"a full queue refuses with ErrBusy, counts it, and recovers", busy},
		{"a payload over the limit is refused and one at the limit arrives", oversize},
		{"wild channel names are refused or stay apart", wildNames},
		{"ten thousand channels cost no goroutine", manyChannels},
		{"a blocked Handler loses the newest, counted, and keeps the order", readerFull},
		{"a lost link is reported, counted, and healed with its interest", reconnect},
		{"Drain publishes what is queued and then refuses", drain},
		{"Drain hands what was received to Handler", drainDelivers},
		{"Close ends every Handler call and is idempotent", closeEnds},
		{"concurrent use ends in the state of the last wishes", hammer},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) { test.run(t, start) })
	}
}

// inbox is what a node heard. Its method take is a Handler.
type inbox struct {
	mu      sync.Mutex
	heard   []broker.Message
	changed chan struct{} // closed and replaced with each message
}

func newInbox() *inbox { return &inbox{changed: make(chan struct{})} }

func (in *inbox) take(m broker.Message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.heard = append(in.heard, m)
	close(in.changed)
	in.changed = make(chan struct{})
}

// all returns a copy of the list of messages heard so far.
func (in *inbox) all() []broker.Message {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.heard)
}

func (in *inbox) texts(channel string) []string {
	var texts []string
	for _, m := range in.all() {
		if m.Channel == channel {
			texts = append(texts, string(m.Data))
		}
	}
	return texts
}

// await waits until n messages have been heard on all channels together.
func (in *inbox) await(t *testing.T, n int, p *Pair) []broker.Message {
	t.Helper()
	deadline := time.After(patience)
	for {
		in.mu.Lock()
		changed, heard := in.changed, len(in.heard)
		in.mu.Unlock()
		if heard >= n {
			return in.all()
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("heard %d messages, want %d\nA: %+v\nB: %+v", heard, n, p.A.Stats(), p.B.Stats())
		}
	}
}

// pair starts two nodes with inboxes and waits until both are ready.
func pair(t *testing.T, start Factory, limits broker.Limits) (p *Pair, a, b *inbox) {
	t.Helper()
	a, b = newInbox(), newInbox()
	p = start(t, Options{Limits: limits, A: a.take, B: b.take})
	awaitReady(t, p)
	return p, a, b
}

func awaitReady(t *testing.T, p *Pair) {
	t.Helper()
	for _, node := range []broker.Broker{p.A, p.B} {
		eventually(t, "ready", p, func() bool { return node.Ready() == nil })
	}
}

// eventually polls a condition that nothing announces.
func eventually(t *testing.T, what string, p *Pair, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s\nA: %v %+v\nB: %v %+v", what, p.A.Ready(), p.A.Stats(), p.B.Ready(), p.B.Stats())
		}
		time.Sleep(time.Millisecond)
	}
}

func mustSync(t *testing.T, nodes ...broker.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, node := range nodes {
		if err := node.Sync(ctx); err != nil {
			t.Fatalf("Sync: %v", err)
		}
	}
}

func mustPublish(t *testing.T, node broker.Broker, channel, text string) {
	t.Helper()
	if err := node.Publish(channel, []byte(text), false); err != nil {
		t.Fatalf("Publish(%q, %q): %v", channel, text, err)
	}
}

// publishAll publishes and, where the queue is full, comes again: for tests about something else.
func publishAll(node broker.Broker, channel string, data []byte) error {
	for deadline := time.Now().Add(patience); ; {
		err := node.Publish(channel, data, false)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func numbered(prefix string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s%06d", prefix, i)
	}
	return texts
}
