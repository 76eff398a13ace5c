package doctor

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"throng/broker"
	"throng/broker/natstest"
	"throng/broker/natstest/chaosproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var chat = []broker.StreamConfig{{Namespace: "chat", Size: 100, MaxAge: time.Hour}}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), natstest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// want is what a report has to say: one finding each, "level about ... words".
type want struct {
	level Level
	about string
	words string
}

func (w want) in(r *Report) bool {
	for _, f := range r.Findings {
		if f.Level == w.level && f.About == w.about && strings.Contains(f.Text+" -> "+f.Fix, w.words) {
			return true
		}
	}
	return false
}

func check(t *testing.T, r *Report, fit bool, wants ...want) {
	t.Helper()
	var text strings.Builder
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	if r.Fit != fit {
		t.Errorf("fit is %v, want %v", r.Fit, fit)
	}
	for _, w := range wants {
		if !w.in(r) {
			t.Errorf("no finding %q", w)
		}
	}
	for _, f := range r.Findings {
		if (f.Level == Warn || f.Level == Fail) && f.Fix == "" || strings.Contains(f.Text+f.Fix, "\n") {
			t.Errorf("%+v: no way out of it, or more than a line", f)
		}
	}
	if strings.Contains(text.String(), "secret") {
		t.Error("a password is shown")
	}
	if t.Failed() {
		t.Log(text.String())
	}
}

func streamNames(t *testing.T, s *natstest.Server) (names []string) {
	t.Helper()
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(limit(t)).Name() {
		names = append(names, name)
	}
	return names
}

func TestServerWithAllThatIsNeeded(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{})
	for _, write := range []bool{false, true} {
		r := Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat, Write: write})
		check(t, r, true,
			want{OK, "reach", "1 of 1 address"}, want{OK, "server", "nats-server 2."}, want{OK, "permissions", "throng.>"},
			want{OK, "jetstream", "on, API level"}, want{OK, "payload", "max_payload 1 MiB"}, want{OK, "round trip", "at best of"},
			want{Note, "stream", "stream throng_hist_chat: not there yet"}, want{Note, "sync", "sync_interval: always"})
		if got := (want{OK, "writing", "a stored publication is acknowledged"}).in(r); got != write {
			t.Errorf("write check %v: stored %v", write, got)
		}
		if r.count(Warn) > 0 {
			t.Errorf("warnings: %+v", r.Findings)
		}
	}
	if names := streamNames(t, s); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

// Nothing is sent that anybody could hear or that a stream could keep, unless that was allowed.
func TestNothingIsWrittenUnasked(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{})
	nc := s.Connect()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(limit(t), jetstream.StreamConfig{Name: "all", Subjects: []string{"throng.>"}, NoAck: true}); err != nil {
		t.Fatal(err)
	}
	heard, err := nc.SubscribeSync("throng.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat}), true)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := heard.Pending(); n > 0 {
		t.Errorf("%d messages heard", n)
	}
}

func TestNoJetStream(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{NoJetStream: true})
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat}), false, want{Fail, "jetstream", "off"}, want{Fail, "jetstream", "write jetstream {} into nats.conf"})
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}}), true, want{Warn, "jetstream", "off"})
}

func TestJetStreamOffForTheAccount(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{Login: "ann:secret@", Lines: `accounts {
		A { users: [ { user: ann, password: secret } ] }
		B { jetstream: enabled, users: [ { user: bob, password: secret } ] }
	}`})
	s.WaitReady()
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat}), false,
		want{Fail, "jetstream", "off for this account"}, want{OK, "credentials", "user ann of account A"})
}

func TestPermissionsThatAreMissingAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		permissions string
		fit         bool
		wants       []want
	}{
		"all that is needed": {
			`publish: ["throng.>", "$JS.API.>", "$SYS.REQ.USER.INFO"], subscribe: ["throng.>", "_INBOX.>", "$JS.EVENT.ADVISORY.>", "$SRV.>"]`,
			true, []want{{OK, "permissions", "throng.>"}},
		},
		"no live subjects": {
			`publish: { deny: "throng.live.>" }, subscribe: { deny: "throng.live.>" }`,
			false, []want{{Fail, "permissions", "may not publish to throng.live.>"}, {Fail, "permissions", "may not subscribe to throng.live.>"}},
		},
		"a part of the live subjects": {
			`publish: { deny: "throng.live.secret.>" }`,
			false, []want{{Fail, "permissions", "may not publish to throng.live.>"}},
		},
		"no storing": {
			`publish: { deny: ["throng.hist.>", "throng.epoch.>"] }`,
			false, []want{{Fail, "permissions", "may not publish to throng.hist.>: store publications"}},
		},
		"JetStream denied": {
			`publish: { deny: "$JS.API.>" }`,
			false, []want{{Fail, "jetstream", "this user may not publish to $JS.API.INFO"}},
		},
		"streams may not be made": {
			`publish: { deny: ["$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>"] }`,
			false, []want{{Fail, "permissions", "create the stream"}, {Fail, "permissions", "change the stream"}},
		},
		"no inbox": {
			`subscribe: { deny: "_INBOX.>" }`,
			false, []want{{Fail, "permissions", "may not subscribe to _INBOX.>"}},
		},
		"no advisories and services": {
			`subscribe: { deny: ["$JS.EVENT.>", "$SRV.>"] }`,
			true, []want{{Warn, "permissions", "new stream leaders"}, {Warn, "permissions", "nats micro ls"}},
		},
		"nothing may be asked": {
			`publish: ["throng.>", "$JS.API.>"]`,
			true, []want{{Note, "permissions", "what this user may publish is not known"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, natstest.Config{Login: "ann:secret@", Lines: `authorization { users: [ { user: ann, password: secret, permissions: { ` + c.permissions + ` } } ] }`})
			check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat, AskTimeout: 500 * time.Millisecond}), c.fit, c.wants...)
		})
	}
}

