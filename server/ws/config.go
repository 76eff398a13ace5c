package ws

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"throng/server/wire"
)

// Refusal tells a client why its upgrade was not accepted.
type Refusal struct {
	Status int    // HTTP status: 400, 403, 404, 503, ...
	Reason string // one short line for the response body; no secrets
}

// KeepAlive says how silence is broken and what follows when it is not.
type KeepAlive struct {
	Frame  []byte         // prebuilt, shared; sent as ping
	NoPong wire.CloseCode // sent when nothing comes back within PongTimeout; wire.CloseAbnormal: cut without a word
	Always bool           // every PingInterval, also to a client that talks, and only Conn.Ponged is an answer: for clients that count on it
}

const maxKeepAlives = 4

// Waker is implemented by Handlers that call Conn.WakeIn.
type Waker interface {
	// Woken runs on the connection's poller, like Message.
	Woken()
}

// Handler is the upper half of one connection. Open and Message run on the connection's poller and must
// not block. Closed is called exactly once, after the last Message has returned, and must not block either.
type Handler interface {
	// Open is called when the upgrade is accepted; frames sent from here leave in one write with the 101.
	Open()
	// Message gives one whole message, op is wire.OpText (valid UTF-8) or wire.OpBinary. p is borrowed until
	// return. A *wire.ProtocolError closes the connection with its code, any other error with 1011.
	Message(op wire.Opcode, p []byte) error
	// Closed says that the connection is gone, with the code that ended it (1006: without a close frame).
	Closed(code wire.CloseCode)
}

// Config configures a Server. The zero value of a field means its default.
type Config struct {
	Addr      string // TCP address to listen on, host:port; ":0" picks a free port
	Listeners int    // listening sockets sharing the port by SO_REUSEPORT; default min(cores, 4): each has its own backlog and acceptor, which is what a reconnect storm needs
	Backlog   int    // connections waiting for accept, per listener; default 4096, the kernel caps it at net.core.somaxconn
	Pollers   int    // epoll loops; default one per core

	MaxConnections int           // connections held at once, upgraded or not; above it 503; default 10,000
	AcceptRate     float64       // upgrades per second, token bucket; 0 = no limit; above it 503 with Retry-After
	AcceptBurst    int           // tokens of that bucket; default AcceptRate, at least 1
	RetryAfter     time.Duration // told to refused clients; default 5 s, spreads their return

	AddressLimit   int            // upgraded connections of one address; 0 = no limit; above it 429 with Retry-After
	AddressPrefix6 int            // bits of an IPv6 address that count as one, 1 to 64; default 64: what one customer has at least
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-For says where the client is; default none

	HeaderBytes      int           // request head, bytes; default 16 KiB, above it 431
	HeaderLines      int           // request head, lines; default 100, above it 431
	HandshakeTimeout time.Duration // from accept to a whole head; default 10 s, against slow headers

	MaxMessage int // one message, bytes; default 64 KiB, above it 1009
	MaxFrame   int // one frame, bytes; default MaxMessage

	PingInterval time.Duration // silence before a ping; default 25 s, below common NAT and proxy time-outs
	PongTimeout  time.Duration // silence after a ping before the cut; default 8 s
	CloseTimeout time.Duration // between close frame and cut; default 5 s
	WheelTick    time.Duration // resolution of all these deadlines; default 100 ms

	Inbox int // calls posted to one poller and not run yet; default 65,536, above it Post fails

	// KeepAlives are ways to keep a connection alive besides WebSocket pings, which are number 0; Conn.UseKeepAlive
	// chooses one.
	KeepAlives [maxKeepAlives]KeepAlive

	OutboxLimit    int           // unsent bytes per connection, 32 more counted per frame; default 1 MiB, above it the peer is a slow consumer and cut
	SendBuffer     int           // SO_SNDBUF, bytes; default 64 KiB (the kernel doubles it); -1 = kernel's autotuning, up to 4 MiB per stuck peer
	ReceiveBuffer  int           // SO_RCVBUF, bytes; default 64 KiB; -1 = kernel's autotuning
	UserTimeout    time.Duration // TCP_USER_TIMEOUT: unacknowledged data before the kernel gives up; default 30 s
	ReadBuffer     int           // shared read buffer per poller, bytes; default 64 KiB
	TurnBytes      int           // bytes read from one connection per turn, so that one sender cannot hold a poller; default 1 MiB, must exceed what the receive buffer can hold (data before a FIN would be lost)
	FDReserve      int           // spare descriptors above MaxConnections used to answer 503 before connections are dropped unanswered; default 64
	AcceptBackoff  time.Duration // longest pause after EMFILE or ENFILE; default 1 s, starts at 5 ms
	DrainBatchTick time.Duration // pace of closing while draining; default 50 ms

	Subprotocols []string // supported WebSocket subprotocols; the first of the client's offers that is here is chosen

	// CheckOrigin says whether a browser page may connect; nil = any. Called on the poller.
	CheckOrigin func(r *wire.Request) bool
	// Upgrade decides what a connection is for. It runs on the poller and must not block. r is borrowed.
	Upgrade func(c *Conn, r *wire.Request) (Handler, *Refusal)
	// HTTP serves whatever on the port is no WebSocket upgrade. nil = 404.
	HTTP http.Handler
	// HTTPServer carries limits and timeouts for HTTP; its Handler, Addr and ErrorLog are set by this package. nil = strict defaults.
	HTTPServer *http.Server
	// HTTPConnections bounds connections held by net/http; default 1,000, above it 503.
	HTTPConnections int

	Log *slog.Logger // default slog.Default()
}

