package channel

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// withNamespace is an edit that adds a right namespace and one with the options o.
func withNamespace(o Options) func(*Config, *RPCConfig, *Environment) {
	return func(c *Config, _ *RPCConfig, env *Environment) {
		env.ProxyNames = []string{"default", "crm"}
		c.Namespaces = []NamespaceConfig{{Name: "ok"}, {Name: "x", Options: o}}
	}
}

// mistakes are edits of a right configuration, each with the parts that one line of the error must have.
var mistakes = []struct {
	edit func(*Config, *RPCConfig, *Environment)
	want []string
}{
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.MaxLength = 0 }, []string{"channel.max_length = 0", "1 to 1024"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.ChannelLimit = -1 }, []string{"channel.channel_limit = -1", "at least 1"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.HistoryMetaTTL = -1 }, []string{"channel.history_meta_ttl", "negative"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.PublicationDataFormat = "jsn" }, []string{`channel.publication_data_format = "jsn"`, "did you mean json?"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.UserBoundary = ":" }, []string{`channel.user_boundary = ":"`, "namespace_boundary"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.UserSeparator = "##" }, []string{`channel.user_separator = "##"`, "user_boundary"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.PrivatePrefix = "p" }, []string{`channel.private_prefix = "p"`, "letters"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.UserBoundary = "\n" }, []string{`channel.user_boundary = "\n"`, "printable"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.NamespaceBoundary = " " }, []string{`rpc.namespace_boundary = " "`}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.Namespaces = []NamespaceConfig{{Name: "a b"}} }, []string{`channel.namespaces[0].name = "a b"`, "a-z"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.Namespaces = []NamespaceConfig{{}} }, []string{`channel.namespaces[0].name = ""`}},
	{func(c *Config, _ *RPCConfig, _ *Environment) {
		c.Namespaces = []NamespaceConfig{{Name: "a"}, {Name: "a"}}
	}, []string{`channel.namespaces[1].name = "a"`, "twice"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) {
		c.NamespaceBoundary = ""
		c.Namespaces = []NamespaceConfig{{Name: "a"}}
	}, []string{"channel.namespaces[0].name", "cannot be reached"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) {
		c.NamespaceBoundary = "."
		c.Namespaces = []NamespaceConfig{{Name: "a.b"}}
	}, []string{"channel.namespaces[0].name", "holds the namespace boundary"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) {
		c.PrivatePrefix = "-"
		c.Namespaces = []NamespaceConfig{{Name: "-a"}}
	}, []string{"channel.namespaces[0].name", "private prefix"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) {
		c.PersonalChannel = PersonalChannelConfig{true, "usr"}
		c.Namespaces = []NamespaceConfig{{Name: "user"}}
	}, []string{`personal_channel_namespace = "usr"`, "did you mean user?"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.PersonalChannel.Enabled = true; c.UserBoundary = "" }, []string{"subscribe_to_user_personal_channel.enabled", "user_boundary"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.WithoutNamespace.ChannelRegex = "(" }, []string{`channel.without_namespace.channel_regex = "("`, "RE2"}},
	{withNamespace(Options{ChannelRegex: "a{9999}"}), []string{"channel.namespaces[1].channel_regex", "RE2"}},
	{withNamespace(Options{HistorySize: 1}), []string{"channel.namespaces[1].history_ttl = 0", "history_size needs it"}},
	{withNamespace(Options{HistoryTTL: time.Minute}), []string{"channel.namespaces[1].history_size = 0", "history_ttl needs it"}},
	{withNamespace(Options{HistorySize: -1}), []string{"channel.namespaces[1].history_size = -1"}},
	{withNamespace(Options{HistorySize: 1, HistoryTTL: 1500 * time.Millisecond}), []string{"channel.namespaces[1].history_ttl = 1.5s", "whole seconds"}},
	{withNamespace(Options{HistorySize: 1, HistoryTTL: 721 * time.Hour}), []string{"channel.namespaces[1].history_ttl = 721h0m0s", "channel.history_meta_ttl (720h0m0s)"}},
	{withNamespace(Options{HistorySize: 1, HistoryTTL: time.Hour, HistoryMetaTTL: time.Minute}), []string{"must not be longer than channel.namespaces[1].history_meta_ttl"}},
	{withNamespace(Options{ForceRecovery: true}), []string{"channel.namespaces[1].force_recovery = true", "history_size and history_ttl"}},
	{withNamespace(Options{AllowPositioning: true}), []string{"channel.namespaces[1].allow_positioning = true"}},
	{withNamespace(Options{ForceRecoveryMode: "caches"}), []string{`channel.namespaces[1].force_recovery_mode = "caches"`, "did you mean cache?"}},
	{withNamespace(Options{HistorySize: 1, HistoryTTL: time.Hour, AutoCacheRecover: true}), []string{"auto_cache_recover", "force_recovery_mode: cache"}},
	{withNamespace(Options{AllowedDeltaTypes: []string{"fossil", "x"}}), []string{`channel.namespaces[1].allowed_delta_types[1] = "x"`, "fossil"}},
	{withNamespace(Options{SubscriptionType: "map"}), []string{`channel.namespaces[1].subscription_type = "map"`, `"stream"`}},
	{withNamespace(Options{PublishProxyName: "crn"}), []string{`channel.namespaces[1].publish_proxy_name = "crn"`, "did you mean crm?"}},
	{func(c *Config, _ *RPCConfig, _ *Environment) { c.WithoutNamespace.SubscribeProxyEnabled = true }, []string{`channel.without_namespace.subscribe_proxy_name = "default"`, "no proxy of that name"}},
	{withNamespace(Options{SubscribeStreamProxyEnabled: true, PublishProxyEnabled: true}), []string{"channel.namespaces[1].subscribe_stream_proxy_enabled", "excludes"}},
	{withNamespace(Options{Subject: ">"}), []string{`channel.namespaces[1].subject = ">"`, "open all of NATS"}},
	{withNamespace(Options{Subject: "*.a"}), []string{"open all of NATS"}},
	{withNamespace(Options{Subject: "$JS.API.>"}), []string{`subject = "$JS.API.>"`, "belong to NATS itself"}},
	{withNamespace(Options{Subject: "_INBOX.>"}), []string{"belong to NATS itself"}},
	{withNamespace(Options{Subject: "a..b.*"}), []string{`token "" is no NATS subject token`}},
	{withNamespace(Options{Subject: "a b.>"}), []string{`token "a b" is no NATS subject token`}},
	{withNamespace(Options{Subject: "a.>.b"}), []string{`token ">" is no NATS subject token`}},
	{withNamespace(Options{Subject: "a.b"}), []string{"no wildcard"}},
	{withNamespace(Options{Subject: "throng.>"}), []string{`subject = "throng.>"`, `own subjects "throng.>"`}},
	{withNamespace(Options{Subject: "a.>", HistorySize: 1, HistoryTTL: time.Hour}), []string{"history_size", `cannot go with subject "a.>"`}},
	{withNamespace(Options{Subject: "a.>", JoinLeave: true}), []string{"join_leave", "subjects of others"}},
	{func(c *Config, _ *RPCConfig, env *Environment) {
		env.SubjectPrefix = "acme.chat"
		c.WithoutNamespace.Subject = "acme.*.>"
	}, []string{`own subjects "acme.chat.>"`}},
	{func(c *Config, _ *RPCConfig, _ *Environment) {
		c.Namespaces = []NamespaceConfig{{"a", Options{Subject: "s.>"}}, {"b", Options{Subject: "s.*.x"}}}
	}, []string{`channel.namespaces[1].subject = "s.*.x"`, `overlaps channel.namespaces[0].subject "s.>"`}},
	{func(c *Config, rpc *RPCConfig, _ *Environment) {
		c.WithoutNamespace.Subject = "svc.>"
		rpc.Subject = "svc.{method}"
	}, []string{`rpc.subject = "svc.{method}"`, "overlaps channel.without_namespace.subject"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.Subject = "{method}" }, []string{`rpc.subject = "{method}"`, "first token"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.Subject = "a{method}.x" }, []string{"first token"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.Subject = "svc.x" }, []string{"exactly once"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.Subject = "svc.{method}.{method}" }, []string{"exactly once"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.Subject = "$JS.API.{method}" }, []string{"belong to NATS itself"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.Subject = "throng.{method}" }, []string{"own subjects"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.Subject = "a.*.{method}" }, []string{`token "*" is no NATS subject token`}},
	{func(_ *Config, rpc *RPCConfig, env *Environment) {
		env.ProxyNames = []string{"default"}
		rpc.Subject = "a.{method}"
		rpc.ProxyEnabled = true
	}, []string{"rpc.subject", "exclude each other"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) { rpc.ProxyEnabled = true; rpc.ProxyName = "nope" }, []string{`rpc.proxy_name = "nope"`}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) {
		rpc.Namespaces = []RPCNamespaceConfig{{Name: "a"}, {Name: "a"}, {Name: "a:b"}}
	}, []string{`rpc.namespaces[1].name = "a"`, "twice"}},
	{func(_ *Config, rpc *RPCConfig, _ *Environment) {
		rpc.NamespaceBoundary = ""
		rpc.Namespaces = []RPCNamespaceConfig{{Name: "a"}}
	}, []string{"rpc.namespaces[0].name", "cannot be reached"}},
}

