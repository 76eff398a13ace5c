package ws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens the listening sockets. Several share the port by SO_REUSEPORT, each with its own backlog and
// acceptor. Options set here are inherited by accepted sockets, which saves a system call each per connection.
func (s *Server) listen() error {
	n := s.cfg.Listeners
	if n > 1 {
		// With SO_REUSEPORT a second server on the same port would start without an error and steal half of the
		// clients: find out first with a plain bind.
		probe, err := s.listenOne(s.cfg.Addr, false)
		if err != nil {
			return err
		}
		s.cfg.Addr = probe.addr.String()
		_ = probe.file.Close()
	}
	for range n {
		ln, err := s.listenOne(s.cfg.Addr, n > 1)
		if err != nil {
			s.closeListeners()
			return err
		}
		s.listeners = append(s.listeners, ln)
	}
	return nil
}

// listener is a listening socket as a file: a net.Listener cannot be accepted from by descriptor.
type listener struct {
	file *os.File
	addr net.Addr
}

func (s *Server) listenOne(addr string, reusePort bool) (*listener, error) {
	lc := net.ListenConfig{
		KeepAlive: -1, // the wheel pings; the kernel's probes at a million connections are 66,000 packets a second
		Control: func(_, _ string, rc syscall.RawConn) error {
			var err error
			if cerr := rc.Control(func(fd uintptr) { err = s.setListenOptions(int(fd), reusePort) }); cerr != nil {
				return cerr
			}
			return err
		},
	}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	defer ln.Close() // the duplicate keeps the socket listening
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	if err := setBacklog(f, s.cfg.Backlog); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &listener{file: f, addr: ln.Addr()}, nil
}

func (s *Server) setListenOptions(fd int, reusePort bool) error {
	type option struct {
		level, name, value int
		on                 bool
	}
	for _, o := range []option{
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, reusePort},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, s.cfg.SendBuffer, s.cfg.SendBuffer > 0},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, s.cfg.ReceiveBuffer, s.cfg.ReceiveBuffer > 0},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, true},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(s.cfg.UserTimeout.Milliseconds()), s.cfg.UserTimeout > 0},
	} {
		if !o.on {
			continue
		}
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("socket option %d/%d = %d: %w", o.level, o.name, o.value, err)
		}
	}
	return nil
}

// setBacklog repeats listen(2): Go's own call always asks for net.core.somaxconn.
func setBacklog(f *os.File, backlog int) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen backlog: %w", err)
	}
	var lerr error
	if err := rc.Control(func(fd uintptr) { lerr = unix.Listen(int(fd), backlog) }); err != nil {
		return fmt.Errorf("listen backlog: %w", err)
	}
	if lerr != nil {
		return fmt.Errorf("listen backlog %d: %w", backlog, lerr)
	}
	return nil
}

// acceptLoop accepts until the listener closes. It parses nothing: a connection goes to its poller at once.
func (s *Server) acceptLoop(ln *listener) {
	defer s.acceptors.Done()
	rc, err := ln.file.SyscallConn()
	if err != nil {
		s.cfg.Log.Error("acceptor cannot use its listener", "err", err)
		return
	}
	pause := time.Duration(0)
	for {
		fd, err := accept(rc)
		switch {
		case err == nil:
			pause = 0
			s.accepted(fd)
		case s.draining.Load():
			return
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
		default:
			s.stats.acceptErrors.Add(1)
			pause = min(max(5*time.Millisecond, 2*pause), s.cfg.AcceptBackoff)
			s.outOfDescriptors(rc, err, pause)
		}
	}
}

// accept waits in Go's poller until there is a connection.
func accept(rc syscall.RawConn) (fd int, err error) {
	rerr := rc.Read(func(l uintptr) bool {
		fd, _, err = unix.Accept4(int(l), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if rerr != nil {
		return -1, rerr
	}
	return fd, err
}

// outOfDescriptors gives up the spare descriptor to answer waiting clients by closing them, instead of letting them hang in
// the backlog, then pauses: without the pause the loop would spin (nbio.md, emfile).
func (s *Server) outOfDescriptors(rc syscall.RawConn, err error, pause time.Duration) {
	s.logLimited("accept failed", "err", err, "pause", pause, "fix", "raise the descriptor limit (ulimit -n) or lower max-connections")
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		s.spare.use(func() {
			_ = rc.Control(func(l uintptr) {
				for range 64 {
					fd, _, err := unix.Accept4(int(l), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
					if err != nil {
						return
					}
					_ = unix.Close(fd)
					s.stats.dropped.Add(1)
				}
			})
		})
	}
	select {
	case <-time.After(pause):
	case <-s.stopAccepting:
	}
}

// accepted gives a new socket to its poller.
func (s *Server) accepted(fd int) {
	s.stats.accepted.Add(1)
	if s.stats.slots.Add(1) > int64(s.cfg.MaxConnections+s.cfg.FDReserve) || fd >= s.maxFD {
		s.stats.slots.Add(-1)
		s.stats.dropped.Add(1)
		_ = unix.Close(fd)
		return
	}
	c := s.newConn(fd)
	s.wheel.schedule(c, s.cfg.HandshakeTimeout)
	if err := s.register(c); err != nil { // nbio has closed it
		s.logLimited("connection not registered", "err", err)
	}
}
