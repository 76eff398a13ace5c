package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// jwk is the JWK of the public half of k.
func jwk(k crypto.Signer, kid string, extra map[string]any) map[string]any {
	enc := base64.RawURLEncoding.EncodeToString
	m := map[string]any{}
	switch p := k.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", enc(p.N.Bytes()), "AQAB"
	case *ecdsa.PublicKey:
		size := (p.Curve.Params().BitSize + 7) / 8
		m["kty"], m["crv"] = "EC", p.Curve.Params().Name
		//lint:ignore SA1019 the test writes a key out by its coordinates, which is what the standard prints
		m["x"], m["y"] = enc(p.X.FillBytes(make([]byte, size))), enc(p.Y.FillBytes(make([]byte, size)))
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", enc(p)
	}
	if kid != "" {
		m["kid"] = kid
	}
	for name, value := range extra {
		m[name] = value
	}
	return m
}

func keySetJSON(keys ...map[string]any) string {
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// keyServer is a JWKS endpoint that lives in a RoundTripper: no sockets, and every request can be held.
type keyServer struct {
	mu     sync.Mutex
	bodies map[string]string // by URL
	status int
	err    error
	hold   chan struct{} // if set, requests wait until it is closed
	asked  atomic.Int64
	began  chan string
}

func newKeyServer() *keyServer {
	return &keyServer{bodies: map[string]string{}, status: 200, began: make(chan string, 1000)}
}

func (s *keyServer) set(url string, keys ...map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies[url] = keySetJSON(keys...)
}

func (s *keyServer) fail(status int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.err = status, err
}

func (s *keyServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	s.began <- req.URL.String()
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	body, ok := s.bodies[req.URL.String()]
	status := s.status
	if !ok {
		status = 404
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock { c := &clock{}; c.at.Store(noon.UnixNano()); return c }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

const certs = "https://id.test/certs"

// jwksTokens are Tokens over the endpoint certs of s.
func jwksTokens(t testing.TB, s *keyServer, c *clock, edit func(*Config)) *Tokens {
	return newTokens(t, func(cfg *Config) {
		cfg.Token.JWKSEndpoint = certs
		if edit != nil {
			edit(cfg)
		}
	}, func(o *Options) { o.Transport, o.Now = s, c.now })
}

func rsToken(kid, payload string, k *rsa.PrivateKey) string {
	return mint(`{"alg":"RS256","kid":"`+kid+`"}`, payload, withRSA(k, crypto.SHA256))
}

func TestAKnownKeyIsVerifiedWithoutAFetchAndAnUnknownOneNeedsOne(t *testing.T) {
	k, s := keys(), newKeyServer()
	s.set(certs, jwk(k.rsa, "r", nil), jwk(k.p256, "e", nil), jwk(k.ed, "d", map[string]any{"alg": "EdDSA", "use": "sig"}))
	v := jwksTokens(t, s, newClock(), nil).Connection
	token := rsToken("r", `{"sub":"1"}`, k.rsa)
	if _, err := v.Verify(token); err != ErrNeedsFetch || s.asked.Load() != 0 {
		t.Fatalf("before the first fetch: %v, %d fetches", err, s.asked.Load())
	}
	if c, err := v.VerifyBlocking(t.Context(), token); err != nil || c.User != "1" {
		t.Fatalf("blocking: %v", err)
	}
	for why, token := range map[string]string{
		"RS256": token,
		"ES256": mint(`{"alg":"ES256","kid":"e"}`, `{}`, withECDSA(k.p256, crypto.SHA256)),
		"EdDSA": mint(`{"alg":"EdDSA","kid":"d"}`, `{}`, withEd(k.ed)),
	} {
		if _, err := v.Verify(token); err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
	if n, remembered := s.asked.Load(), len(v.ring.Load().endpoint.fixed.missing); n != 1 || remembered != 0 {
		t.Errorf("%d fetches, %d kids remembered as missing", n, remembered)
	}
	for why, token := range map[string]string{
		"another key under a known kid":        rsToken("r", `{}`, k.rsaOther),
		"the right key under another's kid":    rsToken("e", `{}`, k.rsa),
		"RS512 with a key of the set is right": mint(`{"alg":"RS512","kid":"d"}`, `{}`, withRSA(k.rsa, crypto.SHA512)),
	} {
		if _, err := v.Verify(token); reasonOf(err) != "signature" {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := v.Verify(hsToken(`{}`)); reasonOf(err) != "algorithm" {
		t.Errorf("HS256 where only a JWKS is configured: %v", err)
	}
	if _, err := v.Verify(mint(`{"alg":"RS256"}`, `{}`, withRSA(k.rsa, crypto.SHA256))); reasonOf(err) != "unknown_key" {
		t.Errorf("no kid, several keys: %v", err)
	}
}

func TestOneFetchServesAllWhoWait(t *testing.T) {
	k, s := keys(), newKeyServer()
	s.set(certs, jwk(k.rsa, "r", nil))
	s.hold = make(chan struct{})
	tokens := jwksTokens(t, s, newClock(), nil)
	token := rsToken("r", `{"sub":"1"}`, k.rsa)
	results := make(chan error, 50)
	for range cap(results) {
		go func() {
			_, err := tokens.Connection.VerifyBlocking(context.Background(), token)
			results <- err
		}()
	}
	<-s.began
	if _, err := tokens.Connection.Verify(token); err != ErrNeedsFetch {
		t.Errorf("while a fetch is under way: %v", err)
	}
	close(s.hold)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d fetches for %d clients", n, cap(results))
	}
}

func TestUnknownKeyIDsCostOneFetchPerInterval(t *testing.T) {
	k, s, c := keys(), newKeyServer(), newClock()
	s.set(certs, jwk(k.rsa, "r", nil))
	tokens := jwksTokens(t, s, c, func(cfg *Config) { cfg.JWKS.MaxNegative = 2 })
	v := tokens.Connection
	ask := func(kid string) string {
		_, err := v.VerifyBlocking(context.Background(), rsToken(kid, `{}`, k.rsaOther))
		return reasonOf(err)
	}
	if got := ask("x0"); got != "unknown_key" {
		t.Errorf("a kid that a fetch did not find: %s", got)
	}
	for range 3 {
		if got := ask("x0"); got != "unknown_key" {
			t.Errorf("the same again: %s", got)
		}
		if got := ask("x1"); got != "unavailable" {
			t.Errorf("another kid right behind is not decided: %s", got)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	c.advance(6 * time.Second)
	if got := ask("x0"); got != "unknown_key" {
		t.Errorf("still remembered: %s", got)
	}
	if got := ask("x1"); got != "unknown_key" || s.asked.Load() != 2 {
		t.Errorf("after the interval: %s, %d fetches", got, s.asked.Load())
	}
	for i := range 5 { // more than are remembered
		c.advance(6 * time.Second)
		ask(fmt.Sprintf("y%d", i))
	}
	src := v.ring.Load().endpoint.fixed
	if n := len(src.missing); n > 2 {
		t.Errorf("%d kids remembered, limit 2", n)
	}
	if err := src.fetch(t.Context(), "another"); reasonOf(err) != "unavailable" {
		t.Errorf("a fetch within the interval, by one who looked before it began: %v", err)
	}
	// A key that is published later is found although its kid was asked for before.
	c.advance(time.Minute)
	if got := ask("late"); got != "unknown_key" {
		t.Fatalf("late: %s", got)
	}
	s.set(certs, jwk(k.rsaOther, "late", nil))
	c.advance(10 * time.Second)
	if got := ask("late"); got != "unknown_key" {
		t.Errorf("remembered as missing: %s", got)
	}
	c.advance(21 * time.Second)
	if got := ask("late"); got != "accepted" {
		t.Errorf("after negative_ttl: %s", got)
	}
}

func TestAFailingEndpointIsAskedLessAndOldKeysServeOn(t *testing.T) {
	k, s, c := keys(), newKeyServer(), newClock()
	s.set(certs, jwk(k.rsa, "r", nil))
	fetched := make(chan error, 100)
	tokens := newTokens(t, func(cfg *Config) { cfg.Token.JWKSEndpoint = certs },
		func(o *Options) {
			o.Transport, o.Now, o.OnFetch = s, c.now, func(_ string, err error) { fetched <- err }
		})
	v := tokens.Connection
	if err := tokens.Prefetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-fetched
	token := rsToken("r", `{}`, k.rsa)
	s.fail(0, errors.New("network is down"))
	c.advance(11 * time.Minute)
	if _, err := v.Verify(token); err != nil {
		t.Errorf("an old key while it is refreshed: %v", err)
	}
	if err := <-fetched; err == nil {
		t.Error("the refresh should have failed")
	}
	for range 10 {
		if _, err := v.Verify(token); err != nil {
			t.Errorf("an old key after a failed refresh: %v", err)
		}
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("%d fetches right after a failure", n)
	}
	if _, err := v.VerifyBlocking(t.Context(), rsToken("new", `{}`, k.rsa)); reasonOf(err) != "unavailable" {
		t.Errorf("an unknown key while the endpoint is away: %v", err)
	}
	for i, wait := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		src := v.ring.Load().endpoint.fixed
		src.mu.Lock()
		if got := src.nextAttempt.Sub(c.now()); got != wait {
			t.Errorf("after failure %d the next attempt is in %v, want %v", i+1, got, wait)
		}
		src.mu.Unlock()
		c.advance(wait)
		_, _ = v.Verify(token)
		if err := <-fetched; err == nil {
			t.Error("the fetch should have failed")
		}
	}
	c.advance(25 * time.Hour)
	if _, err := v.Verify(token); err != ErrNeedsFetch {
		t.Errorf("beyond max_stale: %v", err)
	}
	if _, err := v.VerifyBlocking(t.Context(), token); reasonOf(err) != "unavailable" {
		t.Errorf("beyond max_stale: %v", err)
	}
	s.fail(200, nil)
	c.advance(time.Minute)
	if _, err := v.VerifyBlocking(t.Context(), token); err != nil {
		t.Errorf("the endpoint is back: %v", err)
	}
	if f := tokens.Stats().FetchFailures.Load(); f < 8 {
		t.Errorf("%d failures counted", f)
	}
}

func TestAWithdrawnKeyStopsServingWithTheNextRefresh(t *testing.T) {
	k, s, c := keys(), newKeyServer(), newClock()
	s.set(certs, jwk(k.rsa, "r", nil), jwk(k.ed, "d", nil))
	fetched := make(chan error, 10)
	tokens := newTokens(t, func(cfg *Config) { cfg.Token.JWKSEndpoint = certs },
		func(o *Options) {
			o.Transport, o.Now, o.OnFetch = s, c.now, func(_ string, err error) { fetched <- err }
		})
	if err := tokens.Prefetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-fetched
	s.set(certs, jwk(k.ed, "d", nil))
	c.advance(11 * time.Minute)
	token := rsToken("r", `{}`, k.rsa)
	if _, err := tokens.Connection.Verify(token); err != nil {
		t.Errorf("until the refresh has landed: %v", err)
	}
	if err := <-fetched; err != nil {
		t.Fatal(err)
	}
	c.advance(6 * time.Second)
	if _, err := tokens.Connection.VerifyBlocking(t.Context(), token); reasonOf(err) != "unknown_key" {
		t.Errorf("a withdrawn key: %v", err)
	}
}

func TestWaitingEndsWithTheContextAndWithClose(t *testing.T) {
	k, s := keys(), newKeyServer()
	s.set(certs, jwk(k.rsa, "r", nil))
	s.hold = make(chan struct{})
	var finished atomic.Int64
	tokens := newTokens(t, func(cfg *Config) { cfg.Token.JWKSEndpoint = certs },
		func(o *Options) { o.Transport, o.OnFetch = s, func(string, error) { finished.Add(1) } })
	token := rsToken("r", `{}`, k.rsa)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { _, err := tokens.Connection.VerifyBlocking(ctx, token); result <- err }()
	<-s.began
	cancel()
	if err := <-result; reasonOf(err) != "unavailable" || Code(Connect, err) != 100 {
		t.Errorf("cancelled: %v", err)
	}
	go func() { _, err := tokens.Connection.VerifyBlocking(context.Background(), token); result <- err }()
	tokens.Close() // cancels the held fetch
	if finished.Load() != 1 {
		t.Error("close did not wait for the fetch")
	}
	if err := <-result; reasonOf(err) != "unavailable" {
		t.Errorf("closed: %v", err)
	}
	asked := s.asked.Load()
	if _, err := tokens.Connection.VerifyBlocking(t.Context(), token); reasonOf(err) != "unavailable" || s.asked.Load() != asked {
		t.Errorf("after close: %v, %d more fetches", err, s.asked.Load()-asked)
	}
}

func TestAReloadKeepsFetchedKeysAndEndsUnusedEndpoints(t *testing.T) {
	k, s, c := keys(), newKeyServer(), newClock()
	s.set(certs, jwk(k.rsa, "r", nil))
	tokens := jwksTokens(t, s, c, nil)
	if err := tokens.Prefetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := DefaultConfig()
	next.Token.JWKSEndpoint, next.Token.Issuer = certs, "us"
	if err := tokens.Reload(next); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Connection.Verify(rsToken("r", `{"iss":"us"}`, k.rsa)); err != nil {
		t.Errorf("the keys were forgotten: %v", err)
	}
	old := tokens.Connection.ring.Load().endpoint
	next.Token.JWKSEndpoint = "https://id.test/other"
	if err := tokens.Reload(next); err != nil {
		t.Fatal(err)
	}
	if !old.closed || len(tokens.endpoints) != 1 || tokens.Connection.ring.Load().endpoint == old {
		t.Error("the endpoint that is not configured any more lives on")
	}
	if tokens.Connection.ring.Load().endpoint != tokens.Subscription.ring.Load().endpoint {
		t.Error("both kinds of token fetch the same endpoint twice")
	}
	if _, err := tokens.Connection.Verify(rsToken("r", `{"iss":"us"}`, k.rsa)); err != ErrNeedsFetch {
		t.Errorf("keys of the old endpoint still serve: %v", err)
	}
}

func TestStaticKeysServeBesideAKeySet(t *testing.T) {
	k, s := keys(), newKeyServer()
	s.set(certs, jwk(k.ed, "d", nil))
	tokens := jwksTokens(t, s, newClock(), func(cfg *Config) { withHMAC(cfg); cfg.Token.RSAPublicKey = publicPEM(t, k.rsa) })
	v := tokens.Connection
	for why, token := range map[string]string{"HS256": hsToken(`{}`), "static RSA with a kid of its own": rsToken("static", `{}`, k.rsa)} {
		if _, err := v.Verify(token); err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
	if s.asked.Load() != 0 {
		t.Error("static keys need no fetch")
	}
	if _, err := v.VerifyBlocking(t.Context(), mint(`{"alg":"EdDSA"}`, `{}`, withEd(k.ed))); err != nil {
		t.Errorf("no kid, and one key in the set: %v", err)
	}
	if _, err := v.VerifyBlocking(t.Context(), rsToken("d", `{}`, k.rsa)); reasonOf(err) != "signature" {
		t.Errorf("a kid the set knows decides alone: %v", err)
	}
}

func TestAKeyOfASetServesOnlyItsAlg(t *testing.T) {
	k, s := keys(), newKeyServer()
	s.set(certs, jwk(k.rsa, "r", map[string]any{"alg": "RS256"}))
	v := jwksTokens(t, s, newClock(), nil).Connection
	if _, err := v.VerifyBlocking(t.Context(), rsToken("r", `{}`, k.rsa)); err != nil {
		t.Errorf("RS256: %v", err)
	}
	if _, err := v.Verify(mint(`{"alg":"RS512","kid":"r"}`, `{}`, withRSA(k.rsa, crypto.SHA512))); reasonOf(err) != "signature" {
		t.Errorf("RS512 with a key for RS256: %v", err)
	}
}

func TestSlowKeysAreKeptOffPollers(t *testing.T) {
	k, s := keys(), newKeyServer()
	s.set(certs, jwk(k.p384, "e", nil), jwk(k.rsa, "r", nil))
	tokens := jwksTokens(t, s, newClock(), func(cfg *Config) { cfg.Token.ECDSAPublicKey = publicPEM(t, k.p521) })
	if err := tokens.Prefetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	for why, token := range map[string]string{
		"of the set":     mint(`{"alg":"ES384","kid":"e"}`, `{}`, withECDSA(k.p384, crypto.SHA384)),
		"static":         mint(`{"alg":"ES512"}`, `{}`, withECDSA(k.p521, crypto.SHA512)),
		"static, forged": mint(`{"alg":"ES512"}`, `{}`, func(string) []byte { return make([]byte, 132) }),
	} {
		if _, err := tokens.Connection.Verify(token); err != ErrNeedsFetch {
			t.Errorf("%s, on a poller: %v", why, err)
		}
		if _, err := tokens.Connection.VerifyBlocking(t.Context(), token); (err != nil) != strings.Contains(why, "forged") {
			t.Errorf("%s: %v", why, err)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d fetches for keys that are known", n)
	}
	if _, err := tokens.Connection.Verify(rsToken("r", `{}`, k.rsa)); err != nil {
		t.Errorf("a fast key beside slow ones: %v", err)
	}
	if notes := strings.Join(tokens.Notes(), "\n"); !strings.Contains(notes, "ecdsa_public_key: is slow") {
		t.Errorf("slow keys are not noted: %q", notes)
	}
}
