package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"throng/bench/probe"
)

// Limits of a spawned server's life.
const (
	startTimeout = 30 * time.Second // until it listens
	stopTimeout  = 15 * time.Second // from SIGTERM to SIGKILL
	tailBytes    = 4 << 10          // of its output kept for error messages
)

// Server is a server process started for a run.
type Server struct {
	Addr    string // host:port of {addr}
	Admin   string // host:port of {admin}, "" if the command has none
	Command string

	words []string
	env   []string
	cpus  probe.CPUs
	cmd   *exec.Cmd
	dir   string // of {dir}, removed at the end
	tail  tail
	ended chan struct{}
	err   error
	once  sync.Once
}

// tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	p  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = append(t.p, p...)
	if over := len(t.p) - tailBytes; over > 0 {
		t.p = append(t.p[:0], t.p[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.p))
}

// FreePort returns a loopback port nobody listens on just now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return int(netip.MustParseAddrPort(l.Addr().String()).Port()), nil
}

// unlimited lets a Throng take all clients from this machine's few addresses; others do not know it.
const unlimited = "THRONG_ADDRESS_CONNECTIONS=0"

// StartServer runs the command line. {addr}, {port} and {admin} in it are replaced
// by free loopback addresses, {dir} by a fresh directory; it is split at spaces (quotes keep words together),
// run without a shell, pinned to cpus, and ready when {addr} accepts.
func StartServer(ctx context.Context, line string, cpus probe.CPUs, env ...string) (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: "127.0.0.1:" + strconv.Itoa(port)}
	fill := []string{"{addr}", s.Addr, "{port}", strconv.Itoa(port)}
	if strings.Contains(line, "{admin}") {
		admin, err := FreePort()
		if err != nil {
			return nil, err
		}
		s.Admin = "127.0.0.1:" + strconv.Itoa(admin)
		fill = append(fill, "{admin}", s.Admin)
	}
	if strings.Contains(line, "{dir}") {
		if s.dir, err = os.MkdirTemp("", "bench-server-"); err != nil {
			return nil, err
		}
		fill = append(fill, "{dir}", s.dir)
	}
	if s.words, err = splitWords(strings.NewReplacer(fill...).Replace(line)); err != nil {
		return nil, err
	}
	s.Command, s.cpus = strings.Join(s.words, " "), cpus
	s.env = append(append(os.Environ(), unlimited), env...)
	if err := s.launch(); err != nil {
		return nil, errors.Join(err, s.clean())
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) launch() error {
	s.cmd = exec.Command(s.words[0], s.words[1:]...)
	s.cmd.Env = s.env
	s.cmd.Stdout, s.cmd.Stderr = &s.tail, &s.tail
	s.cmd.WaitDelay = time.Second                           // a grandchild may hold the output open
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	if err := s.cpus.Start(s.cmd); err != nil {
		return fmt.Errorf("start %q: %w", s.Command, err)
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() { s.err = cmd.Wait(); close(ended) }()
	return nil
}

// Kill ends the server's process group at once, as a crash would, and waits for it.
func (s *Server) Kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // of our own making, see Setpgid
	<-s.ended
}

// Again starts the server anew after Kill, with the same addresses and directory, and returns when it listens.
func (s *Server) Again(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	return s.await(ctx)
}

// await returns when the server accepts connections.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", s.Addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.ended:
			return fmt.Errorf("%q ended before it listened on %s: %w\n%s", s.Command, s.Addr, s.err, s.tail.String())
		case <-ctx.Done():
			return fmt.Errorf("%q does not listen on %s: %w\n%s", s.Command, s.Addr, context.Cause(ctx), s.tail.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// PIDs returns all processes of the server: a script may have started several.
func (s *Server) PIDs() []int {
	if pids := probe.Group(s.cmd.Process.Pid); len(pids) > 0 {
		return pids
	}
	return []int{s.cmd.Process.Pid}
}

// PID of the process that was started.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop asks the server's process group to end, waits, and kills it if it does not.
func (s *Server) Stop() (err error) {
	s.once.Do(func() {
		group := -s.cmd.Process.Pid // of our own making, see Setpgid
		_ = syscall.Kill(group, syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(stopTimeout):
			_ = syscall.Kill(group, syscall.SIGKILL)
			<-s.ended
		}
		err = s.clean()
	})
	return err
}

func (s *Server) clean() error {
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// Interrupt sends SIGINT, which ends a profiling session in order.
func (s *Server) Interrupt() error { return syscall.Kill(s.cmd.Process.Pid, syscall.SIGINT) }

// Wait blocks until the server ended or ctx is over.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Output returns the end of what the server printed.
func (s *Server) Output() string { return s.tail.String() }

// splitWords splits at blanks; single or double quotes keep them.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inside := false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inside = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inside {
				words = append(words, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("command %q: a quote is not closed", line)
	}
	if inside {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, errors.New("the server's command is empty")
	}
	return words, nil
}

// Knock makes one TCP connection to each target, so that a target that is down
// ends the run before 10,000 connections find it out.
func Knock(ctx context.Context, targets []string, timeout time.Duration) error {
	for _, t := range targets {
		addr, err := hostPort(t)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("target %s: %w", t, err)
		}
		_ = conn.Close()
	}
	return nil
}

func hostPort(target string) (string, error) {
	u, err := url.Parse(strings.ReplaceAll(target, "{channel}", "c"))
	if err != nil {
		return "", fmt.Errorf("target %q is no URL: %w", target, err)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "http": "80", "wss": "443", "https": "443"}[u.Scheme]
	}
	if port == "" || u.Hostname() == "" {
		return "", fmt.Errorf("target %q: want ws://host:port/path", target)
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// localPIDs finds the processes behind loopback targets.
func localPIDs(targets []string) []int {
	var out []int
	seen := map[int]bool{}
	for _, t := range targets {
		addr, err := hostPort(t)
		if err != nil {
			continue
		}
		ap, err := netip.ParseAddrPort(addr)
		if err != nil || !ap.Addr().IsLoopback() {
			continue
		}
		pids, _ := probe.Listeners(ap.Port())
		for _, pid := range pids {
			if !seen[pid] {
				seen[pid] = true
				out = append(out, pid)
			}
		}
	}
	return out
}
