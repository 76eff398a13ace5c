package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/pprof/profile"

	"throng/server/wire"
)

// build makes the binary that people run.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "throng")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// process is a node in a process of its own.
type process struct {
	place
	cmd      *exec.Cmd
	out, log buffer
	ended    chan struct{}
	state    *os.ProcessState // read it after ended
}

// spawn starts a node and does not wait for anything. env is in addition to an environment with nothing in it but HOME.
func spawn(t *testing.T, binary string, env []string, args ...string) *process {
	t.Helper()
	p := &process{place: place{t: t}, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	p.cmd.Env = append([]string{"HOME=" + t.TempDir()}, env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // an exit status that is not 0 is an error here; tests look at the state
		p.state = p.cmd.ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("output of %s:\n%s%s", p.cmd.Path, p.out.String(), p.log.String())
		}
	})
	return p
}

// serve is spawn with free ports, and waits for the greeting.
func serve(t *testing.T, binary string, env []string, args ...string) *process {
	t.Helper()
	p := spawn(t, binary, env, append([]string{"--addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"}, args...)...)
	await(t, "greeting of the process", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("ended with %v instead of serving", p.state)
		default:
		}
		return p.readGreeting(p.out.String())
	})
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) wantExit(code int) {
	p.t.Helper()
	<-p.ended
	if got := p.state.ExitCode(); got != code {
		p.t.Errorf("exit status %d (%v), want %d", got, p.state, code)
	}
}

func TestTheBinary(t *testing.T) {
	binary := build(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"one signal drains and exits with 0", signalDrains},
		{"a second signal ends it at once", secondSignal},
		{"the CPU profile of the whole run is there after SIGINT", profileOfTheRun},
		{"wrong settings are told, all at once, with exit status 2", wrongSettings},
		{"what cannot start exits with 2 or 1 and leaves nothing", cannotStart},
		{"help, version and --check-config exit with 0", answers},
		{"no password is in anything it shows", noSecretShown},
		{"with few descriptors it refuses clients and keeps its own (F19)", fewDescriptors},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, binary) })
	}
}

func signalDrains(t *testing.T, binary string) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := serve(t, binary, []string{"APPID=4711"}, "--drain-window=100ms", "--log-format=json")
		if p.id != "4711" {
			t.Errorf("node id %q, want APPID's", p.id)
		}
		c := p.enter("/")
		p.signal(s)
		c.wantClose(wire.CloseGoingAway)
		c.send(wire.OpClose, "\x03\xe9")
		c.wantEnd()
		p.wantExit(0)
		for _, part := range []string{`"msg":"limits"`, `"msg":"draining"`, `"msg":"stopped"`} {
			if strings.Count(p.log.String(), part) != 1 {
				t.Errorf("the log has not one line with %s", part)
			}
		}
		if !strings.HasPrefix(p.out.String(), "Throng node 4711\n") || strings.Contains(p.out.String(), "level") {
			t.Errorf("standard output: %s", p.out.String())
		}
	}
}

func secondSignal(t *testing.T, binary string) {
	p := serve(t, binary, nil, "--drain-window=1h", "--close-timeout=5m")
	for range 3 {
		p.enter("/") // and never answers the close frame
	}
	p.signal(syscall.SIGTERM)
	p.awaitReady(503, errDraining.Error())
	p.signal(syscall.SIGTERM)
	p.wantExit(exitForced)
}

