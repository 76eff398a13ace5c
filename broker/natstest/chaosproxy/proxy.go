// Package chaosproxy is a TCP proxy that makes a link bad on purpose: slow, narrow, silent in one direction or both, reset,
// half closed. It stands between a node and NATS, or on the routes of a NATS cluster, in tests.
//
// It does not look into what it carries, does not corrupt bytes, and cannot lose some of them and carry on: TCP would repeat
// them. A held direction is what a partition is to TCP: nothing gets through until it heals, then all of it does, unless the
// connection was cut meanwhile; senders are held up once the buffers of two sockets and one queue are full.
//
// Goroutines: one that accepts, and five for each connection (one that waits for its end, a reader and a writer for each
// direction), all of which have ended when Close returns. Methods may be called from any goroutine and never block on a peer.
// It is original work.
package chaosproxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Direction of bytes, as who connected sees it.
type Direction int

// Up is from who connected to the target, Down is back.
const (
	Up Direction = iota
	Down
)

// Both directions.
var Both = []Direction{Up, Down}

const (
	chunkBytes  = 16 << 10        // read at once
	queueChunks = 64              // per direction: what is on a slow link's way, 1 MiB
	dialTimeout = 5 * time.Second // with the target
)

// Shape is how one direction carries bytes. The zero value carries them at once.
type Shape struct {
	// Delay of each byte, and up to Jitter more; bytes keep their order.
	Delay, Jitter time.Duration
	// Rate in bytes a second. 0: unlimited.
	Rate int
}

// Stats count from the start.
type Stats struct {
	Accepted, Refused, Cut uint64 // connections
	Open                   int
	Bytes                  [2]uint64 // written on, per direction
}

// Proxy is one listener that carries connections to one target.
type Proxy struct {
	target   string
	listener net.Listener
	done     chan struct{}
	wg       sync.WaitGroup

	accepted, refused, cut atomic.Uint64
	bytes                  [2]atomic.Uint64

	mu      sync.Mutex
	shape   [2]Shape
	held    [2]bool
	refuse  bool
	changed chan struct{} // closed and replaced whenever one of the above changes
	pairs   map[*pair]struct{}
	closed  bool
}

// New listens on an address ("127.0.0.1:0") and carries what connects there to target, which need not be there yet.
// Errors: what net.Listen says.
func New(listen, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("chaosproxy: %w", err)
	}
	p := &Proxy{target: target, listener: l, done: make(chan struct{}), changed: make(chan struct{}), pairs: map[*pair]struct{}{}}
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

// Start is New on a free port of 127.0.0.1, closed at the end of the test.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := New("127.0.0.1:0", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Addr is where the proxy listens, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Stats of all connections so far.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	open := len(p.pairs)
	p.mu.Unlock()
	return Stats{
		Accepted: p.accepted.Load(), Refused: p.refused.Load(), Cut: p.cut.Load(), Open: open,
		Bytes: [2]uint64{p.bytes[Up].Load(), p.bytes[Down].Load()},
	}
}

// Shape sets how a direction carries bytes from now on, those under way included.
func (p *Proxy) Shape(d Direction, s Shape) {
	p.change(func() { p.shape[d] = s })
}

// Hold lets nothing through in these directions, none given: in both. New connections are taken and stay silent, as a
// backlog would have it. Heal lets go.
func (p *Proxy) Hold(directions ...Direction) {
	if len(directions) == 0 {
		directions = Both
	}
	p.change(func() {
		for _, d := range directions {
			p.held[d] = true
		}
	})
}

// Refuse resets every new connection until Heal.
func (p *Proxy) Refuse() { p.change(func() { p.refuse = true }) }

// Cut resets every connection there is, both ways; what was under way is lost. New ones are welcome.
func (p *Proxy) Cut() {
	for _, c := range p.all() {
		if c.reset() {
			p.cut.Add(1)
		}
	}
}

// HalfClose ends one direction of every connection there is: its receiver sees the end of the stream, what its sender
// still says is thrown away, and the other direction goes on.
func (p *Proxy) HalfClose(d Direction) {
	for _, c := range p.all() {
		c.half(d)
	}
}

// Heal ends Shape, Hold and Refuse.
func (p *Proxy) Heal() {
	p.change(func() { p.shape, p.held, p.refuse = [2]Shape{}, [2]bool{}, false })
}

// Close cuts everything and returns when no goroutine is left. Idempotent.
func (p *Proxy) Close() {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	if first {
		close(p.done)
		p.listener.Close()
	}
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) change(edit func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	edit()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) all() []*pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	pairs := make([]*pair, 0, len(p.pairs))
	for c := range p.pairs {
		pairs = append(pairs, c)
	}
	return pairs
}

// state of one direction, and what tells that it has changed.
func (p *Proxy) state(d Direction) (s Shape, held bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shape[d], p.held[d], p.changed
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, say: the next may do better
			time.Sleep(time.Millisecond)
			continue
		}
		p.take(client.(*net.TCPConn))
	}
}

func (p *Proxy) take(client *net.TCPConn) {
	c := newPair(p, client)
	p.mu.Lock()
	refuse := p.refuse || p.closed
	if !refuse {
		p.pairs[c] = struct{}{}
		p.wg.Add(1)
	}
	p.mu.Unlock()
	if refuse {
		p.refused.Add(1)
		abort(client)
		return
	}
	p.accepted.Add(1)
	go c.run()
}

func (p *Proxy) forget(c *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, c)
}

// abort closes with a reset instead of an orderly end.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}
