package session

import (
	"context"
	"errors"
	"maps"
	"time"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/wire"
)

// identity is who a client is and what it brings along, wherever that was found out.
type identity struct {
	user     string
	info     []byte
	meta     []byte
	data     []byte // for the client
	expireAt int64
	subs     []ServerSub
	headers  map[string]string
	byToken  bool
	pasts    map[string]past // where the client was in channels it had, from the command
}

// connect finds out who the client is: by token, by hook, by the handshake, or not at all.
//
// Source: centrifuge-protocol.md, 5.
func (s *Session) connect(t *turn, c *wire.Command) {
	v := s.service
	s.state = connecting
	s.id = newID()
	tokens := v.parts.Connection
	headers := emulatedHeaders(c.Headers)
	brought := identity{headers: headers, pasts: pastsOf(c)}
	switch {
	case c.Token != "" && tokens.Takes(c.Token):
		claims, err := tokens.Verify(c.Token)
		if err == auth.ErrNeedsFetch {
			s.connectLater(t, c.ID, keepText(c.Token), brought)
			return
		}
		s.connectByToken(t, c.ID, claims, err, brought)
	case v.parts.Hooks.Connect != nil && !v.cfg.Insecure:
		s.connectByHook(t, c, brought)
	case s.extra != nil && s.extra.trusted:
		brought.user = s.extra.trustedUser
		s.admit(t, c.ID, brought)
	case v.cfg.AllowAnonymous || v.cfg.Insecure:
		s.admit(t, c.ID, brought)
	default:
		s.disconnect(t, wire.CloseBadRequest)
	}
}

// emulatedHeaders keeps what a browser could not put into the handshake, for hooks.
func emulatedHeaders(list []wire.Header) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]string, len(list))
	for _, h := range list {
		m[keepText(h.Name)] = keepText(h.Value)
	}
	return m
}

// pastsOf keeps where the client was in its server-side subscriptions.
func pastsOf(c *wire.Command) map[string]past {
	if len(c.Subs) == 0 {
		return nil
	}
	m := make(map[string]past, len(c.Subs))
	for i := range c.Subs {
		p := pastOf(&c.Subs[i].Subscription)
		p.reject, p.delta = false, keepText(c.Subs[i].Delta)
		m[keepText(c.Subs[i].Channel)] = p
	}
	return m
}

func (s *Session) connectLater(t *turn, id uint32, token string, brought identity) {
	verify := s.service.parts.Connection.VerifyBlocking
	if !s.ask(t, id, func(ctx context.Context) func(*turn) {
		claims, err := verify(ctx, token)
		return func(t *turn) { s.connectByToken(t, id, claims, err, brought) }
	}) {
		s.state = refused
	}
}

func (s *Session) connectByToken(t *turn, id uint32, claims auth.Claims, err error, who identity) {
	if s.service.cfg.Insecure {
		claims.ExpireAt, err = 0, nil // a token that is not right has no claims: its client is anonymous
	}
	if err != nil {
		s.refuse(t, id, auth.Code(auth.Connect, err))
		return
	}
	who.user, who.info, who.meta, who.expireAt, who.byToken = claims.User, claims.Info, claims.Meta, claims.ExpireAt, true
	for _, sub := range claims.Subs {
		who.subs = append(who.subs, ServerSub{Channel: sub.Channel, Info: sub.Info, Data: sub.Data, Override: sub.Override})
	}
	s.admit(t, id, who)
}

func (s *Session) connectByHook(t *turn, c *wire.Command, brought identity) {
	q := &ConnectCall{Peer: s.peer(), Name: keepText(c.Name), Version: keepText(c.Version), Data: keepBytes(c.Data)}
	q.Headers = brought.headers
	for _, sub := range c.Subs {
		q.Channels = append(q.Channels, keepText(sub.Channel))
	}
	id, hook := c.ID, s.service.parts.Hooks.Connect
	if !s.ask(t, id, func(ctx context.Context) func(*turn) {
		a, err := hook(ctx, q)
		return func(t *turn) { s.connectByAnswer(t, id, a, err, brought) }
	}) {
		s.state = refused
	}
}

