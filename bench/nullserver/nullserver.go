// Package nullserver is the floor and the proof of the bench: the least server
// that can hold a raw chat room, one goroutine around epoll with a flat table and
// write(2), no queue, no broker, no policy.
//
// It serves twice. As the floor it says what the kernel alone costs per delivery,
// and how much the load generator can drive at all (the ceiling that each report
// prints). With Faults it breaks the rules in stated ways, so that tests can show
// that the bench sees it.
//
// It does not validate UTF-8, limit anything but a blocked peer's bytes, or answer
// any HTTP but an upgrade: it is no server for users.
//
// Goroutines: one, which owns everything; Close only wakes it. Messages that came
// in one read leave in one write per member, which is the batching that the
// in-flight figures of performance.md compare.
//
// Source: RFC 6455; epoll(7); raw dialect of server/livechat.
package nullserver

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config of a null server; the zero value listens on a free loopback port.
type Config struct {
	Addr   string        // host:port, default 127.0.0.1:0; IPv4
	ID     string        // node id before each message, default "null"
	Ping   time.Duration // WebSocket ping to every member, 0 = none
	Faults Faults
}

// Upgrade says how the server answers the upgrade request.
type Upgrade string

// The ways to answer; the zero value is the right one.
const (
	UpgradeOK        Upgrade = ""
	UpgradeSilent    Upgrade = "silent"     // accepts, reads, never answers: half-open
	UpgradeReset     Upgrade = "reset"      // RST
	UpgradeEOF       Upgrade = "eof"        // FIN
	UpgradeGarbage   Upgrade = "garbage"    // bytes that are no HTTP
	UpgradeRefuse    Upgrade = "refuse"     // 503
	UpgradeBadAccept Upgrade = "bad_accept" // 101 with a wrong key
	UpgradeMute      Upgrade = "mute"       // 101, but no greeting
)

// Faults break the server. Every value counts deliveries (one message to one
// member) or members; 0 is off.
type Faults struct {
	Upgrade       Upgrade
	DropEvery     int // the n-th delivery is not sent
	DupEvery      int // the n-th delivery is sent twice
	SwapEvery     int // the n-th delivery is sent behind the member's next one
	MisrouteEvery int // the n-th delivery names another channel
	GarbageAfter  int // the n-th delivery is no frame
	ResetAfter    int // the n-th delivery is a RST
	CloseAfter    int // the n-th delivery is a close frame 1012
	MutePong      bool
}

func (f *Faults) perDelivery() bool {
	return f.DropEvery+f.DupEvery+f.SwapEvery+f.MisrouteEvery+f.GarbageAfter+f.ResetAfter+f.CloseAfter > 0
}

const (
	listenSlot  = -1
	wakeSlot    = -2
	pendingMax  = 16 << 20 // bytes owed to a member that does not read
	listenQueue = 65535    // the kernel cuts it to somaxconn
	readSize    = 256 << 10
)

// peer is one member, indexed by descriptor.
type peer struct {
	gen    uint32
	room   int32 // index into rooms, -1 before the upgrade
	at     int32 // place in the room's list
	open   bool
	writer bool // waits for EPOLLOUT
}

type room struct {
	members []int32
	pending []byte   // frames of this turn
	frames  [][]byte // the same one by one, only with faults
	dirty   bool
}

// Server is a running null server; make it with Start.
type Server struct {
	cfg    Config
	addr   netip.AddrPort
	lfd    int
	epfd   int
	wakefd int

	peers   []peer
	partial map[int32][]byte // incomplete input
	owed    map[int32][]byte // unsent output
	stash   map[int32][]byte // frame held back by SwapEvery
	rooms   []room
	byName  map[string]int32
	dirty   []int32
	buf     []byte
	count   int // deliveries, for faults

	mu      sync.Mutex // guards closing
	closing bool
	done    chan struct{}
}

// Start listens and serves in its own goroutine until Close.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.ID == "" {
		cfg.ID = "null"
	}
	s := &Server{
		cfg: cfg, partial: map[int32][]byte{}, owed: map[int32][]byte{}, stash: map[int32][]byte{},
		byName: map[string]int32{}, buf: make([]byte, readSize), done: make(chan struct{}),
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	go s.serve()
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// URL is the raw dialect's target.
func (s *Server) URL() string { return "ws://" + s.addr.String() + "/livechat" }

// Close stops the server and waits for its goroutine.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		one := [8]byte{1}
		_, _ = unix.Write(s.wakefd, one[:])
	}
	s.mu.Unlock()
	<-s.done
}

// Wait blocks until the server has ended.
func (s *Server) Wait() { <-s.done }

