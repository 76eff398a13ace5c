package main

import (
	"errors"
	"strings"
	"testing"
)

// wrongFlags is one wrong setting and the whole line an operator reads about it.
var wrongFlags = []struct{ arg, want string }{
	// values
	{"--addr=8080", `--addr "8080": is not host:port; write :8080 for all addresses, or 127.0.0.1:8080; IPv6 in brackets, [::1]:8080`},
	{"--addr=", `--addr: is not host:port; write :8080 for all addresses, or 127.0.0.1:8080; IPv6 in brackets, [::1]:8080`},
	{"--addr=:http", `--addr ":http": has no port number; end it with a port from 1 to 65535, or 0 for any free one`},
	{"--addr=:70000", `--addr ":70000": has no port number; end it with a port from 1 to 65535, or 0 for any free one`},
	{"--addr=a/b:1", `--addr "a/b:1": has a host that is no name or address; write it without scheme and path, such as 127.0.0.1:8080`},
	{"--admin-addr=x", `--admin-addr "x": is not host:port; write :8080 for all addresses, or 127.0.0.1:8080; IPv6 in brackets, [::1]:8080`},
	{"--nats-listen=x", `--nats-listen "x": is not host:port; write :8080 for all addresses, or 127.0.0.1:8080; IPv6 in brackets, [::1]:8080`},
	{"--node-id=a.b", `--node-id "a.b": has characters that no NATS subject token should have; use letters, digits, - and _ only`},
	{"--node-id=" + strings.Repeat("x", 65), `--node-id "` + strings.Repeat("x", 65) + `": is 65 bytes long; use at most 64`},
	{"--nats-prefix=a..b", `--nats-prefix "a..b": is no NATS subject; use letters, digits, - and _, with dots between tokens`},
	{"--nats-prefix=a.>", `--nats-prefix "a.>": is no NATS subject; use letters, digits, - and _, with dots between tokens`},
	{"--nats-prefix=_INBOX.a", `--nats-prefix "_INBOX.a": is NATS's own; use another name`},
	{"--nats-prefix=" + strings.Repeat("x", 65), `--nats-prefix "` + strings.Repeat("x", 65) + `": is 65 bytes long; use at most 64`},
	{"--nats-url=http://ann:hunter2@a", `--nats-url "http://xxxxx@a": has scheme "http"; use nats, tls, ws or wss`},
	{"--nats-url=nats://ann:hun ter@a", `--nats-url "nats://xxxxx@a": has an entry that is no URL; write nats://host:4222`},
	{"--nats-creds=/nowhere", `--nats-creds "/nowhere": cannot be read: no such file or directory; name a file that this user may read`},
	{"--nats-config=/", `--nats-config "/": is a directory; name the file itself`},
	{"--config=/nowhere", `--config "/nowhere": cannot be read: no such file or directory; name a file that this user may read`},
	{"--allowed-origins=example.org", `--allowed-origins "example.org": has an entry that has no scheme: write https://example.org; see --allowed-origins in -h`},
	{"--allowed-origins=https://a/b", `--allowed-origins "https://a/b": has an entry that is more than an origin: write scheme://host[:port] without user, path and trailing slash; see --allowed-origins in -h`},
	{"--allowed-origins=*,https://a", `--allowed-origins "*,https://a": names origins beside *, which allows all; keep either * or the names`},
	{"--subprotocols=a b", `--subprotocols "a b": has characters that no subprotocol may have; use letters, digits, - . and _, with commas between names`},
	{"--trusted-proxies=10.0.0.1,proxy", `--trusted-proxies "10.0.0.1,proxy": has an entry that is no address and no CIDR prefix; write 10.0.0.7, 10.0.0.0/8 or fd00::/8`},
	{"--trusted-proxies=::ffff:10.0.0.0/104", `--trusted-proxies "::ffff:10.0.0.0/104": has an entry that is no address and no CIDR prefix; write 10.0.0.7, 10.0.0.0/8 or fd00::/8`},
	{"--log-level=loud", `--log-level "loud": is not known; use one of debug, info, warn, error`},
	{"--profile=ram", `--profile "ram": is not known; use one of cpu, mem, allocs, heap, mutex, block, goroutine, threadcreate, trace`},
	{"--profile-dir=", `--profile-dir: is empty; give a value, or leave it out`},
	{"--check-config=perhaps", `--check-config "perhaps": is neither true nor false; write true or false`},
	// numbers
	{"--ping-interval=25", `--ping-interval "25": has no unit; write 25s for seconds, or use ms, m, h`},
	{"--ping-interval=soon", `--ping-interval "soon": is not a duration; write a number with ms, s, m or h, such as 10s or 1m30s`},
	{"--ping-interval=-1s", `--ping-interval "-1s": is out of range; use 100ms to 24h`},
	{"--drain-window=2h", `--drain-window "2h": is out of range; use 100ms to 1h, or 0`},
	{"--retry-after=1500ms", `--retry-after "1500ms": is too fine; use a multiple of 1s`},
	{"--max-message=64Kb", `--max-message "64Kb": is not a size; write bytes, or a whole number with KiB, MiB or GiB, such as 64KiB`},
	{"--max-message=1.5KiB", `--max-message "1.5KiB": is not a size; write bytes, or a whole number with KiB, MiB or GiB, such as 64KiB`},
	{"--max-message=-1", `--max-message "-1": is not a size; write bytes, or a whole number with KiB, MiB or GiB, such as 64KiB`},
	{"--max-message=99999999999GiB", `--max-message "99999999999GiB": is out of range; use 128B to 64MiB`},
	{"--max-message=99999999999999999999", `--max-message "99999999999999999999": is out of range; use 128B to 64MiB`},
	{"--header-lines=ten", `--header-lines "ten": is not a whole number; write digits only`},
	{"--header-lines=7", `--header-lines "7": is out of range; use 8 to 10000`},
	{"--max-connections=99999999999999999999", `--max-connections "99999999999999999999": is out of range; use 1 to 2097152, or 0`},
	// flags
	{"--max-mesage=1", `--max-mesage "1": unknown flag; did you mean --max-message?`},
	{"--max_message=1", `--max_message "1": unknown flag; did you mean --max-message?`},
	{"--nats-ulr=nats://ann:hunter2@a", `--nats-ulr "nats://xxxxx@a": unknown flag; did you mean --nats-url?`},
	{"--xyzzy", `--xyzzy: unknown flag; see throng -h`},
	{"-x", `--x: unknown flag; see throng -h`},
	{"serve", `argument "serve": not expected; settings are flags such as --addr=:8080, the only commands are token, doctor, version and help`},
	{"--addr", `--addr: has no value; write --addr=VALUE`},
}

