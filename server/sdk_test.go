package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	centrifuge "github.com/centrifugal/centrifuge-go"

	"throng/server/auth"
)

// The official SDKs against a running node (centrifuge-protocol.md, 24).

const sdkConfig = `
auth:
  token:
    hmac_secret_key: 0123456789abcdef0123456789abcdef
client:
  expired_close_delay: 1s
http_api:
  key: api-key-of-the-tests
channel:
  namespaces:
    - name: chat
      allow_subscribe_for_client: true
      allow_publish_for_client: true
    - name: dialog
      allow_user_limited_channels: true
    - name: room
      allow_subscribe_for_client: true
      presence: true
      join_leave: true
      force_push_join_leave: true
      allow_presence_for_client: true
    - name: past
      history_size: 200
      history_ttl: 10m
      force_recovery: true
      allow_subscribe_for_client: true
      allow_publish_for_client: true
      allow_history_for_client: true
      allow_tags_filter: true
    - name: short
      history_size: 10
      history_ttl: 10m
      force_recovery: true
      allow_subscribe_for_client: true
    - name: cache
      history_size: 1
      history_ttl: 10m
      force_recovery: true
      force_recovery_mode: cache
      auto_cache_recover: true
      allow_subscribe_for_client: true
    - name: delta
      history_size: 100
      history_ttl: 10m
      force_recovery: true
      delta_publish: true
      allowed_delta_types: [fossil]
      allow_subscribe_for_client: true
`

// sdkNode is a node for SDKs, and the tokens it takes.
type sdkNode struct {
	*testNode
	tokens map[string]string
}

func startSDKNode(t *testing.T, id string, args ...string) *sdkNode {
	t.Helper()
	args = append([]string{"--config", writeFile(t, "throng.yaml", sdkConfig), "--ping-interval=1s", "--pong-timeout=900ms"}, args...)
	n := &sdkNode{testNode: startTestNode(t, id, args...), tokens: map[string]string{}}
	now := time.Now()
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		n.tokens[user] = n.token(user, now)
	}
	n.tokens["expired"] = n.token("alice", now.Add(-2*time.Hour))
	n.tokens["wrong"] = n.tokens["alice"] + "x"
	n.tokens["server"] = n.token("erin", now, "past:server")
	return n
}

// token makes one that is good for an hour from then on.
func (n *sdkNode) token(user string, from time.Time, channels ...string) string {
	cfg := auth.DefaultConfig()
	cfg.Token.HMACSecretKey = "0123456789abcdef0123456789abcdef"
	token, err := auth.MakeConnectionToken(cfg, auth.TokenRequest{User: user, TTL: time.Hour, Channels: channels}, from)
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

func (n *sdkNode) url() string { return "ws://" + n.addr + "/connection/websocket" }

func TestOfficialJavaScriptSDK(t *testing.T) {
	t.Parallel()
	n := startSDKNode(t, "1111")
	for _, script := range []string{"run.mjs", "history.mjs"} {
		for _, protobuf := range []bool{false, true} {
			t.Run(script+map[bool]string{false: " JSON", true: " Protobuf"}[protobuf], func(t *testing.T) { n.runScript(t, script, protobuf) })
		}
	}
}

// runScript runs scenarios of testdata/sdk, each of which prints a line.
func (n *sdkNode) runScript(t *testing.T, script string, protobuf bool) {
	const dir = "testdata/sdk"
	if _, err := os.Stat(dir + "/node_modules/centrifuge"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the SDK is not installed: npm ci --prefix server/%s", dir)
		}
		t.Skipf("the SDK is not installed: npm ci --prefix server/%s", dir)
	}
	env, err := json.Marshal(map[string]any{"url": n.url(), "protobuf": protobuf, "pingMs": 1000, "api": n.admin, "apiKey": "api-key-of-the-tests", "tokens": n.tokens})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "THRONG_SDK="+string(env))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	passed := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		name, ok := strings.CutPrefix(lines.Text(), "ok ")
		if ok {
			passed++
			t.Log(name)
			continue
		}
		t.Error(lines.Text())
	}
	if err != nil || passed == 0 {
		t.Errorf("%d passed, %v\n%s", passed, err, stderr.String())
	}
}

// goClient is one client of centrifuge-go.
type goClient struct {
	*centrifuge.Client
	t            *testing.T
	connected    chan centrifuge.ConnectedEvent
	disconnected chan centrifuge.DisconnectedEvent
}

func (n *sdkNode) goClient(t *testing.T, protobuf bool, cfg centrifuge.Config) *goClient {
	t.Helper()
	dial := centrifuge.NewJsonClient
	if protobuf {
		dial = centrifuge.NewProtobufClient
	}
	c := &goClient{dial(n.url(), cfg), t, make(chan centrifuge.ConnectedEvent, 10), make(chan centrifuge.DisconnectedEvent, 10)}
	c.OnConnected(func(e centrifuge.ConnectedEvent) { c.connected <- e })
	c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { c.disconnected <- e })
	t.Cleanup(c.Client.Close)
	return c
}

