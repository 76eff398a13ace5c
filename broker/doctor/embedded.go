package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"throng/broker"
)

// EmbeddedConfig says what a node would run in its own process.
type EmbeddedConfig struct {
	// StoreDir, Listen and ConfigFile as in broker.EmbeddedConfig.
	StoreDir, Listen, ConfigFile string
	// Streams that history needs, as in Config.
	Streams []broker.StreamConfig
	// MaxMessage is the largest publication in bytes, as in Config.
	MaxMessage int
}

// defaultShare of the free space is what nats-server allows JetStream without max_file.
const defaultShare = 0.75

// lowSpace is worth a warning: nats-server's own files want some, and a full disk switches JetStream off.
const lowSpace = 1 << 30

// ExamineEmbedded looks at what an embedded server would find, and starts none. Blocks for file operations only. The
// returned running says that a node is using the store now.
func ExamineEmbedded(cfg EmbeddedConfig) (r *Report, running bool) {
	r = &Report{Target: "NATS inside the node, nats-server " + server.VERSION}
	defer r.conclude()
	opts := &server.Options{JetStream: true, StoreDir: cfg.StoreDir, MaxPayload: server.MAX_PAYLOAD_SIZE}
	if cfg.ConfigFile != "" {
		parsed, err := server.ProcessConfigFile(cfg.ConfigFile)
		if err != nil {
			r.wrong(Fail, "config", strings.TrimSpace(err.Error()), "correct "+cfg.ConfigFile)
			return r, false
		}
		opts = parsed
		if opts.StoreDir == "" {
			opts.StoreDir = cfg.StoreDir
		}
		if opts.MaxPayload == 0 {
			opts.MaxPayload = server.MAX_PAYLOAD_SIZE
		}
		r.add(OK, "config", cfg.ConfigFile+" can be read")
	}
	embeddedPayload(r, cfg.MaxMessage, opts.MaxPayload)
	embeddedCluster(r, &cfg, opts)
	if !opts.JetStream {
		level := Warn
		if len(cfg.Streams) > 0 {
			level = Fail
		}
		r.wrong(level, "jetstream", cfg.ConfigFile+" does not switch it on; history, recovery and idempotency need it", "write jetstream {} into it")
		return r, false
	}
	running = embeddedStore(r, &cfg, opts)
	if opts.SyncAlways {
		r.add(OK, "sync", "every write is on disk before it is acknowledged")
	} else if len(cfg.Streams) > 0 {
		r.add(Note, "sync", "writes reach the disk within 2 minutes: a crash of the node loses nothing, a loss of power can; jetstream { sync_interval: always } in a --nats-config closes that at about half the rate")
	}
	return r, running
}

func embeddedPayload(r *Report, message int, limit int32) {
	text := fmt.Sprintf("max_payload %s, our messages up to %s", sizeText(int64(limit)), sizeText(int64(message)))
	if message+headerRoom > int(limit) {
		r.wrong(Fail, "payload", text, fmt.Sprintf("write max_payload: %d into a --nats-config, or lower --max-message", message+headerRoom))
		return
	}
	r.add(OK, "payload", text)
}

func embeddedCluster(r *Report, cfg *EmbeddedConfig, opts *server.Options) {
	clustered := opts.Cluster.Port != 0
	for _, s := range cfg.Streams {
		if s.Replicas > 1 && !clustered {
			r.wrong(Fail, "cluster", fmt.Sprintf("namespace %s wants %d replicas, but this server is alone", named(s.Namespace), s.Replicas),
				"give --nats-url of a cluster, or a cluster block in a --nats-config, or lower the replicas")
			return
		}
	}
	switch {
	case clustered:
		r.add(OK, "cluster", fmt.Sprintf("%s, %s", opts.Cluster.Name, plural(len(opts.Routes), "route")))
	case cfg.Listen == "" && cfg.ConfigFile == "":
		r.add(Note, "cluster", "a single server that nobody else can reach; --nats-listen lets other nodes join")
	default:
		r.add(Note, "cluster", "a single server")
	}
}

// embeddedStore looks at the directory, and whether a node has it.
func embeddedStore(r *Report, cfg *EmbeddedConfig, opts *server.Options) (running bool) {
	dir, err := filepath.Abs(opts.StoreDir)
	if opts.StoreDir == "" || err != nil {
		r.wrong(Fail, "store", "there is no directory for JetStream", "give --data-dir")
		return false
	}
	exists, err := nearest(dir)
	if err == nil {
		err = unix.Access(exists, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		r.wrong(Fail, "store", fmt.Sprintf("%s cannot be written: %v", dir, err), "give --data-dir of a directory that this user may write")
		return false
	}
	if holder := lockHolder(filepath.Join(dir, "throng.lock")); holder != "" {
		r.add(Note, "store", dir+" is in use by "+holder)
		running = true
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(exists, &fs); err != nil {
		r.wrong(Warn, "store", fmt.Sprintf("%s: free space: %v", dir, err), "look at the file system")
		return running
	}
	free := int64(fs.Bavail) * fs.Bsize //nolint:unconvert // differs between architectures
	limit := opts.JetStreamMaxStore
	if limit <= 0 {
		limit = int64(defaultShare * float64(free))
	}
	text := fmt.Sprintf("%s, %s free, JetStream may use %s", dir, sizeText(free), sizeText(limit))
	reserved := int64(0)
	for _, s := range cfg.Streams {
		if s.Storage != "memory" {
			reserved += s.MaxBytes
		}
	}
	if reserved > limit {
		r.wrong(Fail, "store", fmt.Sprintf("the namespaces set %s aside, JetStream may use %s", sizeText(reserved), sizeText(limit)), "free space, raise max_file in a --nats-config, or lower history_max_bytes")
	}
	switch {
	case fs.Type == unix.TMPFS_MAGIC:
		r.wrong(Warn, "store", text+"; it is in memory", "give --data-dir on a disk: what is there now is gone after a restart of the machine")
	case free < lowSpace || limit > free:
		r.wrong(Warn, "store", text, "free space: when the disk is full, JetStream switches itself off until the node is restarted")
	default:
		r.add(OK, "store", text)
	}
	return running
}

// nearest is the directory itself or the first above it that exists.
func nearest(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return dir, unix.ENOTDIR
		case err == nil:
			return dir, nil
		case !errors.Is(err, os.ErrNotExist):
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}

// lockHolder says who holds the lock that a node puts on its store, "" for nobody. It looks into /proc/locks, since trying
// the lock would take it from a node that starts at this moment.
func lockHolder(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	file := fmt.Sprintf(":%d ", st.Ino) // the device is another one below an overlay file system
	for line := range strings.Lines(string(locks)) {
		if !strings.Contains(line, " FLOCK ") || !strings.Contains(line, file) {
			continue
		}
		who, err := os.ReadFile(path)
		if err != nil || len(who) == 0 {
			return "another process"
		}
		return string(who)
	}
	return ""
}
