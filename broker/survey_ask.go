package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// answered gives an answer to whoever waits for it.
func (c *Control) answered(m *nats.Msg) {
	if w := c.waiting(m.Subject); w != nil {
		w.take(m)
		return
	}
	c.count.stray.Add(1) // too late
}

// waiting returns who waits for answers on a subject, or nil.
func (c *Control) waiting(subject string) waiter {
	id, err := strconv.ParseUint(subject[strings.LastIndexByte(subject, '.')+1:], 36, 64)
	if err != nil {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.pending[id]
}

// await registers a waiter; answerSubject(id) is where its answers go.
func (c *Control) await(w waiter) (id uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) >= c.cfg.MaxInFlight {
		c.count.busy.Add(1)
		return 0, ErrBusy
	}
	c.lastID++
	c.pending[c.lastID] = w
	return c.lastID, nil
}

func (c *Control) unawait(id uint64) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// bound gives a call its end.
func (c *Control) bound(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if c.closed() {
		return nil, nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.SurveyTimeout)
	return ctx, cancel, nil
}

func (c *Control) question(ctx context.Context, subject, op string, payload []byte) *nats.Msg {
	m := c.message(subject, kindRequest, payload)
	deadline, _ := ctx.Deadline()
	m.Header[headerOp] = []string{op}
	m.Header[headerTimeout] = []string{strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10)}
	return m
}

// isNoResponders recognises NATS's own answer where nobody listens.
func isNoResponders(m *nats.Msg) bool {
	return len(m.Data) == 0 && header(m, "Status") == "503" && header(m, headerKind) == ""
}

func (c *Control) survey(ctx context.Context, op string, payload []byte) (Survey, error) {
	if !goodOp(op) {
		return Survey{}, errBadOp
	}
	ctx, cancel, err := c.bound(ctx)
	if err != nil {
		return Survey{}, err
	}
	defer cancel()
	if len(payload) > c.link.maxPayload()-headerRoom {
		return Survey{}, checkSize(len(payload), c.link.maxPayload()-headerRoom)
	}
	if err := c.awaitSettled(ctx); err != nil {
		return Survey{}, err
	}
	c.count.surveys.Add(1)
	k := c.newCollector()
	id, err := c.await(k)
	if err != nil {
		return Survey{}, err
	}
	defer c.unawait(id)
	q := &inquiry{k: k, id: id, local: c.askSelf(ctx, op, payload), op: op, payload: payload}
	m := c.question(ctx, c.prefix+"survey", op, payload)
	m.Reply = c.answerSubject(id)
	err = c.link.send(m)
	q.unsent = err != nil
	s, carried := c.collect(ctx, q)
	switch {
	case err != nil:
	case c.closed():
		err = ErrClosed
	case !carried:
		err = fmt.Errorf("%w: the request did not come back", ErrDisconnected)
	}
	if !s.Complete() || err != nil {
		c.count.incomplete.Add(1)
		c.count.silent.Add(uint64(len(s.Silent)))
	}
	return s, err
}

func (c *Control) closed() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// awaitSettled lets the other nodes introduce themselves first, when there is a link to do so.
func (c *Control) awaitSettled(ctx context.Context) error {
	if c.link.up() == 0 {
		return nil
	}
	select {
	case <-c.settled:
		return nil
	case <-c.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Control) newCollector() *collector {
	k := &collector{
		limit: c.cfg.MaxAnswerBytes, changed: make(chan struct{}, 1),
		expected: make(map[string]Node), answers: make(map[string]*partial), alive: make(map[string]bool),
	}
	for _, n := range c.nodes() {
		k.expected[n.UID] = n
	}
	return k
}

// askSelf gives this node's part to its own workers, under the same bounds.
func (c *Control) askSelf(ctx context.Context, op string, payload []byte) <-chan Answer {
	local := make(chan Answer, 1)
	deadline, _ := ctx.Deadline()
	select {
	case c.work <- job{op: op, payload: slices.Clone(payload), deadline: deadline, local: local}:
	default:
		c.count.refused.Add(1)
		local <- Answer{Node: c.describe(), Err: &RemoteError{Text: textBusy}}
	}
	return local
}

// own enters this node's answer.
func (k *collector) own(a Answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &partial{answer: a, done: true}
	k.answers[a.Node.UID] = p
	if k.bytes += len(a.Data); k.bytes > k.limit {
		p.finish(k.tooBig())
	}
}

// inquiry is a survey under way.
type inquiry struct {
	k       *collector
	id      uint64
	op      string
	payload []byte
	local   <-chan Answer
	unsent  bool // nobody else was asked
	gone    map[string]bool
	probes  []uint64 // waiting for "here" or "no such node"
}

// collect waits for the answers, and says whether NATS has carried the question.
func (c *Control) collect(ctx context.Context, q *inquiry) (Survey, bool) {
	q.gone = make(map[string]bool)
	probe := time.NewTimer(c.cfg.ProbeAfter)
	defer probe.Stop()
	defer c.endProbes(q)
	local := q.local
	for {
		missing, carried := q.k.missing(q.gone)
		if len(missing) == 0 && carried || q.unsent && local == nil {
			return q.k.result(q.gone), carried
		}
		select {
		case a := <-local:
			q.k.own(a)
			local = nil
		case <-q.k.changed:
			q.k.bury(q.gone)
		case <-probe.C:
			c.probe(ctx, q, missing)
		case <-c.stop:
			return q.k.result(q.gone), carried
		case <-ctx.Done():
			return q.k.result(q.gone), carried
		}
	}
}

// prober learns from NATS whether one node exists.
type prober struct {
	k   *collector
	uid string
}

// take implements waiter.
func (p *prober) take(m *nats.Msg) {
	p.k.mu.Lock()
	p.k.alive[p.uid] = !isNoResponders(m)
	p.k.mu.Unlock()
	trySignal(p.k.changed)
}

// bury notes who was found gone.
func (k *collector) bury(gone map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for uid, alive := range k.alive {
		if !alive {
			gone[uid] = true
		}
	}
}

// probe asks NATS for the nodes that are still silent, and them once more for their answer.
func (c *Control) probe(ctx context.Context, q *inquiry, missing []string) {
	for _, uid := range missing {
		if uid == c.self.UID {
			continue
		}
		id, err := c.await(&prober{k: q.k, uid: uid})
		if err != nil {
			return // too much under way to look closer: time will tell
		}
		q.probes = append(q.probes, id)
		m := c.question(ctx, c.nodeSubject(uid), q.op, q.payload)
		m.Header[headerKind] = []string{kindProbe}
		m.Header[headerReply] = []string{c.answerSubject(q.id)}
		m.Reply = c.answerSubject(id)
		_ = c.link.send(m) // unsent, time will tell
	}
}

func (c *Control) endProbes(q *inquiry) {
	for _, id := range q.probes {
		c.unawait(id)
	}
}
