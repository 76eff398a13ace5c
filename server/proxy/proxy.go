package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"sync"
	"time"

	"throng/server/channel"
)

// Proxies are all configured endpoints. Immutable; a reload makes new ones and closes these.
type Proxies struct {
	cfg     Config
	deps    Deps
	client  *http.Client
	direct  [numHooks]*endpoint
	named   map[string]*endpoint
	service *pool
	count   counters

	life    context.Context // ends when calls under way are to be cut
	cut     context.CancelFunc
	headers []string
}

// Deps are what Proxies needs of its node.
type Deps struct {
	// Service calls NATS services; nil: there are none, and rpc with a Subject is not available.
	Service Service
	// Observe, if set, is told how long each call took, waiting in the queue not included. Any goroutine; must not block.
	Observe func(Hook, time.Duration)
	// Log takes failures, as warnings; the logger's own rate limit applies. Default slog.Default().
	Log *slog.Logger
}

// New checks cfg and makes the endpoints ready. It asks nobody yet. Errors: those of Config.Check.
func New(cfg Config, deps Deps) (*Proxies, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	deps.Log = cmp.Or(deps.Log, slog.Default())
	if deps.Observe == nil {
		deps.Observe = func(Hook, time.Duration) {}
	}
	p := &Proxies{
		cfg: cfg, deps: deps, client: newClient(cfg.mostConcurrent()), named: make(map[string]*endpoint),
		service: newPool(cfg.Service.MaxConcurrent, cfg.Service.QueueLength, cfg.Service.QueueTimeout),
	}
	p.life, p.cut = context.WithCancel(context.Background())
	keep := map[string]bool{}
	for hook, e := range cfg.byHook() {
		if e != nil {
			p.direct[hook] = p.newEndpoint(*e, keep)
		}
	}
	for _, n := range cfg.Named {
		p.named[n.Name] = p.newEndpoint(n.EndpointConfig, keep)
	}
	p.headers = slices.Sorted(maps.Keys(keep))
	return p, nil
}

func (p *Proxies) newEndpoint(cfg EndpointConfig, keep map[string]bool) *endpoint {
	cfg.setDefaults()
	e := &endpoint{
		cfg: cfg, client: p.client, pool: newPool(cfg.MaxConcurrent, cfg.QueueLength, cfg.QueueTimeout),
		forward: make(map[string]bool), emulated: make(map[string]bool), static: make(http.Header),
	}
	for _, h := range cfg.HTTPHeaders {
		e.forward[textproto.CanonicalMIMEHeaderKey(h)] = true
		keep[textproto.CanonicalMIMEHeaderKey(h)] = true
	}
	for _, h := range cfg.EmulatedHeaders {
		e.emulated[textproto.CanonicalMIMEHeaderKey(h)] = true
	}
	for h, v := range cfg.StaticHeaders {
		e.static[textproto.CanonicalMIMEHeaderKey(h)] = []string{string(v)}
	}
	return e
}

// Names are what rules may call a proxy: channel.Environment.ProxyNames. DefaultName is among them when any of the four
// endpoints it can mean is set.
func (p *Proxies) Names() []string {
	names := slices.Sorted(maps.Keys(p.named))
	for _, hook := range []Hook{Subscribe, SubRefresh, Publish, RPC} {
		if p.direct[hook] != nil {
			return append(names, DefaultName)
		}
	}
	return names
}

// Has says whether a hook can be asked by that name; for connect and refresh the name does not count.
func (p *Proxies) Has(hook Hook, name string) bool { return p.find(hook, name) != nil }

// Headers are the names, in canonical form, of the handshake headers that some endpoint wants: what a session must keep.
func (p *Proxies) Headers() []string { return p.headers }

// Emulates says whether any endpoint wants a client's emulated headers: whether a session must keep them.
func (p *Proxies) Emulates() bool {
	for _, e := range p.endpoints() {
		if len(e.emulated) > 0 {
			return true
		}
	}
	return false
}

