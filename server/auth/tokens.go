package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"throng/server/channel"
)

// Options are what Tokens needs besides the configuration. The zero value is right for production.
type Options struct {
	// Now is the wall clock, for tests. Default time.Now.
	Now func() time.Time
	// Transport carries JWKS fetches. Default: one of its own, honouring the proxy environment variables.
	Transport http.RoundTripper
	// OnFetch is told of every finished fetch, for logging; err is nil on success. It is called by the fetching goroutine
	// and must not call back into this package. The owner limits its rate.
	OnFetch func(url string, err error)
	// Revocations are honoured if given.
	Revocations *Revocations
	// Guests may connect, while enabled, beside those with tokens of configured keys. Nil: nobody.
	Guests *Guests
}

// Tokens verifies both kinds of tokens and owns what they share: keys, JWKS sources, counters.
type Tokens struct {
	// Connection and Subscription never change; their keys do.
	Connection   *Verifier
	Subscription *Verifier

	stats *Stats
	env   *fetchEnv

	mu        sync.Mutex // guards what follows; held by Reload and Close only, never while verifying
	endpoints map[endpointID]*endpoint
	notes     []string
}

// endpointID says when two key sets may share an endpoint, also across a reload.
type endpointID struct {
	url string
	cfg JWKSConfig
}

// NewTokens checks cfg and compiles its keys. It fetches nothing. The error joins one *channel.FieldError for each thing
// wrong; none of them quotes a secret.
func NewTokens(cfg Config, o Options) (*Tokens, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Revocations == nil {
		o.Revocations = NewRevocations(0)
	}
	stats := &Stats{}
	verifier := func(kind Kind) *Verifier {
		return &Verifier{kind: kind, now: o.Now, revoked: o.Revocations, stats: stats}
	}
	t := &Tokens{
		Connection:   verifier(Connection),
		Subscription: verifier(Subscription),
		stats:        stats,
		env:          &fetchEnv{now: o.Now, download: newDownload(o.Transport, stats), onFetch: o.OnFetch, stats: stats},
	}
	t.Connection.guests = o.Guests
	if err := t.load(cfg); err != nil {
		return nil, err
	}
	return t, nil
}

// Stats returns the live counters.
func (t *Tokens) Stats() *Stats { return t.stats }

// Notes returns what the operator should know of the keys in use and is no error, one line each.
func (t *Tokens) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.notes...)
}

// Reload replaces all keys and rules at once, or none: on an error the old ones stay. Verifications under way end with the
// keys they began with. Keys fetched from endpoints that stay configured are kept. It may wait for fetches to be
// cancelled; not for pollers.
func (t *Tokens) Reload(cfg Config) error {
	if err := t.load(cfg); err != nil {
		return err
	}
	t.stats.Reloads.Add(1)
	return nil
}

// Prefetch fetches the keys of endpoints that are not templates, so that the first clients need not wait. The error is for
// the log; clients that come with a token later cause another try.
func (t *Tokens) Prefetch(ctx context.Context) error {
	t.mu.Lock()
	var sources []*source
	for _, e := range t.endpoints {
		if e.fixed != nil && e.fixed.set.Load() == nil {
			sources = append(sources, e.fixed)
		}
	}
	t.mu.Unlock()
	var errs []error
	for _, s := range sources {
		if err := s.fetch(ctx, ""); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.url, err))
		}
	}
	return errors.Join(errs...)
}

// Close ends fetches and waits for them. Tokens whose keys are known can still be verified.
func (t *Tokens) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.endpoints {
		e.close()
	}
}

func (t *Tokens) load(cfg Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	connection, subscription, notes, err := compileConfig(cfg)
	if err != nil {
		return err
	}
	kept := map[endpointID]*endpoint{}
	attach := func(k *keyring, url string) {
		if url == "" {
			return
		}
		id := endpointID{url, cfg.JWKS}
		if kept[id] == nil {
			kept[id] = t.endpoints[id]
		}
		if kept[id] == nil {
			template, _ := parseTemplate(url) // checked by compileConfig
			kept[id] = newEndpoint(template, cfg.JWKS, t.env)
		}
		k.endpoint = kept[id]
	}
	attach(connection, cfg.Token.JWKSEndpoint)
	if cfg.SubscriptionToken.Enabled {
		attach(subscription, cfg.SubscriptionToken.JWKSEndpoint)
	} else {
		attach(subscription, cfg.Token.JWKSEndpoint)
	}
	t.Connection.ring.Store(connection)
	t.Subscription.ring.Store(subscription)
	for id, e := range t.endpoints {
		if kept[id] == nil {
			e.close()
		}
	}
	t.endpoints, t.notes = kept, notes
	return nil
}

