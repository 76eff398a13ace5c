package ws

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"sync"
	"syscall"
	"unsafe"

	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/mempool"
)

// What we need of nbio and cannot have by its public methods:
//
//   - its mutex and closed flag, so that a write by a fan-out shard can never reach a descriptor that the poller has
//     closed and the kernel has given to another client. nbio's own Write takes that lock too, but closes
//     the descriptor on the caller's goroutine when the write fails, and a stale epoll event of the same
//     batch then cuts whatever connection owns the descriptor next (N1).
//   - setting its descriptor and type, so that a socket from accept4 becomes a connection without a net.TCPConn, its
//     registration in Go's own poller, a dup and 160 bytes of addresses per connection.
//   - the poller's epoll descriptor, so that a connection handed to net/http can be deregistered: a
//     duplicate keeps the registration alive after close(2), which is N1 again.
//
// The version is pinned, the layout is checked field by field before anything starts, and engine_test.go
// exercises each use, so an update that moves a field is refused at start and not discovered in production.
type engineLayout struct {
	fd, typ, closed, poller, epfd uintptr
}

var errLayout = errors.New("ws: this nbio release keeps its connections differently; pin github.com/lesismal/nbio v1.6.12")

var nbioLayout = sync.OnceValues(findLayout)

func findLayout() (engineLayout, error) {
	var l engineLayout
	conn := reflect.TypeFor[nbio.Conn]()
	mux, ok := conn.FieldByName("mux")
	if !ok || mux.Offset != 0 || mux.Type != reflect.TypeFor[sync.Mutex]() {
		return l, fmt.Errorf("%w (mux)", errLayout)
	}
	p, ok := conn.FieldByName("p")
	if !ok || p.Type.Kind() != reflect.Pointer || p.Type.Elem().Kind() != reflect.Struct {
		return l, fmt.Errorf("%w (p)", errLayout)
	}
	l.poller = p.Offset
	for _, f := range []struct {
		in   reflect.Type
		name string
		kind reflect.Kind
		out  *uintptr
	}{
		{conn, "fd", reflect.Int, &l.fd},
		{conn, "typ", reflect.Int8, &l.typ},
		{conn, "closed", reflect.Bool, &l.closed},
		{p.Type.Elem(), "epfd", reflect.Int, &l.epfd},
	} {
		sf, ok := f.in.FieldByName(f.name)
		if !ok || sf.Type.Kind() != f.kind {
			return l, fmt.Errorf("%w (%s)", errLayout, f.name)
		}
		*f.out = sf.Offset
	}
	return l, nil
}

// adoptFD makes c's embedded nbio connection own fd, a non-blocking TCP socket.
func (l *engineLayout) adoptFD(c *nbio.Conn, fd int) {
	*(*int)(unsafe.Add(unsafe.Pointer(c), l.fd)) = fd
	*(*nbio.ConnType)(unsafe.Add(unsafe.Pointer(c), l.typ)) = nbio.ConnTypeTCP
}

// isClosed reports whether nbio has closed the descriptor or is about to. The caller holds the mutex.
func (l *engineLayout) isClosed(c *nbio.Conn) bool {
	return *(*bool)(unsafe.Add(unsafe.Pointer(c), l.closed))
}

// setClosed marks a connection that never reached a poller as closed. The caller holds the mutex.
func (l *engineLayout) setClosed(c *nbio.Conn) {
	*(*bool)(unsafe.Add(unsafe.Pointer(c), l.closed)) = true
}

func mutexOf(c *nbio.Conn) *sync.Mutex { return (*sync.Mutex)(unsafe.Pointer(c)) }

// deregister takes fd out of the epoll set of the poller that owns c. Called on that poller only.
func (l *engineLayout) deregister(c *nbio.Conn, fd int) error {
	p := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(c), l.poller))
	epfd := *(*int)(unsafe.Add(p, l.epfd))
	return syscall.EpollCtl(epfd, syscall.EPOLL_CTL_DEL, fd, nil)
}

// setUpNbio fixes what nbio keeps in globals: its allocator without size classes hands an 8 MiB buffer to
// a 20-byte request (nbio.md), and its default logger prints to stdout.
var setUpNbio = sync.OnceFunc(func() {
	mempool.DefaultMemPool = mempool.NewAligned()
	logging.SetLevel(logging.LevelNone)
})

// newEngine builds the epoll loops. They have no listener of their own: acceptors add connections.
func newEngine(s *Server) *nbio.Engine {
	setUpNbio()
	e := nbio.NewEngine(nbio.Config{
		Name:           "throng",
		Network:        "tcp",
		NPoller:        s.cfg.Pollers,
		ReadBufferSize: s.cfg.ReadBuffer,
		// Reading stops at our own budget per turn (Conn.read), never at nbio's.
		MaxConnReadTimesPerEventLoop: 1 << 30,
	})
	e.OnRead(func(nb *nbio.Conn) { (*Conn)(unsafe.Pointer(nb)).onReadable(s) })
	e.OnClose(func(nb *nbio.Conn, _ error) { (*Conn)(unsafe.Pointer(nb)).gone(s) })
	return e
}

// register puts a connection into the epoll set of its poller, chosen by descriptor.
func (s *Server) register(c *Conn) error {
	_, err := s.engine.AddConn(net.Conn(&c.nb))
	return err
}
