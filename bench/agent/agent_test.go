package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"throng/bench/load"
	"throng/bench/nullserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker starts a NATS server on loopback and connects n times.
func broker(t *testing.T, n int) []*nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS is not ready")
	}
	var out []*nats.Conn
	for range n {
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close(); awaitClosed(nc) })
		out = append(out, nc)
	}
	return out
}

func awaitClosed(nc *nats.Conn) {
	for !nc.IsClosed() {
		time.Sleep(time.Millisecond)
	}
}

// lend runs an agent until the test ends.
func lend(t *testing.T, nc *nats.Conn, workers int, start func() (io.ReadWriteCloser, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	up := make(chan struct{})
	first := true
	go func() {
		ended <- Serve(ctx, nc, Config{Workers: workers, Start: start, Log: func(format string, args ...any) {
			if first {
				first = false
				close(up)
			}
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-up
}

func TestALoadOverAgentsIsOneLoad(t *testing.T) {
	nc := broker(t, 3)
	local := func() (io.ReadWriteCloser, error) { return load.StartLocal(), nil }
	lend(t, nc[0], 2, local)
	lend(t, nc[1], 1, local)
	s, err := nullserver.Start(nullserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	links, err := Hire(ctx, nc[2], 3)
	if err != nil {
		t.Fatal(err)
	}
	plan := load.Plan{Targets: []string{s.URL()}, Dialect: "raw", Connections: 90, Channels: 1, Payload: 128}
	f, err := load.Assemble(ctx, plan, links, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Peek(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := Hire(ctx, nc[2], 1); err == nil || !strings.Contains(err.Error(), "--agents 1: 2 agents answered and lend 0") {
		t.Errorf("all are lent: %v", err)
	}
}

// echo gives back what it is told, as a stream.
type echo struct {
	*io.PipeReader
	w *io.PipeWriter
}

func (e echo) Write(p []byte) (int, error) { return e.w.Write(p) }
func (e echo) Close() error                { return e.w.Close() }

func TestAStreamKeepsEveryByteInOrderAndEnds(t *testing.T) {
	nc := broker(t, 2)
	lend(t, nc[0], 1, func() (io.ReadWriteCloser, error) {
		r, w := io.Pipe()
		return echo{r, w}, nil
	})
	links, err := Hire(t.Context(), nc[1], 1)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 3*chunk+17)
	if _, err := rand.Read(want); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := links[0].Write(want)
		wrote <- err
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(links[0], got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%v, same bytes: %v", err, bytes.Equal(got, want))
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err := links[0].Close(); err != nil {
		t.Fatal(err)
	}
}
