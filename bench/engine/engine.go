package engine

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Config says what one engine is to do. Zero durations and counts take the
// default of their comment.
type Config struct {
	Targets        []Target // connection g uses Targets[g % len]
	PublishTargets []Target // dedicated publishers' servers; none = members talk themselves
	Dialect        Dialect
	PublishDialect Dialect // of dedicated publishers; nil = Dialect

	First int // global number of this engine's first connection
	Count int // connections of this engine
	// Publishers of this engine that do not subscribe: global numbers First and
	// on among Channels * Talkers. Only with PublishTargets.
	FirstPublisher int
	PublisherCount int

	Channels      int    // channels in all
	Members       int    // > 0: connection g joins channel g / Members; 0: g % Channels
	Talkers       int    // publishers per channel, default 1
	ChannelPrefix string // name of channel i is prefix + i; with one channel just prefix
	Payload       int    // bytes per message, at least StampLen, default 128
	// MembersOf tells how many connections of all engines join channel i, for
	// Counters.Owed; nil counts nothing.
	MembersOf func(i int) int
	Run       uint16 // marks our messages

	PerAddress       int           // connections per loopback source address, default 500; < 0 binds none
	HandshakeTimeout time.Duration // per step of opening, default 10 s: half-open servers
	PongTimeout      time.Duration // until an unanswered ping of ours is a drop, default 10 s
	SilentAfter      time.Duration // 0 = silence is not judged
	PendingLimit     int           // bytes a blocked publisher may owe, default 4 MiB
	DropByReset      bool          // drop with RST instead of FIN: no TIME_WAIT
	TLS              *tls.Config   // for wss and https targets

	// Answers follows replies and positions, which the dialect must be able to (AnsweringDialect).
	Answers bool
	// Positioned makes subscriptions recoverable: a connection that is opened again asks for what it has missed, and what it
	// then gets is judged as if it had never been away. With Answers only.
	Positioned  bool
	ClockOffset time.Duration // coordinator's clock minus ours, on another machine
}

func (c *Config) setDefaults() error {
	c.Talkers = max(c.Talkers, 1)
	c.Channels = max(c.Channels, 1)
	if c.Payload == 0 {
		c.Payload = 128
	}
	if c.PerAddress == 0 {
		c.PerAddress = 500
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = 10 * time.Second
	}
	if c.PongTimeout == 0 {
		c.PongTimeout = 10 * time.Second
	}
	if c.PendingLimit == 0 {
		c.PendingLimit = 4 << 20
	}
	if c.PublishDialect == nil {
		c.PublishDialect = c.Dialect
	}
	switch {
	case len(c.Targets) == 0 || c.Dialect == nil:
		return errors.New("engine: no target or no dialect")
	case c.Payload < StampLen:
		return fmt.Errorf("engine: payload of %d bytes: at least %d are needed for the stamp", c.Payload, StampLen)
	case c.Answers && !answers(c.Dialect, c.PublishDialect), c.Positioned && !c.Answers:
		return errors.New("engine: the dialect has no replies and positions to follow")
	case c.PublisherCount > 0 && len(c.PublishTargets) == 0:
		return errors.New("engine: publishers without a publish target")
	}
	return nil
}

// state is where a connection stands.
type state uint8

const (
	stateFree       state = iota // no descriptor
	stateWaiting                 // queued to open: rate, in-flight cap or retry
	stateConnecting              // SYN sent (with TLS: until its handshake is done)
	stateUpgrading               // request sent
	stateJoining                 // upgraded, join not confirmed
	stateReady                   // deliveries are owed
)

const noSide = -1

// conn is one connection: no pointers, so that the garbage collector never walks
// the table. 40 bytes.
type conn struct {
	began    int64  // intended start of this attempt, Clock ns
	fd       int32  // -1 without one
	gen      uint32 // raised at each close: stale events and timers do not match
	side     int32  // index into sides, noSide without buffers
	channel  uint32
	seen     uint32 // tick of the last byte read
	talker   uint16 // publisher index in the channel, or notTalker
	attempts uint8
	state    state
	unponged uint8 // beats due since our last unanswered ping, 0 = none is
	inflight bool  // counted in Counters.InFlight
	fragment bool  // inside a fragmented message
}

const notTalker = ^uint16(0)

// side holds what a connection needs only now and then.
type side struct {
	in  []byte // bytes of an incomplete head or frame
	app []byte // bytes of an incomplete unit of a stream dialect, or of a fragmented message
	out []byte // bytes the socket did not take
	tls *tlsConn
}

// Engine is the load generator; see the package comment. Make it with New, run
// Run in its own goroutine, reach it by Do.
type Engine struct {
	cfg    Config
	clock  Clock
	origin int64 // Clock ns of tick 0
	now    int64 // Clock ns, refreshed once per event

	epfd, wakefd int
	events       []unix.EpollEvent

	conns      []conn
	track      trackers
	sides      []side
	freeSide   []int32
	buf        []byte // read buffer shared by all
	out        []byte // replies of the current event
	scratch    []byte // payload under construction
	names      []string
	recovering bool   // the message being read brings what was missed: its age is not the latency
	key        string // Sec-WebSocket-Key of all our requests
	accept     string // what the server must make of it

	opener    opener
	deadlines deadlineQueue
	heart     heart
	talk      talk
	acks      acks
	positions positions
	tlsPool   *tlsPool
	job       *job

	n        Counters
	failures map[string]uint64
	drops    map[string]uint64
	codes    map[uint32]uint64
	latency  *hdrhistogram.Histogram
	connect  *hdrhistogram.Histogram
	ack      *hdrhistogram.Histogram
	channels []ChannelCounts

	mu     sync.Mutex // guards inbox and closed only
	inbox  []func(*Engine)
	closed bool
}

