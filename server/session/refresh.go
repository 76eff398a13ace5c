package session

import (
	"context"
	"time"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/wire"
)

// refresh prolongs the connection by a new token.
//
// Source: centrifuge-protocol.md, 6.
func (s *Session) refresh(t *turn, c *wire.Command) {
	if c.Token == "" || !s.has(clientRefresh) {
		s.disconnect(t, wire.CloseBadRequest)
		return
	}
	v := s.service.parts.Connection
	claims, err := v.Verify(c.Token)
	if err != auth.ErrNeedsFetch {
		s.refreshed(t, c.ID, claims, err)
		return
	}
	id, token := c.ID, keepText(c.Token)
	s.ask(t, id, func(ctx context.Context) func(*turn) {
		claims, err := v.VerifyBlocking(ctx, token)
		return func(t *turn) { s.refreshed(t, id, claims, err) }
	})
}

func (s *Session) refreshed(t *turn, id uint32, claims auth.Claims, err error) {
	v := s.service
	if v.cfg.Insecure {
		claims, err = auth.Claims{User: s.who.name}, nil
	}
	if err == nil && claims.User != s.who.name {
		err = auth.ErrMismatch
	}
	if err != nil {
		s.fail(t, id, auth.Code(auth.Refresh, err))
		return
	}
	ttl, code := v.parts.Connection.TTL(claims.ExpireAt)
	if code != channel.Allowed {
		s.fail(t, id, code)
		return
	}
	if !v.cfg.Insecure && !s.sameSubs(claims.Subs) {
		s.disconnect(t, wire.CloseInsufficientState)
		return
	}
	info, meta := claims.Info, claims.Meta
	s.reidentify(ttl, info, meta)
	t.reply(&wire.Reply{Id: id, Refresh: &wire.RefreshResult{Client: s.clientID(), Version: v.cfg.Version, Expires: ttl > 0, Ttl: ttl}})
}

// sameSubs tells whether a token has the server-side subscriptions that the connection's has; if not, the client has to come
// again to get them.
func (s *Session) sameSubs(subs []auth.Sub) bool {
	had := 0
	s.each(func(u *subscription) {
		if u.is(fromToken) {
			had++
		}
	})
	for _, sub := range subs {
		if u := s.find(sub.Channel); u == nil || !u.is(fromToken) {
			return false
		}
	}
	return had == len(subs)
}

// reidentify gives the connection another expiry, in ttl seconds (0 = never), and another info and meta where there are any.
func (s *Session) reidentify(ttl uint32, info, meta []byte) {
	s.expireAt = 0
	if ttl > 0 {
		s.expireAt = s.service.after(time.Duration(ttl) * time.Second)
	}
	if info != nil || meta != nil {
		if s.extra != nil && info == nil {
			info = s.extra.info
		}
		if s.extra != nil && meta == nil {
			meta = s.extra.meta
		}
		s.extra = s.extra.withInfo(info, meta)
		s.each(func(u *subscription) { s.service.presence.update(s, u) })
	}
	s.arm()
}

// arm asks to be woken for whatever expires next. Called whenever that may have changed.
func (s *Session) arm() {
	if s.state != connected {
		return
	}
	next := tick(0)
	sooner := func(at tick) {
		if next == 0 || at < next {
			next = at
		}
	}
	if s.expireAt != 0 {
		sooner(s.expireAt + s.grace())
	}
	if s.has(subsExpire) {
		s.each(func(u *subscription) {
			if u.expireAt != 0 {
				sooner(u.expireAt + s.service.subGrace(u))
			}
		})
	}
	if next == 0 {
		s.conn.WakeIn(0)
		return
	}
	s.conn.WakeIn(max(time.Duration(int64(next)-int64(s.service.now())), 1) * tickLen)
}

// grace is how long after its expiry the connection is looked at: at once where a hook renews it, else when the client has had
// its time.
func (s *Session) grace() tick {
	if !s.has(clientRefresh) && s.service.parts.Hooks.Refresh != nil {
		return 0
	}
	return ticks(s.service.cfg.ExpiredCloseDelay)
}

func ticks(d time.Duration) tick { return tick((d + tickLen - 1) / tickLen) }

