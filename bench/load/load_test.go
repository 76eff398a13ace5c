package load

import (
	"context"
	"errors"
	"io"
	"maps"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"throng/bench/engine"
	"throng/bench/nullserver"
)

func startServer(t *testing.T) *nullserver.Server {
	t.Helper()
	s, err := nullserver.Start(nullserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// children starts n workers in processes of their own.
func children(t *testing.T, n int) (links []io.ReadWriteCloser) {
	t.Helper()
	for range n {
		c, err := StartChild(nil)
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, c)
	}
	return links
}

func TestProcessesTogetherMakeOneLoad(t *testing.T) {
	s := startServer(t)
	ctx := testContext(t)
	plan := Plan{Targets: []string{s.URL()}, Dialect: "raw", Connections: 500, Channels: 1, Payload: 128, Run: 7}
	f, err := Assemble(ctx, plan, children(t, 3), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Open(ctx, engine.OpenOrder{InFlight: 100}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := f.All(ctx, Order{Op: OpBurst, Burst: &engine.BurstOrder{Messages: 5, Timeout: 5 * time.Second}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Collect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string][2]uint64{
		"opened":   {got.Counters.Opened, 500},
		"sent":     {got.Counters.Sent, 20},
		"owed":     {got.Counters.Owed, 10_000},
		"received": {got.Counters.Received, 10_000},
		"timed":    {uint64(got.Latency.TotalCount()), 10_000},
		"members":  {uint64(got.Channels[0].Members), 500},
	} {
		if x[0] != x[1] {
			t.Errorf("%s = %d, want %d", name, x[0], x[1])
		}
	}
}

func TestADeadLoadProcessEndsTheRunWithAnError(t *testing.T) {
	s := startServer(t)
	ctx := testContext(t)
	links := children(t, 2)
	plan := Plan{Targets: []string{s.URL()}, Dialect: "raw", Connections: 20, Channels: 1, Payload: 128}
	f, err := Assemble(ctx, plan, links, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := links[1].(*Child).cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for err == nil { // the death is noticed by the first order after it
		_, err = f.Peek(ctx)
	}
	if !errors.Is(err, errLink) && ctx.Err() != nil {
		t.Errorf("got %v, want a link error", err)
	}
}

func TestOrdersBeforeSetupAndUnknownOnesAreRefused(t *testing.T) {
	ctx := testContext(t)
	m := newMember(StartLocal())
	defer func() { _ = m.link.Close(); <-m.ended }()
	if _, err := m.await(ctx, Order{Op: OpPeek}); err == nil {
		t.Error("peek before setup must fail")
	}
	if _, err := m.await(ctx, Order{Op: OpSetup, Plan: &Plan{Dialect: "klingon", Targets: []string{"ws://127.0.0.1:1/"}}}); err == nil {
		t.Error("an unknown dialect must fail")
	}
	s := startServer(t)
	plan := &Plan{Dialect: "raw", Targets: []string{s.URL()}, Payload: 128, Share: Share{Count: 1}}
	if _, err := m.await(ctx, Order{Op: OpSetup, Plan: plan}); err != nil {
		t.Fatal(err)
	}
	for _, op := range []Op{"dance", OpOpen, OpBurst, OpPublish, OpPhase} {
		if _, err := m.await(ctx, Order{Op: op}); err == nil {
			t.Errorf("%s without what it needs must fail", op)
		}
	}
}

func TestHistogramsMergeAsIfRecordedTogether(t *testing.T) {
	whole := engine.NewHistogram()
	var parts []*Stats
	for i := range 3 {
		h := engine.NewHistogram()
		for v := int64(1); v < 100_000; v += 7 {
			for _, x := range []*hdrhistogram.Histogram{h, whole} {
				if err := x.RecordValue(v * int64(i+1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		text, err := EncodeHistogram(h)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, &Stats{Latency: text, Failures: map[string]uint64{"reset": uint64(i)}})
	}
	got, err := Merge(append(parts, nil, &Stats{}))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Latency.Equals(whole) {
		t.Error("the merged histogram differs from the one of all values")
	}
	if !maps.Equal(got.Failures, map[string]uint64{"reset": 3}) {
		t.Errorf("failures %v", got.Failures)
	}
	if _, err := Merge([]*Stats{{Latency: "no histogram"}}); err == nil {
		t.Error("a damaged histogram must be an error, not an empty one")
	}
}

func TestSharesCoverEveryConnectionOnce(t *testing.T) {
	for _, n := range []int{1, 7, 500, 1_000_000} {
		for _, workers := range []int{1, 2, 3, 53} {
			at := 0
			for _, s := range Deal(&Plan{Connections: n}, workers) {
				if s.First != at || s.Count < n/workers || s.Count > n/workers+1 {
					t.Fatalf("%d over %d: share %+v at %d", n, workers, s, at)
				}
				at += s.Count
			}
			if at != n {
				t.Fatalf("%d over %d: %d dealt", n, workers, at)
			}
		}
	}
}

func TestMembersOfSumsToAllConnections(t *testing.T) {
	for _, p := range []Plan{
		{Connections: 100, Channels: 7}, {Connections: 100, Channels: 1},
		{Connections: 100, Channels: 15, Members: 7}, {Connections: 99, Channels: 9, Members: 11},
	} {
		sum := 0
		for i := range p.Channels {
			sum += p.MembersOf(i)
		}
		if sum != p.Connections {
			t.Errorf("%+v: members sum to %d", p, sum)
		}
	}
}
