package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	centrifuge "github.com/centrifugal/centrifuge-go"

	"throng/broker/natstest"
	"throng/broker/natstest/chaosproxy"
	"throng/server/auth"
)

const (
	crowdRoom = "room:crowd"
	crowdSize = 10 // members on each node
)

// roomEvents is what one subscriber heard of joins and leaves.
type roomEvents struct {
	mu   sync.Mutex
	list map[string][]string // user: "+client" or "-client"
}

func (e *roomEvents) note(sign string, info centrifuge.ClientInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.list == nil {
		e.list = map[string][]string{}
	}
	e.list[info.User] = append(e.list[info.User], sign+info.Client)
}

// state tells how many users of a node were last heard to leave and join, and is loud about a client that does either twice.
func (e *roomEvents) state(t *testing.T, who, node string) (joined, left int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for user, events := range e.list {
		if !strings.HasPrefix(user, node) {
			continue
		}
		for i := 1; i < len(events); i++ {
			if events[i] == events[i-1] {
				t.Fatalf("%s heard of %s: %v", who, user, events)
			}
		}
		if events[len(events)-1][0] == '+' {
			joined++
		} else {
			left++
		}
	}
	return joined, left
}

// roomful are nodes as processes on one NATS server, with members of one room on each.
type roomful struct {
	t     *testing.T
	nodes map[string]*process
	args  []string
	bin   string
}

func (c *roomful) start(name, natsURL string) {
	c.t.Helper()
	args := append([]string{"--node-id=" + name, "--nats-url=" + natsURL, "--drain-window=0"}, c.args...)
	p := serve(c.t, c.bin, nil, args...)
	p.awaitReady(http.StatusOK, "")
	c.nodes[name] = p
}

func (c *roomful) enter(node, user string, e *roomEvents) {
	c.t.Helper()
	enterRoom(c.t, c.nodes[node].addr, user, e)
}

// enterRoom connects a user to a node and subscribes him; what he hears goes to e, which may be nil.
func enterRoom(t *testing.T, addr, user string, e *roomEvents) *centrifuge.Client {
	t.Helper()
	cfg := auth.DefaultConfig()
	cfg.Token.HMACSecretKey = "0123456789abcdef0123456789abcdef"
	token, err := auth.MakeConnectionToken(cfg, auth.TokenRequest{User: user, TTL: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client := centrifuge.NewJsonClient("ws://"+addr+"/connection/websocket", centrifuge.Config{Token: token, MinReconnectDelay: time.Hour, MaxReconnectDelay: time.Hour})
	t.Cleanup(client.Close)
	sub, err := client.NewSubscription(crowdRoom)
	if err != nil {
		t.Fatal(err)
	}
	subscribed := make(chan struct{}, 10)
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { subscribed <- struct{}{} })
	if e != nil {
		sub.OnJoin(func(j centrifuge.JoinEvent) { e.note("+", j.ClientInfo) })
		sub.OnLeave(func(l centrifuge.LeaveEvent) { e.note("-", l.ClientInfo) })
	}
	if err := errors.Join(sub.Subscribe(), client.Connect()); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "subscribed", subscribed)
	return client
}

func (c *roomful) fill(node string) {
	c.t.Helper()
	for i := range crowdSize {
		c.enter(node, fmt.Sprintf("%s-%d", node, i), nil)
	}
}

// await waits for what a watcher is to hear of a node's members. A killed node's are gone within 15 s by design; the limit here
// is for machines with other things to do.
func (c *roomful) await(what string, ok func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > time.Minute {
			c.t.Fatalf("waiting for: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

func (c *roomful) awaitJoined(e *roomEvents, who, node string, want int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s to have %d members of %s", who, want, node), func() bool {
		joined, _ := e.state(c.t, who, node)
		return joined == want
	})
}

// api asks a node.
func (c *roomful) api(node, method string) (result json.RawMessage) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.nodes[node].admin+"/api/"+method, strings.NewReader(`{"channel":"`+crowdRoom+`"}`))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("X-API-Key", "api-key-of-the-tests")
	answer, err := plainHTTP.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	var body struct{ Result, Error json.RawMessage }
	if err := errors.Join(err, json.Unmarshal(raw, &body)); err != nil || body.Error != nil {
		c.t.Logf("%s: %s, %v", method, raw, err)
		return nil
	}
	return body.Result
}

