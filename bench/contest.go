package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"throng/bench/result"
	"throng/bench/scenario"
)

// newCompare is the subcommand that measures several servers side by side.
func newCompare(args []string) *cobra.Command {
	c := &common{}
	var r roster
	var spec scenario.BatterySpec
	cmd := &cobra.Command{
		Use: "compare", Args: noArgs, Short: "Several servers through the same battery, A B A B, with ratios",
		Long: `Each server is started, taken through the battery (idle memory, handshakes,
heartbeats, deliveries one at a time and eight in flight, latency at a rate, storms)
and stopped, one after the other, --rounds times. Ratios of medians are to --base
(the first server by default). --servers names a JSON file: a list of objects with
name, command, target, dialect, channel.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := r.contenders()
			if err == nil && len(list) == 0 {
				err = errors.New("--server: at least one is needed")
			}
			err = errors.Join(err, positive("rounds", spec.Rounds), positive("for", spec.For))
			if err != nil {
				return usageError{err}
			}
			c.base = r.baseOf(list)
			return c.measure(cmd, args, func(ctx context.Context, ui display) *scenario.Outcome {
				return scenario.Compare(ctx, &c.opts, ui, list, spec)
			})
		},
	}
	c.register(cmd.Flags(), 10_000)
	f := cmd.Flags()
	r.register(f)
	f.IntVar(&spec.Rounds, "rounds", 2, "times that each server is measured")
	f.DurationVar(&spec.For, "for", 3*time.Second, "length of each traffic phase")
	f.Float64Var(&spec.Rate, "rate", 5, "messages per second of the rate phase, 0 = none")
	f.DurationVar(&spec.Beat, "beat", 2*time.Second, "heartbeat interval while its cost is measured, 0 = not measured")
	f.IntVar(&spec.Storms, "storms", 2, "storms per round, 0 = none")
	return cmd
}

// roster are the flags that name servers to compare.
type roster struct {
	servers, targets, dialects, channels []string
	file, base                           string
}

func (r *roster) register(f *pflag.FlagSet) {
	f.StringArrayVar(&r.servers, "server", nil, "a server as NAME=COMMAND with {addr} (and {admin}, {dir}); several times")
	f.StringArrayVar(&r.targets, "server-target", nil, "its target as NAME=URL with {addr} (default --spawn-target)")
	f.StringArrayVar(&r.dialects, "server-dialect", nil, "its dialect as NAME=DIALECT (default --dialect)")
	f.StringArrayVar(&r.channels, "server-channel", nil, "its channel as NAME=CHANNEL (default --channel)")
	f.StringVar(&r.file, "servers", "", "JSON file with more servers")
	f.StringVar(&r.base, "base", "", "server that ratios refer to (default: the first)")
}

// baseOf is what ratios refer to, "" without servers.
func (r *roster) baseOf(list []scenario.Contender) string {
	if r.base == "" && len(list) > 0 {
		return list[0].Name
	}
	return r.base
}

// contenders joins --server flags and the --servers file.
func (r *roster) contenders() ([]scenario.Contender, error) {
	var list []scenario.Contender
	for _, s := range r.servers {
		name, command, ok := strings.Cut(s, "=")
		if !ok || name == "" || command == "" {
			return nil, fmt.Errorf("--server: %q is not NAME=COMMAND", s)
		}
		list = append(list, scenario.Contender{Name: name, Command: command})
	}
	if r.file != "" {
		p, err := os.ReadFile(r.file)
		if err != nil {
			return nil, fmt.Errorf("--servers: %w", err)
		}
		var more []scenario.Contender
		if err := json.Unmarshal(p, &more); err != nil {
			return nil, fmt.Errorf("--servers: %s: %w", r.file, err)
		}
		list = append(list, more...)
	}
	return list, errors.Join(decorate(list, r.targets, "server-target", func(x *scenario.Contender, v string) { x.Target = v }),
		decorate(list, r.dialects, "server-dialect", func(x *scenario.Contender, v string) { x.Dialect = v }),
		decorate(list, r.channels, "server-channel", func(x *scenario.Contender, v string) { x.Channel = v }))
}

func decorate(list []scenario.Contender, values []string, flag string, set func(*scenario.Contender, string)) error {
	for _, s := range values {
		name, value, ok := strings.Cut(s, "=")
		found := false
		for i := range list {
			if ok && list[i].Name == name {
				set(&list[i], value)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("--%s: %q is not NAME=VALUE of a server given by --server", flag, s)
		}
	}
	return nil
}

// compared fills the comparison of a report when servers were compared.
func (c *common) compared(r *result.Report) {
	if c.base != "" {
		r.Compare(c.base)
	}
}
