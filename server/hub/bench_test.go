package hub

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"throng/server/wire"
)

// benchConn is the smallest outbox: it appends to a slice and forgets it at Flush.
type benchConn struct {
	out   [][]byte
	shard int
}

func (c *benchConn) Shard() int { return c.shard }

func (c *benchConn) Send(frame []byte) bool {
	c.out = append(c.out, frame)
	return len(c.out) == 1
}

func (c *benchConn) Flush() {
	clear(c.out)
	c.out = c.out[:0]
}

func plainEncoder(dst []byte, p *Publication) []byte { return append(dst, p.Data...) }

func benchHub(shards int) *Hub {
	cfg := Config{Shards: shards}
	cfg.Encoders[EncodingRaw] = plainEncoder
	return New(cfg, quietBroker{})
}

// drain runs the shards by hand until nothing is left.
func drain(h *Hub) {
	for _, sh := range h.shards {
		for sh.mail.take(&sh.in, false); len(sh.in.queue)+len(sh.in.control) > 0 || !sh.runq.empty(); sh.mail.take(&sh.in, false) {
			sh.cycle()
		}
	}
}

// fill subscribes n connections to the channel that name gives for each.
func fill(h *Hub, n int, name func(i int) string) []Subscription {
	conns, subs := make([]benchConn, n), make([]Subscription, n)
	for i := range subs {
		conns[i] = benchConn{shard: i, out: make([][]byte, 0, 1)}
		subs[i].Sub = &conns[i]
		h.Subscribe(&subs[i], name(i))
	}
	drain(h)
	return subs
}

func always(name string) func(int) string { return func(int) string { return name } }

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestFanoutAllocatesOneBufferPerBatch(t *testing.T) {
	for _, subscribers := range []int{1, 100, 5000} {
		for _, inFlight := range []int{1, 8} {
			h := benchHub(1)
			subs := fill(h, subscribers, always("c"))
			pub := Publication{Channel: "c", Data: make([]byte, 128)}
			run := func() {
				for range inFlight {
					h.Deliver(pub)
				}
				drain(h)
			}
			run()
			if n := testing.AllocsPerRun(20, run); n > 1 {
				t.Errorf("%d subscribers, %d in flight: %v allocations, want 1", subscribers, inFlight, n)
			}
			runtime.KeepAlive(subs)
		}
	}
}

func TestSubscribingAllocatesNothing(t *testing.T) {
	h := benchHub(1)
	subs := fill(h, 100, always("c"))
	s := &Subscription{Sub: &benchConn{}}
	cycle := func() {
		h.Subscribe(s, "c")
		drain(h)
		h.Unsubscribe(s)
		drain(h)
	}
	cycle()
	if n := testing.AllocsPerRun(100, cycle); n > 0 {
		t.Errorf("%v allocations per join and leave, want 0", n)
	}
	runtime.KeepAlive(subs)
}

// perEntry measures what the hub keeps for n channels with one subscriber each, and for n subscribers of one channel;
// connections and Subscriptions, which are their owners', are not counted.
func perEntry(n int, name func(i int) string) float64 {
	h := benchHub(2)
	conns, subs := make([]benchConn, n), make([]Subscription, n)
	before := heap()
	for i := range subs {
		conns[i].shard = i
		subs[i].Sub = &conns[i]
		h.Subscribe(&subs[i], name(i))
		if i%1000 == 0 {
			drain(h)
		}
	}
	drain(h)
	used := heap() - before
	runtime.KeepAlive(h)
	runtime.KeepAlive(subs)
	return float64(used) / float64(n)
}

func channelName(i int) string { return "room:" + strconv.Itoa(i) }

func TestMemoryBudgets(t *testing.T) {
	if b := perEntry(200_000, channelName); b > 300 {
		t.Errorf("%.0f B per channel with one subscriber, want at most 300", b)
	}
	if b := perEntry(200_000, always("c")); b > 12 {
		t.Errorf("%.1f B per subscriber beside its Subscription, want at most 12", b)
	}
}

