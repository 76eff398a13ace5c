package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/wire"
)

func TestProofRules(t *testing.T) {
	for _, c := range []struct {
		why  string
		f    facts
		want uint64 // lowest position that recovers
	}{
		{"the position itself is stored", facts{since: 7, sinceStored: true}, 7},
		{"an older message is stored", facts{since: 7, oldest: 3, count: 4, first: 3, size: 4}, 7},
		{"the oldest is after the position, the channel full", facts{since: 7, oldest: 9, count: 5, first: 1, size: 4}, 8},
		{"the oldest is the next one", facts{since: 7, oldest: 8, count: 5, first: 8, size: 4}, 7},
		{"channel not full, nothing of the stream beyond the position removed", facts{since: 7, oldest: 9, count: 4, first: 8, size: 4}, 7},
		{"channel not full, but the stream lost its front", facts{since: 7, oldest: 12, count: 4, first: 10, size: 4}, 9},
		{"channel empty in a stream that lost nothing", facts{since: 0, first: 1, size: 4}, 0},
		{"channel empty in an empty stream: only its end is sure", facts{since: 7, first: 31, size: 4}, 30},
		{"channel empty, stream without its front", facts{since: 7, first: 20, size: 4}, 19},
		{"the oldest is a mark, position before what it removed", facts{since: 3, oldest: 9, count: 1, first: 1, size: 4, removed: 6, mark: true}, 6},
		{"the oldest is a mark, position at what it removed", facts{since: 6, oldest: 9, count: 5, first: 8, size: 4, removed: 6, mark: true}, 6},
		{"a mark after messages that are still stored", facts{since: 3, oldest: 4, count: 3, first: 1, size: 4, removed: 5}, 5},
		{"a mark although the position is stored", facts{since: 3, sinceStored: true, removed: 5}, 5},
	} {
		if got := c.f.provable(); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
}

// proofModel drives one stream of three channels by bytes and compares each answer with a list of what was ever removed.
type proofModel struct {
	t        *testing.T
	js       *jetStream
	v        *Service
	s        Stream
	removed  map[string]uint64 // highest offset of a publication that is gone, by channel
	stored   map[string][]uint64
	yes, no  int
	needless int // false although nothing was removed
}

func newProofModel(t *testing.T, size, maxBytes int) *proofModel {
	m := &proofModel{t: t, js: newJetStream(), s: Stream{Namespace: "ns", Size: size}, removed: map[string]uint64{}, stored: map[string][]uint64{}}
	m.js.add("ns", size, time.Minute, maxBytes)
	m.js.stored = func(_ string, e memMessage, _ string) {
		if e.Meta == "" {
			m.stored[e.channel] = append(m.stored[e.channel], e.Offset)
		}
	}
	m.v = New(Config{PageLen: 3, CheckInterval: -1}, Parts{Store: &memStore{j: m.js}, Hub: newMemHub(), Sync: func(context.Context) error { return nil }})
	return m
}

func (m *proofModel) step(op byte) {
	channel := string('a' + rune(op>>4%3))
	switch op & 15 {
	case 0:
		_, _ = m.v.Remove(context.Background(), m.s, channel)
	case 1: // a node died between mark and purge
		top := m.js.streams["ns"].top(channel)
		if top > 0 {
			mark := wire.AppendMeta(nil, &wire.Meta{Kind: wire.KindPurge, Offset: top})
			m.js.put(&StorePublication{Namespace: "ns", Channel: channel, Meta: mark, ExpectLast: true, LastOffset: top})
		}
	case 2:
		time.Sleep(25 * time.Second)
	default:
		m.js.put(&StorePublication{Namespace: "ns", Channel: channel, Data: make([]byte, 1+op%5)})
	}
	m.note()
	for _, c := range []string{"a", "b", "c"} {
		m.ask(c)
	}
}

// note looks which publications are not stored any more.
func (m *proofModel) note() {
	s := m.js.streams["ns"]
	s.expire()
	for channel, all := range m.stored {
		there := map[uint64]bool{}
		hidden := uint64(0)
		for _, i := range s.indices(channel) {
			e := s.messages[i]
			there[e.Offset] = true
			if meta, ok := wire.ParseMeta(e.Meta); ok && meta.Kind == wire.KindPurge {
				hidden = meta.Offset
			}
		}
		for _, off := range all {
			if !there[off] || off <= hidden {
				m.removed[channel] = max(m.removed[channel], off)
			}
		}
	}
}

func (m *proofModel) ask(channel string) {
	for x := uint64(0); x <= m.js.streams["ns"].last; x += 1 + x/8 {
		r, err := m.v.gather(context.Background(), m.s, channel, x, 1000)
		if err != nil {
			m.t.Fatal(err)
		}
		recovers := x >= r.low
		switch {
		case recovers && m.removed[channel] > x:
			m.t.Fatalf("%s since %d: recovered, but %d is gone; %+v", channel, x, m.removed[channel], r)
		case !recovers && m.removed[channel] <= x:
			m.needless++
		}
		if !recovers {
			m.no++
			continue
		}
		m.yes++
		want := 0
		for _, off := range m.stored[channel] {
			if off > x {
				want++
			}
		}
		if want != len(r.tail.pubs) {
			m.t.Fatalf("%s since %d: %v, but %d were stored", channel, x, offsets(r.tail.pubs), want)
		}
	}
}

func TestProofIsNeverWrongAgainstAList(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	yes, no, needless := 0, 0, 0
	for i := range 60 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newProofModel(t, 1+rng.IntN(5), []int{0, 20, 60}[rng.IntN(3)])
				defer m.v.Close()
				for range 60 {
					m.step(byte(rng.Uint32()))
				}
				yes, no, needless = yes+m.yes, no+m.no, needless+m.needless
			})
		})
	}
	t.Logf("%d positions recover, %d do not, of these %d only for want of a proof", yes, no, needless)
	if yes == 0 || no == 0 {
		t.Error("the run has not met what it is for")
	}
}

func FuzzProof(f *testing.F) {
	f.Add(uint8(2), uint8(20), []byte("\x03\x13\x33\x00\x07\x02\x02\x03\x01\x14"))
	f.Fuzz(func(t *testing.T, size, maxBytes uint8, ops []byte) {
		m := newProofModel(t, 1+int(size%8), int(maxBytes))
		defer m.v.Close()
		for _, op := range ops[:min(len(ops), 60)] {
			if op&15 == 2 {
				continue // no fake clock here
			}
			m.step(op)
		}
	})
}
