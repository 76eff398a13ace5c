package auth

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestKeysThatDoNotBelongInAPublicSetAreSkipped(t *testing.T) {
	k := keys()
	for why, bad := range map[string]map[string]any{
		"symmetric":             {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYw", "kid": "bad"},
		"for encryption":        jwk(k.rsa, "bad", map[string]any{"use": "enc"}),
		"for signing only":      jwk(k.rsa, "bad", map[string]any{"key_ops": []string{"sign"}}),
		"alg of another kind":   jwk(k.rsa, "bad", map[string]any{"alg": "ES256"}),
		"alg not served":        jwk(k.rsa, "bad", map[string]any{"alg": "PS256"}),
		"alg none":              jwk(k.rsa, "bad", map[string]any{"alg": "none"}),
		"point off the curve":   {"kty": "EC", "crv": "P-256", "x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43), "kid": "bad"},
		"P-256 named P-384":     jwk(k.p256, "bad", map[string]any{"crv": "P-384"}),
		"short RSA":             {"kty": "RSA", "n": strings.Repeat("_", 170), "e": "AQAB", "kid": "bad"},
		"huge RSA":              {"kty": "RSA", "n": strings.Repeat("_", 10000), "e": "AQAB", "kid": "bad"},
		"key agreement curve":   {"kty": "OKP", "crv": "X25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "bad"},
		"unknown kind":          {"kty": "AKP", "kid": "bad"},
		"kid of another type":   {"kty": "RSA", "kid": 5},
		"kid beyond all reason": jwk(k.rsa, strings.Repeat("k", 1000), nil),
	} {
		set, skipped, err := parseKeySet([]byte(keySetJSON(bad, jwk(k.ed, "good", nil))), 10)
		if err != nil || skipped != 1 || len(set.keys) != 1 || len(set.keys["good"]) != 1 || set.lone == nil {
			t.Errorf("%s: skipped %d, kept %v, %v", why, skipped, set, err)
		}
	}
	for why, body := range map[string]string{
		"an error page": "<html>busy</html>", "another object": `{"error":"x"}`, "null": `null`, "keys is null": `{"keys":null}`, "too many": keySetJSON(jwk(k.ed, "1", nil), jwk(k.ed, "2", nil)), "empty": "",
	} {
		if set, _, err := parseKeySet([]byte(body), 1); err == nil {
			t.Errorf("%s was taken for a key set: %+v", why, set)
		}
	}
	if set, _, err := parseKeySet([]byte(`{"keys":[]}`), 1); err != nil || len(set.keys) != 0 || set.lone != nil {
		t.Errorf("an empty set is a set: %v", err)
	}
}

// endless is a body without end that counts what is read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return copy(p, strings.Repeat(" ", len(p))), nil
}
func (e *endless) Close() error { return nil }
func (e *endless) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: e, Request: req}, nil
}

func TestAnEndlessAnswerIsCutOff(t *testing.T) {
	e := &endless{}
	tokens := newTokens(t, func(cfg *Config) { cfg.Token.JWKSEndpoint, cfg.JWKS.MaxBodyBytes = certs, 1000 }, func(o *Options) { o.Transport = e })
	if err := tokens.Prefetch(t.Context()); err == nil || e.read.Load() > 1001 {
		t.Errorf("%d bytes read, %v", e.read.Load(), err)
	}
}

// Over real sockets: the transport the package makes itself, its limits, and its redirects.
func TestFetchOverHTTPIsBounded(t *testing.T) {
	k := keys()
	body := keySetJSON(jwk(k.rsa, "r", nil))
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/x", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = io.WriteString(w, body) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body+strings.Repeat(" ", 300<<10))
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]bool{"/ok": true, "/moved": true, "/away": false, "/loop": false, "/error": false, "/big": false, "/hang": false, "/none": false} {
		var said error
		cfg := DefaultConfig()
		cfg.Token.JWKSEndpoint = server.URL + path
		if path == "/hang" {
			cfg.JWKS.FetchTimeout = 50 * time.Millisecond
		}
		tokens, err := NewTokens(cfg, Options{OnFetch: func(_ string, err error) { said = err }})
		if err != nil {
			t.Fatal(err)
		}
		_, err = tokens.Connection.VerifyBlocking(t.Context(), rsToken("r", `{}`, k.rsa))
		tokens.Close()
		if (err == nil) != want || (said == nil) != want {
			t.Errorf("%s: %v (fetch: %v)", path, err, said)
		}
	}
}

func TestRedirectsStayEncrypted(t *testing.T) {
	request := func(url string) *http.Request {
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for to, ok := range map[string]bool{"https://a.test/x": true, "http://a.test/x": false, "https://b.test/x": false, "https://a.test:8443/x": false} {
		if err := checkRedirect(request(to), []*http.Request{request("https://a.test/")}); (err == nil) != ok {
			t.Errorf("to %s: %v", to, err)
		}
	}
}
