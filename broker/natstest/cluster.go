package natstest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"throng/broker/natstest/chaosproxy"
)

// Cluster is three servers, n1 to n3, with JetStream between them.
type Cluster struct {
	t       testing.TB
	Servers []*Server
	routes  map[[2]int]*chaosproxy.Proxy // from, to; with ProxiedRoutes
}

const clusterSize = 3

// StartCluster runs three servers and waits until they are one cluster with a leader. They tell clients of no other server
// than the ones in their URL, so that a client stays behind the proxy that it was sent through.
func StartCluster(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	cfg.setDefaults(t)
	c := &Cluster{t: t, routes: map[[2]int]*chaosproxy.Proxy{}}
	var listen [clusterSize]string
	for i := range listen {
		listen[i] = freeAddr(t)
	}
	for i := range listen {
		c.Servers = append(c.Servers, newServer(t, cfg, fmt.Sprintf("n%d", i+1), c.conf(cfg, i, listen)))
	}
	for _, s := range c.Servers {
		s.Start()
	}
	c.WaitReady()
	return c
}

// conf is the cluster block of one server.
func (c *Cluster) conf(cfg Config, i int, listen [clusterSize]string) string {
	var routes []string
	advertise := ""
	for j, to := range listen {
		if j == i {
			continue
		}
		if cfg.ProxiedRoutes {
			p := chaosproxy.Start(c.t, to)
			c.routes[[2]int{i, j}] = p
			to = p.Addr()
		}
		routes = append(routes, fmt.Sprintf("%q", "nats://"+to))
	}
	if cfg.ProxiedRoutes { // what servers learn of each other by gossip must not lead past the proxies: a closed port
		advertise = fmt.Sprintf(", advertise: %q", freeAddr(c.t))
	}
	return fmt.Sprintf("cluster { name: natstest, listen: %q, no_advertise: true, routes: [%s]%s }", listen[i], strings.Join(routes, ", "), advertise)
}

// URL has the addresses of all servers.
func (c *Cluster) URL() string {
	var urls []string
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// Connect is a NATS client of the whole cluster; closed at the end of the test.
func (c *Cluster) Connect(opts ...nats.Option) *nats.Conn {
	c.t.Helper()
	return connect(c.t, c.URL(), opts)
}

// WaitReady returns when every server runs, is ready, and all have the same leader.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	for _, s := range c.Servers {
		s.WaitReady()
	}
	if c.Servers[0].cfg.NoJetStream {
		return
	}
	await(c.t, "one leader of all", func() bool {
		var leaders []string
		for _, s := range c.Servers {
			j, err := s.jetStream()
			if err != nil || j.Meta.Leader == "" || j.Meta.Size != clusterSize {
				return false
			}
			leaders = append(leaders, j.Meta.Leader)
		}
		return len(slices.Compact(leaders)) == 1
	})
}

// Leader waits until one server that answers leads the stream, and says which. A server that has not heard yet of its
// successor may still think that it leads: then the one that most others follow is meant.
func (c *Cluster) Leader(stream string) *Server {
	c.t.Helper()
	var leader *Server
	await(c.t, "a leader of "+stream, func() bool {
		leader = c.leader(stream)
		return leader != nil
	})
	return leader
}

func (c *Cluster) leader(stream string) *Server {
	votes := map[string]int{}
	for _, s := range c.Servers {
		if d := s.stream(stream); d != nil {
			votes[d.Cluster.Leader]++
		}
	}
	for _, s := range c.Servers {
		if votes[s.name]*2 > clusterSize && s.Answering() {
			return s
		}
	}
	return nil
}

// WaitCurrent returns when every replica of the stream is in step with its leader.
func (c *Cluster) WaitCurrent(stream string) {
	c.t.Helper()
	await(c.t, "all replicas of "+stream+" current", func() bool {
		s := c.leader(stream)
		if s == nil {
			return false
		}
		d := s.stream(stream)
		if d == nil || len(d.Cluster.Replicas) != clusterSize-1 {
			return false
		}
		for _, r := range d.Cluster.Replicas {
			if !r.Current || r.Offline {
				return false
			}
		}
		return true
	})
}

// Others are all servers but that one.
func (c *Cluster) Others(than *Server) []*Server {
	return slices.DeleteFunc(slices.Clone(c.Servers), func(s *Server) bool { return s == than })
}

// Partition lets nothing through between this server and the others, neither way, until Heal. Needs ProxiedRoutes.
func (c *Cluster) Partition(alone *Server) {
	c.t.Helper()
	if len(c.routes) == 0 {
		c.t.Fatal("natstest: Partition without ProxiedRoutes")
	}
	at := slices.Index(c.Servers, alone)
	for route, p := range c.routes {
		if route[0] == at || route[1] == at {
			p.Hold()
		}
	}
}

// Heal ends Partition.
func (c *Cluster) Heal() {
	for _, p := range c.routes {
		p.Heal()
	}
}
