package channel

import (
	"strings"
	"testing"
)

func TestSubscribeIsDecidedInTheOrderOfTheSpecification(t *testing.T) {
	r := compile(t, town)
	insecure := compile(t, func(c *Config, rpc *RPCConfig, env *Environment) { town(c, rpc, env); env.Insecure = true })
	long := strings.Repeat("x", 256)
	for _, tt := range []struct {
		why   string
		q     SubscribeRequest
		want  Decision
		code  Code
		proxy string
		loose Decision // in insecure mode, if it differs
	}{
		{why: "1 empty, whatever else is wrong", q: SubscribeRequest{Already: true, Held: 128}, code: CloseBadRequest},
		{why: "2 too long, before already", q: SubscribeRequest{Channel: long, Already: true, Held: 128}, code: BadRequest},
		{why: "3 already, before the limit", q: SubscribeRequest{Channel: "none:x", Already: true, Held: 128}, code: AlreadySubbed},
		{why: "4 limit, before the namespace", q: SubscribeRequest{Channel: "none:x", Held: 128}, code: LimitExceeded},
		{why: "5 unknown namespace, before the name", q: SubscribeRequest{Channel: "none:\x00", Held: 127}, code: UnknownChannel},
		{why: "6 bad name", q: SubscribeRequest{Channel: "news:\x00", Token: true}, code: BadRequest},
		{why: "7 map subscriptions are not served", q: SubscribeRequest{Channel: "news:a", User: "1", Type: 1}, code: NotAvailable},
		{why: "8 private without token", q: SubscribeRequest{Channel: "$news:a", User: "1"}, code: PermissionDenied},
		{why: "9 private with token", q: SubscribeRequest{Channel: "$news:a", User: "1", Token: true}, want: VerifyToken},
		{why: "9 a token decides alone, also where anyone may", q: SubscribeRequest{Channel: "news:a", User: "1", Token: true}, want: VerifyToken},
		{why: "9 a token opens a user-limited name", q: SubscribeRequest{Channel: "chat:#2", User: "1", Token: true}, want: VerifyToken},
		{why: "9 and goes before the proxy", q: SubscribeRequest{Channel: "proxied:a", User: "1", Token: true}, want: VerifyToken},
		{why: "10 in the list", q: SubscribeRequest{Channel: "chat:#1,2", User: "2"}, want: Grant},
		{why: "not in the list is final", q: SubscribeRequest{Channel: "chat:#1,2", User: "3"}, code: PermissionDenied, loose: Grant},
		{why: "not in the list is final, also for the proxy", q: SubscribeRequest{Channel: "proxied:#1", User: "3"}, code: PermissionDenied, loose: Grant},
		{why: "in the list goes before the proxy", q: SubscribeRequest{Channel: "proxied:#1", User: "1"}, want: Grant},
		{why: "11 proxy", q: SubscribeRequest{Channel: "proxied:a"}, want: AskProxy, proxy: "crm"},
		{why: "13 any client", q: SubscribeRequest{Channel: "chat:a", User: "1"}, want: Grant},
		{why: "13 but not the anonymous one", q: SubscribeRequest{Channel: "chat:a"}, code: PermissionDenied, loose: Grant},
		{why: "13 unless allowed", q: SubscribeRequest{Channel: "news:a"}, want: Grant},
		{why: "15 closed", q: SubscribeRequest{Channel: "closed:a", User: "1"}, code: PermissionDenied, loose: Grant},
		{why: "15 without namespace", q: SubscribeRequest{Channel: "a", User: "1"}, code: PermissionDenied, loose: Grant},
		{why: "a wildcard where they are on", q: SubscribeRequest{Channel: "sensors:*.temp", User: "1"}, want: Grant},
		{why: "and where they are not", q: SubscribeRequest{Channel: "plant:*", User: "1"}, code: BadRequest},
		{why: "no private names on foreign subjects", q: SubscribeRequest{Channel: "$sensors:a", User: "1", Token: true}, code: BadRequest},
	} {
		v := r.CanSubscribe(tt.q)
		if v.Decision != tt.want || v.Code != tt.code || v.Proxy != tt.proxy {
			t.Errorf("%s: decision %v code %v proxy %q, want %v %v %q", tt.why, v.Decision, v.Code, v.Proxy, tt.want, tt.code, tt.proxy)
		}
		if v.Decision != Refuse && v.Channel.Name != tt.q.Channel {
			t.Errorf("%s: no channel in the verdict", tt.why)
		}
		want := max(tt.want, tt.loose)
		if got := insecure.CanSubscribe(tt.q); got.Decision != want {
			t.Errorf("insecure, %s: decision %v, want %v", tt.why, got.Decision, want)
		}
	}
}