func profileOfTheRun(t *testing.T, binary string) {
	dir := filepath.Join(t.TempDir(), "made", "for it")
	p := serve(t, binary, nil, "--drain-window=0", "--profile=cpu", "--profile-dir="+dir)
	p.enter("/").leave()
	p.signal(syscall.SIGINT)
	p.wantExit(0)
	f, err := os.Open(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := profile.Parse(f); err != nil {
		t.Errorf("not a profile: %v", err)
	}
}

func wrongSettings(t *testing.T, binary string) {
	p := spawn(t, binary, []string{"THRONG_LOG_LEVEL=loud"}, "--addr=8080", "--max-mesage=1", "--nats-url=http://ann:hunter2@a")
	p.wantExit(exitUsage)
	for _, part := range []string{`--addr "8080"`, "did you mean --max-message?", `THRONG_LOG_LEVEL "loud"`, `--nats-url "http://xxxxx@a"`} {
		if !strings.Contains(p.log.String(), part) {
			t.Errorf("no %s in\n%s", part, p.log.String())
		}
	}
	if p.out.String() != "" || strings.Contains(p.log.String(), "hunter2") {
		t.Errorf("%s%s", p.out.String(), p.log.String())
	}
}

func cannotStart(t *testing.T, binary string) {
	dir := t.TempDir()
	first := serve(t, binary, nil, "--data-dir="+dir, "--addr=127.0.9.2:0") // no outgoing connection takes its port meanwhile
	second := spawn(t, binary, nil, "--addr=127.0.0.1:0", "--admin-addr=off", "--data-dir="+dir)
	second.wantExit(exitUsage)
	if !strings.Contains(second.log.String(), "--data-dir") || !strings.Contains(second.log.String(), "in use by process ") {
		t.Errorf("second process on one data directory:\n%s", second.log.String())
	}
	third := spawn(t, binary, nil, "--addr="+first.addr, "--admin-addr=off")
	third.wantExit(exitUsage)
	if !strings.Contains(third.log.String(), `throng: --addr "`+first.addr+`"`) {
		t.Errorf("taken port:\n%s", third.log.String())
	}
	// The kernel drops the lock with the process, however it ends.
	first.signal(syscall.SIGKILL)
	<-first.ended
	again := serve(t, binary, nil, "--data-dir="+dir, "--addr="+first.addr)
	again.enter("/")
}

func answers(t *testing.T, binary string) {
	for args, want := range map[string]string{"-h": "--nats-listen", "help": "--drain-window", "version": "throng ", "--check-config": ""} {
		p := spawn(t, binary, nil, args)
		p.wantExit(0)
		if !strings.Contains(p.out.String(), want) || p.out.String() == "" || p.log.String() != "" {
			t.Errorf("%s: %s%s", args, p.out.String(), p.log.String())
		}
	}
}

// S17: a canary in every place a secret is given, looked for in everything the node says.
func noSecretShown(t *testing.T, binary string) {
	const canary = "c4n4ry"
	server := newNATS(t, "authorization { user: ann, password: "+canary+" }")
	server.start()
	shown := map[string]string{}
	note := func(name string, p *process) {
		for _, path := range []string{"/", "/livez", "/readyz", "/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
			_, shown[name+" "+path] = get(p.admin + path)
		}
		_, shown[name+" page"] = get("http://" + p.addr + "/")
		p.signal(syscall.SIGTERM)
		p.wantExit(0)
		shown[name+" out"], shown[name+" log"] = p.out.String(), p.log.String()
	}
	flags := []string{"--log-level=debug", "--drain-window=0"}
	good := serve(t, binary, nil, append(flags, "--nats-url="+server.url("ann:"+canary+"@"))...)
	good.enter("/").leave()
	note("right password in a flag", good)
	env := serve(t, binary, []string{"THRONG_NATS_URL=" + server.url("ann:"+canary+"@")}, flags...)
	env.enter("/").leave()
	server.stop()
	env.awaitReady(503, "")
	note("in the environment, NATS lost", env)
	server.start()
	wrong := serve(t, binary, nil, append(flags, "--nats-url="+server.url(canary+":"+canary+"@")+","+server.url(canary+"@"))...)
	wrong.awaitReady(503, "Authorization")
	note("wrong password", wrong)
	for _, args := range [][]string{
		{"--check-config", "--nats-url=nats://ann:" + canary + "@h"}, {"--nats-url=http://ann:" + canary + "@h"}, {"--nats-ulr=nats://ann:" + canary + "@h"},
		{"nats://ann:" + canary + "@h"}, {"--nats-url=nats://ann:" + canary + "@h:port"}, {"--nats-url=nats://ann:" + canary + "@[::1"},
	} {
		p := spawn(t, binary, nil, args...)
		<-p.ended
		shown[args[0]] = p.out.String() + p.log.String()
	}
	for where, text := range shown {
		if strings.Contains(text, canary) {
			t.Errorf("%s shows the password:\n%s", where, text)
		}
		if text == "" && !strings.HasSuffix(where, "out") {
			t.Errorf("%s shows nothing at all", where)
		}
	}
}

// fewDescriptors crowds a node whose descriptor limit is low: who is inside stays, NATS and the admin listener keep
// theirs, the crowd is told or cut, and when it has gone there is room again.
func fewDescriptors(t *testing.T, binary string) {
	script := writeFile(t, "limited", "#!/bin/sh\nulimit -n 400\nexec "+binary+" \"$@\"\n")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	p := serve(t, script, nil, "--nats-listen=127.0.0.1:0", "--reserve-fds=128", "--http-max-connections=64", "--drain-window=0")
	const room = 400 - 128 - 64
	if got := p.metric("throng_ws_connections_limit"); got != room {
		t.Fatalf("room for %v clients, want %d", got, room)
	}
	inside := p.enter("/")
	var crowd []net.Conn
	for range 2 * room {
		nc, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		crowd = append(crowd, nc)
		_, _ = io.WriteString(nc, upgradeHead(p.addr, "/", ""))
	}
	p.awaitMetric(`throng_ws_handshakes_total{result="ok"}`, room)
	p.awaitMetric(`throng_ws_handshakes_total{result="shed"}`, 1)
	p.awaitMetric("throng_ws_accepted_connections_total", 2*room+1)
	p.awaitReady(200, "")
	inside.knock(p.id)
	nc := natsClient(t, p.nats)
	if err := errors.Join(nc.Publish("throng.live.livechat", []byte("from NATS")), nc.Flush()); err != nil {
		t.Error(err)
	}
	inside.wantText(p.id + ":from NATS")
	for _, nc := range crowd {
		nc.Close()
	}
	await(t, "the crowd is gone", func() bool {
		_, body := get(p.admin + "/metrics")
		return sample(t, body, `throng_ws_connections{state="open"}`) == 1 && sample(t, body, `throng_ws_connections{state="handshaking"}`) == 0
	})
	p.enter("/").leave()
	inside.leave()
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
}
