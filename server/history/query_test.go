package history

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/wire"
)

// centrifuge-protocol.md, 12.
func TestQuery(t *testing.T) {
	since := func(offset uint64) *Position { return &Position{Offset: offset} }
	for _, c := range []struct {
		why  string
		n    int // published into a channel that keeps 5
		q    Query
		want string
		top  uint64
		err  error
	}{
		{"position only", 3, Query{}, "[]", 3, nil},
		{"all", 3, Query{Limit: -1}, "[1 2 3]", 3, nil},
		{"all of more than is kept", 9, Query{Limit: -1}, "[5 6 7 8 9]", 9, nil},
		{"from the oldest", 9, Query{Limit: 2}, "[5 6]", 9, nil},
		{"from the oldest of few", 3, Query{Limit: 2}, "[1 2]", 3, nil},
		{"since", 9, Query{Limit: 2, Since: since(6)}, "[7 8]", 9, nil},
		{"since, all", 9, Query{Limit: -1, Since: since(6)}, "[7 8 9]", 9, nil},
		{"since before the oldest", 9, Query{Limit: -1, Since: since(1)}, "[5 6 7 8 9]", 9, nil},
		{"since the one that only proves", 9, Query{Limit: -1, Since: since(4)}, "[5 6 7 8 9]", 9, nil},
		{"since before the one that only proves", 9, Query{Limit: -1, Since: since(3)}, "[5 6 7 8 9]", 9, nil},
		{"since the top", 9, Query{Limit: -1, Since: since(9)}, "[]", 9, nil},
		{"since beyond", 9, Query{Limit: -1, Since: since(99)}, "[]", 9, nil},
		{"newest first", 9, Query{Limit: 2, Reverse: true}, "[9 8]", 9, nil},
		{"newest first, all", 9, Query{Limit: -1, Reverse: true}, "[9 8 7 6 5]", 9, nil},
		{"newest first, more than there are", 3, Query{Limit: 50, Reverse: true}, "[3 2 1]", 3, nil},
		{"backwards since", 9, Query{Limit: 2, Since: since(8), Reverse: true}, "[7 6]", 9, nil},
		{"backwards since the oldest", 9, Query{Limit: 2, Since: since(5), Reverse: true}, "[]", 9, nil},
		{"backwards since beyond", 9, Query{Limit: 2, Since: since(99), Reverse: true}, "[9 8]", 9, nil},
		{"backwards since zero", 9, Query{Limit: 2, Since: since(0), Reverse: true}, "[]", 0, ErrBadQuery},
		{"another epoch", 9, Query{Limit: 2, Since: &Position{1, "x"}}, "[]", 0, ErrUnrecoverable},
		{"another epoch, position only", 9, Query{Since: &Position{1, "x"}}, "[]", 0, ErrUnrecoverable},
		{"empty channel", 0, Query{Limit: -1}, "[]", 0, nil},
	} {
		for _, state := range []string{"cold", "warm", "live", "read"} {
			calm(t, Config{PageLen: 4}, func(r *rig) {
				r.s.Size = 5
				r.js.streams["ns"].size = 5
				if state == "live" {
					r.listenNow("ns:a", Request{})
				}
				puts(c.n)(r)
				if state == "warm" || state == "read" {
					r.listenNow("ns:a", Request{})
				}
				if state == "read" {
					_, _ = r.v.Query(context.Background(), r.s, "ns:a", Query{Limit: -1, Reverse: true})
				}
				before := r.v.Stats().QueryReads
				got, err := r.v.Query(context.Background(), r.s, "ns:a", c.q)
				data := []string{}
				for _, p := range got.Publications {
					data = append(data, string(p.Data))
				}
				if !errors.Is(err, c.err) || fmt.Sprint(data) != c.want || got.Position.Offset != c.top || err == nil && got.Position.Epoch != r.js.epoch("ns") {
					t.Errorf("%s (%s): %v at %+v, %v; want %s at %d, %v", c.why, state, data, got.Position, err, c.want, c.top, c.err)
				}
				inside := c.q.Since == nil || c.q.Since.Offset <= c.top && c.q.Since.Epoch == ""
				if state == "read" && c.err == nil && inside && r.v.Stats().QueryReads != before {
					t.Errorf("%s: the store was asked for what memory has", c.why)
				}
			})
		}
	}
}

func TestQueryLeavesOutWhatIsTooOldOrRemoved(t *testing.T) {
	for _, live := range []bool{false, true} {
		calm(t, Config{}, func(r *rig) {
			r.s.TTL = 10 * time.Minute
			if live {
				r.listenNow("ns:a", Request{})
			}
			query := func() string {
				got, err := r.v.Query(context.Background(), r.s, "ns:a", Query{Limit: -1})
				data := []string{}
				for _, p := range got.Publications {
					data = append(data, string(p.Data))
				}
				return fmt.Sprint(data, got.Position.Offset, err)
			}
			puts(2)(r)
			rest(11 * time.Minute)
			r.put("ns:a", "3")
			if got := query(); got != "[3] 3 <nil>" {
				t.Error(got)
			}
			remove(r)
			if got := query(); got != "[] 4 <nil>" {
				t.Error(got)
			}
			r.put("ns:a", "5")
			// A node stores the mark and dies before it purges.
			r.js.put(&StorePublication{Namespace: "ns", Channel: "ns:a", Meta: wire.AppendMeta(nil, &wire.Meta{Kind: wire.KindPurge, Offset: 5})})
			if got := query(); got != "[] 6 <nil>" {
				t.Error(got)
			}
			r.put("ns:a", "7")
			if got := query(); got != "[7] 7 <nil>" {
				t.Error(got)
			}
		})
	}
}

func TestQueryIsNotOlderThanWhatThisNodePublished(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		r.listenNow("ns:a", Request{})
		r.lose = func(Message) bool { return true }
		pos, _ := r.publish(Publication{Data: []byte("1")})
		got, err := r.v.Query(context.Background(), r.s, "ns:a", Query{Limit: -1})
		if err != nil || got.Position != pos || len(got.Publications) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestRemoveKeepsThePositionAndTellsNobodyWhoIsUpToDate(t *testing.T) {
	calm(t, Config{}, func(r *rig) {
		l := r.listenNow("ns:a", Request{})
		puts(3)(r)
		l.want("live", "1", "2", "3")
		pos, err := r.v.Remove(context.Background(), r.s, "ns:a")
		if err != nil || pos.Offset != 4 {
			t.Errorf("%+v, %v", pos, err)
		}
		if again, err := r.v.Remove(context.Background(), r.s, "ns:a"); err != nil || again != pos {
			t.Errorf("again: %+v, %v", again, err)
		}
		if other, err := r.v.Remove(context.Background(), r.s, "ns:empty"); err != nil || other.Offset != 4 {
			t.Errorf("of nothing: %+v, %v", other, err)
		}
		r.put("ns:a", "5")
		l.want("goes on", "5")
		if n := len(r.js.streams["ns"].messages); n != 2 || !l.cut.IsZero() {
			t.Errorf("%d messages stored, cut %v", n, l.cut)
		}
		// Published in between by others: the mark is stored on top of what was seen and nothing else.
		synctest.Wait()
		n := 0
		r.store.during(func(_ context.Context, what string) error {
			if what == "store" && n < 3 {
				n++
				r.put("ns:a", "more")
			}
			return nil
		})
		if pos, err := r.v.Remove(context.Background(), r.s, "ns:a"); err != nil || pos.Offset != 9 {
			t.Errorf("in a race: %+v, %v", pos, err)
		}
	})
}