func (s *Server) listen() (err error) {
	ap, err := netip.ParseAddrPort(s.cfg.Addr)
	if err != nil || !ap.Addr().Is4() {
		return errors.Join(errors.New("null server: address must be IPv4 host:port"), err)
	}
	if s.lfd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(s.lfd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	err = unix.Bind(s.lfd, &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())})
	if err == nil {
		err = unix.Listen(s.lfd, listenQueue)
	}
	if err != nil {
		return errors.Join(&net.OpError{Op: "listen", Net: "tcp", Err: err}, unix.Close(s.lfd))
	}
	sa, err := unix.Getsockname(s.lfd)
	if err != nil {
		return errors.Join(err, unix.Close(s.lfd))
	}
	s.addr = netip.AddrPortFrom(ap.Addr(), uint16(sa.(*unix.SockaddrInet4).Port))
	return s.openPoller()
}

func (s *Server) openPoller() (err error) {
	if s.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return errors.Join(err, unix.Close(s.lfd))
	}
	if s.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return errors.Join(err, unix.Close(s.epfd), unix.Close(s.lfd))
	}
	err = errors.Join(
		unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, s.lfd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: listenSlot}),
		unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, s.wakefd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeSlot}))
	if err != nil {
		return errors.Join(err, unix.Close(s.wakefd), unix.Close(s.epfd), unix.Close(s.lfd))
	}
	return nil
}

func (s *Server) serve() {
	defer close(s.done)
	defer s.release()
	events := make([]unix.EpollEvent, 1024)
	nextPing := time.Now().Add(s.cfg.Ping)
	for {
		timeout := -1
		if s.cfg.Ping > 0 {
			timeout = max(int(time.Until(nextPing)/time.Millisecond), 0) + 1
		}
		n, err := unix.EpollWait(s.epfd, events, timeout)
		if err != nil && err != unix.EINTR {
			return
		}
		for i := range max(n, 0) {
			if events[i].Fd == wakeSlot {
				return
			}
			s.handle(&events[i])
		}
		if s.cfg.Ping > 0 && !time.Now().Before(nextPing) {
			s.pingAll()
			nextPing = time.Now().Add(s.cfg.Ping)
		}
	}
}

func (s *Server) release() {
	for fd := range s.peers {
		if s.peers[fd].open {
			_ = unix.Close(fd)
		}
	}
	_ = unix.Close(s.lfd)
	_ = unix.Close(s.wakefd)
	_ = unix.Close(s.epfd)
}

func (s *Server) handle(ev *unix.EpollEvent) {
	if ev.Fd == listenSlot {
		s.accept()
		return
	}
	fd := ev.Fd
	if p := &s.peers[fd]; !p.open || p.gen != uint32(ev.Pad) {
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		s.flush(fd)
	}
	if ev.Events&^unix.EPOLLOUT != 0 && s.peers[fd].open {
		s.read(fd)
	}
}

func (s *Server) accept() {
	for range 256 {
		fd, _, err := unix.Accept4(s.lfd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			if err == unix.EMFILE || err == unix.ENFILE {
				time.Sleep(20 * time.Millisecond) // out of descriptors: do not spin
			}
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for len(s.peers) <= fd {
			s.peers = append(s.peers, make([]peer, 1024)...)
		}
		p := &s.peers[fd]
		*p = peer{gen: p.gen + 1, room: -1, open: true}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd), Pad: int32(p.gen)}
		if unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, fd, &ev) != nil {
			s.shut(int32(fd))
		}
	}
}

// shut closes a member and takes it out of its room.
func (s *Server) shut(fd int32) {
	p := &s.peers[fd]
	if !p.open {
		return
	}
	if p.room >= 0 {
		r := &s.rooms[p.room]
		last := r.members[len(r.members)-1]
		r.members[p.at] = last
		s.peers[last].at = p.at
		r.members = r.members[:len(r.members)-1]
	}
	delete(s.partial, fd)
	delete(s.owed, fd)
	delete(s.stash, fd)
	_ = unix.Close(int(fd))
	p.open = false
}

func (s *Server) join(fd int32, name string) {
	id, ok := s.byName[name]
	if !ok {
		id = int32(len(s.rooms))
		s.rooms = append(s.rooms, room{})
		s.byName[name] = id
	}
	r := &s.rooms[id]
	s.peers[fd].room, s.peers[fd].at = id, int32(len(r.members))
	r.members = append(r.members, fd)
}

func acceptOf(key []byte) string {
	sum := sha1.Sum(append(key[:len(key):len(key)], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	return base64.StdEncoding.EncodeToString(sum[:])
}