func (c *Config) setDefaults() {
	c.Listeners = cmp.Or(c.Listeners, min(runtime.GOMAXPROCS(0), 4))
	c.Backlog = cmp.Or(c.Backlog, 4096)
	c.Pollers = cmp.Or(c.Pollers, runtime.GOMAXPROCS(0))
	c.MaxConnections = cmp.Or(c.MaxConnections, 10_000)
	c.AcceptBurst = cmp.Or(c.AcceptBurst, max(1, int(c.AcceptRate)))
	c.RetryAfter = cmp.Or(c.RetryAfter, 5*time.Second)
	c.AddressPrefix6 = cmp.Or(c.AddressPrefix6, 64)
	c.HeaderBytes = cmp.Or(c.HeaderBytes, 16<<10)
	c.HeaderLines = cmp.Or(c.HeaderLines, 100)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 10*time.Second)
	c.MaxMessage = cmp.Or(c.MaxMessage, 64<<10)
	c.MaxFrame = cmp.Or(c.MaxFrame, c.MaxMessage)
	c.PingInterval = cmp.Or(c.PingInterval, 25*time.Second)
	c.PongTimeout = cmp.Or(c.PongTimeout, 8*time.Second)
	c.Inbox = cmp.Or(c.Inbox, 65_536)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 5*time.Second)
	c.WheelTick = cmp.Or(c.WheelTick, 100*time.Millisecond)
	c.OutboxLimit = cmp.Or(c.OutboxLimit, 1<<20)
	c.SendBuffer = cmp.Or(c.SendBuffer, 64<<10)
	c.ReceiveBuffer = cmp.Or(c.ReceiveBuffer, 64<<10)
	c.UserTimeout = cmp.Or(c.UserTimeout, 30*time.Second)
	c.ReadBuffer = cmp.Or(c.ReadBuffer, 64<<10)
	c.TurnBytes = cmp.Or(c.TurnBytes, max(1<<20, 4*c.ReceiveBuffer))
	c.FDReserve = cmp.Or(c.FDReserve, 64)
	c.AcceptBackoff = cmp.Or(c.AcceptBackoff, time.Second)
	c.DrainBatchTick = cmp.Or(c.DrainBatchTick, 50*time.Millisecond)
	c.HTTPConnections = cmp.Or(c.HTTPConnections, 1000)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.HTTP == nil {
		c.HTTP = http.NotFoundHandler()
	}
	if c.Upgrade == nil {
		c.Upgrade = func(*Conn, *wire.Request) (Handler, *Refusal) {
			return nil, &Refusal{Status: http.StatusNotFound, Reason: "no WebSocket endpoint here"}
		}
	}
}

// check refuses what would break an invariant; ranges for users are checked where users set them.
func (c *Config) check() error {
	if c.TurnBytes < 2*c.ReceiveBuffer {
		return fmt.Errorf("ws: TurnBytes %d must be at least twice ReceiveBuffer %d, or data before a FIN may be lost", c.TurnBytes, c.ReceiveBuffer)
	}
	if c.AddressPrefix6 < 1 || c.AddressPrefix6 > 64 {
		return fmt.Errorf("ws: AddressPrefix6 %d must be 1 to 64 bits", c.AddressPrefix6)
	}
	if longest := max(c.PingInterval, c.HandshakeTimeout, c.PongTimeout, c.CloseTimeout); longest/c.WheelTick > 1<<30 {
		return fmt.Errorf("ws: %v cannot be counted in ticks of %v", longest, c.WheelTick)
	}
	return nil
}
