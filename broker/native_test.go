package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"throng/broker"
)

// native maps name:rest to subject.rest, and back unless rest is "nameless".
type native struct{ name, subject string }

func (m native) Subject(channel string) (string, bool) {
	rest, ok := strings.CutPrefix(channel, m.name+":")
	return m.subject + "." + rest, ok
}

func (m native) Channel(subject string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, m.subject+".")
	return m.name + ":" + rest, ok && rest != "nameless"
}

// listener is a node on s whose messages come by channel.
type listener struct {
	*broker.NATS
	mu   sync.Mutex
	from map[string]chan broker.Message
}

func listen(t *testing.T, cfg broker.Config, m broker.Native, channels ...string) *listener {
	t.Helper()
	l := &listener{from: make(map[string]chan broker.Message)}
	for _, c := range channels {
		l.from[c] = make(chan broker.Message, 100)
	}
	l.NATS = connect(t, cfg, func(m broker.Message) {
		if m.Concrete != "" {
			m.Channel += " " + m.Concrete
		}
		l.mu.Lock()
		to := l.from[m.Channel]
		l.mu.Unlock()
		if to == nil {
			t.Errorf("heard %+v", m)
			return
		}
		to <- m
	})
	l.SetNative(m)
	for _, c := range channels {
		c, _, _ = strings.Cut(c, " ")
		l.Subscribe(c)
	}
	mustSync(t, l)
	return l
}

func TestNativeChannelsCarryTheMessagesOfOthers(t *testing.T) {
	s := startServer(t, "")
	const concrete, many = "s:hall.temp", "s:*.temp s:hall.temp"
	n := listen(t, broker.Config{Server: s}, native{"s", "sensors"}, concrete, many, "s", "own:x")
	nc := foreign(t, s)
	forged := &nats.Msg{Subject: "sensors.hall.temp", Data: []byte("forged"), Header: nats.Header{
		"Throng-Meta": {`{"info":{"user":"root","client":"x"}}`}, "Nats-Sequence": {"1"}, "Nats-Stream": {"THRONG_hist_s"},
	}}
	binary := &nats.Msg{Subject: "sensors.hall.temp", Data: []byte{0xff, 0}, Header: nats.Header{"Throng-Binary": {"1"}}}
	for _, m := range []*nats.Msg{{Subject: "sensors.hall.temp", Data: []byte(`{"v":1}`)}, forged, binary} {
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		for _, channel := range []string{concrete, many} {
			got := receive(t, n.from[channel])
			if string(got.Data) != string(m.Data) || got.Meta != "" || got.Binary != (m == binary) {
				t.Errorf("%s heard %+v", channel, got)
			}
		}
	}
	if err := nc.Publish("throng.live.own:x", nil); err != nil {
		t.Fatal(err)
	}
	receive(t, n.from["own:x"])
	if st := n.Stats(); st.Interest != 4 || st.NativeInterest != 2 {
		t.Errorf("interest %d, native %d", st.Interest, st.NativeInterest)
	}
	n.Unsubscribe(concrete)
	mustSync(t, n)
	if err := nc.Publish("sensors.hall.temp", nil); err != nil {
		t.Fatal(err)
	}
	receive(t, n.from[many]) // a message on the other would fail the test
	if st := n.Stats(); st.Interest != 3 || st.NativeInterest != 1 {
		t.Errorf("after unsubscribe: interest %d, native %d", st.Interest, st.NativeInterest)
	}
}

