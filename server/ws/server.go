package ws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lesismal/nbio"
	"golang.org/x/time/rate"

	"throng/server/wire"
)

// Server accepts and holds connections.
type Server struct {
	cfg    Config
	limits wire.Limits
	layout engineLayout
	engine *nbio.Engine
	maxFD  int // descriptors from here on do not fit nbio's table

	inboxes   []inbox // by poller
	wheel     *wheel
	writable  *writable
	spare     spareFD
	limiter   *rate.Limiter // nil = no limit
	addresses *addresses    // nil = no limit

	listeners     []*listener
	acceptors     sync.WaitGroup
	stopAccepting chan struct{}
	draining      atomic.Bool

	http       *httpListener
	httpServer *http.Server
	httpDone   chan struct{}

	stats   serverStats
	lastLog atomic.Int64 // unix seconds of the last rate-limited line
	muted   atomic.Int64 // lines not written since
}

// New prepares a Server; Start opens its port.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	cfg.KeepAlives[0] = KeepAlive{Frame: pingFrame, NoPong: wire.CloseAbnormal}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	layout, err := nbioLayout()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, layout: layout, maxFD: nbio.MaxOpenFiles, limits: wire.Limits{MaxMessage: cfg.MaxMessage, MaxFrame: cfg.MaxFrame},
		wheel: newWheel(cfg.WheelTick), stopAccepting: make(chan struct{})}
	s.addresses = newAddresses(cfg.AddressLimit, cfg.AddressPrefix6)
	s.stats.pollers = make([]pollerStats, cfg.Pollers)
	if cfg.AcceptRate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptBurst)
	}
	return s, nil
}

// Start opens the port and serves until Drain. It returns once connections are accepted.
func (s *Server) Start() error {
	if err := s.listen(); err != nil {
		return err
	}
	var err error
	if s.writable, err = newWritable(); err != nil {
		s.closeListeners()
		return err
	}
	if err := s.spare.open(); err != nil {
		s.closeListeners()
		return err
	}
	s.engine = newEngine(s)
	if err := s.engine.Start(); err != nil {
		s.closeListeners()
		return fmt.Errorf("ws: start pollers: %w", err)
	}
	if err := s.openInboxes(); err != nil {
		s.closeListeners()
		return err
	}
	s.awaitPollers()
	s.http = &httpListener{conns: make(chan net.Conn, s.cfg.HTTPConnections), addr: s.Addr(), closed: make(chan struct{})}
	s.httpServer, s.httpDone = s.newHTTPServer(), make(chan struct{})
	go s.serveHTTP()
	go s.writable.run()
	go s.wheel.run(s.due)
	for _, ln := range s.listeners {
		s.acceptors.Add(1)
		go s.acceptLoop(ln)
	}
	return nil
}

func (s *Server) serveHTTP() {
	defer close(s.httpDone)
	if err := s.httpServer.Serve(s.http); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.cfg.Log.Error("net/http stopped", "err", err)
	}
}

// Addr returns the address clients reach.
func (s *Server) Addr() net.Addr { return s.listeners[0].addr }

// admit reports whether one more upgrade may be accepted.
func (s *Server) admit() bool {
	if s.draining.Load() || s.stats.open.Load() >= int64(s.cfg.MaxConnections) {
		return false
	}
	return s.limiter == nil || s.limiter.Allow()
}

func (s *Server) closeListeners() {
	for _, ln := range s.listeners {
		_ = ln.file.Close()
	}
}

// Goodbye says with which words a connection is closed when its server drains. It runs on the connection's poller.
type Goodbye func(h Handler) (code wire.CloseCode, reason string)

