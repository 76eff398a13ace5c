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
	switch {
	case c.Token != "" && tokens.Takes(c.Token):
		claims, err := tokens.Verify(c.Token)
		if err == auth.ErrNeedsFetch {
			s.connectLater(t, c.ID, keepText(c.Token), headers)
			return
		}
		s.connectByToken(t, c.ID, claims, err, headers)
	case v.parts.Hooks.Connect != nil && !v.cfg.Insecure:
		s.connectByHook(t, c, headers)
	case s.extra != nil && s.extra.trusted:
		s.admit(t, c.ID, identity{user: s.extra.trustedUser, headers: headers})
	case v.cfg.AllowAnonymous || v.cfg.Insecure:
		s.admit(t, c.ID, identity{headers: headers})
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

func (s *Session) connectLater(t *turn, id uint32, token string, headers map[string]string) {
	verify := s.service.parts.Connection.VerifyBlocking
	if !s.ask(t, id, func(ctx context.Context) func(*turn) {
		claims, err := verify(ctx, token)
		return func(t *turn) { s.connectByToken(t, id, claims, err, headers) }
	}) {
		s.state = refused
	}
}

func (s *Session) connectByToken(t *turn, id uint32, claims auth.Claims, err error, headers map[string]string) {
	if s.service.cfg.Insecure {
		claims.ExpireAt, err = 0, nil // a token that is not right has no claims: its client is anonymous
	}
	if err != nil {
		s.refuse(t, id, auth.Code(auth.Connect, err))
		return
	}
	who := identity{
		user: claims.User, info: claims.Info, meta: claims.Meta, expireAt: claims.ExpireAt, headers: headers, byToken: true,
	}
	for _, sub := range claims.Subs {
		who.subs = append(who.subs, ServerSub{Channel: sub.Channel, Info: sub.Info, Data: sub.Data, Override: sub.Override})
	}
	s.admit(t, id, who)
}

func (s *Session) connectByHook(t *turn, c *wire.Command, headers map[string]string) {
	q := &ConnectCall{Peer: s.peer(), Name: keepText(c.Name), Version: keepText(c.Version), Data: keepBytes(c.Data)}
	q.Headers = headers
	for _, sub := range c.Subs {
		q.Channels = append(q.Channels, keepText(sub.Channel))
	}
	id, hook := c.ID, s.service.parts.Hooks.Connect
	if !s.ask(t, id, func(ctx context.Context) func(*turn) {
		a, err := hook(ctx, q)
		return func(t *turn) { s.connectByAnswer(t, id, a, err, headers) }
	}) {
		s.state = refused
	}
}

func (s *Session) connectByAnswer(t *turn, id uint32, a ConnectAnswer, err error, headers map[string]string) {
	switch {
	case err != nil:
		s.failHook(t, id, err)
		if s.state == connecting {
			s.state = refused
		}
	case a.Unknown:
		s.disconnect(t, wire.CloseBadRequest)
	default:
		s.admit(t, id, identity{
			user: a.User, info: a.Info, meta: a.Meta, data: a.Data, expireAt: a.ExpireAt, subs: a.Subs, headers: headers,
		})
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

// admit makes the session that of a user, with the channels the server chooses for it, and answers the connect command.
func (s *Session) admit(t *turn, id uint32, who identity) {
	v := s.service
	ttl, code := v.parts.Connection.TTL(who.expireAt)
	if code != channel.Allowed {
		s.refuse(t, id, code)
		return
	}
	subs, code := s.serverSubs(&who)
	if code != channel.Allowed {
		s.refuse(t, id, code)
		return
	}
	if !v.users.add(s, who.user, v.cfg.UserConnectionLimit) {
		s.disconnect(t, wire.CloseConnectionLimit)
		return
	}
	v.stat(s).sessions.Add(1)
	s.state = connected
	s.remember(&who)
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
		sub := &subs[i]
		result.Subs[sub.name] = &wire.SubscribeResult{Data: sub.data}
		t.joining = append(t.joining, s.add(sub.name, sub.grant))
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
	name  string
	data  []byte
	grant grant
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
		g, code := s.grantServerSide(rules, who.user, &asked[i], flags)
		if code != channel.Allowed {
			return nil, code
		}
		subs = append(subs, serverSub{asked[i].Channel, asked[i].Data, g})
	}
	return subs, channel.Allowed
}

func (s *Session) grantServerSide(rules *channel.Rules, user string, sub *ServerSub, f subFlags) (g grant, code channel.Code) {
	ch, code := rules.Lookup(sub.Channel)
	if code != channel.Allowed {
		return g, code
	}
	g = grant{info: sub.Info, flags: f}
	g.features, code = rules.Features(&ch, channel.Client{User: user}, channel.Asked{}, sub.Override)
	if code != channel.Allowed {
		return g, code
	}
	_, g.expireAt, code = s.expiry(sub.ExpireAt)
	return g, code
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
