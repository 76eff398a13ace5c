package scenario

import (
	"context"
	"fmt"
	"time"

	"throng/bench/engine"
	"throng/bench/load"
	"throng/bench/probe"
	"throng/bench/result"
)

// figure states one number of the run.
func (s *Session) figure(key, label, unit string, value float64, better result.Better) {
	s.Run.Figures = put(s.Run.Figures, result.Figure{Key: key, Label: label, Unit: unit, Value: value, Better: better})
}

func openNow(t *load.Totals) int64   { return t.Counters.Open }
func arrived(t *load.Totals) int64   { return int64(t.Counters.Unique()) }
func pingsDone(t *load.Totals) int64 { return int64(t.Counters.PingsSeen + t.Counters.PongsSeen) }

// rows is how many connections the plan opens, publishers included.
func (s *Session) rows() int64 {
	n := s.plan.Connections
	if len(s.plan.PublishTargets) > 0 {
		n += s.plan.Channels * s.plan.Talkers
	}
	return int64(n)
}

// knowsServer says whether server figures exist.
func (s *Session) knowsServer() bool { return len(s.sampler.Server) > 0 }

// Open opens every connection and states what a handshake cost.
func (s *Session) Open(ctx context.Context) error {
	s.ui.Phase("open", "conn", s.rows())
	p, err := s.phase(ctx, "open", openNow, func(ctx context.Context) error {
		return s.fleet.Open(ctx, engine.OpenOrder{
			Rate: s.opts.OpenRate, InFlight: s.opts.InFlight, Attempts: s.opts.Attempts,
		})
	})
	if p == nil {
		return err
	}
	if p.Counters.Opened > 0 {
		s.figure("handshakes_per_s", "handshakes", "/s", float64(p.Counters.Opened)/p.Seconds, result.Higher)
		if s.knowsServer() {
			s.figure("handshake_cpu_us", "CPU per handshake", "us",
				p.Window.ServerSeconds()*1e6/float64(p.Counters.Opened), result.Lower)
		}
	}
	if p.Counters.Open == 0 && err == nil {
		err = fmt.Errorf("no connection could be opened: %s", kinds(p.Failures))
	}
	return err
}

// Settle waits for the server to come to rest after a burst of work.
func (s *Session) Settle(ctx context.Context) error { return sleep(ctx, s.opts.Settle) }

// Memory states the server's memory per open connection now, under key. Kernel
// memory counts both ends when the load runs on the server's machine.
func (s *Session) Memory(ctx context.Context, key, label string) error {
	now, err := s.sampler.Take()
	if err != nil {
		return err
	}
	t, err := s.fleet.Peek(ctx)
	if err != nil {
		return err
	}
	n := float64(t.Counters.Open)
	if n == 0 || !s.knowsServer() {
		return nil
	}
	s.figure(key, label, "B", float64(now.Server.User()-s.base.Server.User())/n, result.Lower)
	if key != keyIdle {
		return nil
	}
	s.figure("gross_bytes_per_conn", "user memory of the whole server over connections", "B", float64(now.Server.User())/n, result.Plain)
	s.figure("rss_per_conn", "RSS per connection, idle", "B", float64(now.Server.RSS-s.base.Server.RSS)/n, result.Plain)
	s.figure("kernel_bytes_per_conn", "kernel memory per connection (slab and TCP, both ends)", "B",
		float64(now.Machine.Slab-s.base.Machine.Slab+now.Machine.TCPMem-s.base.Machine.TCPMem)/n, result.Plain)
	s.figure("server_base_bytes", "server memory before the first connection", "B", float64(s.base.Server.User()), result.Plain)
	s.figure("threads", "threads", "", float64(now.Server.Threads), result.Plain)
	s.runtimeFigures(&now)
	return nil
}

const keyIdle = "user_bytes_per_conn"

func (s *Session) runtimeFigures(now *probe.Sample) {
	if g, ok := now.Metrics["go_goroutines"]; ok {
		s.figure("goroutines_base", "goroutines before the first connection", "", s.base.Metrics["go_goroutines"], result.Plain)
		s.figure("goroutines", "goroutines with all connections", "", g, result.Plain)
	}
	if h, ok := now.Metrics["go_memstats_heap_alloc_bytes"]; ok {
		s.figure("heap_alloc", "heap in use, garbage included", "B", h, result.Plain)
	}
}

