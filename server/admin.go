package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of the admin listener. Its callers are probes, a scraper and an operator: few, and slow only when broken.
const (
	adminHeaderTimeout = 5 * time.Second
	adminReadTimeout   = 10 * time.Second
	adminWriteTimeout  = 30 * time.Second // a profile's seconds come on top, pprof extends it by itself
	adminIdleTimeout   = 2 * time.Minute  // longer than the usual scrape interval, so that connections are reused
	adminHeaderBytes   = 16 << 10
	adminScrapes       = 4 // at once; each walks all counters
)

// check is one named condition of health: nil when it holds, else why it does not. Checks run on each
// request to /livez or /readyz, on its goroutine, so they must be quick and safe for concurrent use.
type check struct {
	name string
	run  func() error
}

// adminConfig says what the admin listener shows.
type adminConfig struct {
	NodeID   string
	Live     []check // a failure means that only a restart helps
	Ready    []check // a failure means: send no new clients here (NATS away, draining)
	Degraded []check // a failure means: somebody should look, but clients are served (no history)
	Registry *prometheus.Registry
	Log      *slog.Logger
	API      http.Handler // of /api and below; nil = none
}

// adminServer is the second listener: health, metrics and profiles, kept off the public port because they
// tell too much and cost too much.
type adminServer struct {
	http *http.Server
	done chan struct{}
	err  error // of Serve; read it after done
	once sync.Once
}

// startAdmin serves on listener, which it takes over, in a goroutine of its own until Close.
func startAdmin(c adminConfig, listener net.Listener) *adminServer {
	a := &adminServer{
		done: make(chan struct{}),
		http: &http.Server{
			Handler:           adminHandler(c),
			ReadHeaderTimeout: adminHeaderTimeout,
			ReadTimeout:       adminReadTimeout,
			WriteTimeout:      adminWriteTimeout,
			IdleTimeout:       adminIdleTimeout,
			MaxHeaderBytes:    adminHeaderBytes,
			ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		},
	}
	go func() {
		defer close(a.done)
		if err := a.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.err = err
			c.Log.Error("admin listener failed", "error", err)
		}
	}()
	return a
}

// Close stops the listener, lets requests under way finish until ctx ends, then cuts them, and returns why
// the listener had failed before, if it had. It belongs last in a drain, so that probes and scrapes see the
// drain. Idempotent.
func (a *adminServer) Close(ctx context.Context) error {
	a.once.Do(func() {
		if a.http.Shutdown(ctx) != nil {
			a.http.Close()
		}
	})
	<-a.done
	return a.err
}

// adminPages is the index, in the order shown.
var adminPages = []struct{ path, what string }{
	{"/livez", "is the process working"},
	{"/readyz", "should it get new clients"},
	{"/metrics", "Prometheus metrics"},
	{"/debug/pprof/", "profiles"},
}

func adminHandler(c adminConfig) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeAdminIndex(w, c.NodeID)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, "live", "not live", c.Live, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, "ready", "not ready", c.Ready, c.Degraded)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		Registry:            c.Registry,
		MaxRequestsInFlight: adminScrapes,
		EnableOpenMetrics:   true,
	}))
	if c.API != nil {
		mux.Handle("/api", c.API)
		mux.Handle("/api/", c.API)
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	// The program's name only: the whole command line may carry a password (--nats-url).
	mux.HandleFunc("GET /debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		writePlain(w, os.Args[0])
	})
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol) // as go tool pprof asks
	return noStore(mux)
}

// noStore keeps answers out of caches and browsers from guessing their type.
func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

func writePlain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, text)
}

func writeAdminIndex(w http.ResponseWriter, node string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "throng node %s\n\n", node)
	for _, p := range adminPages {
		fmt.Fprintf(w, "%-15s %s\n", p.path, p.what)
	}
}

// health is the body of /livez and /readyz.
type health struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"` // "ok", or why not
}

// writeHealth answers 200 when all checks hold, else 503, with the reason of each either way. With only lesser ones broken it is
// 200 and "degraded": a node that cannot keep history serves everything else, and so would no other node do better.
func writeHealth(w http.ResponseWriter, good, bad string, checks, lesser []check) {
	h := health{Status: good, Checks: map[string]string{}}
	status := http.StatusOK
	for _, c := range lesser {
		h.Checks[c.name] = "ok"
		if err := c.run(); err != nil {
			h.Checks[c.name], h.Status = err.Error(), "degraded"
		}
	}
	for _, c := range checks {
		h.Checks[c.name] = "ok"
		if err := c.run(); err != nil {
			h.Checks[c.name] = err.Error()
			h.Status, status = bad, http.StatusServiceUnavailable
		}
	}
	body, err := json.Marshal(h)
	if err != nil {
		panic(err) // ours: strings always marshal
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
