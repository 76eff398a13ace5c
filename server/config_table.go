package main

import (
	"math"
	"slices"
	"strings"
	"time"
)

// option is one row of the configuration table. One name has three spellings: the flag --name, the
// environment variable THRONG_NAME (hyphens as underscores) and the key name of the YAML file.
type option struct {
	name  string
	def   string // default, in the spelling an operator would use
	unit  string // shown as the argument in help
	why   string // one line: what it does and the reason for its default or range
	value value

	group  string                // heading in help
	auto   string                // what the default comes out as, where def alone does not tell
	env    string                // one more environment variable, weaker than THRONG_NAME
	redact func(s string) string // for values that may carry a password
	where  sources
}

// sources says where an option may be given.
type sources uint8

const (
	anywhere      sources = iota
	flagOrEnvOnly         // the file cannot name itself
	flagOnly              // a question asked of one run, not a setting
)

func (o *option) list() bool {
	_, is := o.value.(listValue)
	return is
}

func (o *option) switchOnly() bool {
	_, is := o.value.(boolValue)
	return is
}

func (o *option) show(text string) string {
	if o.redact != nil {
		return o.redact(text)
	}
	return text
}

func (o *option) envNames() []string {
	if o.where == flagOnly {
		return nil
	}
	names := []string{"THRONG_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))}
	if o.env != "" {
		names = append(names, o.env)
	}
	return names
}

// optionTable is the one list of everything that can be set, in the order of the help text. Its values
// are bound to c.
func optionTable(c *Config) []option {
	return slices.Concat(
		grouped("Serving", servingOptions(c)),
		grouped("Demonstration", demoOptions(c)),
		grouped("NATS", natsOptions(c)),
		grouped("Running", runningOptions(c)),
		grouped("Accepting connections", acceptOptions(c)),
		grouped("Connections", connectionOptions(c)),
		grouped("Fan-out", fanoutOptions(c)),
		grouped("Plain HTTP on the public port", httpOptions(c)),
	)
}

func grouped(name string, options []option) []option {
	for i := range options {
		options[i].group = name
	}
	return options
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30

	day = int64(24 * time.Hour)
	sec = int64(time.Second)
	ms  = int64(time.Millisecond)
)

func servingOptions(c *Config) []option {
	return []option{
		{name: "addr", def: ":8080", unit: "host:port", value: stringValue{&c.Addr, hostPort},
			why: "Public listener: WebSocket upgrades and the pages."},
		{name: "admin-addr", def: "127.0.0.1:9090", unit: "host:port", value: stringValue{&c.AdminAddr, hostPortOrOff},
			why: "Health, metrics and profiles, on their own listener so that the public port never shows them; off switches it off."},
		{name: "node-id", def: "", unit: "name", value: stringValue{&c.NodeID, nodeID}, env: "APPID", auto: "host name and 6 random letters",
			why: "Name of this node in chat, logs, metrics and NATS; must differ between nodes."},
		{name: "allowed-origins", def: "", unit: "origins", value: listValue{&c.AllowedOrigins, webOrigin}, auto: "the page's own host",
			why: "Origins whose pages may connect besides the page's own host: https://example.org, https://*.example.org, http://localhost:*; * allows all."},
		{name: "subprotocols", def: "chat,superchat", unit: "names", value: listValue{&c.Subprotocols, httpToken},
			why: "WebSocket subprotocols answered to clients that offer them; browsers drop a connection whose offer is ignored."},
		{name: "insecure", def: "false", unit: "", value: boolValue{&c.Client.Insecure},
			why: "Development only: every client of the Centrifuge protocol may connect without a token, subscribe, publish and read."},
		{name: "greet-delay", def: "0", unit: "duration", value: durationValue{&c.GreetDelay, span{0, 60 * sec, true}, 0},
			why: "Pause before a new chat client is greeted."},
	}
}

func natsOptions(c *Config) []option {
	return []option{
		{name: "nats-url", def: "", unit: "urls", value: listValue{&c.NATSURLs, natsURL}, auto: "embedded server", redact: redactURL,
			why: "Servers of an existing NATS cluster; several flags or commas. Empty: a server inside this process."},
		{name: "nats-creds", def: "", unit: "file", value: stringValue{&c.NATSCreds, readableFile},
			why: "NATS credentials file (user JWT and key) for --nats-url, or for an embedded server whose --nats-config has accounts."},
		{name: "nats-config", def: "", unit: "file", value: stringValue{&c.NATSConfig, readableFile},
			why: "Full nats-server configuration for the embedded server: clustering, leaf nodes, TLS, accounts."},
		{name: "nats-listen", def: "", unit: "host:port", value: stringValue{&c.NATSListen, hostPortOrEmpty}, auto: "not reachable from outside",
			why: "Lets other nodes and NATS tools reach the embedded server."},
		{name: "nats-prefix", def: "throng", unit: "subject", value: stringValue{&c.NATSPrefix, natsPrefix},
			why: "First tokens of every subject, so that several Throngs can share one NATS."},
		{name: "data-dir", def: "", unit: "directory", value: stringValue{&c.DataDir, nil}, auto: "throng in the user's cache directory",
			why: "JetStream store of the embedded server; one node per directory."},
	}
}

func runningOptions(c *Config) []option {
	return []option{
		{name: "config", def: "", unit: "file", value: stringValue{&c.ConfigFile, nil}, where: flagOrEnvOnly,
			why: "YAML file with these names as keys."},
		{name: "check-config", def: "false", unit: "", value: boolValue{&c.CheckConfig}, where: flagOnly,
			why: "Check everything here, print what differs from the defaults, and exit; throng doctor also asks NATS."},
		{name: "log-level", def: "info", unit: "level", value: enumValue{&c.LogLevel, []string{"debug", "info", "warn", "error"}},
			why: "debug, info, warn or error; a peer's mistakes are logged at debug."},
		{name: "log-format", def: "text", unit: "format", value: enumValue{&c.LogFormat, []string{"text", "json"}},
			why: "text for people, json for log collectors."},
		{name: "log-rate", def: "10", unit: "lines/s", value: intValue{&c.LogRate, span{1, 1_000_000, true}},
			why: "Lines per second of one message; the rest is counted and told with the next. 0 = no limit."},
		{name: "profile", def: "", unit: "kind", value: enumValue{&c.Profile, append([]string{""}, profileKinds()...)},
			why: "Profile the whole run: " + strings.Join(profileKinds(), ", ") + "."},
		{name: "profile-dir", def: ".", unit: "directory", value: stringValue{&c.ProfileDir, nonEmpty},
			why: "Where --profile writes its file when the node stops."},
		{name: "drain-window", def: "10s", unit: "duration", value: durationValue{&c.DrainWindow, span{100 * ms, 3600 * sec, true}, 0},
			why: "Over how long clients are closed on SIGTERM, so that their return is no storm."},
		{name: "shutdown-timeout", def: "5s", unit: "duration", value: durationValue{&c.ShutdownTimeout, span{100 * ms, 3600 * sec, false}, 0},
			why: "Beyond the drain window, for NATS and the last bytes; then the node exits whatever is left."},
		{name: "gogc", def: "0", unit: "percent", value: intValue{&c.GOGC, span{10, 10_000, true}},
			why: "Heap growth between collections; lower keeps memory per connection flat and costs CPU. 0 = Go's own (GOGC, 100)."},
		{name: "memory-limit", def: "0", unit: "bytes", value: sizeValue{&c.MemoryLimit, span{32 * mib, math.MaxInt64, true}},
			why: "Soft limit of the Go heap and runtime: about 80 % of a container's limit. 0 = Go's own (GOMEMLIMIT, none)."},
	}
}

func acceptOptions(c *Config) []option {
	return []option{
		{name: "max-connections", def: "0", unit: "connections", value: intValue{&c.MaxConnections, span{1, maxDescriptors, true}},
			why: "Clients held at once; above it 503. 0 = what the descriptor limit leaves."},
		{name: "reserve-fds", def: "256", unit: "descriptors", value: intValue{&c.ReserveFDs, span{128, maxDescriptors, false}},
			why: "Descriptors kept from clients for NATS, its store, logs, the admin listener and the last 503s."},
		{name: "listeners", def: "0", unit: "sockets", value: intValue{&c.Listeners, span{1, 256, true}},
			why: "Listening sockets sharing the port, each with its own backlog and acceptor. 0 = one per core, at most 4."},
		{name: "listen-backlog", def: "0", unit: "connections", value: intValue{&c.ListenBacklog, span{1, 1 << 20, true}},
			why: "Connections waiting for accept, per listener; the kernel caps it at net.core.somaxconn. 0 = 4096, the usual cap."},
		{name: "accept-rate", def: "0", unit: "upgrades/s", value: intValue{&c.AcceptRate, span{1, 10_000_000, true}},
			why: "Upgrades per second; above it 503 with Retry-After, against reconnect storms. 0 = no limit."},
		{name: "accept-burst", def: "0", unit: "upgrades", value: intValue{&c.AcceptBurst, span{1, 10_000_000, true}},
			why: "Upgrades at once before --accept-rate binds. 0 = one second's worth."},
		{name: "address-connections", def: "1000", unit: "connections", value: intValue{&c.AddressConnections, span{1, maxDescriptors, true}},
			why: "Clients of one address; above it 429 with Retry-After. Behind a proxy it needs --trusted-proxies, or all clients count as one. 0 = no limit."},
		{name: "ipv6-prefix", def: "64", unit: "bits", value: intValue{&c.IPv6Prefix, span{1, 64, false}},
			why: "Leading bits of an IPv6 address that count as one address: customers have a /64 at least."},
		{name: "trusted-proxies", def: "", unit: "prefixes", value: listValue{&c.TrustedProxies, addressPrefix}, auto: "none",
			why: "Addresses and CIDR prefixes of proxies whose X-Forwarded-For says where a client is; what others say there is ignored."},
		{name: "retry-after", def: "5s", unit: "duration", value: durationValue{&c.RetryAfter, span{sec, 3600 * sec, false}, time.Second},
			why: "Told to clients refused with 503 or 429; whole seconds, as HTTP wants."},
		{name: "handshake-timeout", def: "10s", unit: "duration", value: durationValue{&c.HandshakeTimeout, span{100 * ms, 300 * sec, false}, 0},
			why: "From accept to a whole request head, against clients that send it slowly or never."},
		{name: "header-bytes", def: "16KiB", unit: "bytes", value: sizeValue{&c.HeaderBytes, span{kib, mib, false}},
			why: "Largest request head; above it 431."},
		{name: "header-lines", def: "100", unit: "lines", value: intValue{&c.HeaderLines, span{8, 10_000, false}},
			why: "Most header lines of a request; above it 431."},
	}
}

func connectionOptions(c *Config) []option {
	return []option{
		{name: "pollers", def: "0", unit: "loops", value: intValue{&c.Pollers, span{1, 1024, true}},
			why: "Epoll loops that read and parse. 0 = one per core."},
		{name: "max-message", def: "64KiB", unit: "bytes", value: sizeValue{&c.MaxMessage, span{128, 64 * mib, false}},
			why: "Largest message taken from a client; above it close code 1009. NATS must allow it too (1MiB by default)."},
		{name: "max-frame", def: "0", unit: "bytes", value: sizeValue{&c.MaxFrame, span{128, 64 * mib, true}}, auto: "as max-message",
			why: "Largest single frame taken from a client; above it close code 1009."},
		{name: "outbox-limit", def: "1MiB", unit: "bytes", value: sizeValue{&c.OutboxLimit, span{4 * kib, gib, false}},
			why: "Unsent bytes kept for one client; above it the client is too slow and closed with 3008."},
		{name: "ping-interval", def: "25s", unit: "duration", value: durationValue{&c.PingInterval, span{100 * ms, day, false}, 0},
			why: "Silence before a client is pinged; below the idle time-outs of NAT and proxies."},
		{name: "pong-timeout", def: "8s", unit: "duration", value: durationValue{&c.PongTimeout, span{100 * ms, day, false}, 0},
			why: "Silence after a ping before the connection is cut."},
		{name: "close-timeout", def: "5s", unit: "duration", value: durationValue{&c.CloseTimeout, span{100 * ms, 300 * sec, false}, 0},
			why: "Wait for a client's close frame before the connection is cut."},
		{name: "tcp-user-timeout", def: "30s", unit: "duration", value: durationValue{&c.TCPUserTimeout, span{sec, day, false}, time.Millisecond},
			why: "Unacknowledged data before the kernel gives a peer up; by itself it takes about 15 minutes."},
		{name: "socket-send-buffer", def: "64KiB", unit: "bytes", value: sizeValue{&c.SocketSendBuffer, span{4 * kib, 64 * mib, true}},
			why: "Kernel memory one stuck peer can hold; the kernel doubles it. 0 = the kernel's, up to 4MiB."},
		{name: "socket-receive-buffer", def: "64KiB", unit: "bytes", value: sizeValue{&c.SocketReceiveBuffer, span{4 * kib, 64 * mib, true}},
			why: "Bytes the kernel takes from a client before this node reads them. 0 = the kernel's."},
	}
}

func fanoutOptions(c *Config) []option {
	return []option{
		{name: "hub-shards", def: "0", unit: "shards", value: intValue{&c.HubShards, span{1, 1024, true}},
			why: "Owners of subscriptions, fanning out in parallel. 0 = one per core."},
		{name: "hub-mailbox", def: "1024", unit: "messages", value: intValue{&c.HubMailbox, span{1, mib, false}},
			why: "Publications waiting for one shard; when full, reading from NATS waits and nothing is lost here."},
		{name: "hub-batch-bytes", def: "64KiB", unit: "bytes", value: sizeValue{&c.HubBatchBytes, span{kib, 16 * mib, false}},
			why: "Frames of one channel joined into one write per client; the largest gain under load."},
		{name: "interest-linger", def: "2s", unit: "duration", value: durationValue{&c.InterestLinger, span{ms, 3600 * sec, false}, 0},
			why: "How long a channel's NATS subscription outlives its last client, so that reconnects do not flap it."},
		{name: "wide-interest", def: "50000", unit: "channels", value: intValue{&c.WideInterest, span{1, math.MaxInt32, true}},
			why: "Channels above which new ones share one NATS subscription: saves about 1KiB each, costs a look at every message of the cluster. 0 = never."},
		{name: "publish-queue-messages", def: "65536", unit: "messages", value: intValue{&c.PublishQueueCount, span{1, 16 * mib, false}},
			why: "Messages waiting for NATS; when full, publishers are told busy and the loss is counted."},
		{name: "publish-queue-bytes", def: "16MiB", unit: "bytes", value: sizeValue{&c.PublishQueueBytes, span{4 * kib, 16 * gib, false}},
			why: "The same bound in bytes, so that large messages cannot take the memory."},
		{name: "reader-queue", def: "8192", unit: "messages", value: intValue{&c.ReaderQueue, span{1, 16 * mib, false}},
			why: "Messages from NATS waiting for a shard, per reader; when full, they are dropped and counted."},
	}
}

func httpOptions(c *Config) []option {
	return []option{
		{name: "http-max-connections", def: "256", unit: "connections", value: intValue{&c.HTTPMaxConnections, span{1, maxDescriptors, false}},
			why: "Connections that are no WebSocket, each with a goroutine; above it 503."},
		{name: "http-header-timeout", def: "10s", unit: "duration", value: durationValue{&c.HTTPHeaderTimeout, span{100 * ms, 3600 * sec, false}, 0},
			why: "For a request's head, against slow senders."},
		{name: "http-read-timeout", def: "15s", unit: "duration", value: durationValue{&c.HTTPReadTimeout, span{100 * ms, 3600 * sec, false}, 0},
			why: "For a whole request; bodies are small."},
		{name: "http-write-timeout", def: "30s", unit: "duration", value: durationValue{&c.HTTPWriteTimeout, span{100 * ms, 3600 * sec, false}, 0},
			why: "For a whole answer, against slow readers."},
		{name: "http-idle-timeout", def: "1m", unit: "duration", value: durationValue{&c.HTTPIdleTimeout, span{100 * ms, 3600 * sec, false}, 0},
			why: "Keep-alive between two requests."},
	}
}