func TestChannelsAskedForAtConnectAreGrantedSkippedOrEndTheConnection(t *testing.T) {
	r := compile(t, town)
	for _, tt := range []struct {
		user, name string
		want       Decision
		code       Code
	}{
		{"1", "news:a", Grant, Allowed}, {"", "news:a", Grant, Allowed}, {"1", "chat:a", Grant, Allowed}, {"", "chat:a", Refuse, Allowed},
		{"1", "chat:#1", Grant, Allowed}, {"2", "chat:#1", Refuse, Allowed}, {"1", "closed:a", Refuse, Allowed},
		{"1", "proxied:a", Refuse, Allowed}, {"1", "proxied:#1", Refuse, Allowed}, {"1", "$news:a", Refuse, Allowed},
		{"1", "news:\n", Refuse, Allowed}, {"1", "none:a", Refuse, CloseBadRequest}, {"1", "", Refuse, CloseBadRequest},
	} {
		if v := r.CanSubscribeAtConnect(tt.user, tt.name); v.Decision != tt.want || v.Code != tt.code {
			t.Errorf("%q for %q: %v %v, want %v %v", tt.name, tt.user, v.Decision, v.Code, tt.want, tt.code)
		}
	}
}

func TestPublishNeedsFormatThenProxyThenPermission(t *testing.T) {
	r := compile(t, func(c *Config, rpc *RPCConfig, env *Environment) {
		town(c, rpc, env)
		open := Options{AllowPublishForClient: true}
		object := Options{AllowPublishForClient: true, AllowPublishForAnonymous: true, PublicationDataFormat: "json_object"}
		c.Namespaces = append(c.Namespaces, NamespaceConfig{"open", open}, NamespaceConfig{"object", object})
	})
	some := `{"a":1}`
	for _, tt := range []struct {
		name, data string
		c          Client
		want       Decision
		code       Code
	}{
		{"", some, Client{}, Refuse, CloseBadRequest},
		{"none:a", some, Client{}, Refuse, UnknownChannel},
		{"news:\n", some, Client{}, Refuse, BadRequest},
		{"open:a", "", Client{User: "1"}, Refuse, BadRequest},
		{"open:a", some, Client{User: "1"}, Grant, Allowed},
		{"open:a", some, Client{}, Refuse, PermissionDenied},
		{"closed:a", some, Client{User: "1", Subscribed: true}, Refuse, PermissionDenied},
		{"chat:a", some, Client{User: "1"}, Refuse, PermissionDenied},
		{"chat:a", some, Client{User: "1", Subscribed: true}, Grant, Allowed},
		{"chat:a", some, Client{Subscribed: true}, Refuse, PermissionDenied},
		{"proxied:a", "", Client{}, Refuse, BadRequest},
		{"proxied:a", some, Client{}, AskProxy, Allowed},
		{"object:a", some, Client{}, Grant, Allowed},
		{"object:a", "[1]", Client{}, Refuse, BadRequest},
		{"sensors:a.b", some, Client{User: "1"}, Grant, Allowed},
		{"sensors:a.*", some, Client{User: "1"}, Refuse, BadRequest},
		{"sensors:>", some, Client{User: "1"}, Refuse, BadRequest},
	} {
		if v := r.CanPublish(tt.name, tt.c, []byte(tt.data)); v.Decision != tt.want || v.Code != tt.code {
			t.Errorf("publish %q to %q by %+v: %v %v, want %v %v", tt.data, tt.name, tt.c, v.Decision, v.Code, tt.want, tt.code)
		}
	}
	if v := r.CanPublish("proxied:a", Client{}, []byte(some)); v.Proxy != "default" {
		t.Errorf("the proxy without a name is %q", v.Proxy)
	}
}