func receiveFrom[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("never happened: %s", what)
		panic("unreachable")
	}
}

func TestOfficialGoSDK(t *testing.T) {
	n := startSDKNode(t, "1111", "--nats-listen=127.0.0.1:0")
	other := startSDKNode(t, "2222", "--nats-url="+n.nats)
	for _, protobuf := range []bool{false, true} {
		t.Run(map[bool]string{false: "JSON", true: "Protobuf"}[protobuf], func(t *testing.T) {
			t.Run("pub/sub and presence over two nodes", func(t *testing.T) { goPubSub(t, n, other, protobuf) })
			t.Run("expired token is refreshed", func(t *testing.T) { goRefresh(t, n, protobuf) })
			t.Run("wrong token is final", func(t *testing.T) { goWrongToken(t, n, protobuf) })
		})
	}
}

func goPubSub(t *testing.T, n, other *sdkNode, protobuf bool) {
	a := n.goClient(t, protobuf, centrifuge.Config{Token: n.tokens["alice"]})
	b := other.goClient(t, protobuf, centrifuge.Config{Token: n.tokens["bob"]})
	heard := make(chan centrifuge.PublicationEvent, 200)
	channel := fmt.Sprintf("room:go-%v", protobuf)
	var subs []*centrifuge.Subscription
	for _, c := range []*goClient{a, b} {
		sub, err := c.NewSubscription(channel)
		if err != nil {
			t.Fatal(err)
		}
		subscribed := make(chan struct{}, 1)
		sub.OnSubscribed(func(centrifuge.SubscribedEvent) { subscribed <- struct{}{} })
		if c == b {
			sub.OnPublication(func(e centrifuge.PublicationEvent) { heard <- e })
		}
		if err := errors.Join(sub.Subscribe(), c.Connect()); err != nil {
			t.Fatal(err)
		}
		receiveFrom(t, "subscribed", subscribed)
		subs = append(subs, sub)
	}
	if _, err := subs[0].Publish(t.Context(), []byte(`{}`)); err == nil {
		t.Error("published where the namespace does not let clients publish")
	} else if e := (*centrifuge.Error)(nil); !errors.As(err, &e) || e.Code != 103 {
		t.Errorf("publish: %v, want error 103", err)
	}
	await(t, "both nodes know both clients", func() bool {
		p, err := subs[0].Presence(t.Context())
		return err == nil && len(p.Clients) == 2
	})
	stats, err := subs[1].PresenceStats(t.Context())
	if err != nil || stats.NumClients != 2 || stats.NumUsers != 2 {
		t.Errorf("presence stats %+v, %v", stats, err)
	}
	goOrder(t, a, b, protobuf)
}

// goOrder publishes at one node and listens at the other.
func goOrder(t *testing.T, a, b *goClient, protobuf bool) {
	channel := fmt.Sprintf("chat:go-%v", protobuf)
	var mu sync.Mutex
	var got []string
	sub, err := b.NewSubscription(channel)
	if err != nil {
		t.Fatal(err)
	}
	subscribed := make(chan struct{}, 1)
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { subscribed <- struct{}{} })
	sub.OnPublication(func(e centrifuge.PublicationEvent) {
		mu.Lock()
		got = append(got, string(e.Data))
		mu.Unlock()
	})
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "subscribed", subscribed)
	// The other node's interest reaches this node's NATS server a moment after the reply.
	await(t, "first message over the nodes", func() bool {
		if _, err := a.Publish(t.Context(), channel, []byte(`"first"`)); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return len(got) > 0
	})
	var want []string
	for i := range 200 {
		want = append(want, fmt.Sprint(i))
		if _, err := a.Publish(t.Context(), channel, []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all messages", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) > 0 && got[len(got)-1] == "199"
	})
	if tail := got[len(got)-200:]; strings.Join(tail, " ") != strings.Join(want, " ") {
		t.Errorf("out of order: %v", tail)
	}
}

func goRefresh(t *testing.T, n *sdkNode, protobuf bool) {
	asked := make(chan struct{}, 10)
	c := n.goClient(t, protobuf, centrifuge.Config{Token: n.tokens["expired"], GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		asked <- struct{}{}
		return n.tokens["alice"], nil
	}})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "connected", c.connected)
	if len(asked) != 1 {
		t.Errorf("%d refreshes, want 1", len(asked))
	}
}

func goWrongToken(t *testing.T, n *sdkNode, protobuf bool) {
	c := n.goClient(t, protobuf, centrifuge.Config{Token: n.tokens["wrong"]})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	if e := receiveFrom(t, "disconnected", c.disconnected); e.Code != 3500 {
		t.Errorf("disconnected with %d, want 3500", e.Code)
	}
}
