package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

// OpenOrder says which connections to open, and how fast.
type OpenOrder struct {
	From, To  int           // rows, [From, To)
	Rate      float64       // attempts per second, 0 = as fast as it goes
	InFlight  int           // attempts under way at once, 0 = no limit
	Attempts  int           // per connection, default 1; after that it is given up
	Backoff   time.Duration // before another attempt, default 200 ms
	DropReady bool          // close each connection as soon as it is ready (handshake ladder)
	Begin     int64         // Clock ns of the first attempt, 0 = now
}

// opensPerTurn bounds connects between two looks at events, so that answers are
// not left lying while a storm begins.
const opensPerTurn = 32

type retry struct {
	row uint32
	at  int64
}

// opener is the queue of connections to open. Owned by the loop.
type opener struct {
	order   OpenOrder
	next    int   // next row of the order
	begun   int64 // when the order began, for the rate
	count   int   // attempts made under the rate
	retries []retry
	head    int // of retries
	capped  bool
}

// Open begins an order; done is called on the loop when every row is ready or
// given up. Call it on the loop (Do).
func (e *Engine) Open(order OpenOrder, done func()) {
	if order.Attempts < 1 {
		order.Attempts = 1
	}
	if order.Backoff == 0 {
		order.Backoff = 200 * time.Millisecond
	}
	if order.Begin == 0 {
		order.Begin = e.now
	}
	for i := order.From; i < order.To; i++ {
		e.conns[i].attempts = 0
	}
	e.opener = opener{order: order, next: order.From, begun: order.Begin}
	e.start(job{kind: jobOpen, done: done})
}

func (e *Engine) waiting() int {
	return e.opener.order.To - e.opener.next + len(e.opener.retries) - e.opener.head
}

// slotTime is when attempt number n of the order is due.
func (o *opener) slotTime(n int) int64 {
	if o.order.Rate <= 0 {
		return o.begun
	}
	return o.begun + int64(float64(n)/o.order.Rate*1e9)
}

func (o *opener) due(now int64) int64 {
	at := int64(never)
	if o.capped {
		return at // an event will end the cap
	}
	if o.head < len(o.retries) {
		at = o.retries[o.head].at
	}
	if o.next < o.order.To {
		at = min(at, o.slotTime(o.count))
	}
	return at
}

func (o *opener) clear(e *Engine) {
	for i := range e.conns {
		if e.conns[i].state == stateWaiting {
			e.conns[i].state = stateFree
		}
	}
	o.next = o.order.To
	o.retries, o.head = nil, 0
}

// openSome begins attempts that are due.
func (e *Engine) openSome() {
	o := &e.opener
	o.capped = false
	for range opensPerTurn {
		if o.order.InFlight > 0 && e.n.InFlight >= int64(o.order.InFlight) {
			o.capped = true
			return
		}
		if o.head < len(o.retries) && o.retries[o.head].at <= e.now {
			row := o.retries[o.head]
			o.head++
			if o.head == len(o.retries) {
				o.retries, o.head = o.retries[:0], 0
			}
			e.dial(int(row.row), e.now)
			continue
		}
		if o.next >= o.order.To {
			return
		}
		at := o.slotTime(o.count)
		if at > e.now {
			return
		}
		row := o.next
		o.next++
		if e.conns[row].state != stateFree {
			continue
		}
		if o.order.Rate <= 0 {
			at = e.now // no schedule to be late for
		}
		o.count++
		e.dial(row, at)
	}
}

// dial begins one attempt of row i, meant for the time at.
func (e *Engine) dial(i int, at int64) {
	c := &e.conns[i]
	c.began, c.state, c.unponged, c.fragment = at, stateConnecting, 0, false
	c.attempts++
	c.inflight = true
	e.n.InFlight++
	e.n.Started++
	if !e.isPublisher(i) && !e.hello(i).Recover {
		for k := range e.cfg.Talkers {
			e.track.forget(i*e.cfg.Talkers + k)
		}
	}
	t := e.targetOf(i)
	e.deadlines.add(i, c.gen, e.clock.Now()+int64(e.cfg.HandshakeTimeout))
	if t.TLS {
		e.tlsPool.dial(i, c.gen, t)
		return
	}
	fd, err := e.socket(i, t)
	if err != nil {
		e.fail(i, kindOfErrno(err))
		return
	}
	c.fd = int32(fd)
	switch err := unix.Connect(fd, t.sockaddr); err {
	case nil, unix.EINPROGRESS:
	default:
		e.fail(i, kindOfErrno(err))
		return
	}
	if err := e.watch(i, unix.EPOLL_CTL_ADD, unix.EPOLLOUT); err != nil {
		e.fail(i, kindOfErrno(err))
	}
}