func TestWriteCheckFindsWhatCannotBeAsked(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{Login: "ann:secret@", Lines: `authorization { users: [
		{ user: ann, password: secret, permissions: { publish: "$JS.API.>" } } ] }`})
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat, Write: true}), false, want{Fail, "writing", "publishing to throng.live.doctor-"})
}

func TestStorageLimitReached(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{Login: "ann:secret@", Lines: `accounts {
		A { jetstream: { max_file: 1048576, max_mem: 0 }, users: [ { user: ann, password: secret } ] }
		SYS { users: [] }
	}`})
	s.WaitReady()
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(limit(t), jetstream.StreamConfig{Name: "big", Subjects: []string{"big"}, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	big := []broker.StreamConfig{{Namespace: "big", Size: 1, MaxAge: time.Hour, MaxBytes: 1 << 20}}
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: big}), false, want{Fail, "stream", "its max_bytes of 1 MiB are more than the 0 B"})
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat, Write: true}), false,
		want{Fail, "limits", "storage: 1 MiB of 1 MiB used or reserved: full"}, want{Fail, "writing", "store is full"})
}

func TestFullStoreOfTheServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{MaxFile: 128 << 10})
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(limit(t), jetstream.StreamConfig{Name: "big", Subjects: []string{"big"}, MaxBytes: 100 << 10}); err != nil {
		t.Fatal(err)
	}
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat, Write: true}), false, want{Fail, "writing", "store is full"})
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := natstest.Tmpfs(t, 4<<20)
	s := natstest.Start(t, natstest.Config{StoreDir: dir})
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for err == nil {
		_, err = filler.Write(make([]byte, 4<<10))
	}
	r := Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat, Write: true})
	check(t, r, false)
	if !(want{Fail, "jetstream", "disk is full"}).in(r) && !(want{Fail, "writing", "store is full"}).in(r) {
		t.Errorf("not told: %+v", r.Findings)
	}
}

func TestStreamsAreComparedWithTheConfiguration(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{})
	makeStreams(t, s.URL(), chat)
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat}), true, want{OK, "stream", "as configured, 1 replica, 1 message"})
	other := []broker.StreamConfig{{Namespace: "chat", Size: 50, MaxAge: time.Minute, MaxBytes: 1 << 20, Storage: "memory", Replicas: 3}}
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: other}), false,
		want{Warn, "stream", `storage is "file" and "memory" is configured`}, want{Warn, "stream", "max_age is 3600000000000 in NATS and 60000000000 in"},
		want{Warn, "stream", "max_msgs_per_subject is 101 in NATS and 51 in"}, want{Fail, "cluster", "wants 3 replicas"})
}

// A stream of somebody else by the name of ours is told apart.
func TestForeignStreamInOurPlace(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{})
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(limit(t), jetstream.StreamConfig{Name: "throng_hist_chat", Subjects: []string{"mine"}}); err != nil {
		t.Fatal(err)
	}
	check(t, Examine(limit(t), Config{URLs: []string{s.URL()}, Streams: chat}), false,
		want{Fail, "stream", "none of Throng's"}, want{Fail, "stream", "does not answer direct gets"})
}

// makeStreams has a node's own code make them.
func makeStreams(t *testing.T, url string, streams []broker.StreamConfig) {
	t.Helper()
	n, err := broker.Connect(broker.Config{URLs: strings.Split(url, ","), Logger: slog.New(slog.DiscardHandler)}, func(broker.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	s, err := n.Streams(broker.StreamsConfig{Streams: streams})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(natstest.Patience); !s.Status()[0].Ready; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", s.Status())
		}
	}
}

