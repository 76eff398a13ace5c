package session

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/centrifugal/protocol"

	"throng/server/auth"
	"throng/server/wire"
)

// client is one client of a node as its SDK sees the conversation.
type client struct {
	t       *testing.T
	n       *node
	s       *Session
	conn    *fakeConn
	p       wire.Protocol
	records []string // received and not yet looked at
}

// accept opens a session without a word.
func (n *node) accept(h Handshake) *client {
	c := &client{t: n.w.t, n: n, conn: &fakeConn{shard: len(n.clients)}, p: h.Protocol}
	c.s = n.service.Join(c.conn, h)
	c.conn.woken = c.s.Woken
	n.clients = append(n.clients, c)
	c.s.Open()
	return c
}

// join opens a session and connects as user, "" without a token.
func (n *node) join(p wire.Protocol, user string) *client {
	n.w.t.Helper()
	c := n.accept(Handshake{Protocol: p})
	if user == "" {
		c.send(`{"id":1,"connect":{}}`)
	} else {
		c.send(`{"id":1,"connect":{"token":"` + n.w.token(user, 0) + `"}}`)
	}
	c.wantReply("connected", `{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`)
	return c
}

func (w *world) token(user string, ttl time.Duration, channels ...string) string {
	w.t.Helper()
	return w.made(auth.MakeConnectionToken(w.auth, auth.TokenRequest{User: user, TTL: ttl, Channels: channels}, time.Now()))
}

func (w *world) subToken(user, name string, ttl time.Duration) string {
	w.t.Helper()
	return w.made(auth.MakeSubscriptionToken(w.auth, auth.TokenRequest{User: user, Channel: name, TTL: ttl}, time.Now()))
}

func (w *world) made(token string, err error) string {
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// send says commands, written as JSON whatever the protocol, in one frame.
func (c *client) send(lines ...string) {
	c.t.Helper()
	var frame []byte
	for i, line := range lines {
		if c.p == wire.Protobuf {
			frame = append(frame, asProtobuf(c.t, line)...)
			continue
		}
		if i > 0 {
			frame = append(frame, '\n')
		}
		frame = append(frame, line...)
	}
	c.sendFrame(frame)
}

// sendFrame gives the session bytes that change as soon as it returns.
func (c *client) sendFrame(frame []byte) {
	c.t.Helper()
	if err := c.s.Message(c.p.Opcode(), frame); err != nil {
		c.t.Errorf("Message: %v", err)
	}
	for i := range frame {
		frame[i] = '#'
	}
	c.run()
}

func asProtobuf(t testing.TB, line string) []byte {
	t.Helper()
	command, err := protocol.NewJSONCommandDecoder([]byte(line)).Decode()
	if err != io.EOF {
		t.Fatalf("%s: %v", line, err)
	}
	record, err := command.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.AppendUvarint(nil, uint64(len(record))), record...)
}

// run does what was posted, until everything is at rest.
func (c *client) run() {
	for {
		c.n.w.travel()
		synctest.Wait()
		c.conn.mu.Lock()
		work := c.conn.posted
		c.conn.posted = nil
		closed := c.conn.closed != 0
		c.conn.mu.Unlock()
		if len(work) == 0 {
			return
		}
		for _, fn := range work {
			if !closed {
				fn()
			}
		}
	}
}

// receive splits what has come into records, as JSON.
func (c *client) receive() {
	c.t.Helper()
	c.run()
	c.conn.mu.Lock()
	frames := c.conn.frames
	c.conn.frames = nil
	c.conn.mu.Unlock()
	for _, f := range frames {
		op, payload := unframe(c.t, f)
		if op != c.p.Opcode() {
			c.t.Errorf("%v frame for %v", op, c.p)
		}
		c.records = append(c.records, split(c.t, c.p, payload)...)
	}
}

func unframe(t testing.TB, f []byte) (wire.Opcode, []byte) {
	t.Helper()
	header := 2
	size := int(f[1])
	switch size {
	case 126:
		header, size = 4, int(binary.BigEndian.Uint16(f[2:]))
	case 127:
		header, size = 10, int(binary.BigEndian.Uint64(f[2:]))
	}
	if len(f) != header+size || f[0]&0x80 == 0 {
		t.Fatalf("frame of %d bytes says %d", len(f), header+size)
	}
	return wire.Opcode(f[0] & 0xf), f[header:]
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

func split(t testing.TB, p wire.Protocol, payload []byte) (records []string) {
	t.Helper()
	if p == wire.JSON {
		records = strings.Split(string(payload), "\n")
	} else {
		d := protocol.NewProtobufReplyDecoder(payload)
		for {
			r, err := d.Decode()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%x: %v", payload, err)
			}
			text, err := protocol.NewJSONReplyEncoder().Encode(r)
			if err != nil {
				text = []byte(fmt.Sprintf("%+v", r))
			}
			records = append(records, string(text))
		}
	}
	for i, r := range records {
		records[i] = uuid.ReplaceAllString(r, "ID")
	}
	return records
}

// wantReply checks the next record, reply or push.
func (c *client) wantReply(why, want string) {
	c.t.Helper()
	c.receive()
	if len(c.records) == 0 {
		c.t.Fatalf("%s: got nothing, want %s (closed: %d)", why, want, c.conn.closed)
	}
	got := c.records[0]
	c.records = c.records[1:]
	if !sameJSON(got, want) {
		c.t.Fatalf("%s:\n got %s\nwant %s", why, got, want)
	}
}

// sameJSON compares without regard to order of members, which maps do not keep.
func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return a == b
	}
	x1, _ := json.Marshal(x)
	y1, _ := json.Marshal(y)
	return string(x1) == string(y1)
}

// wantPush is wantReply for a push: inner is what stands in the push.
func (c *client) wantPush(why, inner string) {
	c.t.Helper()
	c.wantReply(why, `{"push":`+inner+`}`)
}

func (c *client) wantNothing(why string) {
	c.t.Helper()
	c.receive()
	if len(c.records) > 0 || c.conn.closed != 0 {
		c.t.Fatalf("%s: got %v, closed %d", why, c.records, c.conn.closed)
	}
}

func (c *client) wantClose(why string, code wire.CloseCode) {
	c.t.Helper()
	c.receive()
	if len(c.records) > 0 || c.conn.closed != code || c.conn.reason != code.Reason() {
		c.t.Fatalf("%s: got %v, closed %d %q; want close %d", why, c.records, c.conn.closed, c.conn.reason, code)
	}
}

// advance lets time pass.
func (w *world) advance(d time.Duration) {
	time.Sleep(d)
	for _, n := range w.nodes {
		for _, c := range n.clients {
			c.run()
		}
	}
}

// both runs a test for each protocol.
func both(t *testing.T, test func(t *testing.T, p wire.Protocol)) {
	for _, p := range []wire.Protocol{wire.JSON, wire.Protobuf} {
		t.Run(p.String(), func(t *testing.T) { test(t, p) })
	}
}

// anonymous lets everybody in.
var anonymous = setup{Config: Config{AllowAnonymous: true}}
