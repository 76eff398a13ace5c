package ws

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"throng/server/wire"
)

// An idle connection is one object; what is behind it costs its Handler and eight bytes each in the wheel and in the hub.
func TestConnFitsItsSizeClass(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 288 {
		t.Errorf("Conn is %d bytes, want at most 288, a size class of the allocator", size)
	}
}

func TestLayoutOfNbioIsTheOneWeKnow(t *testing.T) {
	l, err := findLayout()
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, Config{}, nil)
	c := f.dial()
	conn := f.conn(0)
	conn.lock()
	if l.isClosed(&conn.nb) || conn.fd() <= 0 || !conn.nb.IsTCP() {
		t.Error("an open connection looks closed, without descriptor or not TCP")
	}
	conn.unlock()
	if got, want := conn.RemoteAddr().String(), c.LocalAddr().String(); got != want {
		t.Errorf("remote address %s, want %s", got, want)
	}
	c.Close()
	await(t, "closed", func() bool {
		conn.lock()
		defer conn.unlock()
		return l.isClosed(&conn.nb)
	})
	if a := conn.RemoteAddr(); a.IsValid() {
		t.Errorf("a closed connection still has the address %s", a)
	}
	if conn.Send(pingFrame) {
		t.Error("a closed connection takes frames")
	}
	conn.Flush()
}

