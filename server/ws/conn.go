package ws

import (
	"net/netip"
	"sync/atomic"

	"github.com/lesismal/nbio"
	"golang.org/x/sys/unix"

	"throng/server/wire"
)

// state is where a connection is in its life. It only ever grows.
type state uint32

const (
	// stateHandshaking: accepted, waiting for a whole request head. Left by the poller (accept, refuse, hand over) or
	// by the wheel (HandshakeTimeout).
	stateHandshaking state = iota
	// stateOpen: 101 is in the outbox, messages flow. Left by whoever sends the first close frame.
	stateOpen
	// stateClosing: our close frame is in the outbox, nothing else will follow it; waiting for the peer's. Left
	// by the poller (peer's close frame or end of stream) or by the wheel (CloseTimeout).
	stateClosing
	// stateDiscarding: the last byte is in the outbox; whatever the peer still sends is thrown away, because closing with unread
	// input makes the kernel send a reset that may overtake our last words. Left as stateClosing.
	stateDiscarding
	// stateClosed: the descriptor is gone. Set by gone.
	stateClosed
	// stateInbox: no client at all but a poller's inbox (post.go).
	stateInbox
)

// Conn is one client connection. It implements hub.Subscriber.
//
// Its size is the product (conn_test.go pins it): nbio's connection is embedded so that a connection is one
// object, there is no buffer and no timer in it, and the remote address is asked of the kernel when needed.
type Conn struct {
	nb nbio.Conn // must be first: pollers get *nbio.Conn and we cast it back

	rx wire.Decoder // poller only; one pointer, nil between messages

	srv *Server

	// Guarded by the mutex.
	out     outbox
	cause   wire.CloseCode // what ended the connection; the first one wins
	flags   connFlags
	alive   uint8  // index of its KeepAlive
	wheelAt uint16 // guarded by wheel.mu: slot + 1, 0 = in none, wheelGone = never again
	wheelIx uint32 // guarded by wheel.mu: index in that slot

	pingedAt uint32 // guarded by the mutex: wheel tick of the last ping; of the upgrade before there is one

	state    atomic.Uint32
	lastSeen atomic.Uint32 // wheel tick of the last read
	wakeAt   atomic.Uint32 // wheel tick at which the Handler wants to be woken, 0 = never

	address uint32 // poller only, and gone: its number in addresses, 0 = not counted
}

type connFlags uint8

const (
	flagBlocked   connFlags = 1 << iota // the socket takes no more: the writable goroutine owns the next write
	flagPinged                          // a ping is out and nothing has come since
	flagByPeer                          // the peer sent the first close frame
	flagShutWrite                       // half-close once the outbox is empty
	flagDirty                           // Send has told somebody to Flush
	flagHTTP                            // leaves for net/http, which takes over its slot
	flagCounted                         // was upgraded and is in stats.open
)

func (s *Server) newConn(fd int) *Conn {
	c := new(Conn)
	c.srv = s
	s.layout.adoptFD(&c.nb, fd)
	c.setHandler(emptyHead)
	c.lastSeen.Store(s.wheel.now())
	// What follows publishes the fields above, to a poller that reads (turn) and to one that finds nothing but an error
	// and closes: epoll is invisible to the memory model.
	c.state.Store(uint32(stateHandshaking))
	c.lock()
	c.unlock()
	return c
}

// handler is kept where nbio has room for its user's state, 16 bytes that would be empty otherwise. It is a *head
// while handshaking and nil in between. Poller only, and gone.
func (c *Conn) handler() Handler {
	h, _ := c.nb.Session().(Handler)
	return h
}

func (c *Conn) setHandler(h Handler) { c.nb.SetSession(h) }

func (c *Conn) fd() int { return c.nb.Hash() }

func (c *Conn) lock()   { mutexOf(&c.nb).Lock() }
func (c *Conn) unlock() { mutexOf(&c.nb).Unlock() }

// closedLocked reports whether the descriptor may no longer be used.
func (c *Conn) closedLocked() bool { return c.srv.layout.isClosed(&c.nb) }

func (c *Conn) load() state { return state(c.state.Load()) }

// Shard returns the number of the poller that owns the connection, 0 to Pollers-1; it never changes.
func (c *Conn) Shard() int { return c.fd() % c.srv.cfg.Pollers }

// RemoteAddr returns the peer's address, the zero value once the connection is closed. Any goroutine; one system call.
func (c *Conn) RemoteAddr() netip.AddrPort {
	c.lock()
	defer c.unlock()
	if c.closedLocked() {
		return netip.AddrPort{}
	}
	sa, err := unix.Getpeername(c.fd())
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// gone is told by nbio, exactly once and after the last callback on the poller, that c is closed.
func (c *Conn) gone(s *Server) {
	s.wheel.remove(c)
	c.lock()
	c.state.Store(uint32(stateClosed))
	if c.cause == 0 {
		c.cause = wire.CloseAbnormal
	}
	cause, flags := c.cause, c.flags
	blocked := flags&flagBlocked != 0
	lost := c.out.clear()
	c.unlock()
	if blocked {
		s.writable.forget(c)
	}
	c.rx.Release()
	c.leaveAddress(s)
	st := s.statsOf(c)
	st.unsent(lost)
	if flags&flagHTTP == 0 {
		s.stats.slots.Add(-1)
	}
	if flags&flagCounted != 0 {
		s.stats.open.Add(-1)
		st.closed(cause, flags&flagByPeer != 0)
	}
	switch h := c.handler().(type) {
	case nil:
	case *head:
		h.release()
	default:
		h.Closed(cause)
	}
	c.setHandler(nil)
}
