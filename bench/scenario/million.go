package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"throng/bench/load"
	"throng/bench/probe"
	"throng/bench/result"
)

// MillionSpec is the shape of a million run.
type MillionSpec struct {
	Nodes     int           // 0 = as few as descriptors allow
	Hold      time.Duration // after all are open
	ServerBin string        // "" = built from ./server
	Source    string        // directory of the module, for the build
	// Command is a node's command line. Besides what StartServer fills in: {bin},
	// {id}, {heartbeat}, {pong} (20 s, or four fifths of the heartbeat: both ends share the cores), and {nats} (--nats-listen on the first node, --nats-url on
	// the others, nothing on a single one).
	Command   string
	CheckOnly bool
	Force     bool // begin although a limit is short
}

// DefaultNode is Throng's command line for MillionSpec.Command.
const DefaultNode = "{bin} --addr {addr} --admin-addr {admin} --node-id {id} --data-dir {dir} --ping-interval {heartbeat} --pong-timeout {pong} --drain-window 100ms --log-level warn {nats}"

// ErrShort means that the machine's limits forbid the run; the text says what to do.
var ErrShort = errors.New("limits forbid this run")

// Million holds a very large number of idle connections, both ends here, over as
// many nodes and load processes as descriptors demand, joined by one NATS; then
// one message goes to all of them.
func Million(ctx context.Context, opts *Options, ui UI, spec MillionSpec) (*Outcome, error) {
	layout, err := PlanLayout(opts.Connections, spec.Nodes, int64(probe.RaiseFDLimit()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShort, err)
	}
	findings := Preflight(layout, opts.PerAddress, probe.ReadLimits(), availableMemory())
	text, ok := Explain(findings)
	ui.Note("%d connections on %d nodes and %d load processes, about %s:\n%s", layout.Connections, layout.Nodes, layout.Nodes,
		result.Bytes(float64(layout.Memory())), text)
	if !ok && !spec.Force {
		return nil, fmt.Errorf("%w:\n%s", ErrShort, text)
	}
	o := &Outcome{Goal: fmt.Sprintf("%d idle connections on %d nodes held for %s with heartbeats every %s, 0 dropped; then one broadcast reaches all",
		layout.Connections, layout.Nodes, spec.Hold, opts.Heartbeat)}
	if spec.CheckOnly {
		return o, nil
	}
	s, err := beginMillion(ctx, opts, ui, layout, spec)
	if err == nil {
		defer s.End()
		err = s.idle(ctx, spec.Hold)
	}
	o.finish(s, err)
	o.Load.Nodes = layout.Nodes
	return o, nil
}

func beginMillion(ctx context.Context, opts *Options, ui UI, layout Layout, spec MillionSpec) (*Session, error) {
	own := *opts
	s := &Session{opts: &own, ui: ui, began: time.Now(), Run: result.Run{Server: own.Name, Round: 1}}
	err := s.startNodes(ctx, layout, spec)
	if err == nil {
		err = s.spread(ctx, layout)
	}
	if err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

// spread gives each node a load process of its own.
func (s *Session) spread(ctx context.Context, layout Layout) (err error) {
	s.opts.Targets, s.opts.MetricsURLs = nil, nil
	for _, srv := range s.servers {
		s.opts.Targets = append(s.opts.Targets, strings.ReplaceAll(s.opts.SpawnTarget, "{addr}", srv.Addr))
		s.sampler.Server = append(s.sampler.Server, srv.PIDs()...)
		if srv.Admin != "" {
			s.opts.MetricsURLs = append(s.opts.MetricsURLs, "http://"+srv.Admin+"/metrics")
		}
	}
	s.opts.Procs = strconv.Itoa(layout.Nodes)
	if err := s.pinAndScrape(); err != nil {
		return err
	}
	if s.plan, err = s.opts.plan(); err != nil {
		return err
	}
	shares := load.Deal(&s.plan, layout.Nodes)
	for i := range shares {
		shares[i].Targets = s.opts.Targets[i : i+1]
	}
	return s.assemble(ctx, shares)
}

// buildServer compiles ./server once, so that nodes are the tree's own.
func buildServer(ctx context.Context, ui UI, source, dir string) (string, error) {
	bin := filepath.Join(dir, "throng")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./server")
	cmd.Dir = source
	ui.Note("building ./server")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ./server (or give --server-bin): %w\n%s", err, out)
	}
	return bin, nil
}

// startTogether is how many nodes start at the same time.
const startTogether = 4

// startNodes starts the first node, whose NATS the others join.
func (s *Session) startNodes(ctx context.Context, layout Layout, spec MillionSpec) error {
	bin := spec.ServerBin
	if bin == "" {
		dir, err := tempDir()
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) // running nodes keep the file
		if bin, err = buildServer(ctx, s.ui, spec.Source, dir); err != nil {
			return err
		}
	}
	port, err := FreePort()
	if err != nil {
		return err
	}
	nats := "127.0.0.1:" + strconv.Itoa(port)
	s.ui.Phase("nodes", "node", int64(layout.Nodes))
	line := func(i int) string {
		join := ""
		if layout.Nodes > 1 && i == 0 {
			join = "--nats-listen " + nats
		} else if i > 0 {
			join = "--nats-url nats://" + nats
		}
		return strings.NewReplacer("{bin}", "'"+bin+"'", "{id}", fmt.Sprintf("n%d", i), "{nats}", join,
			"{heartbeat}", s.opts.Heartbeat.String(), "{pong}", min(20*time.Second, s.opts.Heartbeat*4/5).String()).Replace(spec.Command)
	}
	first, err := StartServer(ctx, line(0), s.opts.ServerCPUs)
	if err != nil {
		return err
	}
	s.servers = append(s.servers, first)
	s.Run.Command = first.Command
	return s.startRest(ctx, layout.Nodes, line)
}

func (s *Session) startRest(ctx context.Context, nodes int, line func(i int) string) error {
	for at := 1; at < nodes; at += startTogether {
		group := make([]*Server, min(startTogether, nodes-at))
		errs := make([]error, len(group))
		var wg sync.WaitGroup
		for k := range group {
			wg.Go(func() { group[k], errs[k] = StartServer(ctx, line(at+k), s.opts.ServerCPUs) })
		}
		wg.Wait()
		for _, srv := range group {
			if srv != nil {
				s.servers = append(s.servers, srv)
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		s.ui.Update(int64(len(s.servers)), 0)
	}
	return nil
}
