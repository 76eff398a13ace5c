package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"throng/broker"
	"throng/broker/natstest"
	"throng/broker/natstest/chaosproxy"
)

// remoteNode is a node on a NATS of its own process.
func remoteNode(t testing.TB, url string, cfg broker.StreamsConfig, h broker.Handler) (*broker.NATS, *broker.Streams) {
	t.Helper()
	if h == nil {
		h = func(broker.Message) {}
	}
	n := connect(t, broker.Config{URLs: strings.Split(url, ","), ConnectTimeout: 500 * time.Millisecond}, h)
	if cfg.Streams == nil {
		cfg.Streams = []broker.StreamConfig{historyOf("chat")}
	}
	if cfg.RetryMin == 0 {
		cfg.RetryMin, cfg.RetryMax = 5*time.Millisecond, 100*time.Millisecond
	}
	s, err := n.Streams(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n, s
}

// doubts collects what OnDoubt is told.
type doubts struct {
	mu  sync.Mutex
	got []string
}

func (d *doubts) tell(namespace string) {
	d.mu.Lock()
	d.got = append(d.got, namespace)
	d.mu.Unlock()
}

func (d *doubts) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.got)
}

func epochOf(t testing.TB, s *broker.Streams) string {
	t.Helper()
	return mustRead(t, s, broker.ReadQuery{Channel: "c"}).Epoch
}

func TestDeletedStreamIsMadeAnewWithANewEpoch(t *testing.T) {
	var d doubts
	srv, n, s := streamNode(t, broker.StreamsConfig{OnDoubt: d.tell, CheckInterval: time.Hour}, nil)
	js, err := rawConn(t, srv).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before, told := epochOf(t, s), d.count()
		old := mustStore(t, s, "c", "old")
		if err := js.DeleteStream("throng_hist_chat"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another epoch", n, func() bool {
			st := s.Status()[0]
			return st.Ready && st.Epoch != before
		})
		if d.count() == told {
			t.Error("OnDoubt was not told")
		}
		r := mustStore(t, s, "c", "new")
		p := mustRead(t, s, broker.ReadQuery{Channel: "c", Since: old.Offset, Limit: 10})
		if r.Epoch == before || p.Epoch != r.Epoch || r.Offset > old.Offset+2 {
			t.Errorf("%+v after %+v; read %+v", r, old, p)
		}
	}
}

func TestPurgedStreamBeginsANewEpoch(t *testing.T) {
	srv, n, s := streamNode(t, broker.StreamsConfig{CheckInterval: time.Hour}, nil)
	js, err := rawConn(t, srv).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	before := mustStore(t, s, "c", "x")
	if err := js.PurgeStream("throng_hist_chat"); err != nil {
		t.Fatal(err)
	}
	p := mustRead(t, s, broker.ReadQuery{Channel: "c", Since: before.Offset, Limit: 1})
	if p.Epoch == before.Epoch || p.Epoch == "" || p.Top != 0 {
		t.Errorf("%+v after %+v", p, before)
	}
	eventually(t, "ready", n, func() bool { return s.Status()[0].Ready })
}

