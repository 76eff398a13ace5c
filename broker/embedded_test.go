package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var discard = slog.New(slog.DiscardHandler)

func startEmbedded(t *testing.T, cfg EmbeddedConfig) *Embedded {
	t.Helper()
	if cfg.NodeID == "" {
		cfg.NodeID = "node1"
	}
	if cfg.StoreDir == "" {
		cfg.StoreDir = t.TempDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = discard
	}
	e, err := StartEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Shutdown)
	return e
}

// listeners returns the local addresses on which this process listens (TCP, both families).
func listeners(t *testing.T) []string {
	t.Helper()
	mine := make(map[string]bool)
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil {
			mine[target] = true
		}
	}
	var found []string
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && mine["socket:["+f[9]+"]"] {
				found = append(found, f[1])
			}
		}
	}
	return found
}

func TestEmbeddedOpensNothingUnlessTold(t *testing.T) {
	before := listeners(t)
	e := startEmbedded(t, EmbeddedConfig{NodeID: "n-1111"})
	if now := listeners(t); len(now) != len(before) {
		t.Errorf("listening on %v, before on %v", now, before)
	}
	if e.Addr() != nil || e.ClientURL() != "" {
		t.Errorf("Addr %v, ClientURL %q", e.Addr(), e.ClientURL())
	}
	if e.Name() != "n-1111" || e.Version() == "" {
		t.Errorf("name %q, version %q", e.Name(), e.Version())
	}
	js, err := e.JetStream()
	if err != nil || !js.Enabled || js.Clustered || js.MaxStore <= 0 {
		t.Errorf("JetStream %+v, %v", js, err)
	}
}

