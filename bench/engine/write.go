package engine

import (
	"math"

	"golang.org/x/sys/unix"

	"throng/server/wire"
)

// write sends p on row i now, and keeps what the socket does not take. p is not
// kept. It may end the connection.
func (e *Engine) write(i int, p []byte) {
	if e.hasTLS(i) {
		t := e.sides[e.conns[i].side].tls
		cipher, err := t.seal(p)
		if err != nil {
			e.fail(i, KindTLS)
			return
		}
		p = cipher
	}
	c := &e.conns[i]
	e.n.BytesOut += uint64(len(p))
	if c.side != noSide && len(e.sides[c.side].out) > 0 {
		e.keep(i, p)
		return
	}
	n, err := unix.Write(int(c.fd), p)
	if err == unix.EAGAIN || err == unix.EINTR {
		n, err = 0, nil
	}
	if err != nil {
		e.fail(i, kindOfErrno(err))
		return
	}
	if n < len(p) {
		e.keep(i, p[n:])
	}
}

// keep queues p behind what row i owes and waits for EPOLLOUT.
func (e *Engine) keep(i int, p []byte) {
	s := e.sideOf(i)
	if len(s.out)+len(p) > e.cfg.PendingLimit {
		e.fail(i, KindSendBlocked)
		return
	}
	first := len(s.out) == 0
	s.out = append(s.out, p...)
	if !first {
		return
	}
	if err := e.watch(i, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT); err != nil {
		e.fail(i, kindOfErrno(err))
	}
}

// writable sends what row i owes.
func (e *Engine) writable(i int) {
	c := &e.conns[i]
	if c.side == noSide || len(e.sides[c.side].out) == 0 {
		return
	}
	s := &e.sides[c.side]
	n, err := unix.Write(int(c.fd), s.out)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil {
		e.fail(i, kindOfErrno(err))
		return
	}
	if s.out = s.out[n:]; len(s.out) > 0 {
		return
	}
	s.out = nil
	if err := e.watch(i, unix.EPOLL_CTL_MOD, unix.EPOLLIN); err != nil {
		e.fail(i, kindOfErrno(err))
		return
	}
	e.settle(i)
}

// beatEvery is the coarseness of heartbeats: one wake-up per 50 ms and process,
// whatever the number of connections.
const beatEvery = tickLen

// heart sends WebSocket pings to all ready rows, spread evenly over a period.
// Owned by the loop.
type heart struct {
	period int64 // ns, 0 = off
	begun  int64
	done   int // pings due since begun that were dealt with
	next   int64
}

// Heartbeat pings every ready connection once per period nanoseconds; 0 stops it.
// A connection that has not answered within Config.PongTimeout is dropped, as
// KindHeartbeat, when its next ping is due; it is not pinged twice meanwhile. Call
// it on the loop (Do).
func (e *Engine) Heartbeat(period int64) {
	e.heart = heart{period: period, begun: e.now, next: e.now}
	for i := range e.conns {
		e.conns[i].unponged = 0
	}
}

func (h *heart) due() int64 {
	if h.period == 0 {
		return never
	}
	return h.next
}

// beat pings the rows whose turn has come.
func (e *Engine) beat() {
	h := &e.heart
	if h.period == 0 || e.now < h.next || len(e.conns) == 0 {
		return
	}
	h.next = e.now + beatEvery
	want := int(float64(e.now-h.begun) / float64(h.period) * float64(len(e.conns)))
	for ; h.done < want; h.done++ {
		e.ping(h.done % len(e.conns))
	}
}

func (e *Engine) ping(i int) {
	c := &e.conns[i]
	if c.state != stateReady || !e.dialectOf(i).WebSocket() {
		return
	}
	if c.unponged > 0 {
		waited := int64(c.unponged) * e.heart.period
		if waited >= int64(e.cfg.PongTimeout) || c.unponged == math.MaxUint8 {
			e.fail(i, KindHeartbeat)
			return
		}
		c.unponged++
		return
	}
	c.unponged = 1
	e.n.PingsSent++
	e.write(i, appendFrame(e.out[:0], wire.OpPing, nil))
}