// Hold keeps the connections for d with heartbeats, and states what that costs.
func (s *Session) Hold(ctx context.Context, name string, d time.Duration) error {
	s.ui.Phase(name, "heartbeat", s.expectedBeats(d))
	client := s.opts.HeartbeatFrom != "server" && s.opts.Heartbeat > 0
	p, err := s.phase(ctx, name, pingsDone, func(ctx context.Context) error {
		if client {
			if err := s.fleet.All(ctx, load.Order{Op: load.OpHeartbeat, Period: s.opts.Heartbeat}); err != nil {
				return err
			}
		}
		err := sleep(ctx, d)
		if client && err == nil {
			err = s.fleet.All(ctx, load.Order{Op: load.OpHeartbeat})
		}
		return err
	})
	if p == nil {
		return err
	}
	if s.knowsServer() {
		s.figure("hold_cpu", "CPU while holding", "cores", p.Window.ServerCPU, result.Lower)
		if beats := p.Counters.PingsSeen + p.Counters.PongsSeen; beats >= 1000 {
			s.figure("heartbeat_cpu_us", "CPU per ping and pong", "us", p.Window.ServerSeconds()*1e6/float64(beats), result.Lower)
		}
	}
	s.figure("held_dropped", "dropped while holding", "", float64(p.Counters.Dropped), result.Lower)
	return err
}

func (s *Session) expectedBeats(d time.Duration) int64 {
	if s.opts.Heartbeat <= 0 {
		return 0
	}
	return int64(float64(s.plan.Connections) * d.Seconds() / s.opts.Heartbeat.Seconds())
}

// Bursts is window mode: rounds of window messages per talker, each in one write,
// the next when the last has reached every subscriber. It runs at least count
// rounds and for at least d. Figures get key as suffix ("_w8"); "" states none.
type Bursts struct {
	Name   string
	Window int
	Count  int
	For    time.Duration
	Key    string
}

