package ws

import (
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"throng/server/wire"
)

// verdict is what reading a turn's bytes came to.
type verdict uint8

const (
	keep     verdict = iota
	closeNow         // close the descriptor, here on the poller and as the last thing done with c
)

// onReadable is the poller's callback. Closing comes last: the moment nbio has closed c, gone may run on
// another goroutine.
func (c *Conn) onReadable(s *Server) {
	if c.turn(s) == closeNow {
		_ = c.nb.Close()
	}
}

// turn reads what is there, up to the budget, and flushes what was answered in one write.
func (c *Conn) turn(s *Server) (v verdict) {
	defer func() {
		if r := recover(); r != nil {
			v = c.panicked(s, r)
		}
	}()
	switch c.load() { // also the acquire that pairs with newConn
	case stateClosed:
		return keep
	case stateInbox:
		s.inboxes[c.Shard()].run(s)
		return keep
	}
	buf := s.engine.PollerBuffer(&c.nb)
	c.lastSeen.Store(s.wheel.now())
	for budget := s.cfg.TurnBytes; budget > 0 && v == keep; {
		n, err := read(c.fd(), buf)
		if n > 0 {
			budget -= n
			v = c.feed(s, buf[:n])
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			budget = 0
		case n == 0: // end of stream, or the socket failed
			v = closeNow
		case n < len(buf):
			budget = 0
		}
	}
	c.Flush()
	return v
}

// feed gives p to whatever the connection's state makes of bytes.
func (c *Conn) feed(s *Server, p []byte) verdict {
	s.statsOf(c).read(len(p))
	switch c.load() {
	case stateHandshaking:
		return c.handshake(s, p)
	case stateOpen, stateClosing:
		return c.decode(s, p)
	}
	return keep
}

func (c *Conn) decode(s *Server, p []byte) verdict {
	err := c.rx.Feed(p, &s.limits, c)
	if err == nil {
		return keep
	}
	if errors.Is(err, errPeerClosed) {
		return c.peerClosed()
	}
	var pe *wire.ProtocolError
	if errors.As(err, &pe) {
		c.fail(pe.Code, pe.Reason)
		return keep
	}
	s.logFault(c, "handler failed", err)
	c.fail(wire.CloseInternal, "internal error")
	return keep
}

// OnMessage implements wire.Sink.
func (c *Conn) OnMessage(op wire.Opcode, p []byte) error {
	if c.load() != stateOpen {
		return nil // after our close frame nothing counts but theirs
	}
	c.srv.statsOf(c).message(op)
	return c.handler().Message(op, p)
}

// OnControl implements wire.Sink.
func (c *Conn) OnControl(op wire.Opcode, p []byte) error {
	switch op {
	case wire.OpPing:
		c.srv.statsOf(c).pingsIn.Add(1)
		c.Send(pongFrame(p))
	case wire.OpPong:
		c.srv.statsOf(c).pongsIn.Add(1)
		c.Ponged()
	case wire.OpClose:
		return c.onCloseFrame(p)
	}
	return nil
}

var (
	pingFrame  = wire.AppendFrame(nil, wire.OpPing, nil)
	emptyPong  = wire.AppendFrame(nil, wire.OpPong, nil)
	errHandler = errors.New("panic in a connection's handler")
)

// pongFrame repeats the ping's payload (RFC 6455, 5.5.3).
func pongFrame(payload []byte) []byte {
	if len(payload) == 0 {
		return emptyPong
	}
	return wire.AppendFrame(make([]byte, 0, 2+len(payload)), wire.OpPong, payload)
}

// panicked keeps a fault of ours to the connection that met it.
func (c *Conn) panicked(s *Server, r any) verdict {
	s.stats.panics.Add(1)
	s.logFault(c, "panic on a poller", fmt.Errorf("%w: %v\n%s", errHandler, r, debug.Stack()))
	if c.load() == stateHandshaking {
		return closeNow
	}
	c.fail(wire.CloseInternal, "internal error")
	return keep
}
