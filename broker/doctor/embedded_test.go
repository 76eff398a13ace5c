package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"throng/broker"
	"throng/broker/natstest"
)

func TestEmbeddedServerIsForeseen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := func(text string) string {
		path := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	three := []broker.StreamConfig{{Namespace: "chat", Replicas: 3}}
	for name, c := range map[string]struct {
		cfg  EmbeddedConfig
		fit  bool
		want want
	}{
		"plain":              {EmbeddedConfig{StoreDir: filepath.Join(dir, "not", "yet"), Streams: chat}, true, want{OK, "store", " free, JetStream may use "}},
		"no directory":       {EmbeddedConfig{}, false, want{Fail, "store", "give --data-dir"}},
		"a file in the way":  {EmbeddedConfig{StoreDir: filepath.Join(file, "x")}, false, want{Fail, "store", "cannot be written"}},
		"too large messages": {EmbeddedConfig{StoreDir: dir, MaxMessage: 2 << 20}, false, want{Fail, "payload", "--nats-config"}},
		"too much set aside": {EmbeddedConfig{StoreDir: dir, Streams: []broker.StreamConfig{{MaxBytes: 1 << 60}}}, false, want{Fail, "store", "set 1 EiB aside"}},
		"replicas":           {EmbeddedConfig{StoreDir: dir, Streams: three}, false, want{Fail, "cluster", "wants 3 replicas"}},
		"bad config":         {EmbeddedConfig{ConfigFile: conf("jetstream {")}, false, want{Fail, "config", "nats.conf"}},
		"no JetStream":       {EmbeddedConfig{ConfigFile: conf("listen: -1"), Streams: chat}, false, want{Fail, "jetstream", "does not switch it on"}},
		"sync always": {EmbeddedConfig{ConfigFile: conf(fmt.Sprintf("jetstream { store_dir: %q, sync_interval: always }", dir)), Streams: chat}, true,
			want{OK, "sync", "before it is acknowledged"}},
		"a cluster": {EmbeddedConfig{ConfigFile: conf(fmt.Sprintf("cluster { name: c, listen: \"127.0.0.1:-1\", routes: [\"nats://127.0.0.1:1\"] }, jetstream { store_dir: %q }", dir)), Streams: three}, true,
			want{OK, "cluster", "c, 1 route"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, running := ExamineEmbedded(c.cfg)
			check(t, r, c.fit, c.want)
			if running {
				t.Error("a node is said to run there")
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "not")); err == nil {
		t.Error("a directory was made")
	}
	tmpfs, _ := ExamineEmbedded(EmbeddedConfig{StoreDir: natstest.Tmpfs(t, 4<<20)})
	check(t, tmpfs, true, want{Warn, "store", "it is in memory"})
}

func TestRunningNodeIsSeenByItsLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "jetstream")
	e, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "n", StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Shutdown)
	r, running := ExamineEmbedded(EmbeddedConfig{StoreDir: dir})
	check(t, r, true, want{Note, "store", fmt.Sprintf("in use by process %d", os.Getpid())})
	if !running {
		t.Error("not seen")
	}
	e.Shutdown()
	if _, running := ExamineEmbedded(EmbeddedConfig{StoreDir: dir}); running {
		t.Error("still seen")
	}
}
