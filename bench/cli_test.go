package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"throng/bench/load"
	"throng/bench/nullserver"
	"throng/bench/result"
)

func TestMain(m *testing.M) {
	if load.IsWorker() { // load processes are this very test binary
		os.Exit(load.RunWorker())
	}
	goleak.VerifyTestMain(m)
}

// bench runs the program and returns what it printed and its exit code.
func bench(t *testing.T, ctx context.Context, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	code = run(ctx, args, &out, &errs)
	return out.String(), errs.String(), code
}

func server(t *testing.T, cfg nullserver.Config) string {
	t.Helper()
	s, err := nullserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.URL()
}

// quick are flags that make a run take a second.
func quick(url string, args ...string) []string {
	return append(args, "--target", url, "-c", "500", "--settle", "10ms", "--no-ceiling", "--timeout", "2s", "--drain", "500ms")
}

func TestEachSubcommandMeetsItsGoalOnANullServer(t *testing.T) {
	url := server(t, nullserver.Config{})
	for _, args := range [][]string{
		{"idle", "--hold", "300ms", "--heartbeat", "200ms"},
		{"fanout", "--for", "200ms", "--rate", "20", "--window", "1,8", "--warm-up", "100ms", "--channels", "2"},
		{"rooms", "--for", "300ms", "--rate", "10", "--warm-up", "100ms"},
		{"latency", "--for", "300ms", "--warm-up", "100ms"},
		{"storm", "--rounds", "1"},
		{"handshake", "--from", "50", "--to", "100", "--step", "500ms", "--procs", "1", "--max-p99", "0"},
	} {
		file := filepath.Join(t.TempDir(), "r.json")
		stdout, stderr, code := bench(t, t.Context(), append(quick(url, args...), "--out", file)...)
		if code != exitOK {
			t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
			continue
		}
		r, err := result.Read(file)
		if err != nil || !r.Passed || r.Partial || r.Command != args[0] || len(r.Runs) != 1 {
			t.Errorf("%v: %v, %+v", args, err, r)
		}
		if !strings.Contains(stdout, "goal met") {
			t.Errorf("%v: no verdict in\n%s", args, stdout)
		}
	}
}

func TestAMissedGoalIsExitCodeOneWithAReport(t *testing.T) {
	for word, faults := range map[string]nullserver.Faults{
		"lost": {DropEvery: 100}, "duplicated": {DupEvery: 100}, "http_503": {Upgrade: nullserver.UpgradeRefuse},
	} {
		file := filepath.Join(t.TempDir(), "r.json")
		args := append(quick(server(t, nullserver.Config{Faults: faults}), "fanout", "--for", "100ms", "--window", "1"), "--out", file)
		stdout, _, code := bench(t, t.Context(), args...)
		r, err := result.Read(file)
		if code != exitMissed || err != nil || r.Passed || !strings.Contains(stdout, word) {
			t.Errorf("%s: exit code %d, %v\n%s", word, code, err, stdout)
		}
	}
	if _, _, code := bench(t, t.Context(), quick("ws://127.0.0.1:1/", "idle")...); code != exitMissed {
		t.Errorf("a target that is down: exit code %d", code)
	}
}

func TestWrongUseNamesTheFlag(t *testing.T) {
	for _, c := range [][]string{
		{"--dialect", "idle", "--dialect", "klingon"},
		{"--connections", "idle", "-c", "0"},
		{"--payload", "fanout", "--payload", "10"},
		{"--server-cpus", "idle", "--server-cpus", "x"},
		{"--client-cpus", "idle", "--client-cpus", "4000"},
		{"--window", "fanout", "--window", "0"},
		{"--rate", "rooms", "--rate", "-1"},
		{"--factor", "handshake", "--factor", "1"},
		{"--ready", "idle", "--ready", "never"},
		{"--heartbeat-from", "idle", "--heartbeat-from", "nobody"},
		{"--per-address", "idle", "--per-address", "0"},
		{"--timeout", "idle", "--timeout", "0s"},
		{"--attempts", "idle", "--attempts", "0"},
		{"--server", "compare"},
		{"--server", "compare", "--server", "=x"},
		{"--servers", "compare", "--servers", "/no/such/file"},
		{"--server-dialect", "compare", "--server", "a=b", "--server-dialect", "z=raw"},
		{"--server-bin", "profile", "--server-bin", "/no/such/file", "--dir", "x"},
		{"--profile", "profile", "--profile", "soul", "--dir", "x"},
		{"--load", "profile", "--load", "soul", "--dir", "x"},
		{"--nodes", "million", "--check", "--nodes", "1", "-c", "100000000"},
		{"--outstanding", "publish", "--outstanding", "4,0"},
		{"--channels", "publish", "--channels", "0"},
		{"--missed", "recover", "--missed", "0"},
		{"--server-dialect", "recover", "--server", "a=b", "--server-dialect", "z=raw"},
		{"--rounds", "positions", "--rounds", "0"},
		{"--workers", "agent", "--workers", "0"},
		{"--format", "report", "--format", "xml", "../go.mod"},
		{"--nonsense", "idle", "--nonsense"},
	} {
		_, stderr, code := bench(t, t.Context(), c[1:]...)
		if want := c[0]; code != exitUsage || !strings.Contains(stderr, want) && c[1] != "report" {
			t.Errorf("%v: exit code %d, %q", c[1:], code, stderr)
		}
	}
	if _, stderr, code := bench(t, t.Context(), "idle", "extra"); code != exitUsage || !strings.Contains(stderr, "extra") {
		t.Errorf("an argument too many: %d %q", code, stderr)
	}
}

