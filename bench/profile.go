package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"throng/bench/flame"
	"throng/bench/result"
	"throng/bench/scenario"
)

// profileFiles are what the node's --profile kinds write.
var profileFiles = map[string]string{
	"cpu": "cpu.pprof", "mem": "mem.pprof", "mutex": "mutex.pprof", "block": "block.pprof", "trace": "trace.out",
}

// profiling is one session: what to run and where to leave it.
type profiling struct {
	kind, load, dir, bin string
	length               time.Duration
	top                  int
}

// newProfile is the subcommand that profiles a node under load.
func newProfile() *cobra.Command {
	c := &common{}
	var p profiling
	cmd := &cobra.Command{
		Use: "profile", Args: noArgs, Short: "Profile a node under load: profile, flame graph and top functions in one folder",
		Long: `Starts the node with --profile, takes it through the load, ends it in order and leaves
in --dir the profile, a flame graph (SVG) and the report of the run; prints the top
functions. A trace is read by "go tool trace"; its scheduler, syscall, network and
sync profiles are drawn too.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(p.check(), c.check()); err != nil {
				return usageError{err}
			}
			return p.run(cmd, c)
		},
	}
	c.register(cmd.Flags(), 10_000)
	f := cmd.Flags()
	f.StringVar(&p.kind, "profile", "cpu", "cpu, mem, mutex, block or trace")
	f.StringVar(&p.load, "load", "fanout", strings.Join(scenario.ProfileLoads, ", ")+" (a mix for profile-guided optimisation)")
	f.StringVar(&p.dir, "dir", "", "folder for the results, made if missing")
	f.StringVar(&p.bin, "server-bin", "bin/throng", "the node's binary")
	f.DurationVar(&p.length, "for", 10*time.Second, "length of the load")
	f.IntVar(&p.top, "top", 25, "functions to print")
	return cmd
}

func (p *profiling) check() error {
	var errs []error
	if profileFiles[p.kind] == "" {
		errs = append(errs, fmt.Errorf("--profile: %q is none of cpu, mem, mutex, block, trace", p.kind))
	}
	if !slices.Contains(scenario.ProfileLoads, p.load) {
		errs = append(errs, fmt.Errorf("--load: %q is none of %s", p.load, strings.Join(scenario.ProfileLoads, ", ")))
	}
	if p.dir == "" {
		errs = append(errs, errors.New("--dir: empty, name a folder for the results"))
	}
	if !isFile(p.bin) {
		errs = append(errs, fmt.Errorf("--server-bin: %q is no file; build it with: go build -o %s ./server", p.bin, p.bin))
	}
	return errors.Join(append(errs, positive("for", p.length))...)
}

func (p *profiling) run(cmd *cobra.Command, c *common) error {
	dir, err := filepath.Abs(p.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	c.opts.Spawn = fmt.Sprintf("'%s' --addr {addr} --admin-addr off --data-dir {dir} --drain-window 100ms --log-level warn --profile %s --profile-dir '%s'", p.bin, p.kind, dir)
	c.opts.Name = "throng, profiling " + p.kind
	c.out = filepath.Join(dir, "report.json")
	c.noCeiling = true
	var failed error
	err = c.report(cmd, os.Args[1:], func(ctx context.Context, ui display) *scenario.Outcome {
		o := &scenario.Outcome{Goal: "a " + p.kind + " profile under " + p.load}
		run, err := scenario.ProfileSession(ctx, &c.opts, ui, p.load, p.length)
		if run != nil {
			o.Runs = append(o.Runs, *run)
		}
		o.Load = result.Load{Connections: c.opts.Connections, Channels: 1, Talkers: 1, Payload: c.opts.Payload, Dialect: c.opts.Dialect, Targets: []string{}}
		if failed = err; err != nil {
			o.Misses = append(o.Misses, err.Error())
		}
		return o
	})
	if err != nil || failed != nil {
		return err
	}
	return p.show(cmd, filepath.Join(dir, profileFiles[p.kind]))
}

// show draws what the session left and prints its top functions.
func (p *profiling) show(cmd *cobra.Command, file string) error {
	files := []string{file}
	if p.kind == "trace" {
		var err error
		if files, err = traceProfiles(cmd.Context(), file); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := p.draw(cmd, f); err != nil {
			return err
		}
	}
	return nil
}

// traceProfiles extracts the profiles that go tool trace can make of a trace.
func traceProfiles(ctx context.Context, file string) (out []string, err error) {
	for _, kind := range []string{"sched", "syscall", "sync", "net"} {
		p, err := exec.CommandContext(ctx, "go", "tool", "trace", "-pprof="+kind, file).Output()
		if err != nil {
			return nil, fmt.Errorf("go tool trace -pprof=%s: %w", kind, err)
		}
		name := filepath.Join(filepath.Dir(file), "trace-"+kind+".pprof")
		if err := os.WriteFile(name, p, 0o644); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

func (p *profiling) draw(cmd *cobra.Command, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	prof, err := flame.Read(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	types := []string{""}
	if p.kind == "mem" {
		types = []string{"inuse_space", "alloc_space"}
	}
	w := cmd.OutOrStdout()
	for _, t := range types {
		name := strings.TrimSuffix(file, filepath.Ext(file))
		if t != "" {
			name += "-" + t
		}
		var svg bytes.Buffer
		if err := flame.SVG(&svg, prof, t, fmt.Sprintf("Throng, %s under %s", filepath.Base(name), p.load)); err != nil {
			fmt.Fprintf(w, "%s: no flame graph: %v\n", filepath.Base(file), err)
			continue
		}
		if err := os.WriteFile(name+".svg", svg.Bytes(), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nflame graph: %s.svg\n", name)
		if err := p.topOf(cmd, file, t); err != nil {
			return err
		}
	}
	return nil
}

func (p *profiling) topOf(cmd *cobra.Command, file, sampleType string) error {
	args := []string{"tool", "pprof", "-top", fmt.Sprintf("-nodecount=%d", p.top)}
	if sampleType != "" {
		args = append(args, "-sample_index="+sampleType)
	}
	tool := exec.CommandContext(cmd.Context(), "go", append(args, p.bin, file)...)
	tool.Stdout, tool.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := tool.Run(); err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	return nil
}
