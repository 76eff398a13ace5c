package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// EmbeddedConfig says how to run a NATS server in this process.
type EmbeddedConfig struct {
	// NodeID becomes the server's name, unless ConfigFile names it. No spaces. Required.
	NodeID string
	// StoreDir is the directory of JetStream's files; created if absent, and locked, since nats-server does not
	// notice two servers writing to one store. Required unless ConfigFile says store_dir or enables no JetStream.
	StoreDir string
	// Listen is the address for other nodes and NATS tools, "host:port", port 0 for any free one. Default empty:
	// no socket is opened at all. Not together with ConfigFile, which has its own `listen`.
	Listen string
	// ConfigFile is the path of a nats.conf, parsed by nats-server itself: clustering, leaf nodes, TLS, accounts,
	// limits. What it says wins over this struct. Without a client port in it no client socket is opened, except
	// that clustering, which nats-server ties to one, gets a free port of 127.0.0.1.
	ConfigFile string
	// MaxMemory and MaxStore bound JetStream, in bytes. Default 0: nats-server's own (75 % of memory, and of the
	// disk's free space). Ignored with ConfigFile.
	MaxMemory, MaxStore int64
	// SyncAlways makes JetStream fsync every write before it acknowledges it. Default false: every 2 minutes, which
	// can lose acknowledged writes with the machine's power. Ignored with ConfigFile.
	SyncAlways bool
	// StartTimeout bounds the wait for the listeners after JetStream has recovered its files. Default 10 s.
	StartTimeout time.Duration
	// Logger takes nats-server's log. Default slog.Default().
	Logger *slog.Logger
}

const (
	lockName            = "throng.lock"
	defaultStartTimeout = 10 * time.Second
)

// Embedded is a running NATS server. It implements InProcess.
type Embedded struct {
	server *server.Server
	log    *serverLog
	lock   *os.File // held locked while the server runs; nil without a store
}

var _ InProcess = (*Embedded)(nil)

// StartEmbedded starts a NATS server and returns when it serves. Blocks while JetStream recovers its files.
// Errors: *ConfigError when a field or the nats.conf is wrong, or an address or the store is taken.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = defaultStartTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	lock, err := lockStore(opts)
	if err != nil {
		return nil, err
	}
	e := &Embedded{log: &serverLog{log: cfg.Logger}, lock: lock}
	if err := e.start(&cfg, opts); err != nil {
		e.Shutdown()
		return nil, err
	}
	e.log.started.Store(true)
	return e, nil
}

func (e *Embedded) start(cfg *EmbeddedConfig, opts *server.Options) error {
	s, err := server.NewServer(opts)
	if err != nil {
		return cfg.blame(err)
	}
	e.server = s
	s.SetLoggerV2(e.log, opts.Debug, opts.Trace, opts.TraceVerbose)
	s.Start()
	// nats-server reports what goes wrong in Start to its logger only, and expects that to end the process.
	if err := e.log.fatalError(); err != nil {
		return cfg.blame(err)
	}
	if !s.ReadyForConnections(cfg.StartTimeout) {
		err := e.log.fatalError()
		if err == nil {
			err = fmt.Errorf("not ready within %v", cfg.StartTimeout)
		}
		return cfg.blame(err)
	}
	return nil
}

// blame names the field behind an error of nats-server.
func (c *EmbeddedConfig) blame(err error) error {
	text := err.Error()
	switch {
	case c.ConfigFile != "":
		return &ConfigError{Field: "ConfigFile", Value: c.ConfigFile, Why: err, Fix: "correct the nats.conf, or free the address it names"}
	case strings.Contains(text, "listening on port"):
		return &ConfigError{Field: "Listen", Value: c.Listen, Why: err, Fix: "choose a free address, or none"}
	case strings.Contains(text, "JetStream"):
		return &ConfigError{Field: "StoreDir", Value: c.StoreDir, Why: err, Fix: "give a writable directory with free space"}
	case strings.Contains(text, "server name"):
		return &ConfigError{Field: "NodeID", Value: c.NodeID, Why: err, Fix: "give a name without spaces"}
	}
	return fmt.Errorf("broker: embedded NATS server: %w", err)
}

// options builds nats-server's options without starting anything.
func (c *EmbeddedConfig) options() (*server.Options, error) {
	if c.NodeID == "" {
		return nil, &ConfigError{Field: "NodeID", Why: errors.New("is empty"), Fix: "give this node a name"}
	}
	if c.ConfigFile != "" {
		return c.fileOptions()
	}
	opts := &server.Options{
		ServerName: c.NodeID,
		DontListen: c.Listen == "",
		JetStream:  true, StoreDir: c.StoreDir,
		JetStreamMaxMemory: c.MaxMemory, JetStreamMaxStore: c.MaxStore,
		SyncAlways: c.SyncAlways,
		NoSigs:     true,
	}
	if c.Listen != "" {
		var err error
		if opts.Host, opts.Port, err = splitListen(c.Listen); err != nil {
			return nil, &ConfigError{Field: "Listen", Value: c.Listen, Why: err, Fix: `write it as "127.0.0.1:4222"`}
		}
	}
	return opts, nil
}

