package broker_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"throng/broker"
)

// BenchmarkStore is what one node stores with an embedded server and a file store: acknowledged publications of 128 bytes
// with an ID each, on 64 channels, at most 8,192 of them waiting, with and without this node hearing them all.
func BenchmarkStore(b *testing.B) {
	for _, c := range []struct {
		name   string
		listen bool
	}{{"unheard", false}, {"heard", true}} {
		b.Run(c.name, func(b *testing.B) { benchStore(b, c.listen) })
	}
}

func benchStore(b *testing.B, listen bool) {
	var heard, failed atomic.Int64
	srv := startServer(b, "")
	n := connect(b, broker.Config{Server: srv}, func(broker.Message) { heard.Add(1) })
	s := startStreams(b, n, broker.StreamsConfig{
		Streams:    []broker.StreamConfig{{Namespace: "chat", Size: 100, MaxAge: time.Hour}},
		AckTimeout: time.Minute, // this measures, also on a machine that others use
	})
	channels := make([]string, 64)
	for i := range channels {
		channels[i] = fmt.Sprintf("chat:%d", i)
		if listen {
			n.Subscribe(channels[i])
		}
	}
	mustSync(b, n)
	const window = 8192
	room := make(chan struct{}, window)
	done := func(r broker.Stored) {
		if r.Err != nil {
			failed.Add(1)
		}
		<-room
	}
	p := broker.StorePublication{Namespace: "chat", Data: make([]byte, 128), Meta: []byte(`{"info":{"client":"x"}}`), Done: done}
	sent := 0
	b.ReportAllocs()
	used := cpuTime()
	for b.Loop() {
		room <- struct{}{}
		p.Channel = channels[sent%len(channels)]
		p.ID = fmt.Sprint(sent)
		if err := s.Store(&p); err != nil {
			b.Fatal(err)
		}
		sent++
	}
	for len(room) > 0 {
		time.Sleep(50 * time.Microsecond)
	}
	b.ReportMetric(float64(cpuTime()-used)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acked/s")
	st := s.Stats()
	b.ReportMetric(float64(st.AckTime.Microseconds())/float64(max(st.Stored, 1)), "ack-us")
	if failed.Load() > 0 {
		b.Errorf("%d failed: %+v", failed.Load(), st)
	}
}

// BenchmarkStoreParallel is the caller's side under contention: many goroutines, as pollers are.
func BenchmarkStoreParallel(b *testing.B) {
	srv := startServer(b, "")
	n := connect(b, broker.Config{Server: srv}, func(broker.Message) {})
	s := startStreams(b, n, broker.StreamsConfig{Streams: []broker.StreamConfig{{Namespace: "chat", Size: 100, MaxAge: time.Hour}}})
	data := make([]byte, 128)
	var busy atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		p := broker.StorePublication{Namespace: "chat", Channel: "chat:1", Data: data}
		for pb.Next() {
			for errors.Is(s.Store(&p), broker.ErrBusy) {
				busy.Add(1)
				runtime.Gosched()
			}
		}
	})
	b.ReportMetric(float64(busy.Load())/float64(b.N), "busy/op")
}

// BenchmarkRead is 100 of 100 stored messages of 128 bytes read back, and one message after a position.
func BenchmarkRead(b *testing.B) {
	srv := startServer(b, "")
	n := connect(b, broker.Config{Server: srv}, func(broker.Message) {})
	s := startStreams(b, n, broker.StreamsConfig{Streams: []broker.StreamConfig{{Namespace: "chat", Size: 100, MaxAge: time.Hour}}})
	var since uint64
	var all sync.WaitGroup
	for range 20000 {
		all.Add(1)
		p := broker.StorePublication{Namespace: "chat", Channel: "chat:other", Data: make([]byte, 128), Done: func(broker.Stored) { all.Done() }}
		if err := s.Store(&p); err != nil {
			b.Fatal(err)
		}
	}
	all.Wait()
	for range 101 {
		since = mustStore(b, s, "chat:0", "x").Offset
	}
	for _, c := range []struct {
		name  string
		since uint64
	}{{"all", 0}, {"last", since - 1}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				p := mustRead(b, s, broker.ReadQuery{Channel: "chat:0", Since: c.since, Limit: 100})
				if len(p.Messages) == 0 {
					b.Fatal("nothing read")
				}
			}
		})
	}
}