func TestClusterOfThree(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, natstest.Config{})
	urls := strings.Split(c.URL(), ",")
	three := []broker.StreamConfig{{Namespace: "chat", Size: 100, MaxAge: time.Hour, Replicas: 3}}
	cfg := Config{URLs: urls, Streams: three, Write: true}
	check(t, Examine(limit(t), cfg), true, want{OK, "reach", "3 of 3 addresses"}, want{OK, "cluster", "natstest, seen of it: n1, n2, n3"},
		want{OK, "writing", "a stored publication is acknowledged"})
	makeStreams(t, c.URL(), three)
	c.WaitCurrent("throng_hist_chat")
	cfg.Write = false
	check(t, Examine(limit(t), cfg), true, want{OK, "stream", "3 replicas, led by n"})
	// One away: fit, with warnings. Two away: nothing can be stored.
	dead := c.Others(c.Leader("throng_hist_chat"))
	dead[0].Kill()
	r := awaitReport(t, cfg, want{Warn, "stream", dead[0].Name() + " is "})
	check(t, r, true, want{Warn, "reach", "nothing listens there"}, want{OK, "reach", "2 of 3 addresses"})
	dead[1].Kill()
	check(t, awaitReport(t, cfg, want{Fail, "jetstream", "servers"}), false, want{OK, "reach", "1 of 3 addresses"})
}

// awaitReport examines until the cluster has noticed.
func awaitReport(t *testing.T, cfg Config, w want) *Report {
	t.Helper()
	for end := time.Now().Add(natstest.Patience); ; {
		r := Examine(limit(t), cfg)
		if w.in(r) || time.Now().After(end) {
			check(t, r, r.Fit, w)
			return r
		}
	}
}

func TestUnreachableServersAreExplained(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{NoJetStream: true, Lines: `authorization { user: ann, password: secret }`})
	nobody := refusing(t)
	silent := chaosproxy.Start(t, s.Addr())
	silent.Hold()
	for name, c := range map[string]struct {
		url  string
		want want
	}{
		"nothing listens":    {"nats://ann:secret@" + nobody, want{Fail, "reach", "nothing listens there"}},
		"silent":             {"nats://ann:secret@" + silent.Addr(), want{Fail, "reach", "no answer within 300ms"}},
		"no credentials":     {"nats://" + s.Addr(), want{Fail, "reach", "refuses these credentials"}},
		"wrong credentials":  {"nats://ann:secretary@" + s.Addr(), want{Fail, "reach", "give --nats-creds"}},
		"TLS where there is": {"tls://ann:secret@" + s.Addr(), want{Fail, "reach", "TLS does not come about"}},
		"no such name":       {"nats://no-such-host.invalid:4222", want{Fail, "reach", "-> "}},
	} {
		r := Examine(limit(t), Config{URLs: []string{c.url}, ConnectTimeout: 300 * time.Millisecond})
		check(t, r, false, c.want)
		if len(r.Findings) != 1 {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
}

// refusing is an address where nothing listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestExaminationEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{})
	s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check(t, Examine(ctx, Config{URLs: []string{s.URL()}, ConnectTimeout: natstest.Patience}), false)
}

func TestSmallPayloadAndSlowLink(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Config{NoJetStream: true, Lines: "max_payload: 32768"})
	p := chaosproxy.Start(t, s.Addr())
	p.Shape(chaosproxy.Up, chaosproxy.Shape{Delay: 30 * time.Millisecond})
	check(t, Examine(limit(t), Config{URLs: []string{"nats://" + p.Addr()}}), false,
		want{Fail, "payload", "raise max_payload at the server to 66560"}, want{Warn, "round trip", "put NATS nearer"})
}

func TestOldServersAreTold(t *testing.T) {
	for version, old := range map[string]bool{
		"2.12.6": false, "2.12.5": true, "2.13.0": false, "2.9.99": true, "3.0.0": false, "2.15.2-RC.1": false, "2.12.6-beta": false, "": true, "2.12": true, "dev": true,
	} {
		if older(version, floor) != old {
			t.Errorf("%q: old is %v", version, !old)
		}
	}
}

func TestPermissionPatterns(t *testing.T) {
	for _, c := range []struct {
		allow, deny, subject string
		want                 bool
	}{
		{"", "", "a.>", true}, {"a.>", "", "a.>", true}, {">", "", "a.>", true}, {"a.*", "", "a.>", false}, {"a.*", "", "a.b", true},
		{"a", "", "a.>", false}, {"a.b.>", "", "a.>", false}, {"*.>", "", "a.>", true}, {"a.>", "", "a", false},
		{"", "a.>", "a.>", false}, {"", "a.b.c", "a.>", false}, {"", "b.>", "a.>", true}, {"", "*.b", "a.>", false}, {"", "a", "a.>", true}, {"", ">", "a", false},
	} {
		s := &subjects{}
		if c.allow != "" {
			s.Allow = []string{c.allow}
		}
		if c.deny != "" {
			s.Deny = []string{c.deny}
		}
		if got := s.allows(c.subject); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestPasswordsAreHidden(t *testing.T) {
	for url, shown := range map[string]string{
		"nats://ann:p@ss@host:1": "nats://xxxxx@host:1", "token@host": "xxxxx@host", "nats://host": "nats://host",
	} {
		if got := redact(url); got != shown {
			t.Errorf("%s: %s", url, got)
		}
	}
	if nats.DefaultURL != redact(nats.DefaultURL) {
		t.Error("the default URL has nothing to hide")
	}
}
