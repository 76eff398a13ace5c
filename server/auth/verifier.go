package auth

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"throng/server/channel"
)

// Verifier verifies one kind of token. Any goroutine may use it; its keys may be reloaded at any time.
type Verifier struct {
	kind    Kind
	ring    atomic.Pointer[keyring]
	now     func() time.Time
	revoked *Revocations
	guests  *Guests // nil: none
	stats   *Stats
}

// Configured tells whether there is any key for this kind of token. Without one a token in a connect command is ignored
// and the client is judged as one without.
//
// Source: centrifuge-protocol.md, 5, step 1.
func (v *Verifier) Configured() bool { return v.ring.Load().configured() }

// Takes tells whether token is one to judge: there is a key for this kind of token, or it is a guest's and those are let in.
func (v *Verifier) Takes(token string) bool { return v.Configured() || v.guests.made(token) }

// Verify verifies token and returns what it says. It never blocks, and stays below a millisecond whatever it is given:
// where the key is not at hand, or of a kind that takes longer, it returns ErrNeedsFetch, and the token goes to
// VerifyBlocking on another goroutine. The token is only read; the claims do not alias it.
//
// Errors: ErrInvalid, ErrExpired, ErrAnonymous, ErrNeedsFetch, ErrUnavailable, ErrNotConfigured; Code translates them. A
// refusal before the signature check allocates little and costs microseconds, an over-long token nothing at all.
//
// CPU: HS256 3 us, RS256 35 us, ES256 75 us, EdDSA 80 us (BenchmarkVerify).
func (v *Verifier) Verify(token string) (Claims, error) {
	claims, _, err := v.verify(token, true)
	if err == ErrNeedsFetch {
		v.stats.NeedsFetch.Add(1)
	}
	v.stats.count(err)
	return claims, err
}

// VerifyBlocking is Verify that waits for keys, at most until ctx ends or the fetch timeout, and takes the time that slow
// keys need. It never returns ErrNeedsFetch. Not for pollers.
func (v *Verifier) VerifyBlocking(ctx context.Context, token string) (Claims, error) {
	claims, missing, err := v.verify(token, false)
	if err == ErrNeedsFetch {
		err = missing.source.fetch(ctx, missing.keyID)
		if err == nil {
			claims, _, err = v.verify(token, false)
		}
	}
	if err == ErrNeedsFetch { // the keys changed under our feet; the client may try again
		err = refuse(ReasonUnavailable)
	}
	v.stats.count(err)
	return claims, err
}

// missingKey is what a verification lacks.
type missingKey struct {
	source *source
	keyID  string
}

func (v *Verifier) verify(token string, inline bool) (Claims, missingKey, error) {
	if v.guests.made(token) {
		claims, err := v.guests.verify(token, v.revoked)
		return claims, missingKey{}, err
	}
	ring := v.ring.Load()
	if !ring.configured() {
		return Claims{}, missingKey{}, ErrNotConfigured
	}
	t, err := parseToken(token, ring.maxBytes)
	if err != nil {
		return Claims{}, missingKey{}, err
	}
	if !ring.accepts(t.algorithm) {
		return Claims{}, missingKey{}, refuse(ReasonAlgorithm)
	}
	now := v.now()
	if t.algorithm.symmetric() {
		err = ring.checkSecret(&t, now)
	} else if missing, failed := ring.checkPublic(&t, inline); failed != nil {
		return Claims{}, missing, failed
	}
	if err != nil {
		return Claims{}, missingKey{}, err
	}
	raw, err := ring.readClaims(&t, v.kind)
	if err == nil {
		err = v.judge(ring, raw, now)
	}
	if err != nil {
		return Claims{}, missingKey{}, err
	}
	return raw.Claims, missingKey{}, nil
}

func (k *keyring) checkSecret(t *parsedToken, now time.Time) error {
	err := t.checkAny(k.secret, false)
	if err != nil && (k.previousUntil == 0 || now.Unix() <= k.previousUntil) {
		err = t.checkAny(k.previous, false)
	}
	return err
}

