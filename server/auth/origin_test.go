package auth

import (
	"net/url"
	"strings"
	"testing"
)

func origins(t testing.TB, allowed ...string) *Origins {
	t.Helper()
	o, err := NewOrigins(allowed)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// S3: everything that looks like an allowed origin and is not.
func TestOriginTricksAreRefused(t *testing.T) {
	o := origins(t, "https://example.com", "https://*.example.com", "https://app-*.preview.example.net", "http://localhost:8080", "http://[::1]:3000", "capacitor://localhost", "https://10.0.0.1")
	for _, origin := range []string{
		"null", "http://example.com", "https://example.com:444", "https://example.com:80", "https://example.com.", "https://example.com.evil.com", "https://evilexample.com",
		"https://example.com@evil.com", "https://evil.com@example.com", "https://user@example.com", "https://example.com:443@evil.com", "https://example.com/", "https://example.com/x",
		"https://example.com?x", "https://example.com#x", `https://example.com\.evil.com`, "https://evil.com/.example.com", "https://evil.com?.example.com", "https://evil.com#.example.com",
		"https://.example.com", "https://a..example.com", "https://*.example.com", "https://a.example.com.", "https://example.com:", "https://example.com:0", "https://example.com:0443",
		"https://example.com:65979", "https://example.com:443443", "https://example.com:x", "https:// example.com", " https://example.com", "https://example.com ", "https://example.com\x00",
		"https://example.com\nhttps://evil.com", "https://example.com,https://evil.com", "https://example.com https://evil.com", "https:example.com", "https:/example.com", "https:///example.com",
		"//example.com", "example.com", "https", "https://", "://example.com", "1https://example.com", "javascript://example.com", "https%3a//example.com", "https://example%2ecom",
		"https://ex\u0430mple.com", "https://example\uff0ecom", "https://xn--example.com", "https://example.co", "https://xample.com",
		"https://app-.preview.example.net", "https://app-1.2.preview.example.net", "https://app-1.preview.example.net.evil.com", "https://x-1.preview.example.net", "https://app-1.evil.preview.example.net",
		"http://localhost", "http://localhost:80800", "http://localhost:8081", "https://localhost:8080", "http://127.0.0.1:8080",
		"http://[::1]", "http://[::1]:3001", "http://[::1]3000", "http://::1:3000", "http://[::2]:3000", "http://[::1%25lo]:3000", "http://[::ffff:127.0.0.1]:3000", "http://[::1]:3000]", "http://[127.0.0.1]:3000", "http://[]:3000", "http://[::1]:",
		"capacitor://evil", "capacitor://localhost:80", "https://10.0.0.1.evil.com", "https://010.0.0.1", "https://10.0.0.1:8443",
		"https://" + strings.Repeat("a", 600) + ".example.com",
	} {
		if o.Check(origin, "example.com") != OriginRefused {
			t.Errorf("%q was let in", origin)
		}
	}
}

func TestAllowedOriginsAreLetIn(t *testing.T) {
	for _, tt := range []struct{ pattern, origin string }{
		{"https://example.com", "https://example.com"}, {"https://example.com", "HTTPS://EXAMPLE.com"}, {"https://example.com", "https://example.com:443"}, {"HTTPS://Example.COM:443", "https://example.com"},
		{"https://*.example.com", "https://a.example.com"}, {"https://*.example.com", "https://A.b.EXAMPLE.com:443"}, {"https://*.example.com:8443", "https://a.example.com:8443"},
		{"https://app-*.example.net", "https://app-1-x.example.net"}, {"https://*-app.example.net", "https://x-app.example.net"}, {"https://a*b.example.net", "https://axb.example.net"},
		{"http://localhost:*", "http://localhost:5173"}, {"http://localhost:*", "http://localhost"}, {"http://*.localhost:*", "http://app.localhost:1"},
		{"*://example.com", "https://example.com"}, {"*://example.com", "http://example.com"}, {"*://example.com:*", "http://example.com:81"}, {"*://*.example.com", "http://a.example.com"}, {"*://example.com:90", "http://example.com:90"},
		{"capacitor://localhost", "capacitor://localhost"}, {"ionic://*", "ionic://whatever"}, {"https://*", "https://a.b"}, {"https://*:*", "https://a.b:7"}, {"chrome-extension://*", "chrome-extension://abcdef"},
		{"http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"}, {"https://[2001:DB8::1]", "https://[2001:db8::1]:443"}, {"https://[2001:db8::1]:*", "https://[2001:db8::1]:9"},
		{"https://10.0.0.1", "https://10.0.0.1"}, {"https://example.com.", "https://example.com."}, {"https://my_host", "https://my_host"}, {"null", "null"}, {"*", "null"}, {"*", "anything at all"},
	} {
		if origins(t, tt.pattern).Check(tt.origin, "other.test") != OriginAllowed {
			t.Errorf("%q does not let in %q", tt.pattern, tt.origin)
		}
	}
	for _, tt := range []struct{ pattern, origin string }{
		{"*://example.com", "http://example.com:81"}, {"ionic://*", "capacitor://x"}, {"https://*", "https://a:444"}, {"https://*", "http://a"}, {"*://example.com:90", "http://example.com"}, {"https://*.example.com:8443", "https://a.example.com"},
	} {
		if origins(t, tt.pattern).Check(tt.origin, "other.test") != OriginRefused {
			t.Errorf("%q lets in %q", tt.pattern, tt.origin)
		}
	}
}

func TestWithoutAListTheSameHostIsAllowed(t *testing.T) {
	for _, tt := range []struct {
		origin, host string
		want         OriginVerdict
	}{
		{"https://a.test", "a.test", OriginAllowed}, {"http://a.test", "a.test", OriginAllowed}, {"https://A.test", "a.TEST:443", OriginAllowed}, {"http://a.test:8080", "a.test:8080", OriginAllowed},
		{"http://[::1]:8080", "[0::1]:8080", OriginAllowed}, {"http://[::1]", "[::1]", OriginAllowed}, {"https://a.test.", "a.test.", OriginAllowed},
		{"https://a.test", "b.test", OriginRefused}, {"https://a.test:8443", "a.test", OriginRefused}, {"https://a.test", "a.test:8443", OriginRefused}, {"http://a.test", "a.test:443", OriginRefused},
		{"https://a.test.", "a.test", OriginRefused}, {"https://a.test", "a.test:x", OriginRefused}, {"https://a.test", "a.test:", OriginRefused}, {"https://a.test", "", OriginRefused}, {"https://a.test", "u@a.test", OriginRefused},
		{"chrome-extension://a.test", "a.test", OriginRefused}, {"null", "null", OriginRefused}, {"null", "a.test", OriginRefused}, {"http://[::1]", "::1", OriginRefused}, {"https://x.a.test", "a.test", OriginRefused},
		{"", "a.test", OriginAbsent},
	} {
		if got := origins(t).Check(tt.origin, tt.host); got != tt.want {
			t.Errorf("%q at %q: %v, want %v", tt.origin, tt.host, got, tt.want)
		}
		if got := origins(t, "https://other.test", "self").Check(tt.origin, tt.host); got != tt.want {
			t.Errorf("self: %q at %q: %v, want %v", tt.origin, tt.host, got, tt.want)
		}
	}
	if origins(t, "https://other.test").Check("https://a.test", "a.test") != OriginRefused {
		t.Error("a list without self still lets the same host in")
	}
	if origins(t, "*").Check("", "a.test") != OriginAbsent {
		t.Error("an absent origin is absent whatever the list")
	}
}

func TestWrongPatternsNameTheFix(t *testing.T) {
	for pattern, want := range map[string]string{
		"example.com": "write https://example.com", "https://example.com/": "without user, path and trailing slash", "https://u@example.com": "without user",
		"https://*example.com": "whole first label", "https://*.com": "whole first label", "https://a.*.example.com": "whole first label", "https://*.*.example.com": "whole first label", "https://app-*.com": "whole first label", "https://*.localhost.": "",
		"https://": "broken host", "https://a..b": "broken host", "https://a:99999": "broken host", "https://a:": "broken host", "https://exämple.com": "broken host", "https://[::1": "broken host", "https://a:1:*": "two ports",
		"1x://a": "broken scheme", "": "has no scheme", "*.example.com": "has no scheme", "https://a b": "broken host",
	} {
		_, err := NewOrigins([]string{"https://ok.test", pattern})
		if want == "" {
			continue // either way is fine, as long as nothing breaks
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "allowed_origins[1]") {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}

func TestOriginsDoNotAllocate(t *testing.T) {
	o := origins(t, "https://a.test", "https://*.example.com", "http://[::1]:*", "self")
	for _, origin := range []string{"https://x.example.com", "https://evil.test", "http://[::1]:7", "null", ""} {
		if n := testing.AllocsPerRun(100, func() { o.Check(origin, "b.test:8080") }); n != 0 {
			t.Errorf("%q: %v allocations", origin, n)
		}
	}
}

// FuzzOrigin holds the checker against net/url: what is let in must be exactly an origin below the allowed domain.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://a.example.com", "https://a.example.com:443", "https://example.com@evil.com", "https://[::1]", "null", "https://a.example.com/"} {
		f.Add(s, "example.com", "https://*.example.org")
	}
	o := origins(f, "https://*.example.com")
	same := origins(f)
	f.Fuzz(func(t *testing.T, origin, host, pattern string) {
		if o.Check(origin, host) == OriginAllowed {
			u, err := url.Parse(origin)
			if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" ||
				!strings.HasSuffix(strings.ToLower(u.Hostname()), ".example.com") || u.Port() != "" && u.Port() != "443" {
				t.Fatalf("%q was let in", origin)
			}
		}
		if same.Check(origin, host) == OriginAllowed {
			u, err := url.Parse(origin)
			if err != nil || u.User != nil || u.Path != "" || !strings.Contains(strings.ToLower(host), strings.ToLower(strings.Trim(u.Hostname(), "[]"))) && !strings.Contains(host, "[") {
				t.Fatalf("%q was let in at %q", origin, host)
			}
		}
		p, err := NewOrigins([]string{pattern})
		if err == nil {
			p.Check(origin, host)
		}
	})
}
