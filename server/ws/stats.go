package ws

import (
	"sync/atomic"

	"throng/server/wire"
)

// handshakeResult is how an accepted connection's handshake ended.
type handshakeResult uint8

const (
	handshakeOK      handshakeResult = iota
	handshakeHTTP                    // no upgrade: given to net/http
	handshakeBad                     // malformed or not acceptable by RFC 6455 or RFC 9112
	handshakeOrigin                  // origin not allowed
	handshakeRefused                 // the Upgrade callback said no
	handshakeShed                    // 503: too many connections, accept rate, or draining
	handshakeAddress                 // 429: too many connections from one address
	handshakeTimeout                 // no whole head within HandshakeTimeout
	handshakeResults
)

var handshakeNames = [handshakeResults]string{"ok", "http", "bad_request", "origin", "refused", "shed", "address", "timeout"}

// Close codes have a counter each in the ranges that are in use; all others share the last one.
const (
	codesPerRange = 16
	otherCode     = 3 * codesPerRange
	codeCounters  = otherCode + 1
)

var codeRanges = [...]wire.CloseCode{1000, 3000, 3500}

func codeIndex(code wire.CloseCode) int {
	for i, first := range codeRanges {
		if code >= first && code < first+codesPerRange {
			return i*codesPerRange + int(code-first)
		}
	}
	return otherCode
}

// codeCounts adds the counters that moved to out, by name of the code.
func codeCounts(out map[string]uint64, counters *[codeCounters]atomic.Uint64) {
	for i := range counters {
		n := counters[i].Load()
		switch {
		case n == 0:
		case i == otherCode:
			out["other"] += n
		default:
			out[(codeRanges[i/codesPerRange] + wire.CloseCode(i%codesPerRange)).String()] += n
		}
	}
}

// pollerStats are counted apart for each poller, on cache lines of their own: they change with every message.
type pollerStats struct {
	bytesIn, bytesOut        atomic.Uint64
	writes                   atomic.Uint64
	textIn, binaryIn         atomic.Uint64
	pingsIn, pongsIn         atomic.Uint64
	pingsOut                 atomic.Uint64
	slowCuts, lostPosts      atomic.Uint64
	lostSlow, lostUnsent     atomic.Uint64
	closedByPeer, closedByUs [codeCounters]atomic.Uint64
	_                        [64]byte
}

func (p *pollerStats) read(n int) { p.bytesIn.Add(uint64(n)) }

func (p *pollerStats) wrote(n int) {
	p.bytesOut.Add(uint64(n))
	p.writes.Add(1)
}

func (p *pollerStats) message(op wire.Opcode) {
	if op == wire.OpText {
		p.textIn.Add(1)
	} else {
		p.binaryIn.Add(1)
	}
}

// slow counts a slow consumer and the bytes dropped for it.
func (p *pollerStats) slow(bytes int) {
	p.slowCuts.Add(1)
	p.lostSlow.Add(uint64(bytes))
}

// unsent counts bytes that were queued when the connection ended.
func (p *pollerStats) unsent(bytes int) {
	if bytes > 0 {
		p.lostUnsent.Add(uint64(bytes))
	}
}

func (p *pollerStats) closed(code wire.CloseCode, byPeer bool) {
	if byPeer {
		p.closedByPeer[codeIndex(code)].Add(1)
	} else {
		p.closedByUs[codeIndex(code)].Add(1)
	}
}

type serverStats struct {
	pollers      []pollerStats
	accepted     atomic.Uint64
	slots        atomic.Int64 // connections between accept and close, those of net/http included
	open         atomic.Int64 // upgraded ones
	http         atomic.Int64 // those of net/http
	handshakes   [handshakeResults]atomic.Uint64
	dropped      atomic.Uint64 // accepted and closed unanswered: over MaxConnections + FDReserve, or out of descriptors
	acceptErrors atomic.Uint64
	pongTimeouts atomic.Uint64
	panics       atomic.Uint64
	badForwarded atomic.Uint64 // requests of trusted proxies with an X-Forwarded-For that cannot be read
}

func (s *Server) statsOf(c *Conn) *pollerStats { return &s.stats.pollers[c.Shard()] }

func (st *serverStats) handshake(r handshakeResult) { st.handshakes[r].Add(1) }

// Stats is a snapshot of a Server's counters; all counts are since start unless said otherwise.
type Stats struct {
	Connections, Handshaking, HTTP int64 // now: upgraded, accepted but not decided, held by net/http
	Accepted, Dropped              uint64
	AcceptErrors                   uint64
	Handshakes                     map[string]uint64 // by result
	TextIn, BinaryIn               uint64            // messages
	BytesIn, BytesOut, Writes      uint64
	PingsIn, PongsIn, PingsOut     uint64
	PongTimeouts                   uint64
	SlowConsumers                  uint64
	LostBytesSlow, LostBytesUnsent uint64            // outbox bytes dropped by cutting slow consumers, by connections that ended
	ClosedByPeer, ClosedByServer   map[string]uint64 // by close code
	OutboxBytes                    int64             // now: unsent bytes of connections whose socket is full
	Blocked                        int               // now: connections whose socket is full
	Panics                         uint64
	Addresses                      int    // now: addresses with connections; 0 without AddressLimit
	BadForwarded                   uint64 // requests of trusted proxies with an X-Forwarded-For that cannot be read
	LostPosts                      uint64 // calls for a connection's poller that found its inbox full
}

// Stats returns the counters. Any goroutine; cheap enough for a scrape, not for a hot path.
func (s *Server) Stats() Stats {
	out := Stats{
		Connections: s.stats.open.Load(), HTTP: s.stats.http.Load(), Accepted: s.stats.accepted.Load(), Dropped: s.stats.dropped.Load(),
		AcceptErrors: s.stats.acceptErrors.Load(), PongTimeouts: s.stats.pongTimeouts.Load(), Panics: s.stats.panics.Load(),
		Handshakes: map[string]uint64{}, ClosedByPeer: map[string]uint64{}, ClosedByServer: map[string]uint64{},
	}
	out.Addresses, out.BadForwarded = s.addresses.len(), s.stats.badForwarded.Load()
	out.Handshaking = max(0, s.stats.slots.Load()-out.Connections-out.HTTP)
	for i, name := range handshakeNames {
		out.Handshakes[name] = s.stats.handshakes[i].Load()
	}
	for i := range s.stats.pollers {
		p := &s.stats.pollers[i]
		out.TextIn += p.textIn.Load()
		out.BinaryIn += p.binaryIn.Load()
		out.BytesIn += p.bytesIn.Load()
		out.BytesOut += p.bytesOut.Load()
		out.Writes += p.writes.Load()
		out.PingsIn += p.pingsIn.Load()
		out.PongsIn += p.pongsIn.Load()
		out.PingsOut += p.pingsOut.Load()
		out.LostPosts += p.lostPosts.Load()
		out.SlowConsumers += p.slowCuts.Load()
		out.LostBytesSlow += p.lostSlow.Load()
		out.LostBytesUnsent += p.lostUnsent.Load()
		codeCounts(out.ClosedByPeer, &p.closedByPeer)
		codeCounts(out.ClosedByServer, &p.closedByUs)
	}
	out.Blocked, out.OutboxBytes = s.writable.backlog()
	return out
}
