package proxy

import (
	"sync"
	"time"
)

// pool runs at most max tasks at once and lets at most length more wait, each for at most patience. It has no goroutine of
// its own while nothing is to be done.
type pool struct {
	max, length int
	patience    time.Duration

	mu      sync.Mutex // leaf
	running int
	queue   []task // from head on
	head    int
	closed  bool
	wg      sync.WaitGroup
}

// task is told whether it has waited too long.
type task struct {
	run   func(late bool)
	until time.Time
}

func newPool(limit, length int, patience time.Duration) *pool {
	return &pool{max: limit, length: length, patience: patience}
}

// submit never blocks. Errors: errBusy, errClosed.
func (p *pool) submit(run func(late bool)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errClosed
	case p.running < p.max:
		p.running++
		p.wg.Go(func() { p.work(run) })
	case len(p.queue)-p.head < p.length:
		p.queue = append(p.queue, task{run: run, until: time.Now().Add(p.patience)})
	default:
		return errBusy
	}
	return nil
}

// work runs a task and then what waits.
func (p *pool) work(run func(late bool)) {
	run(false)
	for {
		next, ok := p.next()
		if !ok {
			return
		}
		next.run(time.Now().After(next.until))
	}
}

func (p *pool) next() (task, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.running--
		p.queue, p.head = nil, 0 // a storm's queue is not kept
		return task{}, false
	}
	t := p.queue[p.head]
	p.queue[p.head] = task{}
	p.head++
	if p.head > 1024 && p.head > len(p.queue)/2 {
		p.queue = append([]task(nil), p.queue[p.head:]...)
		p.head = 0
	}
	return t, true
}

// aside runs f in a goroutine that close waits for, if it is not too late for that.
func (p *pool) aside(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go f()
		return
	}
	p.wg.Go(f)
}

// close refuses what follows and waits for what was accepted.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *pool) state() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running, len(p.queue) - p.head
}