func TestManyNodesAgreeOnOneEpoch(t *testing.T) {
	srv := natstest.Start(t, natstest.Config{})
	var nodes []*broker.Streams
	for range 8 {
		n, s := remoteNode(t, srv.URL(), broker.StreamsConfig{}, nil)
		t.Cleanup(n.Close)
		nodes = append(nodes, s)
	}
	epochs := make(map[string]bool)
	made := uint64(0)
	for _, s := range nodes {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		for {
			p, err := s.Read(ctx, broker.ReadQuery{Namespace: "chat", Channel: "c"})
			if err == nil {
				epochs[p.Epoch] = true
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
		made += s.Stats().Epochs
	}
	if len(epochs) != 1 || made != 1 {
		t.Errorf("epochs %v, %d begun", epochs, made)
	}
}

func TestRestartKeepsTheEpochOfFilesAndEndsThatOfMemory(t *testing.T) {
	for _, storage := range []string{"file", "memory"} {
		t.Run(storage, func(t *testing.T) {
			srv := natstest.Start(t, natstest.Config{})
			var d doubts
			c := historyOf("chat")
			c.Storage = storage
			n, s := remoteNode(t, srv.URL(), broker.StreamsConfig{Streams: []broker.StreamConfig{c}, OnDoubt: d.tell}, nil)
			awaitStreams(t, n, s)
			before := mustStore(t, s, "c", "kept")
			told := d.count()
			srv.Restart()
			eventually(t, "told of the doubt", n, func() bool { return d.count() > told })
			awaitStreams(t, n, s)
			p := mustRead(t, s, broker.ReadQuery{Channel: "c", Since: before.Offset - 1, Limit: 1})
			if kept := storage == "file"; (p.Epoch == before.Epoch) != kept || (len(p.Messages) == 1) != kept {
				t.Errorf("%+v after %+v", p, before)
			}
		})
	}
}

func TestWithoutJetStreamLiveChannelsGoOnAndTheStatusSaysWhatToDo(t *testing.T) {
	srv := natstest.Start(t, natstest.Config{NoJetStream: true})
	heard := make(chan broker.Message, 1)
	n, s := remoteNode(t, srv.URL(), broker.StreamsConfig{}, func(m broker.Message) { heard <- m })
	eventually(t, "the reason", n, func() bool { return strings.Contains(s.Status()[0].Why, "JetStream is off") })
	if r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: "c"}); !errors.Is(r.Err, broker.ErrNoStream) {
		t.Errorf("stored: %+v", r)
	}
	if _, err := s.Read(context.Background(), broker.ReadQuery{Namespace: "chat", Channel: "c"}); !errors.Is(err, broker.ErrNoStream) {
		t.Errorf("read: %v", err)
	}
	n.Subscribe("live")
	if err := n.Publish("live", []byte("x"), false); err != nil {
		t.Fatal(err)
	}
	<-heard
}

func TestFullDiskIsSaidWithinTheAckTimeoutAndLiveChannelsGoOn(t *testing.T) {
	dir := natstest.Tmpfs(t, 24<<20)
	srv := natstest.Start(t, natstest.Config{StoreDir: dir})
	heard := make(chan broker.Message, 1)
	n, s := remoteNode(t, srv.URL(), broker.StreamsConfig{CheckInterval: time.Second}, func(m broker.Message) { heard <- m })
	awaitStreams(t, n, s)
	data := make([]byte, 256<<10)
	var failed broker.Stored
	var took time.Duration
	acked := map[string]bool{}
	for i := 0; failed.Err == nil; i++ {
		channel, begun := fmt.Sprint("c", i), time.Now()
		if failed = store(t, s, broker.StorePublication{Namespace: "chat", Channel: channel, Data: data}); failed.Err == nil {
			acked[channel] = true
		}
		took = time.Since(begun)
		if i > 200 {
			t.Fatal("50 MB fit on 24")
		}
	}
	t.Logf("after %d messages, %v: %v", len(acked), took, failed.Err)
	if !errors.Is(failed.Err, broker.ErrStoreFull) && !errors.Is(failed.Err, broker.ErrNoStream) && !errors.Is(failed.Err, broker.ErrUnconfirmed) {
		t.Errorf("%v", failed.Err)
	}
	eventually(t, "the reason", n, func() bool { return strings.Contains(s.Status()[0].Why, "free space") })
	t.Log(s.Status()[0].Why)
	n.Subscribe("live")
	if err := n.Publish("live", []byte("x"), false); err != nil {
		t.Fatal(err)
	}
	<-heard
	freeSpace(t, dir)
	srv.Restart()
	awaitStreams(t, n, s)
	mustStore(t, s, "after", "x")
	for channel := range acked {
		if p := mustRead(t, s, broker.ReadQuery{Channel: channel, Limit: 1}); len(p.Messages) != 1 {
			t.Errorf("acknowledged on %s and lost", channel)
		}
	}
}

func TestMaxStoreReachedIsStoreFull(t *testing.T) {
	srv := natstest.Start(t, natstest.Config{MaxFile: 1 << 20})
	n, s := remoteNode(t, srv.URL(), broker.StreamsConfig{}, nil)
	awaitStreams(t, n, s)
	data := make([]byte, 64<<10)
	for i := range 100 {
		r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: fmt.Sprint("c", i), Data: data})
		if r.Err == nil {
			continue
		}
		if !errors.Is(r.Err, broker.ErrStoreFull) {
			t.Errorf("%v", r.Err)
		}
		if st := s.Status()[0]; st.Ready || !strings.Contains(st.Why, "full") {
			t.Errorf("status %+v", st)
		}
		return
	}
	t.Error("6 MB fit into 1")
}

