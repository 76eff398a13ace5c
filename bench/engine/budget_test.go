package engine

import (
	"runtime"
	"testing"

	"throng/server/wire"
)

// heapOf returns the bytes that an engine of n rows keeps.
func heapOf(t *testing.T, n int) uint64 {
	t.Helper()
	tg := target(t, "ws://127.0.0.1:1/")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e, err := New(Config{Targets: []Target{tg}, Dialect: raw{}, Count: n})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	e.Stop()
	e.Run() // releases at once
	return after.HeapAlloc - before.HeapAlloc
}

func TestAConnectionCostsAtMost300Bytes(t *testing.T) {
	const n = 200_000
	per := float64(heapOf(t, n)-heapOf(t, 1)) / n
	t.Logf("%.1f B per connection", per)
	if per > 300 {
		t.Errorf("%.1f B per connection, budget 300", per)
	}
}

// delivering is an engine with one ready row, off the network.
func delivering(t testing.TB) (*Engine, []byte) {
	t.Helper()
	tg, err := ParseTarget(t.Context(), "ws://127.0.0.1:1/")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Targets: []Target{tg}, Dialect: raw{}, Count: 1, Run: 9})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Stop(); e.Run() })
	e.conns[0].state = stateReady
	st := Stamp{Run: 9, Phase: PhaseWarm, At: e.Now()}
	var frames []byte
	for range 8 {
		payload := AppendStamp([]byte("node:"), &st, 128)
		frames = wire.AppendFrame(frames, wire.OpText, payload)
		st.Seq++
	}
	return e, frames
}

func TestADeliveryAllocatesNothing(t *testing.T) {
	e, frames := delivering(t)
	if n := testing.AllocsPerRun(1000, func() { e.feed(0, frames) }); n != 0 {
		t.Errorf("%v allocations per read of 8 deliveries, budget 0", n)
	}
}

func BenchmarkDelivery(b *testing.B) {
	e, frames := delivering(b)
	b.ReportAllocs()
	for b.Loop() {
		e.feed(0, frames)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8, "ns/delivery")
}
