package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"hash"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Tokens in tests are signed by the standard library alone, so that the code under test is not its own measure.

const (
	secretText   = "canary-0123456789abcdef0123456789abcdef"
	previousText = "canary-previous-6789abcdef0123456789abc"
	otherSecret  = "somebody-else-0123456789abcdef0123456789"
)

// noon is what clocks of tests show.
var noon = time.Unix(1_800_000_000, 0)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

type signer func(signed string) []byte

func mint(header, payload string, sign signer) string {
	signed := b64(header) + "." + b64(payload)
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
}

func withSecret(newHash func() hash.Hash, secret string) signer {
	return func(signed string) []byte {
		m := hmac.New(newHash, []byte(secret))
		m.Write([]byte(signed))
		return m.Sum(nil)
	}
}

// hs256 token with the usual secret.
func hsToken(payload string) string {
	return mint(`{"alg":"HS256","typ":"JWT"}`, payload, withSecret(sha256.New, secretText))
}

// testKeys are made once; RSA takes long.
type testKeys struct {
	rsa, rsaOther          *rsa.PrivateKey
	p256, p384, p521, evil *ecdsa.PrivateKey
	ed, edOther            ed25519.PrivateKey
}

var keys = sync.OnceValue(func() *testKeys {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	k := &testKeys{}
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.rsaOther, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	for curve, key := range map[elliptic.Curve]**ecdsa.PrivateKey{elliptic.P256(): &k.p256, elliptic.P384(): &k.p384, elliptic.P521(): &k.p521} {
		*key, err = ecdsa.GenerateKey(curve, rand.Reader)
		must(err)
	}
	k.evil, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	_, k.edOther, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return k
})

func withRSA(k *rsa.PrivateKey, h crypto.Hash) signer {
	return func(signed string) []byte {
		d := h.New()
		d.Write([]byte(signed))
		sig, err := rsa.SignPKCS1v15(rand.Reader, k, h, d.Sum(nil))
		if err != nil {
			panic(err)
		}
		return sig
	}
}

func withECDSA(k *ecdsa.PrivateKey, h crypto.Hash) signer {
	return func(signed string) []byte {
		d := h.New()
		d.Write([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, k, d.Sum(nil))
		if err != nil {
			panic(err)
		}
		size := (k.Curve.Params().BitSize + 7) / 8
		sig := make([]byte, 2*size)
		r.FillBytes(sig[:size])
		s.FillBytes(sig[size:])
		return sig
	}
}

func withEd(k ed25519.PrivateKey) signer {
	return func(signed string) []byte { return ed25519.Sign(k, []byte(signed)) }
}

// publicPEM is the PEM text of the public halves.
func publicPEM(t testing.TB, keys ...crypto.Signer) string {
	t.Helper()
	var b strings.Builder
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// newTokens makes Tokens over the default configuration, at noon, closed with the test.
func newTokens(t testing.TB, edit func(*Config), options ...func(*Options)) *Tokens {
	t.Helper()
	cfg := DefaultConfig()
	if edit != nil {
		edit(&cfg)
	}
	o := Options{Now: func() time.Time { return noon }}
	for _, f := range options {
		f(&o)
	}
	tokens, err := NewTokens(cfg, o)
	if err != nil {
		t.Fatalf("configuration refused:\n%v", err)
	}
	t.Cleanup(tokens.Close)
	return tokens
}

func withHMAC(c *Config) { c.Token.HMACSecretKey = secretText }

// allKeys is a configuration with every kind of static key.
func allKeys(t testing.TB) func(*Config) {
	return func(c *Config) {
		k := keys()
		c.Token.HMACSecretKey = secretText
		c.Token.RSAPublicKey = publicPEM(t, k.rsa)
		c.Token.ECDSAPublicKey = publicPEM(t, k.p256, k.p384, k.p521)
		c.Token.Ed25519PublicKey = publicPEM(t, k.ed)
	}
}

var _ = sha512.New // linked for crypto.SHA384 and SHA512
