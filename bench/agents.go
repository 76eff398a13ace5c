package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"throng/bench/agent"
	"throng/bench/load"
	"throng/bench/probe"
)

// natsTimeout bounds the first connection to NATS.
const natsTimeout = 5 * time.Second

// dialNATS connects to a server that takes part in running the bench, never in
// what is measured.
func dialNATS(url, name string) (*nats.Conn, error) {
	nc, err := nats.Connect(url, nats.Name(name), nats.Timeout(natsTimeout), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("--nats-url %s: %w", url, err)
	}
	return nc, nil
}

// newAgent is the subcommand that lends load processes.
func newAgent() *cobra.Command {
	var url string
	var workers int
	var cpuList string
	cmd := &cobra.Command{
		Use: "agent", Args: noArgs, Short: "Lend load processes over NATS, so that many machines or pods make one load",
		Long: `Runs until interrupted. A run with --agents N on any machine of the same NATS takes N
load processes from the agents that answer.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := positive("workers", workers); err != nil {
				return usageError{err}
			}
			cpus, err := probe.ParseCPUs(cpuList)
			if err != nil {
				return usageError{fmt.Errorf("--client-cpus: %w", err)}
			}
			nc, err := dialNATS(url, "bench agent")
			if err != nil {
				return err
			}
			defer nc.Close()
			return agent.Serve(cmd.Context(), nc, agent.Config{
				Workers: workers,
				Start:   func() (io.ReadWriteCloser, error) { return load.StartChild(cpus.Start) },
				Log:     func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) },
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&url, "nats-url", "nats://127.0.0.1:4222", "NATS server to wait for orders at")
	f.IntVar(&workers, "workers", runtime.NumCPU(), "load processes to lend at once")
	f.StringVar(&cpuList, "client-cpus", "", "cores for them, as 0 or 0,2-3; empty = not pinned")
	return cmd
}

// hireAgents makes the run take its workers from agents; the returned func gives
// the connection back.
func (c *common) hireAgents() (func(), error) {
	if c.opts.Agents == 0 {
		return func() {}, nil
	}
	nc, err := dialNATS(c.natsURL, "bench coordinator")
	if err != nil {
		return nil, err
	}
	c.opts.Links = func(ctx context.Context, n int, _ probe.CPUs) ([]io.ReadWriteCloser, []int, error) {
		links, err := agent.Hire(ctx, nc, n)
		return links, nil, err
	}
	return nc.Close, nil
}
