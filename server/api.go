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

// Publish implements httpapi.Node.
func (a apiNode) Publish(_ context.Context, p httpapi.Publication) (httpapi.Position, error) {
	tags := make([]wire.Tag, 0, len(p.Tags))
	for key, value := range p.Tags {
		tags = append(tags, wire.Tag{Key: key, Value: value})
	}
	slices.SortFunc(tags, func(a, b wire.Tag) int { return strings.Compare(a.Key, b.Key) })
	err := a.hub.PublishMeta(p.Channel.Name, p.Data, &wire.Meta{Tags: tags})
	if errors.Is(err, hub.ErrTooBig) {
		err = httpapi.ErrBadRequest
	}
	return httpapi.Position{}, err
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
	_, code := a.sessions.Subscribe(who, session.ServerSub{Channel: s.Channel, Info: s.Info, Data: s.Data, ExpireAt: s.ExpireAt, Override: s.Override})
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
