package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

// The model test: nodes, their links, a store and clients are driven at random, and every publication a client sees is compared
// with the list of what was stored. THRONG_SEED repeats a run, THRONG_STEPS makes it longer.

const modelSize = 6 // history_size of the model's namespace

type book struct {
	mu    sync.Mutex
	items map[string][]bookItem // by channel and epoch, oldest first
}

type bookItem struct {
	offset uint64
	data   string
	silent bool
}

func (b *book) write(channel, epoch string, m memMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	item := bookItem{offset: m.Offset, data: string(m.Data)}
	if meta, ok := wire.ParseMeta(m.Meta); m.Meta != "" && (!ok || meta.Kind != wire.KindPublication) {
		item.silent = true
	}
	b.items[channel+"/"+epoch] = append(b.items[channel+"/"+epoch], item)
}

// between are the publications with offsets in (after, until].
func (b *book) between(channel, epoch string, after, until uint64) (out []bookItem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.items[channel+"/"+epoch]
	for _, item := range all[sort.Search(len(all), func(i int) bool { return all[i].offset > after }):] {
		if item.offset > until {
			break
		}
		if !item.silent {
			out = append(out, item)
		}
	}
	return out
}

const forever = 1<<64 - 1

// link is a node's road from the store: republished messages may be lost, repeated or overtake each other.
type link struct {
	mu    sync.Mutex
	cond  *sync.Cond
	inbox []Message
	down  bool
	ended bool
	done  chan struct{}
}

type modelNode struct {
	w       *world
	service *Service
	hub     *memHub
	store   *memStore
	road    atomic.Pointer[link]
}

type world struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand // of the driver
	mu      sync.Mutex
	noise   *rand.Rand // of everything else
	book    *book
	js      *jetStream
	nodes   []*modelNode
	clients []*modelClient
	calm    bool // no faults any more
	failing bool // reads fail
	strange bool // the stream was made anew, and nobody has said so yet
	serial  int

	recovered, unrecovered, cuts, errs, seen, wrong int
}

func (w *world) chance(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm && w.noise.IntN(n) == 0
}

func (w *world) pick(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.noise.IntN(n)
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong++
	if w.wrong < 10 {
		w.t.Errorf("seed %d: "+format, append([]any{w.seed}, args...)...)
	}
}

func (w *world) count(n *int) {
	w.mu.Lock()
	*n++
	w.mu.Unlock()
}

func (w *world) startNode(n *modelNode) {
	n.hub = newMemHub()
	l := &link{done: make(chan struct{})}
	l.cond = sync.NewCond(&l.mu)
	n.road.Store(l)
	weather := func(ctx context.Context, what string) error { return w.weather(ctx, l, what) }
	n.store = &memStore{j: w.js, wait: weather}
	n.service = New(Config{
		Linger: time.Second, TailLen: 5, PendingLen: 3, PageLen: 4, PageBytes: 40, LineTailBytes: 6 * entryOverhead, CheckBatch: 4,
		TailBytes: 24 * entryOverhead, MaxLingering: 3,
	}, Parts{Store: n.store, Hub: n.hub, Sync: func(ctx context.Context) error { return weather(ctx, "sync") }})
	go l.run(n.service, w)
}

// weather is what requests of a node meet.
func (w *world) weather(ctx context.Context, l *link, what string) error {
	if w.chance(3) {
		time.Sleep(time.Duration(w.pick(4000)) * time.Microsecond)
	}
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	w.mu.Lock()
	failing := w.failing && what != "store" && what != "ack"
	w.mu.Unlock()
	if down || failing {
		return errDown
	}
	return ctx.Err()
}

func (l *link) run(v *Service, w *world) {
	defer close(l.done)
	for {
		l.mu.Lock()
		for len(l.inbox) == 0 && !l.ended {
			l.cond.Wait()
		}
		if l.ended {
			l.mu.Unlock()
			return
		}
		m := l.inbox[0]
		l.inbox = l.inbox[1:]
		l.mu.Unlock()
		if w.chance(4) {
			time.Sleep(time.Duration(w.pick(3000)) * time.Microsecond)
		}
		v.Receive(m)
	}
}

func (l *link) end() {
	l.mu.Lock()
	l.ended = true
	l.cond.Broadcast()
	l.mu.Unlock()
	<-l.done
}

