package session

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"unsafe"

	"throng/server/channel"
	"throng/server/hub"
	"throng/server/wire"
)

// Session is one client's conversation. It has the methods of ws.Handler and ws.Waker. Its owner alone may use it, except
// where a field says otherwise.
type Session struct {
	service *Service
	conn    Conn
	mode    *mode
	extra   *extra   // what few sessions have
	waiting *waiting // an answer is awaited: what the client says meanwhile; nil otherwise
	who     *user    // from connect on, constant then
	id      [16]byte // from connect on, constant then

	next, prev *Session // of the same user; guarded by the users table

	expireAt tick // of the connection, 0 = never
	state    state
	flags    flags
	budget   bucket

	first subscription    // in use if it has a name
	more  []*subscription // the others, in no order
}

// state is where a conversation is; it only grows.
type state uint8

const (
	fresh state = iota
	connecting
	connected
	refused
	over
)

// flags of a session.
type flags uint8

const (
	nativePing    flags = 1 << iota // kept alive by WebSocket pings
	clientRefresh                   // the client renews the connection with tokens
	subsExpire                      // some subscription has an expireAt
)

func (s *Session) has(f flags) bool { return s.flags&f != 0 }

func (s *Session) set(f flags, on bool) {
	s.flags &^= f
	if on {
		s.flags |= f
	}
}

// extra holds what only some sessions have. Replaced, never changed, once connected: other goroutines may hold the old one.
type extra struct {
	info        []byte // conn_info
	meta        []byte
	headers     map[string]string
	attachment  any
	trustedUser string
	trusted     bool
}

// Open gives the client its time for a connect command. Called once, before Message.
func (s *Session) Open() {
	s.service.stat(s).Opened.Add(1)
	s.conn.WakeIn(s.service.cfg.StaleTimeout)
}

// Message takes one frame of commands, borrowed until return. JSON or Protobuf is what the handshake agreed on, whatever the
// opcode: some clients send everything as binary. It returns nil: what is wrong with the client ends in Conn.Close.
func (s *Session) Message(_ wire.Opcode, p []byte) error {
	switch {
	case s.state == over:
	case string(p) == s.mode.pong:
		s.pong()
	case s.waiting.busy():
		s.keep(p)
	default:
		t := begin(s)
		s.read(t, p)
		t.end()
	}
	return nil
}

// read carries out the commands of a frame, until an answer must be awaited.
func (s *Session) read(t *turn, frame []byte) {
	t.reader.Reset(s.mode.protocol, frame, s.service.cfg.MaxCommands)
	for s.state != over {
		before := t.reader.Rest()
		err := t.reader.Next(&t.command)
		if err == io.EOF {
			return
		}
		if bad, is := err.(*wire.ProtocolError); is { // never wrapped, and errors.As allocates
			s.service.stat(s).BadFrames.Add(1)
			s.disconnect(t, bad.Code)
			return
		}
		if t.command.Method != wire.MethodSubscribe && len(t.joining) > 0 && !t.commit() || !s.inStep(&t.command) {
			s.keep(before) // it may be about channels that are not entered yet, or has to be answered behind others
			return
		}
		s.carryOut(t, &t.command)
		if s.waiting.busy() {
			if rest := t.reader.Rest(); len(rest) > 0 {
				s.keep(rest)
			}
			return
		}
	}
}

// carryOut decides what a command is allowed to be now, and does it.
//
// Source: centrifuge-protocol.md, 3.
func (s *Session) carryOut(t *turn, c *wire.Command) {
	st := s.service.stat(s)
	st.Commands[c.Method].Add(1)
	if c.ID == 0 && c.Method != wire.MethodSend {
		s.pong()
		return
	}
	if !s.withinRate(t, c) {
		return
	}
	if c.Method == wire.MethodConnect && s.state == fresh {
		s.connect(t, c)
		return
	}
	if c.Method == wire.MethodConnect || c.Method == wire.MethodNone || s.state != connected {
		s.disconnect(t, wire.CloseBadRequest)
		return
	}
	switch c.Method {
	case wire.MethodSubscribe:
		s.subscribe(t, c)
	case wire.MethodUnsubscribe:
		s.unsubscribe(t, c)
	case wire.MethodPublish:
		s.publish(t, c)
	case wire.MethodPresence, wire.MethodPresenceStats:
		s.presence(t, c)
	case wire.MethodHistory:
		s.history(t, c)
	case wire.MethodRPC:
		s.rpc(t, c)
	case wire.MethodRefresh:
		s.refresh(t, c)
	case wire.MethodSubRefresh:
		s.subRefresh(t, c)
	case wire.MethodSend:
		s.disconnect(t, wire.CloseNotAvailable)
	default: // ping
		t.fail(c.ID, wire.ErrorNotAvailable)
	}
}

