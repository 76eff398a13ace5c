package probe

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts describe the machine a report comes from.
type Facts struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Memory  int64  `json:"memory"` // bytes
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Limits  Limits `json:"limits"`
	Governs string `json:"cgroup_cpu_max,omitempty"`
}

// Limits are what bounds the number of connections. -1 is unknown.
type Limits struct {
	FDSoft       int64 `json:"fd_soft"` // RLIMIT_NOFILE
	FDHard       int64 `json:"fd_hard"`
	FileMax      int64 `json:"file_max"` // fs.file-max
	FileUsed     int64 `json:"file_used"`
	NrOpen       int64 `json:"nr_open"`
	PortFirst    int64 `json:"port_first"` // net.ipv4.ip_local_port_range
	PortLast     int64 `json:"port_last"`
	Somaxconn    int64 `json:"somaxconn"`
	SynBacklog   int64 `json:"tcp_max_syn_backlog"`
	TCPMemPages  int64 `json:"tcp_mem_max_pages"`  // third value of net.ipv4.tcp_mem
	Conntrack    int64 `json:"conntrack_max"`      // 0 = not loaded
	ConntrackNow int64 `json:"conntrack_now"`      //
	TimeWaitMax  int64 `json:"tcp_max_tw_buckets"` //
	Threads      int64 `json:"threads_max"`
	MapCount     int64 `json:"max_map_count"`
}

// ReadFacts reads what /proc tells of the machine; what is hidden stays empty.
func ReadFacts() Facts {
	f := Facts{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: cpuModel(), Limits: ReadLimits()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		f.Memory = int64(si.Totalram) * int64(si.Unit)
	}
	if p, err := os.ReadFile("/sys/fs/cgroup/cpu.max"); err == nil {
		f.Governs = strings.TrimSpace(string(p))
	}
	return f
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// ReadLimits reads the limits of now.
func ReadLimits() Limits {
	l := Limits{
		FileMax: sysctl("fs/file-max", 0), FileUsed: sysctl("fs/file-nr", 0), NrOpen: sysctl("fs/nr_open", 0),
		PortFirst: sysctl("net/ipv4/ip_local_port_range", 0), PortLast: sysctl("net/ipv4/ip_local_port_range", 1),
		Somaxconn: sysctl("net/core/somaxconn", 0), SynBacklog: sysctl("net/ipv4/tcp_max_syn_backlog", 0),
		TCPMemPages: sysctl("net/ipv4/tcp_mem", 2), TimeWaitMax: sysctl("net/ipv4/tcp_max_tw_buckets", 0),
		Conntrack: max(sysctl("net/netfilter/nf_conntrack_max", 0), 0), ConntrackNow: max(sysctl("net/netfilter/nf_conntrack_count", 0), 0),
		Threads: sysctl("kernel/threads-max", 0), MapCount: sysctl("vm/max_map_count", 0),
	}
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		l.FDSoft, l.FDHard = clampLimit(r.Cur), clampLimit(r.Max)
	}
	return l
}

func clampLimit(v uint64) int64 { return int64(min(v, 1<<62)) }

// sysctl reads the i-th number of a /proc/sys file, -1 if it cannot.
func sysctl(name string, i int) int64 {
	p, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return -1
	}
	f := strings.Fields(string(p))
	if i >= len(f) {
		return -1
	}
	n, err := strconv.ParseInt(f[i], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// RaiseFDLimit sets the soft descriptor limit to the hard one and returns it.
func RaiseFDLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	if r.Cur < r.Max {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: r.Max, Max: r.Max})
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
	}
	return int(clampLimit(r.Cur))
}

// Commit is the state of the source tree a report was made from.
type Commit struct {
	ID    string `json:"id"`
	Dirty bool   `json:"dirty"`
}

// ReadCommit asks git about the working directory; empty when there is none.
func ReadCommit() (c Commit) {
	id, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return c
	}
	c.ID = strings.TrimSpace(string(id))
	status, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output()
	c.Dirty = err != nil || len(bytes.TrimSpace(status)) > 0
	return c
}
