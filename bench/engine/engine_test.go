package engine

import (
	"context"
	"testing"
	"time"
	"unsafe"

	"throng/bench/nullserver"
)

const testConns = 500

// rig is one engine against one server.
type rig struct {
	t *testing.T
	e *Engine
}

func startServer(t *testing.T, cfg nullserver.Config) *nullserver.Server {
	t.Helper()
	s, err := nullserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func target(t *testing.T, url string) Target {
	t.Helper()
	target, err := ParseTarget(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func startEngine(t *testing.T, cfg Config) *rig {
	t.Helper()
	if cfg.Dialect == nil {
		cfg.Dialect = raw{}
	}
	cfg.Run = 0xbe7c
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); e.Run() }()
	t.Cleanup(func() { e.Stop(); <-ended })
	return &rig{t, e}
}

// do runs f on the loop and waits for the job it starts.
func (r *rig) do(f func(e *Engine, done func())) {
	r.t.Helper()
	ended := make(chan struct{})
	r.e.Do(func(e *Engine) { f(e, func() { close(ended) }) })
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		r.t.Fatal("the engine hangs")
	}
}

func (r *rig) open(order OpenOrder) {
	r.t.Helper()
	if order.To == 0 {
		order.To = r.e.Rows()
	}
	r.do(func(e *Engine, done func()) { e.Open(order, done) })
}

func (r *rig) collect() (s Snapshot) {
	r.t.Helper()
	r.do(func(e *Engine, done func()) { s = e.Collect(); done() })
	return s
}

func (r *rig) burst(n int) {
	r.t.Helper()
	r.do(func(e *Engine, done func()) {
		e.Burst(BurstOrder{Messages: n, Timeout: 2 * time.Second}, done)
	})
}

func (r *rig) want(name string, got, want uint64) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s = %d, want %d", name, got, want)
	}
}

func TestEveryDeliveryIsCountedOnce(t *testing.T) {
	s := startServer(t, nullserver.Config{})
	r := startEngine(t, Config{Targets: []Target{target(t, s.URL())}, Count: testConns})
	r.open(OpenOrder{})
	for range 5 {
		r.burst(3)
	}
	got := r.collect()
	r.want("opened", got.Counters.Opened, testConns)
	r.want("sent", got.Counters.Sent, 15)
	r.want("received", got.Counters.Received, 15*testConns)
	r.want("duplicated", got.Counters.Duplicated, 0)
	r.want("out of order", got.Counters.OutOfOrder, 0)
	r.want("channel's received", got.Channels[0].Received, 15*testConns)
	r.want("latencies", uint64(got.Latency.TotalCount()), 15*testConns)
	r.want("handshakes timed", uint64(got.Connect.TotalCount()), testConns)
}

func TestScheduleIsKeptToTheMessage(t *testing.T) {
	s := startServer(t, nullserver.Config{})
	r := startEngine(t, Config{
		Targets: []Target{target(t, s.URL()).WithRoom()}, Count: 60,
		Channels: 20, Members: 3, Talkers: 3, ChannelPrefix: "r",
	})
	r.open(OpenOrder{})
	r.do(func(e *Engine, done func()) {
		e.Phase(PhaseMeasured)
		e.Publish(PublishOrder{Rate: 50, Count: 4}, done)
	})
	r.burst(0) // its goal is met already: but it makes the loop turn
	var got Snapshot
	for got.Counters.Received < 720 {
		r.do(func(e *Engine, done func()) { got = e.Peek(); done() })
	}
	r.want("sent", got.Counters.Sent, 60*4)
	r.want("received", got.Counters.Received, 60*4*3)
	r.want("misrouted", got.Counters.Misrouted, 0)
}

func TestDropAndReturn(t *testing.T) {
	s := startServer(t, nullserver.Config{})
	r := startEngine(t, Config{Targets: []Target{target(t, s.URL())}, Count: testConns})
	r.open(OpenOrder{})
	r.do(func(e *Engine, done func()) { e.Drop(0, e.Rows()); done() })
	r.open(OpenOrder{Attempts: 5})
	got := r.collect()
	r.want("open", uint64(got.Counters.Open), testConns)
	r.want("opened", got.Counters.Opened, 2*testConns)
	r.want("dropped", got.Counters.Dropped, 0)
}

func TestHeartbeatsAreAnsweredAndMissedOnesFound(t *testing.T) {
	patience := map[bool]time.Duration{false: time.Minute, true: 100 * time.Millisecond}
	for _, mute := range []bool{false, true} {
		s := startServer(t, nullserver.Config{Faults: nullserver.Faults{MutePong: mute}})
		r := startEngine(t, Config{Targets: []Target{target(t, s.URL())}, Count: 50, PongTimeout: patience[mute]})
		r.open(OpenOrder{})
		r.do(func(e *Engine, done func()) { e.Heartbeat(int64(100 * time.Millisecond)); done() })
		var got Snapshot
		for got.Counters.PongsSeen < 100 && got.Counters.Dropped < 50 {
			r.do(func(e *Engine, done func()) { got = e.Peek(); done() })
		}
		if mute {
			r.want("missing heartbeats", got.Drops[KindHeartbeat], 50)
		} else {
			r.want("dropped", got.Counters.Dropped, 0)
		}
	}
}

func TestServerPingsAreAnswered(t *testing.T) {
	s := startServer(t, nullserver.Config{Ping: 20 * time.Millisecond})
	r := startEngine(t, Config{Targets: []Target{target(t, s.URL())}, Count: 20})
	r.open(OpenOrder{})
	var got Snapshot
	for got.Counters.PingsSeen < 100 {
		r.do(func(e *Engine, done func()) { got = e.Peek(); done() })
	}
	r.want("dropped", got.Counters.Dropped, 0)
}

func TestAConnectionIsARowWithoutPointers(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 40 {
		t.Errorf("conn is %d bytes, budget 40", size)
	}
}
