package history

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"throng/server/hub"
)

// nowhere is a hub without subscribers.
type nowhere struct{ n int }

func (h *nowhere) Deliver(hub.Publication) { h.n++ }
func (*nowhere) Cut(string)                {}

// known is a line that has had its first message, 1.
func known(tb testing.TB, v *Service, channel string) *Line {
	done := make(chan Recovered, 1)
	l := v.Join(Stream{Namespace: "ns", Size: 100}, channel)
	if r, now := l.Recover(Request{}, func(r Recovered) { done <- r }); !now {
		r = <-done
		if r.Err != nil {
			tb.Fatal(r.Err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.top, l.seen, l.bare = 1, 1, false
	return l
}

func bare() *Service {
	js := newJetStream()
	js.add("ns", 100, time.Hour, 0)
	return New(Config{}, Parts{Store: &memStore{j: js}, Hub: new(nowhere), Sync: func(context.Context) error { return nil }})
}

// BenchmarkReceive is a message on a line without trouble, with a tail, from parsing its meta line to the hub's door.
func BenchmarkReceive(b *testing.B) {
	for _, c := range []struct{ name, meta string }{{"plain", ""}, {"info", `{"info":{"user":"42","client":"00000000-0000-0000-0000-000000000000"}}`}} {
		b.Run(c.name, func(b *testing.B) {
			v := bare()
			defer v.Close()
			known(b, v, "ns:a")
			m := Message{Channel: "ns:a", Namespace: "ns", Data: make([]byte, 128), Meta: c.meta, Time: time.Now()}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range uint64(b.N) {
				m.Offset, m.Previous = i+2, i+1
				v.Receive(m)
			}
			if s := v.Stats(); s.Broken > 0 {
				b.Fatalf("%+v", s)
			}
		})
	}
}

// BenchmarkRecover is a recovery from memory with 100 publications missed.
func BenchmarkRecover(b *testing.B) {
	v := bare()
	defer v.Close()
	l := known(b, v, "ns:a")
	l.mu.Lock()
	for i := range uint64(200) {
		e := v.understand("ns:a", &StoredMessage{Offset: i + 2, Time: time.Now(), Data: make([]byte, 128)})
		l.advance(&e)
	}
	q := Request{Recover: true, Offset: 101, Epoch: l.epoch}
	l.mu.Unlock()
	b.ReportAllocs()
	for b.Loop() {
		if r, now := l.Recover(q, nil); !now || len(r.Publications) != 100 {
			b.Fatal(r)
		}
	}
}

// BenchmarkLines tells what an idle line costs in memory, name and table included.
func BenchmarkLines(b *testing.B) {
	v := bare()
	defer v.Close()
	const n = 100_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for b.Loop() {
		for i := range n {
			v.Join(Stream{Namespace: "ns", Size: 100}, fmt.Sprintf("ns:%010d", i))
		}
	}
	b.ReportMetric(float64(heap()-before)/n, "B/line")
	runtime.KeepAlive(v)
}

// The budget of the lines, and of a message on the path without trouble: its Meta, and now and then room in the tail.
func TestReceiveAllocatesOnlyTheMeta(t *testing.T) {
	v := bare()
	defer v.Close()
	known(t, v, "ns:a")
	m := Message{Channel: "ns:a", Namespace: "ns", Data: make([]byte, 128), Offset: 1, Time: time.Now()}
	if n := testing.AllocsPerRun(2000, func() {
		m.Previous = m.Offset
		m.Offset++
		v.Receive(m)
	}); n > 1 {
		t.Errorf("%v allocations a message", n)
	}
	if s := v.Stats(); s.Broken > 0 {
		t.Errorf("%+v", s)
	}
}
