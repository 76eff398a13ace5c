package hub

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// member is one possible membership of a connection, and what its present life has seen.
type member struct {
	sub    Subscription
	conn   *modelConn
	active bool
	next   int // publication number the channel was at when the life began
	got    int // last number received in this life, -1 none
}

// modelConn is a connection with a member per channel; it checks each frame as it comes.
type modelConn struct {
	shard   int
	m       *model
	members []member
	dirty   bool
	closed  bool
}

type model struct {
	*harness
	rng   *rand.Rand
	conns []*modelConn
	sent  []int // publications delivered per channel
}

func (c *modelConn) Shard() int { return c.shard }
func (c *modelConn) Flush()     { c.dirty = false }

func (c *modelConn) Send(frame []byte) bool {
	for p := range bytes.SplitSeq(bytes.TrimSuffix(frame, []byte(";")), []byte(";")) {
		channel, number, _ := bytes.Cut(p, []byte("/"))
		k, _ := strconv.Atoi(string(channel))
		n, _ := strconv.Atoi(string(bytes.TrimLeft(number, "x")))
		c.members[k].receive(k, n)
	}
	if c.closed || c.dirty {
		return false
	}
	c.dirty = true
	return true
}

func (m *member) receive(channel, n int) {
	t := m.conn.m.t
	switch {
	case !m.active:
		t.Fatalf("channel %d: publication %d after Unsubscribe was applied", channel, n)
	case m.got >= 0 && n != m.got+1:
		t.Fatalf("channel %d: publication %d after %d", channel, n, m.got)
	case m.got < 0 && n > m.next:
		t.Fatalf("channel %d: begins with %d, but %d was delivered after Subscribe", channel, n, m.next)
	}
	m.got = n
}

func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for i := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed+i), func(t *testing.T) { testModel(t, seed+i) })
	}
}

func testModel(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		m := &model{rng: rng, sent: make([]int, 1+rng.IntN(6))}
		m.harness = newHarness(t, Config{
			Shards:          1 + rng.IntN(4),
			MailboxLen:      1 << 20,
			BatchBytes:      1 + rng.IntN(40),
			TurnSubscribers: 1 + rng.IntN(12),
			InterestLinger:  time.Duration(rng.IntN(3)-1) * time.Second,
			InterestStripes: 1 + rng.IntN(3),
		})
		for range 1 + rng.IntN(24) {
			c := &modelConn{m: m, shard: rng.IntN(8), members: make([]member, len(m.sent))}
			for k := range c.members {
				c.members[k] = member{conn: c, sub: Subscription{Sub: c}}
			}
			m.conns = append(m.conns, c)
		}
		for range 2000 {
			m.operation()
			m.check()
		}
		m.settle()
		m.everybodyIsUpToDate()
	})
}

func (m *model) operation() {
	c := m.conns[m.rng.IntN(len(m.conns))]
	k := m.rng.IntN(len(m.sent))
	switch m.rng.IntN(12) {
	case 0, 1, 2:
		m.toggle(c, k)
	case 3:
		c.closed = !c.closed
		for k := range c.members {
			if c.members[k].active {
				m.toggle(c, k)
			}
		}
	case 4, 5, 6:
		for range 1 + m.rng.IntN(4) {
			pad := "xxxxxxxxxxxxxxxxxxxx"[:m.rng.IntN(20)]
			m.deliver(strconv.Itoa(k), pad+strconv.Itoa(m.sent[k]))
			m.sent[k]++
		}
	case 7:
		time.Sleep(time.Duration(m.rng.IntN(1000)) * time.Millisecond)
		m.h.interest.sweep(m.h.interest.now())
	case 8:
		if m.rng.IntN(10) == 0 {
			m.settle()
			m.everybodyIsUpToDate()
		}
	default:
		m.step(m.rng.IntN(len(m.h.shards)))
	}
}

func (m *model) toggle(c *modelConn, k int) {
	mem := &c.members[k]
	mem.active = !mem.active
	if !mem.active {
		m.h.Unsubscribe(&mem.sub)
		return
	}
	mem.next, mem.got = m.sent[k], -1
	m.h.Subscribe(&mem.sub, strconv.Itoa(k))
}

func (m *model) everybodyIsUpToDate() {
	m.t.Helper()
	for _, c := range m.conns {
		if c.dirty {
			m.t.Fatal("a dirty connection was not flushed")
		}
		for k := range c.members {
			mem := &c.members[k]
			last := m.sent[k] - 1
			if mem.active && mem.next <= last && mem.got != last {
				m.t.Fatalf("channel %d: got up to %d of %d", k, mem.got, last)
			}
		}
	}
}
