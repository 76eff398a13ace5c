package members

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"throng/server/hub"
	"throng/server/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// country is a cluster of nodes in a synctest bubble: joins and leaves travel, take their time, and are lost where the link is
// cut. The control plane is as package broker's: heartbeats every second, forgotten after 12.
type country struct {
	t     testing.TB
	stop  chan struct{}
	wg    sync.WaitGroup
	delay time.Duration // a message or an answer takes up to so long

	mu    sync.Mutex
	rnd   *rand.Rand
	nodes []*town
	fail  func(to *town) bool // an answer that does not come
	asked int
}

// town is a node.
type town struct {
	c     *country
	uid   string
	table *Table
	road  chan message

	// Guarded by country.mu.
	here  map[string]map[string]wire.ClientInfo // channel, client
	heard map[string][]string                   // channel: "+client" or "-client", in the order of delivery
	known map[string]time.Time
	link  uint64
	cut   bool
	dead  bool
}

type message struct{ channel, line string }

const forgetAfter = 12 * time.Second

func inCountry(t *testing.T, nodes int, cfg Config, test func(c *country)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &country{t: t, stop: make(chan struct{}), rnd: rand.New(rand.NewPCG(1, 2))}
		for range nodes {
			c.found(cfg)
		}
		c.wg.Go(c.beat)
		time.Sleep(3 * time.Second) // all know each other
		defer func() {
			close(c.stop)
			for _, n := range c.nodes {
				n.table.Close()
				close(n.road)
			}
			c.wg.Wait()
		}()
		test(c)
	})
}

// found adds a node.
func (c *country) found(cfg Config) *town {
	c.mu.Lock()
	n := &town{
		c: c, uid: fmt.Sprint("N", len(c.nodes)), road: make(chan message, 10_000), link: 1,
		here: map[string]map[string]wire.ClientInfo{}, heard: map[string][]string{}, known: map[string]time.Time{},
	}
	c.mu.Unlock()
	n.table = New(cfg, Parts{Hub: n, Cluster: n, Sync: func(context.Context) error { return nil }, Local: n.local})
	c.mu.Lock()
	c.nodes = append(c.nodes, n)
	c.mu.Unlock()
	c.wg.Go(n.travel)
	return n
}

func (c *country) beat() {
	for {
		select {
		case <-c.stop:
			return
		case <-time.After(time.Second):
		}
		c.mu.Lock()
		for _, a := range c.nodes {
			c.hearBeats(a)
		}
		c.mu.Unlock()
	}
}

func (c *country) hearBeats(a *town) {
	for _, b := range c.nodes {
		_, known := a.known[b.uid]
		switch {
		case a == b:
		case a.cut && known, !a.cut && !b.cut && !b.dead:
			a.known[b.uid] = time.Now()
		case time.Since(a.known[b.uid]) > forgetAfter:
			delete(a.known, b.uid)
		}
	}
}

func (n *town) UID() string { return n.uid }

func (n *town) Link() uint64 {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.cut {
		return 0
	}
	return n.link
}

func (n *town) Neighbours(dst []Neighbour) []Neighbour {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for _, o := range n.c.nodes {
		if _, known := n.known[o.uid]; known {
			dst = append(dst, Neighbour{o.uid, o.link})
		}
	}
	return dst
}

// Survey asks the towns that can be reached and misses the others it knows.
func (n *town) Survey(_ context.Context, to string, question []byte) (answers []Answer, missing int, err error) {
	n.c.mu.Lock()
	if n.cut {
		n.c.mu.Unlock()
		return nil, 0, errors.New("cut off")
	}
	n.c.asked++
	var asked []*town
	for _, o := range n.c.nodes {
		_, known := n.known[o.uid]
		switch {
		case to != "" && to != o.uid:
		case o.dead || o.cut || n.c.fail != nil && n.c.fail(o):
			if known {
				missing++
			}
		default:
			asked = append(asked, o)
		}
	}
	n.c.mu.Unlock()
	for _, o := range asked {
		n.c.dawdle()
		data, err := o.table.Answer(question)
		if err != nil {
			missing++
			continue
		}
		answers = append(answers, Answer{Node: o.uid, Data: data})
	}
	n.c.dawdle()
	return answers, missing, nil
}

// dawdle takes some time.
func (c *country) dawdle() {
	c.mu.Lock()
	d := time.Duration(c.rnd.Int64N(int64(c.delay) + 1))
	c.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

func (n *town) Deliver(p hub.Publication) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	sign := "+"
	if p.Meta.Kind == wire.KindLeave {
		sign = "-"
	}
	n.heard[p.Channel] = append(n.heard[p.Channel], sign+p.Meta.Info.Client)
}

func (n *town) local(channel string, limit int) (infos []wire.ClientInfo, all int) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for _, info := range n.here[channel] {
		if all++; all <= limit {
			infos = append(infos, info)
		}
	}
	return infos, all
}

func (n *town) travel() {
	for m := range n.road {
		n.c.dawdle()
		n.table.Receive(m.channel, m.line)
	}
}

// join makes a client of this node a member, as sessions do: first the table of presence, then the message.
func (n *town) join(channel, client string) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.here[channel] == nil {
		n.here[channel] = map[string]wire.ClientInfo{}
	}
	n.here[channel][client] = wire.ClientInfo{User: "u", Client: client, ConnInfo: []byte(`{"a":1}`)}
	n.say(channel, client, wire.KindJoin)
}

func (n *town) leave(channel, client string) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if _, is := n.here[channel][client]; is {
		delete(n.here[channel], client)
		n.say(channel, client, wire.KindLeave)
	}
}

func (n *town) say(channel, client string, kind wire.Kind) {
	info := wire.ClientInfo{User: "u", Client: client, ConnInfo: []byte(`{"a":1}`)}
	line := wire.AppendMeta(nil, &wire.Meta{Kind: kind, Info: &info, Node: n.uid})
	for _, o := range n.c.nodes {
		if o == n || !n.cut && !n.dead && !o.cut && !o.dead {
			o.road <- message{channel, string(line)}
		}
	}
}

func (n *town) setCut(cut bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.cut && !cut {
		n.link++
	}
	n.cut = cut
}

// kill ends a node without a word.
func (n *town) kill() {
	n.c.mu.Lock()
	n.dead, n.here = true, map[string]map[string]wire.ClientInfo{}
	n.c.mu.Unlock()
}

// quit ends a node with a goodbye.
func (n *town) quit() {
	n.kill()
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for _, o := range n.c.nodes {
		delete(o.known, n.uid)
	}
}

// want compares what a node's subscribers have heard of a channel, the order of neighbours in it aside, and starts anew.
func (n *town) want(why, channel string, events ...string) {
	n.c.t.Helper()
	n.c.mu.Lock()
	got := n.heard[channel]
	delete(n.heard, channel)
	n.c.mu.Unlock()
	slices.Sort(got)
	slices.Sort(events)
	if strings.Join(got, " ") != strings.Join(events, " ") {
		n.c.t.Fatalf("%s: heard %v, want %v", why, got, events)
	}
}
