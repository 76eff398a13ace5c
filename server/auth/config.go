package auth

import (
	"fmt"
	"io"
	"time"
)

// Config is the token part of the configuration. Start from DefaultConfig.
//
// Source: centrifuge-protocol.md, 7; the names are Centrifugo's.
type Config struct {
	// Token holds the keys of connection tokens, and of subscription tokens where these have none of their own.
	Token KeyConfig `yaml:"token"`
	// SubscriptionToken holds separate keys for subscription tokens, if enabled.
	SubscriptionToken SubscriptionKeyConfig `yaml:"subscription_token"`
	// DisallowAnonymous refuses connection tokens without a user (close 3507).
	DisallowAnonymous bool `yaml:"disallow_anonymous_connection_tokens"`
	// MaxTokenBytes is the longest token that is looked at. Default 32 KiB: room for 128 server-side subscriptions with
	// their info, half of the message limit; longer ones are refused by their length alone.
	MaxTokenBytes int `yaml:"max_token_bytes"`
	// ExpiryLeeway is by how much clocks of token makers may be off, in both directions. Default 30s.
	ExpiryLeeway time.Duration `yaml:"token_expiry_leeway"`
	// JWKS bounds the fetching of keys.
	JWKS JWKSConfig `yaml:"jwks"`
}

// KeyConfig is one set of keys, and what a token signed by them must say.
type KeyConfig struct {
	// HMACSecretKey verifies and, for `throng token`, makes HS256, HS384 and HS512 tokens. At least 32 bytes are advised.
	HMACSecretKey Secret `yaml:"hmac_secret_key"`
	// HMACPreviousSecretKey verifies tokens made before a rotation, until the unix time HMACPreviousValidUntil (0 = as
	// long as it stands here).
	HMACPreviousSecretKey  Secret `yaml:"hmac_previous_secret_key"`
	HMACPreviousValidUntil int64  `yaml:"hmac_previous_secret_key_valid_until"`
	// RSAPublicKey verifies RS*, ECDSAPublicKey ES* and Ed25519PublicKey EdDSA tokens. PEM: a public key or a
	// certificate; several blocks one after the other are several keys, for rotation.
	RSAPublicKey     string `yaml:"rsa_public_key"`
	ECDSAPublicKey   string `yaml:"ecdsa_public_key"`
	Ed25519PublicKey string `yaml:"ed25519_public_key"`
	// JWKSEndpoint is the URL of a JSON Web Key Set. It may hold {{name}} for named groups of IssuerRegex and
	// AudienceRegex, in the path or as the first label of the host.
	JWKSEndpoint string `yaml:"jwks_public_endpoint"`
	// Audience and Issuer must equal aud (or one of its entries) and iss; the Regex forms must match them as a whole.
	// Empty means not checked.
	Audience      string `yaml:"audience"`
	AudienceRegex string `yaml:"audience_regex"`
	Issuer        string `yaml:"issuer"`
	IssuerRegex   string `yaml:"issuer_regex"`
	// UserIDClaim names the claim with the user id. Default "sub".
	UserIDClaim string `yaml:"user_id_claim"`
}

// SubscriptionKeyConfig is the `subscription_token:` section.
type SubscriptionKeyConfig struct {
	// Enabled makes these keys the only ones for subscription tokens; those under token then open connections only.
	Enabled   bool `yaml:"enabled"`
	KeyConfig `yaml:",inline"`
}

// JWKSConfig bounds what JWKS endpoints, and those who name key ids and issuers at will, can make this node do.
type JWKSConfig struct {
	// FetchTimeout for one fetch. Default 3s: a connect must be answered within the 5s SDKs wait.
	FetchTimeout time.Duration `yaml:"fetch_timeout"`
	// MaxBodyBytes of an answer. Default 256 KiB: a set of 100 RSA keys is 60 KiB.
	MaxBodyBytes int64 `yaml:"max_body_bytes"`
	// MaxKeys of one set. Default 100.
	MaxKeys int `yaml:"max_keys"`
	// RefreshAfter is the age at which a set is fetched again in the background. Default 10m: how long a withdrawn key
	// may still be honoured.
	RefreshAfter time.Duration `yaml:"refresh_after"`
	// MaxStale is the age up to which a set is used while the endpoint does not answer. Default 24h: survives an outage
	// of the identity provider over night.
	MaxStale time.Duration `yaml:"max_stale"`
	// MinInterval between two fetches of one URL, whatever key ids are asked for. Default 5s. Failures double it, up to
	// MaxBackoff, default 1m.
	MinInterval time.Duration `yaml:"min_interval"`
	MaxBackoff  time.Duration `yaml:"max_backoff"`
	// NegativeTTL is how long a key id that the set does not have is refused without asking again. Default 30s.
	NegativeTTL time.Duration `yaml:"negative_ttl"`
	// MaxNegative is how many such key ids are remembered per URL. Default 1000, some 100 KiB.
	MaxNegative int `yaml:"max_negative"`
	// MaxEndpoints is how many URLs made from a template are kept. Default 1000 tenants.
	MaxEndpoints int `yaml:"max_endpoints"`
	// FetchRate per second and FetchBurst bound first fetches over all URLs made from a template. Default 5 and 20.
	FetchRate  float64 `yaml:"fetch_rate"`
	FetchBurst int     `yaml:"fetch_burst"`
}

// DefaultConfig returns the values that hold where the configuration says nothing. It has no keys.
func DefaultConfig() Config {
	return Config{
		MaxTokenBytes: 32 << 10,
		ExpiryLeeway:  30 * time.Second,
		JWKS: JWKSConfig{
			FetchTimeout: 3 * time.Second,
			MaxBodyBytes: 256 << 10,
			MaxKeys:      100,
			RefreshAfter: 10 * time.Minute,
			MaxStale:     24 * time.Hour,
			MinInterval:  5 * time.Second,
			MaxBackoff:   time.Minute,
			NegativeTTL:  30 * time.Second,
			MaxNegative:  1000,
			MaxEndpoints: 1000,
			FetchRate:    5,
			FetchBurst:   20,
		},
	}
}

// Secret is a text that must not leave the process: whatever prints, logs or marshals it gets a placeholder.
type Secret string

const redacted = "[secret]"

// Redacted returns what may be shown instead.
func (s Secret) Redacted() string {
	if s == "" {
		return ""
	}
	return redacted
}

// String implements fmt.Stringer.
func (s Secret) String() string { return s.Redacted() }

// Format implements fmt.Formatter for every verb, %x, %#v and %d too.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.Redacted()) }

// MarshalText implements encoding.TextMarshaler, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Redacted()), nil }