func TestEveryMistakeNamesFieldValueAndFix(t *testing.T) {
	for _, tt := range mistakes {
		cfg, rpc, env := DefaultConfig(), DefaultRPCConfig(), Environment{}
		tt.edit(&cfg, &rpc, &env)
		rules, err := Compile(cfg, rpc, env)
		if err == nil || rules != nil {
			t.Errorf("accepted, want %q", tt.want)
			continue
		}
		if !anyLine(err.Error(), tt.want) {
			t.Errorf("want a line with %q, got:\n%v", tt.want, err)
		}
		var f *FieldError
		if !errors.As(err, &f) || f.Field == "" || f.Fix == "" {
			t.Errorf("%v: not a FieldError", err)
		}
	}
}

func anyLine(text string, parts []string) bool {
	for line := range strings.Lines(text) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxLength, cfg.ChannelLimit = 0, 0
	cfg.Namespaces = []NamespaceConfig{{Name: ""}, {"b", Options{Subject: ">", HistorySize: 1}}}
	_, err := Compile(cfg, DefaultRPCConfig(), Environment{})
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("want five lines:\n%v", err)
	}
}

func TestOptionsWithoutEffectAreNoted(t *testing.T) {
	r := compile(t, func(c *Config, _ *RPCConfig, _ *Environment) {
		c.PersonalChannel = PersonalChannelConfig{Enabled: true, Namespace: "a"}
		c.Namespaces = []NamespaceConfig{{"a", Options{
			HistorySize: 5, HistoryTTL: time.Hour, ForceRecovery: true, AllowTagsFilter: true, ChannelRegex: "[a-z]+", AllowSubscribeForClient: true,
			AllowPublishForAnonymous: true, ForcePushJoinLeave: true, AllowWildcards: true, SubscribeStreamProxyEnabled: true,
		}}}
	})
	notes := strings.Join(r.Notes(), "\n")
	for _, want := range []string{
		"namespaces[0].history_size: checked and kept", "namespaces[0].history_ttl: ", "namespaces[0].force_recovery: ", "allow_tags_filter: ",
		"channel_regex: may match anywhere", "allow_publish_for_anonymous: has no effect", "force_push_join_leave: has no effect without join_leave",
		"allow_wildcards: has no effect without subject", "subscribe_stream_proxy_enabled: checked", "lets other users subscribe to personal channels",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note %q in\n%s", want, notes)
		}
	}
	served := compile(t, func(c *Config, _ *RPCConfig, env *Environment) {
		env.History = true
		c.Namespaces = []NamespaceConfig{{"a", Options{HistorySize: 5, HistoryTTL: time.Hour, ForceRecovery: true}}}
	})
	if n := served.Notes(); len(n) != 0 {
		t.Errorf("a node with history notes %q", n)
	}
}

