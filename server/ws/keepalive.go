package ws

import (
	"math/rand/v2"
	"net/http"

	"golang.org/x/sys/unix"

	"throng/server/wire"
)

// due handles c's deadline and returns the ticks until the next. Wheel goroutine only.
func (s *Server) due(c *Conn) uint32 {
	switch c.load() {
	case stateHandshaking:
		s.stats.handshake(handshakeTimeout)
		c.refuse(http.StatusRequestTimeout, "request head not received in time")
		return s.wheel.in(s.cfg.CloseTimeout)
	case stateOpen:
		return c.keepAlive(s)
	case stateClosing, stateDiscarding:
		c.terminate()
		return s.wheel.in(s.cfg.CloseTimeout) // the poller closes it; look again should that be late
	}
	return 0
}

// keepAlive pings a silent peer and cuts one that stayed silent. Any byte counts as life.
func (c *Conn) keepAlive(s *Server) uint32 {
	idle := s.wheel.now() - c.lastSeen.Load()
	interval, timeout := s.wheel.in(s.cfg.PingInterval), s.wheel.in(s.cfg.PongTimeout)
	c.lock()
	pinged := c.flags&flagPinged != 0
	if pinged && idle > timeout { // an answer within the tick of the ping was seen exactly timeout ago
		c.cause = wire.CloseAbnormal
		c.unlock()
		s.stats.pongTimeouts.Add(1)
		c.terminate()
		return s.wheel.in(s.cfg.CloseTimeout)
	}
	c.flags &^= flagPinged
	ping := idle >= interval
	if ping {
		c.flags |= flagPinged
	}
	c.unlock()
	if ping {
		s.statsOf(c).pingsOut.Add(1)
		if c.Send(pingFrame) {
			c.Flush()
		}
		return timeout
	}
	// Up to an eighth earlier, so that connections which came together are not pinged together for ever.
	return interval - idle - rand.Uint32N(max(1, (interval-idle)/8))
}

// terminate cuts the connection without further words. Any goroutine; the poller closes the descriptor.
func (c *Conn) terminate() {
	c.lock()
	if !c.closedLocked() {
		c.srv.statsOf(c).unsent(c.out.clear())
		_ = unix.Shutdown(c.fd(), unix.SHUT_RDWR)
	}
	c.unlock()
}
