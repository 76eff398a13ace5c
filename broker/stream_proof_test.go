package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"throng/broker"
)

// What Read says as proof is never wrong: against a list of everything ever stored, while messages go by the limit per
// channel, by the limit on bytes, and by purges below a marker, and the size changes under way.
func TestProofOfContinuityIsNeverWrong(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := historyOf("chat")
	c.Size, c.MaxBytes = 3, 16<<10
	_, n, s := streamNode(t, broker.StreamsConfig{Streams: []broker.StreamConfig{c}}, nil)
	stored := make([][]uint64, 6) // all offsets ever, by channel
	markers := make([]uint64, 6)  // the newest purge of each: messages below it went with the clients' knowledge
	last, whole, broken := uint64(0), 0, 0
	for step := range 4000 {
		k := rng.IntN(6)
		if k > 2 && rng.IntN(10) > 0 { // some channels are quiet: theirs go by bytes, not by number
			k = 0
		}
		channel := fmt.Sprint("c", k)
		switch roll := rng.IntN(1000); {
		case roll < 5:
			c.Size = 2 + rng.IntN(5)
			if err := s.Configure([]broker.StreamConfig{c}); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(2) == 0 { // else reads and publications meet the change half done
				eventually(t, "changed", n, func() bool { st := s.Status()[0]; return st.Ready && len(st.Mismatches) == 0 })
			}
		case roll < 10 && len(stored[k]) > 0:
			marker := mustStore(t, s, channel, "marker").Offset
			stored[k], markers[k], last = append(stored[k], marker), marker, marker
			if err := s.Purge(t.Context(), "chat", channel, marker); err != nil {
				t.Fatal(err)
			}
		case roll < 500:
			r := mustStore(t, s, channel, strings.Repeat("x", rng.IntN(500)))
			stored[k], last = append(stored[k], r.Offset), r.Offset
		default:
			since := rng.Uint64N(last + 1)
			if all := stored[k]; len(all) > 0 && rng.IntN(3) > 0 { // mostly positions that clients have
				since = all[max(0, len(all)-1-rng.IntN(8))]
			}
			if since < markers[k] || since == 0 {
				continue
			}
			p := mustRead(t, s, broker.ReadQuery{Channel: channel, Since: since, Limit: 100})
			missed := slices.DeleteFunc(slices.Clone(stored[k]), func(o uint64) bool { return o <= since })
			var got []uint64
			for _, m := range p.Messages {
				got = append(got, m.Offset)
			}
			complete := slices.Equal(got, missed)
			proven := p.SinceStored || p.Oldest > 0 && p.Oldest < since || since+1 >= p.StreamFirst && p.Count < c.Size+1
			if proven && !complete {
				p.Messages = nil
				t.Fatalf("step %d: proven whole after %d with %v: %+v, missed %v, size %d, %+v", step, since, got, p, missed, c.Size, s.Status()[0])
			}
			if complete && !p.More && p.Top != 0 && p.Top < slices.Max(append(missed, 0)) {
				t.Fatalf("step %d: top %+v", step, p)
			}
			if proven {
				whole++
			} else {
				broken++
			}
		}
	}
	if whole < 100 || broken < 100 {
		t.Errorf("%d proven, %d not: the test tests too little", whole, broken)
	}
	t.Logf("%d proven, %d not, status %+v", whole, broken, s.Status()[0])
}
