package livechat

import (
	"sync/atomic"
	"unicode/utf8"

	"throng/server/hub"
	"throng/server/wire"
)

// Conn is the connection under a session.
type Conn interface {
	hub.Subscriber
	Close(code wire.CloseCode, reason string)
}

// Hub is what the chat needs of *hub.Hub, which has it.
type Hub interface {
	Subscribe(s *hub.Subscription, channel string)
	Unsubscribe(s *hub.Subscription)
	// Publish never blocks and copies data. Errors are, or wrap, hub.ErrBusy, hub.ErrTooBig, hub.ErrDisconnected,
	// hub.ErrClosed.
	Publish(channel string, data []byte, binary bool) error
}

// Chat is one node's chat. Make it with New.
type Chat struct {
	cfg      Config
	hub      Hub
	greeting []byte   // frame, shared by all
	greeter  *greeter // nil without a delay
	stats    counters
}

// New makes a chat; it panics if cfg.Validate finds fault. h must have Encoder(cfg.NodeID) for hub.EncodingRaw.
func New(cfg Config, h Hub) *Chat {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	c := &Chat{cfg: cfg.withDefaults(), hub: h}
	c.greeting = wire.AppendFrame(nil, wire.OpText, []byte("Connected to server "+cfg.NodeID))
	if cfg.GreetDelay > 0 {
		c.greeter = newGreeter(c)
	}
	return c
}

// Close ends the goroutine of delayed greetings and waits for it; those that wait are not sent any more. Sessions go on.
// Idempotent.
func (c *Chat) Close() {
	if c.greeter != nil {
		c.greeter.close()
	}
}

// Join makes the session of a connection that wants to upgrade; room "" is the default room. Nothing happens before
// Session.Open. Errors, for an answer with status 400: ErrRoomTooLong, ErrRoomNotUTF8, ErrRoomControl.
// Any goroutine; allocates the session and, until Open, the channel's name.
func (c *Chat) Join(conn Conn, room string) (*Session, error) {
	channel, err := c.cfg.channelOf(room)
	if err != nil {
		c.stats.refusedRooms.Add(1)
		return nil, err
	}
	s := &Session{chat: c, channel: channel}
	s.sub.Sub, s.sub.Encoding = conn, hub.EncodingRaw
	return s, nil
}

// Session is one connection's part in the chat: its membership in one room. It has the methods of ws.Handler.
type Session struct {
	sub     hub.Subscription
	chat    *Chat
	channel string
	state   atomic.Uint32
}

// States of a session: joined until Open, open until Closed. Moved by the connection's poller; the greeter reads.
const (
	stateJoined uint32 = iota
	stateOpen
	stateClosed
)

// errLost closes a client whose message was lost, if Config.CloseOnLoss says so.
var errLost = &wire.ProtocolError{Code: wire.CloseTryLater, Reason: "message lost"}

// Open greets the client and makes it a member of its room. Called once, by the connection's poller; does not block.
func (s *Session) Open() {
	s.state.Store(stateOpen)
	s.chat.stats.sessions.Add(1)
	if s.chat.greeter == nil || !s.chat.greeter.add(s) {
		s.greet()
	}
	s.chat.hub.Subscribe(&s.sub, s.channel)
	// The hub has one string for the whole room; ours can go.
	if name := s.sub.Channel(); name != "" {
		s.channel = name
	}
}

func (s *Session) greet() {
	s.chat.stats.greetings.Add(1)
	if s.sub.Sub.Send(s.chat.greeting) {
		s.sub.Sub.Flush()
	}
}

// Message publishes a text or binary message to the room. p is borrowed until return: the hub copies it. Called by the
// connection's poller; does not block. A message the hub does not take is counted; the error is nil unless
// Config.CloseOnLoss, then a *wire.ProtocolError with 1013.
func (s *Session) Message(op wire.Opcode, p []byte) error {
	c := s.chat
	binary := op == wire.OpBinary
	if binary {
		c.stats.binary.Add(1)
	} else {
		c.stats.text.Add(1)
	}
	err := c.hub.Publish(s.channel, p, binary)
	if err == nil {
		return nil
	}
	c.stats.lost(err)
	if c.cfg.CloseOnLoss {
		return errLost
	}
	return nil
}

// Closed takes the client out of its room, once; it may be called without Open, and again. Any goroutine; does not block.
func (s *Session) Closed(wire.CloseCode) {
	if s.state.Swap(stateClosed) != stateOpen {
		return
	}
	s.chat.stats.sessions.Add(-1)
	s.chat.hub.Unsubscribe(&s.sub)
}

// Encoder makes the WebSocket frame of a publication as node nodeID delivers it: text as "<nodeID>:<text>", binary
// unchanged. Text that is not UTF-8 (a foreign NATS client's) goes out unchanged as binary: a text frame would make every
// browser close with 1007. Allocates nothing if dst has room.
func Encoder(nodeID string) hub.Encoder {
	prefix := nodeID + ":"
	return func(dst []byte, pub *hub.Publication) []byte {
		if pub.Binary || !utf8.Valid(pub.Data) {
			return wire.AppendFrame(dst, wire.OpBinary, pub.Data)
		}
		dst = wire.AppendFrameHeader(dst, wire.OpText, len(prefix)+len(pub.Data))
		dst = append(dst, prefix...)
		return append(dst, pub.Data...)
	}
}
