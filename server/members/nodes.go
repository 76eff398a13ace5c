package members

import (
	"sync"
	"sync/atomic"
	"time"
)

// origin is another node, as far as its members are concerned.
type origin struct {
	uid     string
	members atomic.Int64
	away    atomic.Bool // gone, as far as is known: its answers are old
	mourned atomic.Bool // was gone once: leaves of clients that are not on a roster have been told
	spoke   atomic.Bool // a join was heard since the watch last looked: it is not gone, though it is not known

	// The watch's own.
	known  bool          // the control plane knew it when last looked
	losses uint64        // its Neighbour.Losses then
	absent time.Duration // since when it does not; 0: it does
}

// nodes is every node ever heard of.
type nodes struct {
	mu sync.RWMutex
	m  map[string]*origin
}

// maxNodes bounds what forged joins can fill; members of nodes beyond it are not kept.
const maxNodes = 10_000

// of returns a node, or nil if there are too many.
func (n *nodes) of(uid string) *origin {
	n.mu.RLock()
	o := n.m[uid]
	n.mu.RUnlock()
	if o != nil {
		return o
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if o = n.m[uid]; o == nil && len(n.m) < maxNodes {
		o = &origin{uid: uid}
		n.m[uid] = o
	}
	return o
}

func (n *nodes) all() []*origin {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := make([]*origin, 0, len(n.m))
	for _, o := range n.m {
		list = append(list, o)
	}
	return list
}

// runWatch watches the nodes and forgets idle rosters.
func (t *Table) runWatch() {
	tick := time.NewTicker(t.cfg.PollInterval)
	defer tick.Stop()
	w := watch{t: t}
	for {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		t.queue.keepIdle(t.retire(t.queue.takeIdle()))
		t.queue.retry(t.now())
		w.look(t.now())
	}
}

// watch compares the nodes there are with those there were.
type watch struct {
	t          *Table
	link       uint64
	neighbours []Neighbour
}

func (w *watch) look(now time.Duration) {
	t := w.t
	link := t.parts.Cluster.Link()
	if link == 0 {
		return // cut off: nobody's silence means anything
	}
	again := w.link != 0 && w.link != link
	w.link = link
	w.neighbours = t.parts.Cluster.Neighbours(w.neighbours[:0])
	here := make(map[*origin]bool, len(w.neighbours))
	for _, n := range w.neighbours {
		o := t.nodes.of(n.UID)
		if o == nil {
			continue
		}
		here[o] = true
		if !o.known || again || o.losses != n.Losses {
			o.known, o.absent, o.losses = true, 0, n.Losses
			o.away.Store(false)
			t.queue.sweep(n.UID)
		}
	}
	for _, o := range t.nodes.all() {
		if !here[o] {
			w.missed(o, now)
		}
	}
}

// missed is called for each node that is not there.
func (w *watch) missed(o *origin, now time.Duration) {
	if spoke := o.spoke.Swap(false); o.absent == 0 || spoke && !o.known {
		o.absent = now
	}
	if !o.known && now-o.absent < w.t.cfg.StrangerGrace {
		return
	}
	if o.known {
		w.t.count.gone.Add(1)
	}
	o.known, o.absent = false, now
	o.away.Store(true)
	o.mourned.Store(true)
	w.t.mourn(o)
}
