package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"throng/broker"
	"throng/server/wire"
)

// natsServer is a NATS server of its own, which tests take away and bring back on the same address.
type natsServer struct {
	t   testing.TB
	cfg broker.EmbeddedConfig
	e   *broker.Embedded
}

// freeAddr is a port that nothing listens on, at an address that no outgoing connection is bound to.
func freeAddr(t *testing.T) string {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	return probe.Addr().String()
}

// newNATS prepares a server with the given lines in its nats.conf, and its address, without starting it.
func newNATS(t *testing.T, conf string) *natsServer {
	t.Helper()
	file := writeFile(t, "nats.conf", fmt.Sprintf("listen: %q\n%s\n", freeAddr(t), conf))
	s := &natsServer{t: t, cfg: broker.EmbeddedConfig{NodeID: "outside", ConfigFile: file, Logger: slog.New(slog.DiscardHandler)}}
	t.Cleanup(s.stop)
	return s
}

func (s *natsServer) start() {
	s.t.Helper()
	e, err := broker.StartEmbedded(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.e = e
}

func (s *natsServer) stop() {
	if s.e != nil {
		s.e.Shutdown()
		s.e = nil
	}
}

// url spells the server's address, with "user:password@" or the like before it.
func (s *natsServer) url(who string) string {
	raw, err := os.ReadFile(s.cfg.ConfigFile)
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), `"`)
	addr, _, _ := strings.Cut(rest, `"`)
	return "nats://" + who + addr
}

func TestNATSAwayAtStart(t *testing.T) { // F23
	server := newNATS(t, "")
	n := startTestNode(t, "1111", "--nats-url="+server.url(""))
	n.awaitReady(503, "not connected to NATS")
	if status, _ := get(n.admin + "/livez"); status != 200 {
		t.Errorf("livez: %d", status)
	}
	early := dial(t, n.addr, "/")
	early.wantText("Connected to server 1111")
	early.say("into the void")
	n.awaitMetric(`throng_livechat_lost_messages_total{reason="disconnected"}`, 1)
	if status, _ := get("http://" + n.addr + "/"); status != 200 {
		t.Errorf("the page: %d", status)
	}
	server.start()
	n.awaitReady(200, "")
	early.knock("1111") // who came before NATS did is heard now
	if got := n.metric("throng_broker_connected"); got != 1 {
		t.Errorf("throng_broker_connected is %v", got)
	}
}

func TestNATSLostWhileRunning(t *testing.T) {
	server := newNATS(t, "")
	server.start()
	a := startTestNode(t, "1111", "--nats-url="+server.url(""))
	b := startTestNode(t, "2222", "--nats-url="+server.url(""))
	one, two, red := a.enter("/"), b.enter("/"), b.enter("/livechat?room=red")
	const lost = `throng_livechat_lost_messages_total{reason="disconnected"}`
	for round := range 2 {
		server.stop()
		for _, n := range []*testNode{a, b} {
			n.awaitReady(503, "not connected to NATS")
		}
		before := a.metric(lost)
		one.say("lost")
		a.awaitMetric(lost, before+1)
		a.awaitMetric(`throng_broker_lost_messages_total{reason="disconnected"}`, before+1)
		// Clients stay, and new ones are let in.
		two.send(wire.OpPing, "still there")
		two.want(wire.OpPong, "still there")
		during := dial(t, a.addr, "/")
		during.wantText("Connected to server 1111")
		server.start()
		for _, n := range []*testNode{a, b} {
			n.awaitReady(200, "")
			n.awaitMetric("throng_broker_reconnects_total", float64(round+1))
		}
		// Each hears itself again, which proves its node's interest; then all hear each other.
		one.knock("1111")
		two.knock("2222")
		red.knock("2222")
		during.knock("1111")
		text := fmt.Sprintf("back, round %d", round)
		during.say(text)
		two.wantText("2222:" + text)
		one.wantText("1111:" + text)
		during.wantText("1111:" + text)
		during.leave()
	}
	await(t, "the 3 clients that stayed are the ones connected", func() bool {
		return a.metric(`throng_ws_connections{state="open"}`) == 1 && b.metric(`throng_ws_connections{state="open"}`) == 2
	})
	for _, c := range []*client{one, two, red} {
		c.leave()
	}
}

