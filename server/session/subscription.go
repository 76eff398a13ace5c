package session

import (
	"throng/server/channel"
	"throng/server/hub"
	"throng/server/wire"
)

// subscription is one channel of a session.
type subscription struct {
	hub      hub.Subscription
	name     string  // the hub's own string once it is in; "" = not in use
	info     *[]byte // chan_info, nil if none; read by queries for presence, never changed
	expireAt tick    // 0 = never
	at       uint32  // place in the presence table; guarded by it
	flags    subFlags
}

type subFlags uint8

const (
	joining    subFlags = 1 << iota // confirmed, not yet in the hub
	serverSide                      // not asked for by the client
	fromToken                       // server-side, by the connection token
	inPresence                      // appears in presence
	tellsJoins                      // its join and leave are published
	hearsJoins                      // those of others are sent to it
	renewable                       // the client renews it with tokens
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
}

// add makes the session hold a channel; enter makes it hear it.
func (s *Session) add(name string, g grant) *subscription {
	sub, encoding := s.subscriber(g.features.PushJoinLeave)
	u := &s.first
	// The hub may still look at a subscription that has left; taking it again is allowed if its Sub and Encoding stay.
	if u.name != "" || u.hub.Sub != nil && u.hub.Encoding != encoding {
		u = new(subscription)
		s.more = append(s.more, u)
	}
	u.hub.Sub, u.hub.Encoding = sub, encoding
	u.name = keepText(name)
	u.info, u.expireAt, u.flags = nil, g.expireAt, g.flags|joining
	if g.info != nil {
		u.info = &g.info
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

// enter lets a subscription into the hub, into presence, and tells the others.
func (s *Session) enter(u *subscription) {
	u.flags &^= joining
	s.service.parts.Hub.Subscribe(&u.hub, u.name)
	if name := u.hub.Channel(); name != "" {
		u.name = name // one string for all subscribers
	}
	s.service.watchJoins(u)
	if u.is(listed) {
		s.service.presence.add(s, u)
	}
	s.tell(u, wire.KindJoin)
}

// drop ends a subscription: nothing is sent to the client for it any more.
func (s *Session) drop(u *subscription) {
	if !u.is(joining) {
		s.service.parts.Hub.Unsubscribe(&u.hub)
		if u.is(listed) {
			s.service.presence.remove(u)
		}
		s.service.unwatchJoins(u)
		s.tell(u, wire.KindLeave)
	}
	u.name, u.info, u.expireAt, u.flags = "", nil, 0, 0
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
