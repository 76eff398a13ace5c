package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"throng/broker"
	"throng/server/channel"
	"throng/server/history"
	"throng/server/httpapi"
	"throng/server/hub"
	"throng/server/session"
	"throng/server/wire"
)

// startAPI makes the server API. It answers the surveys of other nodes also where its paths are served by neither listener.
func (n *node) startAPI() (err error) {
	n.api, err = httpapi.New(n.cfg.HTTPAPI, httpapi.Deps{Cluster: apiCluster{n.control}, Node: apiNode{n}, Rules: n.rules.Load, Log: n.log})
	if err != nil {
		return sectionError(n.cfg.ConfigFile, err)
	}
	return nil
}

// publicHTTP is what the public port answers besides upgrades: pages, and the API if the configuration says so.
func (n *node) publicHTTP() http.Handler {
	pages := n.pages()
	if !n.cfg.HTTPAPI.External || n.cfg.HTTPAPI.Disabled {
		return pages
	}
	mux := http.NewServeMux()
	mux.Handle("/api", n.api)
	mux.Handle("/api/", n.api)
	mux.Handle("/", pages)
	return mux
}

// apiCluster is the control plane as the API wants it.
type apiCluster struct{ control *broker.Control }

// Survey implements httpapi.Cluster.
func (c apiCluster) Survey(ctx context.Context, op string, payload []byte) (httpapi.Survey, error) {
	all, err := c.control.Survey(ctx, op, payload)
	var out httpapi.Survey
	for _, a := range all.Answers {
		out.Answers = append(out.Answers, httpapi.Answer{Node: a.Node.Name, Data: a.Data, Err: a.Err})
	}
	for _, s := range all.Silent {
		out.Silent = append(out.Silent, s.Node.Name)
	}
	return out, err
}

// HandleSurvey implements httpapi.Cluster.
func (c apiCluster) HandleSurvey(op string, fn func([]byte) ([]byte, error)) {
	c.control.HandleSurvey(op, fn)
}

// apiNode is this node's sessions and channels as the API wants them.
type apiNode struct{ *node }

// Publish implements httpapi.Node. It returns when NATS has stored the publication where the namespace keeps history, and when it
// is on its way where not.
func (a apiNode) Publish(ctx context.Context, p httpapi.Publication) (httpapi.Position, error) {
	tags := make([]wire.Tag, 0, len(p.Tags))
	for key, value := range p.Tags {
		tags = append(tags, wire.Tag{Key: key, Value: value})
	}
	slices.SortFunc(tags, func(a, b wire.Tag) int { return strings.Compare(a.Key, b.Key) })
	meta := &wire.Meta{Tags: tags}
	stored := a.node.rules.Load().KeepsHistory(&p.Channel) && !p.SkipHistory
	if !stored && p.IdempotencyKey == "" {
		return httpapi.Position{}, apiError(a.hub.PublishMeta(p.Channel.Name, p.Data, meta))
	}
	meta.Delta = stored && (p.Delta || p.Channel.Namespace.DeltaPublish)
	type outcome struct {
		at  history.Position
		err error
	}
	answer := make(chan outcome, 1)
	stream := session.StreamOf(p.Channel.Namespace)
	if !stored {
		stream.Size = 0
	}
	err := a.past.Publish(&history.Publication{
		Stream: stream, Channel: p.Channel.Name, Data: p.Data, Meta: meta,
		IdempotencyKey: p.IdempotencyKey, Version: p.Version, VersionEpoch: p.VersionEpoch,
	}, func(at history.Position, err error) { answer <- outcome{at, err} })
	if err != nil {
		return httpapi.Position{}, apiError(err)
	}
	select {
	case o := <-answer:
		return httpapi.Position(o.at), apiError(o.err)
	case <-ctx.Done():
		return httpapi.Position{}, ctx.Err()
	}
}

// apiError is what the caller can do about an error; others are ours or NATS's, and internal.
func apiError(err error) error {
	switch {
	case errors.Is(err, hub.ErrTooBig), errors.Is(err, history.ErrBadQuery):
		return httpapi.ErrBadRequest
	case errors.Is(err, history.ErrUnrecoverable):
		return httpapi.ErrUnrecoverablePosition
	}
	return err
}

