package nullserver

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"throng/server/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is a raw client.
type member struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func join(t *testing.T, s *Server, room string) *member {
	t.Helper()
	c, err := net.Dial("tcp4", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	// The key and its answer are the example of RFC 6455, 1.3. It goes in two pieces.
	head := "GET /livechat?room=" + room + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for _, part := range []string{head[:40], head[40:]} {
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
	}
	m := &member{t, c, bufio.NewReader(c)}
	answer := ""
	for !strings.HasSuffix(answer, "\r\n\r\n") {
		line, err := m.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		answer += line
	}
	if !strings.Contains(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
		t.Fatalf("answer %q", answer)
	}
	m.want("Connected to server null")
	return m
}

func (m *member) say(op wire.Opcode, p string) {
	m.t.Helper()
	if _, err := m.c.Write(wire.AppendMaskedFrame(nil, op, true, []byte(p), [4]byte{1, 2, 3, 4})); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) want(text string) {
	m.t.Helper()
	want := wire.AppendFrame(nil, wire.OpText, []byte(text))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(m.r, got); err != nil || !bytes.Equal(got, want) {
		m.t.Fatalf("got %q (%v), want %q", got, err, text)
	}
}

func TestRoomsHearTheirOwnInOrder(t *testing.T) {
	s := start(t, Config{})
	a, b, c := join(t, s, "x"), join(t, s, "x"), join(t, s, "y")
	a.say(wire.OpText, "one")
	a.say(wire.OpText, strings.Repeat("2", 70_000)) // longer than a 16-bit length
	c.say(wire.OpText, "elsewhere")
	for _, m := range []*member{a, b} {
		m.want("null:one")
		m.want("null:" + strings.Repeat("2", 70_000))
	}
	c.want("null:elsewhere")
}

func TestAMemberThatLeavesIsTakenOut(t *testing.T) {
	s := start(t, Config{})
	a, b := join(t, s, "x"), join(t, s, "x")
	a.say(wire.OpClose, "\x03\xe8")
	if rest, err := io.ReadAll(a.r); err != nil || !bytes.Equal(rest, []byte{0x88, 2, 0x03, 0xe8}) {
		t.Fatalf("%q, %v", rest, err)
	}
	b.say(wire.OpText, "alone")
	b.want("null:alone")
}

func TestAPortInUseIsAnError(t *testing.T) {
	s := start(t, Config{})
	for _, addr := range []string{s.Addr().String(), "nonsense", "[::1]:0"} {
		if _, err := Start(Config{Addr: addr}); err == nil {
			t.Errorf("%s is taken", addr)
		}
	}
}
