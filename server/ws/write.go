package ws

import (
	"errors"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"throng/server/wire"
)

// Send queues a shared frame, which must never change afterwards. It returns true when the caller must call Flush later;
// false when somebody else will, or when the connection takes nothing: before its Handler's Open and after a close frame. Any goroutine; never blocks.
// An outbox over its limit makes the peer a slow consumer: what is queued is dropped and the connection closed with 3008.
func (c *Conn) Send(frame []byte) bool {
	c.lock()
	if c.load() != stateOpen || c.closedLocked() {
		c.unlock()
		return false
	}
	c.out.push(frame)
	if c.out.cost() > c.srv.cfg.OutboxLimit {
		c.cutSlowLocked()
		c.unlock()
		c.srv.wheel.schedule(c, c.srv.cfg.CloseTimeout)
		return false
	}
	dirty := c.flags&(flagBlocked|flagDirty) == 0
	if dirty {
		c.flags |= flagDirty
	}
	c.unlock()
	return dirty
}

// Flush writes everything queued, in one write as far as it fits 64 KiB. Any goroutine; never blocks: what the socket does
// not take is left to the writable goroutine.
func (c *Conn) Flush() {
	c.lock()
	c.flags &^= flagDirty
	if c.flags&flagBlocked == 0 && !c.closedLocked() {
		c.writeLocked()
	}
	c.unlock()
}

// cutSlowLocked replaces what waits behind the frame being written by a close frame.
func (c *Conn) cutSlowLocked() {
	st := c.srv.statsOf(c)
	st.slow(c.out.truncate())
	c.closeLocked(wire.CloseSlow, "slow consumer")
	if c.flags&flagBlocked == 0 {
		c.writeLocked()
	}
}

// joinSize is the most that one write joins: larger outboxes are already a sign of a slow peer.
const joinSize = 64 << 10

var joinBuffers = sync.Pool{New: func() any { b := make([]byte, 0, joinSize); return &b }}

// writeLocked writes until the outbox is empty or the socket is full.
func (c *Conn) writeLocked() {
	for !c.out.empty() {
		n, want, err := c.writeOnce()
		if n > 0 {
			c.out.consume(n)
			c.srv.statsOf(c).wrote(n)
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), err == nil && n < want:
			c.flags |= flagBlocked
			if !c.srv.writable.arm(c) {
				c.abortLocked()
			}
			return
		case err != nil:
			c.abortLocked()
			return
		}
	}
	if c.flags&flagShutWrite != 0 {
		_ = unix.Shutdown(c.fd(), unix.SHUT_WR)
	}
}

// writeOnce makes one write(2) of the first frame, or of several joined, and says how much it tried to write.
func (c *Conn) writeOnce() (n, want int, err error) {
	if c.out.more == nil {
		n, err = write(c.fd(), c.out.head)
		return n, len(c.out.head), err
	}
	buf := joinBuffers.Get().(*[]byte)
	joined := c.out.gather((*buf)[:0])
	n, err = write(c.fd(), joined)
	joinBuffers.Put(buf)
	return n, len(joined), err
}

// abortLocked gives up on the peer. The descriptor is closed by its poller, which the shutdown wakes; closing it
// here would be N1.
func (c *Conn) abortLocked() {
	c.srv.statsOf(c).unsent(c.out.clear())
	_ = unix.Shutdown(c.fd(), unix.SHUT_RDWR)
}

// write and read are write(2) and read(2) without the scheduler's book-keeping for system calls that may
// block: these descriptors never do.
func write(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func read(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
