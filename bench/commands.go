package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"throng/bench/nullserver"
	"throng/bench/scenario"
)

// usageError is a mistake of the caller: exit code 2.
type usageError struct{ error }

// errMissed means that the report says why; nothing more is to be printed.
var errMissed = errors.New("the goal was not met")

// run is main with everything it uses as arguments; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(args)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errMissed):
		return exitMissed
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "bench: %v\nSee: bench %s -h\n", err, firstWord(args))
		return exitUsage
	}
	fmt.Fprintln(stderr, "bench:", err)
	return exitMissed
}

func firstWord(args []string) string {
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		return args[0]
	}
	return ""
}

const rootHelp = `bench measures WebSocket servers from outside: memory per idle connection, CPU per
delivery and handshake, latency from the intended send time, storms of reconnects,
and every message lost, doubled or disordered.

Start a server yourself and name it with --target, or let the bench start it:

  bench idle   -c 10000 --spawn './throng --addr {addr} --admin-addr {admin}'
  bench fanout -c 10000 --window 1,8 --server-cpus 0 --client-cpus 1
  bench compare --server throng='./throng --addr {addr}' --server peer='./peer -addr {addr}'
  bench million --connections 100000
  bench recover -c 10000 --channel history:bench --spawn './throng --config history.yaml --addr {addr}'

Server figures come from /proc (Pss_Anon + Pss_Shmem, utime + stime) of whoever
listens at a loopback target. Each report carries the harness's own ceiling against
a built-in null server. Exit code: 0 goal met, 1 not met or interrupted, 2 wrong use.`

func newRoot(args []string) *cobra.Command {
	root := &cobra.Command{
		Use: "bench", Short: "Measure WebSocket servers from outside", Long: rootHelp,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newIdle(args), newFanout(args), newRooms(args), newLatency(args), newStorm(args),
		newHandshake(args), newPublish(args), newRecover(args), newPositions(args), newCompare(args), newMillion(args), newProfile(), newAgent(), newReport(), newNullServer())
	return root
}

// measure wraps a scenario into flag checks, ceiling, report and exit code.
func (c *common) measure(cmd *cobra.Command, args []string, scene func(context.Context, display) *scenario.Outcome) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	release, err := c.hireAgents()
	if err != nil {
		return err
	}
	defer release()
	return c.report(cmd, args, scene)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, got %q", cmd.Name(), args[0])}
	}
	return nil
}

func newIdle(args []string) *cobra.Command {
	c := &common{}
	var hold time.Duration
	cmd := &cobra.Command{
		Use: "idle", Args: noArgs, Short: "Open N connections, hold them with heartbeats, then one broadcast to all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Idle(ctx, &c.opts, ui, hold)
			})
		},
	}
	c.register(cmd.Flags(), 10_000)
	cmd.Flags().DurationVar(&hold, "hold", 30*time.Second, "how long to hold")
	return cmd
}

