// Package scenario carries out what the bench's subcommands promise: it brings up
// a server if told to, assembles the load, takes it through phases, samples the
// server before and after each, and states figures and whether the goal was met.
//
// Duty split: package load moves connections and messages, package probe reads
// /proc, package result keeps and shows. Nothing here knows a wire format.
//
// Goroutines: one per phase, which peeks at the load for progress and the time
// series; it ends with the phase. Everything else runs in the caller's goroutine
// and blocks until done or until ctx is cancelled, after which what was measured
// so far is still collected (a partial report).
package scenario

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"time"

	"throng/bench/load"
	"throng/bench/probe"
)

// Options are the settings common to all scenarios; main fills them from flags,
// whose help states units and defaults.
type Options struct {
	Targets        []string
	PublishTargets []string
	Spawn          string // command line of a server to start, "" = Targets run already
	SpawnTarget    string // URL of the spawned server, with {addr}
	Name           string // of the server in reports

	Dialect        string
	PublishDialect string
	Ready          string // greeting | upgrade
	Channel        string // name or prefix, "" = the server's default

	Connections int
	Payload     int
	Procs       string // auto or a number; 0 = inside this process
	Agents      int
	Links       LinkFunc // where workers come from, nil = this machine

	ServerPIDs  []int
	MetricsURLs []string
	ServerCPUs  probe.CPUs
	ClientCPUs  probe.CPUs

	PerAddress    int
	OpenRate      float64
	InFlight      int
	Attempts      int
	Timeout       time.Duration
	Drain         time.Duration
	Settle        time.Duration
	Heartbeat     time.Duration
	HeartbeatFrom string // client | server | both
	DropByReset   bool

	TLSCAFile   string
	TLSInsecure bool
}

// reserveFDs are the descriptors a load process needs for itself.
const reserveFDs = 128

// perProcess is how many connections one load process takes on if descriptors
// allow more: beyond it a second core helps, below it a process only costs.
const perProcess = 20_000

// workers returns how many load processes o asks for; 0 is "inside this one".
func (o *Options) workers() (int, error) {
	if o.Agents > 0 {
		return o.Agents, nil // their descriptors are their machines' affair
	}
	if o.Procs != "auto" && o.Procs != "" {
		n, err := strconv.Atoi(o.Procs)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("--procs: %q is neither auto nor a number", o.Procs)
		}
		return n, o.checkFDs(max(n, 1))
	}
	room := probe.RaiseFDLimit() - reserveFDs
	if room < 1 {
		return 0, fmt.Errorf("a process may have %d descriptors, the bench alone needs %d: raise RLIMIT_NOFILE (ulimit -n)", room+reserveFDs, reserveFDs)
	}
	n := (o.Connections + room - 1) / room
	cores := len(o.ClientCPUs)
	if cores == 0 {
		cores = runtime.NumCPU()
	}
	return max(n, min(cores, (o.Connections+perProcess-1)/perProcess), 1), nil
}

func (o *Options) checkFDs(procs int) error {
	room := (probe.RaiseFDLimit() - reserveFDs) * procs
	if o.Connections > room {
		return fmt.Errorf("--procs %d: %d processes with %d descriptors each hold %d connections, not %d; use --procs auto or raise RLIMIT_NOFILE",
			procs, procs, probe.RaiseFDLimit(), room, o.Connections)
	}
	return nil
}

// checkPorts says whether source ports suffice before anything starts.
func (o *Options) checkPorts() error {
	l := probe.ReadLimits()
	ports := l.PortLast - l.PortFirst + 1
	if l.PortFirst < 0 || o.PerAddress < 0 || int64(o.PerAddress) <= ports {
		return nil
	}
	return fmt.Errorf("--per-address %d: net.ipv4.ip_local_port_range gives %d ports per source address; lower it, or sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
		o.PerAddress, ports)
}

// plan is the load the options describe; scenarios add channels and talkers.
func (o *Options) plan() (load.Plan, error) {
	p := load.Plan{
		Targets: o.Targets, PublishTargets: o.PublishTargets,
		Dialect: o.Dialect, PublishDialect: o.PublishDialect, ReadyAtUpgrade: o.Ready == "upgrade",
		Connections: o.Connections, Channels: 1, Talkers: 1, ChannelPrefix: o.Channel,
		Payload: o.Payload, Run: uint16(rand.Uint32()), PerAddress: o.PerAddress, Timeout: o.Timeout,
		DropByReset: o.DropByReset, TLSInsecure: o.TLSInsecure,
	}
	if o.Heartbeat > 0 {
		p.SilentAfter = 2*o.Heartbeat + 10*time.Second
	}
	if p.ChannelPrefix == "" && o.Dialect != "raw" && o.Dialect != "sse" {
		p.ChannelPrefix = "bench" // these dialects must name a channel
	}
	if o.TLSCAFile != "" {
		pem, err := os.ReadFile(o.TLSCAFile)
		if err != nil {
			return p, fmt.Errorf("--tls-ca: %w", err)
		}
		p.TLSCA = string(pem)
	}
	return p, nil
}
