package demo

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"throng/server/auth"
	"throng/server/channel"
)

// Namespace is where the rooms are: the channel of a room is Namespace, the boundary, and the room's name.
const Namespace = "chat"

// roomRegex is what a room may be called: letters, marks and digits of any script, and what one joins words with.
const roomRegex = `^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]{0,39}$`

// What rooms remember. Everybody may open a room and speak there, so all of them together get so much of the disk and no more;
// the oldest goes first, wherever it was said.
const (
	historySize     = 50
	historyTTL      = 24 * time.Hour
	historyMetaTTL  = 48 * time.Hour
	historyMaxBytes = 64 << 20
)

// Rooms returns the namespace of the demonstration: everybody who is let in may enter a room, speak there and see who else is
// there. history says whether this node serves history; without it a room remembers nothing.
func Rooms(history bool) channel.NamespaceConfig {
	o := channel.Options{
		Presence: true, JoinLeave: true, ForcePushJoinLeave: true,
		AllowSubscribeForClient: true, AllowPublishForSubscriber: true, AllowPresenceForSubscriber: true,
		PublicationDataFormat: "json_object", ChannelRegex: roomRegex,
	}
	if history {
		o.AllowHistoryForSubscriber = true
		o.HistorySize, o.HistoryTTL, o.ForceRecovery = historySize, historyTTL, true
		o.HistoryMetaTTL, o.HistoryMaxBytes = historyMetaTTL, historyMaxBytes
	}
	return channel.NamespaceConfig{Name: Namespace, Options: o}
}

// Config bounds what guests can make this node do. Zeros mean the defaults.
type Config struct {
	// TokenTTL is how long a token lets its guest in. Default 1h: the page renews it in time, and who leaves is soon nobody.
	TokenTTL time.Duration
	// RenewGrace is how long after its end a token still earns another for the same id. Default 24h: a laptop that slept.
	RenewGrace time.Duration
	// Rate of tokens per second, for all guests of this node together, and Burst at once. Default 50 and twice the rate: a
	// class that opens the page together gets in, a script fills no log.
	Rate, Burst int
	// MaxBody is the longest request body, in bytes. Default 4 KiB: an old token and a name have a third of it.
	MaxBody int64
}

func (c Config) withDefaults() Config {
	if c.TokenTTL <= 0 {
		c.TokenTTL = time.Hour
	}
	if c.RenewGrace <= 0 {
		c.RenewGrace = 24 * time.Hour
	}
	if c.Rate <= 0 {
		c.Rate = 50
	}
	if c.Burst <= 0 {
		c.Burst = 2 * c.Rate
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 4 << 10
	}
	return c
}

// Guests makes tokens; *auth.Guests does.
type Guests interface {
	// Make signs a token for id.
	Make(id string, info json.RawMessage, ttl time.Duration) (string, error)
	// Holder returns whose token that is, if it is one and ended no longer than grace ago.
	Holder(token string, grace time.Duration) (id string, ok bool)
}

var _ Guests = (*auth.Guests)(nil)

// Desk hands out tokens: the handler of POST /chat/token.
type Desk struct {
	cfg    Config
	guests Guests
	rate   *rate.Limiter
	counts struct{ issued, renewed, limited, refused atomic.Uint64 }
}

// Stats counts what happened at the desk since the start.
type Stats struct {
	Issued  uint64 // tokens for new guests
	Renewed uint64 // tokens for guests who showed their old one
	Limited uint64 // requests turned away by the rate
	Refused uint64 // requests that were not right
}

// New makes a desk; guests signs.
func New(cfg Config, guests Guests) *Desk {
	cfg = cfg.withDefaults()
	return &Desk{cfg: cfg, guests: guests, rate: rate.NewLimiter(rate.Limit(cfg.Rate), cfg.Burst)}
}

// Stats returns the counters. Any goroutine; never blocks.
func (d *Desk) Stats() Stats {
	c := &d.counts
	return Stats{Issued: c.issued.Load(), Renewed: c.renewed.Load(), Limited: c.limited.Load(), Refused: c.refused.Load()}
}

var _ http.Handler = (*Desk)(nil)
