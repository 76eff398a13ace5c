package session

import (
	"context"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/wire"
)

// wish is what a subscribe command asks for, made to outlive it.
type wish struct {
	id    uint32
	name  string
	asked channel.Asked
	past  past
}

// past is what a client asks for of a channel's stream.
type past struct {
	filter  *wire.Filter
	epoch   string
	offset  uint64
	recover bool
	reject  bool   // an error rather than a result that says "not recovered"
	delta   string // of a connect command's subs: "" or the type asked for
}

func pastOf(c *wire.Subscription) past {
	return past{filter: c.Filter, epoch: keepText(c.Epoch), offset: c.Offset, recover: c.Recover, reject: c.Flag&wire.FlagRejectUnrecovered != 0}
}

// subscribe decides a subscribe command: by the rules, a token or a hook.
//
// Source: centrifuge-protocol.md, 8 and 9.
func (s *Session) subscribe(t *turn, c *wire.Command) {
	rules := s.service.rules.Load()
	verdict := rules.CanSubscribe(channel.SubscribeRequest{
		Channel: c.Channel, User: s.who.name, Held: s.held(), Type: int(c.Type),
		Already: s.find(c.Channel) != nil, Token: c.Token != "",
	})
	if verdict.Decision == channel.Refuse {
		s.fail(t, c.ID, verdict.Code)
		return
	}
	if c.BadFilter {
		t.fail(c.ID, wire.ErrorBadRequest)
		return
	}
	w := wish{
		id: c.ID, name: keepText(c.Channel), past: pastOf(&c.Subscription),
		asked: channel.Asked{Delta: c.Delta, Positioned: c.Positioned, Recoverable: c.Recoverable, JoinLeave: c.JoinLeave},
	}
	if w.asked.Delta != "" {
		w.asked.Delta = keepText(w.asked.Delta)
	}
	switch verdict.Decision {
	case channel.VerifyToken:
		s.subscribeByToken(t, c.Token, w)
	case channel.AskProxy:
		s.subscribeByHook(t, c, verdict.Proxy, w)
	case channel.Grant:
		s.subscribed(t, w, SubscribeAnswer{}, 0)
	default:
		t.fail(c.ID, wire.ErrorNotAvailable)
	}
}

func (s *Session) subscribeByToken(t *turn, token string, w wish) {
	v := s.service.parts.Subscription
	if s.service.cfg.Insecure {
		s.subscribed(t, w, SubscribeAnswer{}, renewable)
		return
	}
	claims, err := v.Verify(token)
	if err != auth.ErrNeedsFetch {
		s.subscribeByClaims(t, w, claims, err)
		return
	}
	token = keepText(token)
	s.ask(t, w.id, func(ctx context.Context) func(*turn) {
		claims, err := v.VerifyBlocking(ctx, token)
		return func(t *turn) { s.subscribeByClaims(t, w, claims, err) }
	})
}

func (s *Session) subscribeByClaims(t *turn, w wish, claims auth.Claims, err error) {
	if err == nil {
		err = claims.Check(s.who.name, w.name, s.clientID())
	}
	if err != nil {
		s.fail(t, w.id, auth.Code(auth.Subscribe, err))
		return
	}
	s.subscribed(t, w, SubscribeAnswer{Info: claims.Info, Data: claims.Data, ExpireAt: claims.ExpireAt, Override: claims.Override}, renewable)
}

func (s *Session) subscribeByHook(t *turn, c *wire.Command, proxy string, w wish) {
	hook := s.service.parts.Hooks.Subscribe
	if hook == nil {
		t.fail(w.id, wire.ErrorNotAvailable)
		return
	}
	q := &SubscribeCall{Peer: s.peer(), Proxy: proxy, Channel: w.name, Token: keepText(c.Token), Data: keepBytes(c.Data)}
	s.ask(t, w.id, func(ctx context.Context) func(*turn) {
		a, err := hook(ctx, q)
		return func(t *turn) {
			if err != nil {
				s.failHook(t, w.id, err)
				return
			}
			s.subscribed(t, w, a, 0)
		}
	})
}

