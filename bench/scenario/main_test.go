package scenario

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"throng/bench/load"
	"throng/bench/nullserver"
)

func TestMain(m *testing.M) {
	if load.IsWorker() { // load processes are this very test binary
		os.Exit(load.RunWorker())
	}
	if addr := os.Getenv(historianEnv); addr != "" { // and so is a server that is started and killed
		os.Exit(runHistorian(addr))
	}
	goleak.VerifyTestMain(m)
}

// silent is a UI for tests.
type silent struct{ t *testing.T }

func (silent) Phase(string, string, int64)       {}
func (silent) Update(int64, uint64)              {}
func (s silent) Note(format string, args ...any) { s.t.Logf(format, args...) }
func ui(t *testing.T) UI                         { return silent{t} }
func deadline(t *testing.T) context.Context      { return within(t, 60*time.Second) }
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// against starts a null server and returns options for 500 connections to it.
func against(t *testing.T, cfg nullserver.Config) *Options {
	t.Helper()
	s, err := nullserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &Options{
		Targets: []string{s.URL()}, Name: "null", Dialect: "raw", Ready: "greeting",
		Connections: 500, Payload: 128, Procs: "0", PerAddress: 500, InFlight: 200, Attempts: 2,
		Timeout: 2 * time.Second, Drain: 300 * time.Millisecond, Settle: 10 * time.Millisecond,
		Heartbeat: 200 * time.Millisecond, HeartbeatFrom: "both",
	}
}

// buildBench compiles the bench's command, whose null server is then a process.
func buildBench(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", bin, "throng/bench").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}
