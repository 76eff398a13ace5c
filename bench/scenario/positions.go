package scenario

import (
	"context"
	"fmt"
	"slices"

	"throng/bench/load"
	"throng/bench/result"
)

// PositionsSpec is the shape of a positions run.
type PositionsSpec struct {
	Contenders []Contender
	Rounds     int
	Channels   int
}

// Names of the two kinds of a positions run, put behind the server's.
const (
	plainKind      = " plain"
	positionedKind = " positioned"
)

// PlainName is the name under which the plain subscriptions of a server stand in
// the report.
func PlainName(server string) string { return server + plainKind }

// Positions measures the idle memory of a positioned subscription beside that of a
// plain one: the server is started anew for each, and both are read after a
// garbage collection where the server allows one.
func Positions(ctx context.Context, opts *Options, ui UI, spec PositionsSpec) *Outcome {
	o := &Outcome{Goal: fmt.Sprintf("%d plain and as many positioned subscriptions are held", opts.Connections)}
	list := spec.Contenders
	if len(list) == 0 {
		list = []Contender{{Name: opts.Name, Command: opts.Spawn}}
	}
	for i := range list {
		if list[i].Command == "" {
			o.miss("a server that the bench starts (--spawn, --server) is needed: each kind begins with a fresh one")
			return o
		}
	}
	for round := 1; round <= spec.Rounds; round++ {
		for i := range list {
			for _, kind := range []string{plainKind, positionedKind} {
				ui.Note("round %d of %d:%s", round, spec.Rounds, kind)
				x := kindOf(list[i], kind, spec.Channels)
				x.round = round
				o.contend(ctx, opts, ui, x)
			}
		}
	}
	for i := range list {
		if !o.costs(list[i].Name, keyHeap, "Go heap") {
			o.costs(list[i].Name, keyIdle, "user memory")
		}
	}
	return o
}

// kindOf is the round of a server with one kind of subscriptions.
func kindOf(c Contender, kind string, channels int) heat {
	c.Name += kind
	x := contest{
		contenders: []Contender{c},
		shape: func(p *load.Plan) {
			shapeChannels(p, channels)
			p.Answers, p.Positioned = true, kind == positionedKind
		},
		scene: func(ctx context.Context, s *Session) error { return s.holdIdle(ctx) },
	}
	return heat{contest: x, c: &x.contenders[0]}
}

func (s *Session) holdIdle(ctx context.Context) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	for _, m := range s.sampler.Metrics {
		_ = m.CollectGarbage() // as before the base, restBeforeBase
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	if err := s.Memory(ctx, keyIdle, "user memory per subscription with its connection, idle"); err != nil {
		return err
	}
	return s.heap(ctx)
}

// keyHeap is the Go heap per connection: finer than the process's pages, of which
// a heap that has shrunk keeps some.
const keyHeap = "heap_bytes_per_conn"

func (s *Session) heap(ctx context.Context) error {
	const metric = "go_memstats_heap_alloc_bytes"
	now, err := s.sampler.Take()
	if err != nil {
		return err
	}
	t, err := s.fleet.Peek(ctx)
	if err != nil {
		return err
	}
	if after, ok := now.Metrics[metric]; ok && t.Counters.Open > 0 {
		s.figure(keyHeap, "of it Go heap, after a collection", "B", (after-s.base.Metrics[metric])/float64(t.Counters.Open), result.Lower)
	}
	return nil
}

// costs notes what a position costs a server by the figure of that key, if there
// is one.
func (o *Outcome) costs(server, key, what string) bool {
	plain, ok := o.median(server+plainKind, key)
	positioned, also := o.median(server+positionedKind, key)
	if ok && also {
		o.Notes = append(o.Notes, fmt.Sprintf("%s: a position costs %.0f B of %s per subscription (difference of medians)", server, positioned-plain, what))
	}
	return ok && also
}

// median is that of a figure over the rounds of a server.
func (o *Outcome) median(server, key string) (float64, bool) {
	var all []float64
	for i := range o.Runs {
		if v, ok := o.Runs[i].Figure(key); ok && o.Runs[i].Server == server {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	mid := len(all) / 2
	return (all[mid] + all[(len(all)-1)/2]) / 2, true
}
