package session

import (
	"sync/atomic"

	"throng/server/channel"
	"throng/server/history"
	"throng/server/hub"
	"throng/server/wire"
)

// Positioned subscriptions: the client knows how far it has followed the channel's stream, and may come back with that.
//
// The order is the whole secret. The subscription enters the hub first, held, so that from then on nothing is missed; then the
// stream is asked what there was before; the answer leaves with the reply; and behind the reply the hub is told from where on to
// go on. What came twice, or too early, it leaves out.
//
// Source: centrifuge-protocol.md, 9 and 10; nats.md, history and recovery.

// recovery is a positioned subscription that is being confirmed.
type recovery struct {
	sub      *subscription
	line     *history.Line
	past     past
	features channel.Features
	answer   history.Recovered
}

// begin makes the session hold a positioned channel, and the hub hold back what is published there.
func (s *Session) begin(ch *channel.Channel, g grant, p past) *recovery {
	v := s.service
	name := keepText(ch.Name)
	u := s.add(name, g)
	v.parts.Hub.SubscribeSpecial(&u.hub, u.name, hub.Special{Hold: true, Filter: filterOf(p.filter)})
	s.shareName(u)
	line := v.parts.History.Join(StreamOf(ch.Namespace), u.name)
	if g.features.Delta {
		u.flags |= takesDeltas
		line.WantDelta(1)
	}
	o := own{session: s, line: line}
	if info := g.info; info != nil {
		o.info = &info
	}
	u.own.Store(&o)
	return &recovery{sub: u, line: line, past: p, features: g.features}
}

// filterOf keeps a nil filter a nil interface.
func filterOf(f *wire.Filter) hub.Filter {
	if f == nil {
		return nil
	}
	return f
}

// StreamOf are the options of a namespace that its streams go by.
func StreamOf(ns *channel.Namespace) history.Stream {
	return history.Stream{Namespace: ns.Name, Size: ns.HistorySize, TTL: ns.HistoryTTL}
}

// request is what the stream is asked for.
func (s *Session) request(r *recovery) history.Request {
	return history.Request{
		Recover: r.wants(), Cache: r.features.CacheRecovery, Offset: r.past.offset, Epoch: r.past.epoch, Limit: s.service.cfg.MaxRecovered,
	}
}

// wants tells whether the client is to be told what it missed.
func (r *recovery) wants() bool {
	return r.features.Recoverable && (r.past.recover || r.features.AutoCacheRecover)
}

// recover asks for the past of channels, all at once, and goes on when all of it is there: now, if it is in memory.
func (s *Session) recover(t *turn, list []*recovery, then func(*turn)) {
	left := new(atomic.Int32)
	left.Store(int32(len(list)) + 1)
	one := func(r *recovery) func(history.Recovered) {
		return func(a history.Recovered) {
			r.answer = a
			if left.Add(-1) == 0 {
				s.goOn(func(w *waiting) { w.then = then })
			}
		}
	}
	for _, r := range list {
		if a, now := r.line.Recover(s.request(r), one(r)); now {
			r.answer = a
			left.Add(-1)
		}
	}
	if left.Add(-1) == 0 {
		then(t)
		return
	}
	s.wait().left++
}

// positioned answers the subscribe command of a positioned subscription. What the stream cannot say is an error that SDKs try
// again after, and the subscription is taken back.
func (s *Session) positioned(t *turn, id uint32, r *recovery, result *wire.SubscribeResult) {
	switch {
	case r.answer.Err != nil || r.sub.is(cut):
		s.drop(r.sub)
		t.fail(id, wire.ErrorInternal)
		return
	case r.wants() && r.past.reject && !r.answer.Recovered:
		s.drop(r.sub)
		t.fail(id, wire.ErrorUnrecoverable)
		return
	}
	attached := s.tellPosition(r, result)
	t.join(entry{sub: r.sub, after: r.answer.Top, full: !attached})
	t.confirm(id, result)
}