// Drain stops accepting, closes all connections as goodbye says, spread evenly over window, and releases everything. Connections left
// when ctx ends are cut. It returns ctx's error if any had to be.
func (s *Server) Drain(ctx context.Context, window time.Duration, goodbye Goodbye) error {
	s.draining.Store(true)
	close(s.stopAccepting)
	s.closeListeners()
	s.acceptors.Wait()
	httpErr := make(chan error, 1)
	go func() { httpErr <- s.httpServer.Shutdown(ctx) }()
	s.closePaced(ctx, window, func(c *Conn) {
		c.Post(func() { c.Close(goodbye(c.handler())) }) // where there is no room, the next round comes
	})
	err := s.awaitEmpty(ctx)
	if <-httpErr != nil {
		_ = s.httpServer.Close()
	}
	<-s.httpDone
	s.closeWaitingHTTP()
	s.stop()
	return err
}

// closePaced calls end for every open connection, spread over window, until there is none or ctx ends.
func (s *Server) closePaced(ctx context.Context, window time.Duration, end func(*Conn)) {
	tick := s.cfg.DrainBatchTick
	t := time.NewTicker(tick)
	defer t.Stop()
	total := s.stats.open.Load()
	batch := int(total*int64(tick)/max(1, int64(window))) + 1
	var queue []*Conn
	for s.stats.open.Load() > 0 && ctx.Err() == nil {
		if len(queue) == 0 {
			queue = s.openConns()
		}
		n := min(batch, len(queue))
		for _, c := range queue[:n] {
			end(c)
		}
		queue = queue[n:]
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

func (s *Server) openConns() []*Conn {
	var open []*Conn
	for _, c := range s.wheel.all() {
		if c.load() == stateOpen {
			open = append(open, c)
		}
	}
	return open
}

// awaitEmpty waits until no connection is left; when ctx ends it cuts those that are.
func (s *Server) awaitEmpty(ctx context.Context) error {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for !s.empty() {
		select {
		case <-t.C:
		case <-ctx.Done():
			s.cutAll(t.C)
			return ctx.Err()
		}
		s.cutHandshaking()
	}
	return nil
}

func (s *Server) empty() bool { return s.stats.slots.Load() <= s.stats.http.Load() }

// cutHandshaking ends connections that never asked for anything: there is nobody to say goodbye to.
func (s *Server) cutHandshaking() {
	for _, c := range s.wheel.all() {
		if c.load() == stateHandshaking {
			c.terminate()
		}
	}
}

// cutAll cuts everything and gives pollers a bounded time to close it.
func (s *Server) cutAll(tick <-chan time.Time) {
	for range 100 {
		for _, c := range s.wheel.all() {
			c.terminate()
		}
		if <-tick; s.empty() {
			return
		}
	}
}

func (s *Server) closeWaitingHTTP() {
	for {
		select {
		case c := <-s.http.conns:
			_ = c.Close()
		default:
			return
		}
	}
}

func (s *Server) stop() {
	s.engine.Stop()
	s.wheel.halt()
	s.writable.stop()
	s.spare.close()
}

// logFault logs a fault of ours at error level, rate limited.
func (s *Server) logFault(c *Conn, msg string, err error) {
	s.logLimited(msg, "err", err, "remote", c.RemoteAddr())
}

// logLimited writes at most one line per second and says how many it left out, so that no peer can fill a disk.
func (s *Server) logLimited(msg string, args ...any) {
	now := time.Now().Unix()
	last := s.lastLog.Load()
	if now == last || !s.lastLog.CompareAndSwap(last, now) {
		s.muted.Add(1)
		return
	}
	s.cfg.Log.Error(msg, append(args, "muted", s.muted.Swap(0))...)
}

// spareFD is one descriptor kept for the moment when there are none left.
type spareFD struct {
	mu sync.Mutex
	f  *os.File
}

func (s *spareFD) open() (err error) {
	if s.f, err = os.Open(os.DevNull); err != nil {
		return fmt.Errorf("ws: spare descriptor: %w", err)
	}
	return nil
}

// use runs fn with the descriptor given back to the kernel.
func (s *spareFD) use(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		_ = s.f.Close()
	}
	fn()
	s.f, _ = os.Open(os.DevNull) // fails when others took it: next time there is nothing to give
}

func (s *spareFD) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f != nil {
		_ = s.f.Close()
	}
}
