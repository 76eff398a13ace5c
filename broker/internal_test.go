package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func testLimits() *Limits {
	l := &Limits{}
	l.setDefaults()
	return l
}

func TestQueueHandsOverWishesNoLaterThanPublications(t *testing.T) {
	q := newQueue(testLimits())
	q.want("a", true)
	if err := q.publish("a", []byte("1"), false); err != nil {
		t.Fatal(err)
	}
	b := q.take(false)
	if !b.changes["a"] || len(b.items) != 1 {
		t.Fatalf("took %+v", b)
	}
	if again := q.take(false); again.changes != nil || len(again.items) != 0 {
		t.Fatalf("took twice: %+v", again)
	}
	q.want("a", false)
	if held := q.take(true); held.changes != nil || q.pendingChanges() != 1 {
		t.Errorf("wishes taken though held: %+v", held)
	}
	if b := q.take(false); len(b.changes) != 1 || b.changes["a"] {
		t.Errorf("held wish lost: %+v", b)
	}
}

func TestQueueBudgetIsExactAndComesBack(t *testing.T) {
	q := newQueue(&Limits{QueueMessages: 3, QueueBytes: 10})
	for i, want := range []error{nil, nil, nil, ErrBusy} {
		if err := q.publish("c", []byte("12"), false); !errors.Is(err, want) {
			t.Errorf("publication %d: %v, want %v", i, err, want)
		}
	}
	q.release(1, 2)
	if err := q.publish("c", make([]byte, 7), false); !errors.Is(err, ErrBusy) {
		t.Errorf("11 of 10 bytes: %v", err)
	}
	if err := q.publish("c", make([]byte, 6), false); err != nil {
		t.Errorf("10 of 10 bytes: %v", err)
	}
	if m, b := q.messages.Load(), q.bytes.Load(); m != 3 || b != 10 {
		t.Errorf("%d messages, %d bytes reserved", m, b)
	}
	q.close(nil)
	q.release(3, 10)
	if err := q.publish("c", nil, false); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if m, b := q.messages.Load(), q.bytes.Load(); m != 0 || b != 0 {
		t.Errorf("refusals keep %d messages, %d bytes", m, b)
	}
}

func TestQueueNeverExceedsItsBoundsUnderContention(t *testing.T) {
	q := newQueue(&Limits{QueueMessages: 16, QueueBytes: 100})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				_ = q.publish("c", []byte("12345678"), false)
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for running := true; running; {
		select {
		case <-finished:
			running = false
		default:
		}
		b := q.take(false)
		if len(b.items) > 12 {
			t.Fatalf("%d messages of 8 bytes in a queue of 100 bytes", len(b.items))
		}
		for _, it := range b.items {
			q.release(1, int64(len(it.data)))
		}
		q.recycle(b.items)
	}
	if m, b := q.messages.Load(), q.bytes.Load(); m != 0 || b != 0 {
		t.Errorf("%d messages, %d bytes left reserved", m, b)
	}
}

func TestQueueBudgets(t *testing.T) {
	q := newQueue(&Limits{QueueMessages: 1 << 20, QueueBytes: 1 << 30})
	data := make([]byte, 128)
	// Warm both arrays up, as steady state has them.
	for range 2 {
		for range 1000 {
			_ = q.publish("c", data, false)
		}
		q.recycle(q.take(false).items)
	}
	if got := testing.AllocsPerRun(500, func() { _ = q.publish("c", data, false) }); got > 1 {
		t.Errorf("%v allocations to accept, budget 1", got)
	}
	full := newQueue(&Limits{QueueMessages: 1, QueueBytes: 1000})
	_ = full.publish("c", data, false)
	if got := testing.AllocsPerRun(500, func() { _ = full.publish("c", data, false) }); got > 0 {
		t.Errorf("%v allocations to refuse, budget 0", got)
	}
}

func TestReconnectDelayGrowsWithJitterToItsBound(t *testing.T) {
	c := Config{ReconnectMin: 100 * time.Millisecond, ReconnectMax: 5 * time.Second}
	for round, whole := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 6: 3200 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second,
	} {
		seen := make(map[time.Duration]bool)
		for range 100 {
			d := c.reconnectDelay(round)
			seen[d] = true
			if d < whole/2 || d > whole {
				t.Fatalf("round %d: %v, want %v to %v", round, d, whole/2, whole)
			}
		}
		if len(seen) < 10 {
			t.Errorf("round %d: no jitter", round)
		}
	}
}

func TestEventsOfOneKindAreLoggedOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newEventLog(slog.New(slog.NewTextHandler(&out, nil)), 10*time.Second)
		for range 5 {
			l.event(slog.LevelWarn, "x")
			l.event(slog.LevelWarn, "y")
		}
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines, want one per kind:\n%s", n, &out)
		}
		time.Sleep(10 * time.Second)
		l.event(slog.LevelWarn, "x")
		if !strings.Contains(out.String(), "suppressed=4") {
			t.Errorf("suppressed lines not told:\n%s", &out)
		}
	})
}

func TestWhatAConnectionLeavesUnconfirmedIsCountedOnce(t *testing.T) {
	var c counters
	k := newConfirmer(newLink(), &c, &Config{})
	lost := func() uint64 { return c.lost[LostUnconfirmed].Load() }
	k.handed, k.confirmed = 10, 7
	k.roll(0)
	if lost() != 0 {
		t.Fatalf("%d lost without a reconnect", lost())
	}
	k.linkLost()
	k.roll(1)
	k.linkLost()
	if lost() != 3 || k.confirmed != 10 {
		t.Errorf("%d lost, want 3", lost())
	}
	k.handed += 5
	k.roll(2)
	k.roll(1) // a late look at an old connection
	if lost() != 8 {
		t.Errorf("%d lost, want 8", lost())
	}
}

func TestInterestThatNATSForgotIsRestoredAfterReconnect(t *testing.T) {
	e, err := StartEmbedded(EmbeddedConfig{NodeID: "n", StoreDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Shutdown()
	got := make(chan Message, 1)
	n, err := Connect(Config{Server: e, ReconnectMin: 1, ReconnectMax: 1, Logger: slog.New(slog.DiscardHandler)}, func(m Message) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.Subscribe("c")
	if err := n.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.publish.interest["c"].Unsubscribe(); err != nil { // the publisher is idle after Sync
		t.Fatal(err)
	}
	if err := n.conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	for n.Stats().Reconnects == 0 || n.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	if err := n.Publish("c", []byte("x"), false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(30 * time.Second):
		t.Fatalf("not heard: %+v", n.Stats())
	}
}

func TestDrainGivesUpWithItsContextAndCountsTheRest(t *testing.T) {
	e := startEmbedded(t, EmbeddedConfig{})
	gate, entered := make(chan struct{}), make(chan struct{}, 10)
	n, err := Connect(Config{Server: e, Logger: discard}, func(Message) { entered <- struct{}{}; <-gate })
	if err != nil {
		t.Fatal(err)
	}
	n.Subscribe("c")
	for range 10 {
		if err := n.Publish("c", []byte("x"), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() { drained <- n.Drain(ctx) }()
	for !n.shutting.Load() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-n.life.Done()
	close(gate)
	if err := <-drained; !errors.Is(err, context.Canceled) {
		t.Errorf("Drain: %v", err)
	}
	if st := n.Stats(); st.Delivered != 1 || st.Lost[LostClosed] != 9 {
		t.Errorf("%d delivered, %d lost; want 1, 9", st.Delivered, st.Lost[LostClosed])
	}
}

// nats.go abandons the socket of a handshake that fails during a reconnect.
func TestRefusedAttemptsLeaveNothingBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte("authorization: { user: u, password: p }"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEmbedded(t, EmbeddedConfig{ConfigFile: path})
	n, err := Connect(Config{Server: e, User: "u", Password: "wrong", ReconnectMin: 1, ReconnectMax: 1, Logger: discard}, func(Message) {})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	attempts := func(total uint64) {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			v, err := e.server.Varz(nil)
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("attempts stopped: %v, %v", err, n.Ready())
			}
			if v.TotalConnections >= total {
				return
			}
		}
	}
	attempts(5)
	before := runtime.NumGoroutine()
	attempts(105)
	if now := runtime.NumGoroutine(); now > before+20 {
		t.Errorf("%d goroutines after 100 refused attempts, %d before", now, before)
	}
}

func TestLossReasonsHaveDistinctNames(t *testing.T) {
	seen := make(map[string]bool)
	for r := range LossReason(NumLossReasons) {
		seen[r.String()] = true
	}
	if len(seen) != NumLossReasons || seen[""] || seen["unknown"] {
		t.Errorf("names: %v", seen)
	}
	if fmt.Sprint(LossReason(NumLossReasons)) != "unknown" {
		t.Error("a reason beyond the list has a name")
	}
}
