package members

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

// Hub is what a Table needs of *hub.Hub, which has it.
type Hub interface {
	// Deliver may wait for room.
	Deliver(p hub.Publication)
}

// Cluster is the other nodes, as the control plane knows them. Its methods may be called by any goroutine.
type Cluster interface {
	// UID is this node's, as joins and leaves carry it.
	UID() string
	// Neighbours appends the other nodes there are at this moment to dst; does not block.
	Neighbours(dst []Neighbour) []Neighbour
	// Link counts the connects of this node, 0 while it is cut off; does not block.
	Link() uint64
	// Survey puts a question to all nodes, or to the one with the uid to. It may block until ctx ends. missing is how many nodes
	// should have answered and did not, or had no answer; err is for when nobody, or not everybody, could be asked.
	Survey(ctx context.Context, to string, question []byte) (answers []Answer, missing int, err error)
}

// Neighbour is another node.
type Neighbour struct {
	UID    string
	Losses uint64 // grows when joins or leaves it said may be lost: with each reconnect, for one
}

// Answer is one node's answer to a question.
type Answer struct {
	Node string // uid
	Data []byte
}

// Parts is what a Table stands on; all are needed.
type Parts struct {
	Hub     Hub
	Cluster Cluster
	// Sync blocks until NATS knows of all interest that was declared before.
	Sync func(ctx context.Context) error
	// Local is who is in a channel on this node as far as others are told of it, at most limit of them, and how many there are.
	Local func(channel string, limit int) (infos []wire.ClientInfo, all int)
}

// Table is the rosters of a node. Make it with New. All methods may be called by any goroutine.
type Table struct {
	cfg    Config
	parts  Parts
	self   string
	seed   maphash.Seed
	start  time.Time
	queue  queue
	nodes  nodes
	count  counters
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	members atomic.Int64
	bytes   atomic.Int64
	rosters atomic.Int64
	spoilt  atomic.Int64 // rosters that are degraded

	stripes [stripes]stripe
}

const stripes = 64

type stripe struct {
	mu sync.Mutex
	m  map[string]*roster
	_  [40]byte // own cache line
}

// New makes a Table and starts its two goroutines; it panics if cfg.Validate finds fault or a part is missing. Close ends it.
func New(cfg Config, parts Parts) *Table {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if parts.Hub == nil || parts.Cluster == nil || parts.Sync == nil || parts.Local == nil {
		panic("members: New without all Parts")
	}
	t := &Table{cfg: cfg.withDefaults(), parts: parts, self: parts.Cluster.UID(), seed: maphash.MakeSeed(), start: time.Now()}
	for i := range t.stripes {
		t.stripes[i].m = make(map[string]*roster)
	}
	t.queue.signal = make(chan struct{}, 1)
	t.nodes.m = make(map[string]*origin)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.runSeeder)
	t.wg.Go(t.runWatch)
	return t
}

// Close ends the goroutines and waits for them. Before the hub and the control plane are closed. Idempotent.
func (t *Table) Close() {
	t.cancel()
	t.wg.Wait()
}

func (t *Table) now() time.Duration { return time.Since(t.start) }

func (t *Table) stripeOf(channel string) *stripe {
	return &t.stripes[maphash.String(t.seed, channel)%stripes]
}

func (t *Table) find(channel string) *roster {
	st := t.stripeOf(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.m[channel]
}

// all appends every roster to dst.
func (t *Table) all(dst []*roster) []*roster {
	for i := range t.stripes {
		st := &t.stripes[i]
		st.mu.Lock()
		for _, r := range st.m {
			dst = append(dst, r)
		}
		st.mu.Unlock()
	}
	return dst
}

// Watch counts one more subscription of this node that hears joins and leaves of channel, which is kept; call it after
// hub.Subscribe. Never blocks.
func (t *Table) Watch(channel string) {
	st := t.stripeOf(channel)
	st.mu.Lock()
	r := st.m[channel]
	fresh := r == nil
	if fresh {
		r = &roster{name: channel, link: t.parts.Cluster.Link()}
		st.m[channel] = r
		t.rosters.Add(1)
	}
	r.watchers++
	// While it was idle the interest may have lapsed and joins be missed.
	stale := r.watchers == 1 && !fresh && t.now()-r.idleSince >= t.cfg.Linger/2
	st.mu.Unlock()
	if fresh || stale {
		t.queue.push(r)
	}
}

// Unwatch takes back one Watch of channel. Never blocks.
func (t *Table) Unwatch(channel string) {
	st := t.stripeOf(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	r := st.m[channel]
	if r == nil || r.watchers == 0 {
		panic("members: Unwatch without Watch")
	}
	r.watchers--
	if r.watchers > 0 {
		return
	}
	r.idleSince = t.now()
	if !r.idling {
		r.idling = true
		t.queue.idle(r)
	}
}

// retire forgets rosters that have been idle for long enough, and returns those that have not.
func (t *Table) retire(idle []*roster) (rest []*roster) {
	for _, r := range idle {
		st := t.stripeOf(r.name)
		st.mu.Lock()
		switch {
		case r.watchers > 0:
			r.idling = false
			st.mu.Unlock()
			continue
		case t.now()-r.idleSince < t.cfg.Linger/2:
			st.mu.Unlock()
			rest = append(rest, r)
			continue
		}
		delete(st.m, r.name)
		st.mu.Unlock()
		t.rosters.Add(-1)
		r.mu.Lock()
		r.dead = true
		t.empty(r)
		if r.degraded {
			t.spoilt.Add(-1)
		}
		r.mu.Unlock()
	}
	return rest
}

// Receive takes a message as it came from the broker, if its meta line says that it is a join or a leave; false: it is none, or
// cannot be read, and nothing was done. What local subscribers are to hear is delivered to the hub, so Receive may wait as
// hub.Deliver does. For order, one goroutine at a time per channel. channel is kept.
func (t *Table) Receive(channel, line string) bool {
	if !strings.HasPrefix(line, `{"kind":"join"`) && !strings.HasPrefix(line, `{"kind":"leave"`) {
		return false
	}
	m, ok := wire.ParseMeta(line)
	if !ok {
		return false
	}
	p := hub.Publication{Channel: channel, Meta: m}
	if m.Info == nil || m.Node == "" || m.Node == t.self {
		t.parts.Hub.Deliver(p)
		return true
	}
	r := t.find(channel)
	var from *origin
	if r != nil {
		from = t.nodes.of(m.Node)
	}
	if from == nil {
		t.parts.Hub.Deliver(p)
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.hear(r, from, m) {
		t.parts.Hub.Deliver(p)
	} else {
		t.count.repeated.Add(1)
	}
	return true
}

// tell lets local subscribers hear a join or leave that no message told. The caller holds r's lock.
func (t *Table) tell(r *roster, kind wire.Kind, from *origin, info *wire.ClientInfo) {
	t.parts.Hub.Deliver(hub.Publication{Channel: r.name, Meta: &wire.Meta{Kind: kind, Info: info, Node: from.uid}})
}
