package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"throng/bench/probe"
	"throng/bench/result"
	"throng/bench/scenario"
)

// report runs the scenario and the ceiling, prints the table, writes the files.
func (c *common) report(cmd *cobra.Command, args []string, scene func(context.Context, display) *scenario.Outcome) error {
	ctx := cmd.Context()
	r := &result.Report{
		Schema: result.SchemaVersion, Command: cmd.Name(), Args: args, Started: time.Now().UTC().Truncate(time.Second),
		Machine: probe.ReadFacts(), Commit: probe.ReadCommit(),
		Pinning: result.Pinning{Server: c.opts.ServerCPUs.String(), Client: c.opts.ClientCPUs.String()},
		Misses:  []string{}, Notes: []string{},
	}
	begin := time.Now()
	ui := newDisplay(stderrFile())
	out := scene(ctx, ui)
	r.Goal, r.Runs, r.Load = out.Goal, out.Runs, out.Load
	r.Misses, r.Notes = append(r.Misses, out.Misses...), append(r.Notes, out.Notes...)
	if !c.noCeiling && ctx.Err() == nil && len(out.Runs) > 0 {
		ceiling, err := scenario.MeasureCeiling(ctx, &c.opts, ui)
		if err != nil {
			r.Notes = append(r.Notes, err.Error())
		}
		r.Ceiling = ceiling
	}
	ui.Close()
	r.Partial = ctx.Err() != nil
	r.Passed = len(r.Misses) == 0 && !r.Partial
	r.Seconds = time.Since(begin).Seconds()
	c.compared(r)
	c.standing(r)
	return c.deliver(cmd, r)
}

// standing adds the notes that do not depend on the run.
func (c *common) standing(r *result.Report) {
	if r.Pinning.Server == "" || r.Pinning.Client == "" {
		r.Notes = append(r.Notes, "server and load were not pinned to cores of their own (--server-cpus, --client-cpus): they compete")
	}
	if r.Partial {
		r.Notes = append(r.Notes, "interrupted: figures are of what was done until then")
	}
}

// deliver prints and writes r and turns its verdict into an error.
func (c *common) deliver(cmd *cobra.Command, r *result.Report) error {
	if err := result.Table(cmd.OutOrStdout(), r); err != nil {
		return err
	}
	if c.out != "" {
		if err := r.Write(c.out); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if c.html != "" {
		if err := result.WriteHTML(c.html, r); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	if !r.Passed {
		return errMissed
	}
	return nil
}
