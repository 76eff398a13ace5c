package scenario

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"throng/bench/load"
	"throng/bench/result"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// Outcome is what a scenario hands to the report.
type Outcome struct {
	Goal   string
	Runs   []result.Run
	Load   result.Load
	Misses []string
	Notes  []string
}

// miss notes why the goal was not met.
func (o *Outcome) miss(format string, args ...any) {
	o.Misses = append(o.Misses, fmt.Sprintf(format, args...))
}

// finish takes the session's run into the outcome and judges what every scenario
// demands: all opened, none dropped, every message once, in order, undamaged.
func (o *Outcome) finish(s *Session, err error) {
	if s == nil {
		if err != nil {
			o.miss("%v", err)
		}
		return
	}
	if err != nil {
		s.Run.Error = err.Error()
		o.miss("%v", err)
	}
	o.Load = s.load()
	o.judge(&s.Run)
	o.Runs = append(o.Runs, s.Run)
}

func (s *Session) load() result.Load {
	l := result.Load{
		Targets: s.plan.Targets, Dialect: s.plan.Dialect, Connections: s.plan.Connections,
		Channels: s.plan.Channels, Members: s.plan.Members, Talkers: s.plan.Talkers, Payload: s.plan.Payload,
	}
	if s.fleet != nil {
		l.Workers = s.fleet.Workers()
	}
	return l
}

func (o *Outcome) judge(run *result.Run) {
	where := ""
	if run.Server != "" {
		where = run.Server + ", "
	}
	for i := range run.Phases {
		p := &run.Phases[i]
		c := &p.Counters
		at := where + p.Name
		for _, x := range []struct {
			n    uint64
			text string
		}{
			{c.GivenUp, "connections could not be opened (" + kinds(p.Failures) + ")"},
			{c.Dropped, "connections dropped (" + kinds(p.Drops) + ")"},
			{p.Lost, "deliveries lost"}, {c.Duplicated, "deliveries duplicated"},
			{c.OutOfOrder, "deliveries out of order"}, {c.Misrouted, "deliveries of another channel"},
			{c.Damaged, "deliveries damaged"}, {c.Unsent, "messages not sent"},
			{c.Rejections, "commands rejected" + byCode(p.Codes)}, {c.Unanswered, "publications without an answer"},
			{c.Unrecovered, "subscriptions not recovered"}, {c.Unpositioned, "subscriptions without a position"}, {p.Silent, "connections silent for two heartbeats"},
		} {
			if x.n > 0 {
				o.miss("%s: %d %s", at, x.n, x.text)
			}
		}
	}
	if d := disturbances(run); d != "" {
		o.Notes = append(o.Notes, fmt.Sprintf("%sround %d was disturbed: other processes used %s", where, run.Round, d))
	}
}

// byCode says which errors there were, where replies are followed.
func byCode(codes map[string]uint64) string {
	if len(codes) == 0 {
		return ""
	}
	return " (by code: " + kinds(codes) + ")"
}

// disturbances lists the disturbed phases with the cores that others used.
func disturbances(run *result.Run) string {
	var out []string
	for i := range run.Phases {
		if p := &run.Phases[i]; p.Window != nil && p.Window.Disturbed && p.Name != "warm-up" {
			out = append(out, fmt.Sprintf("%.2f cores during %s", p.Window.OtherCPU, p.Name))
		}
	}
	return strings.Join(out, ", ")
}

// Idle opens all connections, holds them for hold with heartbeats, then sends one
// broadcast to everybody.
func Idle(ctx context.Context, opts *Options, ui UI, hold time.Duration) *Outcome {
	o := &Outcome{Goal: fmt.Sprintf("%d connections held for %s, 0 dropped, then one broadcast reaches all", opts.Connections, hold)}
	s, err := Begin(ctx, opts, ui, nil)
	if err == nil {
		defer s.End()
		err = s.idle(ctx, hold)
	}
	o.finish(s, err)
	return o
}

func (s *Session) idle(ctx context.Context, hold time.Duration) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	if err := s.Memory(ctx, keyIdle, "user memory per connection, idle"); err != nil {
		return err
	}
	if hold > 0 {
		if err := s.Hold(ctx, "hold", hold); err != nil {
			return err
		}
	}
	if s.plan.Dialect == "sse" && len(s.plan.PublishTargets) == 0 {
		return nil // nobody can speak
	}
	if _, err := s.RunBursts(ctx, Bursts{Name: "broadcast", Window: 1, Count: 1, Key: "_broadcast"}); err != nil {
		return err
	}
	return s.Memory(ctx, "user_bytes_per_conn_traffic", "user memory per connection, after traffic")
}

// FanoutSpec is the shape of a fanout run.
type FanoutSpec struct {
	Channels int
	Window   []int   // window mode, one phase per entry
	Rate     float64 // rate mode, per channel; 0 = window mode only
	For      time.Duration
	WarmUp   time.Duration
}

// Fanout publishes to many subscribers of few channels.
func Fanout(ctx context.Context, opts *Options, ui UI, spec FanoutSpec) *Outcome {
	o := &Outcome{Goal: fmt.Sprintf("%d subscribers on %d channels get every message once and in order", opts.Connections, spec.Channels)}
	s, err := Begin(ctx, opts, ui, func(p *load.Plan) { shapeChannels(p, spec.Channels) })
	if err == nil {
		defer s.End()
		err = s.fanout(ctx, spec)
	}
	o.finish(s, err)
	return o
}

// shapeChannels deals the connections over n channels.
func shapeChannels(p *load.Plan, n int) {
	p.Channels = max(n, 1)
	if p.Channels > 1 && p.ChannelPrefix == "" {
		p.ChannelPrefix = "bench"
	}
}

