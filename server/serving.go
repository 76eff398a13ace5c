package main

import (
	"errors"
	"net/http"

	"throng/broker"
	"throng/server/auth"
	"throng/server/hub"
	"throng/server/wire"
	"throng/server/ws"
)

// What the chat and its page must agree upon, so that the page asks for no room that the chat refuses.
const (
	defaultRoom  = "livechat"
	maxRoomBytes = 128
)

// hubBroker is the broker as the hub wants it: the two packages do not know each other.
type hubBroker struct{ broker.Broker }

// Publish implements hub.Broker.
func (b hubBroker) Publish(channel string, data []byte, binary bool) error {
	return hubError(b.Broker.Publish(channel, data, binary))
}

// PublishMeta implements hub.Broker.
func (b hubBroker) PublishMeta(channel string, data, meta []byte) error {
	return hubError(b.Broker.PublishMeta(channel, data, meta))
}

func hubError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, broker.ErrBusy):
		return hub.ErrBusy
	case errors.Is(err, broker.ErrTooBig):
		return hub.ErrTooBig
	case errors.Is(err, broker.ErrDisconnected):
		return hub.ErrDisconnected
	case errors.Is(err, broker.ErrClosed):
		return hub.ErrClosed
	}
	return err
}

// upgrade decides by path what a WebSocket connection is for. It is ws.Config.Upgrade.
func (n *node) upgrade(c *ws.Conn, r *wire.Request) (ws.Handler, *ws.Refusal) {
	switch string(r.Path) {
	case "/connection/websocket":
		return n.joinSession(c, r), nil
	case "/", "/livechat":
	default:
		return nil, &ws.Refusal{Status: http.StatusNotFound, Reason: "no WebSocket endpoint at this path; use /connection/websocket, or / and /livechat for raw text"}
	}
	room, _ := r.QueryValue("room")
	s, err := n.chat.Join(c, room)
	if err != nil {
		return nil, &ws.Refusal{Status: http.StatusBadRequest, Reason: err.Error()}
	}
	return s, nil
}

// originChecker allows pages of the host they connect to, the listed origins, and clients that name none: no browser is
// among them (RFC 6455, 10.2). The list has been checked with the configuration.
func originChecker(allowed []string) (func(r *wire.Request) bool, error) {
	origins, err := auth.NewOrigins(append([]string{"self"}, allowed...))
	if err != nil {
		return nil, err
	}
	return func(r *wire.Request) bool {
		return len(r.Origin) == 0 || origins.Check(string(r.Origin), string(r.Host)) != auth.OriginRefused
	}, nil
}
