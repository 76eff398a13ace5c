package engine

import (
	"errors"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakeSlot is the event tag of the wake descriptor; rows are tagged by index.
const wakeSlot = -1

// never is a due time that does not come.
const never = math.MaxInt64

func (e *Engine) openPoller() (err error) {
	if e.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if e.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return errors.Join(err, unix.Close(e.epfd))
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeSlot}
	if err = unix.EpollCtl(e.epfd, unix.EPOLL_CTL_ADD, e.wakefd, &ev); err != nil {
		return errors.Join(err, unix.Close(e.wakefd), unix.Close(e.epfd))
	}
	return nil
}

// wake makes a waiting loop look at its inbox. Call with mu held.
func (e *Engine) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(e.wakefd, one[:]) // EAGAIN means it is awake already
}

// Run is the loop. It returns after Stop, when every descriptor is closed.
func (e *Engine) Run() {
	defer e.release()
	for !e.stopped() {
		n := e.wait()
		e.now = e.clock.Now()
		for i := range n {
			e.handle(&e.events[i])
		}
		e.takeOrders()
		e.now = e.clock.Now()
		e.expire()
		e.beat()
		e.speak()
		e.openSome()
		e.checkJob()
	}
}

// Stop ends Run. Any goroutine may call it, more than once; it does not wait.
func (e *Engine) Stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.closed = true
		e.wake()
	}
}

func (e *Engine) stopped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

func (e *Engine) takeOrders() {
	e.mu.Lock()
	orders := e.inbox
	e.inbox = nil
	e.mu.Unlock()
	for _, f := range orders {
		f(e)
	}
}

// release closes everything; the kernel's queues go with the descriptors.
func (e *Engine) release() {
	if e.tlsPool != nil {
		e.tlsPool.stop()
		e.takeOrders() // connections the pool handed over meanwhile
	}
	for i := range e.conns {
		if c := &e.conns[i]; c.fd >= 0 {
			e.reset(c)
			_ = unix.Close(int(c.fd))
			c.fd = -1
		}
	}
	_ = unix.Close(e.wakefd)
	_ = unix.Close(e.epfd)
}

// nextDue is when the loop must act without an event.
func (e *Engine) nextDue() int64 {
	return min(e.opener.due(e.now), e.deadlines.due(), e.heart.due(), e.talk.due(), e.jobDue())
}

// wait blocks until an event or the next due time. epoll_pwait2 is used for its
// nanosecond timeout: publications are due at exact times, not in milliseconds.
func (e *Engine) wait() int {
	var timeout *unix.Timespec
	if due := e.nextDue(); due != never {
		ts := unix.NsecToTimespec(max(due-e.clock.Now(), 0))
		timeout = &ts
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(e.epfd),
		uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)),
		uintptr(unsafe.Pointer(timeout)), 0, 0)
	if errno != 0 {
		if errno == unix.EINTR {
			return 0
		}
		panic("bench: epoll_pwait2: " + errno.Error()) // Linux >= 5.11 and our own descriptor
	}
	return int(n)
}

func (e *Engine) handle(ev *unix.EpollEvent) {
	if ev.Fd == wakeSlot {
		var p [8]byte
		_, _ = unix.Read(e.wakefd, p[:])
		return
	}
	i := int(ev.Fd)
	c := &e.conns[i]
	if c.fd < 0 || c.gen != uint32(ev.Pad) {
		return // closed earlier in this batch
	}
	if c.state == stateConnecting {
		e.connected(i)
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		e.writable(i)
	}
	if c.fd >= 0 && ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0 {
		e.readable(i)
	}
}

// watch registers or changes what row i waits for.
func (e *Engine) watch(i, op int, events uint32) error {
	c := &e.conns[i]
	ev := unix.EpollEvent{Events: events, Fd: int32(i), Pad: int32(c.gen)}
	return unix.EpollCtl(e.epfd, op, int(c.fd), &ev)
}

// jobKind is what a job waits for.
type jobKind uint8

const (
	jobOpen  jobKind = iota // nothing waiting, nothing in flight
	jobTalk                 // the schedule has been published
	jobBurst                // every delivery of the burst arrived here, or its time is over
	jobAcks                 // nothing published is without an answer
)

// job is the one piece of foreground work, with whom to tell when it is done.
type job struct {
	kind  jobKind
	until int64 // Clock ns, 0 = no limit
	done  func()
}

// start makes j the current job; the one before it is forgotten, not called.
func (e *Engine) start(j job) { e.job = &j }

// Abandon forgets the current job, what it had still to open and to publish.
// Call it on the loop (Do).
func (e *Engine) Abandon() {
	e.job = nil
	e.opener.clear(e)
	e.talk.stop()
	e.acks.end(e)
}

func (e *Engine) jobDue() int64 {
	if e.job == nil || e.job.until == 0 {
		return never
	}
	return e.job.until
}

func (e *Engine) checkJob() {
	j := e.job
	if j == nil || !e.finished(j) {
		return
	}
	e.job = nil
	j.done()
}

func (e *Engine) finished(j *job) bool {
	if j.until != 0 && e.now >= j.until {
		return true
	}
	switch j.kind {
	case jobOpen:
		return e.waiting() == 0 && e.n.InFlight == 0
	case jobTalk:
		return e.talk.idle()
	case jobAcks:
		return e.acks.waiting == 0
	default:
		return e.n.Unique() >= e.talk.goal
	}
}