// compileConfig checks the whole configuration and compiles both key sets.
func compileConfig(cfg Config) (connection, subscription *keyring, notes []string, err error) {
	errs := []error{checkBounds(cfg)}
	compile := func(field string, keys KeyConfig) *keyring {
		c := &keyCompiler{field: field}
		k := c.compile(keys)
		c.checkEndpoint(k, keys.JWKSEndpoint)
		k.maxBytes, k.leeway, k.allowAnonymous = cfg.MaxTokenBytes, cfg.ExpiryLeeway, !cfg.DisallowAnonymous
		errs = append(errs, c.err())
		notes = append(notes, c.notes...)
		return k
	}
	connection = compile("token", cfg.Token)
	keys := cfg.SubscriptionToken.KeyConfig
	switch {
	case cfg.SubscriptionToken.Enabled:
		subscription = compile("subscription_token", keys)
		if !subscription.configured() {
			errs = append(errs, &channel.FieldError{Field: "subscription_token.enabled", Value: "true", Fix: "needs a key of its own: set one under subscription_token, or drop enabled to use those under token"})
		}
	case keys != KeyConfig{}:
		errs = append(errs, &channel.FieldError{Field: "subscription_token.enabled", Value: "false", Fix: "the keys below it would not be used: set it to true, or drop them"})
		fallthrough
	default:
		copied := *connection
		subscription = &copied
	}
	return connection, subscription, notes, errors.Join(errs...)
}

func (c *keyCompiler) checkEndpoint(k *keyring, url string) {
	if url == "" {
		return
	}
	const name = "jwks_public_endpoint"
	template, problem := parseTemplate(url)
	if problem != "" {
		c.fail(name, url, problem)
		return
	}
	missing, double := template.missingGroups(k)
	if len(missing) > 0 {
		c.fail(name, url, "no named group of issuer_regex or audience_regex fills "+strings.Join(missing, ", ")+": write (?P<"+missing[0]+">...) there")
	}
	if len(double) > 0 {
		c.fail(name, url, "both issuer_regex and audience_regex have a group "+strings.Join(double, ", ")+": rename one")
	}
	if strings.HasPrefix(url, "http://") {
		c.note(name, "is fetched without encryption: who can change the answer can make tokens; use https outside one machine")
	}
	if k.issuer.on() || k.audience.on() {
		return
	}
	c.note(name, "accepts every token its keys have signed, also those made for other services: set issuer and audience")
}

func checkBounds(cfg Config) error {
	var errs []error
	j := cfg.JWKS
	for _, b := range []struct {
		field string
		value any
		ok    bool
		fix   string
	}{
		{"max_token_bytes", cfg.MaxTokenBytes, cfg.MaxTokenBytes >= 256 && cfg.MaxTokenBytes <= 1<<20, "must be 256 to 1048576 bytes; 32768 is usual"},
		{"token_expiry_leeway", cfg.ExpiryLeeway, cfg.ExpiryLeeway >= 0 && cfg.ExpiryLeeway <= time.Hour && cfg.ExpiryLeeway%time.Second == 0, "must be whole seconds from 0 to 1h; 30s is usual"},
		{"jwks.fetch_timeout", j.FetchTimeout, j.FetchTimeout > 0 && j.FetchTimeout <= time.Minute, "must be above 0 and at most 1m; 3s is usual, clients wait 5s"},
		{"jwks.max_body_bytes", j.MaxBodyBytes, j.MaxBodyBytes > 0 && j.MaxBodyBytes <= 64<<20, "must be 1 to 67108864 bytes; 262144 is usual"},
		{"jwks.max_keys", j.MaxKeys, j.MaxKeys > 0, "must be at least 1; 100 is usual"},
		{"jwks.refresh_after", j.RefreshAfter, j.RefreshAfter > 0, "must be above 0; 10m is usual"},
		{"jwks.max_stale", j.MaxStale, j.MaxStale >= j.RefreshAfter, "must not be shorter than jwks.refresh_after; 24h is usual"},
		{"jwks.min_interval", j.MinInterval, j.MinInterval > 0 && j.MinInterval <= time.Hour, "must be above 0 and at most 1h; 5s is usual"},
		{"jwks.max_backoff", j.MaxBackoff, j.MaxBackoff >= j.MinInterval, "must not be shorter than jwks.min_interval; 1m is usual"},
		{"jwks.negative_ttl", j.NegativeTTL, j.NegativeTTL >= 0, "must not be negative; 30s is usual"},
		{"jwks.max_negative", j.MaxNegative, j.MaxNegative >= 0, "must not be negative; 1000 is usual"},
		{"jwks.max_endpoints", j.MaxEndpoints, j.MaxEndpoints > 0, "must be at least 1; 1000 is usual"},
		{"jwks.fetch_rate", j.FetchRate, j.FetchRate > 0, "must be above 0 fetches per second; 5 is usual"},
		{"jwks.fetch_burst", j.FetchBurst, j.FetchBurst > 0, "must be at least 1; 20 is usual"},
	} {
		if !b.ok {
			errs = append(errs, &channel.FieldError{Field: b.field, Value: fmt.Sprint(b.value), Fix: b.fix})
		}
	}
	return errors.Join(errs...)
}