func (s *Session) fanout(ctx context.Context, spec FanoutSpec) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	return s.traffic(ctx, spec)
}

func (s *Session) traffic(ctx context.Context, spec FanoutSpec) error {
	for _, w := range spec.Window {
		if err := s.Warm(ctx, w); err != nil {
			return err
		}
		b := Bursts{Name: fmt.Sprintf("window %d", w), Window: w, Count: 1, For: spec.For, Key: fmt.Sprintf("_w%d", w)}
		if _, err := s.RunBursts(ctx, b); err != nil {
			return err
		}
	}
	if spec.Rate > 0 {
		r := Rate{Name: "rate", PerSec: spec.Rate, For: spec.For, WarmUp: spec.WarmUp, Key: "_rate", Label: fmt.Sprintf("%g msg/s per channel", spec.Rate)}
		if _, err := s.RunRate(ctx, r); err != nil {
			return err
		}
	}
	return s.Memory(ctx, "user_bytes_per_conn_traffic", "user memory per connection, after traffic")
}

// RoomsSpec is the shape of a rooms run.
type RoomsSpec struct {
	Members int
	Talkers int     // per room, 0 = all members
	Rate    float64 // messages per second and talker
	For     time.Duration
	WarmUp  time.Duration
}

// Rooms lets the members of many small channels talk.
func Rooms(ctx context.Context, opts *Options, ui UI, spec RoomsSpec) *Outcome {
	rooms := (opts.Connections + spec.Members - 1) / spec.Members
	o := &Outcome{Goal: fmt.Sprintf("%d rooms of %d members: every word once, in order, in its room only", rooms, spec.Members)}
	s, err := Begin(ctx, opts, ui, func(p *load.Plan) {
		shapeChannels(p, rooms)
		p.Members, p.Talkers = spec.Members, spec.Talkers
		if p.Talkers == 0 || p.Talkers > p.Members {
			p.Talkers = p.Members
		}
	})
	if err == nil {
		defer s.End()
		err = s.talkAtRate(ctx, Rate{
			Name: "talk", PerSec: spec.Rate, For: spec.For, WarmUp: spec.WarmUp,
			Key: "_rooms", Label: fmt.Sprintf("rooms of %d", spec.Members),
		})
	}
	o.finish(s, err)
	return o
}

func (s *Session) talkAtRate(ctx context.Context, r Rate) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	_, err := s.RunRate(ctx, r)
	return err
}

// LatencySpec is the shape of a latency run.
type LatencySpec struct {
	Channels int
	Rate     float64 // per channel
	For      time.Duration
	WarmUp   time.Duration
	MaxP99   time.Duration // 0 = any
}

// Latency measures publish to delivery at a fixed load, across nodes when
// publishers have a target of their own.
func Latency(ctx context.Context, opts *Options, ui UI, spec LatencySpec) *Outcome {
	o := &Outcome{Goal: "every message once and in order"}
	if spec.MaxP99 > 0 {
		o.Goal += fmt.Sprintf(", p99 at most %s", spec.MaxP99)
	}
	s, err := Begin(ctx, opts, ui, func(p *load.Plan) { shapeChannels(p, spec.Channels) })
	if err == nil {
		defer s.End()
		err = s.talkAtRate(ctx, Rate{
			Name: "latency", PerSec: spec.Rate, For: spec.For, WarmUp: spec.WarmUp,
			Key: "_latency", Label: fmt.Sprintf("%g msg/s on %d channels", spec.Rate, spec.Channels),
		})
	}
	o.finish(s, err)
	if s != nil && spec.MaxP99 > 0 {
		if p99, ok := s.Run.Figure("latency_p99_us_latency"); !ok || p99 > float64(spec.MaxP99.Microseconds()) {
			o.miss("p99 is %.0f us, limit %d us", p99, spec.MaxP99.Microseconds())
		}
	}
	return o
}

// StormRun drops and reopens all connections, rounds times.
func StormRun(ctx context.Context, opts *Options, ui UI, rounds int, maxTime time.Duration) *Outcome {
	o := &Outcome{Goal: fmt.Sprintf("%d connections drop and are all back", opts.Connections)}
	if maxTime > 0 {
		o.Goal += fmt.Sprintf(" within %s", maxTime)
	}
	s, err := Begin(ctx, opts, ui, nil)
	var worst float64
	if err == nil {
		defer s.End()
		worst, err = s.storms(ctx, rounds)
	}
	o.finish(s, err)
	if maxTime > 0 && worst > maxTime.Seconds() {
		o.miss("slowest storm took %.2f s, limit %s", worst, maxTime)
	}
	return o
}

func (s *Session) storms(ctx context.Context, rounds int) (worst float64, err error) {
	if err := s.Open(ctx); err != nil {
		return 0, err
	}
	if err := s.Settle(ctx); err != nil {
		return 0, err
	}
	if err := s.Memory(ctx, keyIdle, "user memory per connection, idle"); err != nil {
		return 0, err
	}
	return s.stormRounds(ctx, rounds)
}

func (s *Session) stormRounds(ctx context.Context, rounds int) (worst float64, err error) {
	var times []float64
	for i := range rounds {
		took, err := s.Storm(ctx, fmt.Sprintf("storm %d", i+1), 0)
		if err != nil {
			return worst, err
		}
		worst = max(worst, took)
		times = append(times, took)
		if err := s.Settle(ctx); err != nil {
			return worst, err
		}
	}
	slices.Sort(times)
	s.figure("storm_s", "storm: all back (median)", "s", times[len(times)/2], result.Lower)
	s.figure("storm_worst_s", "storm: all back (slowest)", "s", worst, result.Lower)
	return worst, s.Memory(ctx, "user_bytes_per_conn_storm", "user memory per connection, after the storms")
}
