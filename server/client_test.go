package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"throng/server/wire"
)

// client is a WebSocket client over a bare socket, so that it can misbehave. It shares nothing with the server but the
// table of opcodes and the frame builder, both of which have vectors of their own.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

var clientMask = [4]byte{0x12, 0x34, 0x56, 0x78}

// dialRaw opens a connection and sends nothing.
func dialRaw(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{t: t, Conn: nc, r: bufio.NewReader(nc)}
}

// upgradeHead is the request of a browser; extra is further header lines, each with its CRLF.
func upgradeHead(addr, target, extra string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + extra + "\r\n"
}

// dial upgrades a connection.
func dial(t testing.TB, addr, target string) *client {
	t.Helper()
	c := dialRaw(t, addr)
	c.write(upgradeHead(addr, target, ""))
	c.wantStatus(http.StatusSwitchingProtocols)
	return c
}

var knocks atomic.Uint64

const knock = "knock "

// enter joins a room and returns when the client hears itself: from then on it hears whatever NATS takes.
func (p *place) enter(target string) *client {
	p.t.Helper()
	c := dial(p.t, p.addr, target)
	c.wantText("Connected to server " + p.id)
	c.knock(p.id)
	return c
}

// knock says something that all but this client overhear, and waits until it comes back.
func (c *client) knock(id string) {
	c.t.Helper()
	mine := fmt.Sprintf("%s%d", knock, knocks.Add(1))
	c.say(mine)
	for want := id + ":" + mine; ; {
		op, p, err := c.frame()
		if err != nil || op != wire.OpText {
			c.t.Fatalf("want %q, got %v %.60q, %v", want, op, p, err)
		}
		if string(p) == want {
			return
		}
	}
}

func (c *client) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) send(op wire.Opcode, p string) {
	c.t.Helper()
	c.write(string(wire.AppendMaskedFrame(nil, op, true, []byte(p), clientMask)))
}

func (c *client) say(text string) {
	c.t.Helper()
	c.send(wire.OpText, text)
}

func (c *client) wantStatus(want int) *http.Response {
	c.t.Helper()
	answer, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodGet})
	if err != nil {
		c.t.Fatalf("want status %d, got %v", want, err)
	}
	if answer.StatusCode != want {
		c.t.Fatalf("want status %d, got %s", want, answer.Status)
	}
	return answer
}

// frame reads one frame of the server and answers its pings.
func (c *client) frame() (wire.Opcode, []byte, error) {
	for {
		op, p, err := readFrame(c.r)
		if err != nil || op != wire.OpPing {
			return op, p, err
		}
		if _, err := c.Write(wire.AppendMaskedFrame(nil, wire.OpPong, true, p, clientMask)); err != nil {
			return 0, nil, err
		}
	}
}

func readFrame(r io.Reader) (wire.Opcode, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := int(head[1])
	if size >= 126 {
		extended := make([]byte, map[int]int{126: 2, 127: 8}[size])
		if _, err := io.ReadFull(r, extended); err != nil {
			return 0, nil, err
		}
		size = 0
		for _, b := range extended {
			size = size<<8 | int(b)
		}
	}
	if head[0]&0xf0 != 0x80 || size > 64<<20 {
		return 0, nil, fmt.Errorf("frame head % x, %d bytes", head, size)
	}
	p := make([]byte, size)
	_, err := io.ReadFull(r, p)
	return wire.Opcode(head[0] & 0x0f), p, err
}

// want reads the next message that is no knock of somebody else.
func (c *client) want(op wire.Opcode, text string) {
	c.t.Helper()
	for {
		gotOp, got, err := c.frame()
		if err == nil && gotOp == wire.OpText && strings.Contains(string(got), ":"+knock) {
			continue
		}
		if err != nil || gotOp != op || string(got) != text {
			c.t.Fatalf("want %v %.80q, got %v %.80q, %v", op, text, gotOp, got, err)
		}
		return
	}
}

func (c *client) wantText(text string) {
	c.t.Helper()
	c.want(wire.OpText, text)
}

// wantClose skips messages up to the close frame.
func (c *client) wantClose(code wire.CloseCode) {
	c.t.Helper()
	if got, err := c.closeCode(); err != nil || got != code {
		c.t.Fatalf("want close %d, got %d, %v", code, got, err)
	}
}

func (c *client) closeCode() (wire.CloseCode, error) {
	for {
		op, p, err := c.frame()
		if err != nil {
			return 0, err
		}
		if op == wire.OpClose {
			code, _, err := wire.ParseCloseBody(p)
			return code, err
		}
	}
}

// wantEnd reads to the end of the stream, which may be a reset.
func (c *client) wantEnd() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.r); err != nil && isTimeout(err) {
		c.t.Fatalf("want the end of the stream, got %v", err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// leave closes in the orderly way.
func (c *client) leave() {
	c.t.Helper()
	c.send(wire.OpClose, "\x03\xe8")
	c.wantClose(wire.CloseNormal)
	c.wantEnd()
	c.Close()
}
