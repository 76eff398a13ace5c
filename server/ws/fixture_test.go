package ws

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"throng/server/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for things that must happen; no test passes or fails by how long they take.
const patience = 20 * time.Second

// echo answers every message with itself and notes how it ended.
type echo struct {
	c        *Conn
	greeting []byte
	closed   chan wire.CloseCode
	onMsg    func(op wire.Opcode, p []byte) error
}

func (e *echo) Open() {
	if e.greeting != nil {
		e.c.Send(e.greeting)
	}
}

func (e *echo) Message(op wire.Opcode, p []byte) error {
	if e.onMsg != nil {
		return e.onMsg(op, p)
	}
	e.c.Send(wire.AppendFrame(nil, op, p))
	return nil
}

func (e *echo) Closed(code wire.CloseCode) {
	if e.closed != nil {
		e.closed <- code
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// fixture is a running server whose connections are echo handlers.
type fixture struct {
	*Server
	t       *testing.T
	mu      sync.Mutex
	conns   []*Conn
	drained bool
}

func start(t *testing.T, cfg Config, prepare func(*echo)) *fixture {
	t.Helper()
	f := &fixture{t: t}
	cfg.Addr = "127.0.0.1:0"
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	if cfg.Upgrade == nil {
		cfg.Upgrade = func(c *Conn, _ *wire.Request) (Handler, *Refusal) {
			e := &echo{c: c}
			if prepare != nil {
				prepare(e)
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			return e, nil
		}
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	f.Server = s
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) stop() {
	if f.drained {
		return
	}
	f.drained = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	_ = f.Drain(ctx, 0, goingAway)
	if n := f.Stats().Connections; n != 0 {
		f.t.Errorf("%d connections left after drain", n)
	}
}

func (f *fixture) conn(i int) *Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns[i]
}

// client is a raw WebSocket client that can misbehave.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (f *fixture) dialRaw() *client {
	f.t.Helper()
	nc, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{t: f.t, Conn: nc, r: newReader(nc)}
}

const upgradeHead = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

func (f *fixture) dial() *client {
	f.t.Helper()
	c := f.dialRaw()
	c.write([]byte(upgradeHead))
	c.wantStatus(101)
	return c
}

func (c *client) write(p []byte) {
	c.t.Helper()
	if _, err := c.Write(p); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) wantStatus(want int) *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "GET"})
	if err != nil {
		c.t.Fatalf("want status %d, got %v", want, err)
	}
	if resp.StatusCode != want {
		c.t.Fatalf("want status %d, got %s", want, resp.Status)
	}
	return resp
}

func newReader(nc net.Conn) *bufio.Reader { return bufio.NewReader(nc) }

var testMask = [4]byte{0x12, 0x34, 0x56, 0x78}

func (c *client) send(op wire.Opcode, p string) {
	c.t.Helper()
	c.write(wire.AppendMaskedFrame(nil, op, true, []byte(p), testMask))
}

// frame reads one server frame.
func (c *client) frame() (wire.Opcode, []byte, error) {
	var h [2]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return 0, nil, err
	}
	n := int(h[1])
	if n >= 126 {
		ext := make([]byte, map[int]int{126: 2, 127: 8}[n])
		if _, err := io.ReadFull(c.r, ext); err != nil {
			return 0, nil, err
		}
		n = 0
		for _, b := range ext {
			n = n<<8 | int(b)
		}
	}
	p := make([]byte, n)
	_, err := io.ReadFull(c.r, p)
	return wire.Opcode(h[0] & 0x0f), p, err
}

func (c *client) want(op wire.Opcode, p string) {
	c.t.Helper()
	gotOp, got, err := c.frame()
	if err != nil || gotOp != op || string(got) != p {
		c.t.Fatalf("want %v %.60q, got %v %.60q, %v", op, p, gotOp, got, err)
	}
}

// wantClose reads up to the close frame, then to the end of the stream.
func (c *client) wantClose(code wire.CloseCode) {
	c.t.Helper()
	for {
		op, p, err := c.frame()
		if err != nil {
			c.t.Fatalf("want close %d, got %v", code, err)
		}
		if op != wire.OpClose {
			continue
		}
		got, _, err := wire.ParseCloseBody(p)
		if err != nil || got != code {
			c.t.Fatalf("want close %d, got %d, %v", code, got, err)
		}
		return
	}
}

func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatalf("want end of stream, got %q, %v", b, err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func goingAway(Handler) (wire.CloseCode, string) { return wire.CloseGoingAway, "node stops" }
