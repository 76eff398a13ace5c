package livechat

import (
	"sync"
	"time"
)

// greeter sends greetings after the delay. The delay is the same for all, so the queue is in order of time and one goroutine
// with one timer at its head is enough. A session that closes stays in the queue, at most for the delay, and is skipped.
type greeter struct {
	chat  *Chat
	start time.Time
	wake  chan struct{} // the queue is no longer empty
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup

	mu    sync.Mutex
	queue []greeting // from next on; a leaf, as the mutex is
	next  int
}

type greeting struct {
	session *Session
	due     time.Duration // since start
}

// greetBatch is how many greetings are taken per hold of the lock.
const greetBatch = 256

func newGreeter(c *Chat) *greeter {
	g := &greeter{chat: c, start: time.Now(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	g.wg.Go(g.run)
	return g
}

func (g *greeter) close() {
	g.once.Do(func() { close(g.done) })
	g.wg.Wait()
}

// add queues s and reports false if the queue is full.
func (g *greeter) add(s *Session) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	waiting := len(g.queue) - g.next
	if waiting >= g.chat.cfg.MaxGreetings {
		g.chat.stats.greetingsEarly.Add(1)
		return false
	}
	g.queue = append(g.queue, greeting{s, time.Since(g.start) + g.chat.cfg.GreetDelay})
	if waiting == 0 {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	return true
}

func (g *greeter) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue) - g.next
}

func (g *greeter) run() {
	var batch [greetBatch]*Session
	for {
		n, wait := g.take(batch[:])
		for _, s := range batch[:n] {
			if s.state.Load() == stateOpen {
				s.greet()
			}
		}
		clear(batch[:n])
		if n > 0 {
			continue
		}
		if !g.sleep(wait) {
			return
		}
	}
}

// sleep waits for d, or for the first greeting if d is 0, and reports false when the greeter is closed.
func (g *greeter) sleep(d time.Duration) bool {
	var timer <-chan time.Time
	wake := g.wake
	if d > 0 {
		timer, wake = time.After(d), nil
	}
	select {
	case <-timer:
	case <-wake:
	case <-g.done:
		return false
	}
	return true
}

// take removes sessions that are due into dst. If there are none, wait is the time until the first is, 0 with an empty queue.
func (g *greeter) take(dst []*Session) (n int, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Since(g.start)
	for n < len(dst) && g.next < len(g.queue) && g.queue[g.next].due <= now {
		dst[n] = g.queue[g.next].session
		g.queue[g.next].session = nil
		g.next++
		n++
	}
	switch {
	case g.next == len(g.queue):
		g.queue, g.next = nil, 0
	case g.next >= len(g.queue)/2:
		g.queue = append([]greeting(nil), g.queue[g.next:]...)
		g.next = 0
	}
	if n == 0 && len(g.queue) > 0 {
		wait = max(g.queue[g.next].due-now, 1)
	}
	return n, wait
}
