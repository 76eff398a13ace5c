package broker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"throng/broker"
)

// outcome collects what Done is told.
type outcome struct {
	mu  sync.Mutex
	got []broker.Stored
}

func (o *outcome) done(r broker.Stored) {
	o.mu.Lock()
	o.got = append(o.got, r)
	o.mu.Unlock()
}

func (o *outcome) all() []broker.Stored {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

// awaitStreams waits until every stream is ready.
func awaitStreams(t testing.TB, n *broker.NATS, s *broker.Streams) {
	t.Helper()
	eventually(t, "streams ready", n, func() bool {
		for _, st := range s.Status() {
			if !st.Ready {
				return false
			}
		}
		return true
	})
}

// historyOf is the configuration most tests use.
func historyOf(namespace string) broker.StreamConfig {
	return broker.StreamConfig{Namespace: namespace, Size: 10, MaxAge: time.Hour}
}

func startStreams(t testing.TB, n *broker.NATS, cfg broker.StreamsConfig) *broker.Streams {
	t.Helper()
	if cfg.RetryMin == 0 {
		cfg.RetryMin, cfg.RetryMax = 5*time.Millisecond, 100*time.Millisecond
	}
	s, err := n.Streams(cfg)
	if err != nil {
		t.Fatal(err)
	}
	awaitStreams(t, n, s)
	return s
}

// streamNode is a node on a server of its own, with one stream for "chat".
func streamNode(t testing.TB, cfg broker.StreamsConfig, h broker.Handler) (*natsServer, *broker.NATS, *broker.Streams) {
	t.Helper()
	srv := startServer(t, "127.0.0.1:0")
	if h == nil {
		h = func(broker.Message) {}
	}
	n := connect(t, broker.Config{Server: srv}, h)
	if cfg.Streams == nil {
		cfg.Streams = []broker.StreamConfig{historyOf("chat")}
	}
	return srv, n, startStreams(t, n, cfg)
}

// store stores one publication and waits for its outcome.
func store(t testing.TB, s *broker.Streams, p broker.StorePublication) broker.Stored {
	t.Helper()
	done := make(chan broker.Stored, 1)
	p.Done = func(r broker.Stored) { done <- r }
	if err := s.Store(&p); err != nil {
		return broker.Stored{Err: fmt.Errorf("refused: %w", err)}
	}
	select {
	case r := <-done:
		return r
	case <-time.After(patience):
		t.Fatal("no outcome")
		panic("unreachable")
	}
}

func mustStore(t testing.TB, s *broker.Streams, channel, data string) broker.Stored {
	t.Helper()
	r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: channel, Data: []byte(data)})
	if r.Err != nil {
		t.Fatalf("store %q on %q: %v", data, channel, r.Err)
	}
	return r
}

func mustRead(t testing.TB, s *broker.Streams, q broker.ReadQuery) broker.Page {
	t.Helper()
	if q.Namespace == "" {
		q.Namespace = "chat"
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := s.Read(ctx, q)
	if err != nil {
		t.Fatalf("Read(%+v): %v", q, err)
	}
	return p
}

func texts(messages []broker.StoredMessage) []string {
	var out []string
	for _, m := range messages {
		out = append(out, string(m.Data))
	}
	return out
}

// rawConn is another NATS client.
func rawConn(t testing.TB, srv *natsServer) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(srv.url())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// freeSpace makes a tmpfs larger.
func freeSpace(t testing.TB, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=100000000"); err != nil {
		t.Fatal(err)
	}
}
