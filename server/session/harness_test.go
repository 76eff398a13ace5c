package session

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/centrifugal/protocol"
	"go.uber.org/goleak"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/hub"
	"throng/server/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeConn is a connection whose owner is the test's goroutine: what is posted waits until client.run.
type fakeConn struct {
	mu        sync.Mutex
	shard     int
	frames    [][]byte
	closed    wire.CloseCode
	reason    string
	posted    []func()
	full      bool // Post refuses
	wake      *time.Timer
	woken     func()
	keepAlive uint8
	pings     int // sent and not answered
}

func (c *fakeConn) Shard() int { return c.shard }
func (c *fakeConn) Flush()     {}

func (c *fakeConn) Send(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == 0 {
		c.frames = append(c.frames, frame)
	}
	return true
}

func (c *fakeConn) Close(code wire.CloseCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == 0 {
		c.closed, c.reason = code, reason
	}
}

func (c *fakeConn) Post(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full {
		return false
	}
	c.posted = append(c.posted, fn)
	return true
}

func (c *fakeConn) WakeIn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake != nil {
		c.wake.Stop()
		c.wake = nil
	}
	if d > 0 {
		c.wake = time.AfterFunc(d, func() { c.Post(c.woken) })
	}
}

func (c *fakeConn) UseKeepAlive(i uint8) { c.keepAlive = i }

func (c *fakeConn) Ponged() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pings--
	return c.pings >= 0
}

// pool is the requests pool: a goroutine each.
type pool struct {
	wg   sync.WaitGroup
	full bool
}

func (p *pool) Go(fn func()) bool {
	if p.full {
		return false
	}
	p.wg.Go(fn)
	return true
}

// slowKeys is a verifier whose keys have to be fetched while gate is not nil.
type slowKeys struct {
	*auth.Verifier
	gate chan struct{}
	err  error
}

func (k *slowKeys) Verify(token string) (auth.Claims, error) {
	if k.gate != nil {
		return auth.Claims{}, auth.ErrNeedsFetch
	}
	return k.Verifier.Verify(token)
}

func (k *slowKeys) VerifyBlocking(ctx context.Context, token string) (auth.Claims, error) {
	select {
	case <-k.gate:
	case <-ctx.Done():
		return auth.Claims{}, ctx.Err()
	}
	if k.err != nil {
		return auth.Claims{}, k.err
	}
	return k.Verifier.VerifyBlocking(ctx, token)
}

// world is a cluster of nodes on one bus, in one synctest bubble.
type world struct {
	t     *testing.T
	nodes []*node
	auth  auth.Config
	down  error // what publishing returns
}

type node struct {
	w        *world
	hub      *hub.Hub
	encoders Encoders
	service  *Service
	pool     pool
	tokens   *auth.Tokens
	connect  *slowKeys
	sub      *slowKeys
	silent   bool // does not answer surveys
	clients  []*client
}

// setup is what a test may change.
type setup struct {
	Config
	nodes int
	rules func(*channel.Config, *channel.RPCConfig, *channel.Environment)
	hooks Hooks
	alone bool // no Surveyor
}

const secret = "a secret of at least thirty-two bytes"

// inWorld runs a test in a bubble, with a cluster that is gone when it returns.
func inWorld(t *testing.T, o setup, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, auth: auth.DefaultConfig()}
		w.auth.Token.HMACSecretKey = secret
		w.auth.ExpiryLeeway = 0
		for range max(o.nodes, 1) {
			w.nodes = append(w.nodes, w.start(o))
		}
		defer func() {
			for _, n := range w.nodes {
				n.stop()
			}
		}()
		test(w)
	})
}

