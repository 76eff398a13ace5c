package main

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"throng/broker"
	"throng/server/hub"
	"throng/server/livechat"
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
	err := b.Broker.Publish(channel, data, binary)
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

// upgrader decides by path what a WebSocket connection is for.
func upgrader(chat *livechat.Chat) func(*ws.Conn, *wire.Request) (ws.Handler, *ws.Refusal) {
	return func(c *ws.Conn, r *wire.Request) (ws.Handler, *ws.Refusal) {
		switch string(r.Path) {
		case "/", "/livechat":
		default:
			return nil, &ws.Refusal{Status: http.StatusNotFound, Reason: "no WebSocket endpoint at this path; use / or /livechat"}
		}
		room, _ := r.QueryValue("room")
		s, err := chat.Join(c, room)
		if err != nil {
			return nil, &ws.Refusal{Status: http.StatusBadRequest, Reason: err.Error()}
		}
		return s, nil
	}
}

// originChecker allows clients without an Origin (no browser sends none), pages of the host they connect to, and the
// listed origins; "*" allows all (RFC 6455, 10.2).
func originChecker(allowed []string) func(r *wire.Request) bool {
	if slices.Contains(allowed, "*") {
		return nil
	}
	return func(r *wire.Request) bool {
		if len(r.Origin) == 0 {
			return true
		}
		origin := strings.ToLower(string(r.Origin))
		if slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, origin) }) {
			return true
		}
		u, err := url.Parse(origin)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, string(r.Host))
	}
}
