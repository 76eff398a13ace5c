package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"throng/broker"
	"throng/server/auth"
	"throng/server/channel"
	"throng/server/demo"
	"throng/server/history"
	"throng/server/httpapi"
	"throng/server/hub"
	"throng/server/livechat"
	"throng/server/members"
	"throng/server/proxy"
	"throng/server/session"
	"throng/server/ws"
)

// node is one running server. Its parts are started bottom up and drained top down.
type node struct {
	cfg      *Config
	log      *slog.Logger
	logLimit *logLimiter

	stopProfile func()
	embedded    *broker.Embedded // nil with --nats-url
	broker      *broker.NATS
	streams     *broker.Streams
	past        *history.Service
	pastReady   atomic.Pointer[history.Service] // for the broker's goroutines, which are there before it
	syncs       *syncer
	hub         *hub.Hub
	encoders    session.Encoders
	requests    *requestPool
	tokens      *auth.Tokens
	guests      *auth.Guests
	demo        *demo.Desk
	control     *broker.Control
	rules       atomic.Pointer[channel.Rules]
	members     *members.Table
	sessions    *session.Service
	proxies     *proxy.Proxies
	api         *httpapi.API
	began       time.Time
	meter       processMeter
	chat        *livechat.Chat
	ws          *ws.Server
	admin       *adminServer // nil when switched off
	metrics     *metrics
	trimmer     *trimmer

	connections int // clients it may hold
	draining    atomic.Bool
}

// startNode starts everything and says where to go. After an error nothing is left running.
func startNode(c *Config, to output) (*node, error) {
	log, limiter := newLogger(to.log, c.LogLevel, c.LogFormat, c.LogRate)
	log = log.With("node", c.NodeID)
	n := &node{cfg: c, log: log, logLimit: limiter, stopProfile: func() {}, began: time.Now()}
	for _, step := range []func() error{n.startLimits, n.startProfile, n.startBroker, n.startSessions, n.startAPI, n.startClients, n.startAdmin} {
		if err := step(); err != nil {
			n.abandon()
			return nil, err
		}
	}
	n.trimmer = newTrimmer(n.work)
	go n.trimmer.run()
	fmt.Fprint(to.out, n.greeting())
	return n, nil
}

func (n *node) startLimits() error {
	limits, err := findLimits()
	if err != nil {
		return err
	}
	if n.connections, err = limits.connectionsFor(n.cfg); err != nil {
		return err
	}
	applyRuntimeLimits(n.cfg)
	limits.log(n.log, n.connections)
	return nil
}

func (n *node) startProfile() (err error) {
	n.stopProfile, err = startProfile(n.cfg.Profile, n.cfg.ProfileDir, n.log)
	return err
}

// startBroker starts the embedded NATS server, unless there is a cluster to join, and the link to it. NATS being away is no
// error: the node lives, is not ready, and tries for ever.
func (n *node) startBroker() (err error) {
	c := n.cfg
	bc := broker.Config{
		URLs: c.NATSURLs, Name: "throng " + c.NodeID, Prefix: c.NATSPrefix, CredsFile: c.NATSCreds, Logger: n.log,
		Limits: broker.Limits{QueueMessages: c.PublishQueueCount, QueueBytes: c.PublishQueueBytes, ReaderMessages: c.ReaderQueue, WideInterest: cmp.Or(c.WideInterest, math.MaxInt)},
	}
	if c.Embedded() {
		n.embedded, err = broker.StartEmbedded(broker.EmbeddedConfig{
			NodeID: c.NodeID, StoreDir: storeDir(c.DataDir), Listen: c.NATSListen, ConfigFile: c.NATSConfig, Logger: n.log,
		})
		if err != nil {
			return n.natsError(err)
		}
		bc.Server = n.embedded
	}
	b, err := broker.Connect(bc, n.receive)
	if err != nil {
		return n.natsError(err)
	}
	n.broker = b
	n.metrics = newMetrics(c.NodeID, readVersion(), n.snapshot)
	n.startHub()
	return nil
}

// storeDir is where the embedded server keeps its files; without a data directory the --nats-config has to say it.
func storeDir(dataDir string) string {
	if dataDir == "" {
		return ""
	}
	return filepath.Join(dataDir, "jetstream")
}

