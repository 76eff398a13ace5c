package faults

import (
	"context"
	"fmt"
	"testing"
	"time"

	"throng/broker/natstest"
)

// scene is load on nodes, while something goes wrong.
type scene struct {
	t        *testing.T
	l        *ledger
	channels []string
	crowd    *crowd
	load     *load
}

// scale of a scene.
type scale struct {
	channels, subscribers, publishers int // subscribers: of each channel
	pause                             time.Duration
}

func size() scale {
	return pick(scale{10, 4, 4, 20 * time.Millisecond}, scale{50, 8, 8, 10 * time.Millisecond})
}

// layout says who goes to which nodes: our subscribers, which move to the next when one fails, the SDKs, which stay, and
// publishers, which move.
type layout struct{ subscribe, sdk, publish []*node }

func everywhere(nodes []*node) layout { return layout{nodes, nodes, nodes} }

// begin starts subscribers and publishers, and waits until publications are acknowledged.
func begin(t *testing.T, at layout) *scene {
	t.Helper()
	k := size()
	s := &scene{t: t, l: newLedger()}
	for i := range k.channels {
		s.channels = append(s.channels, fmt.Sprintf("rec:%d", i))
	}
	s.crowd = join(t, at.subscribe, s.channels, k.subscribers)
	for i := range s.channels {
		s.crowd.sdk(at.sdk[i%len(at.sdk)], s.channels[i], i%2 == 0)
	}
	s.crowd.joined()
	var publishers []*publisher
	for i := range k.publishers {
		p := newPublisher(s.l, fmt.Sprintf("%s/%d", t.Name(), i), at.publish, s.channels)
		p.at, p.turn = i, i
		publishers = append(publishers, p)
	}
	s.load = startLoad(t, k.pause, publishers...)
	s.flow("publications are acknowledged", 100)
	return s
}

// flow waits for n more acknowledgements.
func (s *scene) flow(what string, n int) {
	s.t.Helper()
	before, _ := s.l.count()
	await(s.t, what, func() bool { now, _ := s.l.count(); return now >= before+n })
}

// end stops the load, waits until everybody was told of the last publications, and checks it all. since is when the fault
// began.
func (s *scene) end(since time.Time) verdict {
	s.t.Helper()
	s.flow("publications are acknowledged again", 50)
	s.load.finish()
	// Nothing follows that would show a gap at the end: it has to be found all the same.
	var latest ack
	for _, channel := range s.channels {
		if a := s.l.last(channel); a.at.After(latest.at) {
			latest = a
		}
	}
	for _, channel := range s.channels {
		newest := s.l.last(channel)
		if newest.epoch != latest.epoch {
			continue // nothing was published there, or not in the stream that there is now
		}
		s.crowd.await("told of "+newest.id+", the last of "+channel, func(m *subscriber) bool { return m.channel != channel || m.reached(newest) })
	}
	s.crowd.end()
	v := s.crowd.check(s.l)
	acked, refused := s.l.count()
	_, _, slowest := s.l.since(since)
	s.t.Logf("%d acknowledged (longest time without: %v), %d refused (slowest answer %v); %d subscribers were told %d publications, recovered %d times, not recovered %d times",
		acked, s.l.gap(since).Round(time.Millisecond), refused, slowest.Round(time.Millisecond), len(s.crowd.members), v.seen, v.recovered, v.unrecovered)
	return v
}

// wantRecovered: nobody had to be told.
func (s *scene) wantRecovered(v verdict) {
	s.t.Helper()
	if v.unrecovered > 0 {
		s.t.Errorf("%d subscribers were told that they cannot be recovered", v.unrecovered)
	}
}

// answers fails when an application had to wait longer than reliability.md allows for a refusal (F4).
func (s *scene) answers(since time.Time) {
	s.t.Helper()
	if _, _, slowest := s.l.since(since); slowest > requestTimeout {
		s.t.Errorf("a refusal took %v", slowest)
	}
}

const recStream = "throng_hist_rec"

func TestThePromiseOnAClusterOfThree(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, natstest.Config{ProxiedRoutes: true})
	nodes := []*node{startNode(t, "a", c.URL(), setting{replicas: 3}), startNode(t, "b", c.URL(), setting{replicas: 3})}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *natstest.Cluster, []*node)
	}{
		{"stream leader killed and back (F2)", leaderKilled},
		{"stream leader stopped (F3)", leaderStopped},
		{"leader in the minority (F8)", leaderInMinority},
		{"two of three killed (F4)", twoKilled},
		{"all killed (F5)", allKilled},
		{"stream deleted (F6)", streamDeleted},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.run(t, c, nodes)
			c.WaitReady()
			c.WaitCurrent(recStream)
		})
	}
}

