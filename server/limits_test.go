package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"
)

func files(of map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range of {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

const meminfo = "MemTotal:       24684096 kB\nMemFree:        1 kB\n"

func TestLimitsAreReadFromProc(t *testing.T) {
	got := limitsFrom(files(map[string]string{
		"proc/meminfo":                meminfo,
		"proc/sys/net/core/somaxconn": "4096\n",
		"proc/sys/fs/file-max":        "2466183\n",
	}))
	want := hostLimits{Somaxconn: 4096, FileMax: 2466183, MemoryTotal: 24684096 << 10}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUnreadableLimitsAreUnknownNotFatal(t *testing.T) {
	if got := limitsFrom(fstest.MapFS{}); got != (hostLimits{}) {
		t.Errorf("got %+v", got)
	}
	broken := files(map[string]string{
		"proc/meminfo": "MemTotal: many kB\n", "proc/sys/net/core/somaxconn": "x", "proc/sys/fs/file-max": "",
		"proc/self/cgroup": "nonsense\n", "proc/self/mountinfo": "1 2 3\nx - y\n",
	})
	if got := limitsFrom(broken); got != (hostLimits{}) {
		t.Errorf("got %+v", got)
	}
}

const (
	mountV1   = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory\n"
	mountV2   = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
	unlimited = "9223372036854771712\n"
)

func TestCgroupMemoryIsTheTightestOfOurGroupAndItsParents(t *testing.T) {
	for _, c := range []struct {
		why  string
		tree map[string]string
		want uint64
	}{
		{"version 2, own limit", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/a/b/memory.max": "1048576\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 1 << 20},
		{"version 2, parent's limit", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2097152\n"}, 2 << 20},
		{"version 2, container with its own namespace", map[string]string{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/memory.max": "3145728\n"}, 3 << 20},
		{"version 2, container that sees the host's name of its group", map[string]string{
			"proc/self/cgroup":         "0::/kubepods/pod1/c1\n",
			"proc/self/mountinfo":      strings.Replace(mountV2, " / /sys", " /kubepods/pod1/c1 /sys", 1),
			"sys/fs/cgroup/memory.max": "4194304\n"}, 4 << 20},
		{"version 1, own limit", map[string]string{
			"proc/self/cgroup": "5:cpu:/x\n4:memory,hugetlb:/a\n0::/\n", "proc/self/mountinfo": mountV1,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "5242880\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": unlimited}, 5 << 20},
		{"version 1, container whose group is not visible", map[string]string{
			"proc/self/cgroup": "4:memory:/docker/0815\n", "proc/self/mountinfo": mountV1,
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "6291456\n"}, 6 << 20},
		{"both versions, memory in version 1", map[string]string{
			"proc/self/cgroup": "4:memory:/a\n0::/a\n", "proc/self/mountinfo": mountV1 + "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "7340032\n"}, 7 << 20},
		{"version 1, no limit", map[string]string{
			"proc/self/cgroup": "4:memory:/\n", "proc/self/mountinfo": mountV1,
			"sys/fs/cgroup/memory/memory.limit_in_bytes": unlimited}, 0},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/memory.max": "max\n"}, 0},
	} {
		if got := cgroupMemory(files(c.tree)); got != c.want {
			t.Errorf("%s: got %d, want %d", c.why, got, c.want)
		}
	}
}

func TestMemoryIsTheSmallerOfMachineAndContainer(t *testing.T) {
	for _, c := range []struct {
		total, cgroup, want uint64
		source              string
	}{{100, 50, 50, "cgroup"}, {100, 0, 100, "machine"}, {100, 200, 100, "machine"}, {0, 50, 50, "cgroup"}, {0, 0, 0, "unknown"}} {
		l := hostLimits{MemoryTotal: c.total, MemoryCgroup: c.cgroup}
		if l.Memory() != c.want || l.memorySource() != c.source {
			t.Errorf("%+v: %d by %s", c, l.Memory(), l.memorySource())
		}
	}
}

func TestThisMachineHasLimits(t *testing.T) {
	l, err := findLimits()
	if err != nil || l.FDSoft == 0 || l.FDHard < l.FDSoft || l.Cores < 1 || l.Procs < 1 || l.Memory() == 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestConnectionsAreWhatDescriptorsLeave(t *testing.T) {
	for _, c := range []struct {
		soft uint64
		args []string
		want int
		err  string
	}{
		{20_000, nil, 20_000 - 256 - 256, ""},
		{20_000, []string{"--reserve-fds=1000", "--http-max-connections=100"}, 18_900, ""},
		{20_000, []string{"--max-connections=15000"}, 15_000, ""},
		{1 << 60, nil, maxDescriptors - 512, ""},
		{20_000, []string{"--max-connections=20000"}, 0,
			`--max-connections "20000": is more than the descriptor limit of 20000 leaves after reserve-fds 256 and http-max-connections 256; use at most 19488 (0 does), or raise the limit (ulimit -n, LimitNOFILE)`},
		{512, nil, 0,
			`--reserve-fds (default) "256": and http-max-connections 256 leave no client a descriptor, the limit is 512; raise the limit (ulimit -n, LimitNOFILE), or lower one of the two`},
	} {
		got, err := hostLimits{FDSoft: c.soft}.connectionsFor(mustLoad(t, c.args, nil))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%d %q: got %d, %v; want %d, %s", c.soft, c.args, got, err, c.want, c.err)
		}
	}
}

func TestLimitsAreOneLogLine(t *testing.T) {
	var out bytes.Buffer
	l := hostLimits{FDSoft: 1000, FDHard: 2000, FileMax: 3, Somaxconn: 4096, Cores: 2, Procs: 2, MemoryTotal: 5}
	l.log(slog.New(slog.NewJSONHandler(&out, nil)), 744)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%v: %s", err, out.String())
	}
	for key, want := range map[string]any{"max_connections": 744.0, "fds_soft": 1000.0, "fds_hard": 2000.0, "fds_machine": 3.0,
		"cores": 2.0, "gomaxprocs": 2.0, "memory_bytes": 5.0, "memory_limited_by": "machine", "somaxconn": 4096.0} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
}

func TestRuntimeLimitsAreSetOnlyWhenGiven(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}()
	applyRuntimeLimits(&Config{})
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GC percent became %d", got)
	}
	if got := debug.SetMemoryLimit(-1); got != limit {
		t.Errorf("memory limit became %d", got)
	}
	applyRuntimeLimits(&Config{GOGC: 50, MemoryLimit: 1 << 40})
	if got := debug.SetGCPercent(100); got != 50 {
		t.Errorf("GC percent is %d", got)
	}
	if got := goMemoryLimit(); got != 1<<40 {
		t.Errorf("memory limit is %d", got)
	}
}
