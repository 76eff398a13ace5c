package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"throng/broker"
	"throng/broker/doctor"
)

// doctorUsage is the help of throng doctor.
const doctorUsage = `Says what the NATS that a node would use offers, and what is missing for it.

Usage:
  throng doctor [flags of the node]          a report for people
  throng doctor --format json [flags ...]    the same for programs
  throng doctor --write-check [flags ...]    also publish a message and make a small stream, and remove it

It takes every flag, variable and file that the node takes (throng -h), reads --nats-url, --nats-creds,
--nats-config, --nats-listen, --nats-prefix, --data-dir, --max-message and the namespaces, and changes
nothing. --check-config checks the configuration alone, without NATS.

Exit status: 0 fit, 1 not fit, 2 the configuration is wrong.
`

// doctorTimeout bounds the whole examination: ten questions of 2 s that nobody answers.
const doctorTimeout = 20 * time.Second

// doctorFlags are those that the node does not have.
type doctorFlags struct {
	format string
	write  bool
}

// doctorCommand answers throng doctor.
func doctorCommand(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	own, rest, err := takeDoctorFlags(args)
	if err != nil {
		return err
	}
	c, err := loadConfig(rest, getenv)
	if errors.Is(err, pflag.ErrHelp) {
		return printTo(out, doctorUsage)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	streams, err := c.historyStreams()
	if err != nil {
		return err
	}
	reports := c.examine(ctx, own.write, streams)
	if err := printReports(reports, own.format, out); err != nil {
		return err
	}
	for _, r := range reports {
		if !r.Fit {
			return fmt.Errorf("%s is %s", r.Target, r.Verdict)
		}
	}
	return nil
}

// takeDoctorFlags splits doctor's own flags from those of the node.
func takeDoctorFlags(args []string) (own doctorFlags, rest []string, err error) {
	own.format = "text"
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		switch {
		case name == "--write-check" && !given:
			own.write = true
		case name == "--format":
			if !given && i+1 < len(args) {
				i++
				value = args[i]
			}
			own.format = value
		default:
			rest = append(rest, args[i])
		}
	}
	if own.format != "text" && own.format != "json" {
		return own, rest, &configError{Field: "--format", Value: own.format, Problem: "is not known", Fix: "use one of text, json"}
	}
	return own, rest, nil
}

func printReports(reports []*doctor.Report, format string, out io.Writer) error {
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(reports)
	}
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := r.Text(out); err != nil {
			return err
		}
	}
	return nil
}

// examine looks at the NATS of the URLs, or at what an embedded server would find and, when a node runs there that can be
// reached, at its server too.
func (c *Config) examine(ctx context.Context, write bool, streams []broker.StreamConfig) []*doctor.Report {
	cfg := doctor.Config{
		URLs: c.NATSURLs, CredsFile: c.NATSCreds, Prefix: c.NATSPrefix, Streams: streams, MaxMessage: c.MaxMessage, Write: write,
	}
	if !c.Embedded() {
		return []*doctor.Report{doctor.Examine(ctx, cfg)}
	}
	r, running := doctor.ExamineEmbedded(doctor.EmbeddedConfig{
		StoreDir: storeDir(c.DataDir), Listen: c.NATSListen, ConfigFile: c.NATSConfig, Streams: streams, MaxMessage: c.MaxMessage,
	})
	if !running || c.NATSListen == "" || strings.HasSuffix(c.NATSListen, ":0") {
		return []*doctor.Report{r}
	}
	cfg.URLs = []string{"nats://" + c.NATSListen}
	return []*doctor.Report{r, doctor.Examine(ctx, cfg)}
}

// historyStreams are the streams that the namespaces ask for, as a node makes them.
func (c *Config) historyStreams() ([]broker.StreamConfig, error) {
	n := &node{cfg: c, log: slog.New(slog.DiscardHandler)}
	if err := n.startProxies(); err != nil {
		return nil, err
	}
	defer n.proxies.Close(context.Background()) // they have nothing under way
	rules, err := n.compileRules(c)
	if err != nil {
		return nil, err
	}
	return c.History.streams(rules), nil
}
