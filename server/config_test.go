package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the golden files anew")

// environment is a getenv over a map; HOME is always there, as it is for people.
func environment(vars map[string]string) func(string) string {
	return func(name string) string {
		if v, ok := vars[name]; ok {
			return v
		}
		if name == "HOME" {
			return "/home/ann"
		}
		return ""
	}
}

// writeFile puts text into a new file and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, args []string, env map[string]string) *Config {
	t.Helper()
	c, err := loadConfig(args, environment(env))
	if err != nil {
		t.Fatalf("loadConfig(%q): %v", args, err)
	}
	return c
}

func TestDefaultsAreWhatTheTableSays(t *testing.T) {
	c := mustLoad(t, nil, nil)
	for _, got := range []struct {
		name      string
		got, want any
	}{
		{"Addr", c.Addr, ":8080"},
		{"AdminAddr", c.AdminAddr, "127.0.0.1:9090"},
		{"NATSURLs", len(c.NATSURLs), 0},
		{"Embedded", c.Embedded(), true},
		{"DataDir", c.DataDir, "/home/ann/.cache/throng"},
		{"Subprotocols", strings.Join(c.Subprotocols, ","), "chat,superchat"},
		{"MaxMessage", c.MaxMessage, 64 << 10},
		{"MaxFrame", c.MaxFrame, 64 << 10},
		{"OutboxLimit", c.OutboxLimit, 1 << 20},
		{"HeaderBytes", c.HeaderBytes, 16 << 10},
		{"HeaderLines", c.HeaderLines, 100},
		{"HandshakeTimeout", c.HandshakeTimeout, 10 * time.Second},
		{"PingInterval", c.PingInterval, 25 * time.Second},
		{"PongTimeout", c.PongTimeout, 8 * time.Second},
		{"CloseTimeout", c.CloseTimeout, 5 * time.Second},
		{"TCPUserTimeout", c.TCPUserTimeout, 30 * time.Second},
		{"DrainWindow", c.DrainWindow, 10 * time.Second},
		{"InterestLinger", c.InterestLinger, 2 * time.Second},
		{"ReserveFDs", c.ReserveFDs, 256},
		{"RetryAfter", c.RetryAfter, 5 * time.Second},
		{"NATSPrefix", c.NATSPrefix, "throng"},
	} {
		if got.got != got.want {
			t.Errorf("%s = %v, want %v", got.name, got.got, got.want)
		}
	}
	if nodeID(c.NodeID) != nil || c.NodeID == "" {
		t.Errorf("NodeID %q is not legal", c.NodeID)
	}
	if again := mustLoad(t, nil, nil); again.NodeID == c.NodeID {
		t.Errorf("two nodes of one host are both called %q", c.NodeID)
	}
}

// samples returns three different legal spellings, in the option's own canonical form.
func samples(t *testing.T, o *option) [3]string {
	t.Helper()
	switch v := o.value.(type) {
	case boolValue:
		return [3]string{"true", "false", "true"}
	case durationValue:
		return [3]string{"12s", "13s", "14s"}
	case sizeValue:
		least, step := max(v.min, 256<<10), int64(256<<10)
		return [3]string{sizeText(least), sizeText(least + step), sizeText(least + 2*step)}
	case intValue:
		least := max(v.min, min(v.max-2, 100))
		return [3]string{decimal(least), decimal(least + 1), decimal(least + 2)}
	case enumValue:
		words := slices.DeleteFunc(slices.Clone(v.words), func(w string) bool { return w == "" })
		return [3]string{words[0], words[1], words[len(words)-1]}
	case listValue:
		switch o.name {
		case "subprotocols":
			return [3]string{"a,b", "c", "d"}
		case "trusted-proxies":
			return [3]string{"10.0.0.0/8,fd00::/8", "10.0.0.1/32", "::1/128"}
		}
		return [3]string{"tls://a:1,tls://b:1", "tls://c:1", "tls://d:1"}
	}
	switch o.name {
	case "nats-creds", "nats-config":
		return [3]string{writeFile(t, "a", ""), writeFile(t, "b", ""), writeFile(t, "c", "")}
	case "addr", "admin-addr", "nats-listen":
		return [3]string{"127.0.0.1:1", "127.0.0.1:2", "[::1]:3"}
	}
	return [3]string{"a", "b", "c"}
}

