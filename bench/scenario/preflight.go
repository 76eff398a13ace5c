package scenario

import (
	"fmt"
	"net"
	"os"
	"strings"

	"throng/bench/probe"
)

// What one connection and one process cost, for the check before a big run.
// Measured here with both ends on one machine (Linux 6.18); they err upwards.
const (
	kernelPerConn  = 10_500   // bytes: two sockets, two epoll entries, bind bucket
	serverPerConn  = 1_200    // bytes of the node, after traffic
	clientPerConn  = 300      // bytes of the load process
	serverProcess  = 32 << 20 // bytes of a node before its first connection
	clientProcess  = 20 << 20
	serverReserve  = 512 // descriptors a node keeps for NATS, admin, logs (its --reserve-fds and some)
	threadsPerProc = 16
	memoryHeadroom = 0.9 // share of MemAvailable that may be planned with
)

// Layout says how a big load is spread.
type Layout struct {
	Connections int
	Nodes       int
	PerNode     int   // connections, at most
	FDLimit     int64 // per process
}

// PlanLayout spreads n connections over as few nodes as descriptors allow, or over
// the given number of nodes (0 = as few as possible). There is one load process
// per node.
func PlanLayout(n, nodes int, fdLimit int64) (Layout, error) {
	room := int(min(fdLimit, 1<<30)) - serverReserve
	if room < 1 {
		return Layout{}, fmt.Errorf("a process may have %d descriptors, a node keeps %d for itself: raise RLIMIT_NOFILE (ulimit -Hn)", fdLimit, serverReserve)
	}
	need := (n + room - 1) / room
	if nodes == 0 {
		nodes = need
	}
	if nodes < need {
		return Layout{}, fmt.Errorf("--nodes %d: %d nodes of %d descriptors hold %d connections; %d nodes are needed, or RLIMIT_NOFILE of %d",
			nodes, nodes, fdLimit, nodes*room, need, (n+nodes-1)/nodes+serverReserve)
	}
	return Layout{Connections: n, Nodes: nodes, PerNode: (n + nodes - 1) / nodes, FDLimit: fdLimit}, nil
}

// Finding is one limit looked at before a run.
type Finding struct {
	OK   bool
	Text string // what is there, what is needed
	Fix  string // command or setting that helps, when not OK
}

// String is the finding as one line, with the fix behind it.
func (f Finding) String() string {
	if f.OK {
		return "ok    " + f.Text
	}
	return "SHORT " + f.Text + "; fix: " + f.Fix
}

// Preflight compares what the layout needs with what the machine allows. Nothing
// is changed. Every finding that is not OK names the exact command.
func Preflight(l Layout, perAddress int, limits probe.Limits, available int64) []Finding {
	n := int64(l.Connections)
	procs := int64(2 * l.Nodes)
	return []Finding{
		atLeast("descriptors per process (RLIMIT_NOFILE)", limits.FDHard, int64(l.PerNode)+serverReserve,
			"ulimit -Hn %[1]d (limits.conf or LimitNOFILE=%[1]d), or more --nodes"),
		atLeast("fs.nr_open", limits.NrOpen, int64(l.PerNode)+serverReserve, "sysctl -w fs.nr_open=%d"),
		atLeast("descriptors of the machine (fs.file-max less those in use)", limits.FileMax-limits.FileUsed, 2*n+procs*64,
			"sysctl -w fs.file-max=%d"),
		atLeast("source ports per address (net.ipv4.ip_local_port_range)", limits.PortLast-limits.PortFirst+1, int64(perAddress),
			"sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\", or --per-address below %d"),
		atLeast("source addresses (127.0.0.0/8)", 254*250*250, (n+int64(perAddress)-1)/int64(max(perAddress, 1)),
			"raise --per-address: %d addresses are wanted"),
		atLeast("TCP memory in pages (third of net.ipv4.tcp_mem)", limits.TCPMemPages, n/4,
			"sysctl -w net.ipv4.tcp_mem=\"%[1]d %[1]d %[1]d\""),
		atLeast("memory available, bytes", int64(float64(available)*memoryHeadroom), l.Memory(),
			"free or add memory: %d bytes are planned; fewer --connections"),
		atLeast("threads (kernel.threads-max)", limits.Threads, procs*threadsPerProc, "sysctl -w kernel.threads-max=%d"),
		conntrack(limits, n),
		atLeast("listen backlog (net.core.somaxconn)", limits.Somaxconn, 1024, "sysctl -w net.core.somaxconn=%d"),
	}
}

// Memory is what the layout takes with both ends here, in bytes.
func (l *Layout) Memory() int64 {
	return int64(l.Connections)*(kernelPerConn+serverPerConn+clientPerConn) +
		int64(l.Nodes)*(serverProcess+clientProcess)
}

// atLeast makes a finding; an unknown limit (-1) passes and says so.
func atLeast(name string, have, need int64, fix string) Finding {
	if have < 0 {
		return Finding{OK: true, Text: fmt.Sprintf("%s: unknown, %d needed", name, need)}
	}
	f := Finding{OK: have >= need, Text: fmt.Sprintf("%s: %d, needed %d", name, have, need)}
	if !f.OK {
		f.Fix = fmt.Sprintf(fix, need)
	}
	return f
}

// conntrack needs an entry per connection only when loopback is tracked, which is
// found out by making connections.
func conntrack(limits probe.Limits, n int64) Finding {
	if limits.Conntrack == 0 {
		return Finding{OK: true, Text: "connection tracking: not loaded"}
	}
	if !loopbackTracked() {
		return Finding{OK: true, Text: fmt.Sprintf("connection tracking: loaded (%d entries) but loopback is not tracked", limits.Conntrack)}
	}
	return atLeast("connection tracking entries (net.netfilter.nf_conntrack_max less those in use)",
		limits.Conntrack-limits.ConntrackNow, n, "sysctl -w net.netfilter.nf_conntrack_max=%d, or exempt loopback with a notrack rule")
}

// loopbackTracked opens a few loopback connections and looks at the counter.
func loopbackTracked() bool {
	const probes = 16
	before := probe.ReadLimits().ConntrackNow
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return true // cannot tell: ask for the entries
	}
	defer l.Close()
	for range probes {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return true
		}
		defer c.Close()
	}
	return probe.ReadLimits().ConntrackNow >= before+probes
}

// Explain renders findings and says whether all are OK.
func Explain(findings []Finding) (text string, ok bool) {
	var b strings.Builder
	ok = true
	for _, f := range findings {
		fmt.Fprintln(&b, " ", f)
		ok = ok && f.OK
	}
	return b.String(), ok
}

// available memory in bytes, 0 when /proc hides it.
func availableMemory() int64 {
	m, err := probe.ReadMachine()
	if err != nil {
		return 0
	}
	return m.MemAvail
}

// tempDir makes a directory for what a run builds.
func tempDir() (string, error) { return os.MkdirTemp("", "throng-bench-") }
