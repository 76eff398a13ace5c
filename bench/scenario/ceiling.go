package scenario

import (
	"context"
	"fmt"
	"time"

	"throng/bench/nullserver"
	"throng/bench/result"
)

// ceilingConns bounds the connections of a ceiling run, ceilingTime each of its
// window phases.
const (
	ceilingConns = 10_000
	ceilingTime  = 1500 * time.Millisecond
)

// NullCommand is the command line of the built-in null server in a process of its
// own; "" runs it inside this process, where its CPU cannot be told from the
// bench's (tests).
var NullCommand = ""

// MeasureCeiling runs the load of opts against the built-in null server: how much
// the harness can drive, and what the kernel alone takes per delivery.
func MeasureCeiling(ctx context.Context, opts *Options, ui UI) (*result.Ceiling, error) {
	o := *opts
	o.Connections = min(o.Connections, ceilingConns)
	o.PublishTargets, o.MetricsURLs, o.ServerPIDs = nil, nil, nil
	o.Dialect, o.PublishDialect, o.Ready, o.Channel = "raw", "", "greeting", ""
	o.Name, o.OpenRate, o.InFlight, o.Links = "null server", 0, 1000, nil
	o.Spawn, o.SpawnTarget = NullCommand, "ws://{addr}/"
	o.TLSCAFile, o.TLSInsecure = "", false
	if NullCommand == "" {
		srv, err := nullserver.Start(nullserver.Config{})
		if err != nil {
			return nil, err
		}
		defer srv.Close()
		o.Targets = []string{srv.URL()}
	}
	s, err := Begin(ctx, &o, ui, nil)
	if err != nil {
		return nil, fmt.Errorf("ceiling: %w", err)
	}
	defer s.End()
	if err := s.fanout(ctx, FanoutSpec{Channels: 1, Window: []int{1, 8}, For: ceilingTime}); err != nil {
		return nil, fmt.Errorf("ceiling: %w", err)
	}
	for i := range s.Run.Phases {
		if p := &s.Run.Phases[i]; p.Lost+p.Counters.Dropped+p.Counters.GivenUp > 0 {
			return nil, fmt.Errorf("ceiling: %d lost, %d dropped, %d not opened against the null server: the harness cannot carry this load",
				p.Lost, p.Counters.Dropped, p.Counters.GivenUp)
		}
	}
	c := &result.Ceiling{Connections: o.Connections, Figures: s.Run.Figures}
	for i := range s.Run.Phases {
		p := &s.Run.Phases[i]
		if n := p.Counters.Unique(); n > 0 && p.Name != "warm-up" {
			c.Figures = put(c.Figures, result.Figure{
				Key: "client_cpu_us_" + p.Name, Label: "harness: CPU per delivery, " + p.Name, Unit: "us",
				Value: p.Window.BenchCPU * p.Seconds * 1e6 / float64(n),
			})
		}
	}
	return c, nil
}
