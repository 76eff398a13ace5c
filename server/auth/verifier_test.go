package auth

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"throng/server/channel"
)

func reasonOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &e):
		return e.Reason.String()
	}
	return err.Error()
}

func TestEveryAlgorithmIsVerifiedWithItsKey(t *testing.T) {
	k := keys()
	v := newTokens(t, allKeys(t)).Connection
	for alg, sign := range map[string]signer{
		"HS256": withSecret(sha256.New, secretText), "HS384": withSecret(sha512.New384, secretText), "HS512": withSecret(sha512.New, secretText),
		"RS256": withRSA(k.rsa, crypto.SHA256), "RS384": withRSA(k.rsa, crypto.SHA384), "RS512": withRSA(k.rsa, crypto.SHA512),
		"ES256": withECDSA(k.p256, crypto.SHA256), "ES384": withECDSA(k.p384, crypto.SHA384), "ES512": withECDSA(k.p521, crypto.SHA512),
		"EdDSA": withEd(k.ed),
	} {
		token := mint(`{"alg":"`+alg+`","kid":"any"}`, `{"sub":"42"}`, sign)
		if _, err := v.Verify(token); (alg == "ES384" || alg == "ES512") != (err == ErrNeedsFetch) {
			t.Errorf("%s on a poller: %v", alg, err)
		}
		c, err := v.VerifyBlocking(t.Context(), token)
		if err != nil || c.User != "42" {
			t.Errorf("%s: %v %+v", alg, reasonOf(err), c)
		}
		// Every single bit of the signature counts.
		i := strings.LastIndexByte(token, '.') + 3
		broken := token[:i] + string(token[i]^1|0x40) + token[i+1:]
		if broken == token {
			broken = token[:i] + "-" + token[i+1:]
		}
		if _, err := v.VerifyBlocking(t.Context(), broken); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s with a broken signature: %v", alg, err)
		}
	}
}

