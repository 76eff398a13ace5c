package proxy

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"throng/server/channel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// backend is a real HTTP server that records what it is asked.
type backend struct {
	*httptest.Server
	mu       sync.Mutex
	requests []recorded
	answer   func(w http.ResponseWriter, r *http.Request)
}

type recorded struct {
	method, path, body string
	header             http.Header
}

func startBackend(t testing.TB, answer func(w http.ResponseWriter, r *http.Request)) *backend {
	t.Helper()
	b := &backend{answer: answer}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.requests = append(b.requests, recorded{r.Method, r.URL.Path, string(body), r.Header})
		b.mu.Unlock()
		b.answer(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

func says(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func (b *backend) last(t testing.TB) recorded {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		t.Fatal("nothing was asked")
	}
	return b.requests[len(b.requests)-1]
}

func (b *backend) asked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests)
}

// all points every hook to one endpoint.
func all(e EndpointConfig) Config {
	c := DefaultConfig()
	c.Connect, c.Refresh, c.Subscribe, c.SubRefresh, c.Publish, c.RPC = &e, &e, &e, &e, &e, &e
	return c
}

func start(t testing.TB, cfg Config, deps Deps) *Proxies {
	t.Helper()
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	p, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		p.Close(ctx)
	})
	return p
}

func do(p *Proxies, hook Hook, q *Request) *Result {
	if q.Proxy == "" {
		q.Proxy = DefaultName
	}
	r, _ := p.Do(context.Background(), hook, q)
	return r
}

// parse reads a proxy: section as main does.
func parse(t testing.TB, text string) (Config, error) {
	t.Helper()
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	if err := channel.Decode(&node, &cfg, "proxy"); err != nil {
		return cfg, err
	}
	return cfg, cfg.Check()
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
