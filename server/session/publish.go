package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unsafe"

	"throng/server/channel"
	"throng/server/history"
	"throng/server/hub"
	"throng/server/wire"
)

// publish hands a client's publication to the hub, with who it is. The client hears it like all others, when it comes back.
//
// Source: centrifuge-protocol.md, 8 and 12.
func (s *Session) publish(t *turn, c *wire.Command) {
	if c.Channel == "" {
		s.disconnect(t, wire.CloseBadRequest)
		return
	}
	sub := s.find(c.Channel)
	verdict := s.service.rules.Load().CanPublish(c.Channel, channel.Client{User: s.who.name, Subscribed: sub != nil}, c.Data)
	switch {
	case verdict.Decision == channel.Refuse:
		s.fail(t, c.ID, verdict.Code)
	case verdict.Decision == channel.AskProxy:
		s.publishByHook(t, c, verdict.Proxy)
	default:
		s.publishNow(t, c.ID, &verdict.Channel, s.lasting(sub, c.Channel), PublishAnswer{Data: c.Data})
	}
}

// lasting is a channel's name as the broker may keep it until the publication is on its way.
func (s *Session) lasting(sub *subscription, name string) string {
	if sub != nil {
		return sub.name
	}
	return keepText(name)
}

// publishNow publishes and answers: at once for live channels, when it is stored for those with history. name is kept; ch is
// not, and may alias a frame.
func (s *Session) publishNow(t *turn, id uint32, ch *channel.Channel, name string, a PublishAnswer) {
	v := s.service
	t.meta = wire.Meta{Info: s.publisher(t, name), Tags: sortedTags(a.Tags), Delta: a.Delta || ch.Namespace.DeltaPublish}
	stored := v.rules.Load().KeepsHistory(ch) && !a.SkipHistory
	if !stored && a.IdempotencyKey == "" {
		t.meta.Delta = false
		t.published(id, v.parts.Hub.PublishMeta(name, a.Data, &t.meta))
		return
	}
	p := history.Publication{
		Stream: StreamOf(ch.Namespace), Channel: name, Data: a.Data, Meta: &t.meta,
		IdempotencyKey: a.IdempotencyKey, Version: a.Version, VersionEpoch: a.VersionEpoch,
	}
	if !stored {
		p.Stream.Size = 0
	}
	if p.Version > 0 || !stored { // kept until it is answered; only hooks ask for either, and their data and tags last
		m := t.meta
		m.Info = s.info(s.find(name))
		p.Meta = &m
	}
	done := s.storing(id)
	if err := v.parts.History.Publish(&p, func(_ history.Position, err error) { done(err) }); err != nil {
		done(err)
	}
}

// published answers a publish command.
func (t *turn) published(id uint32, err error) {
	switch {
	case err == nil:
		t.done(id, wire.MethodPublish)
	case errors.Is(err, hub.ErrBusy):
		t.fail(id, wire.ErrorTooManyRequests)
	case errors.Is(err, hub.ErrTooBig):
		t.fail(id, wire.ErrorLimitExceeded)
	default:
		t.fail(id, wire.ErrorInternal)
	}
}

// publisher is the session's ClientInfo, built where it costs no garbage: the hub writes it down before it returns.
func (s *Session) publisher(t *turn, name string) *wire.ClientInfo {
	id := appendID(t.id[:0], &s.id)
	t.info = wire.ClientInfo{User: s.who.name, Client: unsafe.String(unsafe.SliceData(id), len(id))}
	if s.extra != nil {
		t.info.ConnInfo = s.extra.info
	}
	if sub := s.find(name); sub != nil {
		t.info.ChanInfo = sub.info()
	}
	return &t.info
}

