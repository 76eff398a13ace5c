package auth

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// endpoint serves the keys behind one JWKS URL, or behind the many URLs of one template. It outlives reloads that keep the
// template and the bounds, so a reload does not forget keys.
type endpoint struct {
	template urlTemplate
	cfg      JWKSConfig
	env      *fetchEnv
	fixed    *source // where the template has no places
	limiter  *rate.Limiter
	ctx      context.Context
	cancel   context.CancelFunc

	mu      sync.Mutex // leaf; guards what follows
	sources map[string]*source
	closed  bool
	running sync.WaitGroup
}

// fetchEnv is what endpoints share with the Tokens they belong to.
type fetchEnv struct {
	now      func() time.Time
	download func(ctx context.Context, url string, cfg *JWKSConfig) (*keySet, error)
	onFetch  func(url string, err error)
	stats    *Stats
}

func newEndpoint(t urlTemplate, cfg JWKSConfig, env *fetchEnv) *endpoint {
	e := &endpoint{template: t, cfg: cfg, env: env, sources: map[string]*source{}}
	e.limiter = rate.NewLimiter(rate.Limit(cfg.FetchRate), cfg.FetchBurst)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if len(t.names) == 0 {
		e.fixed = &source{endpoint: e, url: t.text}
	}
	return e
}

// close ends the fetches under way and waits for them.
func (e *endpoint) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.running.Wait()
}

// source returns the keys behind url. Where there are too many, one without keys goes first, since anyone who may name an
// issuer can make those; then the one not used for longest.
func (e *endpoint) source(url string) *source {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.sources[url]; s != nil {
		return s
	}
	if len(e.sources) >= e.cfg.MaxEndpoints {
		var victim *source
		for s := range maps.Values(e.sources) {
			if victim == nil || s.lessWorthThan(victim) {
				victim = s
			}
		}
		delete(e.sources, victim.url)
	}
	s := &source{endpoint: e, url: url}
	s.used.Store(e.env.now().UnixNano())
	e.sources[url] = s
	return s
}

// keySet is a fetched JWKS: immutable.
type keySet struct {
	keys    map[string][]key // by kid
	lone    []key            // the only key, for tokens without kid; nil where there are more
	fetched time.Time
}

// source is the keys behind one URL. Keys of one source never verify for another: which source a token belongs to follows
// from its issuer and audience, which the claims check then confirms.
type source struct {
	endpoint *endpoint
	url      string
	set      atomic.Pointer[keySet]
	used     atomic.Int64 // unix nanoseconds

	mu          sync.Mutex // leaf; guards what follows
	flight      *flight
	nextAttempt time.Time
	failures    int
	missing     map[string]time.Time // kids that a fetch did not find, until when that is believed
}

// flight is one fetch under way.
type flight struct {
	keyID string // what it was started for; "" for a refresh
	done  chan struct{}
	err   error // set before done is closed
}

func (s *source) lessWorthThan(o *source) bool {
	mine, others := s.set.Load() != nil, o.set.Load() != nil
	if mine != others {
		return !mine
	}
	return s.used.Load() < o.used.Load()
}

// find returns the keys for keyID without blocking: ErrNeedsFetch where a fetch may find them, ErrUnavailable where one is
// needed and not allowed yet, an unknown-key refusal where a fetch has shown that there are none. A set that gets old is
// fetched again in the background.
func (s *source) find(keyID string) ([]key, error) {
	now := s.endpoint.env.now()
	s.used.Store(now.UnixNano())
	set := s.set.Load()
	if set == nil || now.Sub(set.fetched) > s.endpoint.cfg.MaxStale {
		return nil, s.missingKey(keyID, now)
	}
	if now.Sub(set.fetched) > s.endpoint.cfg.RefreshAfter {
		s.refresh(now)
	}
	keys := set.keys[keyID]
	if keyID == "" {
		if keys = set.lone; keys == nil {
			return nil, refuse(ReasonUnknownKey)
		}
	}
	if len(keys) == 0 {
		return nil, s.missingKey(keyID, now)
	}
	return keys, nil
}

// missingKey says what is to be done about a key that is not at hand.
func (s *source) missingKey(keyID string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch until, ok := s.missing[keyID]; {
	case ok && now.Before(until):
		return refuse(ReasonUnknownKey)
	case s.flight != nil:
		return ErrNeedsFetch
	case now.Before(s.nextAttempt):
		return refuse(ReasonUnavailable)
	}
	return ErrNeedsFetch
}

// refresh starts a fetch in the background, unless there is one or the last is too fresh.
func (s *source) refresh(now time.Time) {
	if !s.mu.TryLock() {
		return // somebody is at it
	}
	defer s.mu.Unlock()
	if s.flight == nil && !now.Before(s.nextAttempt) {
		s.start("")
	}
}

// fetch waits for a fetch, its own or the one under way, and returns nil when the set is new.
func (s *source) fetch(ctx context.Context, keyID string) error {
	f := s.join(keyID)
	if f == nil {
		return refuse(ReasonUnavailable)
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return refuse(ReasonUnavailable)
	}
}

func (s *source) join(keyID string) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	e := s.endpoint
	now := e.env.now()
	limited := e.fixed == nil && s.set.Load() == nil
	if now.Before(s.nextAttempt) || limited && !e.limiter.AllowN(now, 1) {
		e.env.stats.FetchesLimited.Add(1)
		return nil
	}
	return s.start(keyID)
}

// start begins a flight; the caller holds s.mu. Nil after close.
func (s *source) start(keyID string) *flight {
	e := s.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	f := &flight{keyID: keyID, done: make(chan struct{})}
	s.flight = f
	e.running.Add(1)
	go func() {
		defer e.running.Done()
		s.run(f)
	}()
	return f
}

// run fetches. It is the one place that changes the set: a failure leaves the old keys in use.
func (s *source) run(f *flight) {
	e := s.endpoint
	ctx, cancel := context.WithTimeout(e.ctx, e.cfg.FetchTimeout)
	defer cancel()
	set, err := e.env.download(ctx, s.url, &e.cfg)
	e.env.stats.Fetches.Add(1)
	if err != nil {
		e.env.stats.FetchFailures.Add(1)
	}
	s.land(f, set, err)
	if e.env.onFetch != nil {
		e.env.onFetch(s.url, err)
	}
}

func (s *source) land(f *flight, set *keySet, err error) {
	cfg := &s.endpoint.cfg
	now := s.endpoint.env.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	if err != nil {
		f.err = refuse(ReasonUnavailable)
		s.nextAttempt = now.Add(min(cfg.MinInterval<<min(s.failures, 10), cfg.MaxBackoff))
		s.failures++
		close(f.done)
		return
	}
	set.fetched = now
	s.set.Store(set)
	s.failures = 0
	s.nextAttempt = now.Add(cfg.MinInterval)
	s.remember(f.keyID, set, now)
	close(f.done)
}

// remember keeps the missing kids that are still missing and young, and adds the one this fetch was for.
func (s *source) remember(keyID string, set *keySet, now time.Time) {
	for id, until := range s.missing {
		if len(set.keys[id]) > 0 || !now.Before(until) {
			delete(s.missing, id)
		}
	}
	if keyID == "" || len(set.keys[keyID]) > 0 || len(s.missing) >= s.endpoint.cfg.MaxNegative {
		return
	}
	if s.missing == nil {
		s.missing = map[string]time.Time{}
	}
	s.missing[keyID] = now.Add(s.endpoint.cfg.NegativeTTL)
}