// tellPosition fills in what a result says about the stream, and tells whether the newest publication is among what is attached.
func (s *Session) tellPosition(r *recovery, result *wire.SubscribeResult) (attached bool) {
	a := &r.answer
	result.Positioned, result.Recoverable, result.Delta = true, r.features.Recoverable, r.features.Delta
	result.Epoch, result.Offset = a.Epoch, a.Top
	if !r.wants() {
		return false
	}
	result.WasRecovering = true
	if !a.Recovered {
		return false
	}
	result.Recovered = true
	result.Offset = r.past.offset // SDKs go on from here by the publications attached
	result.Publications, attached = s.publications(a.Publications, r.past.filter, r.features.Delta)
	return attached
}

// publications are those of a stream as this client takes them; attached says that the newest is among them.
func (s *Session) publications(list []hub.Publication, filter *wire.Filter, delta bool) (out []*wire.Publication, attached bool) {
	var previous []byte
	for i := range list {
		p := &list[i]
		attached = false
		if filter != nil && !filter.Match(p.Meta.Tags) {
			continue
		}
		one := publicationOf(p)
		if s.mode.protocol == wire.JSON && !s.fitForJSON(one) {
			previous = nil
			continue
		}
		if delta {
			s.shrink(one, previous)
		}
		previous, attached = p.Data, true
		out = append(out, one)
	}
	return out, attached
}

// fitForJSON leaves out what a JSON client cannot be shown; false: all of it.
func (s *Session) fitForJSON(p *wire.Publication) bool {
	if !wire.ValidJSON(p.Data) {
		s.service.stat(s).NotJSON.Add(1)
		return false
	}
	if p.Info != nil {
		p.Info.ConnInfo, p.Info.ChanInfo = jsonOnly(p.Info.ConnInfo), jsonOnly(p.Info.ChanInfo)
	}
	return true
}

// shrink makes p a difference from the publication before it, where there is one and the difference is smaller.
func (s *Session) shrink(p *wire.Publication, previous []byte) {
	if previous != nil {
		if d := wire.Delta(previous, p.Data); d != nil {
			p.Data, p.Delta = d, true
		}
	}
	if s.mode.protocol == wire.JSON {
		p.Data = wire.StringData(nil, p.Data)
	}
}

// publicationOf is p in the schema's terms; its data is shared.
func publicationOf(p *hub.Publication) *wire.Publication {
	out := &wire.Publication{Data: p.Data}
	m := p.Meta
	if m == nil {
		return out
	}
	out.Offset, out.Time = m.Offset, m.Time
	if m.Info != nil {
		out.Info = &wire.PresenceInfo{User: m.Info.User, Client: m.Info.Client, ConnInfo: m.Info.ConnInfo, ChanInfo: m.Info.ChanInfo}
	}
	if len(m.Tags) > 0 {
		out.Tags = make(map[string]string, len(m.Tags))
	}
	for _, tag := range m.Tags {
		out.Tags[tag.Key] = tag.Value
	}
	return out
}

// Cut is the hub's OnCut: h lost its place in the stream. Client-side subscriptions end with a code on which SDKs subscribe and
// recover, server-side ones with their connection, which does the same. Any goroutine; never blocks.
//
// Source: centrifuge-protocol.md, 10.5.
func Cut(h *hub.Subscription) {
	u := subscriptionOf(h)
	o := u.own.Load()
	if o == nil {
		return // has left
	}
	s := o.session
	if !s.conn.Post(func() { s.cutOff(u, o) }) {
		s.conn.Close(wire.CloseInsufficientState, wire.CloseInsufficientState.Reason())
	}
}

func (s *Session) cutOff(u *subscription, o *own) {
	if s.state == over || u.line() == nil || u.line() != o.line {
		return
	}
	if u.is(joining) {
		u.flags |= cut // whoever confirms it says so instead
		return
	}
	t := begin(s)
	defer t.end()
	if u.is(serverSide) {
		s.disconnect(t, wire.CloseInsufficientState)
		return
	}
	s.unsubscribeBy(t, u.name, wire.UnsubscribeInsufficient)
}
