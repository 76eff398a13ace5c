package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"throng/server/wire"
)

// The model of special subscriptions: every channel's log is kept, and from it, and from what was done to a subscription,
// follows what its connection must have been sent, publication by publication.

// entry is one publication of a channel.
type entry struct {
	id     int    // 1, 2, ...: its number in the log, which is its data
	offset uint64 // 0: live only
	join   bool
	even   bool // its tag
	mute   bool // the encoders of delta encodings leave it out
}

// life is one membership, from SubscribeSpecial to Unsubscribe.
type life struct {
	needs   Special
	from    int // length of the log when it began
	after   uint64
	opened  bool
	cutAt   int    // length of the log when it was cut; -1: it was not
	told    bool   // OnCut was called
	history int    // length of the log that its answer contained
	base    int    // what the answer's last publication was, for deltas; 0 none
	got     []sent // as the connection was sent it
}

type sent struct {
	id   int
	base int // 0: whole
}

type specialMember struct {
	sub   Subscription
	owner *specialConn
	k     int
	life  *life // nil: out
}

type specialConn struct {
	shard   int
	m       *specialModel
	members []*specialMember
	dirty   bool
}

func (c *specialConn) Shard() int { return c.shard }
func (c *specialConn) Flush()     { c.dirty = false }

// Send reads "channel:id" and "channel:base>id".
func (c *specialConn) Send(frame []byte) bool {
	for p := range strings.SplitSeq(strings.TrimSuffix(string(frame), ";"), ";") {
		channel, rest, _ := strings.Cut(p, ":")
		k, _ := strconv.Atoi(channel)
		base, id, isDelta := strings.Cut(rest, ">")
		s := sent{}
		if isDelta {
			s.base, _ = strconv.Atoi(base)
			s.id, _ = strconv.Atoi(id)
		} else {
			s.id, _ = strconv.Atoi(base)
		}
		l := c.members[k].life
		switch {
		case l == nil:
			c.m.t.Fatalf("channel %d: %v after Unsubscribe", k, s)
		case l.needs.Hold && !l.opened:
			c.m.t.Fatalf("channel %d: %v before Open", k, s)
		case l.told:
			c.m.t.Fatalf("channel %d: %v after OnCut", k, s)
		}
		l.got = append(l.got, s)
	}
	was := c.dirty
	c.dirty = true
	return !was
}

type specialModel struct {
	*harness
	rng   *rand.Rand
	conns []*specialConn
	logs  [][]entry
	tops  []uint64
}

func modelEncoder(e Encoding) Encoder {
	return func(dst []byte, p *Publication) []byte {
		if e.deltas() && len(p.Data) > 0 && p.Data[0] == 'm' {
			return dst
		}
		dst = append(append(dst, p.Channel...), ':')
		if e.deltas() && p.Delta != nil {
			dst = append(append(dst, p.Delta...), '>')
		}
		return append(append(dst, strings.TrimPrefix(string(p.Data), "m")...), ';')
	}
}

type evenFilter bool

func (f evenFilter) Match(tags []wire.Tag) bool { return (tags[0].Value == "even") == bool(f) }

func TestSpecialModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for i := range uint64(60) {
		t.Run(fmt.Sprintf("seed=%d", seed+i), func(t *testing.T) { testSpecialModel(t, seed+i) })
	}
}

