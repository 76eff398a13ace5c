package ws

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// writable waits for sockets that were full to take bytes again. nbio's pollers could do it only with
// their own write queue, which copies every frame for every slow peer; here a slow peer costs an entry in
// a map and its outbox keeps sharing frames with everybody else's.
type writable struct {
	epfd, wake int
	mu         sync.Mutex
	waiting    map[int]*Conn // by descriptor, only while blocked
	stopped    chan struct{}
}

func newWritable() (*writable, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("ws: epoll for slow peers: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("ws: eventfd: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wake, &ev); err != nil {
		_, _ = unix.Close(epfd), unix.Close(wake)
		return nil, fmt.Errorf("ws: epoll for slow peers: %w", err)
	}
	return &writable{epfd: epfd, wake: wake, waiting: map[int]*Conn{}, stopped: make(chan struct{})}, nil
}

// arm asks for one call of c.unblock once its socket takes bytes. The caller holds c's mutex.
func (w *writable) arm(c *Conn) bool {
	fd := c.fd()
	w.mu.Lock()
	w.waiting[fd] = c
	w.mu.Unlock()
	ev := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLONESHOT, Fd: int32(fd)}
	err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_MOD, fd, &ev)
	if errors.Is(err, unix.ENOENT) {
		err = unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &ev)
	}
	return err == nil
}

// forget drops a closed connection. Its descriptor may be in use again by then, and blocked again.
func (w *writable) forget(c *Conn) {
	w.mu.Lock()
	if w.waiting[c.fd()] == c {
		delete(w.waiting, c.fd())
	}
	w.mu.Unlock()
}

func (w *writable) take(fd int) *Conn {
	w.mu.Lock()
	c := w.waiting[fd]
	delete(w.waiting, fd)
	w.mu.Unlock()
	return c
}

// run blocks in epoll_wait until stop. A stale event finds no entry, or a newer connection of the same
// descriptor, for which trying to write once too often is harmless.
func (w *writable) run() {
	defer close(w.stopped)
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(w.epfd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, ev := range events[:max(n, 0)] {
			if int(ev.Fd) == w.wake {
				return
			}
			if c := w.take(int(ev.Fd)); c != nil {
				c.unblock()
			}
		}
	}
}

func (w *writable) stop() {
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-w.stopped
	_, _ = unix.Close(w.epfd), unix.Close(w.wake)
}

// unblock continues an outbox whose socket was full.
func (c *Conn) unblock() {
	c.lock()
	c.flags &^= flagBlocked
	if !c.closedLocked() {
		c.writeLocked()
	}
	c.unlock()
}

// backlog counts blocked connections and their unsent bytes. It takes each one's mutex, a copy first: the lock order is
// connection, then map.
func (w *writable) backlog() (conns int, bytes int64) {
	w.mu.Lock()
	cs := make([]*Conn, 0, len(w.waiting))
	for _, c := range w.waiting {
		cs = append(cs, c)
	}
	w.mu.Unlock()
	for _, c := range cs {
		c.lock()
		bytes += int64(c.out.bytes)
		c.unlock()
	}
	return len(cs), bytes
}