func (s *Session) connectByAnswer(t *turn, id uint32, a ConnectAnswer, err error, who identity) {
	switch {
	case err != nil:
		s.failHook(t, id, err)
		if s.state == connecting {
			s.state = refused
		}
	case a.Unknown:
		s.disconnect(t, wire.CloseBadRequest)
	default:
		who.user, who.info, who.meta, who.data, who.expireAt, who.subs = a.User, a.Info, a.Meta, a.Data, a.ExpireAt, a.Subs
		s.admit(t, id, who)
	}
}

// failHook passes on what a hook said instead of an answer.
func (s *Session) failHook(t *turn, id uint32, err error) {
	var said *HookError
	var cut *HookDisconnect
	switch {
	case errors.As(err, &said):
		s.service.codes.countError(wire.ErrorCode(said.Code))
		t.reply(&wire.Reply{Id: id, Error: &wire.ReplyError{Code: said.Code, Message: said.Message, Temporary: said.Temporary}})
	case errors.As(err, &cut) && cut.Code >= 3000 && cut.Code < 5000:
		s.disconnectWith(t, wire.CloseCode(cut.Code), cut.Reason)
	case cut != nil:
		s.disconnect(t, wire.CloseServerError)
	default:
		t.fail(id, wire.ErrorInternal)
	}
}

// refuse ends a connect command. After an error reply the client goes by itself; if it does not, it becomes stale.
func (s *Session) refuse(t *turn, id uint32, code channel.Code) {
	s.state = refused
	s.fail(t, id, code)
}

// admit makes the session that of a user, with the channels the server chooses for it, once it is known what the client missed
// in them, and answers the connect command.
func (s *Session) admit(t *turn, id uint32, who identity) {
	ttl, code := s.service.parts.Connection.TTL(who.expireAt)
	if code != channel.Allowed {
		s.refuse(t, id, code)
		return
	}
	subs, code := s.serverSubs(&who)
	if code != channel.Allowed {
		s.refuse(t, id, code)
		return
	}
	var list []*recovery
	for i := range subs {
		if sub := &subs[i]; sub.grant.features.Positioned {
			sub.recovery = s.begin(&sub.channel, sub.grant, sub.past)
			list = append(list, sub.recovery)
		}
	}
	if list == nil {
		s.admitted(t, id, &who, ttl, subs)
		return
	}
	s.recover(t, list, func(t *turn) {
		for _, r := range list {
			if r.answer.Err != nil || r.sub.is(cut) { // temporary: the client comes again
				s.each(s.drop)
				s.refuse(t, id, channel.Internal)
				return
			}
		}
		s.admitted(t, id, &who, ttl, subs)
	})
}

// admitted answers a connect command with everything the client is and has.
func (s *Session) admitted(t *turn, id uint32, who *identity, ttl uint32, subs []serverSub) {
	v := s.service
	if !v.users.add(s, who.user, v.cfg.UserConnectionLimit) {
		s.disconnect(t, wire.CloseConnectionLimit)
		return
	}
	v.stat(s).sessions.Add(1)
	s.state = connected
	s.remember(who)
	s.set(clientRefresh, who.byToken)
	if ttl > 0 {
		s.expireAt = v.after(time.Duration(ttl) * time.Second)
	}
	result := &wire.ConnectResult{Client: s.clientID(), Version: v.cfg.Version, Data: who.data}
	if ttl > 0 && who.byToken {
		result.Expires, result.Ttl = true, ttl
	}
	if len(subs) > 0 {
		result.Subs = make(map[string]*wire.SubscribeResult, len(subs))
	}
	for i := range subs {
		result.Subs[subs[i].channel.Name] = s.serverSubscribed(t, &subs[i])
	}
	if v.cfg.PingInterval > 0 && !s.has(nativePing) {
		result.Ping, result.Pong = uint32(v.cfg.PingInterval/time.Second), true
		s.conn.UseKeepAlive(s.mode.keepAlive)
	}
	if v.cfg.SendTime {
		result.Time = time.Now().UnixMilli()
	}
	s.arm()
	t.reply(&wire.Reply{Id: id, Connect: result})
}

