package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"throng/bench/engine"
)

// errLink is why an order got no answer: the worker or its link is gone.
var errLink = errors.New("a load process ended unasked")

// member is one worker seen from the fleet.
type member struct {
	link  io.ReadWriteCloser
	share Share

	mu      sync.Mutex // guards what follows and writes to link
	enc     *json.Encoder
	waiting map[int]chan Answer
	nextID  int
	dead    error
	ended   chan struct{}
}

func newMember(link io.ReadWriteCloser) *member {
	m := &member{link: link, enc: json.NewEncoder(link), waiting: map[int]chan Answer{}, ended: make(chan struct{})}
	go m.read()
	return m
}

func (m *member) read() {
	defer close(m.ended)
	dec := json.NewDecoder(m.link)
	for {
		var a Answer
		if err := dec.Decode(&a); err != nil {
			m.fail(errors.Join(errLink, err))
			return
		}
		m.mu.Lock()
		ch := m.waiting[a.ID]
		delete(m.waiting, a.ID)
		m.mu.Unlock()
		if ch != nil {
			ch <- a // has room for its one answer
		}
	}
}

func (m *member) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = err
	for id, ch := range m.waiting {
		ch <- Answer{ID: id, Error: err.Error()}
		delete(m.waiting, id)
	}
}