func rulesOf(t testing.TB, edit func(*channel.Config, *channel.RPCConfig, *channel.Environment)) *channel.Rules {
	t.Helper()
	cfg, rpc, env := channel.DefaultConfig(), channel.DefaultRPCConfig(), channel.Environment{ProxyNames: []string{"default", "crm"}}
	town(&cfg)
	rpc.Subject = "svc.{method}"
	if edit != nil {
		edit(&cfg, &rpc, &env)
	}
	r, err := channel.Compile(cfg, rpc, env)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// town is the configuration that tests share.
func town(c *channel.Config) {
	c.WithoutNamespace = channel.Options{AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, AllowPublishForClient: true, AllowPublishForAnonymous: true}
	c.Namespaces = []channel.NamespaceConfig{
		{Name: "chat", Options: channel.Options{
			AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, AllowPublishForSubscriber: true, AllowPublishForAnonymous: true,
			Presence: true, JoinLeave: true, AllowPresenceForSubscriber: true, AllowPresenceForAnonymous: true, AllowUserLimitedChannels: true,
		}},
		{Name: "forced", Options: channel.Options{AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, JoinLeave: true, ForcePushJoinLeave: true}},
		{Name: "closed"},
		{Name: "asked", Options: channel.Options{SubscribeProxyEnabled: true, PublishProxyEnabled: true, SubRefreshProxyEnabled: true}},
		{Name: "me", Options: channel.Options{AllowUserLimitedChannels: true}},
	}
}

func (w *world) start(o setup) *node {
	n := &node{w: w}
	var cfg hub.Config
	cfg.Shards = 2
	n.encoders.AddTo(&cfg)
	n.hub = hub.New(cfg, n)
	n.hub.Start()
	tokens, err := auth.NewTokens(w.auth, auth.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	n.tokens = tokens
	n.connect, n.sub = &slowKeys{Verifier: tokens.Connection}, &slowKeys{Verifier: tokens.Subscription}
	parts := Parts{Hub: n.hub, Rules: rulesOf(w.t, o.rules), Connection: n.connect, Subscription: n.sub, Requests: &n.pool, Hooks: o.hooks, Surveyor: n}
	if o.alone {
		parts.Surveyor = nil
	}
	n.service = New(o.Config, parts)
	return n
}

// stop ends a node and checks that nothing of its clients is left anywhere.
func (n *node) stop() {
	n.w.t.Helper()
	for _, c := range n.clients {
		c.run()
		c.s.Closed(wire.CloseNormal)
	}
	n.pool.wg.Wait()
	synctest.Wait()
	s, h := n.service.Stats(), n.hub.Stats()
	if s.Sessions != 0 || s.Subscriptions != 0 || s.Users != 0 || h.Subscribers != 0 {
		n.w.t.Errorf("left behind: %d sessions, %d subscriptions, %d users, %d in the hub", s.Sessions, s.Subscriptions, s.Users, h.Subscribers)
	}
	for i := range n.service.presence.stripes {
		for name, list := range n.service.presence.stripes[i].m {
			n.w.t.Errorf("left behind in presence of %s: %d", name, len(list))
		}
	}
	n.hub.Close()
	n.tokens.Close()
}

func (n *node) Subscribe(string)   {}
func (n *node) Unsubscribe(string) {}

func (n *node) Publish(name string, data []byte, binary bool) error {
	return n.w.deliver(name, data, "")
}

func (n *node) PublishMeta(name string, data, meta []byte) error {
	return n.w.deliver(name, data, string(meta))
}

// deliver is what NATS does.
func (w *world) deliver(name string, data []byte, meta string) error {
	if w.down != nil {
		return w.down
	}
	data = append([]byte(nil), data...)
	for _, n := range w.nodes {
		n.hub.Receive(hub.Publication{Channel: name, Data: data}, meta)
	}
	return nil
}

// Survey asks every node, as the control plane does.
func (n *node) Survey(_ context.Context, op string, question []byte) (answers [][]byte, silent int, err error) {
	if op != PresenceOp {
		return nil, 0, errors.New("unknown survey " + op)
	}
	for _, other := range n.w.nodes {
		a, err := other.service.AnswerPresence(question)
		if other.silent || err != nil {
			silent++
			continue
		}
		answers = append(answers, a)
	}
	return answers, silent, nil
}

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
