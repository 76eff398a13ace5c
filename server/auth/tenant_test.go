package auth

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestEachTenantHasItsOwnKeys(t *testing.T) {
	k, s := keys(), newKeyServer()
	const base = "https://id.test/realms/"
	s.set(base+"a/certs", jwk(k.rsa, "default", nil))
	s.set(base+"b/certs", jwk(k.rsaOther, "default", nil))
	tokens := jwksTokens(t, s, newClock(), func(cfg *Config) {
		cfg.Token.JWKSEndpoint = base + "{{realm}}/certs"
		cfg.Token.IssuerRegex = `https://id\.test/(?P<realm>.*)`
	})
	v := tokens.Connection
	verify := func(realm, kid string, key *rsa.PrivateKey) string {
		_, err := v.VerifyBlocking(t.Context(), rsToken(kid, `{"iss":"https://id.test/`+realm+`"}`, key))
		return reasonOf(err)
	}
	if got := verify("a", "default", k.rsa) + verify("b", "default", k.rsaOther); got != "acceptedaccepted" {
		t.Errorf("own keys: %s", got)
	}
	if got := verify("b", "default", k.rsa); got != "signature" {
		t.Errorf("tenant a's key opened tenant b: %s", got)
	}
	asked := s.asked.Load()
	for _, realm := range []string{"..", ".", "", "../b", "a/certs?x=", "a%2fb", "a#", "a@evil", `a\\b`, "a b", "a\\nb", strings.Repeat("a", 129), "ä", "{{realm}}"} {
		if got := verify(realm, "default", k.rsa); got != "issuer" {
			t.Errorf("realm %q: %s", realm, got)
		}
	}
	for why, payload := range map[string]string{"no iss": `{}`, "another iss": `{"iss":"https://evil/a"}`, "iss is a number": `{"iss":1}`, "no object": `[]`, "empty": ``} {
		if _, err := v.VerifyBlocking(t.Context(), rsToken("default", payload, k.rsa)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if n := s.asked.Load(); n != asked {
		t.Errorf("refused issuers caused %d fetches", n-asked)
	}
	if got := verify("nobody", "default", k.rsa); got != "unavailable" {
		t.Errorf("a tenant that does not exist: %s", got)
	}
}

func TestATenantMayBeTheFirstLabelOfTheHostAndNoMore(t *testing.T) {
	k, s := keys(), newKeyServer()
	s.set("https://a-1.id.test/certs", jwk(k.rsa, "r", nil))
	v := jwksTokens(t, s, newClock(), func(cfg *Config) {
		cfg.Token.JWKSEndpoint, cfg.Token.IssuerRegex = "https://{{t}}.id.test/certs", `(?P<t>.*)`
	}).Connection
	for tenant, want := range map[string]string{
		"a-1": "accepted", "a.b": "issuer", "-a": "issuer", "a-": "issuer", "a_b": "issuer", "a~": "issuer", "evil.test/": "issuer", "": "issuer", strings.Repeat("a", 64): "issuer",
	} {
		if _, err := v.VerifyBlocking(t.Context(), rsToken("r", `{"iss":"`+tenant+`"}`, k.rsa)); reasonOf(err) != want {
			t.Errorf("%q: %v", tenant, err)
		}
	}
}

func TestInventedTenantsAreLimitedAndPushNoRealOneOut(t *testing.T) {
	k, s, c := keys(), newKeyServer(), newClock()
	const base = "https://id.test/"
	s.set(base+"real", jwk(k.rsa, "r", nil))
	tokens := jwksTokens(t, s, c, func(cfg *Config) {
		cfg.Token.JWKSEndpoint = base + "{{t}}"
		cfg.Token.AudienceRegex = `(?P<t>[a-z0-9]+)`
		cfg.JWKS.MaxEndpoints, cfg.JWKS.FetchRate, cfg.JWKS.FetchBurst = 4, 1, 3
	})
	v := tokens.Connection
	real := rsToken("r", `{"aud":["UPPER","real"]}`, k.rsa)
	if _, err := v.VerifyBlocking(t.Context(), real); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		_, err := v.VerifyBlocking(t.Context(), rsToken("r", fmt.Sprintf(`{"aud":"fake%d"}`, i), k.rsaOther))
		if reasonOf(err) != "unavailable" {
			t.Fatalf("fake tenant: %v", err)
		}
	}
	if n := s.asked.Load(); n != 3 {
		t.Errorf("%d fetches, burst is 3", n)
	}
	e := v.ring.Load().endpoint
	if len(e.sources) > 4 {
		t.Errorf("%d sources kept, limit 4", len(e.sources))
	}
	if _, err := v.Verify(real); err != nil {
		t.Errorf("the real tenant was pushed out: %v", err)
	}
	if tokens.Stats().FetchesLimited.Load() == 0 {
		t.Error("limited fetches are not counted")
	}
}