// The examples of the standards, made by others.
func TestTokensOfTheStandardsVerify(t *testing.T) {
	now := time.Unix(1_300_819_300, 0)
	hmacKey, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	if err != nil {
		t.Fatal(err)
	}
	v := newTokens(t, func(c *Config) {
		c.Token.HMACSecretKey = Secret(hmacKey)
		c.Token.Issuer = "joe"
	}, func(o *Options) { o.Now = func() time.Time { return now } }).Connection
	const rfc7515A1 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	if c, err := v.Verify(rfc7515A1); err != nil || c.ExpireAt != 1300819380 || c.User != "" {
		t.Errorf("RFC 7515, A.1: %v %+v", err, c)
	}
	number := func(s string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(b)
	}
	ec := keys().p256.PublicKey
	//lint:ignore SA1019 the test writes a key out by its coordinates, which is what the standard prints
	ec.X, ec.Y = number("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"), number("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
	const rfc7515A3 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	checkStandard(t, "RFC 7515, A.3", rfc7515A3, &ec)
	const rfc8037A4 = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	set, _, err := parseKeySet([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`), 1)
	if err != nil || set.lone == nil {
		t.Fatalf("RFC 8037, A.2: %v %+v", err, set)
	}
	checkStandard(t, "RFC 8037, A.4", rfc8037A4, set.lone[0].material)
}

func checkStandard(t *testing.T, name, token string, material any) {
	t.Helper()
	k, err := publicKey(material)
	if err != nil {
		t.Fatal(name, err)
	}
	parsed, err := parseToken(token, 1<<10)
	if err != nil || !k.verify(parsed.algorithm, parsed.signed, parsed.signature) {
		t.Errorf("%s does not verify: %v", name, err)
	}
}

// wrongToken is a token that is wrong in one way only, and the reason it must be refused for.
type wrongToken struct{ why, token, reason string }

const (
	ours   = `"iss":"us","aud":"throng"`
	good   = `{"sub":"42",` + ours + `}`
	hsHead = `{"alg":"HS256"}`
)

func wrongAlgorithms(t *testing.T) []wrongToken {
	k, hs := keys(), withSecret(sha256.New, secretText)
	rsaPEM := publicPEM(t, k.rsa)
	return []wrongToken{
		{"alg none", mint(`{"alg":"none"}`, good, func(string) []byte { return []byte{0} }), "algorithm"},
		{"alg none, no signature", b64(`{"alg":"none"}`) + "." + b64(good) + ".", "malformed"},
		{"alg None", mint(`{"alg":"None"}`, good, hs), "algorithm"},
		{"alg in lower case", mint(`{"alg":"hs256"}`, good, hs), "algorithm"},
		{"no alg", mint(`{"typ":"JWT"}`, good, hs), "algorithm"},
		{"alg is null", mint(`{"alg":null}`, good, hs), "algorithm"},
		{"alg is a list", mint(`{"alg":["HS256"]}`, good, hs), "malformed"},
		{"ALG is not alg", mint(`{"ALG":"HS256"}`, good, hs), "algorithm"},
		{"PS256 is not served", mint(`{"alg":"PS256"}`, good, withRSA(k.rsa, crypto.SHA256)), "algorithm"},
		{"HS256 keyed with our public RSA key", mint(hsHead, good, withSecret(sha256.New, rsaPEM)), "signature"},
		{"HS256 keyed with its body", mint(hsHead, good, withSecret(sha256.New, strings.TrimSpace(rsaPEM))), "signature"},
		{"HS256 claiming RS256", mint(`{"alg":"RS256"}`, good, hs), "signature"},
		{"RS256 claiming RS512", mint(`{"alg":"RS512"}`, good, withRSA(k.rsa, crypto.SHA256)), "signature"},
		{"RS256 of another key", mint(`{"alg":"RS256"}`, good, withRSA(k.rsaOther, crypto.SHA256)), "signature"},
		{"ES256 of another key", mint(`{"alg":"ES256"}`, good, withECDSA(k.evil, crypto.SHA256)), "signature"},
		{"ES256 under a P-384 key", mint(`{"alg":"ES256"}`, good, withECDSA(k.p384, crypto.SHA256)), "signature"},
		{"ES256 of zeros", mint(`{"alg":"ES256"}`, good, func(string) []byte { return make([]byte, 64) }), "signature"},
		{"EdDSA of another key", mint(`{"alg":"EdDSA"}`, good, withEd(k.edOther)), "signature"},
		{"another secret", mint(hsHead, good, withSecret(sha256.New, otherSecret)), "signature"},
		{"the empty secret", mint(hsHead, good, withSecret(sha256.New, "")), "signature"},
		{"crit", mint(`{"alg":"HS256","crit":["b64"],"b64":false}`, good, hs), "malformed"},
		{"kid is a number", mint(`{"alg":"HS256","kid":1}`, good, hs), "malformed"},
		{"kid is huge", mint(`{"alg":"HS256","kid":"`+strings.Repeat("k", 300)+`"}`, good, hs), "malformed"},
		{"header is huge", mint(`{"alg":"HS256","x":"`+strings.Repeat("k", 5000)+`"}`, good, hs), "malformed"},
		{"header is a list", mint(`["HS256"]`, good, hs), "malformed"},
		{"header is deep", mint(strings.Repeat("[", 2000), good, hs), "malformed"},
	}
}

func wrongShapes() []wrongToken {
	right := hsToken(good)
	return []wrongToken{
		{"empty", "", "malformed"}, {"dots", "..", "malformed"}, {"one part", "abc", "malformed"},
		{"two parts", right[:strings.LastIndexByte(right, '.')], "malformed"},
		{"four parts", right + ".x", "malformed"}, {"five parts (JWE)", "a.b.c.d.e", "malformed"},
		{"truncated", right[:len(right)-3], "signature"},
		{"truncated to a broken end", right[:len(right)-2], "malformed"},
		{"padding", right + "=", "malformed"}, {"line break at the end", right + "\n", "malformed"},
		{"line break inside", strings.Replace(right, ".", ".\n", 1), "malformed"}, {"space", " " + right, "malformed"},
		{"Bearer", "Bearer " + right, "malformed"}, {"standard base64", strings.Replace(right, ".", "+.", 1), "malformed"},
		{"stray bits", right[:len(right)-1] + string(right[len(right)-1]+1), "malformed"},
		{"too long", right + strings.Repeat("A", 32<<10), "too_long"},
		{"64 KiB", strings.Repeat("eyJ.", 16<<10), "too_long"},
	}
}

func wrongClaims() []wrongToken {
	hs := withSecret(sha256.New, secretText)
	withChannel := `{"sub":"42",` + ours + `,"channel":"news"}`
	return []wrongToken{
		{"payload is a list", mint(hsHead, `[]`, hs), "claims"}, {"payload is text", mint(hsHead, `"x"`, hs), "claims"},
		{"payload is empty", mint(hsHead, ``, hs), "claims"}, {"payload is broken", mint(hsHead, `{"sub":`, hs), "claims"},
		{"payload has a tail", mint(hsHead, good+`{}`, hs), "claims"}, {"payload is no UTF-8", mint(hsHead, "{\"sub\":\"\xff\"}", hs), "claims"},
		{"sub is a number", mint(hsHead, `{"sub":42,`+ours+`}`, hs), "claims"}, {"sub is a list", mint(hsHead, `{"sub":["42"],`+ours+`}`, hs), "claims"},
		{"exp is text", mint(hsHead, `{"sub":"42","exp":"1800000100",`+ours+`}`, hs), "claims"}, {"exp is endless", mint(hsHead, `{"sub":"42","exp":1e300,`+ours+`}`, hs), "claims"},
		{"expire_at is negative", mint(hsHead, `{"sub":"42","expire_at":-1,`+ours+`}`, hs), "claims"},
		{"channels is text", mint(hsHead, `{"sub":"42","channels":"news",`+ours+`}`, hs), "claims"}, {"channels of numbers", mint(hsHead, `{"sub":"42","channels":[1],`+ours+`}`, hs), "claims"},
		{"subs is a list", mint(hsHead, `{"sub":"42","subs":["news"],`+ours+`}`, hs), "claims"}, {"b64info is broken", mint(hsHead, `{"sub":"42","b64info":"*",`+ours+`}`, hs), "claims"},
		{"no iss", mint(hsHead, `{"sub":"42","aud":"throng"}`, hs), "issuer"}, {"another iss", mint(hsHead, `{"sub":"42","iss":"them","aud":"throng"}`, hs), "issuer"},
		{"no aud", mint(hsHead, `{"sub":"42","iss":"us"}`, hs), "audience"}, {"another aud", mint(hsHead, `{"sub":"42","iss":"us","aud":["a","throngs"]}`, hs), "audience"},
		{"empty aud list", mint(hsHead, `{"sub":"42","iss":"us","aud":[]}`, hs), "audience"},
		{"a subscription token", mint(hsHead, withChannel, hs), "kind"},
		{"an empty channel is a channel", mint(hsHead, `{"sub":"42",`+ours+`,"channel":""}`, hs), "kind"},
		{"anonymous", mint(hsHead, `{`+ours+`}`, hs), "anonymous"},
		{"revoked by id", mint(hsHead, `{"sub":"42","jti":"stolen",`+ours+`}`, hs), "revoked"},
		{"revoked by user", mint(hsHead, `{"sub":"banned","iat":1800000000,`+ours+`}`, hs), "revoked"},
		{"revoked by user, no iat", mint(hsHead, `{"sub":"banned",`+ours+`}`, hs), "revoked"},
		{"expired", mint(hsHead, `{"sub":"42","exp":1799999970,`+ours+`}`, hs), "expired"}, {"exp 0 is 1970", mint(hsHead, `{"sub":"42","exp":0,`+ours+`}`, hs), "expired"},
		{"not yet", mint(hsHead, `{"sub":"42","nbf":1800000031,`+ours+`}`, hs), "not_yet"},
		{"expired and of another issuer", mint(hsHead, `{"sub":"42","exp":1,"iss":"them","aud":"throng"}`, hs), "issuer"},
		{"expired and badly signed", mint(hsHead, `{"sub":"42","exp":1,`+ours+`}`, withSecret(sha256.New, otherSecret)), "signature"},
	}
}

// S4, and what else may not pass. Each row is wrong in one way only.
func TestWrongTokensAreRefusedForTheRightReason(t *testing.T) {
	revoked := NewRevocations(0)
	if err := errors.Join(revoked.RevokeToken("stolen", noon.Add(time.Hour)), revoked.RevokeUser("banned", noon, noon.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	tokens := newTokens(t, func(c *Config) {
		allKeys(t)(c)
		c.Token.Issuer, c.Token.Audience = "us", "throng"
		c.DisallowAnonymous = true
	}, func(o *Options) { o.Revocations = revoked })
	if _, err := tokens.Connection.Verify(hsToken(good)); err != nil {
		t.Fatalf("the right token is refused: %v", err)
	}
	for _, tt := range slices.Concat(wrongAlgorithms(t), wrongShapes(), wrongClaims()) {
		c, err := tokens.Connection.Verify(tt.token)
		if reasonOf(err) != tt.reason {
			t.Errorf("%s: %s, want %s", tt.why, reasonOf(err), tt.reason)
		}
		if !reflect.DeepEqual(c, Claims{}) {
			t.Errorf("%s: refused, yet claims came back: %+v", tt.why, c)
		}
		if len(tt.token) > 10 && strings.Contains(err.Error(), tt.token[:10]) {
			t.Errorf("%s: the error quotes the token", tt.why)
		}
	}
	if _, err := tokens.Subscription.Verify(hsToken(`{"sub":"42",` + ours + `,"channel":"news"}`)); err != nil {
		t.Errorf("the subscription token is refused for its own use: %v", err)
	}
	if _, err := tokens.Subscription.Verify(hsToken(good)); reasonOf(err) != "kind" {
		t.Errorf("a connection token opened a subscription: %v", err)
	}
	if _, err := tokens.Subscription.Verify(hsToken(`{"sub":"42","channel":"",` + ours + `}`)); reasonOf(err) != "kind" {
		t.Errorf("a token for no channel opened a subscription: %v", err)
	}
}

func TestRefusingALongTokenCostsNothing(t *testing.T) {
	v := newTokens(t, withHMAC).Connection
	long := strings.Repeat("eyJ.", 16<<10)
	if n := testing.AllocsPerRun(100, func() { _, _ = v.Verify(long) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClocksMayBeOffByTheLeeway(t *testing.T) {
	v := newTokens(t, withHMAC).Connection
	for payload, want := range map[string]string{
		`{"exp":1799999971}`: "accepted", `{"exp":1799999970}`: "expired", `{"exp":1799999971.9}`: "accepted", `{"exp":1799999970.9}`: "expired",
		`{"nbf":1800000030}`: "accepted", `{"nbf":1800000031}`: "not_yet", `{"iat":1900000000}`: "accepted",
		`{"exp":1799999971,"expire_at":1}`: "accepted",
	} {
		if _, err := v.Verify(hsToken(payload)); reasonOf(err) != want {
			t.Errorf("%s at noon: %s, want %s", payload, reasonOf(err), want)
		}
	}
	for expireAt, want := range map[int64]struct {
		ttl  uint32
		code channel.Code
	}{
		0: {0, channel.Allowed}, noon.Unix() + 60: {60, channel.Allowed}, noon.Unix(): {1, channel.Allowed}, noon.Unix() - 29: {1, channel.Allowed},
		noon.Unix() - 30: {0, channel.Expired}, 1: {0, channel.Expired}, noon.Unix() + 1e9: {365 * 24 * 3600, channel.Allowed}, 9e14: {365 * 24 * 3600, channel.Allowed},
	} {
		if ttl, code := v.TTL(expireAt); ttl != want.ttl || code != want.code {
			t.Errorf("TTL(%d): %d %v, want %d %v", expireAt, ttl, code, want.ttl, want.code)
		}
	}
}

func TestAPreviousSecretServesUntilItsTime(t *testing.T) {
	now := noon
	clock := func(o *Options) { o.Now = func() time.Time { return now } }
	until := noon.Add(time.Hour)
	v := newTokens(t, func(c *Config) {
		c.Token.HMACSecretKey, c.Token.HMACPreviousSecretKey, c.Token.HMACPreviousValidUntil = secretText, previousText, until.Unix()
	}, clock).Connection
	old := mint(`{"alg":"HS512"}`, `{"sub":"1"}`, withSecret(sha512.New, previousText))
	if _, err := v.Verify(old); err != nil {
		t.Errorf("before: %v", err)
	}
	now = until.Add(time.Second)
	if _, err := v.Verify(old); reasonOf(err) != "signature" {
		t.Errorf("after: %v", err)
	}
	if _, err := v.Verify(hsToken(`{"sub":"1"}`)); err != nil {
		t.Errorf("the current one: %v", err)
	}
}

func TestIssuerAndAudienceExpressionsMustMatchTheWhole(t *testing.T) {
	v := newTokens(t, func(c *Config) {
		withHMAC(c)
		c.Token.IssuerRegex, c.Token.AudienceRegex = `https://id\.example\.com/[a-z]+|local`, `app-[0-9]`
	}).Connection
	for payload, want := range map[string]string{
		`{"iss":"https://id.example.com/a","aud":"app-1"}`:               "accepted",
		`{"iss":"local","aud":["x","app-2"]}`:                            "accepted",
		`{"iss":"https://evil/?https://id.example.com/a","aud":"app-1"}`: "issuer",
		`{"iss":"https://id.example.com/a\nx","aud":"app-1"}`:            "issuer",
		`{"iss":"xlocal","aud":"app-1"}`:                                 "issuer",
		`{"aud":"app-1"}`:                                                "issuer",
		`{"iss":"local","aud":"app-12"}`:                                 "audience",
		`{"iss":"local"}`:                                                "audience",
	} {
		if _, err := v.Verify(hsToken(payload)); reasonOf(err) != want {
			t.Errorf("%s: %s, want %s", payload, reasonOf(err), want)
		}
	}
}

func TestSubscriptionTokensMayHaveKeysOfTheirOwn(t *testing.T) {
	own := func(c *Config) {
		withHMAC(c)
		c.SubscriptionToken.Enabled, c.SubscriptionToken.HMACSecretKey = true, otherSecret
	}
	tokens := newTokens(t, own)
	const payload = `{"sub":"1","channel":"a"}`
	byOwn := mint(`{"alg":"HS256"}`, payload, withSecret(sha256.New, otherSecret))
	if _, err := tokens.Subscription.Verify(byOwn); err != nil {
		t.Errorf("own key: %v", err)
	}
	if _, err := tokens.Subscription.Verify(hsToken(payload)); reasonOf(err) != "signature" {
		t.Errorf("the connection key opened a subscription: %v", err)
	}
	if _, err := tokens.Connection.Verify(mint(`{"alg":"HS256"}`, `{}`, withSecret(sha256.New, otherSecret))); reasonOf(err) != "signature" {
		t.Errorf("the subscription key opened a connection: %v", err)
	}
	if _, err := newTokens(t, withHMAC).Subscription.Verify(hsToken(payload)); err != nil {
		t.Errorf("shared key: %v", err)
	}
}

func TestWithoutKeysNothingIsVerified(t *testing.T) {
	tokens := newTokens(t, nil)
	if tokens.Connection.Configured() || tokens.Subscription.Configured() {
		t.Error("configured without keys")
	}
	if _, err := tokens.Connection.Verify(hsToken(`{}`)); !errors.Is(err, ErrNotConfigured) {
		t.Errorf("%v", err)
	}
	if !newTokens(t, withHMAC).Subscription.Configured() {
		t.Error("not configured with a key")
	}
}

func TestReloadSwapsAllKeysAtOnceOrNone(t *testing.T) {
	tokens := newTokens(t, withHMAC)
	token := hsToken(`{"sub":"1"}`)
	bad := DefaultConfig()
	bad.Token.HMACSecretKey, bad.Token.RSAPublicKey = otherSecret, "nonsense"
	if err := tokens.Reload(bad); err == nil {
		t.Fatal("a broken configuration was taken")
	}
	if _, err := tokens.Connection.Verify(token); err != nil {
		t.Errorf("after a failed reload: %v", err)
	}
	next := DefaultConfig()
	next.Token.HMACSecretKey = otherSecret
	if err := tokens.Reload(next); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Connection.Verify(token); reasonOf(err) != "signature" {
		t.Errorf("the withdrawn key still opens: %v", err)
	}
	if _, err := tokens.Connection.Verify(mint(`{"alg":"HS256"}`, `{}`, withSecret(sha256.New, otherSecret))); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if n := tokens.Stats().Reloads.Load(); n != 1 {
		t.Errorf("%d reloads counted", n)
	}
}

func TestReloadUnderLoadNeverMixesKeys(t *testing.T) {
	a, b := DefaultConfig(), DefaultConfig()
	a.Token.HMACSecretKey, a.Token.Issuer = secretText, "a"
	b.Token.HMACSecretKey, b.Token.Issuer = otherSecret, "b"
	tokens, err := NewTokens(a, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	mixed := mint(`{"alg":"HS256"}`, `{"iss":"b"}`, withSecret(sha256.New, secretText))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			if err := tokens.Reload([]Config{a, b}[i%2]); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			if _, err := tokens.Connection.Verify(mixed); err == nil {
				t.Fatal("a token was judged by the key of one configuration and the issuer of another")
			}
		}
	}
}

func TestFailuresAreToldAsTheProtocolSays(t *testing.T) {
	for _, tt := range []struct {
		err                                     error
		connect, refresh, subscribe, subRefresh channel.Code
	}{
		{nil, 0, 0, 0, 0},
		{refuse(ReasonSignature), 3500, 3500, 103, 3500},
		{refuse(ReasonKind), 3500, 3500, 103, 3500},
		{refuse(ReasonExpired), 109, 3005, 109, 3006},
		{refuse(ReasonNotYet), 109, 3005, 109, 3006},
		{refuse(ReasonAnonymous), 3507, 3507, 3507, 3507},
		{ErrMismatch, 3500, 3500, 3500, 3500},
		{refuse(ReasonUnavailable), 100, 100, 100, 100},
		{ErrNeedsFetch, 100, 100, 100, 100},
		{ErrNotConfigured, 3500, 3500, 103, 3500},
		{errors.New("anything"), 100, 100, 100, 100},
	} {
		got := [...]channel.Code{Code(Connect, tt.err), Code(Refresh, tt.err), Code(Subscribe, tt.err), Code(SubRefresh, tt.err)}
		if want := [...]channel.Code{tt.connect, tt.refresh, tt.subscribe, tt.subRefresh}; got != want {
			t.Errorf("%v: %d, want %d", tt.err, got, want)
		}
	}
	for _, r := range Reasons() {
		if r.String() == "" || refuse(r).Error() == "" {
			t.Errorf("reason %d has no name", r)
		}
	}
}

func TestOutcomesAreCountedByReason(t *testing.T) {
	tokens := newTokens(t, withHMAC)
	for range 3 {
		_, _ = tokens.Connection.Verify(hsToken(`{}`))
	}
	_, _ = tokens.Connection.Verify("x")
	_, _ = tokens.Subscription.VerifyBlocking(t.Context(), hsToken(`{"channel":"a","exp":1}`))
	s := tokens.Stats()
	if s.Verified.Load() != 3 || s.Refused[ReasonMalformed].Load() != 1 || s.Refused[ReasonExpired].Load() != 1 {
		t.Errorf("verified %d, malformed %d, expired %d", s.Verified.Load(), s.Refused[ReasonMalformed].Load(), s.Refused[ReasonExpired].Load())
	}
}