func (p *Proxies) endpoints() []*endpoint {
	all := slices.Collect(maps.Values(p.named))
	for _, e := range p.direct {
		if e != nil {
			all = append(all, e)
		}
	}
	return all
}

func (p *Proxies) pools() []*pool {
	all := []*pool{p.service}
	for _, e := range p.endpoints() {
		all = append(all, e.pool)
	}
	return all
}

func (p *Proxies) find(hook Hook, name string) *endpoint {
	if hook == Connect || hook == Refresh || name == DefaultName {
		return p.direct[hook]
	}
	return p.named[name]
}

var errNoEndpoint = errors.New("no endpoint of this name for this hook")

// Do asks and waits: at most the endpoint's timeout, or until ctx ends. It takes no place in a queue. The error is
// Result.Err; the Result is never nil. Not for pollers.
func (p *Proxies) Do(ctx context.Context, hook Hook, q *Request) (*Result, error) {
	began := time.Now()
	var r *Result
	switch e := p.find(hook, q.Proxy); {
	case ctx.Err() != nil:
		r = failed(unheard(p.life, ctx.Err()), ctx.Err())
	case hook == RPC && q.Subject != "":
		r = p.callService(ctx, q)
	case e == nil:
		r = failed(ReasonNoService, errNoEndpoint)
	default:
		r = e.call(ctx, hook, q)
	}
	p.deps.Observe(hook, time.Since(began))
	return p.finish(hook, q, r), r.Err
}

// finish completes and counts a result.
func (p *Proxies) finish(hook Hook, q *Request, r *Result) *Result {
	if hook == RPC && r.Outcome == Accepted && q.Protocol == "json" && len(r.Data) > 0 {
		var line bytes.Buffer
		if err := json.Compact(&line, r.Data); err != nil {
			r = failed(ReasonMalformed, fmt.Errorf("answer to a JSON client is not JSON: %w", err))
		} else {
			r.Data = line.Bytes()
		}
	}
	r = p.complete(hook, r)
	p.count.done[hook][r.Reason].Add(1)
	if r.Err != nil && r.Reason != ReasonBusy && r.Reason != ReasonBadRequest {
		p.deps.Log.Warn("proxy call failed", "hook", hook.String(), "proxy", q.Proxy, "reason", r.Reason.String(), "error", r.Err)
	}
	return r
}

// complete tells when a refresh is to be tried again.
func (p *Proxies) complete(hook Hook, r *Result) *Result {
	if r.Outcome == Failed && (hook == Refresh || hook == SubRefresh) {
		r.RetryAfter = p.cfg.RefreshRetry
	}
	return r
}

var (
	errBusy         = errors.New("queue is full")
	errQueueTimeout = errors.New("waited too long in the queue")
	errClosed       = errors.New("node is stopping")
)

// Call asks without waiting: done gets the result later, from another goroutine, exactly once; unless the client is Gone
// by the time its turn comes: then never. It never blocks and may be called from pollers. Where a queue is full or the node
// is stopping done is called at once, from a goroutine of its own all the same.
func (p *Proxies) Call(hook Hook, q *Request, done func(*Result)) {
	p.call(hook, q, func() *Result {
		r, _ := p.Do(p.life, hook, q)
		return r
	}, done)
}

func (p *Proxies) call(hook Hook, q *Request, run func() *Result, done func(*Result)) {
	pool := p.service
	if hook != RPC || q.Subject == "" {
		e := p.find(hook, q.Proxy)
		if e == nil {
			p.service.aside(func() { done(p.finish(hook, q, failed(ReasonNoService, errNoEndpoint))) })
			return
		}
		pool = e.pool
	}
	err := pool.submit(func(late bool) {
		switch {
		case q.Gone != nil && q.Gone():
			p.count.done[hook][ReasonGone].Add(1)
		case late:
			done(p.finish(hook, q, failed(ReasonQueueTimeout, errQueueTimeout)))
		default:
			done(run())
		}
	})
	switch {
	case err == nil:
	case errors.Is(err, errClosed):
		pool.aside(func() { done(p.finish(hook, q, failed(ReasonClosed, err))) })
	default:
		pool.aside(func() { done(p.finish(hook, q, failed(ReasonBusy, err))) })
	}
}

