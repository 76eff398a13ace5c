package auth

import (
	"crypto"
	"crypto/sha256"
	"strings"
	"testing"
)

// What a verification costs, right tokens by algorithm and wrong ones by how far they come.
func BenchmarkVerify(b *testing.B) {
	k := keys()
	v := newTokens(b, allKeys(b)).Connection
	const claims = `{"sub":"42","iat":1800000000,"exp":1800003600,"info":{"name":"Zoe"}}`
	fat := `{"sub":"42","channels":["` + strings.Repeat(`news:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","`, 500) + `x"]}`
	for _, bench := range []struct{ name, token string }{
		{"HS256", hsToken(claims)},
		{"RS256", rsToken("", claims, k.rsa)},
		{"ES256", mint(`{"alg":"ES256"}`, claims, withECDSA(k.p256, crypto.SHA256))},
		{"ES512", mint(`{"alg":"ES512"}`, claims, withECDSA(k.p521, crypto.SHA512))},
		{"EdDSA", mint(`{"alg":"EdDSA"}`, claims, withEd(k.ed))},
		{"HS256/500_channels", hsToken(fat)},
		{"refused/64KiB", strings.Repeat("eyJ.", 16<<10)},
		{"refused/30KiB_wrong_secret", mint(`{"alg":"HS256"}`, strings.Repeat("x", 22<<10), withSecret(sha256.New, otherSecret))},
		{"refused/30KiB_wrong_ES512", mint(`{"alg":"ES512"}`, strings.Repeat("x", 22<<10), func(string) []byte { return []byte(strings.Repeat("s", 132)) })},
		{"refused/alg_none", mint(`{"alg":"none"}`, claims, func(string) []byte { return []byte{1} })},
		{"refused/deep_header", mint(strings.Repeat("[", 3000), claims, func(string) []byte { return []byte{1} })},
		{"refused/30KiB_deep_payload", hsToken(strings.Repeat("[", 22<<10))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = v.VerifyBlocking(b.Context(), bench.token)
			}
		})
	}
}

func BenchmarkOrigin(b *testing.B) {
	o := origins(b, "https://a.test", "https://*.example.com")
	b.ReportAllocs()
	for b.Loop() {
		o.Check("https://app.example.com", "node.test")
	}
}