// tickLen is the resolution of conn.seen: 50 ms in 32 bits last 6 years.
const tickLen = 50 * int64(time.Millisecond)

// readBuffer is the shared read buffer: 8 joined messages of 64 KiB fit twice.
const readBuffer = 1 << 20

// New prepares an engine and its descriptors. The caller must run Run until it
// returns, which releases them.
func New(cfg Config) (*Engine, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, clock: NewClock(), events: make([]unix.EpollEvent, 1024),
		conns: make([]conn, cfg.Count+cfg.PublisherCount), buf: make([]byte, readBuffer),
		track:    newTrackers(cfg.Count * cfg.Talkers),
		failures: map[string]uint64{}, drops: map[string]uint64{}, codes: map[uint32]uint64{},
		latency: NewHistogram(), connect: NewHistogram(), ack: NewHistogram(),
		channels: make([]ChannelCounts, cfg.Channels),
	}
	e.clock.Offset = int64(cfg.ClockOffset)
	e.origin = e.clock.Now()
	e.now = e.origin
	var nonce [16]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	e.key = base64.StdEncoding.EncodeToString(nonce[:])
	e.accept = acceptOf(e.key)
	e.nameChannels()
	for i := range e.conns {
		e.conns[i] = e.blank(i)
	}
	e.talk.init(e)
	e.positions.init(&cfg)
	if err := e.openPoller(); err != nil {
		return nil, err
	}
	if cfg.TLS != nil {
		e.tlsPool = newTLSPool(e)
	}
	return e, nil
}

func (e *Engine) nameChannels() {
	e.names = make([]string, e.cfg.Channels)
	for i := range e.names {
		if e.names[i] = e.cfg.ChannelPrefix; e.cfg.Channels > 1 {
			e.names[i] = fmt.Sprintf("%s%d", e.cfg.ChannelPrefix, i)
		}
	}
}

// blank returns the row of connection i before it is opened.
func (e *Engine) blank(i int) conn {
	c := conn{fd: -1, side: noSide, talker: notTalker}
	if i >= e.cfg.Count {
		p := e.cfg.FirstPublisher + i - e.cfg.Count
		c.channel, c.talker = uint32(p%e.cfg.Channels), uint16(p/e.cfg.Channels)
		return c
	}
	g, member := e.cfg.First+i, 0
	if e.cfg.Members > 0 {
		c.channel, member = uint32(g/e.cfg.Members), g%e.cfg.Members
	} else {
		c.channel, member = uint32(g%e.cfg.Channels), g/e.cfg.Channels
	}
	if member < e.cfg.Talkers && len(e.cfg.PublishTargets) == 0 {
		c.talker = uint16(member)
	}
	return c
}

// isPublisher says that row i only publishes.
func (e *Engine) isPublisher(i int) bool { return i >= e.cfg.Count }

func (e *Engine) dialectOf(i int) Dialect {
	if e.isPublisher(i) {
		return e.cfg.PublishDialect
	}
	return e.cfg.Dialect
}

func (e *Engine) targetOf(i int) *Target {
	if e.isPublisher(i) {
		return &e.cfg.PublishTargets[(e.cfg.FirstPublisher+i-e.cfg.Count)%len(e.cfg.PublishTargets)]
	}
	return &e.cfg.Targets[(e.cfg.First+i)%len(e.cfg.Targets)]
}

// sideOf returns the side of connection i, making one if it has none.
func (e *Engine) sideOf(i int) *side {
	c := &e.conns[i]
	if c.side == noSide {
		if n := len(e.freeSide); n > 0 {
			c.side, e.freeSide = e.freeSide[n-1], e.freeSide[:n-1]
		} else {
			e.sides = append(e.sides, side{})
			c.side = int32(len(e.sides) - 1)
		}
	}
	return &e.sides[c.side]
}

// settle gives the side of connection i back when nothing is in it.
func (e *Engine) settle(i int) {
	c := &e.conns[i]
	if c.side == noSide {
		return
	}
	s := &e.sides[c.side]
	if len(s.in)+len(s.app)+len(s.out) > 0 || s.tls != nil {
		return
	}
	*s = side{}
	e.freeSide = append(e.freeSide, c.side)
	c.side = noSide
}

// Now returns the engine's clock; any goroutine may call it.
func (e *Engine) Now() int64 { return e.clock.Now() }

// Do runs f on the loop, soon. It never blocks; false means the engine is closed
// and f will not run. Any goroutine may call it.
func (e *Engine) Do(f func(*Engine)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.inbox = append(e.inbox, f)
	if len(e.inbox) == 1 {
		e.wake()
	}
	return true
}

func (e *Engine) countSilent() (n uint64) {
	if e.cfg.SilentAfter == 0 {
		return 0
	}
	limit := uint32(int64(e.cfg.SilentAfter) / tickLen)
	tick := e.tick()
	for i := range e.conns {
		if c := &e.conns[i]; c.state == stateReady && tick-c.seen > limit {
			n++
		}
	}
	return n
}

func (e *Engine) tick() uint32 { return uint32((e.now - e.origin) / tickLen) }
