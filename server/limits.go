package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxDescriptors is the size of nbio's connection table: a descriptor beyond it cannot be a client (N12).
const maxDescriptors = 2 << 20

// hostLimits is what the machine, the container and the shell allow this process, found once at start.
type hostLimits struct {
	FDSoft, FDHard uint64 // RLIMIT_NOFILE; Go raises soft to hard before main
	FileMax        uint64 // fs.file-max, descriptors of the whole machine; 0 = not found
	Somaxconn      int    // net.core.somaxconn, the cap of a listen backlog; 0 = not found
	Cores          int    // usable by this process's affinity
	Procs          int    // GOMAXPROCS, which follows a container's CPU limit
	MemoryTotal    uint64 // bytes of the machine; 0 = not found
	MemoryCgroup   uint64 // bytes, the tightest limit of our control group and its parents; 0 = none
}

// findLimits asks the running system.
func findLimits() (hostLimits, error) {
	var fd syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &fd); err != nil {
		return hostLimits{}, fmt.Errorf("read the descriptor limit: %w", err)
	}
	l := limitsFrom(os.DirFS("/"))
	l.FDSoft, l.FDHard = fd.Cur, fd.Max
	l.Cores, l.Procs = runtime.NumCPU(), runtime.GOMAXPROCS(0)
	return l, nil
}

// limitsFrom reads what /proc and /sys below root tell. What cannot be read stays 0: a missing file is
// no reason not to serve.
func limitsFrom(root fs.FS) hostLimits {
	somaxconn, _ := readNumber(root, "proc/sys/net/core/somaxconn")
	fileMax, _ := readNumber(root, "proc/sys/fs/file-max")
	return hostLimits{
		Somaxconn:    int(somaxconn),
		FileMax:      fileMax,
		MemoryTotal:  memoryTotal(root),
		MemoryCgroup: cgroupMemory(root),
	}
}

// Memory is what this process may use at most: the machine's, or less in a container. 0 = unknown.
func (l hostLimits) Memory() uint64 {
	if l.MemoryCgroup > 0 && (l.MemoryTotal == 0 || l.MemoryCgroup < l.MemoryTotal) {
		return l.MemoryCgroup
	}
	return l.MemoryTotal
}

// connectionsFor returns how many clients c may hold under l: what was asked for, or all that the
// descriptor limit leaves after the reserve and plain HTTP. Asking for more than that is an error: better
// at start than as refused clients at the peak.
func (l hostLimits) connectionsFor(c *Config) (int, error) {
	room := int64(min(l.FDSoft, maxDescriptors)) - int64(c.ReserveFDs) - int64(c.HTTPMaxConnections)
	if room < 1 {
		return 0, &configError{c.Origin("reserve-fds"), strconv.Itoa(c.ReserveFDs),
			fmt.Sprintf("and http-max-connections %d leave no client a descriptor, the limit is %d", c.HTTPMaxConnections, l.FDSoft),
			"raise the limit (ulimit -n, LimitNOFILE), or lower one of the two"}
	}
	if int64(c.MaxConnections) > room {
		return 0, &configError{c.Origin("max-connections"), strconv.Itoa(c.MaxConnections),
			fmt.Sprintf("is more than the descriptor limit of %d leaves after reserve-fds %d and http-max-connections %d", l.FDSoft, c.ReserveFDs, c.HTTPMaxConnections),
			fmt.Sprintf("use at most %d (0 does), or raise the limit (ulimit -n, LimitNOFILE)", room)}
	}
	if c.MaxConnections > 0 {
		return c.MaxConnections, nil
	}
	return int(room), nil
}

// log writes the one line that says what this node has to live with.
func (l hostLimits) log(log *slog.Logger, connections int) {
	log.Info("limits",
		"max_connections", connections,
		"fds_soft", l.FDSoft, "fds_hard", l.FDHard, "fds_machine", l.FileMax,
		"cores", l.Cores, "gomaxprocs", l.Procs,
		"memory_bytes", l.Memory(), "memory_limited_by", l.memorySource(),
		"go_memory_limit_bytes", goMemoryLimit(),
		"somaxconn", l.Somaxconn)
}

