package channel

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNamesBelongToTheNamespaceBeforeTheFirstBoundary(t *testing.T) {
	r := compile(t, town)
	for _, tt := range []struct {
		name, ns, rest   string
		private, limited bool
		code             Code
		why              string
	}{
		{name: "lobby", rest: "lobby", why: "no boundary: without_namespace"},
		{name: "news:sport", ns: "news", rest: "sport"},
		{name: "news:sport:local", ns: "news", rest: "sport:local", why: "the first boundary decides"},
		{name: "news:", ns: "news", why: "an empty rest is a name"},
		{name: "$news:sport", ns: "news", rest: "sport", private: true},
		{name: "$lobby", rest: "$lobby", private: true},
		{name: "$$news:x", code: UnknownChannel, why: "only one prefix is stripped"},
		{name: "chat:#1", ns: "chat", rest: "#1", limited: true},
		{name: "chat:dialog#1,2", ns: "chat", rest: "dialog#1,2", limited: true},
		{name: "news:a#1", ns: "news", rest: "a#1", why: "lists count only where the namespace allows them"},
		{name: "a b", rest: "a b", why: "space is printable"},
		{name: "*", rest: "*", why: "not mapped: an ordinary character"},
		{name: "", code: CloseBadRequest, why: "8, step 1"},
		{name: ":x", code: UnknownChannel, why: "the empty namespace is none"},
		{name: "none:x", code: UnknownChannel},
		{name: "News:x", code: UnknownChannel, why: "names are case-sensitive"},
		{name: strings.Repeat("a", 255), rest: strings.Repeat("a", 255)},
		{name: strings.Repeat("a", 256), code: BadRequest, why: "8, step 2"},
		{name: "none:" + strings.Repeat("a", 300), code: BadRequest, why: "length is judged before the namespace"},
	} {
		ch, code := r.Lookup(tt.name)
		if code != tt.code {
			t.Errorf("%.40q: %v, want %v (%s)", tt.name, code, tt.code, tt.why)
			continue
		}
		if code != Allowed {
			if ch != (Channel{}) {
				t.Errorf("%.40q: refused, yet something of it came back", tt.name)
			}
			continue
		}
		if ch.Name != tt.name || ch.Namespace.Name != tt.ns || ch.Rest != tt.rest || ch.Private != tt.private || ch.UserLimited != tt.limited {
			t.Errorf("%.40q: %+v (%s)", tt.name, ch, tt.why)
		}
	}
}

// S12: what must not come near a subject, a log or a JSON string.
var hostileNames = []string{
	"a\r\nPUB x 1", "a\nb", "a\x00b", "\x00", "a\tb", "a\x7f", "\u202enews", "наст", "a\xff", "\xc3\x28", "\xed\xa0\x80", "a\u0085b", "\u009b31m",
}

func TestHostileNamesAreRefusedByDefault(t *testing.T) {
	r := compile(t, town)
	for _, name := range hostileNames {
		for _, prefix := range []string{"", "news:", "chat:", "sensors:"} {
			if _, code := r.Lookup(prefix + name); code != BadRequest {
				t.Errorf("%q: %v, want %v", prefix+name, code, BadRequest)
			}
		}
	}
}

func TestChannelRegexReplacesTheASCIICheckButNeverAllowsControlCharactersOrBrokenUTF8(t *testing.T) {
	r := compile(t, town)
	for name, want := range map[string]Code{
		"digits:123":   Allowed,
		"digits:12a":   BadRequest,
		"digits:":      BadRequest,
		"$digits:123":  Allowed,
		"any:наст":     Allowed,
		"any:a\u202eb": Allowed,
		"any:a\nb":     BadRequest,
		"any:a\x00":    BadRequest,
		"any:\xff":     BadRequest,
		"any:\x7f":     BadRequest,
		"any:\u0085":   BadRequest,
	} {
		if _, code := r.Lookup(name); code != want {
			t.Errorf("%q: %v, want %v", name, code, want)
		}
	}
}

func TestSeparatorsCanBeChangedAndSwitchedOff(t *testing.T) {
	r := compile(t, func(c *Config, _ *RPCConfig, _ *Environment) {
		c.PrivatePrefix, c.NamespaceBoundary, c.UserBoundary, c.UserSeparator = "!!", "/", "@", ";"
		c.WithoutNamespace.AllowUserLimitedChannels = true
		c.Namespaces = []NamespaceConfig{{Name: "a"}}
	})
	if ch, code := r.Lookup("!!a/b:c$d#e"); code != Allowed || !ch.Private || ch.Namespace.Name != "a" || ch.Rest != "b:c$d#e" {
		t.Errorf("own separators: %+v %v", ch, code)
	}
	if ch, _ := r.Lookup("x@1;2"); !r.UserAllowed(&ch, "2") || r.UserAllowed(&ch, "1;2") {
		t.Error("own user separators are not honoured")
	}
	r = compile(t, func(c *Config, _ *RPCConfig, _ *Environment) {
		c.PrivatePrefix, c.NamespaceBoundary, c.UserBoundary, c.UserSeparator = "", "", "", ""
		c.WithoutNamespace.AllowUserLimitedChannels = true
	})
	if ch, code := r.Lookup("$a:b#c"); code != Allowed || ch.Private || ch.UserLimited || ch.Namespace.Name != "" {
		t.Errorf("separators off: %+v %v", ch, code)
	}
	r = compile(t, func(c *Config, _ *RPCConfig, _ *Environment) {
		c.UserSeparator = ""
		c.WithoutNamespace.AllowUserLimitedChannels = true
	})
	if ch, _ := r.Lookup("a#1,2"); !r.UserAllowed(&ch, "1,2") || r.UserAllowed(&ch, "1") {
		t.Error("without a user separator the whole list is one user")
	}
}