// natsError names the option behind a field of the broker's configuration.
func (n *node) natsError(err error) error {
	ce, is := errors.AsType[*broker.ConfigError](err)
	if !is {
		return err
	}
	option, known := map[string]string{
		"URLs": "nats-url", "CredsFile": "nats-creds", "Prefix": "nats-prefix", "StoreDir": "data-dir", "Listen": "nats-listen", "ConfigFile": "nats-config", "NodeID": "node-id",
	}[ce.Field]
	if !known {
		return err
	}
	return &configError{Field: n.cfg.Origin(option), Value: ce.Value, Problem: ce.Why.Error(), Fix: ce.Fix}
}

// startClients opens the public port.
func (n *node) startClients() (err error) {
	c := n.cfg
	checkOrigin, err := originChecker(c.AllowedOrigins)
	if err != nil {
		return err
	}
	n.chat = livechat.New(livechat.Config{NodeID: c.NodeID, GreetDelay: c.GreetDelay, DefaultRoom: defaultRoom, RoomMaxLen: maxRoomBytes}, n.hub)
	n.ws, err = ws.New(ws.Config{
		Addr: c.Addr, Listeners: c.Listeners, Backlog: c.ListenBacklog, Pollers: c.Pollers,
		MaxConnections: n.connections, AcceptRate: float64(c.AcceptRate), AcceptBurst: c.AcceptBurst, RetryAfter: c.RetryAfter,
		AddressLimit: c.AddressConnections, AddressPrefix6: c.IPv6Prefix, TrustedProxies: prefixList(c.TrustedProxies),
		HeaderBytes: c.HeaderBytes, HeaderLines: c.HeaderLines, HandshakeTimeout: c.HandshakeTimeout,
		MaxMessage: c.MaxMessage, MaxFrame: c.MaxFrame,
		PingInterval: c.PingInterval, PongTimeout: c.PongTimeout, CloseTimeout: c.CloseTimeout,
		OutboxLimit: c.OutboxLimit, SendBuffer: cmp.Or(c.SocketSendBuffer, -1), ReceiveBuffer: cmp.Or(c.SocketReceiveBuffer, -1), UserTimeout: c.TCPUserTimeout,
		Subprotocols: append(slices.Clone(c.Subprotocols), centrifugeSubprotocols...), KeepAlives: keepAlives(),
		CheckOrigin: checkOrigin, Upgrade: n.upgrade,
		HTTP: n.publicHTTP(), HTTPConnections: c.HTTPMaxConnections,
		HTTPServer: &http.Server{
			ReadHeaderTimeout: c.HTTPHeaderTimeout, ReadTimeout: c.HTTPReadTimeout, WriteTimeout: c.HTTPWriteTimeout, IdleTimeout: c.HTTPIdleTimeout,
			MaxHeaderBytes: c.HeaderBytes, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		},
		Log: n.log,
	})
	if err != nil {
		return err
	}
	if err := n.ws.Start(); err != nil {
		n.ws = nil
		return &configError{c.Origin("addr"), c.Addr, err.Error(), "choose a free address, or stop what uses it"}
	}
	return nil
}

// work is what the trimmer goes by.
func (n *node) work() workDone {
	s := n.ws.Stats()
	held := uint64(s.Connections + s.Handshaking + s.HTTP)
	w := workDone{churn: 2*s.Accepted - held, connections: held}
	w.allocated, w.live = heapWork()
	return w
}

// startAdmin opens the second listener. With the default address taken, by another node of this machine as a rule, it takes a
// free port instead: only an address somebody asked for is worth an error.
func (n *node) startAdmin() error {
	c := n.cfg
	if c.AdminAddr == "" {
		return nil
	}
	ln, err := net.Listen("tcp", c.AdminAddr)
	if err != nil && strings.HasSuffix(c.Origin("admin-addr"), "(default)") {
		n.log.Warn("default admin address is taken, using a free port", "addr", c.AdminAddr)
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return &configError{c.Origin("admin-addr"), c.AdminAddr, err.Error(), "choose a free address, or off"}
	}
	n.admin = startAdmin(adminConfig{
		NodeID: c.NodeID, Registry: n.metrics.registry, Log: n.log, API: n.api,
		Ready:    []check{{"draining", n.notDraining}, {"nats", n.broker.Ready}},
		Degraded: []check{{"history", n.historyReady}},
	}, ln)
	c.AdminAddr = ln.Addr().String()
	return nil
}

var errDraining = errors.New("draining: this node is about to stop")

func (n *node) notDraining() error {
	if n.draining.Load() {
		return errDraining
	}
	return nil
}

