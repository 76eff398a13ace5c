package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"throng/broker"
	"throng/broker/brokertest"
)

func TestMemoryKeepsTheControlContract(t *testing.T) {
	brokertest.TestControl(t, func(t *testing.T, cfgs ...broker.ControlConfig) *brokertest.ControlGroup {
		bus := broker.NewBus()
		var members []*broker.Memory
		g := &brokertest.ControlGroup{
			Cut: func() { bus.SetDown(true) }, Heal: func() { bus.SetDown(false) },
			Serve: func(_ *testing.T, subject string, fn broker.ServiceFunc) { bus.Serve(subject, fn) },
		}
		g.Kill = func(i int) { members[i].Close() }
		for _, cfg := range cfgs {
			m := broker.NewMemory(func(broker.Message) {}, broker.MemoryConfig{Bus: bus})
			t.Cleanup(m.Close)
			members = append(members, m)
			g.Nodes = append(g.Nodes, startControl(t, m, cfg))
		}
		return g
	})
}

func TestNATSInProcessKeepsTheControlContract(t *testing.T) {
	brokertest.TestControl(t, func(t *testing.T, cfgs ...broker.ControlConfig) *brokertest.ControlGroup {
		s := startServer(t, "")
		return natsControls(t, s, broker.Config{Server: s}, cfgs)
	})
}

func TestNATSOverTCPKeepsTheControlContract(t *testing.T) {
	brokertest.TestControl(t, func(t *testing.T, cfgs ...broker.ControlConfig) *brokertest.ControlGroup {
		s := startServer(t, "127.0.0.1:0")
		return natsControls(t, s, broker.Config{URLs: []string{s.url()}}, cfgs)
	})
}

type controller interface {
	Control(broker.ControlConfig) (*broker.Control, error)
}