// N1: nothing that one connection does may cut another, however descriptors are reused. The whole gate is
// THRONG_N1=100000; without it a shorter run keeps the regression out.
func TestClosingHarmsNobodyElse(t *testing.T) {
	rounds, _ := strconv.Atoi(cmp.Or(os.Getenv("THRONG_N1"), "6000"))
	f := start(t, Config{CloseTimeout: 50 * time.Millisecond, WheelTick: 10 * time.Millisecond}, nil)
	steady := f.dial()
	stop := make(chan struct{})
	var echoes, harmed atomic.Int64
	var wg, steadyDone sync.WaitGroup
	steadyDone.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = steady.SetDeadline(time.Now().Add(patience))
			steady.send(wire.OpText, "steady")
			steady.want(wire.OpText, "steady")
			echoes.Add(1)
		}
	})
	frame := wire.AppendFrame(nil, wire.OpText, bytes.Repeat([]byte("x"), 100))
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < rounds; i += 8 {
				if err := f.openAndEnd(i%4, frame); err != nil {
					t.Errorf("round %d, way %d: %v", i, i%4, err)
					harmed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	steadyDone.Wait()
	t.Logf("%d connections opened and ended, %d harmed; %d echoes of the steady client", rounds, harmed.Load(), echoes.Load())
}

// openAndEnd opens a connection, uses it and ends it in one of several ways. Before that nobody may have ended it.
func (f *fixture) openAndEnd(way int, frame []byte) error {
	nc, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := nc.Write(wire.AppendMaskedFrame([]byte(upgradeHead), wire.OpText, true, []byte("hello"), testMask)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c := &client{Conn: nc, r: newReader(nc)}
	if _, err := http.ReadResponse(c.r, &http.Request{Method: "GET"}); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if op, p, err := c.frameButPong(); err != nil || op != wire.OpText || string(p) != "hello" {
		return fmt.Errorf("echo: %v %q %w", op, p, err)
	}
	switch way {
	case 0: // the close handshake
		if _, err := nc.Write(wire.AppendMaskedFrame(nil, wire.OpClose, true, []byte{3, 0xe8}, testMask)); err != nil {
			return err
		}
		if op, _, err := c.frameButPong(); err != nil || op != wire.OpClose {
			return fmt.Errorf("close: %v %w", op, err)
		}
	case 1: // a reset, while a fan-out writes from another goroutine
		_ = nc.(*net.TCPConn).SetLinger(0)
		f.writeToAll(frame)
	case 2: // plain end of stream
	case 3: // the server says goodbye first, the client just leaves
		f.writeToAll(frame)
	}
	return nil
}

// frameButPong skips what writeToAll of another round has sent here.
func (c *client) frameButPong() (op wire.Opcode, p []byte, err error) {
	for op = wire.OpPong; op == wire.OpPong && err == nil; {
		op, p, err = c.frame()
	}
	return op, p, err
}

// writeToAll sends an unasked pong to some connections from this goroutine, as a shard of the hub would.
func (f *fixture) writeToAll(frame []byte) {
	f.mu.Lock()
	n := len(f.conns)
	recent := append([]*Conn(nil), f.conns[max(1, n-16):]...)
	f.mu.Unlock()
	ping := wire.AppendFrame(nil, wire.OpPong, frame[:50])
	for _, c := range recent {
		if c.Send(ping) {
			c.Flush()
		}
	}
}

func TestPlainHTTPGoesToNetHTTP(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(body))
	})
	f := start(t, Config{HTTP: h}, nil)
	base := "http://" + f.Addr().String()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, size := range []int{0, 10, 1 << 20} {
		resp, err := client.Post(base+"/some/path", "text/plain", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("POST /some/path %d", size); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if s := f.Stats(); s.HTTP != 1 || s.Connections != 0 || s.Handshakes["http"] != 1 {
		t.Errorf("one kept-alive connection expected: %+v", s)
	}
	client.CloseIdleConnections()
	await(t, "slot returned", func() bool { return f.Stats().HTTP == 0 && f.Stats().Handshaking == 0 })
}

// A proxy may send an upgrade on a connection that carried plain requests before.
func TestUpgradeOnAConnectionOfNetHTTP(t *testing.T) {
	f := start(t, Config{Subprotocols: []string{"chat"}}, nil)
	c := f.dialRaw()
	c.write([]byte("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"))
	resp := c.wantStatus(404)
	_, _ = io.Copy(io.Discard, resp.Body)
	first := wire.AppendMaskedFrame(nil, wire.OpText, true, []byte("first"), testMask)
	c.write(append([]byte(strings.Replace(upgradeHead, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", 1)), first...))
	if p := c.wantStatus(101).Header.Get("Sec-WebSocket-Protocol"); p != "chat" {
		t.Errorf("subprotocol %q", p)
	}
	c.want(wire.OpText, "first")
	c.send(wire.OpText, "second")
	c.want(wire.OpText, "second")
	await(t, "counted as a WebSocket", func() bool { s := f.Stats(); return s.Connections == 1 && s.HTTP == 0 })
	c.send(wire.OpClose, "\x03\xe8")
	c.wantClose(1000)
	c.wantEOF()
	// And one that is refused there.
	c = f.dialRaw()
	c.write([]byte("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"))
	resp = c.wantStatus(404)
	_, _ = io.Copy(io.Discard, resp.Body)
	c.write([]byte(strings.Replace(upgradeHead, "Version: 13", "Version: 12", 1)))
	c.wantStatus(426)
	c.Close()
	await(t, "all slots returned", func() bool { s := f.Stats(); return s.Connections+s.HTTP+s.Handshaking == 0 })
}

func TestRefusals(t *testing.T) {
	head := func(replace ...string) string { return strings.NewReplacer(replace...).Replace(upgradeHead) }
	for _, tc := range []struct {
		name, in string
		status   int
		header   string
	}{
		{"wrong version", head("Version: 13", "Version: 8"), 426, "Sec-Websocket-Version"},
		{"no host", head("Host: localhost\r\n", ""), 400, ""},
		{"two hosts", head("Host: localhost\r\n", "Host: a\r\nHost: b\r\n"), 400, ""},
		{"bad key", head("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400, ""},
		{"wrong method", head("GET /", "POST /"), 405, "Allow"},
		{"head too big", head("Host:", "X: "+strings.Repeat("x", 17<<10)+"\r\nHost:"), 431, ""},
		{"too many lines", head("Host:", strings.Repeat("X: y\r\n", 101)+"Host:"), 431, ""},
		{"origin", head("Host:", "Origin: http://evil\r\nHost:"), 403, ""},
		{"callback says no", head("GET / ", "GET /nothing "), 404, ""},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t, Config{
				CheckOrigin: func(r *wire.Request) bool { return len(r.Origin) == 0 },
				Upgrade: func(c *Conn, r *wire.Request) (Handler, *Refusal) {
					if string(r.Path) != "/" {
						return nil, &Refusal{404, "nothing here"}
					}
					return &echo{c: c}, nil
				},
			}, nil)
			c := f.dialRaw()
			c.write([]byte(tc.in))
			resp := c.wantStatus(tc.status)
			if !resp.Close {
				t.Errorf("answer does not close: %v", resp.Header)
			}
			if tc.header != "" && resp.Header.Get(tc.header) == "" {
				t.Errorf("no %s in %v", tc.header, resp.Header)
			}
			c.wantEOF()
			c.Close()
			await(t, "slot returned", func() bool { s := f.Stats(); return s.Handshaking+s.Connections+s.HTTP == 0 })
			if f.Stats().Handshakes["ok"] != 0 {
				t.Error("counted as accepted")
			}
		})
	}
}

func TestSilentAndSlowHeadsAreEnded(t *testing.T) { // N6, S5, S6
	f := start(t, Config{HandshakeTimeout: 50 * time.Millisecond, CloseTimeout: 50 * time.Millisecond, WheelTick: 10 * time.Millisecond}, nil)
	silent, half := f.dialRaw(), f.dialRaw()
	half.write([]byte("GET / HTTP/1.1\r\nHost: x\r\n"))
	for _, c := range []*client{silent, half} {
		c.wantStatus(408)
		c.wantEOF()
	}
	await(t, "gone and counted", func() bool { s := f.Stats(); return s.Handshakes["timeout"] == 2 && s.Handshaking == 0 })
}

func TestTooManyConnectionsGet503(t *testing.T) {
	f := start(t, Config{MaxConnections: 2, FDReserve: 2, RetryAfter: 7 * time.Second}, nil)
	a, b := f.dial(), f.dial()
	c := f.dialRaw()
	c.write([]byte(upgradeHead))
	if ra := c.wantStatus(503).Header.Get("Retry-After"); ra != "7" {
		t.Errorf("Retry-After %q", ra)
	}
	c.Close()
	a.Close()
	await(t, "room again", func() bool { return f.Stats().Connections == 1 && f.Stats().Handshaking == 0 })
	f.dial()
	b.send(wire.OpText, "unharmed")
	b.want(wire.OpText, "unharmed")
	if f.Stats().Handshakes["shed"] != 1 {
		t.Errorf("not counted: %+v", f.Stats().Handshakes)
	}
}

func TestAcceptRate(t *testing.T) {
	f := start(t, Config{AcceptRate: 1e-6, AcceptBurst: 1}, nil)
	f.dial()
	c := f.dialRaw()
	c.write([]byte(upgradeHead))
	c.wantStatus(503)
}

func TestSecondServerOnTheSamePortIsAnError(t *testing.T) {
	f := start(t, Config{Listeners: 4}, nil)
	s, err := New(Config{Addr: f.Addr().String(), Listeners: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want address in use", err)
	}
}

// Out of descriptors: the accept loop does not spin, waiting clients are answered by closing, others are
// unharmed, and it recovers by itself (nbio.md, emfile; F19). In a process of its own, as the limit is the process's.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv("THRONG_EMFILE") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), "THRONG_EMFILE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	f := start(t, Config{MaxConnections: 1000, AcceptBackoff: 50 * time.Millisecond}, nil)
	steady := f.dial()
	var rl unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rl); err != nil {
		t.Fatal(err)
	}
	dialer, err := net.Dial("tcp", f.Addr().String()) // already open when descriptors run out
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	low := rl
	low.Cur = uint64(len(entries)) + 1
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	var hung []net.Conn
	for {
		nc, err := net.DialTimeout("tcp", f.Addr().String(), time.Second)
		if err != nil {
			break
		}
		hung = append(hung, nc)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &rl); err != nil {
		t.Fatal(err)
	}
	for _, nc := range append(hung, dialer) {
		nc.Close()
	}
	steady.send(wire.OpText, "unharmed")
	steady.want(wire.OpText, "unharmed")
	c := f.dial()
	c.send(wire.OpText, "back")
	c.want(wire.OpText, "back")
	t.Logf("%d accept errors, %d dropped", f.Stats().AcceptErrors, f.Stats().Dropped)
}

func TestDrainCutsWhatDoesNotLeave(t *testing.T) {
	f := start(t, Config{CloseTimeout: patience}, nil)
	c := f.dial()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	f.drained = true
	if err := f.Drain(ctx, time.Millisecond, goingAway); err == nil {
		t.Error("no error for a connection that had to be cut")
	}
	c.wantClose(wire.CloseGoingAway)
	c.wantEOF()
}