// RunBursts carries b out as one phase of measured messages.
func (s *Session) RunBursts(ctx context.Context, b Bursts) (*result.Phase, error) {
	s.ui.Phase(b.Name, "delivery", 0)
	p, err := s.phase(ctx, b.Name, arrived, func(ctx context.Context) error {
		if err := s.mark(ctx, engine.PhaseMeasured); err != nil {
			return err
		}
		begin := time.Now()
		for n := 0; n < b.Count || time.Since(begin) < b.For; n++ {
			o := load.Order{Op: load.OpBurst, Burst: &engine.BurstOrder{Messages: b.Window, Timeout: s.opts.Drain}}
			if err := s.fleet.All(ctx, o); err != nil {
				return err
			}
			if n%roundsPerLook == 0 {
				if err := s.talkersSpeak(ctx); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if p == nil || b.Key == "" {
		return p, err
	}
	s.deliveryFigures(p, b.Key, fmt.Sprintf("%d in flight", b.Window))
	return p, err
}

// roundsPerLook is how many rounds may pass between two looks at whether anybody
// still speaks: without talkers a round ends at once, and the loop would spin.
const roundsPerLook = 32

func (s *Session) talkersSpeak(ctx context.Context) error {
	t, err := s.fleet.Peek(ctx)
	if err != nil {
		return err
	}
	if t.Counters.Unsent > 0 {
		return fmt.Errorf("%d messages could not be sent: their connections are gone", t.Counters.Unsent)
	}
	return nil
}

// warmRounds are sent before a measured window phase: the first message to each
// connection grows buffers on both sides.
const warmRounds = 2

// Warm sends a few rounds that are counted apart.
func (s *Session) Warm(ctx context.Context, window int) error {
	s.ui.Phase("warm-up", "delivery", 0)
	_, err := s.phase(ctx, "warm-up", arrived, func(ctx context.Context) error {
		if err := s.mark(ctx, engine.PhaseWarm); err != nil {
			return err
		}
		for range warmRounds {
			o := load.Order{Op: load.OpBurst, Burst: &engine.BurstOrder{Messages: window, Timeout: s.opts.Drain}}
			if err := s.fleet.All(ctx, o); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func (s *Session) mark(ctx context.Context, phase byte) error {
	return s.fleet.All(ctx, load.Order{Op: load.OpPhase, Phase: string(phase)})
}

func (s *Session) deliveryFigures(p *result.Phase, key, label string) {
	unique := float64(p.Counters.Unique())
	if unique == 0 {
		return
	}
	s.figure("deliveries_per_s"+key, "deliveries, "+label, "/s", unique/p.Seconds, result.Higher)
	if s.knowsServer() {
		s.figure("delivery_cpu_us"+key, "CPU per delivery, "+label, "us", p.Window.ServerSeconds()*1e6/unique, result.Lower)
		s.figure("delivery_user_cpu_us"+key, "of it in user mode, "+label, "us", p.Window.ServerUser*p.Seconds*1e6/unique, result.Lower)
	}
	if p.Counters.Reads > 0 {
		s.figure("deliveries_per_read"+key, "deliveries per read of a client, "+label, "", unique/float64(p.Counters.Reads), result.Higher)
	}
	s.latencyFigures(p, key, label)
}

func (s *Session) latencyFigures(p *result.Phase, key, label string) {
	if p.Latency == nil {
		return
	}
	s.figure("latency_p50_us"+key, "latency p50, "+label, "us", float64(p.Latency.P50), result.Lower)
	s.figure("latency_p99_us"+key, "latency p99, "+label, "us", float64(p.Latency.P99), result.Lower)
	s.figure("latency_max_us"+key, "latency max, "+label, "us", float64(p.Latency.Max), result.Lower)
}

// Rate is rate mode: messages at intended times.
type Rate struct {
	Name   string
	PerSec float64 // per talker
	For    time.Duration
	WarmUp time.Duration // its messages are counted apart
	Key    string
	Label  string
}

// scheduleAhead lets the order reach every worker before the first message is due.
const scheduleAhead = 100 * time.Millisecond

// RunRate carries r out: the warm-up as a phase of its own, then the measured one.
func (s *Session) RunRate(ctx context.Context, r Rate) (*result.Phase, error) {
	if r.WarmUp > 0 {
		if _, err := s.schedule(ctx, "warm-up", engine.PhaseWarm, r.PerSec, r.WarmUp); err != nil {
			return nil, err
		}
	}
	p, err := s.schedule(ctx, r.Name, engine.PhaseMeasured, r.PerSec, r.For)
	if p != nil {
		s.deliveryFigures(p, r.Key, r.Label)
	}
	return p, err
}

func (s *Session) schedule(ctx context.Context, name string, phase byte, rate float64, d time.Duration) (*result.Phase, error) {
	count := max(int(rate*d.Seconds()+0.5), 1)
	s.ui.Phase(name, "delivery", int64(count)*int64(s.plan.Talkers)*int64(s.plan.Connections))
	return s.phase(ctx, name, arrived, func(ctx context.Context) error {
		if err := s.mark(ctx, phase); err != nil {
			return err
		}
		o := engine.PublishOrder{Rate: rate, Count: count, Begin: clock.Now() + int64(scheduleAhead)}
		if err := s.fleet.All(ctx, load.Order{Op: load.OpPublish, Publish: &o}); err != nil {
			return err
		}
		return s.drain(ctx)
	})
}

// drainPoll is how often arrivals are compared with what is owed.
const drainPoll = 20 * time.Millisecond

// drain waits until everything owed has arrived, or nothing arrived for the drain
// time: what is missing then is lost.
func (s *Session) drain(ctx context.Context) error {
	seen, since := uint64(0), time.Now()
	for {
		t, err := s.fleet.Peek(ctx)
		if err != nil {
			return err
		}
		unique := t.Counters.Unique()
		if unique >= t.Counters.Owed && (!s.plan.Answers || answered(&t.Counters) >= t.Counters.Sent) {
			return nil
		}
		if unique != seen {
			seen, since = unique, time.Now()
		}
		if time.Since(since) > s.opts.Drain {
			return nil
		}
		if err := sleep(ctx, drainPoll); err != nil {
			return err
		}
	}
}

// answered is how many publications have had their answer, or will get none.
func answered(c *engine.Counters) uint64 { return c.Acked + c.Rejections + c.Unanswered }

// Retries of a client in a storm: it comes back until it is in.
const (
	stormAttempts = 200
	stormBackoff  = 100 * time.Millisecond
)

// Storm drops all connections at once and opens them again at once. inFlight
// bounds concurrent attempts, 0 = none, as in life. It returns the seconds from
// the first close to the last connection back.
func (s *Session) Storm(ctx context.Context, name string, inFlight int) (float64, error) {
	s.ui.Phase(name, "conn", s.rows())
	var took, dropped time.Duration
	p, err := s.phase(ctx, name, openNow, func(ctx context.Context) error {
		begin := time.Now()
		if err := s.fleet.All(ctx, load.Order{Op: load.OpDrop}); err != nil {
			return err
		}
		dropped = time.Since(begin)
		err := s.fleet.Open(ctx, engine.OpenOrder{InFlight: inFlight, Attempts: stormAttempts, Backoff: stormBackoff})
		took = time.Since(begin)
		return err
	})
	if p == nil || err != nil {
		return 0, err
	}
	if p.Counters.Open != s.rows() {
		err = fmt.Errorf("%d of %d connections did not come back: %s", s.rows()-p.Counters.Open, s.rows(), kinds(p.Failures))
	}
	s.ui.Note("%s: all back in %.2f s (of it closing %.2f s), %d failed attempts", name, took.Seconds(), dropped.Seconds(), p.Counters.Failed)
	return took.Seconds(), err
}

// kinds lists counts by kind for a message.
func kinds(m map[string]uint64) string {
	if len(m) == 0 {
		return "no failure counted"
	}
	out := ""
	for _, k := range sortedKeys(m) {
		if out != "" {
			out += ", "
		}
		out += fmt.Sprintf("%s %d", k, m[k])
	}
	return out
}
