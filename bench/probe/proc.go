package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// userHZ is the unit of utime and stime, 100 on every Linux architecture Go runs
// on.
const userHZ = 100

// Proc are one process's or several processes' figures. Memory in bytes, CPU in
// seconds since their start.
type Proc struct {
	PssAnon  int64   `json:"pss_anon"`
	PssShmem int64   `json:"pss_shmem"`
	RSS      int64   `json:"rss"`
	UserCPU  float64 `json:"user_cpu"`
	SysCPU   float64 `json:"sys_cpu"`
	Threads  int     `json:"threads"`
	FDs      int     `json:"fds"`
}

// User returns the memory that is the process's own: Pss_Anon + Pss_Shmem. File
// pages (the binary) are left out, and shared pages count once in all.
func (p *Proc) User() int64 { return p.PssAnon + p.PssShmem }

// CPU returns user and system seconds together.
func (p *Proc) CPU() float64 { return p.UserCPU + p.SysCPU }

func (p *Proc) add(o *Proc) {
	p.PssAnon += o.PssAnon
	p.PssShmem += o.PssShmem
	p.RSS += o.RSS
	p.UserCPU += o.UserCPU
	p.SysCPU += o.SysCPU
	p.Threads += o.Threads
	p.FDs += o.FDs
}

// Processes sums the figures of pids. A process that is gone is an error: its
// figures would silently be missing.
func Processes(pids []int) (Proc, error) {
	var sum Proc
	for _, pid := range pids {
		p, err := process(pid)
		if err != nil {
			return sum, fmt.Errorf("process %d: %w", pid, err)
		}
		sum.add(&p)
	}
	return sum, nil
}

func process(pid int) (p Proc, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if err := p.readRollup(filepath.Join(dir, "smaps_rollup")); err != nil {
		return p, err
	}
	if err := p.readStat(pid); err != nil {
		return p, err
	}
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	p.FDs = len(fds)
	return p, err
}

func (p *Proc) readRollup(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		name, rest, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		switch name {
		case "Rss":
			p.RSS = kilobytes(rest)
		case "Pss_Anon":
			p.PssAnon = kilobytes(rest)
		case "Pss_Shmem":
			p.PssShmem = kilobytes(rest)
		}
	}
	return nil
}

// kilobytes reads "  123 kB" as bytes.
func kilobytes(s string) int64 {
	f := strings.Fields(s)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64)
	return n << 10
}

// readStat reads utime, stime and num_threads: fields 14, 15 and 20 of
// /proc/pid/stat, counted behind the command name, which may hold anything.
func (p *Proc) readStat(pid int) error {
	f, err := statFields(pid)
	if err != nil {
		return err
	}
	p.UserCPU, p.SysCPU = ticks(f[11]), ticks(f[12])
	p.Threads, _ = strconv.Atoi(f[17])
	return nil
}

func statFields(pid int) ([]string, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 20 {
		return nil, errors.New("stat is cut")
	}
	return f, nil
}

func ticks(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64)
	return n / userHZ
}

// CPUOf returns user plus system seconds of the pids that still live.
func CPUOf(pids []int) (sum float64) {
	for _, pid := range pids {
		if f, err := statFields(pid); err == nil {
			sum += ticks(f[11]) + ticks(f[12])
		}
	}
	return sum
}

// Machine are machine-wide figures: CPU in seconds since boot over all cores,
// memory in bytes.
type Machine struct {
	BusyCPU  float64 `json:"busy_cpu"`  // all but idle and iowait
	StealCPU float64 `json:"steal_cpu"` // taken by the host
	Slab     int64   `json:"slab"`
	TCPMem   int64   `json:"tcp_mem"` // pages charged to TCP buffers
	Sockets  int     `json:"sockets"`
	TimeWait int     `json:"time_wait"`
	MemAvail int64   `json:"mem_available"`
}

// ReadMachine reads the machine-wide figures.
func ReadMachine() (m Machine, err error) {
	return m, errors.Join(m.readStat(), m.readMeminfo(), m.readSockstat())
}

func (m *Machine) readStat() error {
	line, err := firstLine("/proc/stat")
	if err != nil {
		return err
	}
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal guest guest_nice
	if len(f) < 9 {
		return errors.New("/proc/stat is cut")
	}
	for _, i := range []int{1, 2, 3, 6, 7} {
		m.BusyCPU += ticks(f[i])
	}
	m.StealCPU = ticks(f[8])
	return nil
}

func firstLine(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Scan()
	return s.Text(), s.Err()
}

func (m *Machine) readMeminfo() error {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		name, rest, _ := strings.Cut(string(line), ":")
		switch name {
		case "Slab":
			m.Slab = kilobytes(rest)
		case "MemAvailable":
			m.MemAvail = kilobytes(rest)
		}
	}
	return nil
}

func (m *Machine) readSockstat() error {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line)) // TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 1
		if len(f) < 11 || f[0] != "TCP:" {
			continue
		}
		m.Sockets, _ = strconv.Atoi(f[2])
		m.TimeWait, _ = strconv.Atoi(f[6])
		pages, _ := strconv.ParseInt(f[10], 10, 64)
		m.TCPMem = pages * int64(os.Getpagesize())
	}
	return nil
}

// CommandOf returns the command line of a process, "" if it cannot be read.
func CommandOf(pid int) string {
	p, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(p), "\x00", " "))
}
