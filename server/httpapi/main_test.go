package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"throng/broker"
	"throng/server/channel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// overBroker is what main makes of a control plane.
type overBroker struct{ *broker.Control }

func (o overBroker) HandleSurvey(op string, fn func([]byte) ([]byte, error)) {
	o.Control.HandleSurvey(op, fn)
}

func (o overBroker) Survey(ctx context.Context, op string, payload []byte) (Survey, error) {
	got, err := o.Control.Survey(ctx, op, payload)
	var s Survey
	for _, a := range got.Answers {
		s.Answers = append(s.Answers, Answer{Node: a.Node.Name, Data: a.Data, Err: a.Err})
	}
	for _, n := range got.Silent {
		s.Silent = append(s.Silent, n.Node.Name)
	}
	return s, err
}

// fakeNode records what it is told and answers what it is given.
type fakeNode struct {
	name string

	mu       sync.Mutex
	orders   []string
	pubs     []Publication
	fail     error
	presence map[string][]ClientInfo
	counts   map[string]int
	block    chan struct{} // Presence waits for it
}

func (n *fakeNode) note(format string, args ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.orders = append(n.orders, fmt.Sprintf(format, args...))
	return n.fail
}

func (n *fakeNode) Publish(_ context.Context, p Publication) (Position, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pubs = append(n.pubs, p)
	if p.Channel.Name == "stream:x" {
		return Position{Offset: uint64(len(n.pubs)), Epoch: "e"}, n.fail
	}
	return Position{}, n.fail
}

func (n *fakeNode) History(_ context.Context, ch channel.Channel, q HistoryQuery) (History, error) {
	since := Position{}
	if q.Since != nil {
		since = *q.Since
	}
	if since.Epoch == "other" {
		return History{}, ErrUnrecoverablePosition
	}
	h := History{Position: Position{Offset: 7, Epoch: "e"}}
	if q.Limit != 0 {
		h.Publications = []Published{
			{Data: []byte(`{"a":1}`), Info: &ClientInfo{User: "u", Client: "c", ConnInfo: []byte(`1`), ChanInfo: []byte("\xff")}, Offset: 6, Tags: map[string]string{"k": "v"}},
			{Data: []byte("\xff"), Offset: 7},
		}
	}
	return h, n.note("history %s limit=%d since=%+v reverse=%v", ch.Name, q.Limit, since, q.Reverse)
}

func (n *fakeNode) RemoveHistory(_ context.Context, ch channel.Channel) error {
	return n.note("remove %s", ch.Name)
}

func (n *fakeNode) Disconnect(t Target, code uint32, reason string, keep []string) error {
	return n.note("disconnect %+v %d %s %q", t, code, reason, keep)
}
func (n *fakeNode) Unsubscribe(t Target, channel string) error {
	return n.note("unsubscribe %+v %s", t, channel)
}
func (n *fakeNode) Subscribe(t Target, s Subscription) error {
	return n.note("subscribe %+v %s info=%s data=%s at=%d since=%+v %+v", t, s.Channel, s.Info, s.Data, s.ExpireAt, s.RecoverSince, s.Override)
}
func (n *fakeNode) Refresh(t Target, r Refresh) error {
	return n.note("refresh %+v %v %d %s", t, r.Expired, r.ExpireAt, r.Info)
}

func (n *fakeNode) Presence(channel string) ([]ClientInfo, error) {
	if n.block != nil {
		<-n.block
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.presence[channel], n.fail
}

func (n *fakeNode) Channels(yield func(string, int) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, count := range n.counts {
		if !yield(name, count) {
			return
		}
	}
}

func (n *fakeNode) Info() NodeInfo {
	return NodeInfo{
		UID: "uid-" + n.name, Name: n.name, Version: "1.2.3", NumClients: 1, NumUsers: 2, NumSubs: 3, NumChannels: 4, Uptime: 5,
		Metrics: &Metrics{Interval: 60, Items: map[string]float64{"a": 1}}, Process: &Process{CPU: 0.5, RSS: 1 << 20},
	}
}

func (n *fakeNode) told() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.orders)
}

// cluster is some nodes, each with an API behind a real HTTP server.
type cluster struct {
	nodes    []*fakeNode
	apis     []*API
	servers  []*httptest.Server
	controls []*broker.Control
	brokers  []*broker.Memory
	bus      *broker.Bus
}

func startCluster(t testing.TB, n int, edit func(*Config)) *cluster {
	t.Helper()
	c := &cluster{bus: broker.NewBus()}
	rules := testRules(t)
	for i := range n {
		b := broker.NewMemory(func(broker.Message) {}, broker.MemoryConfig{Bus: c.bus})
		t.Cleanup(b.Close)
		control, err := b.Control(broker.ControlConfig{
			Name: fmt.Sprintf("node-%d", i), HeartbeatInterval: 60 * time.Millisecond, ForgetAfter: patience,
			SettleTime: time.Millisecond, ProbeAfter: 20 * time.Millisecond, SurveyTimeout: patience,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(control.Close)
		cfg := DefaultConfig()
		cfg.Key, cfg.SurveyTimeout = "secret", patience
		if edit != nil {
			edit(&cfg)
		}
		node := &fakeNode{name: fmt.Sprintf("node-%d", i), presence: map[string][]ClientInfo{}, counts: map[string]int{}}
		api, err := New(cfg, Deps{
			Cluster: overBroker{control}, Node: node, Rules: func() *channel.Rules { return rules }, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		api.HandleRPC("echo", echoRPC)
		s := httptest.NewServer(api)
		t.Cleanup(s.Close)
		c.nodes, c.apis, c.servers = append(c.nodes, node), append(c.apis, api), append(c.servers, s)
		c.controls, c.brokers = append(c.controls, control), append(c.brokers, b)
	}
	for _, control := range c.controls {
		until(t, "all nodes known", func() bool { return len(control.Nodes()) == n })
	}
	return c
}

func echoRPC(_ context.Context, params json.RawMessage) (json.RawMessage, error) {
	switch string(params) {
	case `"fail"`:
		return nil, &Error{Code: 444, Message: "custom"}
	case `"break"`:
		return nil, errors.New("broken")
	}
	return params, nil
}

func testRules(t testing.TB) *channel.Rules {
	t.Helper()
	cfg := channel.DefaultConfig()
	cfg.Namespaces = []channel.NamespaceConfig{
		{Name: "chat", Options: channel.Options{Presence: true}},
		{Name: "stream", Options: channel.Options{HistorySize: 10, HistoryTTL: time.Minute}},
		{Name: "json", Options: channel.Options{PublicationDataFormat: "json_object"}},
		{Name: "sensors", Options: channel.Options{Subject: "sensors.>", AllowWildcards: true, Presence: true}},
	}
	r, err := channel.Compile(cfg, channel.DefaultRPCConfig(), channel.Environment{History: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   string
}

func (c *cluster) post(t testing.TB, path, body string, headers ...string) reply {
	t.Helper()
	return send(t, http.MethodPost, c.servers[0].URL+path, body, append([]string{"X-API-Key", "secret"}, headers...)...)
}

func send(t testing.TB, method, url, body string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{got.StatusCode, got.Header, string(text)}
}
