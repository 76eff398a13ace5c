package probe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUs is a set of cores; nil means "not pinned".
type CPUs []int

// ParseCPUs reads "0", "0,2" or "0-3,5".
func ParseCPUs(s string) (CPUs, error) {
	if s == "" {
		return nil, nil
	}
	var out CPUs
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a < 0 || b < a {
			return nil, fmt.Errorf("%q is no list of cores like 0,2-3", s)
		}
		for ; a <= b; a++ {
			if a >= runtime.NumCPU() && !allowed(a) {
				return nil, fmt.Errorf("core %d is not among the cores this process may use", a)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// allowed asks the kernel, because NumCPU counts and does not number.
func allowed(cpu int) bool {
	var set unix.CPUSet
	return unix.SchedGetaffinity(0, &set) == nil && set.IsSet(cpu)
}

func (c CPUs) set() (set unix.CPUSet) {
	for _, cpu := range c {
		set.Set(cpu)
	}
	return set
}

// String is the list as flags take it; "" when not pinned.
func (c CPUs) String() string {
	s := make([]string, len(c))
	for i, cpu := range c {
		s[i] = strconv.Itoa(cpu)
	}
	return strings.Join(s, ",")
}

// Start starts cmd with the affinity c, so that its runtime already sees that
// number of cores. The calling thread borrows the affinity for the fork. Without
// cores of its own cmd runs under SCHED_BATCH.
func (c CPUs) Start(cmd *exec.Cmd) error {
	if len(c) == 0 {
		return startPolite(cmd)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	set := c.set()
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to cores %s: %w", c, err)
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &before))
}

// startPolite starts cmd under SCHED_BATCH: a load that shares the server's cores must not take them at every single frame
// that wakes it, which costs a change of context per delivery and measures the scheduler. The calling thread borrows the
// policy for the fork.
func startPolite(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return cmd.Start()
	}
	batch := *before
	batch.Policy = unix.SCHED_BATCH
	if err := unix.SchedSetAttr(0, &batch, 0); err != nil {
		return cmd.Start()
	}
	return errors.Join(cmd.Start(), unix.SchedSetAttr(0, before, 0))
}

// Pin moves all threads of a running process to the cores.
func (c CPUs) Pin(pid int) error {
	if len(c) == 0 {
		return nil
	}
	set := c.set()
	tasks, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin process %d to cores %s: %w", pid, c, err)
		}
	}
	return nil
}

// Listeners returns the pids that listen on a TCP port of this machine, found by
// the socket's inode in /proc/*/fd. Without the right to read other users'
// descriptors it may find none.
func Listeners(port uint16) ([]int, error) {
	inodes, err := listeningInodes(port)
	if err != nil || len(inodes) == 0 {
		return nil, err
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err == nil && holds(pid, inodes) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func holds(pid int, inodes map[string]bool) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if link, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && inodes[link] {
			return true
		}
	}
	return false
}

// Group returns the pids of a process group: a server started by a script may be
// several processes.
func Group(pgid int) (pids []int) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		f, err := statFields(pid)
		if err == nil && f[2] == strconv.Itoa(pgid) && f[0] != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}