func startControl(t testing.TB, b controller, cfg broker.ControlConfig) *broker.Control {
	t.Helper()
	c, err := b.Control(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func natsControls(t *testing.T, s *natsServer, cfg broker.Config, cfgs []broker.ControlConfig) *brokertest.ControlGroup {
	var nodes []*broker.NATS
	g := &brokertest.ControlGroup{Cut: s.stop, Heal: s.start}
	g.Kill = func(i int) { nodes[i].Close() }
	g.Serve = func(t *testing.T, subject string, fn broker.ServiceFunc) { serveNATS(t, stranger(t, s), subject, fn) }
	for _, c := range cfgs {
		n := connect(t, cfg, func(broker.Message) {})
		nodes = append(nodes, n)
		g.Nodes = append(g.Nodes, startControl(t, n, c))
	}
	return g
}

// stranger is a NATS client that is no node.
func stranger(t testing.TB, s *natsServer) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func serveNATS(t testing.TB, nc *nats.Conn, subject string, fn broker.ServiceFunc) {
	t.Helper()
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
		r := broker.ServiceRequest{Subject: m.Subject, Data: m.Data, Header: map[string]string{}}
		for k, v := range m.Header {
			r.Header[k] = v[0]
		}
		data, err := fn(r)
		answer := &nats.Msg{Data: data, Header: nats.Header{}}
		var failure *broker.ServiceError
		if errors.As(err, &failure) {
			answer.Header.Set("Nats-Service-Error-Code", failure.Code)
			answer.Header.Set("Nats-Service-Error", failure.Description)
		} else if err != nil {
			return
		}
		_ = m.RespondMsg(answer)
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func controlConfig(name string) broker.ControlConfig {
	return broker.ControlConfig{
		Name: name, Version: "v0.4.0", HeartbeatInterval: 60 * time.Millisecond, ForgetAfter: patience,
		SettleTime: 20 * time.Millisecond, ProbeAfter: 20 * time.Millisecond, SurveyTimeout: patience,
		Counts: func() broker.NodeCounts { return broker.NodeCounts{Clients: 3, Users: 2, Subs: 5, Channels: 4} },
	}
}

// controls starts nodes on one server and waits until they know each other.
func controls(t *testing.T, s *natsServer, names ...string) (nodes []*broker.Control) {
	t.Helper()
	for _, name := range names {
		nodes = append(nodes, startControl(t, connect(t, broker.Config{Server: s}, func(broker.Message) {}), controlConfig(name)))
	}
	for _, c := range nodes {
		awaitNodes(t, c, len(names))
	}
	return nodes
}

func awaitNodes(t *testing.T, c *broker.Control, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(c.Nodes()) != n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d nodes known, want %d: %+v", len(c.Nodes()), n, c.Stats())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNodesAreNATSMicroServices(t *testing.T) {
	s := startServer(t, "")
	controls(t, s, "one", "two")
	nc := stranger(t, s)
	inbox := make(chan *nats.Msg, 16)
	reply := nats.NewInbox()
	if _, err := nc.ChanSubscribe(reply, inbox); err != nil {
		t.Fatal(err)
	}
	for verb, want := range map[string]string{"PING": `"version":"0.4.0"`, "INFO": `Throng node`, "STATS": `"clients":3`} {
		if err := nc.PublishRequest("$SRV."+verb+".throng", reply, nil); err != nil {
			t.Fatal(err)
		}
		var names []string
		for range 2 {
			select {
			case m := <-inbox:
				var answer struct{ Metadata map[string]string }
				if err := json.Unmarshal(m.Data, &answer); err != nil || !strings.Contains(string(m.Data), want) {
					t.Errorf("%s: %s %v", verb, m.Data, err)
				}
				names = append(names, answer.Metadata["node"])
			case <-time.After(patience):
				t.Fatalf("%s: not answered", verb)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"one", "two"}) {
			t.Errorf("%s: %q", verb, names)
		}
	}
}

// What the control plane sends by itself stays below the prefix.
func TestControlPlaneStaysBelowItsPrefix(t *testing.T) {
	s := startServer(t, "")
	nc := stranger(t, s)
	var mu sync.Mutex
	seen := map[string]int{}
	if _, err := nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		seen[strings.Join(strings.Split(m.Subject, ".")[:2], ".")]++
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	nodes := controls(t, s, "one", "two")
	for _, c := range nodes {
		c.HandleSurvey("x", func(p []byte) ([]byte, error) { return p, nil })
	}
	for range 10 {
		if _, err := nodes[0].Survey(context.Background(), "x", []byte("y")); err != nil {
			t.Fatal(err)
		}
		if _, err := nodes[0].Ask(context.Background(), nodes[1].Self().UID, "x", []byte("y")); err != nil {
			t.Fatal(err)
		}
	}
	nodes[0].Close()
	nodes[1].Close()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 1 || seen["throng.ctl"] < 40 {
		t.Errorf("subjects: %v", seen)
	}
	for _, subject := range []string{"throng", "throng.live.chat", "throng.ctl.beat"} {
		if _, err := nodes[0].Request(context.Background(), broker.ServiceRequest{Subject: subject}); !errors.Is(err, broker.ErrBadSubject) {
			t.Errorf("Request on %s: %v", subject, err)
		}
	}
}

// Whoever may publish below the prefix can send rubbish: nothing breaks, nothing is believed.
func TestControlPlaneSurvivesRubbish(t *testing.T) {
	s := startServer(t, "")
	nodes := controls(t, s, "one", "two")
	for _, c := range nodes {
		c.HandleSurvey("x", func(p []byte) ([]byte, error) { return p, nil })
	}
	nc := stranger(t, s)
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	for range 3000 {
		uid := nodes[r.IntN(2)].Self().UID
		m := &nats.Msg{
			Subject: "throng.ctl." + pick("beat", "survey", "node."+uid, "answer."+uid+".1", "answer."+uid+".zz!", "answer."+uid+".99999999999999999999"),
			Reply:   pick("", "throng.ctl.answer."+uid+".1", "foo", "throng.live.chat"),
			Data:    []byte(pick("", "{}", `{"uid":"a.b"}`, `{"uid":"*"}`, `{"uid":"`+uid+`","name":"forged"}`, "\xff\x00", `{"uid":7}`, "[", strings.Repeat("[", 5000))),
			Header: nats.Header{
				"Throng-Kind":    {pick("", "beat", "hello", "request", "probe", "here", "answer", "error", "what")},
				"Throng-Node":    {pick("", uid, "nobody", "a b", "*")},
				"Throng-Op":      {pick("", "x", "X Y", "\x7f")},
				"Throng-Timeout": {pick("", "0", "-5", "1000", "99999999999999", "x")},
				"Throng-Part":    {pick("", "0", "1", "-1", "x")},
				"Throng-More":    {pick("", "1")},
			},
		}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, c := range nodes {
		for deadline := time.Now().Add(patience); ; {
			got, err := c.Survey(context.Background(), "x", []byte("y"))
			if err == nil && len(got.Answers) >= 2 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v %+v", err, c.Stats())
			}
		}
		if c.Stats().Malformed == 0 {
			t.Errorf("no rubbish counted: %+v", c.Stats())
		}
	}
}

// A NATS that neither answers nor closes: a survey must not take silence for a cluster of one.
func TestSurveyOverASilentLinkIsNotComplete(t *testing.T) {
	child := startChild(t)
	n := connect(t, broker.Config{URLs: []string{"nats://" + child.addr}, PingInterval: time.Hour, ConnectTimeout: 200 * time.Millisecond}, func(broker.Message) {})
	cfg := controlConfig("one")
	cfg.ForgetAfter = 200 * time.Millisecond
	c := startControl(t, n, cfg)
	c.HandleSurvey("x", func(p []byte) ([]byte, error) { return p, nil })
	if s, err := c.Survey(context.Background(), "x", nil); err != nil || !s.Complete() {
		t.Fatal(s, err)
	}
	child.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	s, err := c.Survey(ctx, "x", nil)
	if !errors.Is(err, broker.ErrDisconnected) || len(s.Answers) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	child.signal(syscall.SIGCONT)
	if s, err := c.Survey(context.Background(), "x", nil); err != nil || !s.Complete() {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestControlStartsWithNATSAway(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	s.stop()
	n := connect(t, broker.Config{URLs: []string{s.url()}, ConnectTimeout: 100 * time.Millisecond}, func(broker.Message) {})
	c := startControl(t, n, controlConfig("one"))
	c.HandleSurvey("x", func(p []byte) ([]byte, error) { return []byte("own"), nil })
	got, err := c.Survey(context.Background(), "x", nil)
	if !errors.Is(err, broker.ErrDisconnected) || len(got.Answers) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	s.start()
	other := startControl(t, connect(t, broker.Config{URLs: []string{s.url()}}, func(broker.Message) {}), controlConfig("two"))
	awaitNodes(t, c, 2)
	awaitNodes(t, other, 2)
}

func TestControlConfigIsChecked(t *testing.T) {
	m := broker.NewMemory(func(broker.Message) {}, broker.MemoryConfig{})
	t.Cleanup(m.Close)
	for _, cfg := range []broker.ControlConfig{
		{}, {Name: "x", Workers: -1}, {Name: "x", SurveyTimeout: -1}, {Name: "x", HeartbeatInterval: time.Minute},
	} {
		_, err := m.Control(cfg)
		if _, ok := errors.AsType[*broker.ConfigError](err); !ok {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a bad operation name was taken")
		}
	}()
	startControl(t, m, controlConfig("x")).HandleSurvey("A B", nil)
}

func TestNeighboursAreTheOthersUntilTheySayGoodbye(t *testing.T) {
	s := startServer(t, "")
	nodes := controls(t, s, "one", "two", "three")
	one, two := nodes[0], nodes[1]
	uids := func() (list []string) {
		for _, n := range one.Neighbours(nil) {
			if n.Link != 1 {
				t.Errorf("%s has connected %d times", n.Name, n.Link)
			}
			list = append(list, n.UID)
		}
		slices.Sort(list)
		return list
	}
	want := []string{two.UID(), nodes[2].UID()}
	slices.Sort(want)
	if got := uids(); !slices.Equal(got, want) || one.Link() != 1 {
		t.Errorf("%v, want %v", got, want)
	}
	two.Close()
	heard := one.Stats()
	awaitNodes(t, one, 2)
	// A heartbeat behind the goodbye would bring it back.
	for range 20 {
		if _, err := one.Survey(t.Context(), "x", nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := uids(); !slices.Equal(got, []string{nodes[2].UID()}) || one.Stats().Silent != heard.Silent {
		t.Errorf("%v are left", got)
	}
}

func BenchmarkSurvey(b *testing.B) {
	for _, nodes := range []int{1, 2, 3, 10, 30} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			s := startServer(b, "")
			var first *broker.Control
			for i := range nodes {
				cfg := controlConfig(fmt.Sprint(i))
				cfg.HeartbeatInterval, cfg.ForgetAfter = 0, 0
				c := startControl(b, connect(b, broker.Config{Server: s}, func(broker.Message) {}), cfg)
				c.HandleSurvey("x", func(p []byte) ([]byte, error) { return p, nil })
				if first == nil {
					first = c
				}
			}
			for len(first.Nodes()) != nodes {
				time.Sleep(time.Millisecond)
			}
			before := cpuTime()
			for b.Loop() {
				if got, err := first.Survey(context.Background(), "x", nil); err != nil || !got.Complete() {
					b.Fatal(got, err)
				}
			}
			// All nodes and the NATS server are this process.
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}
