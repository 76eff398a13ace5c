// Package web serves Throng's browser pages from the binary itself: the page of the raw chat, that of the chat with rooms,
// their style sheets, ES modules and icons, robots.txt and a short 404 page. There is no build step, no CDN and nothing to fetch from elsewhere, so the
// pages work on a machine without a network.
//
// It does not speak WebSocket, keeps no state between requests, reads no file at run time and knows nothing of rooms,
// nodes or NATS: the page learns the node's id from the node's greeting.
//
// Goroutines: none of its own; ServeHTTP runs on net/http's.
// Ownership: everything (bytes, compressed bytes, tags) is computed once by Handler and is read-only from then on.
//
// Sources: RFC 9110 (8.8.3 ETag, 12.5.3 Accept-Encoding, 13.1.2 If-None-Match, 15.5.6 405), RFC 8246 (immutable),
// Content Security Policy Level 3, and the files under static/, which are what the browser gets.
package web

import (
	"cmp"
	"net/http"
	"time"
)

// Config is what the pages must agree upon with the rest of the node. The zero value is complete: every field that is
// zero (or negative) takes its default.
type Config struct {
	// SocketPath is the path, on the page's own host, at which the page opens its WebSocket.
	// Default /livechat, the raw-text chat.
	SocketPath string

	// DefaultRoom is the room of a page opened without ?room=. It must be the node's own default, as the page names
	// no room when it asks for this one. Default livechat.
	DefaultRoom string

	// MaxRoomBytes is the longest room name the page lets a user ask for, in bytes of UTF-8; the node answers a longer one
	// with 400, which a page cannot tell from a node that is away. Default 128, as livechat's.
	MaxRoomBytes int

	// MaxMessageBytes is the longest text message the node accepts, in bytes of UTF-8; the page refuses to send more,
	// where the node would close the connection with 1009. Default 65536.
	MaxMessageBytes int

	// ChatPath is where the chat with rooms stands; empty means that there is none, and no link to it. Default empty.
	ChatPath string

	// TokenPath, on the page's own host, hands out the tokens the chat with rooms connects with, and SessionPath is where it
	// opens its WebSocket, which speaks the Centrifuge protocol. Defaults /chat/token and /connection/websocket.
	TokenPath, SessionPath string

	// ChannelPrefix and the name of a room make its channel. Default "chat:".
	ChannelPrefix string

	// AssetMaxAge is how long a browser may use an asset fetched under its plain name without asking again.
	// Default one hour; assets under a versioned name, which is how the pages refer to them, are immutable.
	AssetMaxAge time.Duration
}

const (
	defaultSocketPath      = "/livechat"
	defaultRoom            = "livechat"
	defaultTokenPath       = "/chat/token"
	defaultSessionPath     = "/connection/websocket"
	defaultChannelPrefix   = "chat:"
	defaultMaxRoomBytes    = 128
	defaultMaxMessageBytes = 64 << 10
	defaultAssetMaxAge     = time.Hour
)

func (c Config) withDefaults() Config {
	c.SocketPath = cmp.Or(c.SocketPath, defaultSocketPath)
	c.DefaultRoom = cmp.Or(c.DefaultRoom, defaultRoom)
	c.TokenPath = cmp.Or(c.TokenPath, defaultTokenPath)
	c.SessionPath = cmp.Or(c.SessionPath, defaultSessionPath)
	c.ChannelPrefix = cmp.Or(c.ChannelPrefix, defaultChannelPrefix)
	if c.MaxRoomBytes <= 0 {
		c.MaxRoomBytes = defaultMaxRoomBytes
	}
	if c.MaxMessageBytes <= 0 {
		c.MaxMessageBytes = defaultMaxMessageBytes
	}
	if c.AssetMaxAge <= 0 {
		c.AssetMaxAge = defaultAssetMaxAge
	}
	return c
}

// Handler returns the handler of all pages: GET and HEAD of /, Config.ChatPath, /assets/..., /favicon.ico, /apple-touch-icon.png and
// /robots.txt; 405 for another method on one of these, 404 for any other path. It renders, hashes and compresses
// everything before it returns (a few milliseconds) and panics if the embedded files are broken, which is a fault of
// the build. The handler may be called from any goroutine and blocks only in the ResponseWriter.
func Handler(cfg Config) http.Handler {
	return newSite(cfg.withDefaults())
}

// ServeHTTP answers one request; RFC 9110 says with what.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setSecurityHeaders(w.Header())
	doc, cacheControl, found := s.lookup(r.URL.Path)
	if !found {
		s.notFound.write(w, r, http.StatusNotFound, cacheRevalidate)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.notAllowed.write(w, r, http.StatusMethodNotAllowed, cacheRevalidate)
		return
	}
	doc.serve(w, r, cacheControl)
}
