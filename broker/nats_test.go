package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"throng/broker"
)

const patience = 30 * time.Second

func eventually(t testing.TB, what string, n broker.Broker, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s: %v %+v", what, n.Ready(), n.Stats())
		}
	}
}

func mustSync(t testing.TB, n broker.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Sync(ctx); err != nil {
		t.Fatalf("Sync: %v", err)
	}
}

func receive(t *testing.T, from <-chan broker.Message) broker.Message {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		t.Fatal("nothing heard")
		return broker.Message{}
	}
}

// foreign is a NATS client that knows nothing of Throng.
func foreign(t *testing.T, s *natsServer) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestForeignNATSClientsTalkToChannelsInPlainText(t *testing.T) {
	s := startServer(t, "")
	got := make(chan broker.Message, 10)
	n := connect(t, broker.Config{Server: s}, func(m broker.Message) { got <- m })
	n.Subscribe("livechat")
	n.Subscribe("live chat")
	mustSync(t, n)
	nc := foreign(t, s)
	heard, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	for subject, channel := range map[string]string{"throng.live.livechat": "livechat", "throng.live.live%20chat": "live chat"} {
		if err := nc.Publish(subject, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if m := receive(t, got); m.Channel != channel || string(m.Data) != "hello" || m.Binary {
			t.Errorf("heard %+v", m)
		}
		if _, err := heard.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
	}
	for _, binary := range []bool{false, true} {
		if err := n.Publish("livechat", []byte("hi"), binary); err != nil {
			t.Fatal(err)
		}
		m, err := heard.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "throng.live.livechat" || string(m.Data) != "hi" || m.Header.Get("Throng-Binary") != map[bool]string{true: "1"}[binary] {
			t.Errorf("on the wire: %q %q %v", m.Subject, m.Data, m.Header)
		}
	}
}

func TestNodesWithDifferentPrefixesDoNotHearEachOther(t *testing.T) {
	s := startServer(t, "")
	got := make(chan broker.Message, 10)
	a := connect(t, broker.Config{Server: s, Prefix: "one"}, func(m broker.Message) { got <- m })
	b := connect(t, broker.Config{Server: s, Prefix: "two"}, func(broker.Message) {})
	a.Subscribe("c")
	mustSync(t, a)
	if err := b.Publish("c", []byte("two"), false); err != nil {
		t.Fatal(err)
	}
	mustSync(t, b)
	if err := a.Publish("c", []byte("one"), false); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, got); string(m.Data) != "one" {
		t.Errorf("heard %q", m.Data)
	}
}

// S12: a NATS account that allows nothing but our prefix never has cause to complain, whatever channels are called.
func TestNothingOutsideThePrefixIsEverSent(t *testing.T) {
	conf := writeConf(t, `
		authorization: { users: [
			{ user: node, password: secret, permissions: { publish: "throng.live.>", subscribe: "throng.live.>" } }
			{ user: spy, password: secret }
		] }`)
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "n", StoreDir: t.TempDir(), ConfigFile: conf, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Shutdown)
	n := connect(t, broker.Config{Server: e, User: "node", Password: "secret"}, func(broker.Message) {})
	spy, err := nats.Connect("", nats.InProcessServer(e), nats.UserInfo("spy", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spy.Close)
	var mu sync.Mutex
	seen := make(map[string]bool)
	if _, err := spy.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		seen[m.Subject] = true
	}); err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	names := []string{
		"*", ">", "a.>", "$JS.API.>", "$SYS.REQ.SERVER.PING", "_INBOX.x", "a\r\nPUB evil 1\r\nx\r\n", "\x00", strings.Repeat("x", 10240),
		"\xff\xfe", "\u202eevil", "..", "x ", " x", "throng.hist.x",
	}
	for _, name := range names {
		n.Subscribe(name)
		_ = n.Publish(name, []byte("x"), true)
		n.Unsubscribe(name)
	}
	mustSync(t, n)
	eventually(t, "the spy sees all", n, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == len(names)-1 })
	mu.Lock()
	defer mu.Unlock()
	for subject := range seen {
		if !strings.HasPrefix(subject, "throng.live.") || !server.IsValidLiteralSubject(subject) {
			t.Errorf("sent on %q", subject)
		}
	}
	if s := n.Stats(); s.AsyncErrors != 0 || s.Disconnects != 0 {
		t.Errorf("NATS complained: %+v", s)
	}
}

