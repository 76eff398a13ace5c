package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func TestEveryProfileKindWritesAFileThatItsToolReads(t *testing.T) {
	for _, m := range profileModes {
		t.Run(m.kind, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "not", "yet")
			var out bytes.Buffer
			rate := runtime.MemProfileRate
			stop, err := startProfile(m.kind, dir, slog.New(slog.NewTextHandler(&out, nil)))
			if err != nil {
				t.Fatal(err)
			}
			stop()
			stop() // harmless
			raw, err := os.ReadFile(filepath.Join(dir, m.file))
			if err != nil {
				t.Fatal(err)
			}
			if m.kind == "trace" {
				if !bytes.HasPrefix(raw, []byte("go 1.")) {
					t.Errorf("no trace: %.20q", raw)
				}
			} else if _, err := profile.ParseData(raw); err != nil {
				t.Errorf("no profile: %v", err)
			}
			if runtime.MemProfileRate != rate {
				t.Errorf("the memory profile's rate is left at %d", runtime.MemProfileRate)
			}
			if got := out.String(); strings.Count(got, "msg=profiling") != 1 || strings.Count(got, `msg="profile written"`) != 1 {
				t.Errorf("log:\n%s", got)
			}
		})
	}
}

// pkg/profile's options for allocs and heap alone record nothing: their rate is zero.
func TestAllocationProfilesHaveARate(t *testing.T) {
	for _, kind := range []string{"mem", "allocs", "heap"} {
		stop, err := startProfile(kind, t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if runtime.MemProfileRate <= 0 {
			t.Errorf("%s: rate %d", kind, runtime.MemProfileRate)
		}
		stop()
	}
}

func TestProfileThatCannotStartSaysWhyInsteadOfExiting(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	file := writeFile(t, "file", "")
	if _, err := startProfile("cpu", filepath.Join(file, "below"), log); err == nil || !strings.Contains(err.Error(), "give a writable --profile-dir") {
		t.Errorf("directory below a file: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cpu.pprof"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := startProfile("cpu", dir, log); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("file that is a directory: %v", err)
	}
	if _, err := startProfile("ram", dir, log); err == nil || !strings.Contains(err.Error(), "use one of [cpu mem") {
		t.Errorf("unknown kind: %v", err)
	}
	stop, err := startProfile("goroutine", t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, err := startProfile("block", t.TempDir(), log); !errors.Is(err, errProfileRunning) {
		t.Errorf("second session: %v", err)
	}
}

func TestNoProfileIsNoWork(t *testing.T) {
	stop, err := startProfile("", "/nowhere", nil)
	if err != nil || stop == nil {
		t.Fatal(err)
	}
	stop()
}

func TestProfileKindsAreThePromisedOnes(t *testing.T) {
	want := []string{"cpu", "mem", "allocs", "heap", "mutex", "block", "goroutine", "threadcreate", "trace"}
	if !slices.Equal(profileKinds(), want) {
		t.Errorf("%q", profileKinds())
	}
}