func TestEmbeddedListensWhereTold(t *testing.T) {
	before := listeners(t)
	e := startEmbedded(t, EmbeddedConfig{Listen: "127.0.0.1:0"})
	now := listeners(t)
	if len(now) != len(before)+1 {
		t.Errorf("listening on %v, before on %v", now, before)
	}
	nc, err := nats.Connect(e.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestEmbeddedKeepsItsStreamsOverARestart(t *testing.T) {
	cfg := EmbeddedConfig{StoreDir: t.TempDir()}
	use := func(f func(js jetstream.JetStream) error) {
		t.Helper()
		e := startEmbedded(t, cfg)
		defer e.Shutdown()
		nc, err := nats.Connect("", nats.InProcessServer(e))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if err := f(js); err != nil {
			t.Fatal(err)
		}
	}
	use(func(js jetstream.JetStream) error {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
			return err
		}
		_, err := js.Publish(t.Context(), "s.1", []byte("kept"))
		return err
	})
	use(func(js jetstream.JetStream) error {
		s, err := js.Stream(t.Context(), "S")
		if err != nil {
			return err
		}
		m, err := s.GetMsg(t.Context(), 1)
		if err == nil && string(m.Data) != "kept" {
			err = fmt.Errorf("stored %q", m.Data)
		}
		return err
	})
}

func TestTwoServersOnOneStoreAreRefusedWithTheFieldAndTheFix(t *testing.T) {
	dir := t.TempDir()
	e := startEmbedded(t, EmbeddedConfig{StoreDir: dir})
	_, err := StartEmbedded(EmbeddedConfig{NodeID: "n2", StoreDir: dir, Logger: discard})
	var bad *ConfigError
	if !errors.As(err, &bad) || bad.Field != "StoreDir" || bad.Value != dir {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{dir, fmt.Sprintf("in use by process %d", os.Getpid()), "directory of its own"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	e.Shutdown()
	startEmbedded(t, EmbeddedConfig{StoreDir: dir})
}

func TestEmbeddedErrorsNameTheFieldAndTheFix(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := func(text string) string {
		path := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name, field, says string
		cfg               EmbeddedConfig
	}{
		{"no id", "NodeID", "empty", EmbeddedConfig{StoreDir: dir}},
		{"id with a space", "NodeID", "without spaces", EmbeddedConfig{NodeID: "a b", StoreDir: dir}},
		{"no store", "StoreDir", "empty", EmbeddedConfig{NodeID: "n"}},
		{"store is a file", "StoreDir", "not a directory", EmbeddedConfig{NodeID: "n", StoreDir: file}},
		{"store cannot be made", "StoreDir", "can be created", EmbeddedConfig{NodeID: "n", StoreDir: "/proc/x"}},
		{"address taken", "Listen", "in use", EmbeddedConfig{NodeID: "n", StoreDir: dir, Listen: taken.Addr().String()}},
		{"no port", "Listen", "missing port", EmbeddedConfig{NodeID: "n", StoreDir: dir, Listen: "127.0.0.1"}},
		{"bad port", "Listen", "0 to 65535", EmbeddedConfig{NodeID: "n", StoreDir: dir, Listen: "127.0.0.1:99999"}},
		{"no such file", "ConfigFile", "readable nats.conf", EmbeddedConfig{NodeID: "n", ConfigFile: dir + "/none"}},
		{"syntax", "ConfigFile", "correct the line", EmbeddedConfig{NodeID: "n", ConfigFile: conf("max_payload: {")}},
		{"unknown field", "ConfigFile", "nats.conf:2", EmbeddedConfig{NodeID: "n", ConfigFile: conf("\nmax_playload: 1")}},
		{"bad value", "ConfigFile", "nats.conf:1", EmbeddedConfig{NodeID: "n", ConfigFile: conf(`max_payload: "x y"`)}},
		{"file and listen", "Listen", "write `listen:", EmbeddedConfig{NodeID: "n", Listen: "127.0.0.1:0", ConfigFile: conf("")}},
		{"file's address taken", "ConfigFile", "in use", EmbeddedConfig{NodeID: "n", ConfigFile: conf("listen: " + taken.Addr().String())}},
		{"file's JetStream without store", "StoreDir", "directory", EmbeddedConfig{NodeID: "n", ConfigFile: conf("jetstream: true")}},
		{"file's leaf node without system account", "ConfigFile", "", EmbeddedConfig{NodeID: "n", ConfigFile: conf("gateway { name: g, port: -1 }\ncluster { name: c, port: -1 }")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Logger = discard
			test.cfg.StartTimeout = 2 * time.Second
			e, err := StartEmbedded(test.cfg)
			if err == nil {
				e.Shutdown()
			}
			var bad *ConfigError
			if !errors.As(err, &bad) || bad.Field != test.field || bad.Fix == "" || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestConfFileIsObeyedAndOpensNothingItDoesNotName(t *testing.T) {
	before := listeners(t)
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(`
		server_name: from-the-file
		max_payload: 2000
		log_file: "/nonexistent/never-opened"
		authorization: { user: u, password: p }
	`), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEmbedded(t, EmbeddedConfig{ConfigFile: path})
	if now := listeners(t); len(now) != len(before) {
		t.Errorf("listening on %v, before on %v", now, before)
	}
	if e.Name() != "from-the-file" {
		t.Errorf("name %q", e.Name())
	}
	if js, err := e.JetStream(); err != nil || js.Enabled {
		t.Errorf("JetStream, which the file does not enable: %+v, %v", js, err)
	}
	stranger, err := Connect(Config{Server: e, Logger: discard}, func(Message) {})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if err := stranger.Ready(); err == nil || time.Now().After(deadline) {
			t.Fatalf("in-process connection without the password: %v", err)
		} else if strings.Contains(err.Error(), "Authorization") {
			break
		}
	}
	n, err := Connect(Config{Server: e, User: "u", Password: "p", Logger: discard}, func(Message) {})
	if err != nil || n.Ready() != nil {
		t.Fatalf("%v, %v", err, n.Ready())
	}
	n.Close()
}

// Two nodes that form a NATS cluster of their own, by nats.conf, hear each other; no socket is open beyond loopback.
func TestNodesClusterByThemselvesThroughConfFiles(t *testing.T) {
	before := listeners(t)
	node := func(id, routes string) (*Embedded, *NATS, chan Message) {
		path := filepath.Join(t.TempDir(), "nats.conf")
		text := fmt.Sprintf("cluster { name: throng, listen: \"127.0.0.1:-1\", routes: [%s] }", routes)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		e := startEmbedded(t, EmbeddedConfig{NodeID: id, ConfigFile: path})
		got := make(chan Message, 1000)
		n, err := Connect(Config{Server: e, Logger: discard}, func(m Message) { got <- m })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Close)
		return e, n, got
	}
	one, a, gotA := node("one", "")
	_, b, gotB := node("two", "nats://"+one.server.ClusterAddr().String())
	for _, address := range listeners(t) {
		if !slices.Contains(before, address) && !strings.HasPrefix(address, "0100007F:") {
			t.Errorf("listening on %s (hexadecimal), which is not 127.0.0.1", address)
		}
	}
	for _, n := range []*NATS{a, b} {
		n.Subscribe("c")
		if err := n.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// The route comes up, and interest crosses it, in its own time: publish until heard.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, way := range []struct {
		from *NATS
		text string
		to   chan Message
	}{{a, "from a", gotB}, {b, "from b", gotA}} {
		for heard := false; !heard; {
			if err := way.from.Publish("c", []byte(way.text), false); err != nil {
				t.Fatal(err)
			}
			select {
			case m := <-way.to:
				heard = string(m.Data) == way.text
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("%q never crossed", way.text)
			}
		}
	}
}

func TestServerLogGoesToSlogAndIsQuietWhileStarting(t *testing.T) {
	var lines lineCounter
	e := startEmbedded(t, EmbeddedConfig{Logger: slog.New(&lines)})
	if n := lines.count(slog.LevelInfo); n != 0 {
		t.Errorf("%d lines at info or above while starting", n)
	}
	if n := lines.count(slog.LevelDebug); n == 0 {
		t.Error("nothing logged at debug")
	}
	e.log.Errorf("trouble %d", 1)
	if n := lines.count(slog.LevelError); n != 1 {
		t.Errorf("%d errors logged, want 1", n)
	}
}