// F27: the acknowledgement is lost with the link, and the retry with the same ID does not store twice.
func TestRetryAfterALostAcknowledgementIsStoredOnce(t *testing.T) {
	srv := natstest.Start(t, natstest.Config{})
	proxy := chaosproxy.Start(t, srv.Addr())
	n, s := remoteNode(t, "nats://"+proxy.Addr(), broker.StreamsConfig{}, nil)
	awaitStreams(t, n, s)
	before := mustStore(t, s, "c", "before")
	watch := srv.Connect()
	stored, err := watch.SubscribeSync("throng.live.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Flush(); err != nil {
		t.Fatal(err)
	}
	proxy.Hold(chaosproxy.Down)
	const most = 50
	var o outcome
	put := func(i int) broker.StorePublication {
		return broker.StorePublication{Namespace: "chat", Channel: fmt.Sprint("k", i%10), Data: fmt.Appendf(nil, "%02d", i), ID: fmt.Sprint(i)}
	}
	for i := range most {
		p := put(i)
		p.Done = o.done
		if err := s.Store(&p); err != nil {
			t.Fatal(err)
		}
	}
	for range most {
		if _, err := stored.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
	}
	proxy.Cut()
	proxy.Heal()
	eventually(t, "every publication answered", n, func() bool { return len(o.all()) == most })
	for _, r := range o.all() {
		if !errors.Is(r.Err, broker.ErrUnconfirmed) {
			t.Fatalf("%+v", r)
		}
	}
	awaitStreams(t, n, s)
	for i := range most {
		if r := store(t, s, put(i)); r.Err != nil || !r.Duplicate || r.Epoch != before.Epoch {
			t.Fatalf("retry %d: %+v", i, r)
		}
	}
	for i := range 10 {
		p := mustRead(t, s, broker.ReadQuery{Channel: fmt.Sprint("k", i), Limit: 100})
		if got := texts(p.Messages); len(got) != most/10 || !slices.IsSorted(got) {
			t.Errorf("stored %q", got)
		}
	}
}

// A NATS that stands still answers nothing: the caller is told in time, and late answers harm nobody.
func TestSilentNATSIsUnconfirmedInTime(t *testing.T) {
	srv := natstest.Start(t, natstest.Config{})
	n, s := remoteNode(t, srv.URL(), broker.StreamsConfig{AckTimeout: 200 * time.Millisecond}, nil)
	awaitStreams(t, n, s)
	srv.Stop()
	r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: "c", Data: []byte("x")})
	srv.Cont()
	if !errors.Is(r.Err, broker.ErrUnconfirmed) {
		t.Errorf("%+v", r)
	}
	eventually(t, "late acknowledgement counted", n, func() bool { return s.Stats().StrayAcks == 1 })
}

func TestForeignStreamOnOurSubjectsIsNamed(t *testing.T) {
	srv := startServer(t, "127.0.0.1:0")
	js, err := rawConn(t, srv).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "ORDERS", Subjects: []string{"throng.hist.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "throng_hist_b", Subjects: []string{"mine"}, Retention: nats.WorkQueuePolicy}); err != nil {
		t.Fatal(err)
	}
	n := connect(t, broker.Config{Server: srv}, func(broker.Message) {})
	s, err := n.Streams(broker.StreamsConfig{Streams: []broker.StreamConfig{historyOf("a"), historyOf("b")}, RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reasons", n, func() bool {
		st := s.Status()
		return strings.Contains(st[0].Why, "ORDERS") && strings.Contains(st[1].Why, "none of Throng's")
	})
	if err := js.DeleteStream("ORDERS"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready by itself", n, func() bool { return s.Status()[0].Ready })
	if info, err := js.StreamInfo("throng_hist_b"); err != nil || info.Config.Subjects[0] != "mine" {
		t.Errorf("the foreign stream was changed: %+v, %v", info, err)
	}
}