// pong takes the client's answer to a ping. The connection layer counts any sign of life, so all there is to do is to refuse
// an answer nobody asked for.
func (s *Session) pong() {
	s.service.stat(s).Pongs.Add(1)
	if s.state != connected {
		s.disconnect(nil, wire.CloseBadRequest)
		return
	}
	if p, is := s.conn.(ponger); is && !p.Ponged() {
		s.disconnect(nil, wire.CloseBadRequest)
	}
}

// fail answers a command with a code of the rules or of a token: an error reply or the end of the connection.
func (s *Session) fail(t *turn, id uint32, code channel.Code) {
	if code.Disconnects() {
		s.disconnect(t, wire.CloseCode(code))
		return
	}
	t.fail(id, wire.ErrorCode(code))
}

// disconnect ends the connection with a code of the protocol, behind what has been answered already. t may be nil.
func (s *Session) disconnect(t *turn, code wire.CloseCode) {
	s.disconnectWith(t, code, code.Reason())
}

func (s *Session) disconnectWith(t *turn, code wire.CloseCode, reason string) {
	if s.state == over {
		return
	}
	if t != nil {
		t.send() // what was confirmed in this turn need not enter the hub any more
	}
	s.service.codes.countClose(code)
	s.conn.Close(code, reason)
	s.leave()
}

// Closed says that the connection is gone. Once, or again, or without Open; never at the same time as another method.
func (s *Session) Closed(wire.CloseCode) { s.leave() }

// leave ends all that others know of the session.
func (s *Session) leave() {
	was := s.state
	if was == over {
		return
	}
	s.state = over
	s.waiting = nil
	s.conn.WakeIn(0)
	s.each(s.drop)
	s.more = nil
	if was != connected {
		return
	}
	s.service.users.remove(s)
	s.service.stat(s).sessions.Add(-1)
}

// newID makes a random UUID, version 4 (RFC 9562, 5.4).
func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// appendID appends id as clients see it.
func appendID(dst []byte, id *[16]byte) []byte {
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// clientID is the connection's id as clients see it.
func (s *Session) clientID() string {
	text := appendID(make([]byte, 0, 36), &s.id)
	return unsafe.String(unsafe.SliceData(text), len(text))
}

// info is the ClientInfo of the session in one of its channels; sub may be nil.
func (s *Session) info(sub *subscription) *wire.ClientInfo {
	info := &wire.ClientInfo{User: s.who.name, Client: s.clientID()}
	if s.extra != nil {
		info.ConnInfo = s.extra.info
	}
	if sub != nil {
		info.ChanInfo = sub.info()
	}
	return info
}

// peer is the session as hooks see it.
func (s *Session) peer() Peer {
	p := Peer{Protocol: s.mode.protocol.String()}
	if s.who != nil {
		p.User, p.Client = s.who.name, s.clientID()
	} else {
		p.Client = s.clientID()
	}
	if e := s.extra; e != nil {
		p.Meta, p.Headers, p.Attachment = e.meta, e.headers, e.attachment
	}
	return p
}

// subscriber is what the hub keeps of a session's subscription.
func (s *Session) subscriber(f *channel.Features) (hub.Subscriber, hub.Encoding) {
	forms := &s.mode.whole
	if f.Delta {
		forms = &s.mode.delta
	}
	if f.PushJoinLeave {
		return s.conn, forms.joins
	}
	return s.conn, forms.plain
}
