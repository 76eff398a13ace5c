package auth

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// GuestPrefix begins the user id of every guest. No token of Guests is accepted for another user, so whatever happens to
// its key, it opens no account.
const GuestPrefix = "guest-"

const (
	guestKeyID  = "throng-guest" // kid and iss of guests' tokens
	guestSecret = 32             // bytes, as strong as HS256 (RFC 7518, 3.2)

	// maxGuestToken bounds the length of a guest's token: made ones, with the longest info, have a third of it.
	maxGuestToken = 4 << 10
)

// Guests makes and verifies connection tokens of people without an account, for the demonstration. Its key is random, never
// leaves the process and signs nothing else; configured keys do not open guests' tokens, nor the other way round: which
// kind a token is, its first part says, which is the same in all guests' tokens.
//
// It starts disabled. Any goroutine may use it; nothing blocks.
type Guests struct {
	secret  key
	header  string // first part of all tokens, with its dot
	now     func() time.Time
	enabled atomic.Bool
}

// NewGuests makes the key. now is the wall clock; nil means time.Now.
func NewGuests(now func() time.Time) *Guests {
	if now == nil {
		now = time.Now
	}
	secret := make([]byte, guestSecret)
	_, _ = rand.Read(secret) // it never fails, or the process ends (crypto/rand)
	g := &Guests{secret: key{material: secret, algorithms: []algorithm{hs256}}, now: now}
	token, err := g.sign(jwt.MapClaims{})
	if err != nil {
		panic("auth: guests' key: " + err.Error()) // ours: HMAC signs whatever is JSON
	}
	g.header = token[:strings.IndexByte(token, '.')+1]
	return g
}

// Enable says whether guests are let in. Those who are in stay until their tokens expire.
func (g *Guests) Enable(on bool) { g.enabled.Store(on) }

// Enabled tells whether guests are let in; false for nil.
func (g *Guests) Enabled() bool { return g != nil && g.enabled.Load() }

// Make signs a connection token for id, which must begin with GuestPrefix. info is the JSON that others see as conn_info.
// ttl is at least a second.
func (g *Guests) Make(id string, info json.RawMessage, ttl time.Duration) (string, error) {
	now := g.now()
	return g.sign(jwt.MapClaims{"sub": id, "iss": guestKeyID, "iat": now.Unix(), "exp": now.Add(ttl).Unix(), "info": info})
}

func (g *Guests) sign(claims jwt.MapClaims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"] = guestKeyID
	return token.SignedString(g.secret.material)
}

// Holder returns the guest a token was made for, if that was here and it expired no longer than grace ago: who shows it may
// have another for the same id.
func (g *Guests) Holder(token string, grace time.Duration) (id string, ok bool) {
	if !g.made(token) {
		return "", false
	}
	c, err := g.open(token)
	if err != nil || g.now().Unix() >= c.exp+int64(grace/time.Second) {
		return "", false
	}
	return c.User, true
}

// made tells whether a token claims to be a guest's. g may be nil.
func (g *Guests) made(token string) bool { return g.Enabled() && strings.HasPrefix(token, g.header) }

func (g *Guests) verify(token string, revoked *Revocations) (Claims, error) {
	c, err := g.open(token)
	switch {
	case err != nil:
		return Claims{}, err
	case revoked.Revoked(c.User, c.ID, c.IssuedAt):
		return Claims{}, refuse(ReasonRevoked)
	case g.now().Unix() >= c.exp: // no leeway: the clock is the one that made the token
		return Claims{}, refuse(ReasonExpired)
	}
	return c.Claims, nil
}

// open checks everything but time. The checks after the signature are about mistakes of ours: nobody else has the key.
func (g *Guests) open(token string) (*rawClaims, error) {
	t, err := parseToken(token, maxGuestToken)
	if err != nil {
		return nil, err
	}
	if !g.secret.verify(t.algorithm, t.signed, t.signature) {
		return nil, refuse(ReasonSignature)
	}
	p, err := t.decodePayload()
	if err != nil {
		return nil, err
	}
	c, err := parseClaims(p, Connection, "sub")
	switch {
	case err != nil:
		return nil, err
	case c.issuer != guestKeyID:
		return nil, refuse(ReasonIssuer)
	case !strings.HasPrefix(c.User, GuestPrefix), !c.expires, c.channelPresent, len(c.Subs) > 0, c.Meta != nil:
		return nil, refuse(ReasonClaims)
	}
	return c, nil
}