// subGrace is how long after its expiry a subscription is looked at: those that a hook renews at once, the others when their
// client has had its time.
func (v *Service) subGrace(u *subscription) tick {
	if !u.is(renewable) && v.parts.Hooks.SubRefresh != nil {
		return 0
	}
	return ticks(v.cfg.ExpiredSubCloseDelay)
}

// Woken looks at what has expired. On the owner, when Conn.WakeIn said so or later.
func (s *Session) Woken() {
	if s.state == over {
		return
	}
	if s.state != connected {
		s.disconnect(nil, wire.CloseStale)
		return
	}
	t := begin(s)
	defer t.end()
	now := s.service.now()
	if s.expireAt != 0 && now >= s.expireAt+s.grace() {
		s.expire(t)
	}
	if s.state == connected && s.has(subsExpire) {
		s.expireSubs(t, now)
	}
	s.arm()
}

// expire asks whoever renews the connection, or ends it.
func (s *Session) expire(t *turn) {
	v := s.service
	hook := v.parts.Hooks.Refresh
	switch {
	case s.has(clientRefresh) || hook == nil:
		s.disconnect(t, wire.CloseExpired)
	default:
		s.expireAt = v.after(v.cfg.RefreshRetry)
		s.whenFree(t, func(t *turn) {
			q := s.peer()
			s.ask(t, 0, func(ctx context.Context) func(*turn) {
				a, err := hook(ctx, &q)
				return func(t *turn) { s.refreshedByHook(t, a, err) }
			})
		})
	}
}

func (s *Session) refreshedByHook(t *turn, a RefreshAnswer, err error) {
	var ttl uint32
	code := channel.Allowed
	if err == nil {
		ttl, code = s.service.parts.Connection.TTL(a.ExpireAt)
	}
	switch {
	case err != nil:
		s.service.stat(s).HookFailures.Add(1) // asked again at the expireAt that expire set
	case a.Expired || code != channel.Allowed:
		s.disconnect(t, wire.CloseExpired)
	default:
		s.reidentify(ttl, a.Info, a.Meta)
	}
}

// expireSubs ends subscriptions whose time has passed, or asks the hook that renews them.
func (s *Session) expireSubs(t *turn, now tick) {
	left := false
	var gone []*subscription
	s.each(func(u *subscription) {
		if u.expireAt == 0 {
			return
		}
		left = true
		if now >= u.expireAt+s.service.subGrace(u) {
			gone = append(gone, u)
		}
	})
	s.set(subsExpire, left)
	for _, u := range gone {
		hook := s.service.parts.Hooks.SubRefresh
		switch {
		case s.state != connected:
			return
		case !u.is(renewable) && !u.is(serverSide) && hook != nil:
			s.renewSub(t, u)
		case u.is(serverSide):
			s.disconnect(t, wire.CloseSubExpired)
		default:
			s.unsubscribeBy(t, u.name, wire.UnsubscribeExpired)
		}
	}
}

func (s *Session) renewSub(t *turn, u *subscription) {
	u.expireAt = s.service.after(s.service.cfg.RefreshRetry)
	ch, _ := s.service.rules.Load().Lookup(u.name)
	q := &SubRefreshCall{Peer: s.peer(), Channel: u.name}
	if ch.Namespace != nil {
		q.Proxy = ch.Namespace.SubRefreshProxyName
	}
	hook := s.service.parts.Hooks.SubRefresh
	s.whenFree(t, func(t *turn) {
		s.ask(t, 0, func(ctx context.Context) func(*turn) {
			a, err := hook(ctx, q)
			return func(t *turn) { s.subRefreshedByHook(t, q.Channel, a, err) }
		})
	})
}

func (s *Session) subRefreshedByHook(t *turn, name string, a SubRefreshAnswer, err error) {
	u := s.find(name)
	if u == nil {
		return
	}
	if err != nil {
		s.service.stat(s).HookFailures.Add(1)
		return
	}
	_, expireAt, code := s.expiry(a.ExpireAt)
	if a.Expired || code != channel.Allowed {
		s.unsubscribeBy(t, name, wire.UnsubscribeExpired)
		return
	}
	s.prolong(u, expireAt, a.Info)
}
