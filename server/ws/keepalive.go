package ws

import (
	"math/rand/v2"
	"net/http"
	"time"

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
		return s.openDue(c)
	case stateClosing, stateDiscarding:
		c.terminate()
		return s.wheel.in(s.cfg.CloseTimeout) // the poller closes it; look again should that be late
	}
	return 0
}

// UseKeepAlive makes c use the given one of Config.KeepAlives. Its first ping comes after half an interval to a whole one, at
// random: connections that came together in a storm must not be pinged in step. Any goroutine.
func (c *Conn) UseKeepAlive(i uint8) {
	s := c.srv
	interval := s.wheel.in(s.cfg.PingInterval)
	ahead := rand.Uint32N(interval/2 + 1)
	c.lock()
	c.alive = i
	c.flags &^= flagPinged
	c.pingedAt = s.wheel.now() - ahead
	c.unlock()
	s.wheel.scheduleEarlier(c, s.cfg.PingInterval-time.Duration(ahead)*s.wheel.tick)
}

// Ponged notes that the peer answered a ping, for protocols with pings of their own. False: none was out. Any goroutine.
func (c *Conn) Ponged() bool {
	c.lock()
	defer c.unlock()
	was := c.flags&flagPinged != 0
	c.flags &^= flagPinged
	return was
}

// WakeIn asks for one call of the Handler's Woken in d; 0 takes an earlier wish back. There is one wish at a time.
// Resolution is Config.WheelTick, and up to a PingInterval late is possible for d beyond the wheel's horizon. Any goroutine.
func (c *Conn) WakeIn(d time.Duration) {
	if d <= 0 {
		c.wakeAt.Store(0)
		return
	}
	s := c.srv
	at := s.wheel.now() + s.wheel.in(d)
	c.wakeAt.Store(at)
	s.wheel.scheduleEarlier(c, d)
}

// openDue does what is due for an open connection and returns the ticks until the next deadline.
func (s *Server) openDue(c *Conn) uint32 {
	now := s.wheel.now()
	if at := c.wakeAt.Load(); at != 0 && int32(now-at) >= 0 && c.wakeAt.CompareAndSwap(at, 0) {
		c.Post(c.woken)
	}
	next := c.keepAlive(s)
	if at := c.wakeAt.Load(); at != 0 {
		next = min(next, max(1, at-now))
	}
	return next
}

func (c *Conn) woken() {
	if w, is := c.handler().(Waker); is {
		w.Woken()
	}
}

// keepAlive pings when it is time and cuts a peer that stayed silent. Any byte counts as life, except where pings always come:
// there it takes an answer. It may be called early: a deadline
// may have been for something else.
func (c *Conn) keepAlive(s *Server) uint32 {
	idle := s.wheel.now() - c.lastSeen.Load()
	interval, timeout := s.wheel.in(s.cfg.PingInterval), s.wheel.in(s.cfg.PongTimeout)
	c.lock()
	way := &s.cfg.KeepAlives[c.alive]
	since := s.wheel.now() - c.pingedAt
	pinged := c.flags&flagPinged != 0
	switch {
	case pinged && since < timeout:
		c.unlock()
		return timeout - since
	case pinged && (way.Always || idle > since) && !c.hasInputLocked(): // an answer within the tick of the ping was seen since ago
		c.unlock()
		s.stats.pongTimeouts.Add(1)
		c.noPong(way.NoPong)
		return s.wheel.in(s.cfg.CloseTimeout)
	}
	c.flags &^= flagPinged
	quiet := idle
	if way.Always {
		quiet = since
	}
	ping := quiet >= interval
	if ping {
		c.flags |= flagPinged
		c.pingedAt = s.wheel.now()
	}
	c.unlock()
	if !ping {
		return interval - quiet
	}
	s.statsOf(c).pingsOut.Add(1)
	if c.Send(way.Frame) {
		c.Flush()
	}
	return timeout
}

// hasInputLocked reports whether bytes wait to be read: then it is this node that is late, and cutting its clients for that would
// turn a busy moment into a reconnect storm.
func (c *Conn) hasInputLocked() bool {
	if c.closedLocked() {
		return false
	}
	n, err := unix.IoctlGetInt(c.fd(), unix.TIOCINQ)
	return err == nil && n > 0
}

func (c *Conn) noPong(code wire.CloseCode) {
	if code == wire.CloseAbnormal {
		c.terminate()
		return
	}
	c.Close(code, "no pong")
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
