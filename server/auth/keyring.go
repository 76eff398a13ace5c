package auth

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"throng/server/channel"
)

// Kind is which of the two tokens something is about.
type Kind uint8

// The two kinds of tokens.
const (
	Connection Kind = iota
	Subscription
)

// keyring is a compiled KeyConfig: immutable, replaced as a whole on reload.
type keyring struct {
	secret         []key // at most one; a slice to walk all static keys alike
	previous       []key
	previousUntil  int64 // unix seconds; 0 = always
	public         []key
	endpoint       *endpoint // nil without JWKS
	issuer         matcher
	audience       matcher
	userClaim      string
	maxBytes       int
	leeway         time.Duration
	allowAnonymous bool
	symmetric      bool // there is a secret
	asymmetric     bool // there is a public key or an endpoint
}

func (k *keyring) configured() bool { return k.symmetric || k.asymmetric }

// accepts tells whether some key could have signed with a, before anything costly is done.
func (k *keyring) accepts(a algorithm) bool {
	if a.symmetric() {
		return k.symmetric
	}
	return a != unknownAlgorithm && k.asymmetric
}

// matcher judges iss or aud: exact, by expression, or not at all.
type matcher struct {
	exact string
	expr  *regexp.Regexp
}

func (m *matcher) on() bool { return m.exact != "" || m.expr != nil }

func (m *matcher) matches(value string) bool {
	if m.expr != nil {
		return m.expr.MatchString(value)
	}
	return m.exact == "" || m.exact == value
}

func (m *matcher) matchesAny(values []string) bool {
	for _, v := range values {
		if m.matches(v) {
			return true
		}
	}
	return !m.on()
}

// groups adds what the named groups of the expression matched.
func (m *matcher) groups(value string, into map[string]string) bool {
	if m.expr == nil {
		return m.matches(value)
	}
	found := m.expr.FindStringSubmatch(value)
	if found == nil {
		return false
	}
	for i, name := range m.expr.SubexpNames() {
		if name != "" {
			into[name] = found[i]
		}
	}
	return true
}

// keyCompiler checks a KeyConfig and gathers everything wrong with it.
type keyCompiler struct {
	field string
	errs  []error
	notes []string
}

// fail never gets a secret or a key as value.
func (c *keyCompiler) fail(name, value, fix string) {
	if value != "" {
		value = fmt.Sprintf("%.80q", value)
	}
	c.errs = append(c.errs, &channel.FieldError{Field: c.field + "." + name, Value: value, Fix: fix})
}

func (c *keyCompiler) note(name, text string) { c.notes = append(c.notes, c.field+"."+name+": "+text) }

// compile turns cfg into a keyring without its endpoint, which is shared and made by Tokens.
func (c *keyCompiler) compile(cfg KeyConfig) *keyring {
	k := &keyring{userClaim: cfg.UserIDClaim, previousUntil: cfg.HMACPreviousValidUntil}
	if k.userClaim == "" {
		k.userClaim = "sub"
	}
	k.secret = c.secret("hmac_secret_key", cfg.HMACSecretKey)
	k.previous = c.secret("hmac_previous_secret_key", cfg.HMACPreviousSecretKey)
	c.previous(cfg)
	k.public = append(k.public, c.pem("rsa_public_key", cfg.RSAPublicKey, rs256, "RSA")...)
	k.public = append(k.public, c.pem("ecdsa_public_key", cfg.ECDSAPublicKey, es256, "ECDSA")...)
	k.public = append(k.public, c.pem("ed25519_public_key", cfg.Ed25519PublicKey, edDSA, "Ed25519")...)
	k.issuer = c.matcher("issuer", cfg.Issuer, cfg.IssuerRegex)
	k.audience = c.matcher("audience", cfg.Audience, cfg.AudienceRegex)
	if !claimName.MatchString(k.userClaim) || judgedClaims[k.userClaim] {
		c.fail("user_id_claim", cfg.UserIDClaim, "must be a claim of letters, digits, _, -, : / and dot with no other meaning here, such as preferred_username")
	}
	k.symmetric = len(k.secret)+len(k.previous) > 0
	k.asymmetric = len(k.public) > 0 || cfg.JWKSEndpoint != ""
	return k
}