// checkPublic finds the key and checks the signature. A key that the JWKS has under the token's kid decides alone; then
// the static keys are tried, and only then is the kid worth a fetch.
func (k *keyring) checkPublic(t *parsedToken, inline bool) (missing missingKey, err error) {
	var notFound error
	if k.endpoint != nil {
		var keys []key
		missing, keys, notFound = k.findKeys(t)
		if notFound == nil {
			return missingKey{}, t.checkAny(keys, inline)
		}
	}
	err = t.checkAny(k.public, inline)
	if err == nil || err == ErrNeedsFetch || notFound == nil {
		return missingKey{}, err
	}
	return missing, notFound
}

// findKeys looks up the token's kid in the JWKS its issuer and audience lead to.
func (k *keyring) findKeys(t *parsedToken) (missingKey, []key, error) {
	s := k.endpoint.fixed
	if s == nil {
		url, err := k.resolveURL(t)
		if err != nil {
			return missingKey{}, nil, err
		}
		s = k.endpoint.source(url)
	}
	keys, err := s.find(t.keyID)
	return missingKey{s, t.keyID}, keys, err
}

// resolveURL reads iss and aud of a payload that is not verified yet. See the package comment for why that is safe.
func (k *keyring) resolveURL(t *parsedToken) (string, error) {
	p, err := t.decodePayload()
	if err != nil {
		return "", err
	}
	if !validObject(p) {
		return "", refuse(ReasonClaims)
	}
	var issuer string
	var audience []string
	err = eachMember(p, func(name, value []byte) error {
		switch string(name) {
		case "iss":
			return set(&issuer, value, text)
		case "aud":
			return set(&audience, value, textOrList)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	values := map[string]string{}
	if !k.issuer.groups(issuer, values) {
		return "", refuse(ReasonIssuer)
	}
	matched := !k.audience.on()
	for _, a := range audience {
		if !matched {
			matched = k.audience.groups(a, values)
		}
	}
	if !matched {
		return "", refuse(ReasonAudience)
	}
	url, ok := k.endpoint.template.resolve(values)
	if !ok {
		return "", refuse(ReasonIssuer)
	}
	return url, nil
}

func (k *keyring) readClaims(t *parsedToken, kind Kind) (*rawClaims, error) {
	p, err := t.decodePayload()
	if err != nil {
		return nil, err
	}
	return parseClaims(p, kind, k.userClaim)
}

// judge decides about claims that a key of ours has signed: whose they are, what they are for, and only then time, so that
// "expired" is only ever said about tokens that would be right.
func (v *Verifier) judge(ring *keyring, c *rawClaims, now time.Time) error {
	switch {
	case ring.issuer.on() && (!c.issuerPresent || !ring.issuer.matches(c.issuer)):
		return refuse(ReasonIssuer)
	case !ring.audience.matchesAny(c.audience):
		return refuse(ReasonAudience)
	case (v.kind == Connection) == c.channelPresent, v.kind == Subscription && c.Channel == "":
		return refuse(ReasonKind)
	case v.kind == Connection && c.User == "" && !ring.allowAnonymous:
		return refuse(ReasonAnonymous)
	case v.revoked.Revoked(c.User, c.ID, c.IssuedAt):
		return refuse(ReasonRevoked)
	}
	leeway := int64(ring.leeway / time.Second)
	switch {
	case c.expires && now.Unix() >= c.exp+leeway:
		return refuse(ReasonExpired)
	case c.begins && now.Unix() < c.nbf-leeway:
		return refuse(ReasonNotYet)
	}
	return nil
}

// maxTTL is the longest time to live a client is told: SDKs feed it to timers that overflow.
const maxTTL = 365 * 24 * 3600

// TTL returns the seconds until expireAt (a Claims.ExpireAt, or what a proxy said), for expires and ttl of a result; 0
// with channel.Allowed means that it never expires. A time in the past but within the leeway gives 1, so that a client
// with a fast clock refreshes at once instead of being turned away; one further back gives channel.Expired. At most one
// year.
//
// Source: centrifuge-protocol.md, 5, step 4.
func (v *Verifier) TTL(expireAt int64) (ttl uint32, code channel.Code) {
	if expireAt == 0 {
		return 0, channel.Allowed
	}
	left := expireAt - v.now().Unix()
	if left <= -int64(v.ring.Load().leeway/time.Second) {
		return 0, channel.Expired
	}
	return uint32(math.Max(1, math.Min(float64(left), maxTTL))), channel.Allowed
}
