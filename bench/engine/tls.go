package engine

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tlsWorkers is how many TLS handshakes run at once: each is a goroutine in
// poll(2), and more than a few per core only queue for the CPU.
const tlsWorkers = 16

// errAgain tells crypto/tls that bytes are missing without breaking the
// connection: it keeps a partial record when the error is temporary.
type errAgain struct{}

func (errAgain) Error() string   { return "no bytes yet" }
func (errAgain) Timeout() bool   { return true }
func (errAgain) Temporary() bool { return true }

// rawConn is the net.Conn below crypto/tls. While blocking is true (handshake, in
// a pool goroutine) it waits in poll(2); afterwards Read answers errAgain and
// Write collects, and the loop owns it.
type rawConn struct {
	fd       int
	blocking bool
	deadline time.Time
	quit     *atomic.Bool
	sealed   []byte
}

func (r *rawConn) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case err == unix.EAGAIN && r.blocking:
			if err := r.await(unix.POLLIN); err != nil {
				return 0, err
			}
		case err == unix.EAGAIN:
			return 0, errAgain{}
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (r *rawConn) Write(p []byte) (int, error) {
	if !r.blocking {
		r.sealed = append(r.sealed, p...)
		return len(p), nil
	}
	sent := 0
	for sent < len(p) {
		n, err := unix.Write(r.fd, p[sent:])
		switch {
		case err == unix.EAGAIN:
			if err := r.await(unix.POLLOUT); err != nil {
				return sent, err
			}
		case err != nil && err != unix.EINTR:
			return sent, err
		case err == nil:
			sent += n
		}
	}
	return sent, nil
}

// await polls in short slices, so that stopping the engine never waits for a
// silent server.
func (r *rawConn) await(events int16) error {
	for {
		left := time.Until(r.deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		if r.quit.Load() {
			return net.ErrClosed
		}
		fds := []unix.PollFd{{Fd: int32(r.fd), Events: events}}
		slice := min(left, 100*time.Millisecond)
		n, err := unix.Poll(fds, int(slice/time.Millisecond)+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

func (r *rawConn) Close() error                     { return nil } // the loop owns the descriptor
func (r *rawConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (r *rawConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (r *rawConn) SetDeadline(time.Time) error      { return nil }
func (r *rawConn) SetReadDeadline(time.Time) error  { return nil }
func (r *rawConn) SetWriteDeadline(time.Time) error { return nil }

// tlsConn is a connection's TLS state once the loop owns it.
type tlsConn struct {
	conn *tls.Conn
	raw  *rawConn
}

// read decrypts into p: EAGAIN without bytes, 0 and nil at the end.
func (t *tlsConn) read(p []byte) (int, error) {
	n, err := t.conn.Read(p)
	switch {
	case n > 0:
		return n, nil
	case errors.As(err, new(errAgain)):
		return 0, unix.EAGAIN
	case errors.Is(err, io.EOF):
		return 0, nil
	}
	return 0, err
}

// seal encrypts p; the result is valid until the next call.
func (t *tlsConn) seal(p []byte) ([]byte, error) {
	t.raw.sealed = t.raw.sealed[:0]
	if _, err := t.conn.Write(p); err != nil {
		return nil, err
	}
	return t.raw.sealed, nil
}

func kindOfTLS(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return kindOfErrno(errno)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return KindEOF
	}
	return KindTLS
}

type tlsOrder struct {
	row int
	gen uint32
	t   *Target
}

// tlsPool runs handshakes beside the loop.
type tlsPool struct {
	e    *Engine
	quit atomic.Bool
	wg   sync.WaitGroup

	mu    sync.Mutex // leaf; guards queue
	ready sync.Cond
	queue []tlsOrder
}

func newTLSPool(e *Engine) *tlsPool {
	p := &tlsPool{e: e}
	p.ready.L = &p.mu
	for range tlsWorkers {
		p.wg.Go(p.work)
	}
	return p
}

// dial queues a handshake; it never blocks.
func (p *tlsPool) dial(row int, gen uint32, t *Target) {
	p.mu.Lock()
	p.queue = append(p.queue, tlsOrder{row, gen, t})
	p.mu.Unlock()
	p.ready.Signal()
}

func (p *tlsPool) stop() {
	p.mu.Lock()
	p.quit.Store(true)
	p.mu.Unlock()
	p.ready.Broadcast()
	p.wg.Wait()
}

func (p *tlsPool) work() {
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.quit.Load() {
			p.ready.Wait()
		}
		if p.quit.Load() {
			p.mu.Unlock()
			return
		}
		o := p.queue[0]
		p.queue = p.queue[1:]
		p.mu.Unlock()
		fd, conn, err := p.handshake(o)
		if !p.e.Do(func(e *Engine) { e.adopt(o, fd, conn, err) }) && fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// handshake connects and shakes hands, blocking up to the handshake timeout.
func (p *tlsPool) handshake(o tlsOrder) (int, *tlsConn, error) {
	fd, err := p.e.socket(o.row, o.t)
	if err != nil {
		return -1, nil, err
	}
	raw := &rawConn{fd: fd, blocking: true, quit: &p.quit, deadline: time.Now().Add(p.e.cfg.HandshakeTimeout)}
	err = unix.Connect(fd, sockaddrOf(o.t.Addr)) // not the shared one: Connect writes into it
	if err == unix.EINPROGRESS {
		if err = raw.await(unix.POLLOUT); err == nil {
			err = socketError(fd)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, nil, err
	}
	cfg := p.e.cfg.TLS
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = o.t.Host
	}
	conn := tls.Client(raw, cfg)
	if err := conn.Handshake(); err != nil {
		_ = unix.Close(fd)
		return -1, nil, err
	}
	raw.blocking = false
	return fd, &tlsConn{conn: conn, raw: raw}, nil
}

func socketError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// adopt takes over a connection whose handshake is done.
func (e *Engine) adopt(o tlsOrder, fd int, t *tlsConn, err error) {
	c := &e.conns[o.row]
	if c.gen != o.gen || c.state != stateConnecting {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.fail(o.row, KindConnectTime)
		return
	}
	if err != nil {
		e.fail(o.row, kindOfTLS(err))
		return
	}
	c.fd = int32(fd)
	e.sideOf(o.row).tls = t
	if err := e.watch(o.row, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
		e.fail(o.row, kindOfErrno(err))
		return
	}
	e.request(o.row)
}