// BenchmarkFanout is one turn: inFlight publications of 128 bytes to all subscribers of a channel, on one shard.
func BenchmarkFanout(b *testing.B) {
	for _, subscribers := range []int{1, 10, 1000, 10_000, 100_000} {
		for _, inFlight := range []int{1, 8} {
			b.Run(fmt.Sprintf("subscribers=%d/inflight=%d", subscribers, inFlight), func(b *testing.B) {
				h := benchHub(1)
				subs := fill(h, subscribers, always("c"))
				pub := Publication{Channel: "c", Data: make([]byte, 128)}
				b.ReportAllocs()
				for b.Loop() {
					for range inFlight {
						h.Deliver(pub)
					}
					drain(h)
				}
				deliveries := float64(b.N) * float64(subscribers*inFlight)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/deliveries, "ns/delivery")
				runtime.KeepAlive(subs)
			})
		}
	}
}

// BenchmarkSpecial is a turn for subscribers off the fast path: filters that want all, and half, of 8 publications, and
// positioned ones that hold them and are then opened.
func BenchmarkSpecial(b *testing.B) {
	const subscribers, inFlight = 10_000, 8
	for name, sp := range map[string]Special{"all": {Filter: prefixFilter("")}, "half": {Filter: prefixFilter("x")}, "hold": {Hold: true}} {
		b.Run(name, func(b *testing.B) {
			h := benchHub(1)
			conns, subs := make([]benchConn, subscribers), make([]Subscription, subscribers)
			join := func() {
				for i := range subs {
					subs[i].Sub = &conns[i]
					h.Unsubscribe(&subs[i])
					h.SubscribeSpecial(&subs[i], "c", sp)
				}
			}
			join()
			drain(h)
			tags := [2][]wire.Tag{{{Key: "t", Value: "x"}}, {{Key: "t", Value: "y"}}}
			b.ReportAllocs()
			for b.Loop() {
				for i := range inFlight {
					h.Deliver(Publication{Channel: "c", Data: make([]byte, 128), Meta: &wire.Meta{Tags: tags[i%2]}})
				}
				drain(h)
				if sp.Hold {
					for i := range subs {
						h.Open(&subs[i], 0, false)
					}
					drain(h)
					join()
					drain(h)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers), "ns/subscriber")
			runtime.KeepAlive(subs)
		})
	}
}

// BenchmarkTurn shows what the length of a turn costs.
func BenchmarkTurn(b *testing.B) {
	const subscribers = 200_000
	for _, turn := range []int{64, 256, 1024, 4096, 16_384, subscribers} {
		b.Run(fmt.Sprintf("subscribers=%d/turn=%d", subscribers, turn), func(b *testing.B) {
			h := benchHub(1)
			h.cfg.TurnSubscribers = turn
			subs := fill(h, subscribers, always("c"))
			pub := Publication{Channel: "c", Data: make([]byte, 128)}
			for b.Loop() {
				h.Deliver(pub)
				drain(h)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers), "ns/delivery")
			runtime.KeepAlive(subs)
		})
	}
}

// BenchmarkManyChannels is the opposite: a publication to each of many channels with one subscriber.
func BenchmarkManyChannels(b *testing.B) {
	const n = 100_000
	h := benchHub(1)
	subs := fill(h, n, channelName)
	names := make([]string, n)
	for i := range names {
		names[i] = channelName(i)
	}
	data := make([]byte, 128)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		h.Deliver(Publication{Channel: names[i%n], Data: data})
		if i++; i%100 == 0 {
			drain(h)
		}
	}
	runtime.KeepAlive(subs)
}

// BenchmarkSubscribe is a join and a leave, applied, among others in one channel.
func BenchmarkSubscribe(b *testing.B) {
	for _, subscribers := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			h := benchHub(1)
			subs := fill(h, subscribers, always("c"))
			s := &Subscription{Sub: &benchConn{}}
			b.ReportAllocs()
			for b.Loop() {
				h.Subscribe(s, "c")
				h.Unsubscribe(s)
				drain(h)
			}
			runtime.KeepAlive(subs)
		})
	}
}

// BenchmarkChannels reports the memory of a million channels with one subscriber each, and of a million subscribers of one.
func BenchmarkChannels(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		b.ReportMetric(perEntry(n, channelName), "B/channel")
		b.ReportMetric(perEntry(n, always("c")), "B/subscriber")
	}
	b.ReportMetric(0, "ns/op")
}