func TestHelpExplainsEverySubcommand(t *testing.T) {
	stdout, _, code := bench(t, t.Context(), "-h")
	if code != exitOK {
		t.Fatal(code)
	}
	for _, name := range []string{"idle", "fanout", "rooms", "latency", "storm", "handshake", "report", "compare", "agent", "million", "profile"} {
		if !strings.Contains(stdout, "\n  "+name+" ") {
			t.Errorf("%s is not in the help", name)
		}
		if sub, _, code := bench(t, t.Context(), name, "-h"); code != exitOK || !strings.Contains(sub, "Usage:") {
			t.Errorf("%s -h: %d", name, code)
		}
	}
}

func TestInterruptedRunsLeaveAReportMarkedPartial(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	file := filepath.Join(t.TempDir(), "r.json")
	url := server(t, nullserver.Config{Ping: 50 * time.Millisecond})
	go func() {
		time.Sleep(time.Second) // any moment will do: what counts is that the run ends and says so
		cancel(errInterrupted)
	}()
	stdout, _, code := bench(t, ctx, append(quick(url, "idle", "--hold", "1h"), "--out", file)...)
	r, err := result.Read(file)
	if err != nil || !r.Partial || r.Passed || code != exitMissed || !strings.Contains(stdout, "PARTIAL") {
		t.Errorf("exit code %d, %v, %+v\n%s", code, err, r, stdout)
	}
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Error("the run ended before it was interrupted")
	}
}

func TestReportShowsStoredRuns(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r.json")
	url := server(t, nullserver.Config{})
	if _, stderr, code := bench(t, t.Context(), append(quick(url, "fanout", "--for", "100ms"), "--out", file, "--html", filepath.Join(dir, "a.html"))...); code != exitOK {
		t.Fatal(stderr)
	}
	stdout, stderr, code := bench(t, t.Context(), "report", file, "--html", filepath.Join(dir, "b.html"), "--plots", dir, "--format", "json")
	var r result.Report
	if code != exitOK || json.Unmarshal([]byte(stdout), &r) != nil || r.Command != "fanout" {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, name := range []string{"a.html", "b.html", "fanout-latency.png", "fanout-latency.svg"} {
		if !isFile(filepath.Join(dir, name)) {
			t.Errorf("%s is missing", name)
		}
	}
	if stdout, _, _ := bench(t, t.Context(), "report", "--schema"); !json.Valid([]byte(stdout)) {
		t.Error("the schema is no JSON")
	}
	if _, stderr, code := bench(t, t.Context(), "report", "../go.mod"); code != exitUsage || !strings.Contains(stderr, "go.mod") {
		t.Errorf("a file that is no report: %d %q", code, stderr)
	}
}

func TestCompareRanksServersThatItStarted(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r.json")
	bin := build(t)
	null := bin + " null-server --addr {addr}"
	stdout, stderr, code := bench(t, t.Context(), "compare", "--server", "a="+null, "--server", "b="+null, "--server-channel", "b=x",
		"-c", "100", "--rounds", "1", "--for", "100ms", "--beat", "0", "--storms", "1", "--settle", "10ms", "--no-ceiling", "--out", file)
	r, err := result.Read(file)
	if code != exitOK || err != nil || len(r.Runs) != 2 || r.Base != "a" || !strings.Contains(stdout, "ratios are to a") {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
}