func TestUserListsNameExactUsersAndNeverTheAnonymousOne(t *testing.T) {
	r := compile(t, town)
	for _, tt := range []struct {
		name, user string
		want       bool
	}{
		{"chat:d#1,22", "1", true}, {"chat:d#1,22", "22", true}, {"chat:d#1,22", "2", false}, {"chat:d#1,22", "1,22", false},
		{"chat:#1#2", "2", true}, {"chat:#1#2", "1", false}, {"chat:#1#2", "1#2", false},
		{"chat:d#", "", false}, {"chat:d#1,", "", false}, {"chat:d#,", "", false},
		{"chat:plain", "plain", false}, {"news:d#1", "1", false},
	} {
		ch, code := r.Lookup(tt.name)
		if code != Allowed {
			t.Fatalf("%q: %v", tt.name, code)
		}
		if got := r.UserAllowed(&ch, tt.user); got != tt.want {
			t.Errorf("%q for %q: %v", tt.name, tt.user, got)
		}
	}
}

func TestPersonalChannelsCannotBeAnybodyElses(t *testing.T) {
	at := func(ns string) *Rules {
		return compile(t, func(c *Config, rpc *RPCConfig, env *Environment) {
			town(c, rpc, env)
			c.WithoutNamespace.AllowUserLimitedChannels = true
			c.PersonalChannel = PersonalChannelConfig{Enabled: true, Namespace: ns}
		})
	}
	for _, tt := range []struct {
		ns, user, want string
		ok             bool
	}{
		{"", "42", "#42", true}, {"chat", "42", "chat:#42", true}, {"chat", "google:42", "chat:#google:42", true},
		{"", "", "", false}, {"", "1,2", "", false}, {"chat", "1#2", "", false},
		{"", "chat:7", "#chat:7", false}, {"", "a\nb", "#a\nb", false}, {"", strings.Repeat("u", 255), "", false},
	} {
		got, ok := at(tt.ns).PersonalChannel(tt.user)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("namespace %q, user %.20q: %.20q %v", tt.ns, tt.user, got, ok)
		}
	}
	odd := compile(t, func(c *Config, _ *RPCConfig, _ *Environment) {
		c.UserBoundary = "."
		c.PersonalChannel.Enabled = true
		c.Namespaces = []NamespaceConfig{{Name: ".chat"}}
	})
	if name, ok := odd.PersonalChannel("chat:7"); ok {
		t.Errorf("a user id chose the namespace: %q", name)
	}
	if _, ok := compile(t, town).PersonalChannel("42"); ok {
		t.Error("a personal channel without the option")
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	r := compile(t, town)
	for _, name := range []string{"lobby", "news:sport", "$chat:dialog#1,2", "none:x", "digits:123", "sensors:a.b.*", "plant:7", strings.Repeat("x", 300)} {
		if n := testing.AllocsPerRun(100, func() { r.Lookup(name) }); n != 0 {
			t.Errorf("Lookup(%q): %v allocations", name, n)
		}
	}
	q := SubscribeRequest{Channel: "chat:dialog#1,2", User: "2"}
	if n := testing.AllocsPerRun(100, func() { r.CanSubscribe(q) }); n != 0 {
		t.Errorf("CanSubscribe: %v allocations", n)
	}
	c := Client{User: "2", Subscribed: true}
	data := []byte(`{"a":1}`)
	if n := testing.AllocsPerRun(100, func() { r.CanPublish("chat:x", c, data); r.CanPresence("chat:x", c) }); n != 0 {
		t.Errorf("CanPublish and CanPresence: %v allocations", n)
	}
}

func FuzzLookup(f *testing.F) {
	for _, n := range append(hostileNames, "a", "$a:b#c,d", ":", "sensors:a.*", "sensors:>", "plant:*", "digits:1") {
		f.Add(n, "u")
	}
	r := compile(f, town)
	f.Fuzz(func(t *testing.T, name, user string) {
		ch, code := r.Lookup(name)
		v := r.CanSubscribe(SubscribeRequest{Channel: name, User: user})
		if code != Allowed {
			if v.Decision != Refuse || v.Code != code {
				t.Fatalf("%q: lookup says %v, subscribe %v %v", name, code, v.Decision, v.Code)
			}
			return
		}
		if ch.Name != name || !strings.HasSuffix(name, ch.Rest) || len(name) > 255 {
			t.Fatalf("%q taken apart as %+v", name, ch)
		}
		if !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\r\n\x7f") {
			t.Fatalf("%q was let in", name)
		}
		if ch.Private && v.Decision != Refuse {
			t.Fatalf("%q: private, and granted without a token", name)
		}
		if ch.UserLimited && v.Decision == Grant && !strings.HasSuffix(name, user) && !strings.Contains(name, user+",") {
			t.Fatalf("%q granted to %q", name, user)
		}
	})
}