// subscribed gives the client a channel it may have, and answers. f says renewable where a token let it in.
func (s *Session) subscribed(t *turn, w wish, a SubscribeAnswer, f subFlags) {
	rules := s.service.rules.Load()
	ch, code := rules.Lookup(w.name)
	if code != channel.Allowed { // the rules changed meanwhile
		s.fail(t, w.id, code)
		return
	}
	if s.find(w.name) != nil { // the server was faster
		t.fail(w.id, wire.ErrorAlreadySubscribed)
		return
	}
	g := grant{info: a.Info, flags: f}
	g.features, code = rules.Features(&ch, channel.Client{User: s.who.name}, w.asked, a.Override)
	var ttl uint32
	if code == channel.Allowed {
		ttl, g.expireAt, code = s.expiry(a.ExpireAt)
	}
	switch {
	case code != channel.Allowed:
		s.fail(t, w.id, code)
		return
	case w.past.filter != nil && (!g.features.AllowTagsFilter || g.features.Delta):
		t.fail(w.id, wire.ErrorBadRequest)
		return
	}
	if g.features.ClientSideRefresh {
		g.flags |= renewable
	} else {
		g.flags &^= renewable
		ttl = 0
	}
	g.special = g.features.Positioned || w.past.filter != nil
	result := &wire.SubscribeResult{Expires: ttl > 0, Ttl: ttl, Data: a.Data}
	if !g.features.Positioned {
		t.join(entry{sub: s.add(w.name, g), filter: w.past.filter})
		t.confirm(w.id, result)
		return
	}
	r := s.begin(&ch, g, w.past)
	s.recover(t, []*recovery{r}, func(t *turn) { s.positioned(t, w.id, r, result) })
}

// confirm answers a subscribe command.
func (t *turn) confirm(id uint32, r *wire.SubscribeResult) {
	if !r.Expires && r.Data == nil && !r.Positioned {
		t.done(id, wire.MethodSubscribe)
		return
	}
	t.reply(&wire.Reply{Id: id, Subscribe: r})
}

// unsubscribe ends a subscription at the client's wish; that there is none is no error.
//
// Source: centrifuge-protocol.md, 9.
func (s *Session) unsubscribe(t *turn, c *wire.Command) {
	if c.Channel == "" {
		s.disconnect(t, wire.CloseBadRequest)
		return
	}
	if u := s.find(c.Channel); u != nil {
		s.drop(u)
	}
	t.done(c.ID, wire.MethodUnsubscribe)
}

// unsubscribeBy ends a subscription at the server's wish and tells the client.
func (s *Session) unsubscribeBy(t *turn, name string, code uint32) {
	s.whenFree(t, func(t *turn) {
		u := s.find(name)
		if u == nil {
			return
		}
		s.drop(u)
		s.service.stat(s).ServerUnsubscribes.Add(1)
		t.push(&wire.Push{Channel: name, Unsubscribe: &wire.UnsubscribePush{Code: code, Reason: wire.UnsubscribeReason(code)}})
	})
}

// subRefresh prolongs a subscription by a new token. A client that forgets the channel, as old Python SDKs do, means that of
// its token.
//
// Source: centrifuge-protocol.md, 6.
func (s *Session) subRefresh(t *turn, c *wire.Command) {
	u := s.find(c.Channel)
	switch {
	case c.Channel == "" && c.Token == "":
		s.disconnect(t, wire.CloseBadRequest)
		return
	case c.Channel != "" && u == nil:
		t.fail(c.ID, wire.ErrorPermissionDenied)
		return
	case u != nil && !u.is(renewable):
		s.disconnect(t, wire.CloseBadRequest)
		return
	case c.Token == "":
		t.fail(c.ID, wire.ErrorBadRequest)
		return
	}
	v := s.service.parts.Subscription
	claims, err := v.Verify(c.Token)
	if err != auth.ErrNeedsFetch {
		s.subRefreshed(t, c.ID, c.Channel, claims, err)
		return
	}
	id, name, token := c.ID, keepText(c.Channel), keepText(c.Token)
	s.ask(t, id, func(ctx context.Context) func(*turn) {
		claims, err := v.VerifyBlocking(ctx, token)
		return func(t *turn) { s.subRefreshed(t, id, name, claims, err) }
	})
}

func (s *Session) subRefreshed(t *turn, id uint32, name string, claims auth.Claims, err error) {
	if s.service.cfg.Insecure {
		t.done(id, wire.MethodSubRefresh)
		return
	}
	if name == "" && err == nil {
		name = claims.Channel
	}
	if err == nil {
		err = claims.Check(s.who.name, name, s.clientID())
	}
	if err != nil {
		s.fail(t, id, auth.Code(auth.SubRefresh, err))
		return
	}
	u := s.find(name)
	switch {
	case u == nil:
		t.fail(id, wire.ErrorPermissionDenied)
		return
	case !u.is(renewable):
		s.disconnect(t, wire.CloseBadRequest)
		return
	}
	ttl, expireAt, code := s.expiry(claims.ExpireAt)
	if code != channel.Allowed {
		s.fail(t, id, code)
		return
	}
	s.prolong(u, expireAt, claims.Info)
	t.reply(&wire.Reply{Id: id, SubRefresh: &wire.SubRefreshResult{Expires: ttl > 0, Ttl: ttl}})
}

// prolong gives a subscription another expiry, and another info if there is one.
func (s *Session) prolong(u *subscription, expireAt tick, info []byte) {
	u.expireAt = expireAt
	if info != nil {
		u.setInfo(s, info)
		s.service.presence.update(s, u)
	}
	s.set(subsExpire, s.has(subsExpire) || expireAt != 0)
	s.arm()
}