func TestRulesKeepNothingOfTheConfigurationTheyCameFrom(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Namespaces = []NamespaceConfig{{"a", Options{AllowedDeltaTypes: []string{"fossil"}}}}
	r, err := Compile(cfg, DefaultRPCConfig(), Environment{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Namespaces[0].Name, cfg.Namespaces[0].AllowedDeltaTypes[0] = "b", "x"
	if ns := r.Namespace("a"); ns == nil || ns.AllowedDeltaTypes[0] != "fossil" || r.Namespace("b") != nil || r.Namespace("") == nil {
		t.Error("a later edit of the configuration reached the rules")
	}
}

func TestTheNearestRightWordIsFound(t *testing.T) {
	known := []string{"allow_publish_for_client", "allow_subscribe_for_client", "history_size", "history_ttl", "presence", "force_recovery", "allow_recovery",
		"a", "b", "c", "d", "e", "f", "g"}
	for word, want := range map[string]string{
		"alow_publish_for_client": "; did you mean allow_publish_for_client?", "histroy_size": "; did you mean history_size?",
		"Presence": "; did you mean presence?", "publish": "; did you mean allow_publish_for_client?", "recover": "; did you mean force_recovery or allow_recovery?",
		"history": "; did you mean history_ttl?", "zzzzzzzzzzzzzzzzzz": "; the nearest known one is", strings.Repeat("x", 5000): "; the nearest known one is",
	} {
		if got := didYouMean(word, known); !strings.HasPrefix(got, want) && !(word == "history" && strings.Contains(got, "history")) {
			t.Errorf("%.20s: %q", word, got)
		}
	}
	if got := didYouMean("q", []string{"some", "words"}); got != "; known here: some, words" {
		t.Errorf("few words are listed: %q", got)
	}
	if got := didYouMean("q", nil); got != "" {
		t.Errorf("nothing known: %q", got)
	}
}
