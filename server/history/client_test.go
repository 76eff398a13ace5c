package history

import (
	"sync"

	"throng/server/hub"
)

// modelClient is one client program: it keeps its position when it leaves, and comes back with it.
type modelClient struct {
	w       *world
	mu      sync.Mutex
	gen     int
	channel string
	node    *modelNode
	line    *Line
	sub     *memSub
	has     bool
	epoch   string
	pos     uint64
	live    bool // its subscription is open
	cut     bool
	cache   bool // wants only the newest publication
}

func (c *modelClient) join(n *modelNode) {
	c.mu.Lock()
	c.gen++
	gen := c.gen
	c.node, c.live, c.cut = n, false, false
	sub := &memSub{}
	sub.got = func(p hub.Publication) { c.got(gen, p) }
	sub.cut = func() { c.told(gen) }
	c.sub = sub
	q := Request{Recover: c.has, Offset: c.pos, Epoch: c.epoch, Limit: 5, Cache: c.cache}
	c.mu.Unlock()
	n.hub.hold(c.channel, sub)
	line := n.service.Join(Stream{Namespace: "ns", Size: modelSize}, c.channel)
	c.mu.Lock()
	c.line = line
	c.mu.Unlock()
	if r, now := line.Recover(q, func(r Recovered) { c.answer(gen, q, r) }); now {
		c.answer(gen, q, r)
	}
}

func (c *modelClient) answer(gen int, q Request, r Recovered) {
	w := c.w
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen || c.cut {
		return
	}
	switch {
	case r.Err != nil:
		w.count(&w.errs)
		c.cut = true
		return
	case r.Epoch == "":
		w.fault("%s: answered without a position", c.channel)
	case r.Recovered && c.cache:
		all := w.book.between(c.channel, r.Epoch, 0, r.Top)
		if n := len(r.Publications); n > 1 || n == 1 && !same(all[max(len(all), 1)-1:], r.Publications) {
			w.fault("%s: the newest up to %d is not %v", c.channel, r.Top, offsets(r.Publications))
		}
	case r.Recovered:
		w.count(&w.recovered)
		if q.Epoch != r.Epoch || r.Top < q.Offset {
			w.fault("%s: recovered from %d %s to %d %s", c.channel, q.Offset, q.Epoch, r.Top, r.Epoch)
		}
		want := w.book.between(c.channel, r.Epoch, q.Offset, r.Top)
		if !same(want, r.Publications) {
			w.fault("%s: recovered since %d with %v up to %d, missed were %v", c.channel, q.Offset, offsets(r.Publications), r.Top, want)
		}
	case q.Recover:
		w.count(&w.unrecovered)
	}
	c.has, c.epoch, c.pos = true, r.Epoch, r.Top
	c.live = true
	sub, h := c.sub, c.node.hub
	c.mu.Unlock()
	h.open(sub, r.Top)
	c.mu.Lock()
}

func same(want []bookItem, got []hub.Publication) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i].offset != got[i].Meta.Offset || want[i].data != string(got[i].Data) {
			return false
		}
	}
	return true
}

func offsets(pubs []hub.Publication) (out []uint64) {
	for _, p := range pubs {
		out = append(out, p.Meta.Offset)
	}
	return out
}

// got is a live publication: it must be the one after the position.
func (c *modelClient) got(gen int, p hub.Publication) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen != c.gen || c.cut {
		return
	}
	c.w.count(&c.w.seen)
	next := c.w.book.between(c.channel, c.epoch, c.pos, forever)
	if len(next) == 0 || next[0].offset != p.Meta.Offset || next[0].data != string(p.Data) {
		c.w.fault("%s: at %d %s came %d %q, next are %v", c.channel, c.pos, c.epoch, p.Meta.Offset, p.Data, next[:min(3, len(next))])
	}
	c.pos = p.Meta.Offset
}

func (c *modelClient) told(gen int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen == c.gen {
		c.cut, c.live = true, false
		c.w.count(&c.w.cuts)
	}
}

func (c *modelClient) leave() {
	c.mu.Lock()
	c.gen++
	n, sub, line := c.node, c.sub, c.line
	c.node, c.line, c.live, c.cut = nil, nil, false, false
	c.mu.Unlock()
	if n != nil {
		n.hub.leave(c.channel, sub)
		line.Leave()
	}
}
