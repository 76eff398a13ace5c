package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"throng/bench/engine"
	"throng/bench/load"
	"throng/bench/probe"
	"throng/bench/result"
)

// UI shows a run to whoever waits for it. Calls come from one goroutine at a time.
type UI interface {
	// Phase begins a phase; total is what done will reach, 0 if unknown.
	Phase(name, unit string, total int64)
	// Update shows how far it is.
	Update(done int64, failed uint64)
	// Note prints a line beside the progress.
	Note(format string, args ...any)
}

// LinkFunc returns n links to workers, and the pids of those on this machine.
type LinkFunc func(ctx context.Context, n int, cpus probe.CPUs) ([]io.ReadWriteCloser, []int, error)

// Session is one server under one load.
type Session struct {
	opts    *Options
	ui      UI
	plan    load.Plan
	fleet   *load.Fleet
	servers []*Server
	sampler probe.Sampler
	base    probe.Sample // before the first connection
	began   time.Time
	rss     int64 // of the load processes before the first connection

	Run result.Run
}

// Begin starts the server if there is one to start, checks that the target
// answers, takes the base sample and assembles the load of plan. The caller must
// End the session, also after later errors.
func Begin(ctx context.Context, opts *Options, ui UI, shape func(*load.Plan)) (*Session, error) {
	s := &Session{opts: opts, ui: ui, began: time.Now(), Run: result.Run{Server: opts.Name, Round: 1}}
	if err := s.begin(ctx, shape); err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

func (s *Session) begin(ctx context.Context, shape func(*load.Plan)) (err error) {
	if err := s.opts.checkPorts(); err != nil {
		return err
	}
	if err := s.findServer(ctx); err != nil {
		return err
	}
	if s.plan, err = s.opts.plan(); err != nil {
		return err
	}
	if shape != nil {
		shape(&s.plan)
	}
	return s.assemble(ctx, nil)
}

// findServer spawns or locates what is measured.
func (s *Session) findServer(ctx context.Context) error {
	o := *s.opts
	s.opts = &o
	if o.Spawn != "" {
		srv, err := StartServer(ctx, o.Spawn, o.ServerCPUs)
		if err != nil {
			return err
		}
		s.servers = append(s.servers, srv)
		o.Targets = []string{strings.ReplaceAll(o.SpawnTarget, "{addr}", srv.Addr)}
		s.sampler.Server = srv.PIDs()
		s.Run.Command = srv.Command
		if srv.Admin != "" {
			o.MetricsURLs = []string{"http://" + srv.Admin + "/metrics"}
		}
	}
	if err := Knock(ctx, append(append([]string(nil), o.Targets...), o.PublishTargets...), o.Timeout); err != nil {
		return err
	}
	if len(s.sampler.Server) == 0 {
		s.sampler.Server = o.ServerPIDs
	}
	if len(s.sampler.Server) == 0 {
		s.sampler.Server = localPIDs(append(append([]string(nil), o.Targets...), o.PublishTargets...))
	}
	return s.pinAndScrape()
}

func (s *Session) pinAndScrape() error {
	s.Run.PIDs = s.sampler.Server
	if s.Run.Command == "" && len(s.Run.PIDs) > 0 {
		s.Run.Command = probe.CommandOf(s.Run.PIDs[0])
	}
	if len(s.sampler.Server) == 0 {
		s.ui.Note("the server's processes are not known (no --server-pid, none found listening): no server figures")
	}
	for _, pid := range s.sampler.Server {
		if err := s.opts.ServerCPUs.Pin(pid); err != nil {
			return err
		}
	}
	for _, u := range s.opts.MetricsURLs {
		if !strings.Contains(strings.TrimPrefix(strings.TrimPrefix(u, "http://"), "https://"), "/") {
			u += "/metrics"
		}
		s.sampler.Metrics = append(s.sampler.Metrics, &probe.Scraper{URL: u})
	}
	return nil
}

// assemble starts the workers; shares as in load.Assemble.
func (s *Session) assemble(ctx context.Context, shares []load.Share) error {
	n, err := s.opts.workers()
	if err != nil {
		return err
	}
	if shares != nil {
		n = len(shares)
	}
	start := s.opts.Links
	if start == nil {
		start = localLinks
	}
	links, pids, err := start(ctx, n, s.opts.ClientCPUs)
	if err != nil {
		return err
	}
	s.sampler.Bench = pids
	if s.fleet, err = load.Assemble(ctx, s.plan, links, shares); err != nil {
		return err
	}
	t, err := s.fleet.Collect(ctx)
	if err != nil {
		return err
	}
	s.rss = t.RSS
	if err := s.restBeforeBase(ctx); err != nil {
		return err
	}
	if s.base, err = s.sampler.Take(); err != nil {
		return err
	}
	return nil
}

// restBeforeBase lets a server that was just started come to rest, so that what
// starting took is not counted against its connections: garbage that is collected
// later would make them look cheaper than they are.
func (s *Session) restBeforeBase(ctx context.Context) error {
	if len(s.servers) == 0 {
		return nil
	}
	for _, m := range s.sampler.Metrics {
		if err := m.CollectGarbage(); err != nil {
			break // not a Go server with pprof: its base is what it is
		}
	}
	return sleep(ctx, s.opts.Settle)
}

// localLinks starts n child processes, or for n = 0 one worker inside this one.
func localLinks(_ context.Context, n int, cpus probe.CPUs) (links []io.ReadWriteCloser, pids []int, err error) {
	if n == 0 {
		return []io.ReadWriteCloser{load.StartLocal()}, nil, nil
	}
	for range n {
		c, err := load.StartChild(func(cmd *exec.Cmd) error { return cpus.Start(cmd) })
		if err != nil {
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			return nil, nil, err
		}
		links = append(links, c)
		pids = append(pids, c.PID())
	}
	return links, pids, nil
}

// End closes the load and stops what Begin started. It may be called twice.
func (s *Session) End() {
	if s.fleet != nil {
		s.fleet.Close()
		s.fleet = nil
	}
	errs := make([]error, len(s.servers))
	var wg sync.WaitGroup
	for i, srv := range s.servers {
		wg.Go(func() { errs[i] = srv.Stop() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		s.ui.Note("stop server: %v", err)
	}
	s.servers = nil
}

// collectTimeout bounds gathering figures after a cancelled phase.
const collectTimeout = 10 * time.Second

// peekEvery is the pace of progress and of the time series.
const peekEvery = 250 * time.Millisecond

// phase runs work between two samples and adds what was found to the run. The
// phase is kept, and returned, also when work fails: a partial report needs it.
func (s *Session) phase(ctx context.Context, name string, progress func(*load.Totals) int64, work func(context.Context) error) (*result.Phase, error) {
	before, err := s.sampler.Take()
	if err != nil {
		return nil, err
	}
	stop := s.watch(ctx, name, progress)
	workErr := work(ctx)
	stop()
	after, err := s.sampler.Take()
	if err != nil {
		err = fmt.Errorf("the server is gone: %w", err)
		after = before
		after.At = time.Now()
	}
	p, collectErr := s.collect(name)
	if p == nil {
		return nil, errors.Join(workErr, err, collectErr)
	}
	s.ui.Update(progress(&load.Totals{Counters: p.Counters}), p.Counters.Failed+p.Counters.Dropped)
	w := probe.Between(&before, &after)
	p.Seconds, p.Window = w.Seconds, &w
	s.Run.Phases = append(s.Run.Phases, *p)
	return &s.Run.Phases[len(s.Run.Phases)-1], errors.Join(workErr, err, collectErr)
}

// collect gathers the figures of the phase, also when its context is over.
func (s *Session) collect(name string) (*result.Phase, error) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	if err := s.fleet.All(ctx, load.Order{Op: load.OpAbandon}); err != nil {
		return nil, err
	}
	t, err := s.fleet.Collect(ctx)
	if err != nil {
		return nil, err
	}
	p := &result.Phase{
		Name: name, Counters: t.Counters, Failures: t.Failures, Drops: t.Drops, Codes: t.Codes, Silent: t.Silent,
		Faulty: s.faulty(t),
	}
	if unique := t.Counters.Unique(); t.Counters.Owed > unique {
		p.Lost = t.Counters.Owed - unique
	}
	var errs [3]error
	p.Latency, errs[0] = result.NewDist(t.Latency)
	p.Connect, errs[1] = result.NewDist(t.Connect)
	p.Ack, errs[2] = result.NewDist(t.Ack)
	s.rssNow(t)
	return p, errors.Join(errs[:]...)
}

func (s *Session) rssNow(t *load.Totals) {
	if n := t.Counters.Open; n > 0 && t.RSS > s.rss && s.fleet.Workers() > 0 {
		s.Run.Figures = put(s.Run.Figures, result.Figure{
			Key: "client_rss_per_conn", Label: "harness: memory per connection, fixed parts included", Unit: "B",
			Value: float64(t.RSS-s.rss) / float64(n),
		})
	}
}

// put replaces the figure of the same key or appends it.
func put(figures []result.Figure, f result.Figure) []result.Figure {
	for i := range figures {
		if figures[i].Key == f.Key {
			figures[i] = f
			return figures
		}
	}
	return append(figures, f)
}

// maxFaulty bounds the faulty channels listed one by one.
const maxFaulty = 50

func (s *Session) faulty(t *load.Totals) (out []result.ChannelFault) {
	for i := range t.Channels {
		c := &t.Channels[i]
		owed, unique := c.Sent*uint64(s.plan.MembersOf(i)), c.Received-c.Duplicated
		if unique >= owed && c.Duplicated+c.OutOfOrder == 0 {
			continue
		}
		out = append(out, result.ChannelFault{
			Channel: i, Owed: owed, Received: c.Received, Lost: owed - min(unique, owed),
			Duplicated: c.Duplicated, OutOfOrder: c.OutOfOrder,
		})
		if len(out) == maxFaulty {
			break
		}
	}
	return out
}

// watch shows progress and records the time series until the returned func is
// called, which waits for the watcher to end.
func (s *Session) watch(ctx context.Context, name string, progress func(*load.Totals) int64) func() {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(peekEvery)
		defer tick.Stop()
		last, at := probe.CPUOf(s.sampler.Server), time.Now()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			t, err := s.fleet.Peek(ctx)
			if err != nil {
				return // the phase's own order fails the same way and reports it
			}
			s.ui.Update(progress(t), t.Counters.Failed+t.Counters.Dropped)
			cpu, now := probe.CPUOf(s.sampler.Server), time.Now()
			p := result.Point{
				At: time.Since(s.began).Seconds(), Phase: name, Open: t.Counters.Open, Failed: t.Counters.Failed,
				Dropped: t.Counters.Dropped, Received: t.Counters.Received, ServerCPU: (cpu - last) / now.Sub(at).Seconds(),
			}
			last, at = cpu, now
			if n%4 == 3 && len(s.sampler.Server) > 0 && len(s.sampler.Server) < 4 {
				if proc, err := probe.Processes(s.sampler.Server); err == nil {
					p.UserBytes = proc.User()
				}
			}
			s.Run.Series = append(s.Run.Series, p)
		}
	}()
	return func() { cancel(); <-ended }
}

// sleep waits or ends early with the context's cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// now is the clock publications are scheduled on.
var clock = engine.NewClock()
