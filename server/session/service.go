package session

import (
	"context"
	"sync/atomic"
	"time"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/history"
	"throng/server/hub"
	"throng/server/wire"
)

// Conn is the connection under a session. What is sent within Open, Message, Woken, Closed or a posted function is flushed by
// the connection afterwards. Every method may be called by any goroutine, also after the connection was closed, and none
// blocks.
type Conn interface {
	hub.Subscriber
	// Close flushes what was sent, then sends a close frame. Only the first call counts.
	Close(code wire.CloseCode, reason string)
	// Post runs fn on the connection's owner soon: never at the same time as another method of the session, and not at all once
	// the connection is closed. False: it cannot, for want of room.
	Post(fn func()) bool
	// WakeIn asks for one call of Session.Woken in d; a later call replaces an earlier one, 0 takes it back.
	WakeIn(d time.Duration)
	// UseKeepAlive chooses how the connection is kept alive: Config.KeepAliveJSON or KeepAliveProtobuf.
	UseKeepAlive(i uint8)
}

// ponger is implemented by connections that know whether a ping is out. Without it every pong is taken.
type ponger interface {
	// Ponged notes the peer's answer to a ping; false: none was out.
	Ponged() bool
}

// Hub is what sessions need of *hub.Hub, which has it.
type Hub interface {
	Subscribe(s *hub.Subscription, channel string)
	Unsubscribe(s *hub.Subscription)
	SubscribeSpecial(s *hub.Subscription, channel string, sp hub.Special)
	Open(s *hub.Subscription, after uint64, full bool)
	// Warm turns interest on ahead of a Subscribe; false: nobody has confirmed it yet. Confirm says that somebody has.
	Warm(channel string) (i hub.Interest, confirmed bool)
	Confirm(i hub.Interest)
	// PublishMeta keeps channel, copies data and meta, and never blocks.
	PublishMeta(channel string, data []byte, meta *wire.Meta) error
}

// Verifier verifies one kind of token; *auth.Verifier does.
type Verifier interface {
	// Takes tells whether token is to be judged; otherwise it is ignored.
	Takes(token string) bool
	// Verify never blocks; auth.ErrNeedsFetch sends the token to VerifyBlocking.
	Verify(token string) (auth.Claims, error)
	VerifyBlocking(ctx context.Context, token string) (auth.Claims, error)
	// TTL are the seconds until a time, 0 for never; the code is channel.Expired if it has passed.
	TTL(expireAt int64) (uint32, channel.Code)
}

// Requests runs what must wait. It never blocks; false: too much is waiting already, and fn will not run.
type Requests interface{ Go(fn func()) bool }

// Surveyor asks all nodes, this one included, which answer with Service.AnswerPresence. It may block until ctx ends. answers
// are those that came; silent is how many nodes did not answer that should have, err is nil even then. A node that is known to be
// gone has no clients, and is not silent.
type Surveyor interface {
	Survey(ctx context.Context, op string, payload []byte) (answers [][]byte, silent int, err error)
}

// Parts is what a Service stands on. Hub, Rules, Connection, Subscription and Requests are needed; Surveyor nil means that
// there are no other nodes.
type Parts struct {
	Hub          Hub
	Rules        *channel.Rules
	Connection   Verifier
	Subscription Verifier
	Requests     Requests
	Surveyor     Surveyor
	Hooks        Hooks
	Members      Members // nil: leaves of clients whose node died are not told
	UID          string  // this node among others: joins and leaves carry it
	// History keeps the streams of channels. Nil: there are none, and the rules must not grant any.
	History *history.Service
	// Confirm calls done, elsewhere, when all nodes' publications reach the channels this node is interested in by now, or with
	// an error when that cannot be known. It never blocks. Nil: interest needs no confirmation.
	Confirm func(done func(error))
}

// Service is what all sessions of a node share. Make it with New.
type Service struct {
	cfg       Config
	parts     Parts // but Rules
	rules     atomic.Pointer[channel.Rules]
	start     time.Time
	modes     [2]mode // by wire.Protocol
	users     users
	presence  presence
	inquiries inquiries
	stats     counters
	codes     codeCounts
}

// mode is what sessions of one encoding have in common.
type mode struct {
	protocol  wire.Protocol
	whole     forms
	delta     forms // publications as differences
	keepAlive uint8
	pong      string // the whole payload of a lone pong
}

// forms are the encodings of subscriptions that take the same kind of publications.
type forms struct {
	plain hub.Encoding // publications only
	joins hub.Encoding // joins and leaves too
}

// New makes a service; it panics if cfg.Validate finds fault or a part is missing.
func New(cfg Config, parts Parts) *Service {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if parts.Hub == nil || parts.Rules == nil || parts.Connection == nil || parts.Subscription == nil || parts.Requests == nil {
		panic("session: New without a Hub, Rules, verifiers or Requests")
	}
	cfg = cfg.withDefaults()
	v := &Service{cfg: cfg, parts: parts, start: time.Now()}
	v.rules.Store(parts.Rules)
	v.modes[wire.JSON] = mode{
		wire.JSON, forms{hub.EncodingJSON, hub.EncodingJSONJoins}, forms{hub.EncodingJSONDelta, hub.EncodingJSONDeltaJoins}, cfg.KeepAliveJSON, "{}",
	}
	v.modes[wire.Protobuf] = mode{
		wire.Protobuf, forms{hub.EncodingProtobuf, hub.EncodingProtobufJoins}, forms{hub.EncodingProtobufDelta, hub.EncodingProtobufDeltaJoins},
		cfg.KeepAliveProtobuf, "\x00",
	}
	v.users.init()
	v.presence.init()
	return v
}

// SetRules replaces the rules on names and permissions. They hold for commands from now on; what clients have they keep. Any
// goroutine.
func (v *Service) SetRules(r *channel.Rules) { v.rules.Store(r) }

// Handshake is what is known of a client before it says a word.
type Handshake struct {
	Protocol wire.Protocol
	// NativePing says that the client wants WebSocket pings and none of the protocol's.
	NativePing bool
	// Trusted says that a proxy in front has named the User in a header of its own.
	Trusted bool
	User    string
	// Attachment is handed to hooks, for what they need of the request; kept as long as the session. Usually nil.
	Attachment any
}

// Join makes the session of a connection that was accepted. Nothing happens before Session.Open. Any goroutine; one allocation
// unless there is something to keep of h.
func (v *Service) Join(conn Conn, h Handshake) *Session {
	s := &Session{service: v, conn: conn, mode: &v.modes[h.Protocol]}
	s.set(nativePing, h.NativePing)
	if h.Trusted || h.Attachment != nil {
		s.extra = &extra{attachment: h.Attachment, trusted: h.Trusted, trustedUser: h.User}
	}
	return s
}

// tick is time since Service.start in tenths of a second, 0 for never: four bytes for thirteen years.
type tick uint32

const tickLen = 100 * time.Millisecond

func (v *Service) now() tick { return tick(time.Since(v.start)/tickLen) + 1 }

// after is the tick in d from now, rounded up.
func (v *Service) after(d time.Duration) tick { return v.now() + tick((d+tickLen-1)/tickLen) }
