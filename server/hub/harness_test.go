package hub

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// textEncoder makes "channel/data;" of a publication: easy to read back.
func textEncoder(dst []byte, p *Publication) []byte {
	dst = append(dst, p.Channel...)
	dst = append(dst, '/')
	dst = append(dst, p.Data...)
	return append(dst, ';')
}

// fakeBroker keeps the interest it was told and the order of changes.
type fakeBroker struct {
	mu   sync.Mutex
	on   map[string]bool
	log  []string
	errs []string
}

func newFakeBroker() *fakeBroker { return &fakeBroker{on: map[string]bool{}} }

func (b *fakeBroker) Publish(string, []byte, bool) error { return nil }

func (b *fakeBroker) PublishMeta(channel string, data, meta []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf("%s<%s %s", channel, data, meta))
	return nil
}

func (b *fakeBroker) Subscribe(channel string)   { b.change(channel, true) }
func (b *fakeBroker) Unsubscribe(channel string) { b.change(channel, false) }

func (b *fakeBroker) change(channel string, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on[channel] == on {
		b.errs = append(b.errs, fmt.Sprintf("interest in %q set to %v twice", channel, on))
	}
	sign := "+"
	if on {
		b.on[channel] = true
	} else {
		delete(b.on, channel)
		sign = "-"
	}
	b.log = append(b.log, sign+channel)
}

func (b *fakeBroker) history() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.log, " ")
}

// quietBroker is for benchmarks.
type quietBroker struct{}

func (quietBroker) Publish(string, []byte, bool) error      { return nil }
func (quietBroker) PublishMeta(_ string, _, _ []byte) error { return nil }
func (quietBroker) Subscribe(string)                        {}
func (quietBroker) Unsubscribe(string)                      {}

// fakeConn records what it gets. Its fields are safe to read when the hub is at rest.
type fakeConn struct {
	shard   int
	onSend  func(frame []byte)
	frames  [][]byte
	pending int // frames not flushed
	writes  int
	closed  bool
}

func (c *fakeConn) Shard() int { return c.shard }

func (c *fakeConn) Send(frame []byte) bool {
	if c.onSend != nil {
		c.onSend(frame)
	}
	if c.closed {
		return false
	}
	c.frames = append(c.frames, frame)
	c.pending++
	return c.pending == 1
}

func (c *fakeConn) Flush() {
	c.pending = 0
	c.writes++
}

func (c *fakeConn) text() string {
	var b strings.Builder
	for _, f := range c.frames {
		b.Write(f)
	}
	return b.String()
}

// harness drives a hub's shards by hand, one cycle at a time, so that every interleaving can be written down.
type harness struct {
	t      *testing.T
	h      *Hub
	broker *fakeBroker
}

func newHarness(t *testing.T, cfg Config) *harness {
	t.Helper()
	if cfg.Encoders[EncodingRaw] == nil {
		cfg.Encoders[EncodingRaw] = textEncoder
	}
	if cfg.Shards == 0 {
		cfg.Shards = 1
	}
	b := newFakeBroker()
	return &harness{t: t, h: New(cfg, b), broker: b}
}

// started is a harness whose shards run by themselves; it is stopped at the end of the test.
func started(t *testing.T, cfg Config) *harness {
	t.Helper()
	x := newHarness(t, cfg)
	x.h.Start()
	return x
}

func (x *harness) join(c *fakeConn, channel string) *Subscription {
	x.t.Helper()
	s := &Subscription{Sub: c}
	x.h.Subscribe(s, channel)
	return s
}

func (x *harness) deliver(channel string, data ...string) {
	x.t.Helper()
	for _, d := range data {
		x.h.Deliver(Publication{Channel: channel, Data: []byte(d)})
	}
}

// step runs one cycle of a shard without waiting.
func (x *harness) step(shard int) {
	x.t.Helper()
	sh := x.h.shards[shard]
	sh.mail.take(&sh.in, false)
	sh.cycle()
	x.check()
}

// settle runs all shards until nothing is left to do.
func (x *harness) settle() {
	x.t.Helper()
	for busy := true; busy; {
		busy = false
		for i, sh := range x.h.shards {
			if !sh.runq.empty() || len(sh.opening) > 0 || len(sh.mail.queue)+len(sh.mail.control) > 0 || sh.in.released > 0 {
				x.step(i)
				busy = true
			}
		}
	}
}

func (x *harness) want(why, got, want string) {
	x.t.Helper()
	if got != want {
		x.t.Errorf("%s: got %q, want %q", why, got, want)
	}
}

// check is the oracle: it compares the interest table with the shards' lists, mailboxes, jobs and counters and with what
// the broker was told. The hub must be at rest or driven by hand.
func (x *harness) check() {
	x.t.Helper()
	var bad []string
	fail := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	// At rest nobody competes for the locks; they tell the race detector that what follows comes later.
	for i := range x.h.interest.stripes {
		x.h.interest.stripes[i].mu.Lock()
		defer x.h.interest.stripes[i].mu.Unlock()
	}
	for _, sh := range x.h.shards {
		sh.mail.mu.Lock()
		defer sh.mail.mu.Unlock()
	}
	branches := x.checkTable(fail)
	for i, sh := range x.h.shards {
		x.checkShard(i, sh, branches, fail)
	}
	x.broker.mu.Lock()
	bad = append(bad, x.broker.errs...)
	x.broker.mu.Unlock()
	if len(bad) > 0 {
		x.t.Fatalf("check:\n\t%s", strings.Join(bad, "\n\t"))
	}
}

