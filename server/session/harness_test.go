package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/history"
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
	down  error             // what publishing returns
	road  []hub.Publication // published and not yet delivered
	metas []string          // their meta lines
	store *memoryStore
}

type node struct {
	w        *world
	hub      *hub.Hub
	encoders Encoders
	service  *Service
	past     *history.Service
	pool     pool
	tokens   *auth.Tokens
	connect  *slowKeys
	sub      *slowKeys
	silent   bool // does not answer surveys
	asked    int  // surveys
	delay    time.Duration
	clients  []*client
}

// setup is what a test may change.
type setup struct {
	Config
	nodes int
	rules func(*channel.Config, *channel.RPCConfig, *channel.Environment)
	hooks Hooks
	alone bool // no Surveyor

	confirm func(done func(error))
}

const secret = "a secret of at least thirty-two bytes"

// inWorld runs a test in a bubble, with a cluster that is gone when it returns.
func inWorld(t *testing.T, o setup, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, auth: auth.DefaultConfig(), store: newMemoryStore()}
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
	cfg.OnCut = Cut
	n.encoders.AddTo(&cfg)
	n.hub = hub.New(cfg, n)
	n.hub.Start()
	tokens, err := auth.NewTokens(w.auth, auth.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	n.tokens = tokens
	n.connect, n.sub = &slowKeys{Verifier: tokens.Connection}, &slowKeys{Verifier: tokens.Subscription}
	parts := Parts{Hub: n.hub, Rules: rulesOf(w.t, o.rules), Connection: n.connect, Subscription: n.sub, Requests: &n.pool, Hooks: o.hooks, Surveyor: n, UID: fmt.Sprint("node", len(w.nodes))}
	if o.alone {
		parts.Surveyor = nil
	}
	n.past = history.New(history.Config{}, history.Parts{
		Store: w.store, Hub: n.hub, Sync: func(context.Context) error { return nil },
		Live: func(name string, data []byte, meta *wire.Meta, _ bool) error {
			return n.hub.PublishMeta(name, data, meta)
		},
	})
	parts.History = n.past
	if o.confirm != nil {
		parts.Confirm = o.confirm
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
		if c.conn.wake != nil {
			n.w.t.Error("a session that is over wants to be woken")
		}
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
	n.past.Close()
	n.hub.Close()
	n.tokens.Close()
}

func (n *node) Subscribe(string)   {}
func (n *node) Unsubscribe(string) {}

func (n *node) Publish(name string, data []byte, binary bool) error {
	return n.PublishMeta(name, data, nil)
}

// PublishMeta keeps what is published until travel, so that tests know what comes first: the reply or the push. As with a
// broker, the name is kept and the rest copied.
func (n *node) PublishMeta(name string, data, meta []byte) error {
	if n.w.down != nil {
		return n.w.down
	}
	n.w.road = append(n.w.road, hub.Publication{Channel: name, Data: append([]byte(nil), data...)})
	n.w.metas = append(n.w.metas, string(meta))
	return nil
}

// travel delivers what was published, as NATS does.
func (w *world) travel() {
	road, metas := w.road, w.metas
	w.road, w.metas = nil, nil
	defer func() {
		for _, m := range w.store.take() {
			for _, n := range w.nodes {
				n.past.Receive(m)
			}
		}
	}()
	for i := range road {
		for _, n := range w.nodes {
			n.hub.Receive(road[i], metas[i])
		}
	}
}

// foreign is a publication by somebody who only knows NATS.
func (w *world) foreign(name, data string) {
	for _, n := range w.nodes {
		n.hub.Receive(hub.Publication{Channel: name, Data: []byte(data)}, "")
	}
}

// Survey asks every node, as the control plane does.
func (n *node) Survey(_ context.Context, op string, question []byte) (answers [][]byte, silent int, err error) {
	if op != PresenceOp {
		return nil, 0, errors.New("unknown survey " + op)
	}
	n.asked++
	time.Sleep(n.delay)
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