func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("port %q is not a number from 0 to 65535", text)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// fileOptions has nats-server parse the file and fills in only what it leaves open.
func (c *EmbeddedConfig) fileOptions() (*server.Options, error) {
	opts, err := server.ProcessConfigFile(c.ConfigFile)
	if err != nil {
		return nil, c.blameFile(err)
	}
	if c.Listen != "" {
		return nil, &ConfigError{
			Field: "Listen", Value: c.Listen, Why: errors.New("given together with ConfigFile"),
			Fix: fmt.Sprintf("write `listen: %q` into %s", c.Listen, c.ConfigFile),
		}
	}
	opts.NoSigs = true
	if opts.ServerName == "" {
		opts.ServerName = c.NodeID
	}
	if opts.JetStream && opts.StoreDir == "" {
		opts.StoreDir = c.StoreDir
	}
	if opts.Port == 0 {
		c.quietListener(opts)
	}
	return opts, nil
}

// blameFile says what is wrong with the file, on one line: nats-server gives file:line:column and ends each of
// possibly several errors with a line break.
func (c *EmbeddedConfig) blameFile(err error) error {
	bad := &ConfigError{Field: "ConfigFile", Value: c.ConfigFile, Why: err, Fix: "correct the line it names"}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		bad.Fix = "give the path of a readable nats.conf"
		return bad
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	bad.Why = errors.New(strings.TrimSpace(strings.Join(lines, "; ")))
	return bad
}

// quietListener keeps nats-server from its default of listening on 0.0.0.0:4222. Routes start only after a client
// listener has (Server.StartRouting waits for it), so a clustered server gets one that no other host can reach and
// that is not advertised to clients of the cluster.
func (c *EmbeddedConfig) quietListener(opts *server.Options) {
	if opts.Cluster.Port == 0 {
		opts.DontListen = true
		return
	}
	// HTTPHost defaults to Host: a monitoring port that the file asks for stays where it would have been.
	if opts.HTTPHost == "" {
		opts.HTTPHost = opts.Host
		if opts.HTTPHost == "" {
			opts.HTTPHost = server.DEFAULT_HOST
		}
	}
	opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
	opts.Cluster.NoAdvertise = true
}

// lockStore makes the store directory this process's own. The kernel drops the lock when the process ends, however
// it ends.
func lockStore(opts *server.Options) (*os.File, error) {
	if !opts.JetStream {
		return nil, nil
	}
	if opts.StoreDir == "" {
		return nil, &ConfigError{Field: "StoreDir", Why: errors.New("is empty, and JetStream is on"), Fix: "give a directory for its files"}
	}
	blame := func(why error, fix string) error {
		return &ConfigError{Field: "StoreDir", Value: opts.StoreDir, Why: why, Fix: fix}
	}
	if err := os.MkdirAll(opts.StoreDir, 0o700); err != nil {
		return nil, blame(err, "give a directory that can be created and written")
	}
	f, err := os.OpenFile(filepath.Join(opts.StoreDir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, blame(err, "give a writable directory")
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(f.Name())
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, blame(fmt.Errorf("cannot lock it: %w", err), "give a directory on a file system with flock")
		}
		return nil, blame(
			fmt.Errorf("in use by %s", holderText(holder)),
			"give this node a directory of its own, or connect it to the other node's NATS by URL",
		)
	}
	if err := f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "process %d", os.Getpid())
		if err != nil {
			f.Close()
			return nil, blame(err, "give a writable directory with free space")
		}
	}
	return f, nil
}

func holderText(lock []byte) string {
	if len(lock) == 0 {
		return "another process"
	}
	return string(lock)
}

// InProcessConn implements InProcess.
func (e *Embedded) InProcessConn() (net.Conn, error) { return e.server.InProcessConn() }

// Version of nats-server.
func (e *Embedded) Version() string { return server.VERSION }

// Name of the server.
func (e *Embedded) Name() string { return e.server.Name() }

// Addr is where clients can connect, or nil when no client socket is open.
func (e *Embedded) Addr() net.Addr { return e.server.Addr() }

// ClientURL is the URL for other nodes and NATS tools, or empty when no client socket is open.
func (e *Embedded) ClientURL() string {
	if e.Addr() == nil {
		return ""
	}
	return e.server.ClientURL()
}

// JetStream is the state of the server's JetStream.
type JetStream struct {
	Enabled             bool
	StoreDir            string
	MaxMemory, MaxStore int64  // bytes
	Memory, Store       uint64 // bytes in use
	Streams             int
	Clustered           bool
}

// JetStream asks the server for JetStream's state. For admin pages and metrics, not for a hot path.
func (e *Embedded) JetStream() (JetStream, error) {
	if !e.server.JetStreamEnabled() {
		return JetStream{}, nil
	}
	info, err := e.server.Jsz(&server.JSzOptions{})
	if err != nil {
		return JetStream{}, fmt.Errorf("broker: JetStream state: %w", err)
	}
	return JetStream{
		Enabled: true, StoreDir: info.Config.StoreDir,
		MaxMemory: info.Config.MaxMemory, MaxStore: info.Config.MaxStore,
		Memory: info.Memory, Store: info.Store, Streams: info.Streams,
		Clustered: e.server.JetStreamIsClustered(),
	}, nil
}

// Shutdown stops the server, waits for it and frees its store. Blocks; idempotent.
func (e *Embedded) Shutdown() {
	if e.server != nil {
		e.log.started.Store(false)
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	if e.lock != nil {
		e.lock.Close()
		e.lock = nil
	}
}