func TestDataFormats(t *testing.T) {
	for _, tt := range []struct {
		format, data string
		want         bool
	}{
		{"", "", false}, {"", "x", true}, {"binary", "", true}, {"binary", "\x00", true},
		{"json", "", false}, {"json", "1", true}, {"json", "{", false}, {"json", " [1] ", true}, {"json", "1 2", false},
		{"json_object", "{}", true}, {"json_object", " \n{\"a\":[]}", true}, {"json_object", "[]", false}, {"json_object", "{", false}, {"json_object", "", false},
		{"json", strings.Repeat("[", 20_000), false},
	} {
		if got := formatNames[tt.format].accepts([]byte(tt.data)); got != tt.want {
			t.Errorf("%q of format %q: %v", tt.data, tt.format, got)
		}
	}
}

func TestPresenceAndHistoryNeedTheFeatureBeforeThePermission(t *testing.T) {
	r := compile(t, func(c *Config, rpc *RPCConfig, env *Environment) {
		town(c, rpc, env)
		env.History = true
		c.Namespaces = append(c.Namespaces, NamespaceConfig{"kept", Options{HistorySize: 10, HistoryTTL: 60e9, AllowHistoryForClient: true}})
	})
	subscriber := Client{User: "1", Subscribed: true}
	for _, tt := range []struct {
		why  string
		got  Verdict
		want Code
	}{
		{"presence is off", r.CanPresence("news:a", subscriber), NotAvailable},
		{"not subscribed", r.CanPresence("chat:a", Client{User: "1"}), PermissionDenied},
		{"subscribed", r.CanPresence("chat:a", subscriber), Allowed},
		{"anonymous subscriber", r.CanPresence("chat:a", Client{Subscribed: true}), PermissionDenied},
		{"unknown namespace", r.CanPresence("none:a", subscriber), UnknownChannel},
		{"empty", r.CanPresence("", subscriber), CloseBadRequest},
		{"history is off", r.CanHistory("chat:a", subscriber), NotAvailable},
		{"history of a client", r.CanHistory("kept:a", Client{User: "1"}), Allowed},
		{"history of the anonymous", r.CanHistory("kept:a", Client{}), PermissionDenied},
		{"history of a bad name", r.CanHistory("kept:\n", subscriber), BadRequest},
	} {
		if tt.got.Code != tt.want || (tt.got.Decision == Grant) != (tt.want == Allowed) {
			t.Errorf("%s: %v %v, want %v", tt.why, tt.got.Decision, tt.got.Code, tt.want)
		}
	}
}

