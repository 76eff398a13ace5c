package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pkg/profile"
)

// profileMode is one kind of --profile: what github.com/pkg/profile calls it, and the file it writes.
type profileMode struct {
	kind    string
	file    string
	options []func(*profile.Profile)
}

// MemProfileAllocs and MemProfileHeap leave the rate at zero, which records nothing: both need MemProfile.
var profileModes = []profileMode{
	{"cpu", "cpu.pprof", []func(*profile.Profile){profile.CPUProfile}},
	{"mem", "mem.pprof", []func(*profile.Profile){profile.MemProfile}},
	{"allocs", "mem.pprof", []func(*profile.Profile){profile.MemProfile, profile.MemProfileAllocs}},
	{"heap", "mem.pprof", []func(*profile.Profile){profile.MemProfile, profile.MemProfileHeap}},
	{"mutex", "mutex.pprof", []func(*profile.Profile){profile.MutexProfile}},
	{"block", "block.pprof", []func(*profile.Profile){profile.BlockProfile}},
	{"goroutine", "goroutine.pprof", []func(*profile.Profile){profile.GoroutineProfile}},
	{"threadcreate", "threadcreation.pprof", []func(*profile.Profile){profile.ThreadcreationProfile}},
	{"trace", "trace.out", []func(*profile.Profile){profile.TraceProfile}},
}

// profileKinds lists what --profile accepts.
func profileKinds() []string {
	kinds := make([]string, len(profileModes))
	for i, m := range profileModes {
		kinds[i] = m.kind
	}
	return kinds
}

var (
	errProfileRunning = errors.New("a profiling session is already running in this process")
	profileRunning    atomic.Bool
)

// startProfile begins a profiling session of the given kind, writing into dir, and returns what ends it
// and closes the file. kind "" does nothing. The stop function is never nil, may be called from any goroutine and
// more than once; signals are the caller's business (pkg/profile's own hook would exit past the drain).
//
// pkg/profile ends the process when it cannot write, so that is found out first.
func startProfile(kind, dir string, log *slog.Logger) (stop func(), err error) {
	nothing := func() {}
	if kind == "" {
		return nothing, nil
	}
	for _, m := range profileModes {
		if m.kind != kind {
			continue
		}
		path := filepath.Join(dir, m.file)
		if err := probeWritable(dir, path); err != nil {
			return nothing, fmt.Errorf("profile %s: %w; give a writable --profile-dir", kind, err)
		}
		if !profileRunning.CompareAndSwap(false, true) {
			return nothing, fmt.Errorf("profile %s: %w", kind, errProfileRunning)
		}
		session := profile.Start(append(m.options, profile.ProfilePath(dir), profile.NoShutdownHook, profile.Quiet)...)
		log.Info("profiling", "kind", kind, "file", path)
		return sync.OnceFunc(func() {
			if m.file == "mem.pprof" {
				runtime.GC() // a heap profile tells of the last collection
			}
			session.Stop()
			profileRunning.Store(false)
			log.Info("profile written", "kind", kind, "file", path, "read", "go tool "+profileTool(kind)+" "+path)
		}), nil
	}
	return nothing, fmt.Errorf("profile %q is not known; use one of %v", kind, profileKinds())
}

func profileTool(kind string) string {
	if kind == "trace" {
		return "trace"
	}
	return "pprof"
}

func probeWritable(dir, path string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
