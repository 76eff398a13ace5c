package channel

import (
	"strings"
	"testing"
)

// matches is an independent reading of NATS subject matching: does every subject that sub can stand for match pattern?
func matches(pattern, sub string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(sub, ".")
	for i := range p {
		switch {
		case p[i] == ">":
			return len(s) > i
		case i >= len(s), s[i] == ">", p[i] != "*" && p[i] != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

func TestChannelsAndSubjectsMapOneToOne(t *testing.T) {
	r := compile(t, func(c *Config, rpc *RPCConfig, env *Environment) {
		town(c, rpc, env)
		c.WithoutNamespace.Subject = "plain.*.*.>"
		c.Namespaces = append(c.Namespaces, NamespaceConfig{"lines", Options{Subject: "line.*.to.*"}})
	})
	for _, tt := range []struct{ name, subject string }{
		{"sensors:a", "sensors.a"}, {"sensors:a.b.c", "sensors.a.b.c"}, {"sensors:a:b", "sensors.a:b"}, {"sensors:$JS.API", "sensors.$JS.API"},
		{"plant:7", "plant.7.out"}, {"lines:a.b", "line.a.to.b"}, {"a.b.c.d", "plain.a.b.c.d"}, {"sensors:a#1,2", "sensors.a#1,2"},
	} {
		ch, code := r.Lookup(tt.name)
		if code != Allowed {
			t.Errorf("%q: %v", tt.name, code)
			continue
		}
		if got, ok := ch.NativeSubject(); !ok || got != tt.subject || ch.Wildcard {
			t.Errorf("%q becomes %q %v", tt.name, got, ok)
		}
		if got, ok := r.ChannelOf(tt.subject); !ok || got != tt.name {
			t.Errorf("%q becomes %q %v", tt.subject, got, ok)
		}
	}
	if ch, _ := r.Lookup("chat:a"); ch.Namespace.Native() {
		t.Error("an ordinary namespace is not native")
	} else if _, ok := ch.NativeSubject(); ok {
		t.Error("an ordinary channel has no subject of its own")
	}
	for _, subject := range []string{
		"sensors", "sensors.", "other.a", "plant.7", "plant.7.in", "plant.7.out.x", "plant..out", "line.a.to", "plain.a.b", "plain.a.b.c:d",
		"sensors.наст", "sensors." + strings.Repeat("x", 300), "plain.$a.b.c", "", ".", "sensors..a", "sensors.*", "sensors.>",
	} {
		if name, ok := r.ChannelOf(subject); ok {
			t.Errorf("%q became channel %q", subject, name)
		}
	}
	if got := strings.Join(r.NativeSubjects(), " "); got != "plain.*.*.> sensors.> plant.*.out line.*.to.*" {
		t.Errorf("native subjects: %s", got)
	}
}

func TestWildcardsStayInsideTheMappedSubject(t *testing.T) {
	r := compile(t, func(c *Config, rpc *RPCConfig, env *Environment) {
		town(c, rpc, env)
		c.Namespaces = append(c.Namespaces, NamespaceConfig{"deep", Options{Subject: "deep.*.>", AllowWildcards: true}})
	})
	for name, subject := range map[string]string{
		"sensors:*": "sensors.*", "sensors:>": "sensors.>", "sensors:*.temp": "sensors.*.temp", "sensors:a.>": "sensors.a.>",
		"deep:*.*": "deep.*.*", "deep:*.>": "deep.*.>", "deep:a.*.>": "deep.a.*.>",
	} {
		ch, code := r.Lookup(name)
		got, _ := "", false
		if code == Allowed {
			got, _ = ch.NativeSubject()
		}
		if got != subject || !ch.Wildcard {
			t.Errorf("%q: %v, subject %q, want %q", name, code, got, subject)
		}
	}
	for _, name := range []string{
		"sensors:", "sensors:.", "sensors:a.", "sensors:.a", "sensors:a..b", "sensors:>.a", "sensors:a b", "sensors:a*", "sensors:>>", "sensors:*>",
		"deep:>", "deep:a", "deep:>.a", "plant:>", "plant:*", "plant:a.b", "plant:",
	} {
		if ch, code := r.Lookup(name); code != BadRequest {
			t.Errorf("%q: %v %+v", name, code, ch)
		}
	}
}

func FuzzNativeMapping(f *testing.F) {
	for _, name := range append(hostileNames, "a", "a.b", "*.temp", ">", "$JS.API.>", "_INBOX.x", "a. b", "..", "a:b") {
		f.Add(name)
	}
	r := compile(f, func(c *Config, rpc *RPCConfig, env *Environment) {
		c.Namespaces = []NamespaceConfig{
			{"s", Options{Subject: "sensors.>", AllowWildcards: true}}, {"p", Options{Subject: "plant.*.out.*", AllowWildcards: true}},
			{"d", Options{Subject: "deep.*.>", AllowWildcards: true, ChannelRegex: "."}},
		}
	})
	f.Fuzz(func(t *testing.T, rest string) {
		for _, ns := range []string{"s", "p", "d"} {
			name := ns + ":" + rest
			ch, code := r.Lookup(name)
			if code != Allowed {
				continue
			}
			subject, ok := ch.NativeSubject()
			if !ok || !matches(ch.Namespace.Subject, subject) {
				t.Fatalf("%q reaches %q outside %q", name, subject, ch.Namespace.Subject)
			}
			if strings.ContainsAny(subject, " \r\n\t\x00") || strings.Contains(subject, "..") {
				t.Fatalf("%q makes the illegal subject %q", name, subject)
			}
			wild := strings.Contains("."+subject+".", ".*.") || strings.HasSuffix(subject, ".>")
			if wild != ch.Wildcard {
				t.Fatalf("%q: wildcard %v, subject %q", name, ch.Wildcard, subject)
			}
			back, ok := r.ChannelOf(subject)
			if !wild && (!ok || back != name) {
				t.Fatalf("%q went to %q and came back as %q", name, subject, back)
			}
			if wild && ok {
				t.Fatalf("the wildcard subject %q is no channel, yet became %q", subject, back)
			}
		}
	})
}

func TestRPCMethodsReachTheirAnswererAndNothingElse(t *testing.T) {
	r := compile(t, town)
	for _, tt := range []struct {
		method, subject, proxy string
		code                   Code
	}{
		{method: "add", subject: "svc.add"}, {method: "math.add", subject: "svc.math.add"}, {method: "crm:find", proxy: "crm"},
		{method: "crm:a b\n", proxy: "crm"}, {method: "", code: CloseBadRequest}, {method: "none:x", code: MethodNotFound},
		{method: "empty:x", code: NotAvailable}, {method: ":x", code: MethodNotFound},
		{method: ">", code: MethodNotFound}, {method: "*", code: MethodNotFound}, {method: "a.*", code: MethodNotFound}, {method: "a..b", code: MethodNotFound},
		{method: "a b", code: MethodNotFound}, {method: "a\r\nPUB", code: MethodNotFound}, {method: ".", code: MethodNotFound},
		{method: strings.Repeat("m", 2000), code: MethodNotFound},
	} {
		got, code := r.RPC(tt.method)
		if got.Subject != tt.subject || got.Proxy != tt.proxy || code != tt.code {
			t.Errorf("%.30q: %+v %v", tt.method, got, code)
		}
	}
	if _, code := compile(t, nil).RPC("add"); code != MethodNotFound {
		t.Errorf("no rpc at all: %v", code)
	}
	only := compile(t, func(_ *Config, rpc *RPCConfig, _ *Environment) {
		rpc.Namespaces = []RPCNamespaceConfig{{"a", RPCOptions{Subject: "x.a-{method}.do"}}}
	})
	if got, _ := only.RPC("a:go.far"); got.Subject != "x.a-go.far.do" {
		t.Errorf("template with text around: %q", got.Subject)
	}
	if _, code := only.RPC("go"); code != NotAvailable {
		t.Errorf("rpc exists, but not without a namespace: %v", code)
	}
}

func FuzzRPC(f *testing.F) {
	for _, m := range append(hostileNames, "a", "a.b", "{method}", ">", "crm:x") {
		f.Add(m)
	}
	r := compile(f, town)
	f.Fuzz(func(t *testing.T, method string) {
		got, code := r.RPC(method)
		if code != Allowed || got.Proxy != "" {
			return
		}
		if !matches("svc.>", got.Subject) || strings.ContainsAny(got.Subject, "*> \r\n\t\x00") || strings.Contains(got.Subject, "..") {
			t.Fatalf("%q reaches %q", method, got.Subject)
		}
	})
}