func TestWrongFlagsNameFieldValueAndFix(t *testing.T) {
	for _, w := range wrongFlags {
		_, err := loadConfig([]string{w.arg}, environment(nil))
		if err == nil || err.Error() != w.want {
			t.Errorf("%s\n got %v\nwant %s", w.arg, err, w.want)
		}
	}
}

// clashes are settings that are right each by itself.
var clashes = []struct{ args, want string }{
	{"--addr=:1 --admin-addr=:1", `--admin-addr ":1": is also the public address; give another port, such as 127.0.0.1:9090`},
	{"--addr=127.0.0.1:9090", `--admin-addr (default) "127.0.0.1:9090": is also the public address; give another port, such as 127.0.0.1:9090`},
	{"--nats-config=FILE --nats-url=nats://a", `--nats-config "FILE": is for the embedded server, but --nats-url uses another; drop one of the two`},
	{"--nats-listen=:1 --nats-url=nats://a", `--nats-listen ":1": is for the embedded server, but --nats-url uses another; drop one of the two`},
	{"--nats-listen=:1 --nats-config=FILE", `--nats-listen ":1": is set beside --nats-config; put listen: into that file instead`},
	{"--nats-creds=FILE", `--nats-creds "FILE": is only used with --nats-url or --nats-config; give one of them, or drop it`},
	{"--max-frame=65KiB", `--max-frame "65KiB": is larger than max-message 64KiB; lower it, or raise --max-message`},
	{"--outbox-limit=64KiB", `--outbox-limit "64KiB": cannot hold one message of max-message 64KiB; use at least 65664, or lower --max-message`},
	{"--max-message=1MiB --outbox-limit=4MiB", `--max-message "1MiB": is more than the embedded NATS server takes; use at most 1023KiB, or a NATS that takes more: max_payload in a --nats-config, or --nats-url`},
	{"--nats-url=a --max-message=2MiB", `--outbox-limit (default) "1MiB": cannot hold one message of max-message 2MiB; use at least 2097280, or lower --max-message`},
	{"--hub-batch-bytes=2MiB", `--outbox-limit (default) "1MiB": cannot hold one batch of hub-batch-bytes 2MiB; raise it, or lower --hub-batch-bytes`},
	{"--publish-queue-bytes=4KiB", `--publish-queue-bytes "4KiB": cannot hold one message of max-message 64KiB; raise it, or lower --max-message`},
	{"--pong-timeout=26s", `--pong-timeout "26s": is longer than ping-interval 25s; lower it, or raise --ping-interval: one ping is under way at a time`},
	{"--accept-burst=10", `--accept-burst "10": has no effect without accept-rate; give --accept-rate, or drop it`},
	{"--trusted-proxies=10.0.0.1 --address-connections=0", `--trusted-proxies "10.0.0.1/32": has no effect without address-connections; set --address-connections, or drop it`},
	{"--http-header-timeout=20s", `--http-header-timeout "20s": is longer than http-read-timeout 15s; lower it, or raise --http-read-timeout, which covers the head too`},
}