// Ask is Call for who may wait: it blocks until the result is there, within the endpoint's bounds and behind its queue, or
// until ctx ends; q's bytes must not change even then. The error is Result.Err; the Result is never nil. For request pools; not for pollers.
func (p *Proxies) Ask(ctx context.Context, hook Hook, q *Request) (*Result, error) {
	answer := make(chan *Result, 1)
	own := *q
	own.Gone = nil // ctx tells
	p.call(hook, &own, func() *Result {
		within, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(p.life, cancel)()
		r, _ := p.Do(within, hook, &own)
		return r
	}, func(r *Result) { answer <- r })
	select {
	case r := <-answer:
		return r, r.Err
	case <-ctx.Done():
		// The call ends by itself: queued, it finds ctx over; under way, it is cut.
		r := p.complete(hook, failed(ReasonTimeout, ctx.Err()))
		return r, r.Err
	}
}

// Close refuses new calls, waits for those that were accepted, and cuts them when ctx ends. It returns when the last done
// has. Idempotent.
func (p *Proxies) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, p.cut)
	defer stop()
	var wg sync.WaitGroup
	for _, pool := range p.pools() {
		wg.Go(pool.close)
	}
	wg.Wait()
	p.cut()
	p.client.CloseIdleConnections()
}

// Service calls NATS services: package broker's control plane, behind an adapter of main.
type Service interface {
	// Request blocks until the service has answered or ctx is over. header values travel unchanged or not at all.
	// Errors: ErrNoService, ErrUnsendable, *ServiceError, the context's, or anything else for a broken link.
	Request(ctx context.Context, subject string, data []byte, header map[string]string) ([]byte, error)
}

// What a Service may say, beside other errors.
var (
	// ErrNoService: nobody listens on the subject.
	ErrNoService = errors.New("no service listens")
	// ErrUnsendable: the data or a header cannot be sent: too big, or it would arrive as something else.
	ErrUnsendable = errors.New("request cannot be sent")
)

// ServiceError is an error a service answered with.
type ServiceError struct {
	Code int // as the service gave it; 0 if that was no number
	Text string
}

func (e *ServiceError) Error() string { return fmt.Sprintf("service error %d: %s", e.Code, e.Text) }

// Headers of a service request.
const (
	UserHeader   = "Throng-User"
	ClientHeader = "Throng-Client"
)

func (p *Proxies) callService(ctx context.Context, q *Request) *Result {
	if p.deps.Service == nil {
		return failed(ReasonNoService, ErrNoService)
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Service.Timeout)
	defer cancel()
	data, err := p.deps.Service.Request(ctx, q.Subject, q.Data, map[string]string{UserHeader: q.User, ClientHeader: q.Client})
	if err == nil {
		return &Result{Outcome: Accepted, Data: data}
	}
	if s, ok := errors.AsType[*ServiceError](err); ok {
		body := ErrorBody{Code: int64(s.Code), Message: s.Text}
		if body.valid() {
			return body.result()
		}
		return failed(ReasonMalformed, err)
	}
	switch {
	case errors.Is(err, ErrNoService):
		r := failed(ReasonNoService, err)
		r.Code, r.Message = channel.MethodNotFound, channel.MethodNotFound.String() // the method is the client's choice
		return r
	case errors.Is(err, ErrUnsendable):
		return failed(ReasonBadRequest, err)
	case p.life.Err() != nil:
		return failed(ReasonClosed, err)
	case errors.Is(err, context.DeadlineExceeded):
		return failed(ReasonTimeout, err)
	}
	return failed(ReasonUnreachable, err)
}