// serverSubscribed lets a server-side subscription in, and says what the client is told of it.
func (s *Session) serverSubscribed(t *turn, sub *serverSub) *wire.SubscribeResult {
	result := &wire.SubscribeResult{Data: sub.data}
	r := sub.recovery
	if r == nil {
		t.join(entry{sub: s.add(sub.channel.Name, sub.grant), filter: sub.past.filter})
		return result
	}
	attached := s.tellPosition(r, result)
	t.join(entry{sub: r.sub, after: r.answer.Top, full: !attached})
	return result
}

// remember keeps what of an identity is needed later, which for most clients is nothing.
func (s *Session) remember(who *identity) {
	e := extra{info: who.info, meta: who.meta, headers: who.headers}
	if s.extra != nil {
		e.attachment = s.extra.attachment
	}
	s.extra = nil
	if e.info != nil || e.meta != nil || e.headers != nil || e.attachment != nil {
		s.extra = &e
	}
}

// serverSub is a server-side subscription that may be had.
type serverSub struct {
	channel  channel.Channel
	data     []byte
	grant    grant
	past     past
	recovery *recovery // nil: it has no position
}

// serverSubs works out the subscriptions of a connect: those of the token or the hook, and the personal channel.
func (s *Session) serverSubs(who *identity) ([]serverSub, channel.Code) {
	rules := s.service.rules.Load()
	personal, has := rules.PersonalChannel(who.user)
	for _, sub := range who.subs {
		has = has && sub.Channel != personal
	}
	asked := who.subs
	if has {
		asked = append(asked[:len(asked):len(asked)], ServerSub{Channel: personal})
	}
	if len(asked) > rules.ChannelLimit() {
		return nil, channel.CloseChannelLimit
	}
	var subs []serverSub
	for i := range asked {
		flags := serverSide
		if who.byToken && i < len(who.subs) {
			flags |= fromToken
		}
		p := who.pasts[asked[i].Channel]
		ch, g, code := s.grantServerSide(rules, who.user, &asked[i], &p, flags)
		if code != channel.Allowed {
			return nil, code
		}
		subs = append(subs, serverSub{channel: ch, data: asked[i].Data, grant: g, past: p})
	}
	return subs, channel.Allowed
}

func (s *Session) grantServerSide(rules *channel.Rules, user string, sub *ServerSub, p *past, f subFlags) (ch channel.Channel, g grant, code channel.Code) {
	ch, code = rules.Lookup(sub.Channel)
	if code != channel.Allowed {
		return ch, g, code
	}
	g = grant{info: sub.Info, flags: f}
	asked := channel.Asked{Delta: p.delta}
	if asked.Delta != "fossil" {
		asked.Delta = "" // no reason to end a connection
	}
	g.features, code = rules.Features(&ch, channel.Client{User: user}, asked, sub.Override)
	if code != channel.Allowed {
		return ch, g, code
	}
	if !g.features.AllowTagsFilter || g.features.Delta {
		p.filter = nil
	}
	g.special = g.features.Positioned || p.filter != nil
	_, g.expireAt, code = s.expiry(sub.ExpireAt)
	return ch, g, code
}

// expiry turns a subscription's time of expiry into the seconds a client is told and the tick it is looked at.
func (s *Session) expiry(at int64) (ttl uint32, expireAt tick, code channel.Code) {
	if at == 0 || s.service.cfg.Insecure {
		return 0, 0, channel.Allowed
	}
	ttl, code = s.service.parts.Subscription.TTL(at)
	if code != channel.Allowed {
		return 0, 0, code
	}
	return ttl, s.service.after(time.Duration(ttl) * time.Second), channel.Allowed
}

// withInfo is a copy of e, which may be nil, with another conn_info and meta.
func (e *extra) withInfo(info, meta []byte) *extra {
	n := extra{}
	if e != nil {
		n = *e
		n.headers = maps.Clone(e.headers)
	}
	n.info, n.meta = info, meta
	return &n
}
