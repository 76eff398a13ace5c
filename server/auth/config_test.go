package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"throng/server/channel"
)

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// mistake is an edit of a right configuration, and a part of the error it must cause.
type mistake struct {
	edit func(*Config)
	want string
}

func keyMistakes(t *testing.T) []mistake {
	k := keys()
	private := pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.rsa))
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []mistake{
		{func(c *Config) { c.Token.RSAPublicKey = "canary" }, "token.rsa_public_key: is no PEM text"},
		{func(c *Config) { c.Token.RSAPublicKey = private }, "token.rsa_public_key: holds a PEM block \"RSA PRIVATE KEY\""},
		{func(c *Config) { c.Token.RSAPublicKey = publicPEM(t, k.p256) }, "token.rsa_public_key: holds a key of type *ecdsa.PublicKey: put the RSA public key here"},
		{func(c *Config) { c.Token.ECDSAPublicKey = publicPEM(t, k.rsa) }, "token.ecdsa_public_key: holds a key of type *rsa.PublicKey"},
		{func(c *Config) { c.Token.Ed25519PublicKey = publicPEM(t, k.p521) }, "token.ed25519_public_key: holds a key of type *ecdsa.PublicKey"},
		{func(c *Config) { c.Token.ECDSAPublicKey = publicPEM(t, k.ed) }, "token.ecdsa_public_key: holds a key of type ed25519.PublicKey"},
		{func(c *Config) { c.Token.RSAPublicKey = publicPEM(t, short) }, "is an RSA key of 1024 bits: use one of 2048 to 8192"},
		{func(c *Config) { c.Token.ECDSAPublicKey = publicPEM(t, p224) }, "unknown curve"},
		{func(c *Config) { c.Token.RSAPublicKey = strings.Repeat(publicPEM(t, k.rsa), 5) }, "holds 5 keys: keep at most 4"},
		{func(c *Config) { c.Token.RSAPublicKey = pemText("PUBLIC KEY", []byte("canary")) }, "broken public key"},
		{func(c *Config) { c.Token.RSAPublicKey = pemText("RSA PUBLIC KEY", []byte("canary")) }, "broken RSA public key"},
		{func(c *Config) { c.Token.RSAPublicKey = pemText("CERTIFICATE", []byte("canary")) }, "broken certificate"},
		{func(c *Config) { c.Token.HMACSecretKey = Secret(publicPEM(t, k.rsa)) }, "token.hmac_secret_key: holds a PEM block"},
		{func(c *Config) { c.Token.HMACPreviousSecretKey = previousText }, "token.hmac_previous_secret_key: needs hmac_secret_key"},
		{func(c *Config) { withHMAC(c); c.Token.HMACPreviousSecretKey = secretText }, "is the same as hmac_secret_key"},
		{func(c *Config) { c.Token.HMACPreviousValidUntil = 5 }, "token.hmac_previous_secret_key_valid_until = \"5\": needs hmac_previous_secret_key"},
		{func(c *Config) {
			withHMAC(c)
			c.Token.HMACPreviousSecretKey, c.Token.HMACPreviousValidUntil = previousText, 1_800_000_000_000
		}, "must be a unix time in seconds"},
	}
}

