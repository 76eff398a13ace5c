package scenario

import (
	"strings"
	"testing"
	"time"

	"throng/bench/nullserver"
	"throng/bench/probe"
)

var plenty = probe.Limits{
	FDSoft: 1 << 21, FDHard: 1 << 21, FileMax: 1 << 23, NrOpen: 1 << 21, PortFirst: 1024, PortLast: 65535,
	Somaxconn: 4096, TCPMemPages: 1 << 20, Threads: 1 << 17,
}

func TestLayoutTakesOneNodeWhereLimitsAllowIt(t *testing.T) {
	for _, c := range []struct {
		n, nodes int
		limit    int64
		want     int
	}{{1_000_000, 0, 1 << 21, 1}, {1_000_000, 0, 20_000, 52}, {100_000, 0, 20_000, 6}, {1000, 3, 20_000, 3}} {
		l, err := PlanLayout(c.n, c.nodes, c.limit)
		if err != nil || l.Nodes != c.want || l.Nodes*l.PerNode < c.n {
			t.Errorf("%+v: %+v, %v", c, l, err)
		}
	}
	if _, err := PlanLayout(1_000_000, 2, 20_000); err == nil || !strings.Contains(err.Error(), "--nodes") {
		t.Errorf("two nodes of 20,000 descriptors cannot hold a million: %v", err)
	}
	if _, err := PlanLayout(10, 0, 100); err == nil {
		t.Error("100 descriptors cannot hold a node")
	}
}

func TestEveryShortLimitNamesItsCure(t *testing.T) {
	l, err := PlanLayout(1_000_000, 0, 1<<21)
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := Explain(Preflight(l, 500, plenty, 64<<30)); !ok {
		t.Fatalf("plenty is not enough:\n%s", text)
	}
	for cure, spoil := range map[string]func(*probe.Limits){
		"ulimit -Hn 1000512":                func(x *probe.Limits) { x.FDHard = 20_000 },
		"sysctl -w fs.nr_open=1000512":      func(x *probe.Limits) { x.NrOpen = 1024 },
		"sysctl -w fs.file-max=2000128":     func(x *probe.Limits) { x.FileMax = 1_000_000 },
		"sysctl -w net.ipv4.ip_local_port":  func(x *probe.Limits) { x.PortLast = x.PortFirst + 10 },
		"net.ipv4.tcp_mem=\"250000 250000":  func(x *probe.Limits) { x.TCPMemPages = 10 },
		"sysctl -w net.core.somaxconn=1024": func(x *probe.Limits) { x.Somaxconn = 128 },
		"sysctl -w kernel.threads-max=32":   func(x *probe.Limits) { x.Threads = 1 },
	} {
		limits := plenty
		spoil(&limits)
		text, ok := Explain(Preflight(l, 500, limits, 64<<30))
		if ok || !strings.Contains(text, cure) || strings.Count(text, "SHORT") != 1 {
			t.Errorf("want one cure %q:\n%s", cure, text)
		}
	}
	if text, ok := Explain(Preflight(l, 500, plenty, 1<<30)); ok || !strings.Contains(text, "memory") {
		t.Errorf("1 GiB is enough?\n%s", text)
	}
	unknown := plenty
	unknown.FileMax, unknown.FileUsed, unknown.TCPMemPages = -1, 0, -1
	if text, ok := Explain(Preflight(l, 500, unknown, 64<<30)); !ok {
		t.Errorf("unknown limits must pass:\n%s", text)
	}
}

func TestMillionSpreadsOverNodesAndReachesAll(t *testing.T) {
	// Null servers are no cluster: each node's members hear only that node, so the
	// shape is tested with one talker's node, and the rest must be missed exactly.
	bin := buildBench(t)
	opts := against(t, nullserver.Config{})
	opts.Connections, opts.SpawnTarget, opts.Channel = 300, "ws://{addr}/", "m"
	o, err := Million(deadline(t), opts, ui(t), MillionSpec{
		Nodes: 3, Hold: 300 * time.Millisecond, ServerBin: bin, Command: "{bin} null-server --addr {addr}", Force: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "opened", phaseOf(t, o, "open").Counters.Opened, 300)
	want(t, "received by the talker's node", phaseOf(t, o, "broadcast").Counters.Received, 100)
	want(t, "lost beyond it", phaseOf(t, o, "broadcast").Lost, 200)
	if len(o.Misses) != 1 || o.Load.Nodes != 3 || o.Load.Workers != 3 {
		t.Errorf("missed %q, load %+v", o.Misses, o.Load)
	}
	if threads, ok := o.Runs[0].Figure("threads"); !ok || threads < 6 {
		t.Errorf("figures of three processes are missing: %v threads", threads)
	}
}