// A node that cannot reach NATS is still drained: nothing that is not there can be waited for.
func TestDrainWithoutNATS(t *testing.T) {
	server := newNATS(t, "")
	server.start()
	n := startTestNode(t, "1111", "--nats-url="+server.url(""))
	c := n.enter("/")
	server.stop()
	n.awaitReady(503, "")
	n.cancel()
	c.wantClose(wire.CloseGoingAway)
	c.Close()
	n.stop()
	if n.err != nil {
		t.Errorf("run: %v", n.err)
	}
}

func TestWrongNATSCredentials(t *testing.T) {
	server := newNATS(t, `authorization { user: ann, password: right }`)
	server.start()
	n := startTestNode(t, "1111", "--nats-url="+server.url("ann:wrong@"))
	n.awaitReady(503, "Authorization Violation")
	if status, _ := get(n.admin + "/livez"); status != 200 {
		t.Errorf("livez: %d", status)
	}
	// Repaired at the server, as operators do: the node comes by itself.
	server.stop()
	conf := strings.Replace(readAll(t, server.cfg.ConfigFile), "right", "wrong", 1)
	if err := os.WriteFile(server.cfg.ConfigFile, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	server.start()
	n.awaitReady(200, "")
	n.enter("/")
}

func readAll(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTakenPortsAndDirectoriesAreNamed(t *testing.T) {
	dir := t.TempDir()
	n := startTestNode(t, "1111", "--nats-listen=127.0.0.1:0", "--data-dir="+dir)
	admin := strings.TrimPrefix(n.admin, "http://")
	natsAddr := strings.TrimPrefix(n.nats, "nats://")
	for _, taken := range []struct{ arg, field, why, fix string }{
		{"--addr=" + n.addr, `--addr "` + n.addr + `"`, "address already in use", "choose a free address"},
		{"--admin-addr=" + admin, `--admin-addr "` + admin + `"`, "address already in use", "choose a free address"},
		{"--nats-listen=" + natsAddr, `--nats-listen "` + natsAddr + `"`, "address already in use", "choose a free address"},
		{"--data-dir=" + dir, `--data-dir "`, "in use by process ", "directory of its own"},
		{"--max-connections=2000000", `--max-connections "2000000"`, "descriptor limit", "use at most"},
		{"--profile-dir=" + filepath.Join(dir, "jetstream", "throng.lock"), "profile cpu", "not a directory", "--profile-dir"},
		{"--nats-config=" + writeFile(t, "a.conf", "jetstream {"), "--nats-config", "a.conf", "correct"},
		{"--nats-config=" + writeFile(t, "b.conf", "listen: "+natsAddr), "--nats-config", "in use", "free the address"},
	} {
		got := startFails(t, taken.arg, "--profile="+map[bool]string{true: "cpu"}[strings.HasPrefix(taken.arg, "--profile-dir")])
		for _, part := range []string{taken.field, taken.why, taken.fix} {
			if !strings.Contains(got, part) {
				t.Errorf("%s\n got %s\nwant %s", taken.arg, got, part)
			}
		}
		if strings.Contains(got, "\n") {
			t.Errorf("%s: more than one line: %q", taken.arg, got)
		}
	}
	n.enter("/").leave() // unharmed by all these
}

// With a nats.conf that says nothing of JetStream and no home there is no store, and none may appear in the working directory.
func TestNATSConfigWithoutDataDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	conf := writeFile(t, "nats.conf", "max_payload: 2MB\n")
	n := startTestNode(t, "1111", "--nats-config="+conf, "--data-dir=", "--max-message=1500KiB", "--outbox-limit=4MiB")
	n.enter("/").leave()
	if got := n.metric("throng_broker_max_payload_bytes"); got != 2<<20 && got != 2_000_000 {
		t.Errorf("max payload %v", got)
	}
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) > 0 {
		t.Errorf("in the working directory: %v, %v", entries, err)
	}
}