var otherMistakes = []mistake{
	{func(c *Config) { c.Token.Issuer, c.Token.IssuerRegex = "a", "b" }, "token.issuer_regex = \"b\": and issuer exclude each other"},
	{func(c *Config) { c.Token.AudienceRegex = "(" }, "token.audience_regex = \"(\": is no regular expression"},
	{func(c *Config) { c.Token.IssuerRegex = "a)(b" }, "token.issuer_regex = \"a)(b\": is no regular expression"},
	{func(c *Config) { c.Token.UserIDClaim = "exp" }, "token.user_id_claim = \"exp\""},
	{func(c *Config) { c.Token.UserIDClaim = "a b" }, "token.user_id_claim = \"a b\""},
	{func(c *Config) { c.SubscriptionToken.Enabled = true }, "subscription_token.enabled = true: needs a key of its own"},
	{func(c *Config) { c.SubscriptionToken.Issuer = "x" }, "subscription_token.enabled = false: the keys below it would not be used"},
	{func(c *Config) { c.SubscriptionToken.Enabled = true; c.SubscriptionToken.RSAPublicKey = "x" }, "subscription_token.rsa_public_key: is no PEM"},
	{func(c *Config) { c.MaxTokenBytes = 10 }, "max_token_bytes = 10: must be 256 to 1048576 bytes"},
	{func(c *Config) { c.ExpiryLeeway = -1 }, "token_expiry_leeway = -1ns: must be whole seconds"},
	{func(c *Config) { c.JWKS = JWKSConfig{} }, "jwks.fetch_burst = 0: must be at least 1"},
	{func(c *Config) { c.JWKS.MaxStale = time.Second }, "jwks.max_stale = 1s: must not be shorter than jwks.refresh_after"},
	{func(c *Config) { c.Token.JWKSEndpoint = "id.test/certs" }, "token.jwks_public_endpoint = \"id.test/certs\": is no URL"},
	{func(c *Config) { c.Token.JWKSEndpoint = "file:///etc/passwd" }, "is no URL"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://u:p@id.test/" }, "holds a user or password"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://id.test/#x" }, "has a fragment"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://id.test/{{a" }, "broken place"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://id.test/{{a-b}}" }, "broken place"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://id.test/{{realm}}" }, "no named group of issuer_regex or audience_regex fills realm"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://{{h}}/certs"; c.Token.IssuerRegex = "(?P<h>.+)" }, "lets a token choose the host"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://{{h}}.com/certs"; c.Token.IssuerRegex = "(?P<h>.+)" }, "lets a token choose the host"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://{{h}}:443/certs"; c.Token.IssuerRegex = "(?P<h>.+)" }, "lets a token choose the host"},
	{func(c *Config) {
		c.Token.JWKSEndpoint = "https://{{h}}.{{h}}.id.test/"
		c.Token.IssuerRegex = "(?P<h>.+)"
	}, "lets a token choose the host"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://a{{h}}.id.test/"; c.Token.IssuerRegex = "(?P<h>.+)" }, "place inside the host"},
	{func(c *Config) { c.Token.JWKSEndpoint = "https://id.test:{{h}}/"; c.Token.IssuerRegex = "(?P<h>.+)" }, "is no URL"},
	{func(c *Config) { c.Token.JWKSEndpoint = "http{{h}}://id.test/"; c.Token.IssuerRegex = "(?P<h>.+)" }, "is no URL"},
	{func(c *Config) {
		c.Token.JWKSEndpoint, c.Token.IssuerRegex, c.Token.AudienceRegex = "https://id.test/{{h}}", "(?P<h>.+)", "(?P<h>.+)"
	}, "both issuer_regex and audience_regex have a group h"},
}

func TestEveryMistakeNamesFieldAndFixAndNoSecret(t *testing.T) {
	for _, tt := range append(keyMistakes(t), otherMistakes...) {
		cfg := DefaultConfig()
		tt.edit(&cfg)
		tokens, err := NewTokens(cfg, Options{})
		if err == nil || tokens != nil {
			t.Errorf("accepted, want %q", tt.want)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("want %q, got:\n%v", tt.want, err)
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("a key is in the error: %v", err)
		}
		var f *channel.FieldError
		if !errors.As(err, &f) {
			t.Errorf("%v is no FieldError", err)
		}
	}
}

func TestKeysMayComeInEveryUsualPEM(t *testing.T) {
	k := keys()
	cert := &x509.Certificate{SerialNumber: k.rsa.N}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, k.rsa.Public(), k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	token := rsToken("", `{}`, k.rsa)
	for why, text := range map[string]string{
		"PKIX": publicPEM(t, k.rsa), "PKCS #1": pemText("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)), "certificate": pemText("CERTIFICATE", der),
		"second of two": publicPEM(t, k.rsaOther, k.rsa), "text around": "comment\n" + publicPEM(t, k.rsa) + "\ntrailer",
	} {
		v := newTokens(t, func(c *Config) { c.Token.RSAPublicKey = text }).Connection
		if _, err := v.Verify(token); err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestWeakChoicesAreNoted(t *testing.T) {
	notes := strings.Join(newTokens(t, func(c *Config) {
		c.Token.HMACSecretKey, c.Token.HMACPreviousSecretKey = "short-canary", previousText
		c.Token.JWKSEndpoint = "http://id.test/certs"
	}).Notes(), "\n")
	for _, want := range []string{"hmac_secret_key: has 12 bytes", "accepted for ever", "without encryption", "made for other services"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note %q in\n%s", want, notes)
		}
	}
	if strings.Contains(notes, "canary") {
		t.Error("a secret is in the notes")
	}
	if notes := newTokens(t, withHMAC).Notes(); len(notes) != 0 {
		t.Errorf("a good configuration is noted: %q", notes)
	}
}

// S17.
func TestSecretsNeverShow(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Token.HMACSecretKey, cfg.SubscriptionToken.HMACPreviousSecretKey = "canary", "canary"
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s"} {
		fmt.Fprintf(&out, verb+verb+verb, cfg.Token.HMACSecretKey, cfg, &cfg)
	}
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "cfg", cfg, "secret", cfg.Token.HMACSecretKey)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "cfg", cfg, "secret", cfg.Token.HMACSecretKey)
	all := out.String() + string(asJSON) + string(asYAML)
	if strings.Contains(all, "canary") || strings.Contains(all, fmt.Sprintf("%x", "canary")) || strings.Contains(all, "99 97 110") {
		t.Errorf("the secret is in\n%s", all)
	}
	if !strings.Contains(string(asYAML), redacted) || Secret("").String() != "" {
		t.Error("a set secret shows as set, an empty one as empty")
	}
}

func TestConfigIsReadFromYAML(t *testing.T) {
	var node yaml.Node
	text := `
token: {hmac_secret_key: canary, audience: a, issuer_regex: "x.*", user_id_claim: email}
subscription_token: {enabled: true, rsa_public_key: pem}
token_expiry_leeway: 10s
jwks: {refresh_after: 1m, fetch_rate: 2.5}
`
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	got := DefaultConfig()
	if err := channel.Decode(&node, &got, "client"); err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Token = KeyConfig{HMACSecretKey: "canary", Audience: "a", IssuerRegex: "x.*", UserIDClaim: "email"}
	want.SubscriptionToken = SubscriptionKeyConfig{Enabled: true, KeyConfig: KeyConfig{RSAPublicKey: "pem"}}
	want.ExpiryLeeway, want.JWKS.RefreshAfter, want.JWKS.FetchRate = 10*time.Second, time.Minute, 2.5
	if got != want {
		t.Errorf("%+v", got)
	}
	if err := yaml.Unmarshal([]byte("token: {hmac_secret: canary}\n"), &node); err != nil {
		t.Fatal(err)
	}
	err := channel.Decode(&node, &got, "client")
	if err == nil || !strings.Contains(err.Error(), "hmac_secret_key") || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}

func TestMadeTokensAreAcceptedByTheVerifierOfTheSameConfiguration(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Token = KeyConfig{HMACSecretKey: secretText, Issuer: "us", Audience: "them", UserIDClaim: "uid"}
	cfg.SubscriptionToken = SubscriptionKeyConfig{Enabled: true, KeyConfig: KeyConfig{HMACSecretKey: otherSecret}}
	tokens := newTokens(t, func(c *Config) { *c = cfg })
	token, err := MakeConnectionToken(cfg, TokenRequest{User: "u", TTL: time.Hour, Channels: []string{"a"}, Info: []byte(`{"n":1}`), Meta: []byte(`[1]`), ID: "j"}, noon)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tokens.Connection.Verify(token)
	if err != nil || c.User != "u" || c.ExpireAt != noon.Unix()+3600 || c.IssuedAt != noon.Unix() || c.ID != "j" || string(c.Info) != `{"n":1}` || string(c.Meta) != `[1]` || len(c.Subs) != 1 {
		t.Errorf("connection: %v %+v", err, c)
	}
	token, err = MakeSubscriptionToken(cfg, TokenRequest{User: "u", Channel: "$c", Client: "id", Data: []byte(`"d"`)}, noon)
	if err != nil {
		t.Fatal(err)
	}
	c, err = tokens.Subscription.Verify(token)
	if err != nil || c.Check("u", "$c", "id") != nil || c.ExpireAt != 0 || string(c.Data) != `"d"` {
		t.Errorf("subscription: %v %+v", err, c)
	}
	if _, err := tokens.Connection.Verify(token); err == nil {
		t.Error("a subscription token connects")
	}
	if token, err := MakeConnectionToken(cfg, TokenRequest{}, noon); err != nil {
		t.Error(err)
	} else if c, err := tokens.Connection.Verify(token); err != nil || c.User != "" {
		t.Errorf("anonymous: %v %+v", err, c)
	}
}

func TestTokensThatCannotWorkAreNotMade(t *testing.T) {
	cfg := DefaultConfig()
	withHMAC(&cfg)
	noAnonymous := cfg
	noAnonymous.DisallowAnonymous = true
	connection := func(cfg Config, r TokenRequest) error { _, err := MakeConnectionToken(cfg, r, noon); return err }
	subscription := func(cfg Config, r TokenRequest) error { _, err := MakeSubscriptionToken(cfg, r, noon); return err }
	for why, err := range map[string]error{
		"no key":                       connection(DefaultConfig(), TokenRequest{User: "u"}),
		"no subscription key":          subscription(DefaultConfig(), TokenRequest{User: "u", Channel: "c"}),
		"connection with channel":      connection(cfg, TokenRequest{User: "u", Channel: "c"}),
		"anonymous where not allowed":  connection(noAnonymous, TokenRequest{}),
		"subscription without channel": subscription(cfg, TokenRequest{User: "u"}),
		"subscription with channels":   subscription(cfg, TokenRequest{User: "u", Channel: "c", Channels: []string{"a"}}),
		"negative ttl":                 connection(cfg, TokenRequest{User: "u", TTL: -1}),
		"info is no JSON":              connection(cfg, TokenRequest{User: "u", Info: []byte("{")}),
	} {
		if err == nil {
			t.Errorf("%s: made", why)
		}
	}
}

func TestRevocationsHoldUntilTheyRunOutAndTheListIsBounded(t *testing.T) {
	r := NewRevocations(3)
	later := noon.Add(time.Hour)
	if r.Revoked("u", "j", 0) {
		t.Error("revoked by an empty list")
	}
	if err := errors.Join(r.RevokeToken("j", later), r.RevokeToken("j", noon), r.RevokeUser("u", noon, later), r.RevokeUser("u", noon.Add(-time.Hour), noon), r.RevokeToken("soon", noon)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, id string
		issuedAt int64
		want     bool
	}{
		{"x", "j", 0, true}, {"x", "k", 0, false}, {"x", "", 0, false}, {"u", "", 0, true}, {"u", "", noon.Unix(), true}, {"u", "", noon.Unix() + 1, false}, {"u", "j", noon.Unix() + 1, true},
	} {
		if got := r.Revoked(tt.user, tt.id, tt.issuedAt); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
	if err := r.RevokeToken("more", later); !errors.Is(err, ErrRevocationsFull) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := r.RevokeUser("more", noon, later); !errors.Is(err, ErrRevocationsFull) {
		t.Errorf("beyond the limit: %v", err)
	}
	if n := r.Sweep(noon.Add(time.Second)); n != 1 || r.Revoked("x", "soon", 0) || !r.Revoked("x", "j", 0) {
		t.Errorf("swept %d", n)
	}
	if n := r.Sweep(later.Add(time.Second)); n != 2 || r.Revoked("u", "j", 0) || r.count.Load() != 0 {
		t.Errorf("swept %d", n)
	}
}
