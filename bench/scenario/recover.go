package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"throng/bench/engine"
	"throng/bench/load"
	"throng/bench/probe"
	"throng/bench/result"
)

// RecoverSpec is the shape of a recover run.
type RecoverSpec struct {
	Contenders []Contender
	Rounds     int // of each server's start
	Outages    int // per round
	Channels   int
	Missed     int           // publications in each channel while nobody listens
	LiveRate   float64       // publications per second and channel while all come back, 0 = none
	Restart    bool          // the server is killed and started again, instead of the clients leaving
	MaxTime    time.Duration // until all are back, 0 = any
}

// liveFor is how long publications go on while clients come back.
const liveFor = 2 * time.Second

// publishAhead is how many publications of an outage wait for their answer.
const publishAhead = 16

// Recover disconnects all subscribers, publishes meanwhile, and lets all come back
// at once with the position they had: every publication must arrive, once.
func Recover(ctx context.Context, opts *Options, ui UI, spec RecoverSpec) *Outcome {
	how := "disconnect"
	if spec.Restart {
		how = "lose their server"
	}
	o := &Outcome{Goal: fmt.Sprintf("%d subscribers of %d channels %s, come back, and get all %d publications they missed, once and in order",
		opts.Connections, spec.Channels, how, spec.Missed)}
	if spec.Restart && opts.Spawn == "" && len(spec.Contenders) == 0 {
		o.miss("only a server that the bench has started can be restarted")
		return o
	}
	o.compete(ctx, opts, ui, contest{
		contenders: spec.Contenders, rounds: spec.Rounds,
		shape: func(p *load.Plan) {
			shapeChannels(p, spec.Channels)
			p.Answers, p.Positioned = true, true
			if len(p.PublishTargets) == 0 {
				p.PublishTargets = p.Targets
			}
		},
		scene: func(ctx context.Context, s *Session) error { return s.outages(ctx, spec) },
	})
	for i := range o.Runs {
		if worst, _ := o.Runs[i].Figure("recover_worst_s"); spec.MaxTime > 0 && worst > spec.MaxTime.Seconds() {
			o.miss("%s, round %d: all were back after %.2f s, limit %s", o.Runs[i].Server, o.Runs[i].Round, worst, spec.MaxTime)
		}
	}
	return o
}

func (s *Session) outages(ctx context.Context, spec RecoverSpec) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	if err := s.Warm(ctx, 1); err != nil { // positions other than 0
		return err
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	if err := s.Memory(ctx, keyIdle, "user memory per positioned subscription, idle"); err != nil {
		return err
	}
	var t recoverTally
	for n := range spec.Outages {
		if err := s.outage(ctx, n+1, spec, &t); err != nil {
			return err
		}
		b := Bursts{Name: fmt.Sprintf("after outage %d", n+1), Window: 1, Count: 1}
		if _, err := s.RunBursts(ctx, b); err != nil {
			return err
		}
		if err := s.Settle(ctx); err != nil {
			return err
		}
	}
	s.recoverFigures(&t)
	return s.Memory(ctx, "user_bytes_per_conn_recovered", "user memory per positioned subscription, after the outages")
}

// recoverTally sums up the outages of a run.
type recoverTally struct {
	times      []float64
	peak       int64
	p99        int64
	cpu        float64
	c          engine.Counters
	lost       uint64
	peakFailed bool
}

// outage is one round: all leave (or lose the server), publications are made, all
// come back.
func (s *Session) outage(ctx context.Context, n int, spec RecoverSpec, t *recoverTally) error {
	if spec.Restart {
		if err := s.restart(ctx); err != nil {
			return err
		}
	}
	t.peakFailed = t.peakFailed || probe.ResetPeak(s.sampler.Server) != nil
	name := fmt.Sprintf("outage %d", n)
	s.ui.Phase(name, "conn", s.rows())
	var took time.Duration
	p, err := s.phase(ctx, name, openNow, func(ctx context.Context) (err error) {
		took, err = s.away(ctx, spec)
		return err
	})
	if p == nil {
		return err
	}
	if peak, peakErr := probe.Peak(s.sampler.Server); peakErr == nil {
		t.peak = max(t.peak, peak)
	}
	t.times = append(t.times, took.Seconds())
	t.c.Add(&p.Counters)
	t.lost += p.Lost
	if p.Connect != nil {
		t.p99 = max(t.p99, p.Connect.P99)
	}
	if p.Window != nil {
		t.cpu += p.Window.ServerSeconds()
	}
	c := &p.Counters
	s.ui.Note("%s: all back in %.2f s, %d recovered, %d not, %d publications attached, %d lost, %d duplicated", name, took.Seconds(), c.Recovered, c.Unrecovered, c.Attached, p.Lost, c.Duplicated)
	if asked := c.Recovered + c.Unrecovered; err == nil && asked < uint64(s.plan.Connections) {
		err = fmt.Errorf("%s: the server took only %d of %d subscriptions for recoveries: are positions on in this channel?", name, asked, s.plan.Connections)
	}
	return err
}