// ask sends o and returns where its answer will come.
func (m *member) ask(o Order) (<-chan Answer, error) {
	ch := make(chan Answer, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead != nil {
		return nil, m.dead
	}
	m.nextID++
	o.ID = m.nextID
	m.waiting[o.ID] = ch
	if err := m.enc.Encode(o); err != nil {
		delete(m.waiting, o.ID)
		return nil, errors.Join(errLink, err)
	}
	return ch, nil
}

// Fleet is all workers of a load.
type Fleet struct {
	Plan    Plan
	members []*member
}

// Assemble shares plan out over the links, sets every worker up and returns the
// fleet. shares, when given, says which connections each link carries; otherwise
// they are dealt evenly. On an error all links are closed.
func Assemble(ctx context.Context, plan Plan, links []io.ReadWriteCloser, shares []Share) (*Fleet, error) {
	f := &Fleet{Plan: plan}
	for _, l := range links {
		f.members = append(f.members, newMember(l))
	}
	if shares == nil {
		shares = Deal(&plan, len(links))
	}
	if err := f.setup(ctx, shares); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Deal splits the plan's connections into n even shares; publishers without
// subscription go to the first.
func Deal(plan *Plan, n int) []Share {
	shares := make([]Share, n)
	at := 0
	for i := range shares {
		shares[i] = Share{First: at, Count: (plan.Connections - at) / (n - i)}
		at += shares[i].Count
	}
	if len(plan.PublishTargets) > 0 {
		shares[0].PublisherCount = max(plan.Channels, 1) * max(plan.Talkers, 1)
	}
	return shares
}

func (f *Fleet) setup(ctx context.Context, shares []Share) error {
	for i, m := range f.members {
		m.share = shares[i]
		offset, err := clockOffset(ctx, m)
		if err != nil {
			return fmt.Errorf("load process %d: %w", i, err)
		}
		m.share.ClockOffset = offset
	}
	_, err := f.each(ctx, func(m *member) (Order, bool) {
		p := f.Plan
		p.Share = m.share
		return Order{Op: OpSetup, Plan: &p}, true
	})
	return err
}

// clockOffset estimates our clock minus the worker's from the fastest of a few
// round trips. On one machine both read CLOCK_MONOTONIC, and an estimate below
// 1 ms is taken as that: 0.
func clockOffset(ctx context.Context, m *member) (time.Duration, error) {
	clock := engine.NewClock()
	best, offset := int64(1<<62), int64(0)
	for range 5 {
		begin := clock.Now()
		a, err := m.await(ctx, Order{Op: OpClock})
		if err != nil {
			return 0, err
		}
		end := clock.Now()
		if trip := end - begin; trip < best {
			best, offset = trip, begin+trip/2-a.Now
		}
	}
	if d := time.Duration(offset); d.Abs() > time.Millisecond {
		return d, nil
	}
	return 0, nil
}

func (m *member) await(ctx context.Context, o Order) (Answer, error) {
	ch, err := m.ask(o)
	if err != nil {
		return Answer{}, err
	}
	select {
	case a := <-ch:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-ctx.Done():
		return Answer{}, context.Cause(ctx)
	}
}

// each asks every worker that order names (false skips it) and waits for all.
func (f *Fleet) each(ctx context.Context, order func(m *member) (Order, bool)) ([]Answer, error) {
	answers := make([]Answer, len(f.members))
	errs := make([]error, len(f.members))
	var wg sync.WaitGroup
	for i, m := range f.members {
		o, wanted := order(m)
		if !wanted {
			continue
		}
		wg.Go(func() { answers[i], errs[i] = m.await(ctx, o) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil && ctx.Err() != nil {
			return answers, context.Cause(ctx)
		}
		if err != nil {
			return answers, fmt.Errorf("load process %d: %w", i, err)
		}
	}
	return answers, nil
}

// All gives o to every worker and waits until all have carried it out.
func (f *Fleet) All(ctx context.Context, o Order) error {
	_, err := f.each(ctx, func(*member) (Order, bool) { return o, true })
	return err
}

// Open opens all rows: rate and in-flight cap are for the whole fleet and are
// shared out by size. It waits for the end.
func (f *Fleet) Open(ctx context.Context, o engine.OpenOrder) error {
	total := 0
	for _, m := range f.members {
		total += m.share.Count + m.share.PublisherCount
	}
	_, err := f.each(ctx, func(m *member) (Order, bool) {
		part := o
		rows := m.share.Count + m.share.PublisherCount
		part.Rate = o.Rate * float64(rows) / float64(max(total, 1))
		if o.InFlight > 0 {
			part.InFlight = max(o.InFlight*rows/max(total, 1), 1)
		}
		return Order{Op: OpOpen, Open: &part}, rows > 0
	})
	return err
}

// Peek returns the merged counters of now.
func (f *Fleet) Peek(ctx context.Context) (*Totals, error) { return f.stats(ctx, OpPeek) }

// Collect returns the merged figures of the phase and begins the next at zero.
func (f *Fleet) Collect(ctx context.Context) (*Totals, error) { return f.stats(ctx, OpCollect) }

func (f *Fleet) stats(ctx context.Context, op Op) (*Totals, error) {
	answers, err := f.each(ctx, func(*member) (Order, bool) { return Order{Op: op}, true })
	if err != nil {
		return nil, err
	}
	parts := make([]*Stats, len(answers))
	for i := range answers {
		parts[i] = answers[i].Stats
	}
	return Merge(parts)
}

// Workers returns how many there are.
func (f *Fleet) Workers() int { return len(f.members) }

// Close ends all workers and their links, and waits for the readers.
func (f *Fleet) Close() {
	var wg sync.WaitGroup
	for _, m := range f.members {
		wg.Go(func() {
			_ = m.link.Close()
			<-m.ended
		})
	}
	wg.Wait()
}

// OpenPublishers opens the publishers without subscription only, and waits for the end.
func (f *Fleet) OpenPublishers(ctx context.Context, o engine.OpenOrder) error {
	_, err := f.each(ctx, func(m *member) (Order, bool) {
		part := o
		part.From, part.To = m.share.Count, m.share.Count+m.share.PublisherCount
		return Order{Op: OpOpen, Open: &part}, m.share.PublisherCount > 0
	})
	return err
}

// OpenShare opens the first n rows of the load, dealt over the workers.
func (f *Fleet) OpenShare(ctx context.Context, n int, o engine.OpenOrder) error {
	index := map[*member]int{}
	for i, m := range f.members {
		index[m] = i
	}
	workers := len(f.members)
	_, err := f.each(ctx, func(m *member) (Order, bool) {
		part := o
		i := index[m]
		part.To = min(n/workers+btoi(i < n%workers), m.share.Count)
		part.Rate = o.Rate * float64(part.To) / float64(max(n, 1))
		part.InFlight = max(o.InFlight/workers, 1)
		return Order{Op: OpOpen, Open: &part}, part.To > 0
	})
	return err
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