// Two nodes whose embedded servers are a cluster need no other NATS, and one of them goes on alone.
func TestClusterOfEmbeddedServersIsOneChat(t *testing.T) {
	addrs := []string{freeAddr(t), freeAddr(t)}
	start := func(i int) *testNode {
		conf := fmt.Sprintf("cluster { name: chat, listen: %q, routes: [ \"nats://%s\" ] }\n", addrs[i], addrs[1-i])
		return startTestNode(t, []string{"1111", "2222"}[i], "--nats-config="+writeFile(t, "nats.conf", conf))
	}
	a, b := start(0), start(1)
	one, two := a.enter("/"), b.enter("/")
	one.hearAcross(two, "1111")
	two.hearAcross(one, "2222")
	one.say("across")
	one.wantText("1111:across")
	two.wantText("2222:across")
	two.leave()
	b.stop()
	a.awaitReady(200, "")
	one.say("alone")
	one.wantText("1111:alone")
	back := start(1)
	three := back.enter("/")
	one.hearAcross(three, "1111")
	three.hearAcross(one, "2222")
	three.say("back")
	one.wantText("1111:back")
}

// hearAcross has the other knock until c hears it: servers of a cluster learn of interest a moment later.
func (c *client) hearAcross(other *client, id string) {
	c.t.Helper()
	for heard := false; !heard; {
		other.say(knock + "across")
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := c.r.Peek(1)
		heard = err == nil
		if err != nil && !isTimeout(err) {
			c.t.Fatal(err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, p, err := c.frame(); err != nil || !strings.HasPrefix(string(p), id+":"+knock) {
		c.t.Fatalf("got %q, %v", p, err)
	}
}

// A message that NATS does not take is the client's loss alone, and counted as what it is.
func TestMessageTooBigForNATSIsCounted(t *testing.T) {
	server := newNATS(t, "max_payload: 1024")
	server.start()
	n := startTestNode(t, "1111", "--nats-url="+server.url(""))
	c := n.enter("/")
	c.say(strings.Repeat("x", 2000))
	n.awaitMetric(`throng_livechat_lost_messages_total{reason="too_big"}`, 1)
	c.knock("1111")
	if other := n.metric(`throng_livechat_lost_messages_total{reason="other"}`); other != 0 {
		t.Errorf("%v losses without a reason", other)
	}
}

// Clients that crowd a full node are told when to come back, and those inside notice nothing.
func TestFullNodeShedsAndRecovers(t *testing.T) {
	n := startTestNode(t, "1111", "--max-connections=2", "--retry-after=7s", "--http-max-connections=1")
	one, two := n.enter("/"), n.enter("/")
	for range 3 {
		c := dialRaw(t, n.addr)
		c.write(upgradeHead(n.addr, "/", ""))
		answer := c.wantStatus(http.StatusServiceUnavailable)
		if body, _ := io.ReadAll(answer.Body); answer.Header.Get("Retry-After") != "7" || !answer.Close || len(body) == 0 {
			t.Errorf("%v %q", answer.Header, body)
		}
		c.wantEnd()
	}
	n.awaitMetric(`throng_ws_handshakes_total{result="shed"}`, 3)
	two.leave()
	await(t, "room for one", func() bool { return n.metric(`throng_ws_connections{state="open"}`) == 1 })
	n.enter("/").leave()
	// Plain HTTP has a limit of its own.
	page, crowded := dialRaw(t, n.addr), dialRaw(t, n.addr)
	const request = "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n"
	page.write(request)
	_, _ = io.Copy(io.Discard, page.wantStatus(http.StatusOK).Body)
	crowded.write(request)
	if got := crowded.wantStatus(http.StatusServiceUnavailable).Header.Get("Retry-After"); got != "7" {
		t.Errorf("Retry-After %q", got)
	}
	crowded.wantEnd()
	page.Close()
	await(t, "room for one", func() bool { return n.metric(`throng_ws_connections{state="http"}`) == 0 })
	one.knock("1111")
}