// Companions and values that a single option needs beside it to be legal.
var companions = map[string]map[string]string{
	"nats-creds":          {"THRONG_NATS_URL": "nats://a"},
	"accept-burst":        {"THRONG_ACCEPT_RATE": "1"},
	"max-message":         {"THRONG_OUTBOX_LIMIT": "1GiB"},
	"max-frame":           {"THRONG_OUTBOX_LIMIT": "1GiB", "THRONG_MAX_MESSAGE": "64MiB", "THRONG_PUBLISH_QUEUE_BYTES": "1GiB", "THRONG_NATS_URL": "a"},
	"hub-batch-bytes":     {"THRONG_OUTBOX_LIMIT": "1GiB"},
	"http-header-timeout": {},
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	for _, o := range optionTable(&Config{}) {
		if o.where != anywhere {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			s := samples(t, &o)
			if o.name == "allowed-origins" {
				s = [3]string{"https://a,https://b", "https://c", "https://d"}
			}
			file := writeFile(t, "throng.yaml", o.name+": "+s[0]+"\n")
			env := map[string]string{"THRONG_CONFIG": file}
			for k, v := range companions[o.name] {
				env[k] = v
			}
			expect := func(step, want, origin string, args ...string) {
				t.Helper()
				c := mustLoad(t, args, env)
				got := findOption(optionTable(c), o.name).value.text()
				if got != want {
					t.Errorf("%s: %s = %q, want %q", step, o.name, got, want)
				}
				if !strings.HasSuffix(c.Origin(o.name), origin) {
					t.Errorf("%s: origin %q, want %q", step, c.Origin(o.name), origin)
				}
			}
			expect("file", s[0], "throng.yaml:1: "+o.name)
			env[o.envNames()[0]] = s[1]
			expect("environment over file", s[1], o.envNames()[0])
			expect("flag over environment", s[2], "--"+o.name, "--"+o.name+"="+s[2])
			if !o.switchOnly() {
				expect("last flag", s[2], "--"+o.name, "--"+o.name, s[2])
			}
		})
	}
}

func TestEmptyVariableCountsAsUnset(t *testing.T) {
	c := mustLoad(t, nil, map[string]string{"THRONG_ADDR": "", "THRONG_MAX_MESSAGE": ""})
	if c.Addr != ":8080" || c.MaxMessage != 64<<10 {
		t.Errorf("Addr %q, MaxMessage %d", c.Addr, c.MaxMessage)
	}
}

func TestAPPIDNamesTheNodeUnlessOurOwnVariableDoes(t *testing.T) {
	if c := mustLoad(t, nil, map[string]string{"APPID": "1111"}); c.NodeID != "1111" || c.Origin("node-id") != "APPID" {
		t.Errorf("NodeID %q from %s", c.NodeID, c.Origin("node-id"))
	}
	both := map[string]string{"APPID": "1111", "THRONG_NODE_ID": "2222"}
	if c := mustLoad(t, nil, both); c.NodeID != "2222" {
		t.Errorf("NodeID %q", c.NodeID)
	}
	if c := mustLoad(t, []string{"--node-id", "3333"}, both); c.NodeID != "3333" {
		t.Errorf("NodeID %q", c.NodeID)
	}
}

func TestListsTakeCommasRepetitionAndYAMLLists(t *testing.T) {
	want := []string{"nats://a:1", "nats://b:2", "tls://c:3"}
	file := writeFile(t, "throng.yaml", "nats-url:\n  - a:1\n  - nats://b:2,tls://c:3\n")
	for name, c := range map[string]*Config{
		"repeated":  mustLoad(t, []string{"--nats-url", "a:1", "--nats-url=nats://b:2", "--nats-url", "tls://c:3"}, nil),
		"commas":    mustLoad(t, []string{"--nats-url", "a:1, nats://b:2,tls://c:3,"}, nil),
		"variable":  mustLoad(t, nil, map[string]string{"THRONG_NATS_URL": "a:1,nats://b:2,tls://c:3,a:1"}),
		"yaml list": mustLoad(t, []string{"--config", file}, nil),
	} {
		if !slices.Equal(c.NATSURLs, want) {
			t.Errorf("%s: %q, want %q", name, c.NATSURLs, want)
		}
	}
	c := mustLoad(t, []string{"--config", file, "--nats-url="}, nil)
	if !c.Embedded() {
		t.Errorf("an empty flag left %q of the file", c.NATSURLs)
	}
}

func TestYAMLTakesScalarsByTheirText(t *testing.T) {
	file := writeFile(t, "throng.yaml", `# a comment
node-id: 0x10      # no number
nats-prefix: no    # no boolean
log-level: &l warn
max-message: 65536
addr:              # nothing: the default
data-dir: "~"
`)
	c := mustLoad(t, []string{"--config", file}, nil)
	if c.NodeID != "0x10" || c.NATSPrefix != "no" || c.LogLevel != "warn" || c.MaxMessage != 65536 || c.Addr != ":8080" || c.DataDir != "~" {
		t.Errorf("%+v", c)
	}
}

func TestEmptyFileIsAllDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing here\n", "---\n", "~\n"} {
		if c := mustLoad(t, []string{"--config", writeFile(t, "throng.yaml", text)}, nil); c.Addr != ":8080" {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

func TestDataDirFollowsTheCacheDirectory(t *testing.T) {
	c := mustLoad(t, nil, map[string]string{"XDG_CACHE_HOME": "/var/cache/ann"})
	if c.DataDir != "/var/cache/ann/throng" {
		t.Errorf("DataDir %q", c.DataDir)
	}
	homeless := map[string]string{"HOME": ""}
	if c := mustLoad(t, []string{"--nats-url", "nats://a"}, homeless); c.DataDir != "" {
		t.Errorf("DataDir %q", c.DataDir)
	}
	conf := writeFile(t, "nats.conf", "")
	if c := mustLoad(t, []string{"--nats-config", conf}, homeless); c.DataDir != "" {
		t.Errorf("DataDir %q", c.DataDir)
	}
}

func TestOriginsMayBePatterns(t *testing.T) {
	want := []string{"https://Example.org", "http://a:80", "https://*.example.com", "http://[::1]:*", "capacitor://*"}
	c := mustLoad(t, []string{"--allowed-origins=" + strings.Join(want, ",")}, nil)
	if !slices.Equal(c.AllowedOrigins, want) {
		t.Errorf("%q, want %q", c.AllowedOrigins, want)
	}
}

func TestAdminListenerCanBeSwitchedOff(t *testing.T) {
	if c := mustLoad(t, []string{"--admin-addr=off"}, nil); c.AdminAddr != "" {
		t.Errorf("AdminAddr %q", c.AdminAddr)
	}
}

func TestMaxFrameFollowsMaxMessage(t *testing.T) {
	if c := mustLoad(t, []string{"--max-message=32KiB"}, nil); c.MaxFrame != 32<<10 {
		t.Errorf("MaxFrame %d", c.MaxFrame)
	}
	if c := mustLoad(t, []string{"--max-message=32KiB", "--max-frame=1KiB"}, nil); c.MaxFrame != 1<<10 {
		t.Errorf("MaxFrame %d", c.MaxFrame)
	}
}

func TestNodeNamesAreLegalWhateverTheHostIsCalled(t *testing.T) {
	for host, want := range map[string]string{
		"web-1":                  "web-1-abcdef",
		"web.example.org":        "web-abcdef",
		"":                       "node-abcdef",
		"...":                    "node-abcdef",
		"bücher shop*>":          "b-cher-shop-abcdef",
		strings.Repeat("x", 200): strings.Repeat("x", 57) + "-abcdef",
	} {
		got := makeNodeID(host, "ABCDEFGH")
		if got != want || nodeID(got) != nil || len(got) > maxNodeID {
			t.Errorf("makeNodeID(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestEveryFieldOfConfigHasOneOption(t *testing.T) {
	c := &Config{}
	bound := map[uintptr]string{}
	names := map[string]bool{}
	for _, o := range optionTable(c) {
		field := reflect.ValueOf(o.value).FieldByName("field").Pointer()
		if other, twice := bound[field]; twice {
			t.Errorf("%s and %s set the same field", o.name, other)
		}
		bound[field] = o.name
		if names[o.name] {
			t.Errorf("two options are called %s", o.name)
		}
		names[o.name] = true
		if o.why == "" || !strings.HasSuffix(o.why, ".") || o.unit == "" && !o.switchOnly() {
			t.Errorf("%s lacks a unit or a reason that ends with a full stop", o.name)
		}
		if bad := o.value.set(o.def); bad != nil {
			t.Errorf("%s: default %q %v", o.name, o.def, bad)
		}
		if got := o.value.text(); got != o.def {
			t.Errorf("%s: default %q is spelled %q", o.name, o.def, got)
		}
	}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && !f.Anonymous && bound[v.Field(i).Addr().Pointer()] == "" {
			t.Errorf("no option sets Config.%s", f.Name)
		}
	}
}

// Kubernetes gives every pod THRONG_PORT, THRONG_SERVICE_HOST, THRONG_PORT_8080_TCP_ADDR ... when a Service
// is called throng, and THRONG_NATS_PORT ... when one is called throng-nats.
func TestNoVariableIsOneThatKubernetesSets(t *testing.T) {
	for _, o := range optionTable(&Config{}) {
		for _, name := range o.envNames() {
			if strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_") || strings.Contains(name, "_SERVICE_") {
				t.Errorf("%s could be a service link", name)
			}
		}
	}
}

func TestHelpIsGolden(t *testing.T) {
	got := helpText()
	for i, line := range strings.Split(got, "\n") {
		if len(line) > 104 || len(line) > helpWidth && i > 12 {
			t.Errorf("line %d is %d columns wide", i+1, len(line))
		}
	}
	const golden = "testdata/help.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("help differs from %s; go test ./server -run Help -update if that is meant\n%s", golden, got)
	}
	for _, o := range optionTable(&Config{}) {
		if !strings.Contains(got, "  --"+o.name+" ") && !strings.Contains(got, "  --"+o.name+"\n") {
			t.Errorf("help lacks --%s", o.name)
		}
	}
}

func TestHelpIsAskedForByFlag(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"--addr=:1", "-h"}} {
		if _, err := loadConfig(args, environment(nil)); !errors.Is(err, pflag.ErrHelp) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestConfigureAnswersWithoutServing(t *testing.T) {
	for _, q := range []struct {
		args []string
		want string
	}{
		{[]string{"-h"}, "Usage:"},
		{[]string{"help"}, "Usage:"},
		{[]string{"version"}, "throng "},
		{[]string{"--version"}, "nats-server"},
		{[]string{"--check-config"}, "OK\n"},
	} {
		var out strings.Builder
		c, err := configure(q.args, environment(nil), &out)
		if c != nil || err != nil || !strings.Contains(out.String(), q.want) {
			t.Errorf("%q: config %v, error %v, answer %q", q.args, c, err, out.String())
		}
	}
	var out strings.Builder
	c, err := configure([]string{"--addr=127.0.0.1:0"}, environment(nil), &out)
	if err != nil || c == nil || c.Addr != "127.0.0.1:0" || out.Len() > 0 {
		t.Errorf("config %v, error %v, answer %q", c, err, out.String())
	}
	if c, err := configure([]string{"--addr=nowhere"}, environment(nil), &out); err == nil || c != nil {
		t.Errorf("config %v, error %v", c, err)
	}
}

func TestCheckConfigShowsWhatDiffersAsYAMLWithoutSecrets(t *testing.T) {
	file := writeFile(t, "throng.yaml", "drain-window: 1m\nlog-level: info\nallowed-origins: '*'\n")
	var out strings.Builder
	_, err := configure(
		[]string{"--check-config", "--config", file, "--nats-url", "nats://ann:hunter2@a,b", "--nats-url=tls://sekrit@c"},
		environment(map[string]string{"APPID": "1111", "THRONG_MAX_MESSAGE": "128KiB"}), &out)
	if err != nil {
		t.Fatal(err)
	}
	want := `OK
node-id: 1111 # APPID
allowed-origins: '*' # ` + file + `:3
nats-url: 'nats://xxxxx@a,nats://b,tls://xxxxx@c' # --nats-url
config: ` + file + ` # --config
max-message: 128KiB # THRONG_MAX_MESSAGE
drain-window: 1m # ` + file + ":1\n"
	if got := sortedLines(out.String()); got != sortedLines(want) {
		t.Errorf("got\n%s\nwant\n%s", got, sortedLines(want))
	}
	yaml := strings.ReplaceAll(strings.TrimPrefix(out.String(), "OK\n"), "config: "+file, "# ")
	if c := mustLoad(t, []string{"--config", writeFile(t, "again.yaml", yaml)}, nil); c.NodeID != "1111" || c.DrainWindow != time.Minute {
		t.Errorf("what --check-config prints is not read back: %+v", c)
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestSectionsOfTheFile(t *testing.T) {
	good := writeFile(t, "throng.yaml", "addr: 127.0.0.1:1\nauth:\n  token:\n    hmac_secret_key: "+strings.Repeat("k", 32)+"\nchannel:\n  channel_limit: 7\n  namespaces:\n    - name: chat\n      presence: true\n")
	c := mustLoad(t, []string{"--config", good}, nil)
	if c.Addr != "127.0.0.1:1" || c.Channel.ChannelLimit != 7 || c.Channel.MaxLength != 255 || c.Channel.Namespaces[0].Name != "chat" {
		t.Errorf("%+v", c.Channel)
	}
	bad := writeFile(t, "bad.yaml", "channel:\n  namespaces:\n    - name: chat\n      presense: true\nauth:\n  tokn: {}\n")
	_, err := loadConfig([]string{"--config", bad}, func(string) string { return "" })
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"bad.yaml:4: channel.namespaces[0].presense: unknown option; did you mean presence?", "bad.yaml:6: auth.tokn: unknown option; did you mean token?"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to contain %q", err, want)
		}
	}
}