// wantAPI checks what the API says of the nodes there are and of their clients.
func (c *roomful) wantAPI(clients int, nodes ...string) {
	c.t.Helper()
	var channels struct {
		Channels map[string]struct {
			NumClients int `json:"num_clients"`
		}
	}
	var info struct {
		Nodes []struct {
			Name       string
			NumClients int `json:"num_clients"`
			NumUsers   int `json:"num_users"`
			NumSubs    int `json:"num_subs"`
			Process    struct{ RSS int64 }
		}
	}
	var stats struct {
		NumClients int `json:"num_clients"`
		NumUsers   int `json:"num_users"`
	}
	for method, into := range map[string]any{"channels": &channels, "info": &info, "presence_stats": &stats} {
		if err := json.Unmarshal(c.api(nodes[0], method), into); err != nil {
			c.t.Fatal(method, err)
		}
	}
	var names []string
	sum, subs := 0, 0
	for _, n := range info.Nodes {
		names = append(names, n.Name)
		sum += n.NumClients
		subs += n.NumSubs
		if n.NumUsers != n.NumClients || n.Process.RSS < 1<<20 {
			c.t.Errorf("%+v", n)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, nodes) || sum != clients || subs != clients {
		c.t.Errorf("info says %d clients and %d subscriptions on %v, want %d on %v", sum, subs, names, clients, nodes)
	}
	if channels.Channels[crowdRoom].NumClients != clients || stats.NumClients != clients || stats.NumUsers != clients {
		c.t.Errorf("channels %+v, presence_stats %+v, want %d clients", channels, stats, clients)
	}
}

// F1 and its kin: what the clients of a room hear when nodes die, stand still, are cut off and come back.
func TestMembersOfNodesThatDieStandStillAndComeBack(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, natstest.Config{NoJetStream: true})
	proxy := chaosproxy.Start(t, server.Addr())
	c := &roomful{t: t, nodes: map[string]*process{}, bin: build(t), args: []string{"--config", writeFile(t, "throng.yaml", sdkConfig)}}
	for _, name := range []string{"alive", "killed", "stopped"} {
		c.start(name, server.URL())
	}
	c.start("parted", "nats://"+proxy.Addr())
	c.fill("killed") // before anybody listens: the others have to ask
	var heard, apart roomEvents
	c.enter("alive", "watcher-alive", &heard)
	c.enter("parted", "watcher-parted", &apart)
	for _, name := range []string{"alive", "parted"} {
		c.nodes[name].awaitMetric("throng_members_clients", crowdSize)
	}
	c.fill("stopped")
	c.fill("parted")
	for who, e := range map[string]*roomEvents{"alive": &heard, "parted": &apart} {
		c.awaitJoined(e, who, "stopped", crowdSize)
		c.awaitJoined(e, who, "parted", crowdSize)
	}
	c.wantAPI(3*crowdSize+2, "alive", "killed", "parted", "stopped")

	// Eight seconds are no death.
	c.nodes["stopped"].signal(syscall.SIGSTOP)
	time.Sleep(8 * time.Second)
	c.nodes["stopped"].signal(syscall.SIGCONT)
	c.nodes["stopped"].awaitMetric("throng_control_nodes", 4)
	c.nodes["killed"].signal(syscall.SIGKILL)
	if _, left := heard.state(t, "alive", "stopped"); left != 0 {
		t.Errorf("%d members of a node that stood still for 8 s have left", left)
	}
	c.nodes["stopped"].signal(syscall.SIGSTOP)
	proxy.Refuse()
	proxy.Cut()
	leftOf := func(node string) func() bool {
		return func() bool {
			_, left := heard.state(t, "alive", node)
			return left == crowdSize
		}
	}
	t.Logf("the killed node's members have left after %v", c.await("the killed node's members to leave", leftOf("killed")))
	c.await("the stopped node's members to leave", leftOf("stopped"))
	c.await("the parted node's members to leave", leftOf("parted"))
	if _, left := apart.state(t, "parted", "stopped"); left != 0 {
		t.Errorf("a node without a link takes others for dead: %d left", left)
	}

	c.nodes["stopped"].signal(syscall.SIGCONT)
	proxy.Heal()
	c.awaitJoined(&heard, "alive", "stopped", crowdSize)
	c.awaitJoined(&heard, "alive", "parted", crowdSize)
	c.await("the parted node to learn of the killed one", func() bool {
		_, left := apart.state(t, "parted", "killed")
		return left == crowdSize
	})
	c.awaitJoined(&apart, "parted", "stopped", crowdSize)
	c.wantAPI(2*crowdSize+2, "alive", "parted", "stopped")

	c.stop("stopped", &heard, &apart)
	c.wantAPI(crowdSize+2, "alive", "parted")
}

