package hub

import (
	"testing"
	"testing/synctest"
	"time"
)

// A burst whose parts arrive microseconds apart must leave in one write per subscriber, as soon as its fan-out is
// large; a small one must not wait.
func TestLargeFanoutWaitsForTheRestOfABurst(t *testing.T) {
	for _, tc := range []struct {
		name        string
		subscribers int
		batches     uint64
	}{
		{"large", 10, 1},
		{"small", 9, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{Shards: 1, GatherSubscribers: 10, GatherDelay: 100 * time.Microsecond}
				cfg.Encoders[EncodingRaw] = textEncoder
				h := New(cfg, newFakeBroker())
				h.Start()
				defer h.Close()
				conns := make([]*fakeConn, tc.subscribers)
				for i := range conns {
					conns[i] = &fakeConn{}
					h.Subscribe(&Subscription{Sub: conns[i]}, "news")
				}
				synctest.Wait()
				h.Deliver(Publication{Channel: "news", Data: []byte("1")})
				time.Sleep(50 * time.Microsecond)
				h.Deliver(Publication{Channel: "news", Data: []byte("2")})
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if got := h.Stats().Batches; got != tc.batches {
					t.Errorf("%d batches, want %d", got, tc.batches)
				}
				for _, c := range conns {
					if got := c.text(); got != "news/1;news/2;" {
						t.Fatalf("a subscriber got %q", got)
					}
				}
			})
		})
	}
}