func TestConnectSucceedsWithoutNATSAndBecomesReadyWhenItComes(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	s.stop()
	log := new(logBuffer)
	got := make(chan broker.Message, 1)
	n := connect(t, broker.Config{URLs: []string{s.url()}, Logger: log.logger()}, func(m broker.Message) { got <- m })
	eventually(t, "the reason is known", n, func() bool {
		err := n.Ready()
		return errors.Is(err, broker.ErrDisconnected) && strings.Contains(err.Error(), "connection refused")
	})
	if err := n.Publish("c", nil, false); !errors.Is(err, broker.ErrDisconnected) {
		t.Errorf("Publish: %v", err)
	}
	n.Subscribe("c")
	s.start()
	eventually(t, "ready", n, func() bool { return n.Ready() == nil })
	if err := n.Publish("c", []byte("x"), false); err != nil {
		t.Fatal(err)
	}
	receive(t, got)
	if st := n.Stats(); st.Reconnects != 0 || st.Disconnects != 0 {
		t.Errorf("a first connect counted as a reconnect: %+v", st)
	}
	if text := log.String(); strings.Count(text, "cannot reach NATS") != 1 || !strings.Contains(text, "connected to NATS") {
		t.Errorf("log:\n%s", text)
	}
}

func TestWrongCredentialsLeaveTheNodeAliveAndTrying(t *testing.T) {
	conf := writeConf(t, `
		listen: "127.0.0.1:-1"
		authorization: { user: node, password: right }`)
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "n", StoreDir: t.TempDir(), ConfigFile: conf, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Shutdown)
	log := new(logBuffer)
	n := connect(t, broker.Config{URLs: []string{"nats://node:canary-secret@" + e.Addr().String()}, Logger: log.logger()}, func(broker.Message) {})
	for range 3 { // nats.go by itself would give up after the second refusal
		eventually(t, "the reason is known", n, func() bool {
			err := n.Ready()
			return errors.Is(err, broker.ErrDisconnected) && strings.Contains(err.Error(), "Authorization")
		})
	}
	ok := connect(t, broker.Config{URLs: []string{"nats://node:right@" + e.Addr().String()}}, func(broker.Message) {})
	if err := ok.Ready(); err != nil {
		t.Errorf("right credentials: %v", err)
	}
	if strings.Contains(log.String()+n.Ready().Error(), "canary-secret") {
		t.Error("the password is in the log or the error")
	}
}

func TestTheServersPayloadLimitIsKnownAndCountsTheHeader(t *testing.T) {
	conf := writeConf(t, `max_payload: 1000`)
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "n", StoreDir: t.TempDir(), ConfigFile: conf, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Shutdown)
	got := make(chan broker.Message, 10)
	n := connect(t, broker.Config{Server: e}, func(m broker.Message) { got <- m })
	n.Subscribe("c")
	if max := n.Stats().MaxPayload; max != 1000 {
		t.Errorf("MaxPayload %d", max)
	}
	largest := func(binary bool) int {
		for size := 1001; ; size-- {
			err := n.Publish("c", make([]byte, size), binary)
			if err == nil {
				return size
			}
			if !errors.Is(err, broker.ErrTooBig) {
				t.Fatal(err)
			}
		}
	}
	text, binary := largest(false), largest(true)
	if text != 1000 || binary >= text || binary < 960 {
		t.Errorf("largest text %d, binary %d", text, binary)
	}
	if a, b := receive(t, got), receive(t, got); len(a.Data) != text || len(b.Data) != binary {
		t.Errorf("heard %d and %d bytes", len(a.Data), len(b.Data))
	}
	if s := n.Stats(); s.Disconnects != 0 || s.AsyncErrors != 0 {
		t.Errorf("NATS complained: %+v", s)
	}
}

