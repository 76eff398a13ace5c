package scenario

import (
	"context"
	"fmt"
	"time"

	"throng/bench/engine"
	"throng/bench/load"
	"throng/bench/result"
)

// PublishSpec is the shape of a publish run.
type PublishSpec struct {
	Contenders  []Contender
	Rounds      int
	Channels    int     // each with its share of the connections and one of them that publishes
	Outstanding []int   // commands of each publisher without an answer, one phase per entry
	Rate        float64 // publications per second in all, one more phase; 0 = none
	For         time.Duration
	WarmUp      time.Duration
	Plain       bool          // subscriptions without position
	MinAcked    float64       // publications per second that the best phase must reach, 0 = any
	MaxP99      time.Duration // of the rate phase, 0 = any
}

// Publish measures publications that are acknowledged one by one: how many a
// second with so many outstanding, how long an answer takes, and how long a
// publication takes to its subscribers at a fixed rate.
func Publish(ctx context.Context, opts *Options, ui UI, spec PublishSpec) *Outcome {
	o := &Outcome{Goal: "every publication is acknowledged, and delivered once and in order"}
	if spec.MinAcked > 0 {
		o.Goal += fmt.Sprintf(", at least %g acknowledged per second", spec.MinAcked)
	}
	if spec.MaxP99 > 0 {
		o.Goal += fmt.Sprintf(", p99 at most %s at %g per second", spec.MaxP99, spec.Rate)
	}
	o.compete(ctx, opts, ui, contest{
		contenders: spec.Contenders, rounds: spec.Rounds,
		shape: func(p *load.Plan) {
			shapeChannels(p, min(spec.Channels, p.Connections))
			p.Answers, p.Positioned = true, !spec.Plain
		},
		scene: func(ctx context.Context, s *Session) error { return s.publishing(ctx, spec) },
	})
	o.judgePublishing(spec)
	return o
}

func (o *Outcome) judgePublishing(spec PublishSpec) {
	for i := range o.Runs {
		run := &o.Runs[i]
		best := 0.0
		for _, k := range spec.Outstanding {
			v, _ := run.Figure(fmt.Sprintf("acked_per_s_k%d", k))
			best = max(best, v)
		}
		if best < spec.MinAcked {
			o.miss("%s, round %d: %.0f acknowledged per second, wanted %g", run.Server, run.Round, best, spec.MinAcked)
		}
		p99, ok := run.Figure("latency_p99_us_live")
		if spec.MaxP99 > 0 && spec.Rate > 0 && (!ok || p99 > float64(spec.MaxP99.Microseconds())) {
			o.miss("%s, round %d: p99 is %.0f us, limit %d us", run.Server, run.Round, p99, spec.MaxP99.Microseconds())
		}
	}
}

func (s *Session) publishing(ctx context.Context, spec PublishSpec) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	for _, k := range spec.Outstanding {
		if err := s.outstanding(ctx, k, spec); err != nil {
			return err
		}
	}
	if spec.Rate == 0 {
		return nil
	}
	p, err := s.RunRate(ctx, Rate{
		Name: "rate", PerSec: spec.Rate / float64(s.plan.Channels*s.plan.Talkers), For: spec.For, WarmUp: spec.WarmUp,
		Key: "_live", Label: fmt.Sprintf("%g/s in all", spec.Rate),
	})
	if err == nil && answered(&p.Counters) < p.Counters.Sent {
		err = fmt.Errorf("rate: %d publications without an answer", p.Counters.Sent-answered(&p.Counters))
	}
	return err
}

// outstanding lets every publisher keep k commands without an answer: a warm-up,
// then the measured phase.
func (s *Session) outstanding(ctx context.Context, k int, spec PublishSpec) error {
	order := engine.AckOrder{Outstanding: k, For: spec.WarmUp, Timeout: s.opts.Drain}
	if spec.WarmUp > 0 {
		if _, _, err := s.RunAcks(ctx, "warm-up", engine.PhaseWarm, order); err != nil {
			return err
		}
	}
	order.For = spec.For
	p, took, err := s.RunAcks(ctx, fmt.Sprintf("%d outstanding", k), engine.PhaseMeasured, order)
	if p == nil || took == 0 {
		return err
	}
	key, label := fmt.Sprintf("_k%d", k), fmt.Sprintf("%d outstanding per publisher", k)
	acked := float64(p.Counters.Acked)
	s.figure("acked_per_s"+key, "publications acknowledged, "+label, "/s", acked/took.Seconds(), result.Higher)
	s.figure("refused"+key, "publications refused, "+label, "", float64(p.Counters.Rejections+p.Counters.Unanswered), result.Lower)
	if p.Ack != nil {
		s.figure("ack_p50_us"+key, "publish to answer p50, "+label, "us", float64(p.Ack.P50), result.Lower)
		s.figure("ack_p99_us"+key, "publish to answer p99, "+label, "us", float64(p.Ack.P99), result.Lower)
	}
	s.latencyFigures(p, key, "publish to delivery, "+label)
	if s.knowsServer() && acked > 0 {
		s.figure("publish_cpu_us"+key, "CPU per publication with its deliveries, "+label, "us", p.Window.ServerSeconds()*1e6/acked, result.Lower)
	}
	return err
}

func acked(t *load.Totals) int64 { return int64(t.Counters.Acked) }

// RunAcks carries order out as one phase; took is from the first publication to
// the last answer.
func (s *Session) RunAcks(ctx context.Context, name string, phase byte, order engine.AckOrder) (p *result.Phase, took time.Duration, err error) {
	s.ui.Phase(name, "publication", 0)
	p, err = s.phase(ctx, name, acked, func(ctx context.Context) error {
		if err := s.mark(ctx, phase); err != nil {
			return err
		}
		begin := time.Now()
		if err := s.fleet.All(ctx, load.Order{Op: load.OpAcks, Acks: &order}); err != nil {
			return err
		}
		took = time.Since(begin)
		return s.drain(ctx)
	})
	return p, took, err
}
