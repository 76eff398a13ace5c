package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"go.uber.org/goleak"

	"throng/server/wire"
)

func TestReadinessFollowsNATSAndDrain(t *testing.T) {
	a, b := twoNodes(t, "--drain-window=1m")
	for _, n := range []*testNode{a, b} {
		if status, body := get(n.admin + "/livez"); status != 200 || !strings.Contains(body, `"live"`) {
			t.Errorf("livez of %s: %d %s", n.id, status, body)
		}
	}
	// A client that does not answer the close frame holds the drain open.
	stubborn := b.enter("/")
	a.stop()
	b.awaitReady(503, "not connected to NATS")
	if status, _ := get(b.admin + "/livez"); status != 200 {
		t.Errorf("livez without NATS: %d, want 200: a restart would not help", status)
	}
	if got := b.metric("throng_node_ready"); got != 0 {
		t.Errorf("throng_node_ready is %v without NATS", got)
	}
	b.cancel()
	b.awaitReady(503, errDraining.Error())
	if status, _ := get(b.admin + "/livez"); status != 200 {
		t.Errorf("livez while draining: %d", status)
	}
	if got := b.metric("throng_node_draining"); got != 1 {
		t.Errorf("throng_node_draining is %v", got)
	}
	stubborn.wantClose(wire.CloseGoingAway)
	stubborn.Close()
	b.stop()
	if status, _ := get(b.admin + "/livez"); status != 0 {
		t.Errorf("the admin listener answers %d after the end", status)
	}
}

func TestMetricsMove(t *testing.T) {
	a, b := twoNodes(t)
	one, two := a.enter("/"), b.enter("/livechat")
	one.say("hello")
	one.wantText("1111:hello")
	two.wantText("2222:hello")
	one.send(wire.OpBinary, "\x01\x02")
	two.want(wire.OpBinary, "\x01\x02")
	one.send(wire.OpPing, "")
	one.want(wire.OpBinary, "\x01\x02")
	one.want(wire.OpPong, "")
	one.leave()
	get("http://" + a.addr + "/robots.txt")
	for series, least := range map[string]float64{
		`throng_ws_connections_limit`:                              1,
		`throng_ws_accepted_connections_total`:                     2,
		`throng_ws_handshakes_total{result="ok"}`:                  1,
		`throng_ws_handshakes_total{result="http"}`:                1,
		`throng_ws_closes_total{code="normal",side="peer"}`:        1,
		`throng_ws_received_messages_total{opcode="text"}`:         2,
		`throng_ws_received_messages_total{opcode="binary"}`:       1,
		`throng_ws_received_messages_total{opcode="ping"}`:         1,
		`throng_ws_received_bytes_total`:                           200,
		`throng_ws_sent_bytes_total`:                               200,
		`throng_ws_writes_total`:                                   4,
		`throng_hub_publications_total`:                            3,
		`throng_hub_deliveries_total`:                              3,
		`throng_hub_fanout_duration_seconds_count`:                 1,
		`throng_hub_channels`:                                      1,
		`throng_broker_published_messages_total`:                   3,
		`throng_broker_delivered_messages_total`:                   3,
		`throng_broker_connected`:                                  1,
		`throng_broker_max_payload_bytes`:                          1 << 20,
		`throng_broker_interest_channels`:                          1,
		`throng_livechat_messages_total{opcode="text"}`:            2,
		`throng_livechat_messages_total{opcode="binary"}`:          1,
		`throng_livechat_greetings_total`:                          1,
		`throng_node_ready`:                                        1,
		`go_goroutines`:                                            1,
		`process_open_fds`:                                         1,
		`process_resident_memory_bytes`:                            1,
		`throng_hub_fanout_duration_seconds_bucket{le="+Inf"}`:     1,
		`promhttp_metric_handler_errors_total{cause="collecting"}`: 0,
	} {
		a.awaitMetric(series, least)
	}
	await(t, "only the client of 2222 is left", func() bool {
		return a.metric(`throng_ws_connections{state="open"}`)+a.metric(`throng_ws_connections{state="http"}`) == 0 &&
			b.metric(`throng_ws_connections{state="open"}`) == 1
	})
}

func TestProfilesOfARunningNode(t *testing.T) {
	n := startTestNode(t, "1111")
	for _, page := range []string{"heap", "goroutine", "allocs", "threadcreate", "block", "mutex", "profile?seconds=1"} {
		status, body := get(n.admin + "/debug/pprof/" + page)
		if status != 200 {
			t.Errorf("%s: %d %.200s", page, status, body)
			continue
		}
		if _, err := profile.ParseData([]byte(body)); err != nil {
			t.Errorf("%s is no profile: %v", page, err)
		}
	}
	if status, body := get(n.admin + "/debug/pprof/"); status != 200 || !strings.Contains(body, "goroutine?debug=1") {
		t.Errorf("index: %d %.200s", status, body)
	}
	if status, body := get(n.admin + "/debug/pprof/cmdline"); status != 200 || body != os.Args[0] {
		t.Errorf("cmdline: %d %q", status, body)
	}
}