func TestPublishAllocatesItsCopyAndNothingElse(t *testing.T) {
	s := startServer(t, "")
	n := connect(t, broker.Config{Server: s}, func(broker.Message) {})
	data := bytes.Repeat([]byte("x"), 128)
	mustSync(t, n)
	// The publisher goroutine and nats-server run beside the measured loop, so a single run may see theirs: the
	// best of several shows the caller's own.
	best := 100.0
	for range 20 {
		best = min(best, testing.AllocsPerRun(500, func() { _ = n.Publish("livechat", data, false) }))
	}
	if best > 1 {
		t.Errorf("%v allocations per Publish, budget 1", best)
	}
}

func TestLameDuckIsNoticedAndTheNodeMovesOn(t *testing.T) {
	opts := func(port int) *server.Options {
		return &server.Options{
			Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true,
			LameDuckDuration: 100 * time.Millisecond, LameDuckGracePeriod: time.Millisecond,
		}
	}
	start := func() *server.Server {
		s, err := server.NewServer(opts(server.RANDOM_PORT))
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(patience) {
			t.Fatal("server not ready")
		}
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		return s
	}
	one, two := start(), start()
	got := make(chan broker.Message, 1)
	n := connect(t, broker.Config{URLs: []string{one.ClientURL(), two.ClientURL()}}, func(m broker.Message) { got <- m })
	n.Subscribe("c")
	mustSync(t, n)
	leaving := one
	if two.NumClients() > 0 {
		leaving = two
	}
	go leaving.LameDuckShutdown()
	eventually(t, "reconnected elsewhere", n, func() bool { return n.Stats().Reconnects > 0 && n.Ready() == nil })
	if s := n.Stats(); s.LameDuck != 1 {
		t.Errorf("lame duck seen %d times", s.LameDuck)
	}
	if err := n.Publish("c", []byte("x"), false); err != nil {
		t.Fatal(err)
	}
	receive(t, got)
}

func TestDrainWithoutALinkEndsAtOnceAndIsNoErrorWhenNothingIsLost(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	n := connect(t, broker.Config{URLs: []string{s.url()}}, func(broker.Message) {})
	s.stop()
	eventually(t, "link lost", n, func() bool { return n.Ready() != nil })
	if err := n.Drain(context.Background()); err != nil {
		t.Errorf("Drain: %v", err)
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	url := []string{"nats://127.0.0.1:4222"}
	for field, cfg := range map[string]broker.Config{
		"URLs":            {},
		"Prefix":          {URLs: url, Prefix: "a.*"},
		"CredsFile":       {URLs: url, CredsFile: "/nonexistent/x.creds"},
		"QueueMessages":   {URLs: url, Limits: broker.Limits{QueueMessages: -1}},
		"MaxChannelBytes": {URLs: url, Limits: broker.Limits{MaxChannelBytes: 4000}},
		"ReconnectMax":    {URLs: url, ReconnectMin: time.Second, ReconnectMax: time.Millisecond},
		"PingInterval":    {URLs: url, PingInterval: -1},
		"MaxPings":        {URLs: url, MaxPings: -1},
	} {
		_, err := broker.Connect(cfg, func(broker.Message) {})
		if fields := fieldsOf(err); !slices.Contains(fields, field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, bad := range []string{"http://x:1", "nats://", "nats://:4222", "nats://u:canary-secret@[::1", "u:canary-secret@h:\x01"} {
		_, err := broker.Connect(broker.Config{URLs: []string{bad}}, func(broker.Message) {})
		if !slices.Contains(fieldsOf(err), "URLs") || strings.Contains(fmt.Sprint(err), "canary-secret") {
			t.Errorf("URL %q: %v", bad, err)
		}
	}
	all := broker.Config{Prefix: "*", CredsFile: "/nonexistent", Limits: broker.Limits{Readers: -1}}
	if _, err := broker.Connect(all, nil); len(fieldsOf(err)) != 4 {
		t.Errorf("not all errors at once: %v", err)
	}
}

// fieldsOf collects the fields of all ConfigErrors in a tree of joined errors.
func fieldsOf(err error) []string {
	var one *broker.ConfigError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var fields []string
		for _, e := range joined.Unwrap() {
			fields = append(fields, fieldsOf(e)...)
		}
		return fields
	}
	if errors.As(err, &one) {
		return []string{one.Field}
	}
	return nil
}

func writeConf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