func (l hostLimits) memorySource() string {
	switch {
	case l.Memory() == 0:
		return "unknown"
	case l.Memory() == l.MemoryTotal:
		return "machine"
	}
	return "cgroup"
}

// goMemoryLimit is the runtime's soft limit in force, 0 for none.
func goMemoryLimit() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < 1<<62 { // negative: only ask
		return limit
	}
	return 0
}

// applyRuntimeLimits sets the garbage collector as c says; zero values leave what GOGC and GOMEMLIMIT set.
func applyRuntimeLimits(c *Config) {
	if c.GOGC > 0 {
		debug.SetGCPercent(c.GOGC)
	}
	if c.MemoryLimit > 0 {
		debug.SetMemoryLimit(int64(c.MemoryLimit))
	}
}

// readNumber reads a file that holds one number. A number beyond uint64 and the word max mean no limit
// and come out as 0.
func readNumber(root fs.FS, name string) (uint64, error) {
	raw, err := fs.ReadFile(root, strings.TrimPrefix(name, "/"))
	if err != nil {
		return 0, err
	}
	text := string(bytes.TrimSpace(raw))
	if text == "max" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

func memoryTotal(root fs.FS) uint64 {
	raw, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kb, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb * 1024
		}
	}
	return 0
}

// cgroupUnlimited is where version 1 starts to mean no limit: it prints the largest page-aligned int64.
const cgroupUnlimited = 1 << 62

// cgroupMemory returns the tightest memory limit between our control group and the top of what is mounted,
// in either version of control groups (cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5)). 0 = none.
func cgroupMemory(root fs.FS) uint64 {
	least := uint64(0)
	for _, m := range cgroupMounts(root) {
		group, ok := ourGroup(root, m.version)
		if !ok {
			continue
		}
		// Inside a container the mount shows our group as its top although the path tells the host's name for it.
		group = strings.TrimPrefix(group, strings.TrimSuffix(m.root, "/"))
		if _, err := fs.Stat(root, strings.TrimPrefix(path.Join(m.point, group), "/")); err != nil {
			group = "/"
		}
		for ; ; group = path.Dir(group) {
			n, err := readNumber(root, path.Join(m.point, group, m.file()))
			if err == nil && n > 0 && n < cgroupUnlimited && (least == 0 || n < least) {
				least = n
			}
			if group == "/" || group == "." || group == "" {
				break
			}
		}
	}
	return least
}

// cgroupMount is one mounted control group hierarchy that can limit memory.
type cgroupMount struct {
	version     int    // 1 or 2
	root, point string // the group that is mounted, and where
}

func (m cgroupMount) file() string {
	if m.version == 1 {
		return "memory.limit_in_bytes"
	}
	return "memory.max"
}

func cgroupMounts(root fs.FS) (mounts []cgroupMount) {
	raw, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		// id parent major:minor root point options [tags...] - type source super-options
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		switch {
		case right[0] == "cgroup2":
			mounts = append(mounts, cgroupMount{2, left[3], left[4]})
		case right[0] == "cgroup" && slices.Contains(strings.Split(right[2], ","), "memory"):
			mounts = append(mounts, cgroupMount{1, left[3], left[4]})
		}
	}
	return mounts
}

// ourGroup returns this process's group in the hierarchy of the given version.
func ourGroup(root fs.FS, version int) (string, bool) {
	raw, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // id:controllers:group
		if len(fields) != 3 {
			continue
		}
		if version == 2 && fields[0] == "0" && fields[1] == "" ||
			version == 1 && slices.Contains(strings.Split(fields[1], ","), "memory") {
			return fields[2], true
		}
	}
	return "", false
}
