package channel

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// decodeText decodes the text over the default configuration, as the lead's configuration loader does.
func decodeText(t testing.TB, text string) (Config, error) {
	t.Helper()
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatalf("no YAML: %v", err)
	}
	cfg := DefaultConfig()
	return cfg, Decode(&node, &cfg, "channel")
}

func TestDecodeReadsEveryKindOfOption(t *testing.T) {
	got, err := decodeText(t, `
max_length: 100
private_prefix: ""
user_boundary: "@"
history_meta_ttl: 48h
subscribe_to_user_personal_channel: {enabled: true, personal_channel_namespace: own}
without_namespace:
  presence: true
namespaces:
  - &base
    name: news
    allow_subscribe_for_client: true
    history_size: 10
    history_ttl: 5m
    allowed_delta_types: [fossil]
  - <<: *base
    name: sport
    history_size: 20
  - {<<: [*base, {presence: true}], name: talk, allow_subscribe_for_client: false}
  - name: own
    subject: "sensors.>"
`)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.MaxLength, want.PrivatePrefix, want.UserBoundary, want.HistoryMetaTTL = 100, "", "@", 48*time.Hour
	want.PersonalChannel = PersonalChannelConfig{Enabled: true, Namespace: "own"}
	want.WithoutNamespace.Presence = true
	news := Options{AllowSubscribeForClient: true, HistorySize: 10, HistoryTTL: 5 * time.Minute, AllowedDeltaTypes: []string{"fossil"}}
	sport, talk := news, news
	sport.HistorySize = 20
	talk.Presence, talk.AllowSubscribeForClient = true, false
	want.Namespaces = []NamespaceConfig{{"news", news}, {"sport", sport}, {"talk", talk}, {"own", Options{Subject: "sensors.>"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeOfNothingKeepsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "# only a comment", "null", "{}", "max_length:\nnamespaces:\nprivate_prefix: # off?", "without_namespace: ~"} {
		got, err := decodeText(t, text)
		if err != nil || !reflect.DeepEqual(got, DefaultConfig()) {
			t.Errorf("%q: %v, %+v", text, err, got)
		}
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"max_lenght: 3", []string{"channel.max_lenght (line 1)", "unknown option; did you mean max_length?"}},
		{"namespaces:\n- name: a\n  histroy_size: 1", []string{"channel.namespaces[0].histroy_size (line 3)", "did you mean history_size?"}},
		{"namespaces:\n- name: a\n  publish: true", []string{"did you mean allow_publish_for_client?"}},
		{"namespaces:\n- {name: a, history_recover: true}", []string{"did you mean force_recovery or allow_recovery?"}},
		{"max_length: 3\nmax_length: 4", []string{"channel.max_length (line 2)", "twice"}},
		{"max_length: many", []string{`channel.max_length = "many" (line 1)`, "whole number"}},
		{"max_length: 1.5", []string{`channel.max_length = "1.5"`, "whole number"}},
		{`max_length: "5"`, []string{"whole number"}},
		{"max_length: 99999999999999999999", []string{"whole number"}},
		{"max_length: [1]", []string{"channel.max_length", "single value"}},
		{"history_meta_ttl: 30", []string{`channel.history_meta_ttl = "30"`, "no unit", "30s"}},
		{"history_meta_ttl: soon", []string{`channel.history_meta_ttl = "soon"`, "duration such as"}},
		{"without_namespace: {presence: yes}", []string{`channel.without_namespace.presence = "yes"`, "true or false"}},
		{"without_namespace: on", []string{"channel.without_namespace", "must be a section"}},
		{"namespaces: {name: a}", []string{"channel.namespaces", "must be a list"}},
		{"namespaces: chat", []string{"channel.namespaces", "must be a list"}},
		{"namespaces: [chat]", []string{"channel.namespaces[0]", "must be a section"}},
		{"[1, 2]", []string{"channel (line 1)", "must be a section"}},
		{"? [a, b]\n: 1", []string{"single word"}},
		{"<<: 3", []string{"channel.<<", "alias of a section"}},
		{strings.Repeat("x", 300) + ": 1", []string{"channel." + strings.Repeat("x", 60) + "...", "unknown option"}},
	} {
		_, err := decodeText(t, tt.text)
		if err == nil || !anyLine(err.Error(), tt.want) {
			t.Errorf("%.60q: want %q, got %v", tt.text, tt.want, err)
		}
	}
}

func TestDecodeTellsAllMistakesButNotThousands(t *testing.T) {
	_, err := decodeText(t, "a: 1\nmax_length: x\nb: 2")
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three lines:\n%v", err)
	}
	_, err = decodeText(t, "namespaces:\n"+strings.Repeat("- {z: 1}\n", 5000))
	if err == nil || strings.Count(err.Error(), "\n") > 60 {
		t.Errorf("a file that is wrong all over is told line by line")
	}
}

