package main

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"throng/broker"
	"throng/server/auth"
	"throng/server/channel"
	"throng/server/hub"
	"throng/server/livechat"
	"throng/server/session"
	"throng/server/wire"
	"throng/server/ws"
)

// The Centrifuge side of a node: tokens, rules, sessions and the control plane, put together.

// Numbers of ws.Config.KeepAlives; 0 is WebSocket pings.
const (
	keepAliveJSON     = 1
	keepAliveProtobuf = 2
)

// requestPool runs what sessions must wait for: key fetches, other nodes, the application backend.
type requestPool struct {
	slots chan struct{}
	log   *slog.Logger
}

func newRequestPool(size int, log *slog.Logger) *requestPool {
	return &requestPool{slots: make(chan struct{}, size), log: log}
}

// Go implements session.Requests.
func (p *requestPool) Go(fn func()) bool {
	select {
	case p.slots <- struct{}{}:
	default:
		return false
	}
	go func() {
		defer func() {
			if r := recover(); r != nil {
				p.log.Error("panic in a request", "err", r, "stack", string(debug.Stack()))
			}
			<-p.slots
		}()
		fn()
	}()
	return true
}

// startHub makes the hub, with the wire forms of everybody who listens.
func (n *node) startHub() {
	c := n.cfg
	hc := hub.Config{
		Shards: c.HubShards, MailboxLen: c.HubMailbox, BatchBytes: c.HubBatchBytes, InterestLinger: c.InterestLinger,
		OnFanout: n.metrics.ObserveFanout, OnCut: session.Cut, OnPanic: n.fanoutPanicked,
	}
	hc.Encoders[hub.EncodingRaw] = livechat.Encoder(c.NodeID)
	n.encoders.AddTo(&hc)
	n.hub = hub.New(hc, hubBroker{n.broker})
	n.hub.Start()
}

// fanoutPanicked is a bug of ours that cost some subscribers a publication, and nothing more.
func (n *node) fanoutPanicked(what any, stack []byte) {
	n.log.Error("panic while fanning out", "panic", what, "stack", string(stack))
}

// startSessions makes what the Centrifuge protocol needs, without opening anything yet.
func (n *node) startSessions() (err error) {
	c := n.cfg
	n.requests = newRequestPool(c.Client.MaxRequests, n.log)
	n.startDemo()
	if n.tokens, err = auth.NewTokens(c.Auth, auth.Options{OnFetch: n.keyFetched, Guests: n.guests}); err != nil {
		return sectionError(c.ConfigFile, err)
	}
	n.control, err = n.broker.Control(broker.ControlConfig{Name: c.NodeID, Version: readVersion().Version})
	if err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	if err := n.startProxies(); err != nil {
		return err
	}
	rules, err := n.compileRules(c)
	if err != nil {
		return err
	}
	n.rules.Store(rules)
	n.bridge(rules)
	for _, note := range slices.Concat(n.tokens.Notes(), rules.Notes(), demoNotes(c)) {
		n.log.Warn("configuration", "note", note)
	}
	if err := n.startHistory(); err != nil {
		return err
	}
	sc := c.Client.session()
	sc.NodeID, sc.Version = c.NodeID, readVersion().Version
	sc.PingInterval = wholeSeconds(c.PingInterval)
	sc.KeepAliveJSON, sc.KeepAliveProtobuf = keepAliveJSON, keepAliveProtobuf
	n.startMembers()
	n.sessions = session.New(sc, session.Parts{
		Members: n.members, UID: n.control.UID(),
		Hub: n.hub, Rules: rules, Connection: n.tokens.Connection, Subscription: n.tokens.Subscription,
		Requests: n.requests, Surveyor: surveyor{n.control}, Hooks: hooks(n.proxies),
		History: n.past, Confirm: n.syncs.Confirm,
	})
	n.control.HandleSurvey(session.PresenceOp, n.sessions.AnswerPresence)
	n.control.HandleSurvey(membersOp, n.members.Answer)
	n.control.SetCounts(n.counts)
	return nil
}

func (n *node) compileRules(c *Config) (*channel.Rules, error) {
	env := channel.Environment{
		SubjectPrefix: c.NATSPrefix, Insecure: c.Client.Insecure, ProxyNames: n.proxies.Names(), History: true, TagsFilter: true,
	}
	rules, err := channel.Compile(withDemo(c, env), c.RPC, env)
	if err != nil {
		return nil, sectionError(c.ConfigFile, err)
	}
	return rules, nil
}

// wholeSeconds rounds up: clients are told the ping interval in seconds and wait ten more.
func wholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

func (n *node) keyFetched(url string, err error) {
	if err != nil {
		n.log.Warn("keys of tokens not fetched", "url", url, "err", err)
	}
}

func (n *node) counts() broker.NodeCounts {
	st, h := n.sessions.Stats(), n.hub.Stats()
	return broker.NodeCounts{Clients: uint32(st.Sessions), Users: uint32(st.Users), Subs: uint32(st.Subscriptions), Channels: uint32(h.Channels), LostJoins: st.LostJoins}
}

// joinSession makes the session of a connection that asked for /connection/websocket (centrifuge-protocol.md, 1.1).
func (n *node) joinSession(c *ws.Conn, r *wire.Request) *session.Session {
	h := session.Handshake{Protocol: wire.JSON, Attachment: handshakeHeaders(n.proxies.Headers(), r)}
	format, _ := r.QueryValue("format")
	old, _ := r.QueryValue("cf_protocol")
	if format == "protobuf" || old == "protobuf" || r.Subprotocol(centrifugeSubprotocols) == "centrifuge-protobuf" {
		h.Protocol = wire.Protobuf
	}
	native, _ := r.QueryValue("cf_ws_frame_ping_pong")
	h.NativePing = native == "true"
	return n.sessions.Join(c, h)
}

var centrifugeSubprotocols = []string{"centrifuge-json", "centrifuge-protobuf"}

// keepAlives are the pings of sessions, which their clients count on.
func keepAlives() (k [4]ws.KeepAlive) {
	k[keepAliveJSON] = ws.KeepAlive{Frame: wire.PingFrame(wire.JSON), NoPong: wire.CloseNoPong, Always: true}
	k[keepAliveProtobuf] = ws.KeepAlive{Frame: wire.PingFrame(wire.Protobuf), NoPong: wire.CloseNoPong, Always: true}
	return k
}

// goodbye is what a client is told when the node drains: SDKs reconnect at once on 3001, browsers know 1001.
func goodbye(h ws.Handler) (wire.CloseCode, string) {
	if _, is := h.(*session.Session); is {
		return wire.CloseShutdown, wire.CloseShutdown.Reason()
	}
	return wire.CloseGoingAway, "node is stopping, reconnect"
}