// away is the outage itself; it returns how long it took until all were back.
func (s *Session) away(ctx context.Context, spec RecoverSpec) (time.Duration, error) {
	if err := s.mark(ctx, engine.PhaseMeasured); err != nil {
		return 0, err
	}
	if err := s.fleet.All(ctx, load.Order{Op: load.OpDrop, Listeners: true}); err != nil {
		return 0, err
	}
	back := engine.OpenOrder{Attempts: stormAttempts, Backoff: stormBackoff}
	if err := s.fleet.OpenPublishers(ctx, back); err != nil {
		return 0, err
	}
	order := engine.AckOrder{Outstanding: min(publishAhead, spec.Missed), Count: spec.Missed, Timeout: s.opts.Drain + s.opts.Timeout}
	if err := s.fleet.All(ctx, load.Order{Op: load.OpAcks, Acks: &order}); err != nil {
		return 0, err
	}
	if spec.LiveRate > 0 {
		live := engine.PublishOrder{Rate: spec.LiveRate, Count: max(int(spec.LiveRate*liveFor.Seconds()), 1), Background: true}
		if err := s.fleet.All(ctx, load.Order{Op: load.OpPublish, Publish: &live}); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	err := s.fleet.Open(ctx, back)
	took := time.Since(begin)
	if err == nil && spec.LiveRate > 0 {
		err = sleep(ctx, liveFor-took)
	}
	if err == nil {
		err = s.drain(ctx)
	}
	return took, err
}

// restart kills the server and starts it again. What the clients see of it is not
// counted: that they are dropped is the point.
func (s *Session) restart(ctx context.Context) error {
	srv := s.servers[0]
	s.ui.Phase("restart", "conn", 0)
	srv.Kill()
	if err := s.untilClosed(ctx); err != nil {
		return err
	}
	begin := time.Now()
	if err := srv.Again(ctx); err != nil {
		return err
	}
	s.sampler.Server = srv.PIDs()
	s.Run.PIDs = s.sampler.Server
	if err := srv.awaitReady(ctx); err != nil {
		return err
	}
	s.ui.Note("the server was killed, and is up again after %.2f s", time.Since(begin).Seconds())
	return s.Settle(ctx)
}

// untilClosed waits until every connection has noticed, and forgets that.
func (s *Session) untilClosed(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, errors.New("the server is gone, and connections do not notice"))
	defer cancel()
	for {
		t, err := s.fleet.Peek(ctx)
		if err != nil {
			return err
		}
		if t.Counters.Open == 0 {
			_, err := s.fleet.Collect(ctx)
			return err
		}
		if err := sleep(ctx, drainPoll); err != nil {
			return err
		}
	}
}

// awaitReady waits until the admin listener calls the server ready. One without
// such a listener, or without that page, is ready when it listens.
func (s *Server) awaitReady(ctx context.Context) error {
	if s.Admin == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+"/readyz", nil)
		if err != nil {
			return err
		}
		req.Close = true
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				return nil
			}
		}
		if err := sleep(ctx, 5*drainPoll); err != nil {
			return fmt.Errorf("%q is not ready: %w\n%s", s.Command, err, s.tail.String())
		}
	}
}

func (s *Session) recoverFigures(t *recoverTally) {
	slices.Sort(t.times)
	clients := float64(max(t.c.Recovered+t.c.Unrecovered, 1))
	s.figure("recover_s", "all back and recovered (median)", "s", t.times[len(t.times)/2], result.Lower)
	s.figure("recover_worst_s", "all back and recovered (slowest)", "s", t.times[len(t.times)-1], result.Lower)
	s.figure("recover_p99_us", "connect to recovered, p99 of the slowest", "us", float64(t.p99), result.Lower)
	s.figure("recovered", "subscriptions recovered", "", float64(t.c.Recovered), result.Higher)
	s.figure("not_recovered", "subscriptions not recovered", "", float64(t.c.Unrecovered), result.Lower)
	s.figure("recover_attached", "missed publications per subscription, with the answer", "", float64(t.c.Attached)/clients, result.Plain)
	s.figure("recover_missing", "publications missing", "", float64(t.lost), result.Lower)
	s.figure("recover_duplicated", "publications twice", "", float64(t.c.Duplicated), result.Lower)
	if !s.knowsServer() {
		return
	}
	s.figure("recover_cpu_us", "CPU per subscription of an outage, publications included", "us", t.cpu*1e6/clients, result.Lower)
	if t.peakFailed {
		s.ui.Note("the kernel does not reset the peak of the server's memory: it is that since the start")
	}
	s.figure("recover_peak_rss", "peak RSS of the server during an outage", "B", float64(t.peak), result.Lower)
}