func TestDecodeSurvivesAliasBombs(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [{presence: true}]\n")
	for i := 1; i < 9; i++ {
		n := string(rune('0' + i))
		p := string(rune('0' + i - 1))
		b.WriteString("a" + n + ": &a" + n + " [" + strings.Repeat("*a"+p+", ", 9) + "*a" + p + "]\n")
	}
	b.WriteString("namespaces: *a8\n")
	for _, text := range []string{
		b.String(),
		"namespaces: &n\n- <<: *n\n",
		"without_namespace: &w\n  <<: *w\n",
		"namespaces: &n [*n]",
		"without_namespace: &w\n  <<: [" + strings.Repeat("*w, ", 50) + "*w]\n",
	} {
		if _, err := decodeText(t, text); err == nil {
			t.Errorf("%.40q: accepted", text)
		}
	}
}

type secretText string

func (secretText) Redacted() string { return "" }

func TestDecodeServesOtherSectionsAndNeverQuotesSecrets(t *testing.T) {
	type section struct {
		Key     secretText        `yaml:"key"`
		Number  *int              `yaml:"number"`
		Rate    float64           `yaml:"rate"`
		Headers map[string]string `yaml:"headers"`
		Hidden  string            `yaml:"-"`
		Bare    string
	}
	parse := func(text string) (section, error) {
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(text), &node); err != nil {
			t.Fatal(err)
		}
		var s section
		return s, Decode(&node, &s, "x")
	}
	s, err := parse("key: canary\nnumber: 3\nrate: 0.5\nheaders: {A: b, C: d}")
	if err != nil || s.Key != "canary" || *s.Number != 3 || s.Rate != 0.5 || len(s.Headers) != 2 || s.Headers["C"] != "d" {
		t.Errorf("%+v %v", s, err)
	}
	for _, text := range []string{"key: [canary]", "key: {a: canary}", "rate: {a: canary}", "headers: canary", "headers: {canary: [1]}", "headers: {a: 1, a: 2}", "Bare: canary", "Hidden: canary", "number: {}", "rate: fast"} {
		_, err := parse(text)
		if err == nil {
			t.Errorf("%s: accepted", text)
		} else if strings.Contains(text, "key:") && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the secret is in the error %v", text, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"", "namespaces:\n- name: a\n  presence: true", "max_length: 3", "a: &a\n  <<: *a", "namespaces: [{<<: {name: x}}]", "history_meta_ttl: 1h",
		"namespaces:\n- {name: s, subject: 's.>', allow_wildcards: true}", "without_namespace: {channel_regex: '^a'}", "? [x]\n: y", "--- 1\n--- 2", "!!binary a: b",
		"without_namespace: {history_size: 1, history_ttl: 1s, force_recovery: true}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var node yaml.Node
		if yaml.Unmarshal([]byte(text), &node) != nil {
			return
		}
		cfg := DefaultConfig()
		if err := Decode(&node, &cfg, "channel"); err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		rules, err := Compile(cfg, DefaultRPCConfig(), Environment{})
		if (rules == nil) == (err == nil) {
			t.Fatalf("rules %v, error %v", rules, err)
		}
		if rules != nil {
			rules.Lookup("a:b")
			rules.CanSubscribe(SubscribeRequest{Channel: "$a#b"})
		}
	})
}