func newFanout(args []string) *cobra.Command {
	c := &common{}
	var spec scenario.FanoutSpec
	cmd := &cobra.Command{
		Use: "fanout", Args: noArgs, Short: "Publish to many subscribers: at a rate, or with a window of messages in flight",
		Long: `Window mode (--window 1,8): a talker sends that many messages in one write and waits
until all of them reached every subscriber; the figure of interest is CPU per
delivery. Rate mode (--rate): messages at intended times; the figure is latency.
Both may be asked for; each runs --for.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(spec.Window) == 0 && spec.Rate == 0 {
				spec.Window = []int{1, 8}
			}
			for _, w := range spec.Window {
				if err := positive("window", w); err != nil {
					return usageError{err}
				}
			}
			if err := errors.Join(positive("for", spec.For), positive("channels", spec.Channels)); err != nil {
				return usageError{err}
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Fanout(ctx, &c.opts, ui, spec)
			})
		},
	}
	c.register(cmd.Flags(), 10_000)
	f := cmd.Flags()
	f.IntVar(&spec.Channels, "channels", 1, "channels the connections are dealt over")
	f.IntSliceVar(&spec.Window, "window", nil, "messages in flight per talker, one phase each (default 1,8 without --rate)")
	f.Float64Var(&spec.Rate, "rate", 0, "messages per second and channel, 0 = window mode only")
	f.DurationVar(&spec.For, "for", 5*time.Second, "length of each measured phase")
	f.DurationVar(&spec.WarmUp, "warm-up", 2*time.Second, "before the measured phase of rate mode")
	return cmd
}

func newRooms(args []string) *cobra.Command {
	c := &common{}
	var spec scenario.RoomsSpec
	cmd := &cobra.Command{
		Use: "rooms", Args: noArgs, Short: "Many small channels whose members talk",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(positive("members", spec.Members), positive("rate", spec.Rate), positive("for", spec.For)); err != nil {
				return usageError{err}
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Rooms(ctx, &c.opts, ui, spec)
			})
		},
	}
	c.register(cmd.Flags(), 5_000)
	f := cmd.Flags()
	f.IntVar(&spec.Members, "members", 10, "connections per room")
	f.IntVar(&spec.Talkers, "talkers", 0, "members per room that talk, 0 = all")
	f.Float64Var(&spec.Rate, "rate", 0.2, "messages per second and talker")
	f.DurationVar(&spec.For, "for", 10*time.Second, "length of the measured phase")
	f.DurationVar(&spec.WarmUp, "warm-up", 5*time.Second, "before it")
	return cmd
}

func newLatency(args []string) *cobra.Command {
	c := &common{}
	var spec scenario.LatencySpec
	cmd := &cobra.Command{
		Use: "latency", Args: noArgs, Short: "Publish to delivery at a fixed load; across nodes with --publish-target",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(positive("channels", spec.Channels), positive("rate", spec.Rate), positive("for", spec.For)); err != nil {
				return usageError{err}
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Latency(ctx, &c.opts, ui, spec)
			})
		},
	}
	c.register(cmd.Flags(), 100)
	f := cmd.Flags()
	f.IntVar(&spec.Channels, "channels", 10, "channels, each with its share of the connections and one publisher")
	f.Float64Var(&spec.Rate, "rate", 20, "messages per second and channel")
	f.DurationVar(&spec.For, "for", 10*time.Second, "length of the measured phase")
	f.DurationVar(&spec.WarmUp, "warm-up", 2*time.Second, "before it")
	f.DurationVar(&spec.MaxP99, "max-p99", 0, "fail above this p99, 0 = any")
	return cmd
}

func newStorm(args []string) *cobra.Command {
	c := &common{}
	var rounds int
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "storm", Args: noArgs, Short: "All connections drop and return at once",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := positive("rounds", rounds); err != nil {
				return usageError{err}
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.StormRun(ctx, &c.opts, ui, rounds, limit)
			})
		},
	}
	c.register(cmd.Flags(), 10_000)
	cmd.Flags().IntVar(&rounds, "rounds", 3, "storms, one after the other")
	cmd.Flags().DurationVar(&limit, "max-time", 0, "fail when a storm takes longer, 0 = any")
	cmd.Flags().BoolVar(&c.opts.DropByReset, "drop-by-reset", false, "drop with RST instead of FIN")
	return cmd
}

func newHandshake(args []string) *cobra.Command {
	c := &common{}
	var spec scenario.LadderSpec
	cmd := &cobra.Command{
		Use: "handshake", Args: noArgs, Short: "Climb a ladder of handshake rates until a step fails",
		Long: `Each step opens connections at a fixed rate and closes each as soon as it is ready.
A step fails when 0.5 % of the attempts fail, less than 95 % of the rate is reached,
or the p99 from the intended start is above --max-p99. -c bounds handshakes under way.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(positive("from", spec.From), positive("step", spec.Step), positive("to", spec.To)); err != nil {
				return usageError{err}
			}
			if spec.Factor <= 1 {
				return usageError{fmt.Errorf("--factor: %v: more than 1", spec.Factor)}
			}
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Handshake(ctx, &c.opts, ui, spec)
			})
		},
	}
	c.register(cmd.Flags(), 5_000)
	f := cmd.Flags()
	f.Float64Var(&spec.From, "from", 1000, "handshakes per second of the first step")
	f.Float64Var(&spec.To, "to", 30_000, "of the last step")
	f.Float64Var(&spec.Factor, "factor", 1.5, "between steps")
	f.DurationVar(&spec.Step, "step", 3*time.Second, "length of a step")
	f.DurationVar(&spec.MaxP99, "max-p99", time.Second, "a step fails above this p99, 0 = any")
	return cmd
}

func newNullServer() *cobra.Command {
	var cfg nullserver.Config
	cmd := &cobra.Command{
		Use: "null-server", Args: noArgs, Short: "Run the built-in null server (a bare epoll writer of the raw dialect)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := nullserver.Start(cfg)
			if err != nil {
				return usageError{fmt.Errorf("--addr: %w", err)}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ready", s.Addr())
			stop := context.AfterFunc(cmd.Context(), s.Close)
			defer stop()
			s.Wait()
			return nil
		},
	}
	cmd.Flags().StringVar(&cfg.Addr, "addr", "127.0.0.1:0", "address to listen on, IPv4")
	cmd.Flags().DurationVar(&cfg.Ping, "ping", 0, "ping every member this often, 0 = never")
	return cmd
}

// selfCommand is a command line that runs this program.
func selfCommand(args string) string {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	return "'" + exe + "' " + args
}