func testSpecialModel(t *testing.T, seed uint64) {
	m := &specialModel{rng: rand.New(rand.NewPCG(seed, 0))}
	m.logs = make([][]entry, 1+m.rng.IntN(4))
	m.tops = make([]uint64, len(m.logs))
	cfg := Config{
		Shards: 1 + m.rng.IntN(3), MailboxLen: 1 << 20, BatchBytes: 1 + m.rng.IntN(40), TurnSubscribers: 1 + m.rng.IntN(12),
		InterestStripes: 1 + m.rng.IntN(3), HoldLen: 4 << m.rng.IntN(8), OnCut: m.cut,
	}
	for e := range cfg.Encoders {
		cfg.Encoders[e] = modelEncoder(Encoding(e))
	}
	m.harness = newHarness(t, cfg)
	for range 1 + m.rng.IntN(16) {
		c := &specialConn{m: m, shard: m.rng.IntN(8)}
		for k := range m.logs {
			mem := &specialMember{owner: c, k: k}
			mem.sub.Sub, mem.sub.Encoding = c, Encoding(m.rng.IntN(int(numEncodings)))
			c.members = append(c.members, mem)
		}
		m.conns = append(m.conns, c)
	}
	for range 2000 {
		m.operation()
		m.check()
	}
	m.settle()
	for _, c := range m.conns {
		for _, mem := range c.members {
			m.verify(mem)
			m.h.Unsubscribe(&mem.sub)
		}
	}
	m.settle()
	if st := m.h.Stats(); st.Special != 0 || st.Held != 0 || st.Subscribers != 0 {
		t.Errorf("levels after all have left: %+v", st)
	}
}

func (m *specialModel) operation() {
	c := m.conns[m.rng.IntN(len(m.conns))]
	mem := c.members[m.rng.IntN(len(c.members))]
	switch m.rng.IntN(14) {
	case 0, 1, 2:
		m.enter(mem)
	case 3, 4:
		m.open(mem)
	case 5:
		if m.rng.IntN(2) == 0 {
			m.leave(mem)
		}
	case 6, 7, 8:
		for range 1 + m.rng.IntN(4) {
			m.publish(mem.k)
		}
	case 9:
		if m.rng.IntN(8) == 0 {
			m.cutChannel(mem.k)
		}
	case 10:
		if m.rng.IntN(8) == 0 {
			m.settle()
			m.verify(mem)
		}
	default:
		m.step(m.rng.IntN(len(m.h.shards)))
	}
}

// publish says something: in the stream with gaps between offsets, outside of it, or a join.
func (m *specialModel) publish(k int) {
	e := entry{id: len(m.logs[k]) + 1, even: m.rng.IntN(2) == 0, mute: m.rng.IntN(10) == 0}
	p := Publication{Channel: strconv.Itoa(k), Data: []byte(strconv.Itoa(e.id)), Meta: new(wire.Meta)}
	switch m.rng.IntN(6) {
	case 0:
		e.join, e.mute = true, false
		p.Meta.Kind = wire.KindJoin
	case 1:
	default:
		m.tops[k] += 1 + uint64(m.rng.IntN(3))
		e.offset, p.Meta.Offset = m.tops[k], m.tops[k]
	}
	if e.mute {
		p.Data = append([]byte{'m'}, p.Data...)
	}
	if before := m.before(k, len(m.logs[k])); !e.join && before > 0 && m.rng.IntN(4) > 0 {
		p.Delta = strconv.AppendInt(nil, int64(before), 10)
	}
	p.Meta.Tags = []wire.Tag{{Key: "is", Value: map[bool]string{true: "even", false: "odd"}[e.even]}}
	m.logs[k] = append(m.logs[k], e)
	m.h.Deliver(p)
}

// before is the last publication, no join, among the first n of the log.
func (m *specialModel) before(k, n int) int {
	for ; n > 0; n-- {
		if !m.logs[k][n-1].join {
			return n
		}
	}
	return 0
}

func (m *specialModel) enter(mem *specialMember) {
	if mem.life != nil {
		return
	}
	l := &life{from: len(m.logs[mem.k]), cutAt: -1}
	switch m.rng.IntN(5) {
	case 0:
	case 1:
		l.needs.Filter = evenFilter(m.rng.IntN(2) == 0)
	case 2:
		l.needs.Filter, l.needs.Hold = evenFilter(true), true
	default:
		l.needs.Hold = true
	}
	mem.life = l
	m.h.SubscribeSpecial(&mem.sub, strconv.Itoa(mem.k), l.needs)
}