func TestPublicPortShowsNothingOfTheAdmin(t *testing.T) {
	n := startTestNode(t, "1111")
	for _, path := range []string{
		"/livez", "/readyz", "/metrics", "/debug/pprof", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/admin", "/healthz",
		"//metrics", "/./metrics", "/assets/../metrics", "/%6detrics", "/metrics/", "/debug/vars",
	} {
		c := dialRaw(t, n.addr)
		c.write("GET " + path + " HTTP/1.1\r\nHost: " + n.addr + "\r\nConnection: close\r\n\r\n")
		c.wantStatus(http.StatusNotFound)
		c.wantEnd()
	}
	for _, request := range []string{"TRACE / ", "TRACE /metrics ", "CONNECT 127.0.0.1:9090 ", "DELETE / ", "PUT /x ", "PRI * "} {
		c := dialRaw(t, n.addr)
		c.write(request + "HTTP/1.1\r\nHost: " + n.addr + "\r\nX-Canary: echo\r\nConnection: close\r\n\r\n")
		answer, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		refused := []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadRequest}
		if !slices.Contains(refused[:2], answer.StatusCode) && !(request[0] != 'T' && slices.Contains(refused, answer.StatusCode)) {
			t.Errorf("%s: %s", request, answer.Status)
		}
		c.wantEnd()
	}
	for _, path := range []string{"/", "/livechat", "/metrics/x"} {
		if status, _ := get(n.admin + path); (status == 200) != (path == "/") {
			t.Errorf("%s on the admin listener: %d", path, status)
		}
	}
}

// openFiles counts this process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// What only the first node of a process leaves behind (Go's poller, the signal loop) is there after the first round.
func TestDrainUnderLoadLeavesNothing(t *testing.T) {
	t.Run("warm-up", func(t *testing.T) { drainUnderLoad(t, 4, "--drain-window=0") })
	goroutines, files := goleak.IgnoreCurrent(), openFiles(t)
	t.Run("300 clients", func(t *testing.T) { drainUnderLoad(t, 300, "--drain-window=4s") })
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
	if got := openFiles(t); got > files {
		t.Errorf("%d descriptors are open, %d were before", got, files)
	}
}

// Clients that never answer, requests that never end and connections that never began hold up neither the last words of
// others nor the end.
func TestStubbornClientsDoNotSpoilTheDrain(t *testing.T) {
	a, b := twoNodes(t, "--shutdown-timeout=2s", "--close-timeout=1m")
	for _, begun := range []string{
		"", "GET / HTTP/1.1\r\nHost:", "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n", "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /",
	} {
		c := dialRaw(t, b.addr)
		c.write(begun)
		if strings.Contains(begun, "x\r\n") {
			_, _ = io.Copy(io.Discard, c.wantStatus(http.StatusOK).Body)
		}
	}
	stays, stubborn := a.enter("/"), b.enter("/")
	stubborn.say("last words")
	b.awaitMetric(`throng_livechat_messages_total{opcode="text"}`, 2) // with the knock
	b.stop()
	if b.err != nil {
		t.Errorf("run: %v", b.err)
	}
	stubborn.wantClose(wire.CloseGoingAway)
	stays.wantText("1111:last words")
	if !strings.Contains(b.log.String(), "clients that did not leave were cut") {
		t.Error("the log does not say that a client was cut")
	}
}

// drainUnderLoad stops a node whose clients are chatting. Each of them must get 1001, and with a window, some of them must
// hear what others say after the first has been sent away.
func drainUnderLoad(t *testing.T, clients int, window string) {
	n := startTestNode(t, "1111", window)
	type result struct {
		late bool
		err  error
	}
	results, firstGone := make(chan result, clients), make(chan struct{})
	gone := make(chan struct{}, clients)
	var members []*client
	for i := range clients {
		members = append(members, n.enter(fmt.Sprintf("/livechat?room=%d", i%(clients/4))))
	}
	for i, c := range members {
		go func() {
			late, err := c.chatUntilSentAway(strconv.Itoa(i), firstGone)
			gone <- struct{}{}
			results <- result{late, err}
		}()
	}
	n.awaitMetric("throng_livechat_messages_total{opcode=\"text\"}", float64(3*clients))
	n.cancel()
	<-gone
	close(firstGone)
	heardLate := false
	for range clients {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		heardLate = heardLate || r.late
	}
	if !heardLate && window != "--drain-window=0" {
		t.Error("nobody heard anything after the first client was sent away: not spread over the window")
	}
	n.stop()
	if n.err != nil {
		t.Errorf("run: %v", n.err)
	}
	if status, _ := get(n.admin + "/livez"); status != 0 {
		t.Errorf("still answers %d", status)
	}
}

// chatUntilSentAway says one thing after the other, the next when the last has come back, until the close frame comes.
// late tells that it heard what somebody said after firstGone.
func (c *client) chatUntilSentAway(name string, firstGone chan struct{}) (late bool, err error) {
	for when := "early"; ; {
		text := when + " from " + name
		if _, err := c.Write(wire.AppendMaskedFrame(nil, wire.OpText, true, []byte(text), clientMask)); err != nil {
			return late, err
		}
		for heard := ""; !strings.HasSuffix(heard, ":"+text); late = late || strings.Contains(heard, ":late") {
			op, p, err := c.frame()
			if err != nil {
				return late, err
			}
			if op == wire.OpClose {
				return late, c.answerClose(p)
			}
			heard = string(p)
		}
		select {
		case <-firstGone:
			when = "late"
		default:
		}
	}
}

// answerClose repeats the close frame, which must be 1001, and waits for the end.
func (c *client) answerClose(p []byte) error {
	code, _, err := wire.ParseCloseBody(p)
	if err != nil || code != wire.CloseGoingAway {
		return fmt.Errorf("close code %d, %w", code, err)
	}
	if _, err := c.Write(wire.AppendMaskedFrame(nil, wire.OpClose, true, p, clientMask)); err != nil {
		return err
	}
	if b, err := c.r.ReadByte(); err == nil {
		return fmt.Errorf("got %x after the close frame", b)
	}
	return c.Close()
}
