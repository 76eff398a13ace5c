package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests of whole nodes run the real run() with real sockets and a real NATS server. No test passes or fails by how
// long something takes: patience only turns what never happens into a failure.
const patience = 40 * time.Second

// await returns when ok does, and fails when it never does.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// buffer is what a node writes, read while it writes.
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

// plainHTTP keeps no connection, so that none is left to look like a leak.
var plainHTTP = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   patience,
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

// get returns the status and body of a page, 0 when there is no answer.
func get(url string) (status int, body string) {
	answer, err := plainHTTP.Get(url)
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

// place is where a node can be reached, as its greeting says.
type place struct {
	t     testing.TB
	id    string
	addr  string // public host:port
	admin string // URL without a slash at its end
	nats  string // URL, empty when it is not reachable
}

var greetingLines = regexp.MustCompile(`Throng node (\S+)\n  chat    http://(\S+)/\n  socket  \S+\n  sdk     \S+\n(?:  rooms   \S+\n)?(?:  admin   (http://\S+)/\n)?  nats    (?:embedded[,;] )?(\S+)`)

// readGreeting returns false while text is not a whole greeting.
func (p *place) readGreeting(text string) bool {
	m := greetingLines.FindStringSubmatch(text)
	if m == nil || !strings.HasSuffix(text, "\n") {
		return false
	}
	p.id, p.addr, p.admin = m[1], m[2], m[3]
	if strings.HasPrefix(m[4], "nats://") {
		p.nats = m[4]
	}
	return true
}

// metric returns one sample of /metrics, named as it stands there, labels included; 0 when there is none.
func (p *place) metric(series string) float64 {
	p.t.Helper()
	status, body := get(p.admin + "/metrics")
	if status != http.StatusOK {
		p.t.Fatalf("/metrics of %s: %d %s", p.id, status, body)
	}
	return sample(p.t, body, series)
}

func sample(t testing.TB, body, series string) float64 {
	t.Helper()
	for line := range strings.Lines(body) {
		rest, is := strings.CutPrefix(line, series+" ")
		if !is {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		if err != nil {
			t.Fatalf("metric %s: %v", series, err)
		}
		return value
	}
	return 0
}

// awaitMetric waits until a sample is at least least.
func (p *place) awaitMetric(series string, least float64) {
	p.t.Helper()
	var got float64
	end := time.Now().Add(patience)
	for got = p.metric(series); got < least; got = p.metric(series) {
		if time.Now().After(end) {
			p.t.Fatalf("%s of %s is %v, want at least %v", series, p.id, got, least)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// awaitReady waits until /readyz says 200, or 503 with why in its body.
func (p *place) awaitReady(status int, why string) {
	p.t.Helper()
	await(p.t, "readyz of "+p.id+" is "+strconv.Itoa(status)+" "+why, func() bool {
		got, body := get(p.admin + "/readyz")
		return got == status && strings.Contains(body, why)
	})
}

// testNode is a node in this process.
type testNode struct {
	place
	out, log buffer
	cancel   context.CancelFunc
	ended    chan struct{}
	err      error // of run; read it after ended
}

// startTestNode runs a node on free ports, with an embedded NATS server unless args say otherwise, and returns once
// it greets. It is drained when t ends, which must succeed.
func startTestNode(t testing.TB, id string, args ...string) *testNode {
	t.Helper()
	n := launch(t, id, args...)
	await(t, "greeting of "+id, func() bool {
		select {
		case <-n.ended:
			t.Fatalf("node %s ended instead of serving: %v\n%s", id, n.err, n.log.String())
		default:
		}
		return n.readGreeting(n.out.String())
	})
	return n
}

// launch is startTestNode that does not wait for the greeting.
func launch(t testing.TB, id string, args ...string) *testNode {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := &testNode{place: place{t: t, id: id}, cancel: cancel, ended: make(chan struct{})}
	args = append([]string{
		"--node-id=" + id, "--addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--data-dir=" + t.TempDir(), "--drain-window=0",
	}, args...)
	go func() {
		defer close(n.ended)
		n.err = run(ctx, args, environment(nil), output{&n.out, &n.log})
	}()
	t.Cleanup(func() {
		n.stop()
		if n.err != nil {
			t.Errorf("node %s ended with %v", id, n.err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", id, n.log.String())
		}
	})
	return n
}

// stop drains the node and waits until it has ended; what run returned is in err.
func (n *testNode) stop() {
	n.cancel()
	<-n.ended
}

// startFails runs a node that must not start and returns what main would print.
func startFails(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // should it start all the same, it ends at once
	var out, log buffer
	args = append([]string{"--node-id=failing", "--addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--data-dir=" + t.TempDir()}, args...)
	err := run(ctx, args, environment(nil), output{&out, &log})
	if err == nil {
		t.Fatalf("started with %q:\n%s", args, out.String())
	}
	if out.String() != "" {
		t.Errorf("greets although it failed: %s", out.String())
	}
	return errorText(err)
}
