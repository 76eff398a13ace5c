package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"throng/bench/engine"
	"throng/bench/probe"
	"throng/bench/scenario"
)

// common are the flags every measuring subcommand has.
type common struct {
	opts       scenario.Options
	serverCPUs string
	clientCPUs string
	out        string
	html       string
	base       string // of a comparison
	noCeiling  bool
	natsURL    string
	serverPIDs []int
}

// register adds the flags to fs. conns is the subcommand's default for -c.
func (c *common) register(fs *pflag.FlagSet, conns int) {
	o := &c.opts
	fs.StringSliceVar(&o.Targets, "target", []string{"ws://127.0.0.1:8080/livechat"}, "server to load, ws:// or wss:// (http:// for sse); several are used in turn; "+engine.ChannelMark+" stands for the channel's name")
	fs.StringSliceVar(&o.PublishTargets, "publish-target", nil, "server that publishers connect to instead (another node); they are then connections of their own")
	fs.StringVar(&o.Spawn, "spawn", "", "start this server first: a command line with {addr} (and {admin}, {port}) for free loopback addresses and {dir} for a fresh directory; replaces --target")
	fs.StringVar(&o.SpawnTarget, "spawn-target", "ws://{addr}/livechat", "target URL of the spawned server")
	fs.StringVar(&o.Name, "name", "server", "name of the server in reports")
	fs.StringVar(&o.Dialect, "dialect", "raw", "client protocol: "+strings.Join(engine.DialectNames(), ", "))
	fs.StringVar(&o.PublishDialect, "publish-dialect", "", "client protocol of publishers with their own target (default: --dialect)")
	fs.StringVar(&o.Ready, "ready", "greeting", "when a raw or sse connection counts as joined: greeting (its first message) or upgrade")
	fs.StringVar(&o.Channel, "channel", "", "channel or room, or its prefix when there are several; empty = the server's default room")
	fs.IntVarP(&o.Connections, "connections", "c", conns, "client connections")
	fs.IntVar(&o.Payload, "payload", 128, fmt.Sprintf("bytes per message, at least %d", engine.StampLen))
	fs.StringVar(&o.Procs, "procs", "auto", "load processes: auto (as descriptors and cores demand) or a number; 0 = inside this process")
	fs.IntSliceVar(&c.serverPIDs, "server-pid", nil, "process to measure; default: whoever listens at a loopback target")
	fs.StringSliceVar(&o.MetricsURLs, "admin-url", nil, "Prometheus endpoint of the server, as http://127.0.0.1:9090 or with its path")
	fs.StringVar(&c.serverCPUs, "server-cpus", "", "cores for the server, as 0 or 0,2-3; empty = not pinned")
	fs.StringVar(&c.clientCPUs, "client-cpus", "", "cores for the load; empty = not pinned")
	fs.IntVar(&o.PerAddress, "per-address", 500, "connections per loopback source address (127.1.0.1 on); negative: no source address")
	fs.Float64Var(&o.OpenRate, "open-rate", 0, "connections opened per second, 0 = as fast as it goes")
	fs.IntVar(&o.InFlight, "in-flight", 1000, "handshakes under way at once, 0 = no limit")
	fs.IntVar(&o.Attempts, "attempts", 3, "attempts per connection while opening")
	fs.DurationVar(&o.Timeout, "timeout", 10*time.Second, "for one handshake, from SYN to joined")
	fs.DurationVar(&o.Drain, "drain", 5*time.Second, "without any arrival before missing deliveries count as lost")
	fs.DurationVar(&o.Settle, "settle", 2*time.Second, "rest before memory is read")
	fs.DurationVar(&o.Heartbeat, "heartbeat", 25*time.Second, "interval of heartbeats while holding, 0 = none")
	fs.StringVar(&o.HeartbeatFrom, "heartbeat-from", "both", "who pings: client (WebSocket ping, pong expected), server (its pings are answered anyway) or both")
	fs.StringVar(&o.TLSCAFile, "tls-ca", "", "PEM file of the authority to trust for wss targets")
	fs.BoolVar(&o.TLSInsecure, "tls-insecure", false, "do not verify the server's certificate")
	fs.IntVar(&o.Agents, "agents", 0, "take this many workers from agents over NATS instead of this machine")
	fs.StringVar(&c.natsURL, "nats-url", "nats://127.0.0.1:4222", "NATS server that agents listen at")
	fs.StringVar(&c.out, "out", "", "write the report as JSON to this file")
	fs.StringVar(&c.html, "html", "", "write the report as one self-contained HTML page to this file")
	fs.BoolVar(&c.noCeiling, "no-ceiling", false, "skip the run against the built-in null server")
}

// preset gives flags other defaults in one subcommand.
func preset(fs *pflag.FlagSet, values map[string]string) {
	for name, v := range values {
		_ = fs.Set(name, v)
		f := fs.Lookup(name)
		f.DefValue, f.Changed = f.Value.String(), false
	}
}

// check turns texts into values; every error names its flag.
func (c *common) check() error {
	o := &c.opts
	var errs []error
	bad := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: "+format, append([]any{flag}, args...)...))
	}
	var err error
	if o.ServerCPUs, err = probe.ParseCPUs(c.serverCPUs); err != nil {
		bad("server-cpus", "%v", err)
	}
	if o.ClientCPUs, err = probe.ParseCPUs(c.clientCPUs); err != nil {
		bad("client-cpus", "%v", err)
	}
	if _, err := engine.NewDialect(o.Dialect, false); err != nil {
		bad("dialect", "%v", err)
	}
	if o.PublishDialect != "" {
		if _, err := engine.NewDialect(o.PublishDialect, false); err != nil {
			bad("publish-dialect", "%v", err)
		}
	}
	if o.Ready != "greeting" && o.Ready != "upgrade" {
		bad("ready", "%q is neither greeting nor upgrade", o.Ready)
	}
	if o.HeartbeatFrom != "client" && o.HeartbeatFrom != "server" && o.HeartbeatFrom != "both" {
		bad("heartbeat-from", "%q is none of client, server, both", o.HeartbeatFrom)
	}
	if o.Connections < 1 {
		bad("connections", "%d: at least 1", o.Connections)
	}
	if o.Payload < engine.StampLen || o.Payload > 1<<20 {
		bad("payload", "%d: %d to %d bytes", o.Payload, engine.StampLen, 1<<20)
	}
	if o.PerAddress == 0 {
		bad("per-address", "0: at least 1, or negative for none")
	}
	if len(o.Targets) == 0 && o.Spawn == "" {
		bad("target", "empty")
	}
	if o.Attempts < 1 || o.Attempts > 200 {
		bad("attempts", "%d: 1 to 200", o.Attempts)
	}
	if o.Agents < 0 {
		bad("agents", "%d: 0 or more", o.Agents)
	}
	for flag, d := range map[string]time.Duration{"timeout": o.Timeout, "drain": o.Drain} {
		if d <= 0 {
			bad(flag, "%s: more than 0", d)
		}
	}
	o.ServerPIDs = c.serverPIDs
	return errors.Join(errs...)
}

// positive is an error naming flag unless v > 0.
func positive[T int | float64 | time.Duration](flag string, v T) error {
	if v > 0 {
		return nil
	}
	return fmt.Errorf("--%s: %v: more than 0", flag, v)
}
