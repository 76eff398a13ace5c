package session

import (
	"slices"

	"throng/server/channel"
	"throng/server/wire"
)

// Target says whose sessions a control operation is for: all of User's on this node, or one of them. Clients in Except are
// spared.
//
// Source: centrifuge-protocol.md, 19.
type Target struct {
	User   string // "" is the anonymous user
	Client string // "" = all
	Except []string
}

// each posts f to the owners of the sessions meant and returns how many there are.
func (v *Service) each(target Target, f func(*Session, *turn)) int {
	n := 0
	for _, s := range v.users.of(target.User) {
		id := s.clientID()
		if target.Client != "" && id != target.Client || slices.Contains(target.Except, id) {
			continue
		}
		n++
		if !s.conn.Post(func() { s.controlled(f) }) {
			s.conn.Close(wire.CloseServerError, wire.CloseServerError.Reason())
		}
	}
	return n
}

func (s *Session) controlled(f func(*Session, *turn)) {
	if s.state != connected {
		return
	}
	t := begin(s)
	defer t.end()
	f(s, t)
}

// Disconnect ends sessions of this node with a code from 3000 to 4999 and its reason, and returns how many there were. Like all
// control operations it may be called by any goroutine, never blocks, and takes effect soon.
func (v *Service) Disconnect(target Target, code wire.CloseCode, reason string) int {
	return v.each(target, func(s *Session, t *turn) { s.disconnectWith(t, code, reason) })
}

// Unsubscribe ends subscriptions of sessions of this node with an unsubscribe code; channel "" means all of them. A subscription
// that is being decided on is taken back when it is.
func (v *Service) Unsubscribe(target Target, name string, code uint32) int {
	return v.each(target, func(s *Session, t *turn) {
		if name != "" {
			s.unsubscribeBy(t, name, code)
			return
		}
		s.whenFree(t, func(t *turn) {
			var all []string
			s.each(func(u *subscription) { all = append(all, u.name) })
			for _, one := range all {
				s.unsubscribeBy(t, one, code)
			}
		})
	})
}

// Subscribe makes sessions of this node hold a channel, server-side, and tells them. Those that hold it, or as many channels as
// allowed, are left as they are. The code says whether the channel can be had at all.
func (v *Service) Subscribe(target Target, sub ServerSub) (int, channel.Code) {
	ch, code := v.rules.Load().Lookup(sub.Channel)
	if code != channel.Allowed {
		return 0, code
	}
	if ch.Wildcard {
		return 0, channel.BadRequest
	}
	return v.each(target, func(s *Session, t *turn) { s.whenFree(t, func(t *turn) { s.subscribeBy(t, &sub) }) }), channel.Allowed
}

func (s *Session) subscribeBy(t *turn, sub *ServerSub) {
	rules := s.service.rules.Load()
	if s.find(sub.Channel) != nil || s.held() >= rules.ChannelLimit() {
		return
	}
	p := past{recover: sub.Since != nil}
	if sub.Since != nil {
		p.offset, p.epoch = sub.Since.Offset, sub.Since.Epoch
	}
	ch, g, code := s.grantServerSide(rules, s.who.name, sub, &p, serverSide)
	if code != channel.Allowed {
		return
	}
	push := &wire.SubscribePush{Data: sub.Data}
	if !g.features.Positioned {
		t.join(entry{sub: s.add(sub.Channel, g)})
		t.push(&wire.Push{Channel: sub.Channel, Subscribe: push})
		return
	}
	r := s.begin(&ch, g, p)
	s.recover(t, []*recovery{r}, func(t *turn) { s.subscribedBy(t, r, push) })
}

// subscribedBy tells the client of a positioned subscription it did not ask for, and what it missed if the caller knows since
// when. One that cannot be had now ends the connection: it comes again.
func (s *Session) subscribedBy(t *turn, r *recovery, push *wire.SubscribePush) {
	if r.answer.Err != nil || r.sub.is(cut) {
		s.disconnect(t, wire.CloseInsufficientState)
		return
	}
	var result wire.SubscribeResult
	attached := s.tellPosition(r, &result)
	push.Recoverable, push.Positioned, push.Epoch, push.Offset = result.Recoverable, true, result.Epoch, result.Offset
	name := r.sub.name
	t.push(&wire.Push{Channel: name, Subscribe: push})
	for _, p := range result.Publications {
		t.push(&wire.Push{Channel: name, Pub: p})
	}
	t.join(entry{sub: r.sub, after: r.answer.Top, full: !attached})
}

// RefreshOrder is what the server API's refresh says about connections.
type RefreshOrder struct {
	Expired  bool
	ExpireAt int64  // unix seconds, 0 = never
	Info     []byte // nil: as before
}

// Refresh gives sessions of this node another expiry, or ends them with 3005, and tells them.
func (v *Service) Refresh(target Target, order RefreshOrder) int {
	return v.each(target, func(s *Session, t *turn) {
		ttl, code := s.service.parts.Connection.TTL(order.ExpireAt)
		if order.Expired || code != channel.Allowed {
			s.disconnect(t, wire.CloseExpired)
			return
		}
		s.reidentify(ttl, order.Info, nil)
		t.push(&wire.Push{Refresh: &wire.RefreshPush{Expires: ttl > 0, Ttl: ttl}})
	})
}

// Send tells sessions of this node something outside any channel: a message push. data must be JSON for JSON clients.
func (v *Service) Send(target Target, data []byte) int {
	return v.each(target, func(_ *Session, t *turn) { t.push(&wire.Push{Message: &wire.MessagePush{Data: data}}) })
}