// republish is the store's leader telling all nodes.
func (w *world) republish(namespace string, m memMessage, previous uint64) {
	for _, n := range w.nodes {
		msg := Message{
			Channel: m.channel, Namespace: namespace, Data: m.Data, Meta: m.Meta, Offset: m.Offset, Previous: previous, Time: m.Time,
		}
		l := n.road.Load()
		lost, twice, swapped := w.chance(80), w.chance(100), w.chance(60)
		w.mu.Lock()
		lost = lost && !w.strange
		w.mu.Unlock()
		l.mu.Lock()
		if !l.down && !lost {
			l.inbox = append(l.inbox, msg)
			if twice {
				l.inbox = append(l.inbox, msg)
			}
			if k := len(l.inbox); swapped && k > 1 {
				l.inbox[k-1], l.inbox[k-2] = l.inbox[k-2], l.inbox[k-1]
			}
			l.cond.Broadcast()
		}
		l.mu.Unlock()
	}
}

func (n *modelNode) setDown(down bool) {
	l := n.road.Load()
	l.mu.Lock()
	changed := l.down != down
	l.down = down
	l.mu.Unlock()
	if changed {
		n.service.Doubt("")
	}
}

func (w *world) publish() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	w.serial++
	p := &Publication{
		Stream: Stream{Namespace: "ns", Size: modelSize}, Channel: w.channel(), Data: fmt.Append(nil, "m", w.serial),
	}
	if w.rng.IntN(20) == 0 {
		p.Version = uint64(w.serial)
	}
	_ = n.service.Publish(p, func(Position, error) {})
}

func (w *world) channel() string { return fmt.Sprint("ns:", w.rng.IntN(5)) }

func (w *world) step() {
	r := w.rng
	switch k := r.IntN(1000); {
	case k < 520:
		w.publish()
	case k < 860:
		c := w.clients[r.IntN(len(w.clients))]
		if c.node != nil {
			c.leave()
		} else {
			c.join(w.nodes[r.IntN(len(w.nodes))])
		}
	case k < 900:
		for _, c := range w.clients { // who was told something comes back
			c.mu.Lock()
			out := c.cut
			c.mu.Unlock()
			if out {
				n := c.node
				c.leave()
				c.join(n)
			}
		}
	case k < 925:
		time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
	case k < 928:
		time.Sleep(time.Duration(r.IntN(100)) * time.Second)
	case k < 945:
		service, channel := w.nodes[r.IntN(len(w.nodes))].service, w.channel() // of now: the node may restart meanwhile
		go func() {
			_, _ = service.Remove(context.Background(), Stream{Namespace: "ns", Size: modelSize}, channel)
		}()
	case k < 960:
		n := w.nodes[r.IntN(len(w.nodes))]
		n.setDown(r.IntN(4) == 0)
	case k < 963:
		w.mu.Lock()
		w.failing = r.IntN(4) == 0
		w.mu.Unlock()
	case k < 965:
		w.recreate()
	case k < 967:
		w.restart(w.nodes[r.IntN(len(w.nodes))])
	case k < 985:
		w.query()
	default:
		w.nodes[r.IntN(len(w.nodes))].service.Doubt("ns")
	}
	if r.IntN(2) == 0 {
		time.Sleep(time.Duration(r.IntN(8000)) * time.Microsecond)
	}
}

// recreate makes the stream anew, with sequences about where the old ones were, which is worse than what happens. Nodes see
// that by the first message which contradicts what they know, or when they are told. If in this time a message was lost which would
// have shown it, and the next named a predecessor that by chance the old stream had too, nothing could be noticed: not tried.
func (w *world) recreate() {
	w.setStrange(true)
	w.js.recreate("ns", uint64(w.rng.IntN(50)))
	for range w.rng.IntN(20) {
		w.publish()
		time.Sleep(time.Duration(w.rng.IntN(20)) * time.Millisecond)
	}
	for _, n := range w.nodes {
		n.service.Doubt("ns")
	}
	w.setStrange(false)
}

func (w *world) setStrange(strange bool) {
	w.mu.Lock()
	w.strange = strange
	w.mu.Unlock()
}

