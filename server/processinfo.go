package main

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"throng/server/httpapi"
)

// processMeter tells what this process uses, for the API's info. The zero value measures from its first reading on.
type processMeter struct {
	mu      sync.Mutex
	at      time.Time
	used    time.Duration // CPU time until then
	percent float64       // of one core, over the last stretch
}

// meterStretch is the shortest time that CPU use is measured over.
const meterStretch = time.Second

// read may be called by any goroutine; it costs two system calls.
func (m *processMeter) read(now time.Time) *httpapi.Process {
	used := cpuTime()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch stretch := now.Sub(m.at); {
	case m.at.IsZero():
		m.at, m.used = now, used
	case stretch >= meterStretch:
		m.percent = 100 * float64(used-m.used) / float64(stretch)
		m.at, m.used = now, used
	}
	return &httpapi.Process{CPU: m.percent, RSS: residentBytes()}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentBytes is the memory that the process has in RAM, 0 if the kernel does not say.
func residentBytes() int64 {
	raw, err := os.ReadFile("/proc/self/statm") // pages: size, resident, ...
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
