package ws

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What is no WebSocket upgrade goes to net/http: the epoll loop reads the first request head, and hands the
// connection over together with the bytes it has read. The way back exists too, because a proxy may send an upgrade on a
// connection it used for something else before.

// httpListener feeds handed-over connections to an http.Server.
type httpListener struct {
	conns  chan net.Conn
	addr   net.Addr
	closed chan struct{}
	once   sync.Once
}

func (l *httpListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *httpListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *httpListener) Addr() net.Addr { return l.addr }

// httpConn is a connection of net/http: first the bytes read before the hand-over, then the socket.
type httpConn struct {
	net.Conn
	read []byte
	srv  *Server
	done atomic.Bool
}

func (c *httpConn) Read(p []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(p, c.read)
		if c.read = c.read[n:]; len(c.read) == 0 {
			c.read = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *httpConn) Close() error {
	if c.done.CompareAndSwap(false, true) {
		c.srv.stats.http.Add(-1)
		c.srv.stats.slots.Add(-1)
	}
	return c.Conn.Close()
}

// handOver gives the connection to net/http. Poller only. input is everything read so far, borrowed.
func (c *Conn) handOver(s *Server, input []byte) verdict {
	if s.stats.http.Load() >= int64(s.cfg.HTTPConnections) || s.draining.Load() {
		s.stats.handshake(handshakeShed)
		c.refuse(http.StatusServiceUnavailable, "too many HTTP connections, come back later")
		return keep
	}
	nc, err := c.netConn(s)
	if err != nil {
		s.stats.handshake(handshakeShed)
		s.logLimited("connection not handed to net/http", "err", err)
		c.refuse(http.StatusServiceUnavailable, "out of descriptors, come back later")
		return keep
	}
	c.lock()
	c.flags |= flagHTTP
	c.unlock()
	s.stats.handshake(handshakeHTTP)
	s.stats.http.Add(1)
	hc := &httpConn{Conn: nc, read: bytes.Clone(input), srv: s}
	select {
	case s.http.conns <- hc:
	default: // cannot happen: its capacity is HTTPConnections
		_ = hc.Close()
	}
	return closeNow
}

// netConn duplicates the descriptor as a net.Conn and takes the original out of epoll: close(2) alone would leave the
// registration alive as long as the duplicate lives.
func (c *Conn) netConn(s *Server) (net.Conn, error) {
	fd, err := unix.FcntlInt(uintptr(c.fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ws: duplicate descriptor: %w", err)
	}
	f := os.NewFile(uintptr(fd), "throng-http")
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("ws: net.Conn from descriptor: %w", err)
	}
	if err := s.layout.deregister(&c.nb, c.fd()); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("ws: take descriptor out of epoll: %w", err)
	}
	return nc, nil
}

// newHTTPServer wraps the configured handler so that upgrades find their way back.
func (s *Server) newHTTPServer() *http.Server {
	hs := s.cfg.HTTPServer
	if hs == nil {
		hs = &http.Server{ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 60 * time.Second, MaxHeaderBytes: s.cfg.HeaderBytes}
	}
	hs.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hasToken(r.Header["Upgrade"], "websocket") {
			s.takeBack(w, r)
			return
		}
		s.cfg.HTTP.ServeHTTP(w, r)
	})
	return hs
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// takeBack moves a connection of net/http into the event loop, with its request head written anew.
func (s *Server) takeBack(w http.ResponseWriter, r *http.Request) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "WebSocket needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	defer nc.Close()
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/%d.%d\r\nHost: %s\r\n", r.Method, r.RequestURI, r.ProtoMajor, r.ProtoMinor, r.Host)
	_ = r.Header.Write(&head)
	for _, coding := range r.TransferEncoding { // net/http has taken it out of the header; an upgrade with a body is refused
		fmt.Fprintf(&head, "Transfer-Encoding: %s\r\n", coding)
	}
	head.WriteString("\r\n")
	if n := rw.Reader.Buffered(); n > 0 {
		b, _ := rw.Reader.Peek(n)
		head.Write(b)
	}
	fd, err := descriptorOf(nc)
	if err != nil {
		s.logLimited("connection not taken back from net/http", "err", err)
		return
	}
	s.adopt(fd, head.Bytes())
}

func descriptorOf(nc net.Conn) (int, error) {
	hc, ok := nc.(*httpConn)
	if !ok {
		return -1, errors.New("ws: not a connection of this server")
	}
	sc, ok := hc.Conn.(*net.TCPConn)
	if !ok {
		return -1, errors.New("ws: not a TCP connection")
	}
	_ = sc.SetDeadline(time.Time{})
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("ws: descriptor of connection: %w", err)
	}
	fd := -1
	if cerr := rc.Control(func(d uintptr) { fd, err = unix.FcntlInt(d, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, fmt.Errorf("ws: descriptor of connection: %w", cerr)
	}
	if err != nil {
		return -1, fmt.Errorf("ws: duplicate descriptor: %w", err)
	}
	return fd, nil
}

// adopt runs the handshake on input and then registers the connection. Until it is registered this goroutine stands in
// for its poller.
func (s *Server) adopt(fd int, input []byte) {
	s.stats.slots.Add(1)
	if fd >= s.maxFD {
		s.stats.slots.Add(-1)
		s.stats.dropped.Add(1)
		_ = unix.Close(fd)
		return
	}
	c := s.newConn(fd)
	s.wheel.schedule(c, s.cfg.HandshakeTimeout)
	v := c.feed(s, input)
	c.Flush()
	if v == keep {
		c.state.Add(0) // publishes what the handler's Open wrote to the poller, as newConn does for the rest
		if err := s.register(c); err != nil {
			s.logLimited("connection not registered", "err", err)
		}
		return
	}
	c.lock()
	s.layout.setClosed(&c.nb)
	c.unlock()
	_ = unix.Close(fd)
	c.gone(s)
}
