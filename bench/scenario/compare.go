package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"throng/bench/load"
)

// Contender is one server of a comparison. Empty fields take the run's settings.
type Contender struct {
	Name    string `json:"name"`
	Command string `json:"command"`
	Target  string `json:"target,omitempty"`  // URL with {addr}
	Dialect string `json:"dialect,omitempty"` // of its clients
	Channel string `json:"channel,omitempty"`
	// Readying pause after the start, for servers that listen before they serve.
	Pause time.Duration `json:"pause_ns,omitempty"`
}

// BatterySpec is what each contender goes through, the rows of performance.md.
type BatterySpec struct {
	Rounds int
	For    time.Duration // length of each traffic phase
	Rate   float64       // messages per second of the rate phase, 0 = none
	Beat   time.Duration // heartbeat interval while its cost is measured, 0 = not measured
	Storms int
}

// Compare takes every contender through the battery, one after the other, rounds
// times (A B A B): so drift of the machine hits all alike. A contender that fails
// in one round is noted and the others go on.
func Compare(ctx context.Context, opts *Options, ui UI, contenders []Contender, spec BatterySpec) *Outcome {
	o := &Outcome{Goal: fmt.Sprintf("%d servers, %d rounds: every connection held, every message once and in order", len(contenders), spec.Rounds)}
	o.compete(ctx, opts, ui, contest{
		contenders: contenders, rounds: spec.Rounds,
		scene: func(ctx context.Context, s *Session) error { return s.battery(ctx, spec) },
	})
	return o
}

// contest is what contenders go through, A B A B.
type contest struct {
	contenders []Contender // none: the one server of the options
	rounds     int
	shape      func(*load.Plan)
	scene      func(context.Context, *Session) error
}

func (o *Outcome) compete(ctx context.Context, opts *Options, ui UI, x contest) {
	list := x.contenders
	if len(list) == 0 {
		list = []Contender{{Name: opts.Name, Command: opts.Spawn}}
	}
	for round := 1; round <= x.rounds && ctx.Err() == nil; round++ {
		for i := range list {
			if len(list)*x.rounds > 1 {
				ui.Note("round %d of %d: %s", round, x.rounds, list[i].Name)
			}
			o.contend(ctx, opts, ui, heat{x, &list[i], round})
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// heat is one contender's round.
type heat struct {
	contest
	c     *Contender
	round int
}

func (o *Outcome) contend(ctx context.Context, opts *Options, ui UI, x heat) {
	own := *opts
	if len(x.contenders) > 0 {
		own.ServerPIDs, own.MetricsURLs, own.PublishTargets = nil, nil, nil
	}
	own.Spawn, own.Name = x.c.Command, x.c.Name
	if x.c.Target != "" {
		own.SpawnTarget = x.c.Target
	}
	if x.c.Dialect != "" {
		own.Dialect = x.c.Dialect
	}
	if x.c.Channel != "" {
		own.Channel = x.c.Channel
	}
	s, err := Begin(ctx, &own, ui, x.shape)
	if err != nil {
		o.miss("%s, round %d: %v", x.c.Name, x.round, err)
		return
	}
	defer s.End()
	s.Run.Round = x.round
	err = errors.Join(sleep(ctx, x.c.Pause), x.scene(ctx, s))
	o.finish(s, err)
}

// battery measures idle memory, handshakes, heartbeats, deliveries one at a time
// and eight in flight, latency at a fixed rate, and storms.
func (s *Session) battery(ctx context.Context, spec BatterySpec) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	if err := s.Memory(ctx, keyIdle, "user memory per connection, idle"); err != nil {
		return err
	}
	if spec.Beat > 0 {
		if err := s.beats(ctx, spec.Beat); err != nil {
			return err
		}
	}
	if err := s.traffic(ctx, FanoutSpec{Window: []int{1, 8}, Rate: spec.Rate, For: spec.For, WarmUp: min(spec.For, time.Second)}); err != nil {
		return err
	}
	if spec.Storms == 0 {
		return nil
	}
	_, err := s.stormRounds(ctx, spec.Storms)
	return err
}

// beats holds for two intervals with pings from our side.
func (s *Session) beats(ctx context.Context, beat time.Duration) error {
	own := *s.opts
	own.Heartbeat, own.HeartbeatFrom = beat, "client"
	s.opts = &own
	return s.Hold(ctx, "heartbeats", 2*beat+beat/4)
}
