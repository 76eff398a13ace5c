package faults

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := 0
	goleak.VerifyTestMain(run{m, &code})
}

// run removes what binary made.
type run struct {
	m    *testing.M
	code *int
}

// Run implements goleak.TestingM.
func (r run) Run() int {
	code := r.m.Run()
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
	return code
}

// patience turns what never happens into a failure; nothing passes or fails by how long it takes, but where reliability.md
// says how long it may.
const patience = 60 * time.Second

// long is whether to run the long forms.
var long = os.Getenv("THRONG_FAULTS") == "long"

// pick chooses between the two forms.
func pick[T any](shortForm, longForm T) T {
	if long {
		return longForm
	}
	return shortForm
}

var (
	dir  string
	once sync.Once
	made error
)

// binary is the program that people run, built once.
func binary(t testing.TB) string {
	t.Helper()
	once.Do(func() {
		if dir, made = os.MkdirTemp("", "throng-faults-"); made != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "throng"), "throng/server").CombinedOutput()
		if err != nil {
			made = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if made != nil {
		t.Fatal(made)
	}
	return filepath.Join(dir, "throng")
}

// config is that of every node, with the size of the history, its replicas and its storage.
const config = `
insecure: true
http_api:
  key: ` + apiKey + `
channel:
  namespaces:
    - name: rec
      history_size: %d
      history_ttl: 10m
      history_meta_ttl: 1h
      force_recovery: true
      history_replicas: %d
      history_storage: %s
    - name: live
`

// node is one Throng process.
type node struct {
	t        testing.TB
	id       string
	addr     string
	admin    string
	cmd      *exec.Cmd
	out, log buffer
	ended    chan struct{}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// setting is what tests vary.
type setting struct {
	size, replicas int
	storage        string
	args           []string
}

func startNode(t testing.TB, id, natsURL string, s setting) *node {
	t.Helper()
	if s.size == 0 {
		s.size = 1000
	}
	if s.replicas == 0 {
		s.replicas = 1
	}
	if s.storage == "" {
		s.storage = "file"
	}
	file := filepath.Join(t.TempDir(), "throng.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, s.size, s.replicas, s.storage), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--config=" + file, "--node-id=" + id, "--nats-url=" + natsURL, "--addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0",
		"--ping-interval=5s", "--pong-timeout=4s", "--drain-window=100ms", "--accept-rate=0", "--address-connections=0"}, s.args...)
	n := &node{t: t, id: id, cmd: exec.Command(binary(t), args...), ended: make(chan struct{})}
	n.cmd.Stdout, n.cmd.Stderr = &n.out, &n.log
	n.cmd.Env = []string{"HOME=" + t.TempDir()}
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.cmd.Wait(); close(n.ended) }()
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			log := n.log.String()
			t.Logf("log of node %s:\n%s", id, log[max(0, len(log)-6000):])
		}
	})
	n.greeted()
	n.awaitReady()
	return n
}

// kill is kill -9; nothing if it is gone already.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.ended
}

var greeting = regexp.MustCompile(`chat    http://(\S+)/\n(?s:.*)admin   (http://\S+)/\n`)

func (n *node) greeted() {
	n.t.Helper()
	await(n.t, "greeting of "+n.id, func() bool {
		select {
		case <-n.ended:
			n.t.Fatalf("node %s has ended:\n%s%s", n.id, n.out.String(), n.log.String())
		default:
		}
		m := greeting.FindStringSubmatch(n.out.String())
		if m != nil {
			n.addr, n.admin = m[1], m[2]
		}
		return m != nil
	})
}

// awaitReady waits until /readyz has nothing to complain of.
func (n *node) awaitReady() {
	n.t.Helper()
	await(n.t, n.id+" is ready", func() bool {
		status, _ := n.get("/readyz")
		return status == http.StatusOK
	})
}

func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

func (n *node) get(path string) (status int, body string) {
	answer, err := plain.Get(n.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(raw)
}

// metric is one sample of /metrics; 0 when there is none.
func (n *node) metric(series string) float64 {
	n.t.Helper()
	status, body := n.get("/metrics")
	if status != http.StatusOK {
		n.t.Fatalf("/metrics of %s: %d", n.id, status)
	}
	for line := range strings.Lines(body) {
		rest, is := strings.CutPrefix(line, series+" ")
		if !is {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		if err != nil {
			n.t.Fatalf("metric %s: %v", series, err)
		}
		return value
	}
	return 0
}
