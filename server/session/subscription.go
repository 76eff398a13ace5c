package session

import (
	"sync/atomic"
	"unsafe"

	"throng/server/channel"
	"throng/server/history"
	"throng/server/hub"
	"throng/server/wire"
)

// subscription is one channel of a session.
type subscription struct {
	hub      hub.Subscription // first: subscriptionOf finds the way back
	name     string           // the hub's own string once it is in; "" = not in use
	own      atomic.Pointer[own]
	expireAt tick   // 0 = never
	at       uint32 // place in the presence table; guarded by it
	flags    subFlags
}

// own is what few subscriptions have; the others' pointer to it is nil. Replaced, never changed: queries for presence and the
// hub's shards read it.
type own struct {
	session *Session
	line    *history.Line // of a positioned subscription, nil otherwise
	info    *[]byte       // chan_info, nil if none: most positioned subscriptions have none, and there may be a million
}

// subscriptionOf is the subscription around what the hub knows of it.
func subscriptionOf(h *hub.Subscription) *subscription { return (*subscription)(unsafe.Pointer(h)) }

// info is the chan_info, nil if none.
func (u *subscription) info() []byte {
	if o := u.own.Load(); o != nil && o.info != nil {
		return *o.info
	}
	return nil
}

// line is where the channel's stream is followed; nil: the subscription has no position.
func (u *subscription) line() *history.Line {
	if o := u.own.Load(); o != nil {
		return o.line
	}
	return nil
}

// leaveLine ends following the channel's stream.
func (u *subscription) leaveLine() {
	o := u.own.Load()
	if o == nil || o.line == nil {
		return
	}
	if u.is(takesDeltas) {
		o.line.WantDelta(-1)
	}
	o.line.Leave()
}

func (u *subscription) setInfo(s *Session, info []byte) {
	o := own{session: s}
	if was := u.own.Load(); was != nil {
		o = *was
	}
	o.info = &info
	u.own.Store(&o)
}

type subFlags uint16

const (
	joining     subFlags = 1 << iota // not confirmed yet, or nothing is sent for it yet
	serverSide                       // not asked for by the client
	fromToken                        // server-side, by the connection token
	inPresence                       // appears in presence
	tellsJoins                       // its join and leave are published
	hearsJoins                       // those of others are sent to it
	renewable                        // the client renews it with tokens
	cut                              // lost its place in the stream before it was confirmed
	takesDeltas                      // counted by its line
	special                          // not plain to the hub, now or before: its memory is not used again
)

func (u *subscription) is(f subFlags) bool { return u.flags&f != 0 }

// find returns the subscription to a channel, or nil. There are few: 128 by default.
func (s *Session) find(name string) *subscription {
	if s.first.name == name && name != "" {
		return &s.first
	}
	for _, u := range s.more {
		if u.name == name {
			return u
		}
	}
	return nil
}

// held counts the session's channels.
func (s *Session) held() int {
	if s.first.name != "" {
		return 1 + len(s.more)
	}
	return len(s.more)
}

// each calls f with every subscription; f may drop the one it is called with.
func (s *Session) each(f func(*subscription)) {
	if s.first.name != "" {
		f(&s.first)
	}
	for i := len(s.more) - 1; i >= 0; i-- {
		f(s.more[i])
	}
}

// grant is what a subscription gets, from rules, tokens, hooks or the API.
type grant struct {
	features channel.Features
	info     []byte
	expireAt tick
	flags    subFlags
	special  bool // positioned or filtered
}

// add makes the session hold a channel; enter makes it hear it.
func (s *Session) add(name string, g grant) *subscription {
	sub, encoding := s.subscriber(&g.features)
	u := &s.first
	// The hub may still look at a subscription that has left; taking it again is allowed if its Sub and Encoding stay.
	if u.name != "" || u.hub.Sub != nil && (u.hub.Encoding != encoding || u.is(special) || g.special) {
		u = new(subscription)
		s.more = append(s.more, u)
	}
	if u.hub.Sub == nil { // else they are the same, and the hub may be reading them
		u.hub.Sub, u.hub.Encoding = sub, encoding
	}
	u.name = keepText(name)
	u.expireAt, u.flags = g.expireAt, g.flags|joining
	if g.special {
		u.flags |= special
	}
	if g.info != nil {
		u.setInfo(s, g.info)
	}
	if g.features.Presence {
		u.flags |= inPresence
	}
	if g.features.EmitJoinLeave {
		u.flags |= tellsJoins
	}
	if g.features.PushJoinLeave {
		u.flags |= hearsJoins
	}
	if u.expireAt != 0 {
		s.set(subsExpire, true)
		s.arm()
	}
	s.service.stat(s).subscriptions.Add(1)
	return u
}

// entry is a subscription whose confirmation is about to leave, and how it enters the hub behind that.
type entry struct {
	sub    *subscription
	name   string // its channel; a subscription that was taken back meanwhile may be that of another by now
	filter *wire.Filter
	after  uint64 // positioned: what lies behind it in the stream is sent
	full   bool   // positioned: the next publication is sent whole
}

// enter lets a subscription hear its channel, into presence, and tells the others.
func (s *Session) enter(e entry) {
	u, h := e.sub, s.service.parts.Hub
	if u.name != e.name || !u.is(joining) {
		return
	}
	u.flags &^= joining
	switch {
	case u.line() != nil:
		h.Open(&u.hub, e.after, e.full)
	case e.filter != nil:
		h.SubscribeSpecial(&u.hub, u.name, hub.Special{Filter: e.filter})
	default:
		h.Subscribe(&u.hub, u.name)
	}
	s.shareName(u)
	s.service.watchJoins(u)
	if u.is(listed) {
		s.service.presence.add(s, u)
	}
	s.tell(u, wire.KindJoin)
}

// shareName makes the name the hub's own string, one for all subscribers.
func (s *Session) shareName(u *subscription) {
	if name := u.hub.Channel(); name != "" {
		u.name = name
	}
}

// drop ends a subscription: nothing is sent to the client for it any more.
func (s *Session) drop(u *subscription) {
	s.service.parts.Hub.Unsubscribe(&u.hub)
	u.leaveLine()
	if !u.is(joining) {
		if u.is(listed) {
			s.service.presence.remove(u)
		}
		s.service.unwatchJoins(u)
		s.tell(u, wire.KindLeave)
	}
	u.own.Store(nil)
	u.name, u.expireAt, u.flags = "", 0, u.flags&special
	s.service.stat(s).subscriptions.Add(-1)
	for i, other := range s.more {
		if other == u {
			last := len(s.more) - 1
			s.more[i], s.more[last] = s.more[last], nil
			s.more = s.more[:last]
			break
		}
	}
	if len(s.more) == 0 {
		s.more = nil
	}
}

// tell publishes a join or a leave where the channel wants it. One that the broker has no room for is counted, and missed.
func (s *Session) tell(u *subscription, kind wire.Kind) {
	if !u.is(tellsJoins) {
		return
	}
	err := s.service.parts.Hub.PublishMeta(u.name, nil, &wire.Meta{Kind: kind, Info: s.info(u), Node: s.service.parts.UID})
	if err != nil {
		s.service.stat(s).LostJoins.Add(1)
	}
}
