package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"throng/broker"
	"throng/broker/natstest"
)

func TestConfigurationFollowsInPlaceAndWhatCannotIsSaid(t *testing.T) {
	_, n, s := streamNode(t, broker.StreamsConfig{}, nil)
	before := mustStore(t, s, "c", "x")
	c := historyOf("chat")
	c.MaxBytes, c.MaxAge, c.Storage = 1<<20, 2*time.Hour, "memory"
	if err := s.Configure([]broker.StreamConfig{c, historyOf("more")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "followed", n, func() bool {
		st := s.Status()
		return len(st) == 2 && st[1].Ready && st[0].MaxBytes == 1<<20
	})
	st := s.Status()[0]
	if len(st.Mismatches) != 1 || !strings.Contains(st.Mismatches[0], "storage") || !st.Ready {
		t.Errorf("%+v", st)
	}
	if r := mustStore(t, s, "c", "y"); r.Epoch != before.Epoch {
		t.Errorf("%+v after %+v", r, before)
	}
	if err := s.Configure([]broker.StreamConfig{historyOf("more")}); err != nil {
		t.Fatal(err)
	}
	if r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: "c"}); !errors.Is(r.Err, broker.ErrNoStream) {
		t.Errorf("a namespace no longer listed: %+v", r)
	}
}

// Messages removed while fewer were kept per channel must not pass for never stored when more are kept later.
func TestGrowingSizeNeverMakesAGapLookWhole(t *testing.T) {
	c := historyOf("chat")
	c.Size = 2
	_, n, s := streamNode(t, broker.StreamsConfig{Streams: []broker.StreamConfig{c}}, nil)
	oldest := mustStore(t, s, "other", "keeps the stream's first sequence low").Offset
	x := mustStore(t, s, "c", "x").Offset
	for i := range 5 {
		mustStore(t, s, "c", fmt.Sprint(i))
	}
	c.Size = 10
	if err := s.Configure([]broker.StreamConfig{c}); err != nil {
		t.Fatal(err)
	}
	var p broker.Page
	whole := func(since uint64) bool {
		p = mustRead(t, s, broker.ReadQuery{Channel: "c", Since: since, Limit: 10})
		return p.SinceStored || p.Oldest > 0 && p.Oldest < since || since+1 >= p.StreamFirst && p.Count < c.Size+1
	}
	for s.Status()[0].Checked.IsZero() || len(s.Status()[0].Mismatches) > 0 {
		if whole(x) {
			t.Fatalf("a gap looks whole: %+v", p)
		}
	}
	if whole(x) || whole(oldest) {
		t.Errorf("a gap looks whole: %+v", p)
	}
	eventually(t, "known to be whole again", n, func() bool { return whole(p.Last) })
	top := mustStore(t, s, "empty", "first").Offset
	if !whole(top) || p.StreamFirst > top+1 {
		t.Errorf("after the change nothing was removed: %+v", p)
	}
}

func TestEpochOutlivesTheLimitOnBytes(t *testing.T) {
	c := historyOf("chat")
	c.Size, c.MaxBytes = 1000, 4<<20
	_, n, s := streamNode(t, broker.StreamsConfig{Streams: []broker.StreamConfig{c}, CheckInterval: time.Hour}, nil)
	epoch := epochOf(t, s)
	data := strings.Repeat("x", 1000)
	var last broker.Stored
	for i := range 10000 {
		last = mustStore(t, s, fmt.Sprint("c", i%100), data)
	}
	awaitStreams(t, n, s)
	st := s.Status()[0]
	if last.Epoch != epoch || epochOf(t, s) != epoch || s.Stats().Epochs != 1 {
		t.Errorf("epoch %s became %s: %+v", epoch, last.Epoch, st)
	}
	if st.First < 1000 {
		t.Errorf("nothing was removed: %+v", st)
	}
}

// Power loss in small: the files are older than what was acknowledged.
func TestLostTailBeginsANewEpoch(t *testing.T) {
	srv := natstest.Start(t, natstest.Config{StoreDir: t.TempDir() + "/store"})
	dir := storeOf(t, srv)
	n, s := remoteNode(t, srv.URL(), broker.StreamsConfig{}, nil)
	awaitStreams(t, n, s)
	before := mustStore(t, s, "c", "durable")
	srv.Shutdown()
	copyTree(t, dir, dir+".old")
	srv.Start()
	srv.WaitReady()
	awaitStreams(t, n, s)
	for range 5 {
		if r := mustStore(t, s, "c", "lost"); r.Epoch != before.Epoch {
			t.Fatalf("a restart began a new epoch: %+v", r)
		}
	}
	srv.Kill()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".old", dir); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	srv.WaitReady()
	eventually(t, "a new epoch", n, func() bool {
		st := s.Status()[0]
		return st.Ready && st.Epoch != before.Epoch
	})
	if p := mustRead(t, s, broker.ReadQuery{Channel: "c", Since: 0, Limit: 10}); p.Epoch == before.Epoch || len(p.Messages) != 1 {
		t.Errorf("%+v", p)
	}
}

