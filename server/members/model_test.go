package members

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "seed of the model test; 0: of the clock")
	modelSteps = flag.Int("model.steps", 20_000, "steps of the model test")
)

// TestModel lets clients come and go on nodes that die, are cut off and come back, with messages and answers that take their time,
// and holds what subscribers heard against what is true: a client's joins and leaves take turns, and in the end who is told to be
// there is there.
func TestModel(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-model.seed=%d", seed)
	for run := range max(*modelSteps/1000, 1) {
		inCountry(t, 3, Config{}, func(c *country) {
			m := &model{c: c, rnd: rand.New(rand.NewPCG(seed, uint64(run))), watching: map[*town]bool{}}
			c.rnd = rand.New(rand.NewPCG(seed, uint64(run)))
			c.delay = 40 * time.Millisecond
			m.run(1000)
		})
		if t.Failed() {
			return
		}
	}
}

type model struct {
	c        *country
	rnd      *rand.Rand
	watching map[*town]bool
	began    time.Time
	last     int
	diary    []string
}

func (m *model) note(format string, args ...any) {
	m.diary = append(m.diary, fmt.Sprintf("%v ", time.Since(m.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (m *model) run(steps int) {
	m.began = time.Now()
	for range steps {
		m.step()
		if m.rnd.IntN(3) == 0 {
			time.Sleep(time.Duration(m.rnd.Int64N(int64(300 * time.Millisecond))))
		}
	}
	for _, n := range m.c.nodes {
		n.setCut(false)
	}
	time.Sleep(2 * time.Minute)
	m.check()
}

func (m *model) step() {
	n := m.c.nodes[m.rnd.IntN(len(m.c.nodes))]
	m.c.mu.Lock()
	dead, cut := n.dead, n.cut
	var some string
	for id := range n.here[room] {
		some = id
		break
	}
	m.c.mu.Unlock()
	if dead {
		return
	}
	switch p := m.rnd.IntN(1000); {
	case p < 450:
		m.last++
		m.note("%s: %d joins, cut %t", n.uid, m.last, cut)
		n.join(room, fmt.Sprint(m.last))
	case p < 900:
		m.note("%s: %s leaves, cut %t", n.uid, some, cut)
		n.leave(room, some)
	case p < 930:
		m.note("%s: cut %t", n.uid, !cut)
		n.setCut(!cut)
	case p < 934:
		m.end(n, true)
	case p < 938:
		m.end(n, false)
	case !m.watching[n]:
		m.watching[n] = true
		m.c.mu.Lock()
		delete(n.heard, room)
		m.c.mu.Unlock()
		n.table.Watch(room)
	}
	if m.rnd.IntN(20) == 0 {
		time.Sleep(time.Duration(m.rnd.Int64N(int64(20 * time.Second))))
	}
}

// end ends a node and starts another.
func (m *model) end(n *town, suddenly bool) {
	m.note("%s ends, suddenly: %t", n.uid, suddenly)
	if suddenly {
		n.kill()
	} else {
		n.quit()
	}
	m.c.found(Config{})
}

func (m *model) check() {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	there := map[string]bool{}
	for _, n := range m.c.nodes {
		for id := range n.here[room] {
			there[id] = true
		}
	}
	for _, n := range m.c.nodes {
		if !m.watching[n] || n.dead {
			continue
		}
		in := map[string]string{} // client: last heard
		for i, event := range n.heard[room] {
			sign, id := event[:1], event[1:]
			if in[id] == sign {
				m.c.t.Errorf("%s hears %s twice running, event %d", n.uid, event, i)
				m.tell(id)
			}
			in[id] = sign
		}
		for id, sign := range in {
			if (sign == "+") != there[id] {
				m.c.t.Errorf("%s has heard %s%s last, which is there: %t", n.uid, sign, id, there[id])
				m.tell(id)
			}
		}
	}
}

// tell logs what has to do with a client.
func (m *model) tell(id string) {
	var node string
	for _, line := range m.diary {
		if strings.Contains(line, ": "+id+" ") {
			_, rest, _ := strings.Cut(line, " ")
			node, _, _ = strings.Cut(rest, ":")
		}
	}
	for _, line := range m.diary {
		if strings.Contains(line, ": "+id+" ") || strings.Contains(line, ": cut") || strings.Contains(line, " ends") {
			m.c.t.Log(line, " (client of "+node+")")
		}
	}
}