func leaderKilled(t *testing.T, c *natstest.Cluster, nodes []*node) {
	s := begin(t, everywhere(nodes))
	since := time.Now()
	for range pick(1, 5) {
		leader := c.Leader(recStream)
		leader.Kill()
		c.Leader(recStream)
		s.flow("publications are acknowledged by the new leader", 20)
		time.Sleep(pick(0, 4*time.Second))
		leader.Start()
		c.WaitReady()
		c.WaitCurrent(recStream)
	}
	s.wantRecovered(s.end(since))
	s.answers(since)
}

func leaderStopped(t *testing.T, c *natstest.Cluster, nodes []*node) {
	s := begin(t, everywhere(nodes))
	since := time.Now()
	for range pick(1, 3) {
		leader := c.Leader(recStream)
		leader.Stop()
		await(t, "another leader", func() bool { return c.Leader(recStream) != leader })
		time.Sleep(pick(time.Second, 4*time.Second))
		leader.Cont()
		c.WaitReady()
	}
	s.wantRecovered(s.end(since))
	s.answers(since)
}

func leaderInMinority(t *testing.T, c *natstest.Cluster, nodes []*node) {
	s := begin(t, everywhere(nodes))
	since := time.Now()
	leader := c.Leader(recStream)
	c.Partition(leader)
	await(t, "another leader", func() bool { return c.Leader(recStream) != leader })
	time.Sleep(pick(time.Second, 30*time.Second))
	c.Heal()
	s.wantRecovered(s.end(since))
	s.answers(since)
}

func twoKilled(t *testing.T, c *natstest.Cluster, nodes []*node) {
	s := begin(t, everywhere(nodes))
	live := startCrowd(t)
	for _, n := range nodes {
		live.add(&subscriber{record: record{channel: "live:x"}, nodes: []*node{n}, plain: true})
	}
	live.joined()
	dead := c.Others(c.Leader(recStream))
	for _, d := range dead {
		d.Kill()
	}
	time.Sleep(500 * time.Millisecond) // acknowledgements that a quorum gave may still be on their way
	since := time.Now()
	await(t, "publications are refused", func() bool { _, refused, _ := s.l.since(since); return refused > 20 })
	volatileGoesOn(t, nodes, live)
	time.Sleep(pick(0, 20*time.Second))
	if acked, _, _ := s.l.since(since); acked > 0 {
		t.Errorf("%d acknowledged by one of three", acked)
	}
	for _, d := range dead {
		d.Start()
	}
	s.end(since)
	s.answers(since)
}

// volatileGoesOn publishes without history until it is heard at every node.
func volatileGoesOn(t *testing.T, nodes []*node, live *crowd) {
	t.Helper()
	l := newLedger()
	p := newPublisher(l, t.Name()+"/live", nodes, []string{"live:x"})
	defer p.client.CloseIdleConnections()
	seen := make([]int, len(live.members))
	for i, m := range live.members {
		_, seen[i] = m.stands()
	}
	await(t, "live traffic goes on", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, _ = p.publish(ctx, nodes[p.turn%len(nodes)], "live:x", "") // without a key: nothing is to be remembered
		p.turn++
		time.Sleep(10 * time.Millisecond)
		for i, m := range live.members {
			if _, now := m.stands(); now == seen[i] {
				return false
			}
		}
		return true
	})
}

func allKilled(t *testing.T, c *natstest.Cluster, nodes []*node) {
	s := begin(t, everywhere(nodes))
	since := time.Now()
	for range pick(1, 3) {
		for _, d := range c.Servers {
			d.Kill()
		}
		for _, d := range c.Servers {
			d.Start()
		}
		c.WaitReady()
	}
	v := s.end(since)
	s.wantRecovered(v)
	for _, channel := range s.channels {
		if n := len(s.l.of(channel)); n > 1 {
			t.Errorf("%s: acknowledged in %d epochs, want 1", channel, n)
		}
	}
}

func streamDeleted(t *testing.T, c *natstest.Cluster, nodes []*node) {
	s := begin(t, everywhere(nodes))
	js := jetStream(t, c.Connect())
	since := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := js.DeleteStream(ctx, recStream); err != nil {
		t.Fatal(err)
	}
	s.toldOfNewEpoch(s.end(since))
}

// toldOfNewEpoch: every subscriber, and all of the same epoch.
func (s *scene) toldOfNewEpoch(v verdict) {
	s.t.Helper()
	if v.unrecovered < len(s.crowd.members) {
		s.t.Errorf("%d of %d subscribers were told", v.unrecovered, len(s.crowd.members))
	}
	epochs := map[string]int{}
	for _, m := range s.crowd.members {
		for i := len(m.events) - 1; i >= 0; i-- {
			if !m.events[i].publication {
				epochs[m.events[i].epoch]++
				break
			}
		}
	}
	if len(epochs) != 1 {
		s.t.Errorf("subscribers are in the epochs %v", epochs)
	}
}