func (n *node) ready() bool { return n.notDraining() == nil && n.broker.Ready() == nil }

// snapshot is what a scrape of /metrics sees.
func (n *node) snapshot() Snapshot {
	return Snapshot{
		WS: n.ws.Stats(), Hub: n.hub.Stats(), Broker: n.broker.Stats(), Chat: n.chat.Stats(),
		Sessions: n.sessions.Stats(), Control: n.control.Stats(), Members: n.members.Stats(), NotJSON: n.encoders.NotJSON(),
		Streams: n.streams.Stats(), Past: n.past.Stats(),
		API: apiFiguresOf(n.api.Stats()), Proxy: proxyFiguresOf(n.proxies.Stats()), Demo: n.demo.Stats(),
		ConnectionLimit: n.connections, Ready: n.ready(), Draining: n.draining.Load(), LogSuppressed: n.logLimit.Suppressed(),
	}
}

// greeting tells a person where to go.
func (n *node) greeting() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Throng node %s\n  chat    http://%s/\n  socket  ws://%s/livechat?room=name\n  sdk     ws://%s/connection/websocket\n",
		n.cfg.NodeID, n.publicHost(), n.publicHost(), n.publicHost())
	if n.guests.Enabled() {
		fmt.Fprintf(&b, "  rooms   http://%s%s\n", n.publicHost(), chatPath)
	}
	if n.admin != nil {
		fmt.Fprintf(&b, "  admin   http://%s/\n", n.cfg.AdminAddr)
	}
	switch {
	case n.embedded == nil:
		fmt.Fprintf(&b, "  nats    %s\n", strings.Join(redactURLs(n.cfg.NATSURLs), ", "))
	case n.embedded.ClientURL() != "":
		fmt.Fprintf(&b, "  nats    embedded, %s\n", n.embedded.ClientURL())
	default:
		fmt.Fprintf(&b, "  nats    embedded; --nats-listen 127.0.0.1:4222 lets other nodes join\n")
	}
	return b.String()
}

// publicHost is the public address as a browser on this machine can use it.
func (n *node) publicHost() string {
	host, port, _ := net.SplitHostPort(n.ws.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func redactURLs(urls []string) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = redactURL(u)
	}
	return out
}

// drain ends the node: not ready, no new clients, old ones closed in paced batches, what they said last published, NATS drained.
func (n *node) drain() error {
	began := time.Now()
	n.draining.Store(true)
	n.log.Info("draining", "connections", n.ws.Stats().Connections, "window", n.cfg.DrainWindow)
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainWindow+n.cfg.ShutdownTimeout)
	defer cancel()
	n.sendClientsAway(ctx)
	n.trimmer.close()
	n.chat.Close()
	n.proxies.Close(ctx)
	n.members.Close()
	n.control.Close()
	n.past.Close()
	err := n.broker.Drain(ctx)
	n.tokens.Close()
	n.hub.Close()
	if n.admin != nil {
		err = errors.Join(err, n.admin.Close(ctx))
	}
	if n.embedded != nil {
		n.embedded.Shutdown()
	}
	n.stopProfile()
	n.log.Info("stopped", "after", time.Since(began).Round(time.Millisecond))
	return err
}

// sendClientsAway leaves half of shutdown-timeout to NATS: a client that never answers the close frame must not cost the
// last words of all others, nor the exit status.
func (n *node) sendClientsAway(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.DrainWindow+n.cfg.ShutdownTimeout/2)
	defer cancel()
	if n.ws.Drain(ctx, n.cfg.DrainWindow, goodbye) != nil {
		n.log.Warn("clients that did not leave were cut")
	}
}

// abandon releases what a failed start has begun.
func (n *node) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if n.ws != nil {
		_ = n.ws.Drain(ctx, 0, goodbye)
	}
	if n.chat != nil {
		n.chat.Close()
	}
	if n.proxies != nil {
		n.proxies.Close(ctx)
	}
	if n.members != nil {
		n.members.Close()
	}
	if n.control != nil {
		n.control.Close()
	}
	if n.past != nil {
		n.past.Close()
	}
	if n.broker != nil {
		n.broker.Close()
	}
	if n.tokens != nil {
		n.tokens.Close()
	}
	if n.hub != nil {
		n.hub.Close()
	}
	if n.embedded != nil {
		n.embedded.Shutdown()
	}
	n.stopProfile()
}
