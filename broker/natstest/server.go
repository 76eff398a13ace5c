package natstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Config says what kind of server to run. The zero value is JetStream with a file store in a directory of the test.
type Config struct {
	// NoJetStream leaves JetStream off.
	NoJetStream bool
	// MaxFile and MaxMemory bound JetStream's stores, in bytes. Default 4 GiB and 1 GiB: as much as
	// streams may reserve, not what they take.
	MaxFile, MaxMemory int64
	// SyncAlways makes each write durable before it is acknowledged. Default: as nats-server has it, every 2 minutes.
	SyncAlways bool
	// StoreDir holds one directory for each server. Default: a temporary directory of the test.
	StoreDir string
	// Lines are further lines of the nats.conf: accounts, users, limits.
	Lines string
	// Login is put before the address in URLs, "user:password@", for the users that Lines may have. Default none.
	Login string
	// ProxiedRoutes puts a proxy on each route of a cluster, for Partition.
	ProxiedRoutes bool
}

func (c *Config) setDefaults(t testing.TB) {
	if c.MaxFile == 0 {
		c.MaxFile = 4 << 30
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = 1 << 30
	}
	if c.StoreDir == "" {
		c.StoreDir = t.TempDir()
	}
}

// Server is one nats-server process, and where it is again after Kill and Start.
type Server struct {
	t    testing.TB
	cfg  Config
	name string
	addr string // of clients
	http string // of the monitoring pages
	file string // nats.conf
	log  *os.File

	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	stopped bool
}

// Start runs one server by itself and waits until it is ready.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	cfg.setDefaults(t)
	s := newServer(t, cfg, "n1", "")
	s.Start()
	s.WaitReady()
	return s
}

func newServer(t testing.TB, cfg Config, name, cluster string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{t: t, cfg: cfg, name: name, addr: freeAddr(t), http: freeAddr(t), file: filepath.Join(dir, "nats.conf")}
	var conf strings.Builder
	fmt.Fprintf(&conf, "server_name: %s\nlisten: %q\nhttp: %q\n%s\n%s\n", name, s.addr, s.http, cluster, cfg.Lines)
	if !cfg.NoJetStream {
		fmt.Fprintf(&conf, "jetstream { store_dir: %q, max_file: %d, max_mem: %d", filepath.Join(cfg.StoreDir, name), cfg.MaxFile, cfg.MaxMemory)
		if cfg.SyncAlways {
			conf.WriteString(", sync_interval: always")
		}
		conf.WriteString(" }\n")
	}
	s.write(conf.String())
	var err error
	if s.log, err = os.OpenFile(filepath.Join(dir, "nats.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("log of nats-server %s:\n%s", name, tail(s.log.Name()))
		}
		s.log.Close()
	})
	return s
}

func (s *Server) write(conf string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(conf), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// tail is the end of a log, as much as a person reads.
func tail(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-8<<10):])
}

// Name of the server in its cluster.
func (s *Server) Name() string { return s.name }

// Addr is where clients connect, host:port; the same after a restart.
func (s *Server) Addr() string { return s.addr }

// URL is Addr with the scheme and Config.Login.
func (s *Server) URL() string { return "nats://" + s.cfg.Login + s.addr }

// Pid of the process, for what this package has no method for.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Running is whether the process has been started and not ended, be it stopped.
func (s *Server) Running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// Answering is Running and not stopped.
func (s *Server) Answering() bool { return s.Running() && !s.stopped }

// Start runs the process, again after Kill or Shutdown, and does not wait until it is ready.
func (s *Server) Start() {
	s.t.Helper()
	if s.Running() {
		s.t.Fatalf("nats-server %s runs already", s.name)
	}
	s.cmd = exec.Command(Binary(s.t), "-c", s.file)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended, s.stopped = make(chan struct{}), false
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(s.cmd, s.ended)
}

// Kill is kill -9, stopped or not, and returns when the process is gone and its port free. Nothing if it is gone already.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Shutdown ends the server in the orderly way, as SIGTERM does, and waits for that.
func (s *Server) Shutdown() { s.end(syscall.SIGTERM) }

func (s *Server) end(how syscall.Signal) {
	s.t.Helper()
	if !s.Running() {
		return
	}
	_ = s.cmd.Process.Signal(how) // it may end by itself at this moment
	select {
	case <-s.ended:
	case <-time.After(Patience):
		s.t.Errorf("nats-server %s does not end", s.name)
	}
}

// Restart is Kill, Start and WaitReady.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.Start()
	s.WaitReady()
}

// Stop is SIGSTOP, and returns when every thread stands still: kill(2) returns before that.
func (s *Server) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	s.await("all threads stopped", s.still)
	s.stopped = true
}

// Cont lets a stopped server go on.
func (s *Server) Cont() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
	s.stopped = false
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// still reports whether all threads are in state T (proc_pid_stat(5)).
func (s *Server) still() bool {
	stats, _ := filepath.Glob("/proc/" + strconv.Itoa(s.Pid()) + "/task/*/stat") // its only error is a bad pattern
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		if err != nil { // a thread that has ended meanwhile
			continue
		}
		if _, state, ok := strings.Cut(string(raw), ") "); !ok || state[0] != 'T' {
			return false
		}
	}
	return len(stats) > 0
}

// WaitReady returns when the server takes clients and its streams are in step with their leaders.
func (s *Server) WaitReady() {
	s.t.Helper()
	s.await("ready", func() bool {
		if !s.Running() {
			s.t.Fatalf("nats-server %s has ended:\n%s", s.name, tail(s.log.Name()))
		}
		return s.healthy() == nil
	})
}

func (s *Server) await(what string, holds func() bool) {
	s.t.Helper()
	await(s.t, s.name+": "+what, holds)
}

func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !holds(); time.Sleep(poll) {
		if time.Now().After(end) {
			t.Fatalf("natstest: not within %v: %s", Patience, what)
		}
	}
}

// Connect is a NATS client of this server that stays with it; closed at the end of the test.
func (s *Server) Connect(opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	return connect(s.t, s.URL(), opts)
}

func connect(t testing.TB, url string, opts []nats.Option) *nats.Conn {
	t.Helper()
	closed := make(chan struct{})
	opts = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, opts...)
	opts = append(opts, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		<-closed
	})
	return nc
}