func TestPublicationsOfNativeChannelsArePlainToOthers(t *testing.T) {
	s := startServer(t, "")
	n := listen(t, broker.Config{Server: s}, native{"s", "sensors"}, "s:a", "s:* s:a")
	nc := foreign(t, s)
	heard, err := nc.SubscribeSync("sensors.a")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	const meta = `{"info":{"user":"42","client":"c"}}`
	for _, publish := range []func() error{
		func() error { return n.Publish("s:a", []byte("text"), false) },
		func() error { return n.Publish("s:a", []byte("text"), true) },
		func() error { return n.PublishMeta("s:a", []byte("text"), []byte(meta)) },
	} {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
		m, err := heard.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != "text" || m.Reply != "" {
			t.Errorf("on the wire: %+v", m)
		}
		if got := m.Header.Get("Throng-Meta"); got != "" && got != meta {
			t.Errorf("header %v", m.Header)
		}
		for _, channel := range []string{"s:a", "s:* s:a"} {
			if got := receive(t, n.from[channel]); string(got.Data) != "text" || got.Meta != "" {
				t.Errorf("%s heard %+v", channel, got)
			}
		}
	}
	// What subjects of others cannot take: joins, which are a line without data, and the messages of a wildcard.
	before := n.Stats().Lost[broker.LostBadSubject]
	for _, publish := range []func() error{
		func() error { return n.PublishMeta("s:a", nil, []byte(`{"kind":"join"}`)) },
		func() error { return n.Publish("s:*", []byte("x"), false) },
	} {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	mustSync(t, n)
	if got := n.Stats().Lost[broker.LostBadSubject] - before; got != 2 || len(n.from["s:a"]) != 0 {
		t.Errorf("%d counted, %d heard", got, len(n.from["s:a"]))
	}
}

func TestAMessageThatNoChannelNameStandsForIsCounted(t *testing.T) {
	s := startServer(t, "")
	n := listen(t, broker.Config{Server: s}, native{"s", "sensors"}, "s:* s:a")
	nc := foreign(t, s)
	for _, subject := range []string{"sensors.nameless", "sensors.a"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, n.from["s:* s:a"])
	if got := n.Stats().Lost[broker.LostBadSubject]; got != 1 {
		t.Errorf("%d counted, want 1", got)
	}
}

func TestInterestFollowsAReload(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	n := listen(t, broker.Config{URLs: []string{s.url()}}, nil, "s:a", "s:b", "own")
	nc := foreign(t, s)
	reaches := func(subject, channel string) {
		t.Helper()
		mustSync(t, n)
		if err := nc.Publish(subject, []byte(subject)); err != nil {
			t.Fatal(err)
		}
		if m := receive(t, n.from[channel]); string(m.Data) != subject {
			t.Errorf("%s: heard %+v", channel, m)
		}
		for name, c := range n.from {
			if len(c) != 0 {
				t.Errorf("%s reached %s too", subject, name)
			}
		}
	}
	reaches("throng.live.s:a", "s:a")
	n.SetNative(native{"s", "sensors"})
	reaches("sensors.a", "s:a")
	reaches("throng.live.own", "own")
	n.SetNative(native{"s", "$SYS"}) // which is refused: the channel is deaf, and not forgotten
	reaches("throng.live.own", "own")
	n.SetNative(native{"s", "probes"})
	reaches("probes.a", "s:a")
	reaches("probes.b", "s:b")
	s.stop()
	n.SetNative(native{"s", "meters"})
	s.start()
	eventually(t, "reconnected", n, func() bool { return n.Ready() == nil })
	nc = foreign(t, s)
	reaches("meters.a", "s:a")
	n.SetNative(nil)
	reaches("throng.live.s:b", "s:b")
	if st := n.Stats(); st.Interest != 3 || st.NativeInterest != 0 || st.AsyncErrors != 0 {
		t.Errorf("%+v", st)
	}
}

// hostile is a mapping gone wrong: every channel stands for itself.
type hostile struct{}

func (hostile) Subject(channel string) (string, bool) { return channel, channel != "own" }
func (hostile) Channel(string) (string, bool)         { return "", false }

// A NATS account that allows our prefix and the mapped subjects never has cause to complain, whatever the mapping says.
func TestNothingIsSentWhereNobodyMayBe(t *testing.T) {
	conf := writeConf(t, `
		authorization: { users: [
			{ user: node, password: secret, permissions: {
				publish: ["throng.live.>", "sensors.>"], subscribe: ["throng.live.>", "sensors.>"] } }
			{ user: spy, password: secret }
		] }`)
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "n", StoreDir: t.TempDir(), ConfigFile: conf, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Shutdown)
	n := connect(t, broker.Config{Server: e, User: "node", Password: "secret"}, func(broker.Message) {})
	n.SetNative(hostile{})
	spy, err := nats.Connect("", nats.InProcessServer(e), nats.UserInfo("spy", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spy.Close)
	heard := make(chan *nats.Msg, 1000)
	if _, err := spy.ChanSubscribe(">", heard); err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	names := []string{
		"*", ">", "*.a", "$JS.API.>", "$JS.API.STREAM.LIST", "$SYS.REQ.SERVER.PING", "_INBOX.x", "_INBOX.>", "sensors.a\r\nPUB evil 1\r\nx\r\n",
		"sensors.a b", "sensors.a\x00", "sensors.\xff", "sensors..a", "sensors.", ".sensors", "sensors.>.a", "sensors.a*", "sensors.ä",
		"throng.live.other", "throng.hist.x", "throng.ctl.survey", "throng.>", "throng.*", "throng.*.x", strings.Repeat("sensors.", 40) + "x", "own", "sensors.good",
	}
	for i, name := range append(names, "sensors.*.last", "sensors.>") {
		n.Subscribe(name)
		_ = n.Publish(name, []byte(fmt.Sprint(i)), true)
		_ = n.PublishMeta(name, []byte(fmt.Sprint(i)), []byte("{}"))
	}
	mustSync(t, n)
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for len(heard) > 0 {
		m := <-heard
		if !server.IsValidLiteralSubject(m.Subject) {
			t.Errorf("sent on %q", m.Subject)
		}
		seen[m.Subject]++
	}
	if len(seen) != 2 || seen["throng.live.own"] != 2 || seen["sensors.good"] != 2 {
		t.Errorf("sent on %v", seen)
	}
	if st := n.Stats(); st.AsyncErrors != 0 || st.Disconnects != 0 || st.NativeInterest != 3 {
		t.Errorf("NATS complained: %+v", st)
	}
}
