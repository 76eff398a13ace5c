package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"throng/bench/scenario"
)

// newMillion is the subcommand that holds a million idle connections.
func newMillion(args []string) *cobra.Command {
	c := &common{}
	var spec scenario.MillionSpec
	cmd := &cobra.Command{
		Use: "million", Args: noArgs, Short: "A million idle connections, both ends on this machine, then one broadcast to all",
		Long: `Starts as many nodes and load processes as the descriptor limit demands (one of each
where it allows), joined by one NATS; opens all connections, holds them with the
nodes' heartbeats, demands that none drops, and sends one message to all.

Before anything starts the limits are checked, and each that is too low is named
with the command that raises it (--check stops there). -c 100000 is a tenth.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := positive("hold", spec.Hold); err != nil {
				return usageError{err}
			}
			return c.million(cmd, args, spec)
		},
	}
	c.register(cmd.Flags(), 1_000_000)
	f := cmd.Flags()
	preset(f, map[string]string{
		"settle": "10s", "drain": "60s", "heartbeat-from": "server", "in-flight": "4000", "attempts": "20", "timeout": "30s", "channel": "million",
	})
	for _, name := range []string{"target", "spawn", "publish-target", "server-pid", "procs", "agents", "nats-url"} {
		f.Lookup(name).Hidden = true
	}
	f.IntVar(&spec.Nodes, "nodes", 0, "nodes, 0 = as few as descriptors allow")
	f.DurationVar(&spec.Hold, "hold", 5*time.Minute, "how long to hold all of them")
	f.StringVar(&spec.ServerBin, "server-bin", "", "node's binary, empty = built from ./server")
	f.StringVar(&spec.Source, "source", ".", "directory of the module, for building")
	f.StringVar(&spec.Command, "node-command", scenario.DefaultNode, "command line of a node")
	f.BoolVar(&spec.CheckOnly, "check", false, "check the limits, say what is short, and end")
	f.BoolVar(&spec.Force, "force", false, "begin although a limit is short")
	return cmd
}

func (c *common) million(cmd *cobra.Command, args []string, spec scenario.MillionSpec) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	if spec.CheckOnly {
		ui := newDisplay(stderrFile())
		_, err := scenario.Million(cmd.Context(), &c.opts, ui, spec)
		ui.Close()
		if err != nil {
			return usageError{err}
		}
		fmt.Fprintln(cmd.OutOrStdout(), "the limits allow this run")
		return nil
	}
	var short error
	err := c.report(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
		o, err := scenario.Million(ctx, &c.opts, ui, spec)
		if err != nil {
			short = err
			return &scenario.Outcome{Goal: "limits allow the run", Misses: []string{err.Error()}}
		}
		return o
	})
	if errors.Is(short, scenario.ErrShort) {
		return usageError{short}
	}
	return err
}
