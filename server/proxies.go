package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"throng/broker"
	"throng/server/proxy"
	"throng/server/session"
	"throng/server/wire"
)

// The application backend and NATS services, as sessions ask them.

// startProxies makes the endpoints ready; they ask nobody yet.
func (n *node) startProxies() (err error) {
	n.proxies, err = proxy.New(n.cfg.Proxy, proxy.Deps{Service: rpcServices{n.control}, Log: n.log})
	if err != nil {
		return sectionError(n.cfg.ConfigFile, err)
	}
	return nil
}

// handshakeHeaders are those that the configuration sends to backends; nil if there are none.
func handshakeHeaders(names []string, r *wire.Request) any {
	var kept []proxy.Header
	for _, name := range names {
		if value := r.Header(name); value != nil {
			kept = append(kept, proxy.Header{Name: name, Value: string(value)})
		}
	}
	if kept == nil {
		return nil
	}
	return kept
}

// rpcServices is the control plane as proxies want it.
type rpcServices struct{ *broker.Control }

// Request implements proxy.Service.
func (c rpcServices) Request(ctx context.Context, subject string, data []byte, header map[string]string) ([]byte, error) {
	r, err := c.Control.Request(ctx, broker.ServiceRequest{Subject: subject, Data: data, Header: header})
	if s, ok := errors.AsType[*broker.ServiceError](err); ok {
		code, _ := strconv.Atoi(s.Code) // 0 says that it was no number
		return nil, &proxy.ServiceError{Code: code, Text: s.Description}
	}
	switch {
	case errors.Is(err, broker.ErrNoService):
		err = fmt.Errorf("%w: %w", proxy.ErrNoService, err)
	case errors.Is(err, broker.ErrBadHeader), errors.Is(err, broker.ErrBadSubject), errors.Is(err, broker.ErrTooBig):
		err = fmt.Errorf("%w: %w", proxy.ErrUnsendable, err)
	}
	return r.Data, err
}

// hooks makes sessions ask proxies. Each is nil where no endpoint is configured.
func hooks(p *proxy.Proxies) session.Hooks {
	h := session.Hooks{RPC: func(ctx context.Context, q *session.RPCCall) ([]byte, error) {
		r := request(&q.Peer)
		r.Proxy, r.Subject, r.Method, r.Data = q.Route.Proxy, q.Route.Subject, q.Method, q.Data
		a, err := askProxy(ctx, p, proxy.RPC, r)
		return a.Data, err
	}}
	if p.Has(proxy.Connect, "") {
		h.Connect = func(ctx context.Context, q *session.ConnectCall) (session.ConnectAnswer, error) {
			r := request(&q.Peer)
			r.Name, r.Version, r.Data, r.Channels = q.Name, q.Version, q.Data, q.Channels
			a, err := askProxy(ctx, p, proxy.Connect, r)
			return session.ConnectAnswer{User: a.User, ExpireAt: a.ExpireAt, Info: a.Info, Data: a.Data, Meta: a.Meta, Subs: serverSubs(a)}, err
		}
	}
	if p.Has(proxy.Refresh, "") {
		h.Refresh = func(ctx context.Context, q *session.Peer) (session.RefreshAnswer, error) {
			a, err := askProxy(ctx, p, proxy.Refresh, request(q))
			return session.RefreshAnswer{Expired: a.Expired, ExpireAt: a.ExpireAt, Info: a.Info, Meta: a.Meta}, err
		}
	}
	h.Subscribe = func(ctx context.Context, q *session.SubscribeCall) (session.SubscribeAnswer, error) {
		r := request(&q.Peer)
		r.Proxy, r.Channel, r.Token, r.Data = q.Proxy, q.Channel, q.Token, q.Data
		a, err := askProxy(ctx, p, proxy.Subscribe, r)
		return session.SubscribeAnswer{Info: a.Info, Data: a.Data, ExpireAt: a.ExpireAt, Override: a.Override}, err
	}
	h.SubRefresh = func(ctx context.Context, q *session.SubRefreshCall) (session.SubRefreshAnswer, error) {
		r := request(&q.Peer)
		r.Proxy, r.Channel = q.Proxy, q.Channel
		a, err := askProxy(ctx, p, proxy.SubRefresh, r)
		return session.SubRefreshAnswer{Expired: a.Expired, ExpireAt: a.ExpireAt, Info: a.Info}, err
	}
	h.Publish = func(ctx context.Context, q *session.PublishCall) (session.PublishAnswer, error) {
		r := request(&q.Peer)
		r.Proxy, r.Channel, r.Data = q.Proxy, q.Channel, q.Data
		a, err := askProxy(ctx, p, proxy.Publish, r)
		pub := a.Publication
		return session.PublishAnswer{
			Data: a.Data, Tags: pub.Tags, SkipHistory: pub.SkipHistory, IdempotencyKey: pub.IdempotencyKey,
			Delta: pub.Delta, Version: pub.Version, VersionEpoch: pub.VersionEpoch,
		}, err
	}
	return h
}

// request describes the connection. Its attachment are the handshake headers that Proxies.Headers names.
func request(q *session.Peer) *proxy.Request {
	headers, _ := q.Attachment.([]proxy.Header)
	return &proxy.Request{
		Client: q.Client, User: q.User, Transport: "websocket", Protocol: q.Protocol, Meta: q.Meta, Headers: headers, Emulated: q.Headers,
	}
}

// askProxy turns what the backend refuses into the errors that sessions pass on.
func askProxy(ctx context.Context, p *proxy.Proxies, hook proxy.Hook, q *proxy.Request) (*proxy.Result, error) {
	r, err := p.Ask(ctx, hook, q)
	switch {
	case r.Outcome == proxy.Disconnected:
		err = &session.HookDisconnect{Code: uint32(r.Code), Reason: r.Message}
	case r.Outcome == proxy.Refused, r.Outcome == proxy.Failed && r.RetryAfter == 0:
		err = &session.HookError{Code: uint32(r.Code), Message: r.Message, Temporary: r.Temporary}
	}
	return r, err
}

func serverSubs(r *proxy.Result) (subs []session.ServerSub) {
	for name, s := range r.Subs {
		subs = append(subs, session.ServerSub{Channel: name, Info: s.Info, Data: s.Data, ExpireAt: s.ExpireAt, Override: s.Override})
	}
	for _, name := range r.Channels {
		if _, there := r.Subs[name]; !there {
			subs = append(subs, session.ServerSub{Channel: name})
		}
	}
	return subs
}
