package history

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"throng/server/hub"
)

// Service is the history of a node's channels. Make it with New.
type Service struct {
	cfg   Config
	parts Parts
	start time.Time
	seed  maphash.Seed

	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	once   sync.Once
	wg     sync.WaitGroup // sweeper
	work   pool           // for lines
	acks   pool           // for publications that wait for acknowledgements
	doubts pool           // for spaces in doubt, one for each

	stripes  [stripes]stripe
	spacesMu sync.Mutex
	spaces   map[string]*space

	linger   lingerQueue
	early    earlyQueue
	versions versionTable

	queryRoom chan struct{} // one place for each query that reads the store

	round     atomic.Bool  // a periodic check is running
	tick      atomic.Int64 // coarse monotonic time of the sweeper, for the order of tails
	tailBytes atomic.Int64
	n         counters
}

// New starts a Service, which has one goroutine until Close.
func New(cfg Config, parts Parts) *Service {
	v := &Service{cfg: cfg.withDefaults(), parts: parts, start: time.Now(), seed: maphash.MakeSeed(), spaces: map[string]*space{}}
	if v.parts.Clock == nil {
		v.parts.Clock = time.Now
	}
	v.ctx, v.stop = context.WithCancel(context.Background())
	v.work.max, v.acks.max, v.doubts.max = v.cfg.Workers, v.cfg.PublishWorkers, maxSpaces
	v.queryRoom = make(chan struct{}, v.cfg.Workers)
	v.versions.channels = map[string]*versioned{}
	v.wg.Go(v.sweepLoop)
	return v
}

// Close ends the service: who waits gets hub.ErrClosed, messages are dropped. It waits for what is running, also for calls of
// Hub.Deliver, so the hub must be closed first or go on. Idempotent.
func (v *Service) Close() {
	v.once.Do(func() {
		v.stop()
		v.work.close()
		v.acks.close()
		v.doubts.close()
	})
	v.wg.Wait()
	v.work.wg.Wait()
	v.acks.wg.Wait()
	v.doubts.wg.Wait()
	v.each(func(l *Line) { l.abandon() })
	v.abandonVersions()
}

func (v *Service) closed() bool { return v.ctx.Err() != nil }

// now is monotonic time since New: 8 bytes where a time.Time takes 24.
func (v *Service) now() time.Duration { return time.Since(v.start) }

// space is a namespace with lines: what they share is their stream.
type space struct {
	v         *Service
	namespace string

	doubted atomic.Bool // its messages wait until verify has seen the epoch

	mu        sync.Mutex
	opening   []*Line // wait for openAll
	opener    bool    // openAll runs
	verifying bool    // verify runs
	again     bool    // and has to begin anew

	since time.Duration // of the latest doubt: from when on something may be missing
}

func (v *Service) space(namespace string) *space {
	v.spacesMu.Lock()
	defer v.spacesMu.Unlock()
	sp := v.spaces[namespace]
	if sp == nil {
		sp = &space{v: v, namespace: namespace}
		v.spaces[namespace] = sp
	}
	return sp
}

// wait sleeps, unless the service ends.
func (v *Service) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-v.ctx.Done():
	}
}

// later runs f on a worker after d.
func (v *Service) later(d time.Duration, f func()) {
	if d <= 0 {
		v.work.run(f)
		return
	}
	time.AfterFunc(d, func() { v.work.run(f) })
}

// why makes the error that callers see: the end of the service explains all others.
func (v *Service) why(err error) error {
	if v.closed() {
		return errors.Join(hub.ErrClosed, err)
	}
	return err
}

// maxSpaces bounds the verifications that run at once: namespaces are configuration, and there are few.
const maxSpaces = 1000

// pool runs functions on a bounded number of goroutines, which end when there is nothing to run.
type pool struct {
	mu      sync.Mutex
	queue   []func()
	running int
	max     int
	ended   bool
	wg      sync.WaitGroup
}

// run queues f; false after close. The queue is bounded by its users: a line and a space have one f in it each.
func (p *pool) run(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false
	}
	p.queue = append(p.queue, f)
	if p.running < p.max {
		p.running++
		p.wg.Go(p.loop)
	}
	return true
}

func (p *pool) loop() {
	for {
		p.mu.Lock()
		if len(p.queue) == 0 {
			p.queue = nil
			p.running--
			p.mu.Unlock()
			return
		}
		f := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.mu.Unlock()
		f()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.queue = nil
}