func TestSettingsThatClashAreRefused(t *testing.T) {
	file := writeFile(t, "some.file", "")
	tried := map[string]bool{}
	for _, k := range clashes {
		args := strings.Fields(strings.ReplaceAll(k.args, "FILE", file))
		want := strings.ReplaceAll(k.want, "FILE", file)
		_, err := loadConfig(args, environment(nil))
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", k.args, err, want)
		}
		tried[strings.Fields(k.want)[0]] = true
	}
	for _, rule := range conflicts {
		if name := "--" + rule.about[0]; !tried[name] && name != "--allowed-origins" {
			t.Errorf("no case for the rule about %s", name)
		}
	}
}

func TestHomelessEmbeddedNodeIsToldWhatToGive(t *testing.T) {
	_, err := loadConfig(nil, environment(map[string]string{"HOME": ""}))
	want := `--data-dir (default): has no default, because neither XDG_CACHE_HOME nor HOME is an absolute path; give --data-dir, or --nats-url to use an existing NATS`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestWrongFilesNameTheLine(t *testing.T) {
	const path = "PATH"
	for _, w := range []struct{ text, want string }{
		{"addr: :1\nmax_message: 3\n", `PATH:2: max_message: unknown key; did you mean max-message?`},
		{"xyzzy: 3\n", `PATH:1: xyzzy: unknown key; see throng -h for the names`},
		{"addr: :1\nlog-level: info\naddr: :2\n", `PATH:3: addr: is already set in line 1; keep one of the two`},
		{"\n\nping-interval: 25\n", `PATH:3: ping-interval "25": has no unit; write 25s for seconds, or use ms, m, h`},
		{"config: other.yaml\n", `PATH:1: config: cannot be set in a file; give --config`},
		{"check-config: true\n", `PATH:1: check-config: cannot be set in a file; give --check-config`},
		{"addr: [':1']\n", `PATH:1: addr: is not a single value; write name: value`},
		{"addr:\n  host: a\n", `PATH:1: addr: is not a single value; write name: value`},
		{"nats-url: [[a]]\n", `PATH:1: nats-url: has an entry that is no single value; write a list of plain values`},
		{"nats-url: ['http://a']\n", `PATH:1: nats-url "http://a": has scheme "http"; use nats, tls, ws or wss`},
		{"- addr\n", `PATH:1: is not a list of settings; write one "name: value" per line`},
		{"addr: :1\n---\naddr: :2\n", `--config "PATH": holds more than one document; drop the --- between them`},
		{"addr: :1\n\tlog: x\n", `--config "PATH": is not YAML: line 2: found a tab character that violates indentation; see throng -h for the names, one "name: value" per line`},
		{"#" + strings.Repeat("x", maxConfigFile), `--config "PATH": is larger than 1MiB; name a YAML file of settings`},
	} {
		file := writeFile(t, "throng.yaml", w.text)
		_, err := loadConfig([]string{"--config", file}, environment(nil))
		want := strings.ReplaceAll(w.want, path, file)
		if err == nil || err.Error() != want {
			t.Errorf("%.40q\n got %v\nwant %s", w.text, err, want)
		}
	}
	_, err := loadConfig(nil, environment(map[string]string{"THRONG_CONFIG": "/"}))
	if want := `THRONG_CONFIG "/": is a directory; name the file itself`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAllThatIsWrongIsToldAtOnce(t *testing.T) {
	file := writeFile(t, "throng.yaml", "ping-interval: 25\nxyzzy: 1\n")
	env := environment(map[string]string{"THRONG_LOG_LEVEL": "loud", "APPID": "a b"})
	_, err := loadConfig([]string{"--config", file, "--max-message=x", "--pong-timeout=26s", "--nope", "--accept-burst=1"}, env)
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{
		`--nope: unknown flag; see throng -h`,
		file + `:2: xyzzy: unknown key; see throng -h for the names`,
		file + `:1: ping-interval "25": has no unit; write 25s for seconds, or use ms, m, h`,
		`APPID "a b": has characters that no NATS subject token should have; use letters, digits, - and _ only`,
		`THRONG_LOG_LEVEL "loud": is not known; use one of debug, info, warn, error`,
		`--max-message "x": is not a size; write bytes, or a whole number with KiB, MiB or GiB, such as 64KiB`,
		// nothing about --pong-timeout: what it is compared with could not be read
		`--accept-burst "1": has no effect without accept-rate; give --accept-rate, or drop it`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var one *configError
	if !errors.As(err, &one) || one.Field != "--nope" {
		t.Errorf("no *configError inside: %v", err)
	}
}

func TestOverriddenValueIsCheckedAllTheSame(t *testing.T) {
	_, err := loadConfig([]string{"--log-level=warn"}, environment(map[string]string{"THRONG_LOG_LEVEL": "loud"}))
	if err == nil || !strings.HasPrefix(err.Error(), "THRONG_LOG_LEVEL ") {
		t.Errorf("got %v", err)
	}
}

func TestRedactionHidesPasswordsAndTokens(t *testing.T) {
	for text, want := range map[string]string{
		"nats://a:4222":                     "nats://a:4222",
		"nats://ann:secret@a:4222":          "nats://xxxxx@a:4222",
		"nats://secret@a,tls://x:secret@b":  "nats://xxxxx@a,tls://xxxxx@b",
		"ann:secret@a,bob:secret@b":         "xxxxx@b",
		"nats://ann:sec,ret@a":              "nats://xxxxx@a",
		"nats://ann:se@cret@a":              "nats://xxxxx@a",
		"nats://a,nats://ann:secret@b/?x=1": "nats://a,nats://xxxxx@b/?x=1",
	} {
		if got := redactURL(text); got != want || strings.Contains(got, "secret") {
			t.Errorf("redactURL(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSuggestionsAreNearOrNone(t *testing.T) {
	table := optionTable(&Config{})
	for name, want := range map[string]string{
		"max-conections": "max-connections", "adr": "addr", "node_id": "node-id", "nats-urls": "nats-url",
		"pingInterval": "ping-interval", "conifg": "config", "MAX_MESSAGE": "max-message", "drain": "", "foo": "", "": "",
	} {
		got := suggest(name, table, "", "")
		if want != "" {
			want = "did you mean " + want + "?"
		}
		if got != want {
			t.Errorf("suggest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, d := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(d.a, d.b); got != d.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", d.a, d.b, got, d.want)
		}
	}
}

func TestSizesAndDurationsAreSpelledShort(t *testing.T) {
	for text, want := range map[string]string{"65536": "64KiB", "65537": "65537B", "1024kib": "1MiB", "2 GiB": "2GiB", "0": "0"} {
		n, ok := parseSize(text)
		if got := sizeText(n); !ok || got != want {
			t.Errorf("%q reads as %d and is spelled %q, want %q", text, n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 90 * sec: "1m30s", 120 * sec: "2m", 7200 * sec: "2h", 500 * ms: "500ms", 3660 * sec: "1h1m", 20 * 60 * sec: "20m"} {
		if got := durationText(n); got != want {
			t.Errorf("durationText(%d) = %q, want %q", n, got, want)
		}
	}
}