// socket makes a non-blocking socket bound to the row's source address.
func (e *Engine) socket(i int, t *Target) (int, error) {
	family := unix.AF_INET
	if !t.Addr.Addr().Is4() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := bindSource(fd, e.sourceIndex(i), t); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// sourceIndex is the row's source address number, -1 for the kernel's choice.
func (e *Engine) sourceIndex(i int) int {
	if e.cfg.PerAddress < 0 {
		return -1
	}
	if e.isPublisher(i) {
		return MaxSources - 1 - (e.cfg.FirstPublisher+i-e.cfg.Count)/e.cfg.PerAddress
	}
	return (e.cfg.First + i) / e.cfg.PerAddress
}

// bindSource binds fd to a loopback address of its own and port 0. With
// IP_BIND_ADDRESS_NO_PORT the kernel picks the port at connect, by the whole
// 4-tuple, so that the ports of ip_local_port_range count per address and target.
func bindSource(fd, source int, t *Target) error {
	if source < 0 || !t.Addr.Addr().IsLoopback() || !t.Addr.Addr().Is4() {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: SourceAddr(source % MaxSources).As4()})
}

// connected is called when a connecting socket became writable or failed.
func (e *Engine) connected(i int) {
	c := &e.conns[i]
	code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err == nil {
		err = e.watch(i, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
	}
	if err != nil {
		e.fail(i, kindOfErrno(err))
		return
	}
	e.request(i)
}

// request sends the GET of row i.
func (e *Engine) request(i int) {
	c := &e.conns[i]
	d := e.dialectOf(i)
	c.state = stateUpgrading
	p := e.targetOf(i).appendRequest(e.out[:0], e.names[c.channel])
	p = append(p, d.RequestHeaders()...)
	if d.WebSocket() {
		p = append(p, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
		p = append(p, e.key...)
		p = append(p, "\r\n"...)
	}
	p = append(p, "\r\n"...)
	e.out = p[:0]
	e.write(i, p)
}

// ready ends the opening of row i.
func (e *Engine) ready(i int) {
	c := &e.conns[i]
	c.state = stateReady
	e.leaveFlight(c)
	c.seen = e.tick()
	e.n.Open++
	e.n.Opened++
	if !e.isPublisher(i) {
		e.channels[c.channel].Members++
	}
	record(e.connect, e.now-c.began)
	if e.opener.order.DropReady {
		e.drop(i)
	}
}

func (e *Engine) leaveFlight(c *conn) {
	if c.inflight {
		c.inflight = false
		e.n.InFlight--
	}
}

// fail ends row i for the reason kind: a failed attempt if it was not ready, a
// drop if it was.
func (e *Engine) fail(i int, kind string) {
	c := &e.conns[i]
	if c.state == stateReady {
		e.n.Dropped++
		e.drops[kind]++
		e.shut(i)
		return
	}
	e.n.Failed++
	e.failures[kind]++
	e.shut(i)
	if int(c.attempts) < e.opener.order.Attempts {
		c.state = stateWaiting
		e.opener.retries = append(e.opener.retries, retry{uint32(i), e.now + int64(e.opener.order.Backoff)})
		return
	}
	e.n.GivenUp++
}

// drop ends row i because we want to.
func (e *Engine) drop(i int) {
	if e.cfg.DropByReset {
		e.reset(&e.conns[i])
	}
	e.shut(i)
}

// reset makes the coming close send RST, which leaves no TIME_WAIT behind.
func (e *Engine) reset(c *conn) {
	if c.fd >= 0 {
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
}

// shut closes the descriptor of row i and frees what it held.
func (e *Engine) shut(i int) {
	c := &e.conns[i]
	if c.state == stateReady {
		e.n.Open--
		if !e.isPublisher(i) {
			e.channels[c.channel].Members--
		}
	}
	e.leaveFlight(c)
	e.acks.forget(e, i)
	if c.fd >= 0 {
		_ = unix.Close(int(c.fd))
	}
	if c.side != noSide {
		e.sides[c.side] = side{}
		e.settle(i)
	}
	c.fd, c.state = -1, stateFree
	c.gen++
}

// Drop closes rows [from, to) at once. Call it on the loop (Do).
func (e *Engine) Drop(from, to int) {
	for i := from; i < to; i++ {
		if c := &e.conns[i]; c.state > stateWaiting {
			e.drop(i)
		}
	}
}

// deadline is one time limit of an opening connection.
type deadline struct {
	row, gen uint32
	at       int64
}

// deadlineQueue holds deadlines in order of time, which is the order of adding
// because all have the same length. Entries of connections that became ready or
// were closed are skipped when their time comes.
type deadlineQueue struct {
	q    []deadline
	head int
}

func (d *deadlineQueue) add(row int, gen uint32, at int64) {
	d.q = append(d.q, deadline{uint32(row), gen, at})
}

func (d *deadlineQueue) due() int64 {
	if d.head == len(d.q) {
		return never
	}
	return d.q[d.head].at
}

// expire fails openings that took too long.
func (e *Engine) expire() {
	d := &e.deadlines
	for d.head < len(d.q) && d.q[d.head].at <= e.now {
		x := d.q[d.head]
		d.head++
		c := &e.conns[x.row]
		if c.gen != x.gen {
			continue
		}
		switch c.state {
		case stateConnecting:
			e.fail(int(x.row), KindConnectTime)
		case stateUpgrading:
			e.fail(int(x.row), KindUpgradeTime)
		case stateJoining:
			e.fail(int(x.row), KindReadyTime)
		}
	}
	if d.head == len(d.q) {
		d.q, d.head = d.q[:0], 0
	} else if d.head > 4096 && d.head > len(d.q)/2 {
		d.q, d.head = append(d.q[:0], d.q[d.head:]...), 0
	}
}
