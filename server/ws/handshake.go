package ws

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"

	"throng/server/wire"
)

// head stands in for the Handler while the request head is incomplete, so that connections pay nothing
// for a buffer they need only once.
type head struct{ buf []byte }

func (*head) Open()                             {}
func (*head) Message(wire.Opcode, []byte) error { return nil }
func (*head) Closed(wire.CloseCode)             {}

var (
	emptyHead = &head{}
	heads     = sync.Pool{New: func() any { return &head{buf: make([]byte, 0, 1024)} }}
	requests  = sync.Pool{New: func() any { return new(wire.Request) }}
)

func (h *head) release() {
	if h != emptyHead && cap(h.buf) <= 4096 {
		h.buf = h.buf[:0]
		heads.Put(h)
	}
}

// handshake collects the request head and decides what becomes of the connection. Poller only.
func (c *Conn) handshake(s *Server, p []byte) verdict {
	h, ok := c.handler().(*head)
	if !ok {
		return keep
	}
	input := p
	if len(h.buf) > 0 {
		h.buf = append(h.buf, p...)
		input = h.buf
	}
	r := requests.Get().(*wire.Request)
	defer func() { r.Reset(); requests.Put(r) }()
	n, err := r.Parse(input, s.cfg.HeaderBytes, s.cfg.HeaderLines)
	switch {
	case errors.Is(err, wire.ErrIncomplete):
		c.keepHead(p)
		return keep
	case err != nil:
		c.refuseError(s, err)
		return keep
	case !r.IsUpgrade():
		return c.handOver(s, input)
	}
	c.setHandler(nil)
	v := c.upgrade(s, r, input[n:])
	h.release()
	return v
}

// keepHead remembers an incomplete head; its size is bounded by Parse.
func (c *Conn) keepHead(p []byte) {
	h := c.handler().(*head)
	if h == emptyHead {
		h = heads.Get().(*head)
		h.buf = append(h.buf[:0], p...)
		c.setHandler(h)
	}
}

// upgrade answers a complete upgrade request; rest is what followed its head.
func (c *Conn) upgrade(s *Server, r *wire.Request, rest []byte) verdict {
	if err := r.CheckUpgrade(); err != nil {
		c.refuseError(s, err)
		return keep
	}
	if s.cfg.CheckOrigin != nil && !s.cfg.CheckOrigin(r) {
		s.stats.handshake(handshakeOrigin)
		c.refuse(http.StatusForbidden, "origin not allowed")
		return keep
	}
	if !c.enterAddress(s, r) {
		s.stats.handshake(handshakeAddress)
		c.refuse(http.StatusTooManyRequests, "too many connections from your address, come back later")
		return keep
	}
	if !s.admit() {
		c.leaveAddress(s)
		s.stats.handshake(handshakeShed)
		c.refuse(http.StatusServiceUnavailable, "too many connections, come back later")
		return keep
	}
	h, refusal := s.cfg.Upgrade(c, r)
	if refusal != nil {
		c.leaveAddress(s)
		s.stats.handshake(handshakeRefused)
		c.refuse(refusal.Status, refusal.Reason)
		return keep
	}
	c.setHandler(h)
	c.lock()
	c.out.push(wire.AppendSwitching(make([]byte, 0, 160), r.Key, r.Subprotocol(s.cfg.Subprotocols), ""))
	c.state.Store(uint32(stateOpen))
	c.flags |= flagCounted
	// As if pinged up to an eighth of an interval ago, so that connections which came together are not pinged together for ever.
	c.pingedAt = s.wheel.now() - rand.Uint32N(1+s.wheel.in(s.cfg.PingInterval)/8)
	c.unlock()
	s.stats.open.Add(1)
	s.stats.handshake(handshakeOK)
	s.wheel.schedule(c, s.cfg.PingInterval)
	h.Open()
	if len(rest) > 0 {
		return c.decode(s, rest)
	}
	return keep
}

// enterAddress counts the connection for its address; false if that has its share.
func (c *Conn) enterAddress(s *Server, r *wire.Request) (ok bool) {
	if s.addresses == nil {
		return true
	}
	// Of a peer that is gone already the kernel knows no address: it counts as the zero one, until it is closed.
	peer := c.RemoteAddr().Addr()
	client := s.clientAddr(peer, r)
	if c.address, ok = s.addresses.enter(client); !ok {
		s.logLimited("too many connections from one address", "address", client, "peer", peer, "limit", s.cfg.AddressLimit,
			"fix", "raise address-connections, or, if the peer is a proxy of yours, add it to trusted-proxies and have it send X-Forwarded-For")
	}
	return ok
}

func (c *Conn) leaveAddress(s *Server) {
	s.addresses.leave(c.address)
	c.address = 0
}

func (c *Conn) refuseError(s *Server, err error) {
	var he *wire.HandshakeError
	if !errors.As(err, &he) {
		he = &wire.HandshakeError{Status: http.StatusBadRequest, Reason: "bad request"}
	}
	s.stats.handshake(handshakeBad)
	c.refuse(he.Status, he.Reason)
}

// refuse answers with an HTTP error and half-closes; input is discarded until the peer is gone or
// CloseTimeout passes, so that the answer is not overtaken by a reset.
func (c *Conn) refuse(status int, reason string) {
	var extra string
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		extra = fmt.Sprintf("Retry-After: %d\r\n", int(c.srv.cfg.RetryAfter.Seconds()))
	}
	answer := wire.AppendRefusal(nil, status, reason, extra)
	c.lock()
	if c.load() == stateHandshaking && !c.closedLocked() {
		c.out.push(answer)
		c.lastWordsLocked()
	}
	c.unlock()
	c.srv.wheel.schedule(c, c.srv.cfg.CloseTimeout)
}
