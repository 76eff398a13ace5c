package chaosproxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// pair is one connection with the proxy and the one with the target that it is carried to.
type pair struct {
	proxy *Proxy
	ends  [2]*net.TCPConn // by direction, where bytes come from: ends[Up] connected, ends[Down] is the target
	ctx   context.Context // ends when it is cut
	stop  context.CancelFunc
	mu    sync.Mutex
	ended [2]chan struct{} // closed when a direction was half closed
}

// chunk is what was read at once.
type chunk struct {
	data []byte
	at   time.Time
}

func newPair(p *Proxy, client *net.TCPConn) *pair {
	ctx, stop := context.WithCancel(context.Background())
	return &pair{
		proxy: p, ends: [2]*net.TCPConn{Up: client}, ctx: ctx, stop: stop,
		ended: [2]chan struct{}{make(chan struct{}), make(chan struct{})},
	}
}

// run carries the pair until both directions have ended, or it is cut.
func (c *pair) run() {
	defer c.proxy.wg.Done()
	defer c.proxy.forget(c)
	defer c.reset()
	// A SYN that is held gets no answer, so the target must not see one either.
	if !c.free(Up) || !c.dial() {
		return
	}
	var wg sync.WaitGroup
	for _, d := range Both {
		queue := make(chan chunk, queueChunks)
		wg.Go(func() { c.read(d, queue) })
		wg.Go(func() { c.write(d, queue) })
	}
	wg.Wait()
	c.finish(func(e *net.TCPConn) { e.Close() }) // a reset would overtake the last bytes
}

func (c *pair) dial() bool {
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	target, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.proxy.target)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[Down] = target.(*net.TCPConn)
	if c.ctx.Err() != nil {
		abort(c.ends[Down])
		return false
	}
	return true
}

// read moves bytes from a socket into the queue; it stops reading while the direction is held, so that the sender is
// held up as by a real link.
func (c *pair) read(d Direction, queue chan<- chunk) {
	defer close(queue)
	for c.free(d) {
		buf := make([]byte, chunkBytes)
		n, err := c.ends[d].Read(buf)
		if n > 0 && !c.queue(d, queue, chunk{buf[:n], time.Now()}) {
			return
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			c.reset()
			return
		}
	}
}

func (c *pair) queue(d Direction, queue chan<- chunk, k chunk) bool {
	select {
	case <-c.ended[d]: // thrown away
		return true
	default:
	}
	select {
	case queue <- k:
		return true
	case <-c.ended[d]:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// write moves bytes on when their time has come; the end of the stream too.
func (c *pair) write(d Direction, queue <-chan chunk) {
	to := c.ends[1-d]
	var before time.Time // when the last chunk was through
	for {
		k, ok, alive := c.next(d, queue)
		if !alive {
			return
		}
		if !ok {
			_ = to.CloseWrite() // fails when the other end is gone, and then the other direction knows
			return
		}
		due, ok := c.due(d, k, before)
		if !ok {
			return
		}
		before = due
		if _, err := to.Write(k.data); err != nil {
			c.reset()
			return
		}
		c.proxy.bytes[d].Add(uint64(len(k.data)))
	}
}

// next takes a chunk; not ok: the stream has ended, not alive: the pair has been cut.
func (c *pair) next(d Direction, queue <-chan chunk) (k chunk, ok, alive bool) {
	select {
	case <-c.ended[d]:
		return k, false, true
	default:
	}
	select {
	case <-c.ended[d]:
		return k, false, true
	case <-c.ctx.Done():
		return k, false, false
	case k, ok = <-queue:
	}
	if !ok { // a FIN is held as bytes are, and a cut is none
		return k, false, c.free(d) && c.ctx.Err() == nil
	}
	return k, true, true
}

// due waits until a chunk may go, by the shape of now and whatever becomes of it, and returns when that was.
func (c *pair) due(d Direction, k chunk, before time.Time) (time.Time, bool) {
	chance := rand.Float64()
	for {
		s, held, changed := c.proxy.state(d)
		at := k.at.Add(s.Delay + time.Duration(chance*float64(s.Jitter)))
		if at.Before(before) {
			at = before
		}
		if s.Rate > 0 {
			at = at.Add(time.Duration(len(k.data)) * time.Second / time.Duration(s.Rate))
		}
		wait := time.Until(at)
		if !held && wait <= 0 {
			return at, true
		}
		var timer <-chan time.Time
		if !held {
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case <-changed:
		case <-c.ended[d]:
			return at, true
		case <-c.ctx.Done():
			return at, false
		}
	}
}

// free returns true when the direction is not held, waiting for that, and false when the pair has been cut.
func (c *pair) free(d Direction) bool {
	for {
		_, held, changed := c.proxy.state(d)
		if !held {
			return true
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return false
		}
	}
}

// reset cuts both sides; true the first time.
func (c *pair) reset() bool { return c.finish(abort) }

func (c *pair) finish(end func(*net.TCPConn)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.stop()
	for _, e := range c.ends {
		if e != nil {
			end(e)
		}
	}
	return true
}

func (c *pair) half(d Direction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ended[d]:
	default:
		close(c.ended[d])
	}
}
