package members

import (
	"context"
	"slices"
	"sync"
	"time"
)

// queue is what has to be asked, and by when. Its lock is a leaf.
type queue struct {
	signal chan struct{} // capacity 1: there is something to ask

	mu      sync.Mutex
	ready   []*roster // to ask all nodes about
	later   []*roster // not all nodes answered
	retryAt time.Duration
	sweeps  []string  // nodes to ask about all rosters
	resting []*roster // idle rosters
}

func (q *queue) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// push asks all nodes about r soon.
func (q *queue) push(r *roster) {
	q.mu.Lock()
	if !r.queued {
		r.queued = true
		q.ready = append(q.ready, r)
	}
	q.mu.Unlock()
	q.wake()
}

// sweep asks one node about all rosters soon.
func (q *queue) sweep(uid string) {
	q.mu.Lock()
	if !slices.Contains(q.sweeps, uid) {
		q.sweeps = append(q.sweeps, uid)
	}
	q.mu.Unlock()
	q.wake()
}

// postpone asks all nodes about r again in a while.
func (q *queue) postpone(r *roster, at time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.later) == 0 {
		q.retryAt = at
	}
	q.later = append(q.later, r)
}

func (q *queue) retry(now time.Duration) {
	q.mu.Lock()
	var due []*roster
	if now >= q.retryAt {
		due, q.later = q.later, nil
	}
	q.mu.Unlock()
	for _, r := range due {
		q.push(r)
	}
}

func (q *queue) idle(r *roster) {
	q.mu.Lock()
	q.resting = append(q.resting, r)
	q.mu.Unlock()
}

func (q *queue) takeIdle() []*roster {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.resting
	q.resting = nil
	return list
}

func (q *queue) keepIdle(list []*roster) {
	q.mu.Lock()
	q.resting = append(q.resting, list...)
	q.mu.Unlock()
}

// take returns at most n rosters to ask all nodes about.
func (q *queue) take(n int) []*roster {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.ready[:min(n, len(q.ready))]
	q.ready = q.ready[len(batch):]
	for _, r := range batch {
		r.queued = false
	}
	return batch
}

// waiting counts what is to be asked.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready) + len(q.later) + len(q.sweeps)
}

// takeSweep returns a node that has to be asked about all rosters, or "".
func (q *queue) takeSweep() (uid string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.sweeps) > 0 {
		uid, q.sweeps = q.sweeps[0], q.sweeps[1:]
	}
	return uid
}

// runSeeder asks the questions, one at a time. Rosters that are new go first: a node that is asked about all has told them before.
func (t *Table) runSeeder() {
	var node string
	var rest []*roster // what node has still to be asked about
	for {
		if len(rest) == 0 {
			select {
			case <-t.queue.signal:
			case <-t.ctx.Done():
				return
			}
		}
		if !t.pause() {
			return
		}
		batch := t.queue.take(t.cfg.SeedChannels)
		if len(batch) > 0 {
			t.queue.wake() // there may be more
			t.inquire("", batch)
			continue
		}
		if len(rest) == 0 {
			if node = t.queue.takeSweep(); node == "" {
				continue
			}
			t.queue.wake()
			rest = t.all(nil)
		}
		batch = rest[:min(len(rest), t.cfg.SeedChannels)]
		rest = rest[len(batch):]
		if len(batch) > 0 {
			t.inquire(node, batch)
		}
	}
}

func (t *Table) pause() bool {
	select {
	case <-time.After(t.cfg.SeedInterval):
		return true
	case <-t.ctx.Done():
		return false
	}
}

// inquire asks all nodes, or one, about some rosters, and takes the answers.
func (t *Table) inquire(to string, batch []*roster) {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.SeedTimeout)
	defer cancel()
	names := make([]string, len(batch))
	for i, r := range batch {
		names[i] = r.name
		r.ask(t.now())
	}
	t.count.questions.Add(1)
	whole := make([]bool, len(batch))
	// Interest first: who leaves after his node has answered must be heard.
	err := t.parts.Sync(ctx)
	if err == nil {
		var answers []Answer
		var missing int
		answers, missing, err = t.parts.Cluster.Survey(ctx, to, t.question(names))
		for i := range whole {
			whole[i] = err == nil && missing == 0
		}
		for _, a := range answers {
			t.take(batch, whole, a)
		}
	}
	incomplete := false
	for i, r := range batch {
		incomplete = incomplete || !whole[i]
		if t.answered(r, to, whole[i]) {
			t.queue.postpone(r, t.now()+t.cfg.SeedRetry)
		}
	}
	if incomplete {
		t.count.incomplete.Add(1)
	}
}

// take takes one node's answer about a batch; what it does not tell is not whole.
func (t *Table) take(batch []*roster, whole []bool, a Answer) {
	if a.Node == t.self {
		return
	}
	from := t.nodes.of(a.Node)
	if from == nil {
		return
	}
	rest := a.Data
	for i, r := range batch {
		part, tail, ok := readPart(rest)
		if !ok {
			t.count.unreadable.Add(1)
			for ; i < len(whole); i++ {
				whole[i] = false
			}
			return
		}
		rest = tail
		switch {
		case part.crowd:
			t.crowded(r)
		case part.untold:
			whole[i] = false
		default:
			t.learn(r, from, part.infos)
		}
	}
}

// crowded is called for a channel with more members on one node than are kept.
func (t *Table) crowded(r *roster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.dead && !r.degraded {
		t.degrade(r)
	}
}
