package broker

import (
	"log/slog"
	"maps"
	"time"
)

// pulse is the dispatcher's sense of time.
type pulse struct {
	c        *Control
	link     uint64 // generation last said hello on
	ticks    int
	settled  bool
	deadline <-chan time.Time
}

func (p *pulse) settling() <-chan time.Time { return p.deadline }

func (p *pulse) settle() {
	p.deadline, p.settled = nil, true
	close(p.c.settled)
}

// tick beats when it is time to, says hello on each new link, and forgets who has been silent too long.
func (p *pulse) tick(now time.Time) {
	p.ticks++
	link := p.c.link.up()
	if link == 0 {
		p.c.pardon(now)
		return
	}
	switch {
	case link != p.link:
		if p.c.beat(kindHello) != nil {
			return
		}
		p.link, p.ticks = link, 0
		if !p.settled {
			p.deadline = time.After(p.c.cfg.SettleTime)
		}
	case p.ticks >= ticksPerBeat:
		p.ticks = 0
		_ = p.c.beat(kindBeat) // a lost beat is what ForgetAfter allows for
	}
	if now.Sub(p.c.echo) > 2*p.c.cfg.HeartbeatInterval {
		p.c.pardon(now) // what does not bring back our own heartbeats does not bring those of others either
		return
	}
	p.c.forget(now)
}

// pardon keeps nodes known while this node has no link: it is not their silence.
func (c *Control) pardon(now time.Time) {
	c.mu.Lock()
	for _, n := range c.known {
		n.heard = now
	}
	c.mu.Unlock()
}

func (c *Control) forget(now time.Time) {
	var gone []Node
	c.mu.Lock()
	maps.DeleteFunc(c.known, func(_ string, n *neighbour) bool {
		old := now.Sub(n.heard) > c.cfg.ForgetAfter
		if old {
			gone = append(gone, n.node)
		}
		return old
	})
	c.mu.Unlock()
	for _, n := range gone {
		c.count.forgotten.Add(1)
		c.events.event(slog.LevelWarn, "node not heard of any more", "name", n.Name, "uid", n.UID)
	}
}