func TestFeaturesJoinOptionsOverridesAndWishes(t *testing.T) {
	kept := Options{HistorySize: 10, HistoryTTL: 60e9, AllowedDeltaTypes: []string{"fossil"}, ForceRecoveryMode: "cache", AutoCacheRecover: true}
	allow := kept
	allow.AllowRecovery, allow.AllowPositioning = true, true
	rules := func(history bool) *Rules {
		return compile(t, func(c *Config, rpc *RPCConfig, env *Environment) {
			town(c, rpc, env)
			env.History = history
			refresh := Options{SubRefreshProxyEnabled: true, AllowSubscribeForClient: true}
			c.Namespaces = append(c.Namespaces, NamespaceConfig{"kept", kept}, NamespaceConfig{"allow", allow}, NamespaceConfig{"refresh", refresh})
		})
	}
	plain := Features{ClientSideRefresh: true}
	chat := Features{Presence: true, EmitJoinLeave: true, ClientSideRefresh: true}
	with := func(f Features, edit func(*Features)) Features { edit(&f); return f }
	for _, tt := range []struct {
		why     string
		name    string
		history bool
		user    string
		asked   Asked
		over    Override
		want    Features
		code    Code
	}{
		{why: "nothing on, nothing asked", name: "news:a", want: plain},
		{why: "nothing on, all asked", name: "news:a", history: true, asked: Asked{"fossil", true, true, true}, want: plain},
		{why: "unknown delta", name: "news:a", asked: Asked{Delta: "xdelta"}, code: CloseBadRequest},
		{why: "presence and join_leave on", name: "chat:a", user: "1", want: chat},
		{why: "pushes to one who may read presence", name: "chat:a", user: "1", asked: Asked{JoinLeave: true}, want: with(chat, func(f *Features) { f.PushJoinLeave = true })},
		{why: "not to one who may not", name: "chat:a", asked: Asked{JoinLeave: true}, want: chat},
		{why: "unless forced", name: "chat:a", over: Override{ForcePushJoinLeave: On}, want: with(chat, func(f *Features) { f.PushJoinLeave = true })},
		{why: "a token switches off", name: "chat:a", user: "1", asked: Asked{JoinLeave: true}, over: Override{Presence: Off, JoinLeave: Off}, want: plain},
		{why: "a token switches on", name: "news:a", over: Override{Presence: On, JoinLeave: On}, want: chat},
		{why: "not where joins would reach foreign subjects", name: "sensors:a", over: Override{JoinLeave: On, ForcePushJoinLeave: On}, want: plain},
		{why: "recovery is not asked away", name: "kept:a", history: true, asked: Asked{"fossil", true, true, false}, want: plain},
		{why: "recovery allowed", name: "allow:a", history: true, asked: Asked{Recoverable: true}, want: with(plain, func(f *Features) {
			f.Recoverable, f.Positioned, f.CacheRecovery, f.AutoCacheRecover = true, true, true, true
		})},
		{why: "positioning and delta", name: "allow:a", history: true, asked: Asked{Delta: "fossil", Positioned: true}, want: with(plain, func(f *Features) { f.Positioned, f.Delta = true, true })},
		{why: "no delta without a position", name: "allow:a", history: true, asked: Asked{Delta: "fossil"}, want: plain},
		{why: "a token forces recovery", name: "kept:a", history: true, over: Override{ForceRecovery: On}, want: with(plain, func(f *Features) {
			f.Recoverable, f.Positioned, f.CacheRecovery, f.AutoCacheRecover = true, true, true, true
		})},
		{why: "a node without history promises none", name: "allow:a", asked: Asked{"fossil", true, true, false}, over: Override{ForceRecovery: On}, want: plain},
		{why: "the proxy refreshes", name: "refresh:a", user: "1", want: Features{SubRefreshProxy: "default"}},
	} {
		r := rules(tt.history)
		ch, code := r.Lookup(tt.name)
		if code != Allowed {
			t.Fatalf("%s: %v", tt.why, code)
		}
		got, code := r.Features(&ch, Client{User: tt.user}, tt.asked, tt.over)
		if got != tt.want || code != tt.code {
			t.Errorf("%s: %+v %v\nwant %+v %v", tt.why, got, code, tt.want, tt.code)
		}
	}
}

func TestCodesSayWhichWayTheyGo(t *testing.T) {
	for code, text := range codeText {
		if got := code.Disconnects(); got != (code >= 3000) {
			t.Errorf("%d: disconnects %v", code, got)
		}
		if strings.HasPrefix(text, "{") || len(text) > 123 || code.String() != text {
			t.Errorf("%d: %q cannot be a close reason", code, text)
		}
	}
	if Code(4321).String() != "code 4321" || !Code(4321).Disconnects() || Code(400).Disconnects() {
		t.Error("application codes")
	}
	if !Internal.Temporary() || PermissionDenied.Temporary() {
		t.Error("only 100 is temporary here")
	}
}
