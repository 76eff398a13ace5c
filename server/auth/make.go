package auth

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenRequest says what token to make. Empty fields are left out of the token.
type TokenRequest struct {
	User string // "" makes a token for the anonymous user
	// TTL is how long the token is good for; 0 = for ever.
	TTL time.Duration
	// Channel is the channel a subscription token opens; required there, forbidden in a connection token.
	Channel string
	// Client restricts a subscription token to one connection.
	Client string
	// Channels are server-side subscriptions of a connection token.
	Channels []string
	// Info and Meta (connection) or Info and Data (subscription) are JSON.
	Info, Meta, Data json.RawMessage
	// ID becomes jti.
	ID string
	// Issuer and Audience; empty means those that the configuration demands.
	Issuer, Audience string
}

// MakeConnectionToken signs a connection token with the configured HMAC key, so that this node's verifier takes it. It
// serves `throng token`; applications make their own tokens.
func MakeConnectionToken(cfg Config, r TokenRequest, now time.Time) (string, error) {
	if r.Channel != "" || r.Client != "" || r.Data != nil {
		return "", errors.New("a connection token has no channel, client or data: make a subscription token")
	}
	if r.User == "" && cfg.DisallowAnonymous {
		return "", errors.New("disallow_anonymous_connection_tokens is set: give a user")
	}
	claims := jwt.MapClaims{}
	if len(r.Channels) > 0 {
		claims["channels"] = r.Channels
	}
	return sign(cfg.Token, r, claims, now)
}

// MakeSubscriptionToken signs a subscription token for r.Channel with the HMAC key that is configured for these.
func MakeSubscriptionToken(cfg Config, r TokenRequest, now time.Time) (string, error) {
	if r.Channel == "" {
		return "", errors.New("a subscription token needs a channel")
	}
	if len(r.Channels) > 0 || r.Meta != nil {
		return "", errors.New("a subscription token has no channels or meta: make a connection token")
	}
	keys := cfg.Token
	if cfg.SubscriptionToken.Enabled {
		keys = cfg.SubscriptionToken.KeyConfig
	}
	claims := jwt.MapClaims{"channel": r.Channel}
	if r.Client != "" {
		claims["client"] = r.Client
	}
	return sign(keys, r, claims, now)
}

func sign(keys KeyConfig, r TokenRequest, claims jwt.MapClaims, now time.Time) (string, error) {
	if keys.HMACSecretKey == "" {
		return "", errors.New("no hmac_secret_key is configured: set one, or sign with the private key that belongs to the configured public key")
	}
	if r.TTL < 0 {
		return "", errors.New("the ttl is negative: use 0 for a token that never expires")
	}
	userClaim := keys.UserIDClaim
	if userClaim == "" {
		userClaim = "sub"
	}
	claims[userClaim] = r.User
	claims["iat"] = now.Unix()
	if r.TTL > 0 {
		claims["exp"] = now.Add(r.TTL).Unix()
	}
	for name, value := range map[string]json.RawMessage{"info": r.Info, "meta": r.Meta, "data": r.Data} {
		if value != nil && !json.Valid(value) {
			return "", errors.New(name + " is no JSON")
		}
		if value != nil {
			claims[name] = value
		}
	}
	for name, value := range map[string]string{"jti": r.ID, "iss": or(r.Issuer, keys.Issuer), "aud": or(r.Audience, keys.Audience)} {
		if value != "" {
			claims[name] = value
		}
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(keys.HMACSecretKey))
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
