package scenario

import (
	"context"
	"fmt"
	"time"

	"throng/bench/engine"
	"throng/bench/load"
	"throng/bench/result"
)

// LadderSpec is the shape of a handshake run: steps of growing rate, each
// connection closed (RST, so that no TIME_WAIT piles up) as soon as it is ready.
type LadderSpec struct {
	From, To float64       // attempts per second
	Factor   float64       // between steps
	Step     time.Duration // length of one
	MaxP99   time.Duration // from the intended start to ready
}

// Thresholds of a failed step.
const (
	ladderFailures = 0.005 // share of attempts
	ladderAchieved = 0.95  // of the rate
)

func (l *LadderSpec) rates() (out []float64) {
	for r := l.From; r < l.To; r *= l.Factor {
		out = append(out, r)
	}
	return append(out, l.To)
}

// Handshake climbs the ladder until a step fails.
func Handshake(ctx context.Context, opts *Options, ui UI, spec LadderSpec) *Outcome {
	o := &Outcome{Goal: fmt.Sprintf("at least %.0f handshakes/s", spec.From)}
	ladder := *opts
	ladder.DropByReset = true
	s, err := Begin(ctx, &ladder, ui, func(p *load.Plan) {
		p.Connections = int(spec.To*spec.Step.Seconds()) + 1
	})
	if err == nil {
		defer s.End()
		err = s.climb(ctx, spec, o)
	}
	misses := o.Misses
	o.finish(s, err)
	if err == nil {
		o.Misses = misses // a step that fails is the end of the ladder, not of the goal
	}
	return o
}

func (s *Session) climb(ctx context.Context, spec LadderSpec, o *Outcome) error {
	best := 0.0
	for _, rate := range spec.rates() {
		p, err := s.rung(ctx, rate, spec.Step)
		if err != nil {
			return err
		}
		why := spec.verdict(p, rate)
		cpu := p.Window.ServerSeconds() * 1e6 / float64(max(p.Counters.Opened, 1))
		if why != "" {
			s.ui.Note("%.0f/s: %s", rate, why)
			o.Notes = append(o.Notes, fmt.Sprintf("the ladder ended at %.0f/s: %s", rate, why))
			break
		}
		s.ui.Note("%.0f/s: p99 %d us, %.1f us of server CPU each", rate, p.Connect.P99, cpu)
		best = rate
		s.figure("handshake_p99_us", "handshake p99 at the highest rate kept", "us", float64(p.Connect.P99), result.Lower)
		if s.knowsServer() {
			s.figure("handshake_cpu_us", "CPU per handshake and close", "us", cpu, result.Lower)
		}
	}
	s.figure("handshakes_max_per_s", "highest handshake rate kept", "/s", best, result.Higher)
	if best == 0 {
		o.miss("not even %.0f handshakes/s are kept", spec.From)
	}
	return nil
}

func (s *Session) rung(ctx context.Context, rate float64, step time.Duration) (*result.Phase, error) {
	n := int(rate * step.Seconds())
	name := fmt.Sprintf("%.0f/s", rate)
	s.ui.Phase(name, "handshake", int64(n))
	opened := func(t *load.Totals) int64 { return int64(t.Counters.Opened) }
	return s.phase(ctx, name, opened, func(ctx context.Context) error {
		return s.fleet.OpenShare(ctx, n, engine.OpenOrder{Rate: rate, DropReady: true, Attempts: 1, InFlight: s.opts.Connections})
	})
}

// verdict returns why the step failed, "" if it did not.
func (l *LadderSpec) verdict(p *result.Phase, rate float64) string {
	c := &p.Counters
	switch {
	case c.Opened == 0:
		return "none succeeded: " + kinds(p.Failures)
	case float64(c.Failed) > ladderFailures*float64(c.Started):
		return fmt.Sprintf("%d of %d failed: %s", c.Failed, c.Started, kinds(p.Failures))
	case l.MaxP99 > 0 && p.Connect.P99 > l.MaxP99.Microseconds():
		return fmt.Sprintf("p99 of %d us is over %s", p.Connect.P99, l.MaxP99)
	case float64(c.Opened)/p.Seconds < ladderAchieved*rate*l.Step.Seconds()/(l.Step.Seconds()+0.1):
		return fmt.Sprintf("only %.0f/s were reached", float64(c.Opened)/p.Seconds)
	}
	return ""
}