var claimName = regexp.MustCompile(`^[-a-zA-Z0-9_.:/]{1,128}$`)

// judgedClaims have a meaning of their own that a user id must not take away.
var judgedClaims = map[string]bool{
	"exp": true, "nbf": true, "iat": true, "iss": true, "aud": true, "jti": true, "expire_at": true, "channel": true, "client": true,
	"channels": true, "subs": true, "override": true, "info": true, "b64info": true, "data": true, "b64data": true, "meta": true,
}

// goodSecret is the length from which an HMAC key is as strong as its hash (RFC 7518, 3.2).
const goodSecret = 32

func (c *keyCompiler) secret(name string, s Secret) []key {
	if s == "" {
		return nil
	}
	if len(s) > 10 && string(s[:5]) == "-----" {
		c.fail(name, "", "holds a PEM block, and whoever knows a public key could then make tokens: put it under rsa_public_key or ecdsa_public_key")
		return nil
	}
	if len(s) < goodSecret {
		c.note(name, fmt.Sprintf("has %d bytes; fewer than %d can be guessed from any one token, make one with: openssl rand -hex 32", len(s), goodSecret))
	}
	return []key{secretKey(s)}
}

func (c *keyCompiler) previous(cfg KeyConfig) {
	const name = "hmac_previous_secret_key"
	switch {
	case cfg.HMACPreviousSecretKey == "" && cfg.HMACPreviousValidUntil != 0:
		c.fail(name+"_valid_until", fmt.Sprint(cfg.HMACPreviousValidUntil), "needs "+name+": set it, or drop the time")
	case cfg.HMACPreviousSecretKey == "":
	case cfg.HMACSecretKey == "":
		c.fail(name, "", "needs hmac_secret_key: put a single key there")
	case cfg.HMACPreviousSecretKey == cfg.HMACSecretKey:
		c.fail(name, "", "is the same as hmac_secret_key: drop it")
	case cfg.HMACPreviousValidUntil < 0 || cfg.HMACPreviousValidUntil > latestDate/1000:
		c.fail(name+"_valid_until", fmt.Sprint(cfg.HMACPreviousValidUntil), "must be a unix time in seconds, as `date +%s` prints")
	case cfg.HMACPreviousValidUntil == 0:
		c.note(name, "is accepted for ever; say until when with "+name+"_valid_until")
	}
}

func (c *keyCompiler) pem(name, text string, want algorithm, kind string) []key {
	if text == "" {
		return nil
	}
	keys, err := parsePEM(text, want, kind)
	if err != nil {
		c.fail(name, "", err.Error())
	}
	for _, k := range keys {
		if k.slow {
			c.note(name, "is slow: each token of it, forged or not, takes 0.5 to 3 ms of CPU; P-256, RSA up to 4096 bits and Ed25519 take less than 0.4")
		}
	}
	return keys
}

// matcher compiles issuer or audience. The expression must match the whole value: one that matched anywhere would let in
// whoever can put the right text behind a question mark.
func (c *keyCompiler) matcher(name, exact, expr string) matcher {
	m := matcher{exact: exact}
	switch {
	case expr == "":
	case exact != "":
		c.fail(name+"_regex", expr, "and "+name+" exclude each other: choose one")
	default:
		_, err := regexp.Compile(expr) // by itself, so that ")(" cannot escape the group below
		if err == nil {
			m.expr, err = regexp.Compile(`^(?:` + expr + `)$`)
		}
		if err != nil {
			c.fail(name+"_regex", expr, "is no regular expression (RE2)")
		}
	}
	return m
}

func (c *keyCompiler) err() error { return errors.Join(c.errs...) }
