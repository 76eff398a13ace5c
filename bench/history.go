package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"throng/bench/scenario"
)

// registerHistory adds the flags of a subcommand about channels with history,
// which only the Centrifuge protocol has.
func (c *common) registerHistory(cmd *cobra.Command, r *roster, conns int) {
	f := cmd.Flags()
	c.register(f, conns)
	preset(f, map[string]string{
		"dialect": "centrifuge-json", "channel": "history:bench", "no-ceiling": "true",
		"spawn-target": "ws://{addr}/connection/websocket",
	})
	c.opts.Targets = []string{"ws://127.0.0.1:8080/connection/websocket"}
	f.Lookup("target").DefValue = f.Lookup("target").Value.String()
	r.register(f)
}

// listed reads the roster; several servers are compared.
func (c *common) listed(r *roster, wrong ...error) ([]scenario.Contender, error) {
	list, err := r.contenders()
	if err = errors.Join(append(wrong, err)...); err != nil {
		return nil, usageError{err}
	}
	c.base = r.baseOf(list)
	return list, nil
}

func newPublish(args []string) *cobra.Command {
	c := &common{}
	var r roster
	var spec scenario.PublishSpec
	cmd := &cobra.Command{
		Use: "publish", Args: noArgs, Short: "Acknowledged publications per second, and their latency at a fixed rate",
		Long: `Each channel has one publisher among its subscribers. With --outstanding 1,16 each
publisher keeps 1, then 16 commands without an answer: what one read answers goes out
again in one frame, and every answer is counted, errors by their code. --rate is one
more phase, at intended times: the figure is the latency to the subscribers. The
subscriptions ask for positions (--plain: they do not), so a namespace with history
is measured with everything that recovery costs.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			wrong := []error{positive("channels", spec.Channels), positive("for", spec.For), positive("rounds", spec.Rounds)}
			for _, k := range spec.Outstanding {
				wrong = append(wrong, positive("outstanding", k))
			}
			if spec.Contenders, err = c.listed(&r, wrong...); err != nil {
				return err
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Publish(ctx, &c.opts, ui, spec)
			})
		},
	}
	c.registerHistory(cmd, &r, 100)
	f := cmd.Flags()
	f.IntVar(&spec.Channels, "channels", 100, "channels, each with its share of the connections and one publisher")
	f.IntSliceVar(&spec.Outstanding, "outstanding", []int{1, 16}, "commands of each publisher without an answer, one phase each")
	f.Float64Var(&spec.Rate, "rate", 5000, "publications per second in all, in one more phase; 0 = none")
	f.DurationVar(&spec.For, "for", 5*time.Second, "length of each measured phase")
	f.DurationVar(&spec.WarmUp, "warm-up", time.Second, "before each")
	f.IntVar(&spec.Rounds, "rounds", 1, "times that each server is measured")
	f.BoolVar(&spec.Plain, "plain", false, "subscribe without position")
	f.Float64Var(&spec.MinAcked, "min-acked", 0, "fail below this many per second in the best phase, 0 = any")
	f.DurationVar(&spec.MaxP99, "max-p99", 0, "fail when the p99 at --rate is above this, 0 = any")
	return cmd
}

func newRecover(args []string) *cobra.Command {
	c := &common{}
	var r roster
	var spec scenario.RecoverSpec
	cmd := &cobra.Command{
		Use: "recover", Args: noArgs, Short: "All subscribers leave, publications are made, all come back and recover",
		Long: `Subscriptions are recoverable. All connections drop, publishers of their own make
--missed publications in each channel, and all connections come back at once with
their positions: each must get what it has missed, once and in order, and be told
that it recovered. With --restart the server is killed instead and started again in
its directory. --live keeps publishing while they come back.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			spec.Contenders, err = c.listed(&r, positive("channels", spec.Channels), positive("missed", spec.Missed),
				positive("rounds", spec.Rounds), positive("outages", spec.Outages))
			if err != nil {
				return err
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Recover(ctx, &c.opts, ui, spec)
			})
		},
	}
	c.registerHistory(cmd, &r, 10_000)
	f := cmd.Flags()
	f.IntVar(&spec.Channels, "channels", 1, "channels the connections are dealt over")
	f.IntVar(&spec.Missed, "missed", 100, "publications in each channel while nobody listens")
	f.Float64Var(&spec.LiveRate, "live", 0, "publications per second and channel while all come back, 0 = none")
	f.BoolVar(&spec.Restart, "restart", false, "kill and restart the server (--spawn, --server) instead of dropping the connections")
	f.IntVar(&spec.Outages, "outages", 2, "one after the other")
	f.IntVar(&spec.Rounds, "rounds", 1, "times that each server is measured")
	f.DurationVar(&spec.MaxTime, "max-time", 0, "fail when all are back later than this, 0 = any")
	return cmd
}

func newPositions(args []string) *cobra.Command {
	c := &common{}
	var r roster
	var spec scenario.PositionsSpec
	cmd := &cobra.Command{
		Use: "positions", Args: noArgs, Short: "Idle memory of a positioned subscription beside a plain one",
		Long: `The server is started anew for plain and for positioned subscriptions in turn, and its
memory read when all are open, after a garbage collection where its admin listener
allows one.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			spec.Contenders, err = c.listed(&r, positive("channels", spec.Channels), positive("rounds", spec.Rounds))
			if err != nil {
				return err
			}
			if c.base != "" {
				c.base = scenario.PlainName(c.base)
			} else {
				c.base = scenario.PlainName(c.opts.Name)
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Positions(ctx, &c.opts, ui, spec)
			})
		},
	}
	c.registerHistory(cmd, &r, 10_000)
	f := cmd.Flags()
	f.IntVar(&spec.Channels, "channels", 1, "channels the connections are dealt over")
	f.IntVar(&spec.Rounds, "rounds", 2, "times that each kind is measured")
	return cmd
}
