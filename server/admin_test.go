package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// admin starts an admin listener on a free port and returns its address.
func admin(t *testing.T, live, ready []check) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := startAdmin(adminConfig{
		NodeID: "1111", Live: live, Ready: ready,
		Registry: testMetrics(Snapshot{Ready: true}).registry, Log: slog.New(slog.DiscardHandler),
	}, listener)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		a.Close(t.Context()) // harmless
	})
	return "http://" + listener.Addr().String()
}

// ask returns the status and body of one request.
func ask(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func TestReadinessFollowsItsChecksAndNamesReasons(t *testing.T) {
	var away atomic.Bool
	base := admin(t, nil, []check{
		{"nats", func() error {
			if away.Load() {
				return errors.New("no server answers, \"retrying\"")
			}
			return nil
		}},
		{"drain", func() error { return nil }},
	})
	for _, step := range []struct {
		away   bool
		status int
		want   health
	}{
		{false, 200, health{"ready", map[string]string{"nats": "ok", "drain": "ok"}}},
		{true, 503, health{"not ready", map[string]string{"nats": "no server answers, \"retrying\"", "drain": "ok"}}},
		{false, 200, health{"ready", map[string]string{"nats": "ok", "drain": "ok"}}},
	} {
		away.Store(step.away)
		answer, body := ask(t, "GET", base+"/readyz")
		var got health
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if answer.StatusCode != step.status || got.Status != step.want.Status ||
			got.Checks["nats"] != step.want.Checks["nats"] || got.Checks["drain"] != step.want.Checks["drain"] {
			t.Errorf("away %v: %d %s", step.away, answer.StatusCode, body)
		}
		if live, _ := ask(t, "GET", base+"/livez"); live.StatusCode != 200 {
			t.Errorf("away %v: not live, %d", step.away, live.StatusCode)
		}
	}
}

func TestLivenessHasChecksOfItsOwn(t *testing.T) {
	base := admin(t, []check{{"hub", func() error { return errors.New("a shard hangs") }}}, nil)
	answer, body := ask(t, "GET", base+"/livez")
	if answer.StatusCode != 503 || body != `{"status":"not live","checks":{"hub":"a shard hangs"}}`+"\n" {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if answer, _ := ask(t, "GET", base+"/readyz"); answer.StatusCode != 200 {
		t.Errorf("readyz %d", answer.StatusCode)
	}
}

func TestAdminPagesAnswer(t *testing.T) {
	base := admin(t, nil, nil)
	for _, page := range []struct{ path, kind, want string }{
		{"/", "text/plain", "throng node 1111"},
		{"/", "text/plain", "/readyz"},
		{"/livez", "application/json", `"status":"live"`},
		{"/metrics", "text/plain", "throng_node_ready 1"},
		{"/metrics", "text/plain", "go_goroutines"},
		{"/metrics", "text/plain", "promhttp_metric_handler_errors_total"},
		{"/debug/pprof/", "text/html", "goroutine"},
		{"/debug/pprof/goroutine?debug=1", "text/plain", "goroutine profile:"},
		{"/debug/pprof/heap", "application/octet-stream", ""},
		{"/debug/pprof/symbol", "text/plain", "num_symbols"},
		{"/debug/pprof/cmdline", "text/plain", os.Args[0]},
	} {
		answer, body := ask(t, "GET", base+page.path)
		if answer.StatusCode != 200 || !strings.HasPrefix(answer.Header.Get("Content-Type"), page.kind) || !strings.Contains(body, page.want) {
			t.Errorf("%s: %d %s %.200q", page.path, answer.StatusCode, answer.Header.Get("Content-Type"), body)
		}
		if answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", page.path, answer.Header)
		}
	}
}

func TestCommandLineIsNotShown(t *testing.T) {
	base := admin(t, nil, nil)
	if _, body := ask(t, "GET", base+"/debug/pprof/cmdline"); body != os.Args[0] {
		t.Errorf("%q", body)
	}
}

func TestAdminRefusesWhatItDoesNotOffer(t *testing.T) {
	base := admin(t, nil, nil)
	for _, q := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/nothing", 404}, {"GET", "/livez/", 404}, {"GET", "/debug/pprof/nothing", 404}, {"GET", "/debug/vars", 404},
		{"POST", "/readyz", 405}, {"DELETE", "/metrics", 405}, {"POST", "/", 405}, {"HEAD", "/readyz", 200},
	} {
		if answer, _ := ask(t, q.method, base+q.path); answer.StatusCode != q.want {
			t.Errorf("%s %s: %d, want %d", q.method, q.path, answer.StatusCode, q.want)
		}
	}
}

func TestProfilesMayLastLongerThanTheWriteTimeout(t *testing.T) {
	c := adminConfig{Registry: testMetrics(Snapshot{}).registry, Log: slog.New(slog.DiscardHandler)}
	a := startAdmin(c, mustListen(t))
	defer a.Close(t.Context())
	// The client is gone already, so the trace ends at once; a duration that does not fit is refused before it starts.
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), http.ServerContextKey, a.http))
	cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/debug/pprof/trace?seconds=3600", nil)
	w := httptest.NewRecorder()
	a.http.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestSilentAdminClientsAreCut(t *testing.T) {
	a := startAdmin(adminConfig{Registry: testMetrics(Snapshot{}).registry, Log: slog.New(slog.DiscardHandler)}, mustListen(t))
	defer a.Close(t.Context())
	for name, timeout := range map[string]time.Duration{
		"header": a.http.ReadHeaderTimeout, "read": a.http.ReadTimeout, "write": a.http.WriteTimeout, "idle": a.http.IdleTimeout,
	} {
		if timeout <= 0 {
			t.Errorf("no %s timeout", name)
		}
	}
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func TestAdminCloseCutsWhatOutlastsItsContext(t *testing.T) {
	listener := mustListen(t)
	asked := make(chan struct{})
	release := make(chan struct{})
	a := startAdmin(adminConfig{
		Registry: testMetrics(Snapshot{}).registry, Log: slog.New(slog.DiscardHandler),
		Ready: []check{{"stuck", func() error { close(asked); <-release; return nil }}},
	}, listener)
	answered := make(chan error, 1)
	go func() {
		answer, err := http.Get("http://" + listener.Addr().String() + "/readyz")
		if err == nil {
			answer.Body.Close()
		}
		answered <- err
	}()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-answered; err == nil {
		t.Error("the request was answered after Close")
	}
	close(release)
}

func TestListenerThatFailsIsReported(t *testing.T) {
	listener := mustListen(t)
	a := startAdmin(adminConfig{Registry: testMetrics(Snapshot{}).registry, Log: slog.New(slog.DiscardHandler)}, listener)
	listener.Close()
	<-a.done
	if err := a.Close(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}