// open answers with everything in the stream up to now, whatever the shards have made of it.
func (m *specialModel) open(mem *specialMember) {
	l := mem.life
	if l == nil || !l.needs.Hold || l.opened {
		return
	}
	l.opened, l.after, l.history = true, m.tops[mem.k], len(m.logs[mem.k])
	if m.rng.IntN(4) == 0 && l.after > 1 && l.from > 0 {
		// As if history had been read at the moment of the subscription.
		l.after, l.history = 0, l.from
		for _, e := range m.logs[mem.k][:l.from] {
			l.after = max(l.after, e.offset)
		}
	}
	whole := true
	if last := m.before(mem.k, l.history); last > 0 && l.after > 0 && m.logs[mem.k][last-1].offset == l.after && m.rng.IntN(2) == 0 {
		whole, l.base = false, last
	}
	m.h.Open(&mem.sub, l.after, whole)
}

func (m *specialModel) leave(mem *specialMember) {
	if mem.life == nil {
		return
	}
	m.h.Unsubscribe(&mem.sub)
	mem.life = nil
}

func (m *specialModel) cutChannel(k int) {
	m.h.Cut(strconv.Itoa(k))
	for _, c := range m.conns {
		if l := c.members[k].life; l != nil && l.needs.Hold && l.cutAt < 0 {
			l.cutAt = len(m.logs[k])
		}
	}
}

// cut is Config.OnCut.
func (m *specialModel) cut(s *Subscription) {
	for _, c := range m.conns {
		for _, mem := range c.members {
			if &mem.sub == s && mem.life != nil {
				mem.life.told = true
			}
		}
	}
}

// wants: the rules by which publication e is for the subscription.
func (mem *specialMember) wants(e entry) bool {
	l, encoding := mem.life, mem.sub.Encoding
	switch {
	case e.offset != 0 && e.offset <= l.after:
		return false
	case e.join:
		joins := []Encoding{EncodingJSONJoins, EncodingProtobufJoins, EncodingJSONDeltaJoins, EncodingProtobufDeltaJoins}
		return slices.Contains(joins, encoding)
	case e.mute && encoding.deltas():
		return false
	}
	return l.needs.Filter == nil || e.even == bool(l.needs.Filter.(evenFilter))
}

// verify compares what a subscription was sent with the log. The hub is at rest.
func (m *specialModel) verify(mem *specialMember) {
	m.t.Helper()
	l := mem.life
	if l == nil {
		return
	}
	log := m.logs[mem.k]
	if l.needs.Hold && !l.opened && l.cutAt < 0 && !l.told {
		return
	}
	// What was delivered before the subscription may have been sent too, without gaps.
	start := l.from
	for start > 0 && len(l.got) > 0 && l.got[0].id <= start {
		start--
	}
	var want []int
	for _, e := range log[start:] {
		if mem.wants(e) {
			want = append(want, e.id)
		}
	}
	var got []int
	for _, s := range l.got {
		got = append(got, s.id)
	}
	complain := func(why string) {
		m.t.Fatalf("channel %d, encoding %d, %s: %+v\ngot  %v\nwant %v", mem.k, mem.sub.Encoding, why, *l, l.got, want)
	}
	switch {
	case l.cutAt >= 0 && !l.told:
		complain("cut and not told")
	case l.told:
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			complain("before the cut")
		}
		if n := len(got); l.cutAt >= 0 && n > 0 && got[n-1] > l.cutAt {
			complain("sent after the cut")
		}
	case !slices.Equal(got, want):
		complain("stream")
	}
	m.verifyDeltas(mem, complain)
}

// verifyDeltas: a delta is against what the subscription has.
func (m *specialModel) verifyDeltas(mem *specialMember, complain func(string)) {
	l := mem.life
	has := l.base
	for _, s := range l.got {
		if s.base != 0 && (!mem.sub.Encoding.deltas() || s.base != has || l.needs.Filter != nil) {
			complain(fmt.Sprintf("%v is against what it does not have", s))
		}
		if !m.logs[mem.k][s.id-1].join {
			has = s.id
		}
	}
}
