package broker_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"throng/broker"
	"throng/broker/brokertest"
)

// serverEnv makes this test binary a NATS server on the address it holds, to be killed or stopped as a process.
const serverEnv = "BROKER_TEST_NATS_LISTEN"

func TestMain(m *testing.M) {
	if listen := os.Getenv(serverEnv); listen != "" {
		serve(listen)
		return
	}
	goleak.VerifyTestMain(m)
}

// serve runs until standard input ends, which it does with the parent process.
func serve(listen string) {
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "child", StoreDir: os.Getenv(serverEnv + "_STORE"), Listen: listen})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(e.ClientURL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	e.Shutdown()
}

// quiet keeps expected faults out of the test log.
var quiet = slog.New(slog.DiscardHandler)

// logBuffer is a slog sink that tests can read while others write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// natsServer is an embedded server that tests take away and bring back on the same port and store. It is also an
// in-process connection provider that follows it.
type natsServer struct {
	t   testing.TB
	cfg broker.EmbeddedConfig

	mu sync.Mutex
	e  *broker.Embedded
}

func startServer(t testing.TB, listen string) *natsServer {
	t.Helper()
	s := &natsServer{t: t, cfg: broker.EmbeddedConfig{NodeID: "test", StoreDir: t.TempDir(), Listen: listen, Logger: quiet}}
	s.start()
	if listen != "" {
		s.cfg.Listen = s.e.Addr().String()
	}
	t.Cleanup(s.stop)
	return s
}

func (s *natsServer) start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := broker.StartEmbedded(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.e = e
}

func (s *natsServer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.Shutdown()
}

func (s *natsServer) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.e.InProcessConn()
}

func (s *natsServer) url() string { return "nats://" + s.cfg.Listen }

// connect starts a broker with short waits.
func connect(t testing.TB, cfg broker.Config, h broker.Handler) *broker.NATS {
	t.Helper()
	if cfg.ReconnectMin == 0 {
		cfg.ReconnectMin, cfg.ReconnectMax = 5*time.Millisecond, 50*time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	n, err := broker.Connect(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestMemoryKeepsTheContract(t *testing.T) {
	brokertest.Test(t, func(t *testing.T, o brokertest.Options) *brokertest.Pair {
		bus := broker.NewBus()
		cfg := broker.MemoryConfig{Limits: o.Limits, Bus: bus}
		a, b := broker.NewMemory(o.A, cfg), broker.NewMemory(o.B, cfg)
		t.Cleanup(a.Close)
		t.Cleanup(b.Close)
		return &brokertest.Pair{A: a, B: b, Cut: func() { bus.SetDown(true) }, Heal: func() { bus.SetDown(false) }}
	})
}

func TestNATSInProcessKeepsTheContract(t *testing.T) {
	brokertest.Test(t, func(t *testing.T, o brokertest.Options) *brokertest.Pair {
		s := startServer(t, "")
		return natsPair(t, s, broker.Config{Server: s}, o)
	})
}

func TestNATSOverTCPKeepsTheContract(t *testing.T) {
	brokertest.Test(t, func(t *testing.T, o brokertest.Options) *brokertest.Pair {
		s := startServer(t, "127.0.0.1:0")
		return natsPair(t, s, broker.Config{URLs: []string{s.url()}}, o)
	})
}

func TestNATSWithOneSubscriptionForAllKeepsTheContract(t *testing.T) {
	brokertest.Test(t, func(t *testing.T, o brokertest.Options) *brokertest.Pair {
		s := startServer(t, "")
		o.Limits.WideInterest = 1
		return natsPair(t, s, broker.Config{Server: s}, o)
	})
}

func natsPair(t *testing.T, s *natsServer, cfg broker.Config, o brokertest.Options) *brokertest.Pair {
	cfg.Limits = o.Limits
	return &brokertest.Pair{A: connect(t, cfg, o.A), B: connect(t, cfg, o.B), Cut: s.stop, Heal: s.start}
}