// stop ends a node in peace.
func (c *roomful) stop(name string, alive, parted *roomEvents) {
	c.t.Helper()
	watchers := map[string]*roomEvents{"alive": alive, "parted": parted}
	c.nodes[name].signal(syscall.SIGTERM)
	c.nodes[name].wantExit(0)
	for who, e := range watchers {
		c.awaitJoined(e, who, name, 0)
	}
	time.Sleep(2 * time.Second) // for what must not come: a second leave
	for who, e := range watchers {
		for _, node := range []string{"killed", "stopped", "parted"} {
			e.state(c.t, who, node)
		}
	}
}

func TestMembersOfANodeThatStopsLeaveOnce(t *testing.T) {
	config := "--config=" + writeFile(t, "throng.yaml", sdkConfig)
	a, b := twoNodes(t, config)
	var heard roomEvents
	enterRoom(t, b.addr, "2222-before", nil)
	enterRoom(t, a.addr, "1111-watcher", &heard)
	a.awaitMetric("throng_members_clients", 1)
	enterRoom(t, b.addr, "2222-after", nil)
	await(t, "the new member to join", func() bool {
		joined, _ := heard.state(t, "the watcher", "2222")
		return joined == 1
	})
	if got := b.metric(`throng_members_channels{state="watched"}`); got != 1 {
		t.Errorf("node 2222 watches %v channels", got) // its own clients hear joins too
	}
	b.stop()
	await(t, "the members to leave", func() bool {
		_, left := heard.state(t, "the watcher", "2222")
		return left == 2
	})
	await(t, "the node to be forgotten", func() bool { return a.metric("throng_control_nodes") == 1 && a.metric("throng_members_clients") == 0 })
	heard.state(t, "the watcher", "2222")
}

func TestJoinsAndLeavesWhileNATSIsAwayAreToldWhenItIsBack(t *testing.T) {
	server := newNATS(t, "")
	server.start()
	config := "--config=" + writeFile(t, "throng.yaml", sdkConfig)
	a := startTestNode(t, "1111", config, "--nats-url="+server.url(""))
	b := startTestNode(t, "2222", config, "--nats-url="+server.url(""))
	for _, n := range []*testNode{a, b} {
		n.awaitReady(200, "")
		n.awaitMetric("throng_control_nodes", 2)
	}
	var heard roomEvents
	enterRoom(t, a.addr, "1111-watcher", &heard)
	enterRoom(t, b.addr, "2222-stays", nil)
	leaves := enterRoom(t, b.addr, "2222-leaves", nil)
	await(t, "both to join", func() bool {
		joined, _ := heard.state(t, "the watcher", "2222")
		return joined == 2
	})
	for _, n := range []*testNode{a, b} {
		n.awaitMetric(`throng_control_handled_requests_total{result="handled"}`, 2) // each has asked both
	}
	server.stop()
	for _, n := range []*testNode{a, b} {
		n.awaitReady(503, "not connected to NATS")
	}
	leaves.Close()
	enterRoom(t, b.addr, "2222-joins", nil)
	b.awaitMetric(`throng_session_refusals_total{reason="lost_join"}`, 2)
	server.start()
	await(t, "what was missed to be told", func() bool {
		joined, left := heard.state(t, "the watcher", "2222")
		return joined == 2 && left == 1
	})
	if got := heard.of("2222-stays"); len(got) != 1 {
		t.Errorf("who stayed: %v", got)
	}
}

func (e *roomEvents) of(user string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list[user])
}