// query checks that what history tells is a piece of the book, in order, without a hole.
func (w *world) query() {
	n, channel := w.nodes[w.rng.IntN(len(w.nodes))], w.channel()
	q := Query{Limit: w.rng.IntN(8) - 1, Reverse: w.rng.IntN(2) == 0}
	go func() {
		r, err := n.service.Query(context.Background(), Stream{Namespace: "ns", Size: modelSize}, channel, q)
		if err != nil || len(r.Publications) == 0 {
			return
		}
		got := append([]hub.Publication(nil), r.Publications...)
		sort.Slice(got, func(i, j int) bool { return got[i].Meta.Offset < got[j].Meta.Offset })
		first, last := got[0].Meta.Offset, got[len(got)-1].Meta.Offset
		want := w.book.between(channel, r.Position.Epoch, first-1, last)
		if !same(want, got) || len(got) > modelSize || q.Limit >= 0 && len(got) > q.Limit || last > r.Position.Offset {
			w.fault("%s: query %+v gave %v of %v at %d", channel, q, offsets(r.Publications), want, r.Position.Offset)
		}
	}()
}

func (w *world) restart(n *modelNode) {
	for _, c := range w.clients {
		if c.node == n {
			c.leave()
		}
	}
	n.road.Load().end()
	n.service.Close()
	w.startNode(n)
}

// settle heals everything, waits, and wants every client that listens to be where the store is.
func (w *world) settle() {
	w.mu.Lock()
	w.calm, w.failing = true, false
	w.mu.Unlock()
	for _, n := range w.nodes {
		n.setDown(false)
	}
	time.Sleep(3 * time.Minute) // repairs, and two rounds of checks
	synctest.Wait()
	epoch := w.js.epoch("ns")
	for _, c := range w.clients {
		c.mu.Lock()
		if c.node != nil && !c.cut {
			missing := w.book.between(c.channel, c.epoch, c.pos, forever)
			if !c.live || c.epoch != epoch || len(missing) > 0 {
				w.fault("%s: settled at %d %s live=%v, the store is at %s, missing %v", c.channel, c.pos, c.epoch, c.live, epoch, missing)
			}
		}
		c.mu.Unlock()
	}
	w.mu.Lock()
	w.calm = false
	w.mu.Unlock()
}

func runModel(t *testing.T, seed uint64, steps int) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), noise: rand.New(rand.NewPCG(seed, 2)), book: &book{items: map[string][]bookItem{}},
		js: newJetStream(),
	}
	w.js.stored = func(_ string, m memMessage, epoch string) { w.book.write(m.channel, epoch, m) }
	w.js.publish = w.republish
	w.js.add("ns", modelSize, 2*time.Minute, 100)
	for range 2 {
		n := &modelNode{w: w}
		w.startNode(n)
		w.nodes = append(w.nodes, n)
	}
	for i := range 20 {
		w.clients = append(w.clients, &modelClient{w: w, channel: w.channel(), cache: i%5 == 4})
	}
	for i := range steps {
		w.step()
		if i%500 == 499 {
			w.settle()
		}
		if w.wrong > 0 {
			t.Logf("stopped at step %d", i)
			break
		}
	}
	w.settle()
	for _, c := range w.clients {
		c.leave()
	}
	for _, n := range w.nodes {
		n.road.Load().end()
		n.service.Close()
	}
	return w
}

func TestModelNothingRepeatedReorderedOrMissing(t *testing.T) {
	seed, steps := uint64(time.Now().UnixNano()), 100_000
	if s, err := strconv.ParseUint(os.Getenv("THRONG_SEED"), 10, 64); err == nil {
		seed = s
	}
	if n, err := strconv.Atoi(os.Getenv("THRONG_STEPS")); err == nil {
		steps = n
	}
	t.Logf("THRONG_SEED=%d", seed)
	synctest.Test(t, func(t *testing.T) {
		w := runModel(t, seed, steps)
		t.Logf("%d publications seen live, %d recoveries true, %d false, %d cut, %d errors", w.seen, w.recovered, w.unrecovered, w.cuts, w.errs)
		for i, n := range w.nodes {
			t.Logf("node %d: %+v", i, n.service.Stats())
		}
		if w.seen == 0 || w.recovered == 0 || w.unrecovered == 0 || w.cuts == 0 {
			t.Error("the run has not met what it is for")
		}
	})
}