// History implements httpapi.Node.
func (a apiNode) History(ctx context.Context, ch channel.Channel, q httpapi.HistoryQuery) (httpapi.History, error) {
	query := history.Query{Limit: q.Limit, Reverse: q.Reverse}
	if q.Since != nil {
		since := history.Position(*q.Since)
		query.Since = &since
	}
	r, err := a.past.Query(ctx, session.StreamOf(ch.Namespace), ch.Name, query)
	if err != nil {
		return httpapi.History{}, apiError(err)
	}
	out := httpapi.History{Position: httpapi.Position{Offset: r.Position.Offset, Epoch: r.Position.Epoch}, Publications: make([]httpapi.Published, len(r.Publications))}
	for i := range r.Publications {
		out.Publications[i] = published(&r.Publications[i])
	}
	return out, nil
}

func published(p *hub.Publication) httpapi.Published {
	out := httpapi.Published{Data: p.Data}
	if p.Meta == nil {
		return out
	}
	out.Offset = p.Meta.Offset
	if in := p.Meta.Info; in != nil {
		out.Info = &httpapi.ClientInfo{User: in.User, Client: in.Client, ConnInfo: in.ConnInfo, ChanInfo: in.ChanInfo}
	}
	if len(p.Meta.Tags) > 0 {
		out.Tags = make(map[string]string, len(p.Meta.Tags))
	}
	for _, t := range p.Meta.Tags {
		out.Tags[t.Key] = t.Value
	}
	return out
}

// RemoveHistory implements httpapi.Node.
func (a apiNode) RemoveHistory(ctx context.Context, ch channel.Channel) error {
	_, err := a.past.Remove(ctx, session.StreamOf(ch.Namespace), ch.Name)
	return apiError(err)
}

// target returns false where t can mean nobody: sessions have no other id than their client's.
func target(t httpapi.Target, keep []string) (session.Target, bool) {
	return session.Target{User: t.User, Client: t.Client, Except: keep}, t.Session == "" || t.Session == t.Client
}

// Disconnect implements httpapi.Node.
func (a apiNode) Disconnect(t httpapi.Target, code uint32, reason string, keep []string) error {
	if who, some := target(t, keep); some {
		a.sessions.Disconnect(who, wire.CloseCode(code), reason)
	}
	return nil
}

// Unsubscribe implements httpapi.Node.
func (a apiNode) Unsubscribe(t httpapi.Target, name string) error {
	if who, some := target(t, nil); some {
		a.sessions.Unsubscribe(who, name, unsubscribedByServer)
	}
	return nil
}

// unsubscribedByServer is the unsubscribe code of the server API (centrifuge-protocol.md, 17).
const unsubscribedByServer = 2000

// Subscribe implements httpapi.Node.
func (a apiNode) Subscribe(t httpapi.Target, s httpapi.Subscription) error {
	who, some := target(t, nil)
	if !some {
		return nil
	}
	sub := session.ServerSub{Channel: s.Channel, Info: s.Info, Data: s.Data, ExpireAt: s.ExpireAt, Override: s.Override}
	if s.RecoverSince != nil {
		since := history.Position(*s.RecoverSince)
		sub.Since = &since
	}
	_, code := a.sessions.Subscribe(who, sub)
	if code != channel.Allowed {
		return &httpapi.Error{Code: uint32(code), Message: wire.ErrorCode(code).String()}
	}
	return nil
}

// Refresh implements httpapi.Node.
func (a apiNode) Refresh(t httpapi.Target, r httpapi.Refresh) error {
	if who, some := target(t, nil); some {
		a.sessions.Refresh(who, session.RefreshOrder{Expired: r.Expired, ExpireAt: r.ExpireAt, Info: r.Info})
	}
	return nil
}

// Presence implements httpapi.Node.
func (a apiNode) Presence(name string) ([]httpapi.ClientInfo, error) {
	infos, err := a.sessions.LocalPresence(name)
	out := make([]httpapi.ClientInfo, len(infos))
	for i, in := range infos {
		out[i] = httpapi.ClientInfo{User: in.User, Client: in.Client, ConnInfo: in.ConnInfo, ChanInfo: in.ChanInfo}
	}
	return out, err
}

// Channels implements httpapi.Node.
func (a apiNode) Channels(yield func(name string, clients int) bool) {
	more := true
	a.hub.Channels(func(name string, clients int) {
		more = more && yield(name, clients)
	})
}

// Info implements httpapi.Node.
func (a apiNode) Info() httpapi.NodeInfo {
	self, c := a.control.Self(), a.counts()
	return httpapi.NodeInfo{
		UID: self.UID, Name: a.cfg.NodeID, Version: readVersion().Version, Uptime: uint32(time.Since(a.began).Seconds()),
		NumClients: c.Clients, NumUsers: c.Users, NumSubs: c.Subs, NumChannels: c.Channels, Process: a.meter.read(time.Now()),
	}
}
