package natstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"throng/broker/natstest/chaosproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func js(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// store publishes one message, trying again while there is no leader.
func store(t *testing.T, j jetstream.JetStream, subject, text string) {
	t.Helper()
	await(t, "stored "+text, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := j.Publish(ctx, subject, []byte(text), jetstream.WithMsgID(text))
		return err == nil
	})
}

// texts are all messages of a stream.
func texts(t *testing.T, j jetstream.JetStream, stream string) string {
	t.Helper()
	s, err := j.Stream(limit(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(limit(t), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(m.Data))
	}
	return strings.Join(all, " ")
}

func makeStream(t *testing.T, j jetstream.JetStream, replicas int) {
	t.Helper()
	if _, err := j.CreateStream(limit(t), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: replicas}); err != nil {
		t.Fatal(err)
	}
}

func TestServerComesBackWithItsPortAndFiles(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{})
	nc := s.Connect()
	j := js(t, nc)
	makeStream(t, j, 1)
	store(t, j, "s.a", "one")
	pid := s.Pid()
	for i, end := range []func(){s.Kill, s.Shutdown} {
		end()
		end()
		if s.Running() {
			t.Fatal("still running")
		}
		if c, err := net.Dial("tcp", s.Addr()); err == nil {
			c.Close()
			t.Fatal("something listens in its place")
		}
		s.Start()
		s.WaitReady()
		store(t, j, "s.a", fmt.Sprint(i))
	}
	if s.Pid() == pid || texts(t, j, "S") != "one 0 1" {
		t.Errorf("stream has %q", texts(t, j, "S"))
	}
}

func TestStoppedServerStandsStill(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{NoJetStream: true})
	nc := s.Connect()
	s.Stop()
	if s.Answering() || !s.Running() {
		t.Error("not seen as stopped")
	}
	if err := nc.FlushTimeout(100 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("a stopped server answers: %v", err)
	}
	s.Cont()
	if err := nc.FlushTimeout(Patience); err != nil {
		t.Error(err)
	}
	s.Stop() // and is killed as such at the end
}

func TestSettingsReachTheServer(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{
		MaxFile: 1 << 20, MaxMemory: 2 << 20, SyncAlways: true, Login: "ann:secret@",
		Lines: `max_payload: 4096, authorization: { users: [ { user: ann, password: secret } ] }`,
	})
	nc := s.Connect()
	if nc.MaxPayload() != 4096 {
		t.Errorf("max payload %d", nc.MaxPayload())
	}
	info, err := js(t, nc).AccountInfo(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", info)
	raw, err := s.page("/jsz?config=true")
	if err != nil || !strings.Contains(string(raw), `"max_storage": 1048576`) || !strings.Contains(string(raw), `"sync_always": true`) {
		t.Errorf("%s %v", raw, err)
	}
	off := Start(t, Config{NoJetStream: true})
	if _, err := js(t, off.Connect()).AccountInfo(limit(t)); !errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		t.Errorf("JetStream is not off: %v", err)
	}
}

func TestFullTmpfsIsFull(t *testing.T) {
	t.Parallel()
	s := Start(t, Config{StoreDir: Tmpfs(t, 4<<20)})
	j := js(t, s.Connect())
	makeStream(t, j, 1)
	data := make([]byte, 256<<10)
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := j.Publish(ctx, "s.a", data)
		cancel()
		if err != nil {
			return
		}
	}
	t.Error("25 MiB fit into 4 MiB")
}

func TestClusterLosesItsLeaderAndNothingElse(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, Config{})
	j := js(t, c.Connect())
	makeStream(t, j, 3)
	c.WaitCurrent("S")
	first := c.Leader("S")
	store(t, j, "s.a", "one")
	first.Kill()
	second := c.Leader("S")
	if second == first {
		t.Fatal("led by a dead server")
	}
	store(t, j, "s.a", "two")
	first.Start()
	c.WaitReady()
	c.WaitCurrent("S")
	for _, s := range c.Servers {
		s.Kill()
	}
	for _, s := range c.Servers {
		s.Start()
	}
	c.WaitReady()
	store(t, j, "s.a", "three")
	if got := texts(t, j, "S"); got != "one two three" {
		t.Errorf("stream has %q", got)
	}
}

func TestPartitionedLeaderIsReplacedAndComesBack(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, Config{ProxiedRoutes: true})
	alone := c.Leader(func() string { makeStream(t, js(t, c.Connect()), 3); return "S" }())
	c.WaitCurrent("S")
	minority := js(t, alone.Connect())
	majority := js(t, c.Others(alone)[0].Connect())
	c.Partition(alone)
	store(t, majority, "s.a", "one")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if ack, err := minority.Publish(ctx, "s.a", []byte("alone")); err == nil {
		t.Errorf("the minority acknowledged %+v", ack)
	}
	c.Heal()
	c.WaitReady()
	c.WaitCurrent("S")
	store(t, minority, "s.a", "two")
	if got := texts(t, majority, "S"); got != "one two" && got != "one alone two" { // never acknowledged, so either is right
		t.Errorf("stream has %q", got)
	}
}

func TestClientStaysBehindItsProxy(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, Config{NoJetStream: true})
	p := chaosproxy.Start(t, c.Servers[0].Addr())
	nc := connect(t, "nats://"+p.Addr(), nil)
	if servers := nc.DiscoveredServers(); len(servers) > 0 {
		t.Errorf("the client was told of %q", servers)
	}
	p.Refuse()
	p.Cut()
	await(t, "the client has no server", func() bool { return nc.Status() == nats.RECONNECTING })
	p.Heal()
	await(t, "the client is back", func() bool { return nc.Status() == nats.CONNECTED })
}
