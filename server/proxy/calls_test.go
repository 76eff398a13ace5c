package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"throng/server/channel"
)

func TestFailuresAreToldApart(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	b := startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/cut":
			conn, _, _ := http.NewResponseController(w).Hijack()
			conn.Close()
		case "/short":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"result":`))
		case "/long":
			_, _ = w.Write([]byte(`{"result":{"data":"` + strings.Repeat("x", 2000) + `"}}`))
		case "/fits":
			_, _ = w.Write([]byte(`{"result":{"data":"x"}}` + strings.Repeat(" ", 1000-23)))
		}
	})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for endpoint, want := range map[string]Reason{
		b.URL + "/hang": ReasonTimeout, b.URL + "/cut": ReasonUnreachable, b.URL + "/short": ReasonUnreachable,
		b.URL + "/long": ReasonOversize, b.URL + "/fits": ReasonOK, "http://" + free.Addr().String(): ReasonUnreachable,
	} {
		cfg := EndpointConfig{Endpoint: endpoint, MaxBodyBytes: 1000, Timeout: patience}
		if want == ReasonTimeout {
			cfg.Timeout = 20 * time.Millisecond
		}
		p := start(t, all(cfg), Deps{})
		r, err := p.Do(context.Background(), RPC, &Request{Proxy: DefaultName, Protocol: "json"})
		if r.Reason != want || (err != nil) != (want != ReasonOK) {
			t.Errorf("%s: %v, %v", endpoint, r.Reason, err)
		}
		if want != ReasonOK && (r.Code != channel.Internal || !r.Temporary) {
			t.Errorf("%s: the client is told %d %v", endpoint, r.Code, r.Temporary)
		}
		if got := p.Stats().Done[RPC][want]; got != 1 {
			t.Errorf("%s: %d counted", endpoint, got)
		}
	}
}

// results gathers what done is told.
type results struct {
	mu  sync.Mutex
	all []*Result
}

func (r *results) done(one *Result) {
	r.mu.Lock()
	r.all = append(r.all, one)
	r.mu.Unlock()
}

func (r *results) count(reason Reason) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.all {
		if one.Reason == reason {
			n++
		}
	}
	return n
}

func TestConcurrencyAndQueueAreBoundedPerEndpoint(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	slow := startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		<-release
		now.Add(-1)
		_, _ = w.Write([]byte(`{"result":{}}`))
	})
	quick := startBackend(t, says(`{"result":{}}`))
	cfg := all(EndpointConfig{Endpoint: slow.URL, MaxConcurrent: 3, QueueLength: 5, Timeout: patience, QueueTimeout: patience})
	cfg.Named = []NamedConfig{{Name: "quick", EndpointConfig: EndpointConfig{Endpoint: quick.URL}}}
	p := start(t, cfg, Deps{})
	var got results
	for range 10 {
		p.Call(Subscribe, &Request{Proxy: DefaultName}, got.done)
	}
	until(t, "two are told busy", func() bool { return got.count(ReasonBusy) == 2 })
	until(t, "three under way", func() bool { return slow.asked() == 3 })
	if s := p.Stats(); s.Running != 3 || s.Waiting != 5 {
		t.Errorf("%+v", s)
	}
	p.Call(Subscribe, &Request{Proxy: "quick"}, got.done)
	until(t, "the other endpoint is not held up", func() bool { return got.count(ReasonOK) == 1 })
	close(release)
	until(t, "all done", func() bool { return got.count(ReasonOK) == 9 })
	if most.Load() != 3 {
		t.Errorf("%d calls at once", most.Load())
	}
	for _, r := range got.all {
		if r.Reason == ReasonBusy && (r.Code != channel.Internal || !r.Temporary || r.Outcome != Failed) {
			t.Errorf("busy: %+v", r)
		}
	}
	until(t, "idle", func() bool { s := p.Stats(); return s.Running == 0 && s.Waiting == 0 })
}

func TestWaitingTooLongIsNotAsked(t *testing.T) {
	release := make(chan struct{})
	b := startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write([]byte(`{"result":{}}`))
	})
	p := start(t, all(EndpointConfig{Endpoint: b.URL, MaxConcurrent: 1, QueueTimeout: time.Nanosecond, Timeout: patience}), Deps{})
	var got results
	p.Call(Publish, &Request{Proxy: DefaultName}, got.done)
	p.Call(Publish, &Request{Proxy: DefaultName}, got.done)
	gone := &Request{Proxy: DefaultName, Gone: func() bool { return true }}
	p.Call(Publish, gone, func(*Result) { t.Error("told a client that had left") })
	until(t, "one under way", func() bool { return b.asked() == 1 })
	close(release)
	until(t, "both answered", func() bool { return got.count(ReasonOK) == 1 && got.count(ReasonQueueTimeout) == 1 })
	until(t, "the third dropped", func() bool { return p.Stats().Done[Publish][ReasonGone] == 1 })
	if b.asked() != 1 {
		t.Errorf("%d asked", b.asked())
	}
}

func TestCallNeverRunsDoneOnItsCaller(t *testing.T) {
	b := startBackend(t, says(`{"result":{}}`))
	p := start(t, all(EndpointConfig{Endpoint: b.URL, MaxConcurrent: 1, QueueLength: 1}), Deps{})
	var lock sync.Mutex // as a session's, held while it calls
	var wg sync.WaitGroup
	lock.Lock()
	for _, q := range []*Request{{Proxy: DefaultName}, {Proxy: DefaultName}, {Proxy: DefaultName}, {Proxy: "nobody"}, {Subject: "svc.x"}} {
		wg.Add(1)
		p.Call(RPC, q, func(r *Result) {
			lock.Lock()
			defer lock.Unlock()
			wg.Done()
		})
	}
	lock.Unlock()
	wg.Wait()
	if s := p.Stats().Done[RPC]; s[ReasonNoService] != 2 {
		t.Errorf("%v", s)
	}
}

func TestCloseWaitsAndThenCuts(t *testing.T) {
	entered := make(chan struct{}, 2)
	release := make(chan struct{})
	b := startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte(`{"result":{}}`))
	})
	for _, cut := range []bool{false, true} {
		p := start(t, all(EndpointConfig{Endpoint: b.URL, MaxConcurrent: 1, Timeout: patience, QueueTimeout: patience}), Deps{})
		var got results
		p.Call(Connect, &Request{}, got.done)
		p.Call(Connect, &Request{}, got.done)
		<-entered
		ctx, cancel := context.WithCancel(context.Background())
		if cut {
			cancel()
		} else {
			go func() { release <- struct{}{}; <-entered; release <- struct{}{} }()
		}
		p.Close(ctx)
		cancel()
		want := ReasonDisconnect // what an empty connect result means
		if cut {
			want = ReasonClosed
		}
		if n := got.count(want); n != 2 {
			t.Errorf("cut %v: %d of 2 answered when Close returned: %+v", cut, n, p.Stats())
		}
		p.Call(Connect, &Request{}, got.done)
		until(t, "refused after Close", func() bool { return got.count(ReasonClosed) >= 1 })
	}
}

func TestAskWaitsWithinTheBounds(t *testing.T) {
	release := make(chan struct{})
	b := startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte(`{"result":{"expire_at":5}}`))
	})
	p := start(t, all(EndpointConfig{Endpoint: b.URL, MaxConcurrent: 1, QueueLength: 1, Timeout: patience, QueueTimeout: patience}), Deps{})
	type answer struct {
		r   *Result
		err error
	}
	answers := make(chan answer, 2)
	for range 2 {
		go func() {
			r, err := p.Ask(context.Background(), Refresh, &Request{})
			answers <- answer{r, err}
		}()
	}
	until(t, "one under way, one waiting", func() bool { s := p.Stats(); return s.Running == 1 && s.Waiting == 1 })
	if r, err := p.Ask(context.Background(), Refresh, &Request{}); err == nil || r.Reason != ReasonBusy || r.RetryAfter == 0 {
		t.Errorf("third: %+v", r)
	}
	close(release)
	for range 2 {
		if a := <-answers; a.err != nil || a.r.ExpireAt != 5 {
			t.Errorf("%+v", a.r)
		}
	}
	release = make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if r, err := p.Ask(ctx, Refresh, &Request{}); !errors.Is(err, context.DeadlineExceeded) || r.Outcome != Failed || r.RetryAfter == 0 {
		t.Errorf("%+v", r)
	}
	until(t, "the call was cut", func() bool { return p.Stats().Running == 0 })
}

func TestConnectionsAreReused(t *testing.T) {
	b := startBackend(t, says(`{"result":{}}`))
	p := start(t, all(EndpointConfig{Endpoint: b.URL}), Deps{})
	fresh := 0
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			fresh++
		}
	}})
	for range 20 {
		if _, err := p.Do(ctx, RPC, &Request{Proxy: DefaultName}); err != nil {
			t.Fatal(err)
		}
	}
	if fresh != 1 {
		t.Errorf("%d connections for 20 calls", fresh)
	}
}

// fakeService is a NATS service's stand-in; the real one is tried in service_test.go.
type fakeService func(ctx context.Context, subject string, data []byte, header map[string]string) ([]byte, error)

func (f fakeService) Request(ctx context.Context, subject string, data []byte, header map[string]string) ([]byte, error) {
	return f(ctx, subject, data, header)
}

func TestServiceErrorsAreMapped(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Service.Timeout = 20 * time.Millisecond
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "ok 0"},
		{ErrNoService, "no_service 104"},
		{fmt.Errorf("x: %w", ErrUnsendable), "bad_request 107"},
		{&ServiceError{Code: 404, Text: "not found"}, "error 404 not found"},
		{&ServiceError{Code: 5000, Text: "x"}, "malformed 100"},
		{&ServiceError{Text: "x"}, "malformed 100"},
		{errors.New("link down"), "unreachable 100"},
		{context.DeadlineExceeded, "timeout 100"},
	} {
		p := start(t, cfg, Deps{Service: fakeService(func(ctx context.Context, subject string, data []byte, h map[string]string) ([]byte, error) {
			if c.err == context.DeadlineExceeded {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []byte("{\"to\": \"" + subject + h[UserHeader] + h[ClientHeader] + string(data) + "\"}"), c.err
		})})
		r := do(p, RPC, &Request{Subject: "svc.a", Protocol: "json", User: "u", Client: "c", Data: []byte("d")})
		got := fmt.Sprintf("%v %d", r.Reason, r.Code)
		if r.Outcome == Refused {
			got += " " + r.Message
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
		if c.err == nil && string(r.Data) != `{"to":"svc.aucd"}` {
			t.Errorf("data %s", r.Data)
		}
	}
	p := start(t, cfg, Deps{Service: fakeService(func(context.Context, string, []byte, map[string]string) ([]byte, error) { return []byte("plain"), nil })})
	if r := do(p, RPC, &Request{Subject: "svc.a", Protocol: "json"}); r.Reason != ReasonMalformed {
		t.Errorf("text for a JSON client: %+v", r)
	}
	if r := do(p, RPC, &Request{Subject: "svc.a", Protocol: "protobuf"}); string(r.Data) != "plain" {
		t.Errorf("text for a Protobuf client: %+v", r)
	}
	if r := do(start(t, cfg, Deps{}), RPC, &Request{Subject: "svc.a"}); r.Code != channel.NotAvailable {
		t.Errorf("no services at all: %+v", r)
	}
}

func BenchmarkDo(b *testing.B) {
	backend := startBackend(b, nil)
	backend.answer = says(`{"result":{"user":"42"}}`)
	p := start(b, all(EndpointConfig{Endpoint: backend.URL}), Deps{})
	b.ReportAllocs()
	for b.Loop() {
		if r, err := p.Do(context.Background(), Connect, &Request{Client: "c", Transport: "websocket", Protocol: "json"}); err != nil || r.User != "42" {
			b.Fatal(err)
		}
	}
}
