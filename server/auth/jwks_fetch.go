package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/MicahParks/jwkset"
)

// newDownload returns the function that fetches a JWKS over transport (nil = one of its own, without idle connections: a
// fetch is rare).
func newDownload(transport http.RoundTripper, stats *Stats) func(context.Context, string, *JWKSConfig) (*keySet, error) {
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    3 * time.Second, // the whole fetch has a deadline of its own
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	client := &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	return func(ctx context.Context, url string, cfg *JWKSConfig) (*keySet, error) {
		body, err := get(ctx, client, url, cfg.MaxBodyBytes)
		if err != nil {
			return nil, err
		}
		set, skipped, err := parseKeySet(body, cfg.MaxKeys)
		stats.KeysSkipped.Add(uint64(skipped))
		return set, err
	}
}

// checkRedirect keeps a fetch on the host the operator named, and encrypted where that was asked for.
func checkRedirect(req *http.Request, via []*http.Request) error {
	const most = 3
	first := via[0].URL
	switch {
	case len(via) > most:
		return errors.New("too many redirects")
	case req.URL.Host != first.Host:
		return errors.New("redirect to another host: configure that URL if it is right")
	case first.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("redirect from https to http")
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "throng")
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the key endpoint answers %s", res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	if int64(len(body)) > most {
		return nil, fmt.Errorf("the key set is larger than jwks.max_body_bytes (%d)", most)
	}
	return body, nil
}

// parseKeySet reads a JSON Web Key Set. Keys that cannot be used here (encryption keys, unknown curves, broken ones,
// symmetric ones, which have no place in a public set) are skipped and counted; a body that is no key set at all is an
// error, so that an error page does not empty the set in use.
//
// Source: RFC 7517, 5: unknown keys should be ignored.
func parseKeySet(body []byte, most int) (set *keySet, skipped int, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &doc) != nil || doc.Keys == nil {
		return nil, 0, errors.New("the answer is no JSON Web Key Set")
	}
	if len(doc.Keys) > most {
		return nil, 0, fmt.Errorf("the key set holds %d keys, more than jwks.max_keys (%d)", len(doc.Keys), most)
	}
	set = &keySet{keys: make(map[string][]key, len(doc.Keys))}
	var last key
	for _, raw := range doc.Keys {
		id, k, err := parseJWK(raw)
		if err != nil {
			skipped++
			continue
		}
		last = k
		set.keys[id] = append(set.keys[id], k)
	}
	if len(doc.Keys)-skipped == 1 {
		set.lone = []key{last}
	}
	return set, skipped, nil
}

// parseJWK reads one key. Its alg, if it has one, narrows what it may be used with.
func parseJWK(raw json.RawMessage) (id string, k key, err error) {
	jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return "", key{}, err
	}
	m := jwk.Marshal()
	if m.USE != "" && m.USE != jwkset.UseSig || len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return "", key{}, errors.New("not a signature key")
	}
	if k, err = publicKey(jwk.Key()); err != nil {
		return "", key{}, err
	}
	if m.ALG != "" {
		a := parseAlgorithm([]byte(m.ALG.String()))
		if !slices.Contains(k.algorithms, a) {
			return "", key{}, errors.New("alg does not fit the key")
		}
		k.algorithms = []algorithm{a}
	}
	if len(m.KID) > maxKeyID {
		return "", key{}, errors.New("kid is too long")
	}
	return m.KID, k, nil
}
