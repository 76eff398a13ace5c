package broker

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// outbound is the socket that nats.go is given: its Write never blocks. A goroutine of its own, the pump, writes to
// the real socket, all that has gathered in one call.
//
// Why: nats.go holds its connection mutex while it writes, and its read loop needs that mutex for each PONG and each
// message it drops. When both directions are full, the writer waits for the server, the server for our reading, and
// our read loop for the writer; seen over loopback TCP as a standstill of seconds, ended by the server cutting the
// link. Here the one goroutine that produces volume, the publisher, waits for room (admit) before it calls nats.go,
// with no mutex held, and nats.go itself never waits.
//
// It also decides whether the link lives: some byte must arrive within every period of silence, which pings see to on
// an idle link; and turns the re-sending of interest after a reconnect, one small write per subscription, into
// few large ones.
type outbound struct {
	net.Conn
	timeout  time.Duration // for one write to the socket
	silence  time.Duration // longest time without a byte from the server
	bounded  atomic.Bool   // nats.go has set a deadline of its own, for its handshake
	limit    int64         // bytes waiting beyond which admit waits
	buffered atomic.Int64  // bytes waiting or being written
	room     chan struct{} // capacity 1: a write has finished
	wake     chan struct{} // capacity 1: something to write
	closing  chan struct{} // closed by the first Close or failed write
	once     sync.Once
	heard    *atomic.Int64 // the dialer's
	start    time.Time

	mu   sync.Mutex
	next []byte // gathers
	err  error  // set once; Write returns it from then on
}

// maxWrite bounds one write, so that the timeout for it bounds the speed of a link and not the length of the queue.
// nats-server reads 64 KiB at a time.
const maxWrite = 64 << 10

func (d *dialer) newOutbound(conn net.Conn) *outbound {
	o := &outbound{
		Conn: conn, timeout: d.timeout, silence: d.silence, limit: d.limit,
		room: make(chan struct{}, 1), wake: make(chan struct{}, 1), closing: make(chan struct{}),
		heard: &d.heard, start: d.start,
	}
	go o.pump()
	return o
}

// Write copies p and returns.
func (o *outbound) Write(p []byte) (int, error) {
	o.mu.Lock()
	if o.err != nil {
		o.mu.Unlock()
		return 0, o.err
	}
	o.next = append(o.next, p...)
	o.mu.Unlock()
	o.buffered.Add(int64(len(p)))
	trySignal(o.wake)
	return len(p), nil
}

// admit blocks while too much waits for the socket, the link lives and ctx lasts. For the publisher only.
func (o *outbound) admit(ctx context.Context) {
	for o.buffered.Load() >= o.limit {
		select {
		case <-o.room:
		case <-o.closing:
			return
		case <-ctx.Done():
			return
		}
	}
}

// pump is the goroutine that writes. It ends with the socket.
func (o *outbound) pump() {
	var spare []byte
	for {
		select {
		case <-o.wake:
		case <-o.closing:
			return
		}
		o.mu.Lock()
		out := o.next
		o.next = spare[:0]
		o.mu.Unlock()
		if len(out) > 0 && !o.send(out) {
			return
		}
		// A burst's array, such as a million re-sent subscriptions, is not kept.
		if spare = out; int64(cap(out)) > 2*o.limit {
			spare = nil
		}
	}
}

func (o *outbound) send(p []byte) bool {
	for len(p) > 0 {
		part := p[:min(len(p), maxWrite)]
		_ = o.Conn.SetWriteDeadline(time.Now().Add(o.timeout))
		if _, err := o.Conn.Write(part); err != nil {
			o.fail(err) // closes the socket: nats.go's read loop sees that and reconnects
			return false
		}
		o.buffered.Add(-int64(len(part)))
		trySignal(o.room)
		p = p[len(part):]
	}
	return true
}

// Read ends the link, by a timeout, when the server has been silent for too long.
func (o *outbound) Read(p []byte) (int, error) {
	if !o.bounded.Load() {
		_ = o.Conn.SetReadDeadline(time.Now().Add(o.silence))
	}
	n, err := o.Conn.Read(p)
	if n > 0 {
		o.heard.Store(int64(time.Since(o.start)))
	}
	return n, err
}

func (o *outbound) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.next = nil
	o.mu.Unlock()
	o.once.Do(func() {
		close(o.closing)
		_ = o.Conn.Close()
	})
}

// Close drops what has not been written: nats.go calls it with its mutex held, and who needs the rest to arrive has
// waited for its confirmation.
func (o *outbound) Close() error {
	o.fail(net.ErrClosed)
	return nil
}

// SetWriteDeadline does nothing: the pump sets deadlines, and nats.go would clear them.
func (o *outbound) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline bounds reads only, for the same reason. Without a deadline the limit on silence holds, also for a read
// that is under way: nats.go starts its read loop before it lifts the deadline of its handshake.
func (o *outbound) SetDeadline(t time.Time) error {
	o.bounded.Store(!t.IsZero())
	if t.IsZero() {
		t = time.Now().Add(o.silence)
	}
	return o.Conn.SetReadDeadline(t)
}

// dialer makes every socket of nats.go an outbound and remembers the latest for the publisher. It is nats.go's
// CustomDialer for URLs and its InProcessConnProvider for a server in this process.
type dialer struct {
	net     net.Dialer
	server  InProcess
	timeout time.Duration // Config.WriteTimeout
	silence time.Duration // Config.silence
	limit   int64         // Config.OutboundBytes
	current atomic.Pointer[outbound]
	start   time.Time
	heard   atomic.Int64 // when a byte last came from NATS, since start
}

// silent is for how long nothing has come from NATS.
func (d *dialer) silent() time.Duration { return time.Since(d.start) - time.Duration(d.heard.Load()) }

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.close()
	conn, err := d.net.Dial(network, address)
	return d.wrap(conn, err)
}

// InProcessConn implements InProcess.
func (d *dialer) InProcessConn() (net.Conn, error) {
	d.close()
	conn, err := d.server.InProcessConn()
	return d.wrap(conn, err)
}

func (d *dialer) wrap(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	o := d.newOutbound(conn)
	d.current.Store(o)
	return o, nil
}

// close ends the latest socket. nats.go has one at a time, and abandons it without closing when the handshake of a
// reconnect fails: each refused attempt would leave a socket and a pump behind.
func (d *dialer) close() {
	if o := d.current.Swap(nil); o != nil {
		_ = o.Close()
	}
}

// admit waits until the current socket has room.
func (d *dialer) admit(ctx context.Context) {
	if o := d.current.Load(); o != nil {
		o.admit(ctx)
	}
}