func storeOf(t testing.TB, srv *natstest.Server) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(t.TempDir())), "*", "*", "store", srv.Name()))
	if err != nil || len(found) != 1 {
		t.Fatalf("store: %q, %v", found, err)
	}
	return found[0]
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestSlowReaderCastsDoubtOnEverything(t *testing.T) {
	var d doubts
	gate := make(chan struct{})
	srv := startServer(t, "")
	n := connect(t, broker.Config{Server: srv, Limits: broker.Limits{Readers: 1, ReaderMessages: 1}}, func(broker.Message) { <-gate })
	s := startStreams(t, n, broker.StreamsConfig{Streams: []broker.StreamConfig{historyOf("chat")}, OnDoubt: d.tell})
	opened := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(opened)
	n.Subscribe("c")
	mustSync(t, n)
	told := d.count()
	for range 10 {
		mustStore(t, s, "c", "x")
	}
	eventually(t, "doubt", n, func() bool { return d.count() > told })
	opened()
	d.mu.Lock()
	defer d.mu.Unlock()
	if last := d.got[len(d.got)-1]; last != "" {
		t.Errorf("doubt about %q", last)
	}
}

// F2 in small: the leader of a replicated stream dies while publications are under way, each tried again with the same ID until it is acknowledged.
// None is lost and none is stored twice.
func TestKilledLeaderLosesNothingAcknowledged(t *testing.T) {
	cluster := natstest.StartCluster(t, natstest.Config{})
	var d doubts
	c := broker.StreamConfig{Namespace: "chat", Size: 5000, MaxAge: time.Hour, Replicas: 3}
	n, s := remoteNode(t, cluster.URL(), broker.StreamsConfig{Streams: []broker.StreamConfig{c}, OnDoubt: d.tell}, nil)
	awaitStreams(t, n, s)
	cluster.WaitCurrent("throng_hist_chat")
	const channels, each = 4, 300
	acked := make([][]uint64, channels)
	var epochs sync.Map
	half := make(chan struct{}, channels)
	var wg sync.WaitGroup
	for k := range channels {
		wg.Go(func() {
			for i := range each {
				if i == each/2 {
					half <- struct{}{}
				}
				r := persist(t, s, fmt.Sprint("c", k), fmt.Sprint(i))
				acked[k] = append(acked[k], r.Offset)
				epochs.Store(r.Epoch, true)
			}
		})
	}
	<-half
	told := d.count()
	leader := cluster.Leader("throng_hist_chat")
	leader.Kill()
	wg.Wait()
	eventually(t, "told of the new leader", n, func() bool { return d.count() > told })
	for k := range channels {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		var got []uint64
		for since, more := uint64(0), true; more; {
			p, err := s.Read(ctx, broker.ReadQuery{Namespace: "chat", Channel: fmt.Sprint("c", k), Since: since, Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range p.Messages {
				if want := fmt.Sprint(len(got)); i < each && string(m.Data) != want {
					t.Fatalf("channel %d: %q where %s belongs", k, m.Data, want)
				}
				got = append(got, m.Offset)
			}
			since, more = got[len(got)-1], p.More
			if !p.SinceStored && since > 0 && (p.Oldest != got[0] || p.Count != each) {
				t.Errorf("proof %+v", p)
			}
		}
		cancel()
		if fmt.Sprint(got) != fmt.Sprint(acked[k]) {
			t.Errorf("channel %d: %d stored, %d acknowledged, or at other offsets", k, len(got), len(acked[k]))
		}
	}
	kinds := 0
	epochs.Range(func(any, any) bool { kinds++; return true })
	if kinds != 1 {
		t.Errorf("%d epochs", kinds)
	}
}

// A node on a follower reads what it has just been told is stored, though the follower learns of it later.
func TestReadOnAFollowerSeesWhatWasAcknowledged(t *testing.T) {
	cluster := natstest.StartCluster(t, natstest.Config{})
	c := broker.StreamConfig{Namespace: "chat", Size: 10, MaxAge: time.Hour, Replicas: 3}
	cfg := broker.StreamsConfig{Streams: []broker.StreamConfig{c}}
	first, firstStreams := remoteNode(t, cluster.URL(), cfg, nil)
	awaitStreams(t, first, firstStreams)
	cluster.WaitCurrent("throng_hist_chat")
	follower := cluster.Others(cluster.Leader("throng_hist_chat"))[0]
	n, s := remoteNode(t, follower.URL(), cfg, nil)
	awaitStreams(t, n, s)
	for i := range 200 {
		channel := fmt.Sprint("c", i%7)
		r := mustStore(t, s, channel, fmt.Sprint(i))
		p := mustRead(t, s, broker.ReadQuery{Channel: channel, Since: r.Offset - 1, Limit: 10})
		if len(p.Messages) != 1 || p.Top != r.Offset || p.Last < r.Offset || p.Epoch != r.Epoch {
			t.Fatalf("publication %d at %d: %+v", i, r.Offset, p)
		}
		empty := mustRead(t, s, broker.ReadQuery{Channel: "empty", Since: r.Offset, Limit: 10})
		if empty.Last < r.Offset || empty.Count != 0 || empty.Oldest != 0 {
			t.Fatalf("empty channel after %d: %+v", r.Offset, empty)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		tops, err := s.Tops(ctx, "chat", []string{"empty", channel})
		cancel()
		if err != nil || tops.Top[0] != 0 || tops.Top[1] != r.Offset || tops.Last < r.Offset {
			t.Fatalf("%+v, %v", tops, err)
		}
	}
	t.Logf("%d reads, %d asked again", s.Stats().Reads, s.Stats().ReadRetries)
}

// persist stores with one ID until it is acknowledged.
func persist(t testing.TB, s *broker.Streams, channel, data string) broker.Stored {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: channel, Data: []byte(data), ID: data})
		if r.Err == nil {
			return r
		}
		if time.Now().After(end) {
			t.Errorf("%s on %s: %v", data, channel, r.Err)
			return r
		}
	}
}