func (s *Session) publishByHook(t *turn, c *wire.Command, proxy string) {
	hook := s.service.parts.Hooks.Publish
	if hook == nil {
		t.fail(c.ID, wire.ErrorNotAvailable)
		return
	}
	id := c.ID
	q := &PublishCall{Peer: s.peer(), Proxy: proxy, Channel: keepText(c.Channel), Data: keepBytes(c.Data)}
	s.ask(t, id, func(ctx context.Context) func(*turn) {
		a, err := hook(ctx, q)
		return func(t *turn) {
			if err != nil {
				s.failHook(t, id, err)
				return
			}
			if a.Data == nil {
				a.Data = q.Data
			}
			ch, code := s.service.rules.Load().Lookup(q.Channel)
			if code != channel.Allowed { // the rules changed meanwhile
				s.fail(t, id, code)
				return
			}
			s.publishNow(t, id, &ch, q.Channel, a)
		}
	})
}

// sortedTags is m in an order that does not change from one publication to the next.
func sortedTags(m map[string]string) []wire.Tag {
	if len(m) == 0 {
		return nil
	}
	tags := make([]wire.Tag, 0, len(m))
	for k, v := range m {
		tags = append(tags, wire.Tag{Key: k, Value: v})
	}
	slices.SortFunc(tags, func(a, b wire.Tag) int { return strings.Compare(a.Key, b.Key) })
	return tags
}

// history answers what was published in a channel. The answer is encoded on the requests pool too: it may be long.
//
// Source: centrifuge-protocol.md, 12.
func (s *Session) history(t *turn, c *wire.Command) {
	verdict := s.service.rules.Load().CanHistory(c.Channel, s.reader(c.Channel))
	if verdict.Decision == channel.Refuse {
		s.fail(t, c.ID, verdict.Code)
		return
	}
	v, id, name, p := s.service, c.ID, keepText(c.Channel), s.mode.protocol
	stream, q := StreamOf(verdict.Channel.Namespace), history.Query{Limit: int(c.Limit), Reverse: c.Reverse}
	if q.Limit < 0 || q.Limit > v.cfg.MaxHistory {
		q.Limit = v.cfg.MaxHistory
	}
	if c.HasSince {
		q.Since = &history.Position{Offset: c.Offset, Epoch: keepText(c.Epoch)}
	}
	s.ask(t, id, func(ctx context.Context) func(*turn) {
		r, err := v.parts.History.Query(ctx, stream, name, q)
		var record []byte
		if err == nil {
			result := &wire.HistoryResult{Offset: r.Position.Offset, Epoch: r.Position.Epoch}
			result.Publications, _ = s.publications(r.Publications, nil, false)
			if result.Publications == nil {
				result.Publications = []*wire.Publication{} // null would not be a list
			}
			record, err = wire.AppendRecord(nil, 0, p, &wire.Reply{Id: id, History: result})
		}
		return func(t *turn) {
			switch {
			case errors.Is(err, history.ErrUnrecoverable):
				t.fail(id, wire.ErrorUnrecoverable)
			case errors.Is(err, history.ErrBadQuery):
				t.fail(id, wire.ErrorBadRequest)
			case err != nil:
				t.fail(id, wire.ErrorInternal)
			default:
				t.record(record)
			}
		}
	})
}

// reader is the session as permission to read wants to know it.
func (s *Session) reader(name string) channel.Client {
	return channel.Client{User: s.who.name, Subscribed: s.find(name) != nil}
}

// rpc is answered by the application backend or a NATS service.
//
// Source: centrifuge-protocol.md, 12.
func (s *Session) rpc(t *turn, c *wire.Command) {
	route, code := s.service.rules.Load().RPC(c.RPCMethod)
	hook := s.service.parts.Hooks.RPC
	switch {
	case code != channel.Allowed:
		s.fail(t, c.ID, code)
		return
	case hook == nil:
		t.fail(c.ID, wire.ErrorNotAvailable)
		return
	}
	id := c.ID
	route.Proxy, route.Subject = keepText(route.Proxy), keepText(route.Subject)
	q := &RPCCall{Peer: s.peer(), Route: route, Method: keepText(c.RPCMethod), Data: keepBytes(c.Data)}
	s.ask(t, id, func(ctx context.Context) func(*turn) {
		data, err := hook(ctx, q)
		return func(t *turn) {
			if err != nil {
				s.failHook(t, id, err)
				return
			}
			t.reply(&wire.Reply{Id: id, Rpc: &wire.RPCResult{Data: data}})
		}
	})
}