func (x *harness) checkTable(fail func(string, ...any)) map[*branch]bool {
	in := &x.h.interest
	branches := map[*branch]bool{}
	channels, lingering := 0, 0
	for i := range in.stripes {
		st := &in.stripes[i]
		waiting := map[*topic]bool{}
		var before *topic
		for t := st.oldest; t != nil; before, t = t, t.next {
			waiting[t] = true
			if t.prev != before || before != nil && before.deadline > t.deadline {
				fail("linger list of stripe %d is out of order at %q", i, t.name)
			}
		}
		if st.newest != before {
			fail("linger list of stripe %d ends elsewhere", i)
		}
		lingering += len(waiting)
		channels += len(st.topics)
		for name, t := range st.topics {
			checkTopic(name, t, waiting[t], uint16(i), branches, fail)
			if int(in.stripeOf(name)) != i || !x.broker.has(name) {
				fail("%q: in the wrong stripe, or the broker was not told", name)
			}
		}
	}
	if channels != len(x.broker.on) || int64(channels) != in.channels.Load() || int64(lingering) != in.lingering.Load() {
		fail("channels: table %d, broker %d, counter %d; lingering: %d, counter %d",
			channels, len(x.broker.on), in.channels.Load(), lingering, in.lingering.Load())
	}
	return branches
}

func (b *fakeBroker) has(channel string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.on[channel]
}

func checkTopic(name string, t *topic, waits bool, stripe uint16, branches map[*branch]bool, fail func(string, ...any)) {
	if t.name != name || waits != (t.branches == nil) {
		fail("%q: topic is called %q, lingers %v, has branches %v", name, t.name, waits, t.branches != nil)
	}
	shards := map[uint16]bool{}
	for b := t.branches; b != nil; b = b.next {
		if b.topic != t || b.stripe != stripe || b.count == 0 || shards[b.shard] {
			fail("%q: branch of shard %d: count %d, wrong topic or stripe, or twice", name, b.shard, b.count)
		}
		shards[b.shard] = true
		branches[b] = true
	}
}

func (x *harness) checkShard(i int, sh *shard, linked map[*branch]bool, fail func(string, ...any)) {
	balance := map[*branch]int{} // what pending control will add to the list
	queued := map[*branch]int{}
	depth, bytes := sh.in.released, sh.in.releasedBytes
	for b := range linked {
		if int(b.shard) == i {
			balance[b] = 0
		}
	}
	for _, o := range sh.mail.control {
		switch o.kind {
		case opJoin:
			balance[o.branch]++
		case opLeave:
			balance[o.branch]--
		}
	}
	for _, d := range sh.mail.queue {
		queued[d.branch]++
		depth++
		bytes += d.pub.size()
	}
	for j := sh.runq.head; j != nil; j = j.next {
		if _, known := balance[j.branch]; !known {
			balance[j.branch] = 0
		}
		if j.branch.job != j || j.cursor > j.end || j.end > len(j.branch.subs) || j.batch > len(j.pubs) || len(j.pubs) == 0 {
			fail("shard %d: job of %q: cursor %d, end %d, list %d, batch %d of %d", i, j.branch.topic.name,
				j.cursor, j.end, len(j.branch.subs), j.batch, len(j.pubs))
		}
		queued[j.branch] += len(j.pubs)
		depth += len(j.pubs)
		for _, p := range j.pubs {
			bytes += p.size()
		}
	}
	subscribers := 0
	for b, n := range balance {
		subscribers += len(b.subs)
		x.checkList(b, n, linked[b], fail)
		if int(b.queued.Load()) != queued[b] {
			fail("%q: %d publications counted, %d there", b.topic.name, b.queued.Load(), queued[b])
		}
	}
	if int64(subscribers) != sh.subscribers.Load() {
		fail("shard %d: %d in its lists, %d counted", i, subscribers, sh.subscribers.Load())
	}
	if depth != sh.mail.depth || bytes != sh.mail.bytes {
		fail("shard %d: depth %d, counted %d; bytes %d, counted %d", i, depth, sh.mail.depth, bytes, sh.mail.bytes)
	}
	if len(sh.dirty) > 0 {
		fail("shard %d: %d dirty between turns", i, len(sh.dirty))
	}
}

func (x *harness) checkList(b *branch, balance int, linked bool, fail func(string, ...any)) {
	if len(b.subs)+balance != int(b.count) || !linked && b.count > 0 {
		fail("%q shard %d: list %d, pending %+d, interest %d, linked %v", b.topic.name, b.shard, len(b.subs), balance, b.count, linked)
	}
	if cap(b.subs) >= 2*minShrink && cap(b.subs) > 4*len(b.subs) {
		fail("%q shard %d: list of %d keeps room for %d", b.topic.name, b.shard, len(b.subs), cap(b.subs))
	}
	for k, s := range b.subs {
		if int(s.index) != k || s.Sub.Shard()%len(x.h.shards) != int(b.shard) {
			fail("%q shard %d: place %d holds one that thinks it is at %d", b.topic.name, b.shard, k, s.index)
		}
	}
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return out
}
