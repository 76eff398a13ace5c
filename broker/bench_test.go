package broker_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"throng/broker"
)

// benchNode is one node on an in-process NATS, or on one over loopback TCP.
func benchNode(b *testing.B, tcp bool, limits broker.Limits, h broker.Handler) *broker.NATS {
	b.Helper()
	cfg := broker.Config{Limits: limits}
	if tcp {
		s := startServer(b, "127.0.0.1:0")
		cfg.URLs = []string{s.url()}
	} else {
		cfg.Server = startServer(b, "")
	}
	return connect(b, cfg, h)
}

func syncNode(b *testing.B, n broker.Broker) {
	b.Helper()
	if err := n.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPublish is the caller's side: accept, copy, queue. Nobody listens; refusals for a full queue are retried
// outside the count of ErrBusy, which is reported.
func BenchmarkPublish(b *testing.B) {
	n := benchNode(b, false, broker.Limits{}, func(broker.Message) {})
	data := make([]byte, 128)
	var busy int
	b.ReportAllocs()
	for b.Loop() {
		for errors.Is(n.Publish("livechat", data, false), broker.ErrBusy) {
			busy++
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64(busy)/float64(b.N), "busy/op")
}

// BenchmarkPublishToHandler is the throughput of the whole road on one node: Publish, NATS, reader, Handler, with at
// most 8,192 messages under way so that none is dropped.
func BenchmarkPublishToHandler(b *testing.B) {
	for _, tcp := range []bool{false, true} {
		for _, channels := range []int{1, 64} {
			b.Run(fmt.Sprintf("tcp=%v/channels=%d", tcp, channels), func(b *testing.B) {
				var heard atomic.Int64
				n := benchNode(b, tcp, broker.Limits{}, func(broker.Message) { heard.Add(1) })
				names := make([]string, channels)
				for i := range names {
					names[i] = fmt.Sprintf("room:%d", i)
					n.Subscribe(names[i])
				}
				syncNode(b, n)
				data := make([]byte, 128)
				sent := int64(0)
				b.ReportAllocs()
				used := cpuTime()
				for b.Loop() {
					for sent-heard.Load() >= 8192 {
						time.Sleep(50 * time.Microsecond)
					}
					if err := n.Publish(names[int(sent)%channels], data, false); err != nil {
						b.Fatal(err)
					}
					sent++
				}
				for heard.Load() < sent {
					time.Sleep(50 * time.Microsecond)
				}
				b.ReportMetric(float64(cpuTime()-used)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkLatency is one message at a time, from Publish to Handler.
func BenchmarkLatency(b *testing.B) {
	for _, tcp := range []bool{false, true} {
		b.Run(fmt.Sprintf("tcp=%v", tcp), func(b *testing.B) {
			heard := make(chan struct{}, 1)
			n := benchNode(b, tcp, broker.Limits{}, func(broker.Message) { heard <- struct{}{} })
			n.Subscribe("c")
			syncNode(b, n)
			data := make([]byte, 128)
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if err := n.Publish("c", data, false); err != nil {
					b.Fatal(err)
				}
				<-heard
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

// BenchmarkInterestChurn is one channel joined and left, reconciled with NATS in batches as they come.
func BenchmarkInterestChurn(b *testing.B) {
	n := benchNode(b, false, broker.Limits{}, func(broker.Message) {})
	const batch = 1000
	names := make([]string, batch)
	for i := range names {
		names[i] = fmt.Sprintf("churn:%d", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if name := names[i%batch]; (i/batch)%2 == 0 {
			n.Subscribe(name)
		} else {
			n.Unsubscribe(name)
		}
		if i++; i%batch == 0 {
			syncNode(b, n)
		}
	}
	syncNode(b, n)
}

// BenchmarkMemoryPerChannel is the heap that one channel of interest costs, with names of 20 bytes:
// broker+client+server in one process, and with the server in another process broker+client alone, with a subscription for each and
// with one for all (WideInterest).
func BenchmarkMemoryPerChannel(b *testing.B) {
	const channels = 100_000
	for _, where := range []string{"embedded", "remote", "embedded,wide"} {
		b.Run(where, func(b *testing.B) {
			for b.Loop() {
				n := memoryNode(b, where)
				before := heap()
				for i := range channels {
					n.Subscribe(fmt.Sprintf("channel:%012d", i))
				}
				syncNode(b, n)
				after := heap()
				if got := n.Stats().Interest; got != channels {
					b.Fatalf("interest in %d channels", got)
				}
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/channels, "B/channel")
				b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/channels, "objects/channel")
				n.Close()
			}
		})
	}
}

// cpuTime is what this process has used: publisher, nats.go, nats-server and reader together.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func memoryNode(b *testing.B, where string) *broker.NATS {
	b.Helper()
	limits := broker.Limits{WideInterest: math.MaxInt}
	switch where {
	case "embedded,wide":
		limits.WideInterest = 1
		fallthrough
	case "embedded":
		return benchNode(b, false, limits, func(broker.Message) {})
	}
	c := startChild(b)
	return connect(b, broker.Config{URLs: []string{"nats://" + c.addr}, Limits: limits}, func(broker.Message) {})
}

func heap() runtime.MemStats {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}

// BenchmarkUnwantedMessage is the price of a message that nobody here wants, as a whole and in CPU time of this process: heard by
// the wide subscription, beside one that the NATS server keeps to itself, and one that is wanted.
func BenchmarkUnwantedMessage(b *testing.B) {
	for _, c := range []struct {
		name, channel string
		wide          int
	}{{"kept by the server", "nobodys", math.MaxInt}, {"heard for nothing", "nobodys", 1}, {"wanted, wide", "second", 1}, {"wanted, own", "second", math.MaxInt}} {
		b.Run(c.name, func(b *testing.B) {
			n := benchNode(b, false, broker.Limits{WideInterest: c.wide}, func(broker.Message) {})
			n.Subscribe("first")
			n.Subscribe("second")
			syncNode(b, n)
			data := make([]byte, 128)
			cpu, i := cpuTime(), 0
			for b.Loop() {
				if err := n.Publish(c.channel, data, false); err != nil {
					b.Fatal(err)
				}
				if i++; i%4096 == 0 {
					syncNode(b, n)
				}
			}
			syncNode(b, n)
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
			if st := n.Stats(); st.Lost[broker.LostReaderFull] > 0 {
				b.Errorf("%+v", st)
			}
		})
	}
}
