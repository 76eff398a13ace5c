package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

// publish waits for the outcome.
func (r *rig) publish(p Publication) (Position, error) {
	r.t.Helper()
	p.Stream, p.Channel = r.s, "ns:a"
	var pos Position
	var err error
	called := 0
	if refused := r.v.Publish(&p, func(at Position, e error) { pos, err = at, e; called++ }); refused != nil {
		return pos, refused
	}
	synctest.Wait()
	if called != 1 {
		r.t.Errorf("done was called %d times", called)
	}
	return pos, err
}

func TestPublishIsAcknowledgedWithItsPosition(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		pos, err := r.publish(Publication{Data: []byte("1"), Meta: &wire.Meta{Tags: []wire.Tag{{Key: "k", Value: "v"}}, Offset: 77}})
		if err != nil || pos.Offset != 1 || pos.Epoch != r.js.epoch("ns") {
			t.Errorf("%+v, %v", pos, err)
		}
		l.want("live", "1")
		m := r.listenNow("ns:a", Request{Recover: true})
		if p := m.answer.Publications; len(p) != 1 || len(p[0].Meta.Tags) != 1 || p[0].Meta.Offset != 1 {
			t.Errorf("%+v", p)
		}
		r.s.Namespace = "none"
		if _, err := r.publish(Publication{}); !errors.Is(err, ErrNoStream) {
			t.Error(err)
		}
	})
}

func TestARepeatedKeyGetsTheFirstPositionAndIsNotDelivered(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		first, _ := r.publish(Publication{Data: []byte("1"), IdempotencyKey: "k"})
		r.put("ns:a", "2")
		again, err := r.publish(Publication{Data: []byte("3"), IdempotencyKey: "k"})
		if err != nil || again != first {
			t.Errorf("%+v, then %+v, %v", first, again, err)
		}
		l.want("once", "1", "2")
	})
}

func TestWithoutHistoryAKeyIsRememberedAndTheRestIsLive(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		r.s.Size = 0
		for _, p := range []Publication{
			{Data: []byte("1")}, {Data: []byte("2"), IdempotencyKey: "k"}, {Data: []byte("3"), IdempotencyKey: "k"}, {Data: []byte("4"), Version: 1},
		} {
			if pos, err := r.publish(p); err != nil || pos != (Position{}) {
				t.Errorf("%+v, %v", pos, err)
			}
		}
		if fmt.Sprint(r.live) != "[ns:a=1 ns:a=2 ns:a=4]" {
			t.Error(r.live)
		}
		r.liveErr = hub.ErrBusy
		if _, err := r.publish(Publication{}); !errors.Is(err, hub.ErrBusy) {
			t.Error(err)
		}
		if _, err := r.publish(Publication{IdempotencyKey: "l"}); !errors.Is(err, hub.ErrBusy) {
			t.Error(err)
		}
	})
}

// centrifuge-protocol.md, 10.7.
func TestVersionsSuppressWhatIsNotNewer(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		for i, c := range []struct {
			version uint64
			epoch   string
			top     uint64 // position answered
		}{
			{5, "a", 1}, {5, "a", 1}, {4, "a", 1}, {6, "a", 2}, {6, "", 2}, {7, "", 3}, {7, "", 3}, {1, "b", 4}, {6, "a", 5}, {0, "", 6}, {6, "a", 6}, {7, "a", 7},
		} {
			pos, err := r.publish(Publication{Data: fmt.Append(nil, i), Version: c.version, VersionEpoch: c.epoch})
			if err != nil || pos.Offset != c.top {
				t.Errorf("%d: version %d %q: at %d, %v; want %d", i, c.version, c.epoch, pos.Offset, err, c.top)
			}
		}
		l.want("the newer ones", "0", "3", "5", "7", "8", "9", "11")
		remove(r)
		if pos, err := r.publish(Publication{Data: []byte("x"), Version: 1, VersionEpoch: "a"}); err != nil || pos.Offset != 9 {
			t.Errorf("after removal: %+v, %v", pos, err)
		}
	})
}

// What is stored has rising versions, whichever node published it, and each caller was told.
func TestVersionsAreExactAcrossNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRig(t, Config{Conflicts: 1000, AckTimeout: time.Hour})
		b := &rig{t: t, js: a.js, store: &memStore{j: a.js}, s: a.s}
		b.v = New(Config{Conflicts: 1000, AckTimeout: time.Hour}, Parts{Store: b.store, Hub: newMemHub()})
		rng := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		slow := func(context.Context, string) error {
			mu.Lock()
			d := time.Duration(rng.IntN(3)) * time.Millisecond
			mu.Unlock()
			time.Sleep(d)
			return nil
		}
		a.store.during(slow)
		b.store.during(slow)
		told := 0
		for i := range 200 {
			for _, r := range []*rig{a, b} {
				p := &Publication{Stream: r.s, Channel: "ns:a", Version: uint64(1 + i + i*7%10), VersionEpoch: "e"}
				if err := r.v.Publish(p, func(_ Position, err error) {
					mu.Lock()
					defer mu.Unlock()
					if told++; err != nil {
						t.Error(err)
					}
				}); err != nil {
					t.Error(err)
				}
			}
			rest(time.Millisecond)
		}
		rest(time.Minute)
		last := uint64(0)
		for _, m := range a.js.streams["ns"].messages {
			meta, _ := wire.ParseMeta(m.Meta)
			if meta.Version <= last {
				t.Errorf("version %d after %d", meta.Version, last)
			}
			last = meta.Version
		}
		x, y := a.v.Stats(), b.v.Stats()
		if told != 400 || last < 200 || x.Conflicts+y.Conflicts == 0 || x.Suppressed+y.Suppressed == 0 {
			t.Errorf("told %d, last version %d, %+v, %+v", told, last, x, y)
		}
		a.v.Close()
		b.v.Close()
	})
}

func TestPublishingWithVersionsIsBounded(t *testing.T) {
	calm(t, Config{PublishQueue: 10, Versions: 5}, func(r *rig) {
		stuck := make(chan struct{})
		r.store.during(func(ctx context.Context, _ string) error {
			select {
			case <-stuck:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
		busy := 0
		for i := range 40 {
			p := &Publication{Stream: r.s, Channel: fmt.Sprint("ns:", i%20), Version: 1}
			if err := r.v.Publish(p, func(Position, error) {}); errors.Is(err, hub.ErrBusy) {
				busy++
			}
			synctest.Wait()
		}
		if busy == 0 {
			t.Error("nothing was refused")
		}
		close(stuck)
		synctest.Wait()
		for i := range 20 {
			_ = r.v.Publish(&Publication{Stream: r.s, Channel: fmt.Sprint("ns:", i), Version: 9}, func(Position, error) {})
			synctest.Wait()
		}
		if n := len(r.v.versions.channels); n > 5 {
			t.Errorf("%d channels remembered", n)
		}
	})
}
