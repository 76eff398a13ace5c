package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"throng/broker"
)

// Config says which NATS to look at, and what it has to be good for.
type Config struct {
	// URLs of NATS servers, as broker.Config has them.
	URLs []string
	// CredsFile is the path of a NATS credentials file. Default none.
	CredsFile string
	// TLS for the links. Default: the system's roots when a URL says tls:// or the server asks for TLS.
	TLS *tls.Config
	// Prefix of all subjects. Default "throng".
	Prefix string
	// Streams that history needs; none when no namespace keeps one, and then JetStream is worth a note only.
	Streams []broker.StreamConfig
	// MaxMessage is the largest publication in bytes. Default 64 KiB.
	MaxMessage int
	// Write allows a message on a subject nobody listens to, and a small stream that is removed at once. Default false.
	Write bool
	// ConnectTimeout bounds one attempt with one server. Default 2 s.
	ConnectTimeout time.Duration
	// AskTimeout bounds one question. Default 2 s.
	AskTimeout time.Duration
}

func (c *Config) setDefaults() {
	c.Prefix = cmp.Or(c.Prefix, "throng")
	c.MaxMessage = cmp.Or(c.MaxMessage, 64<<10)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 2*time.Second)
	c.AskTimeout = cmp.Or(c.AskTimeout, 2*time.Second)
}

// floor is the oldest nats-server whose batched direct gets and per-message TTLs are what history was built on.
var floor = [3]int{2, 12, 6}

const (
	rttRounds  = 5
	rttSlow    = 20 * time.Millisecond // beyond it acknowledged publishing is felt
	headerRoom = 1 << 10               // what a message's subject and headers take of max_payload
)

// examination is one run.
type examination struct {
	cfg    Config
	report *Report
	conn   *nats.Conn       // to the first address that let us in
	user   *userInfo        // nil: the server does not say
	left   map[string]int64 // by storage: bytes that the account may still use; nil when that is counted by replicas
}

// Examine looks at a NATS that is reached by URL. Blocks for seconds at most, also when nothing answers, and ends early
// with ctx. It never fails: what goes wrong is a finding.
func Examine(ctx context.Context, cfg Config) *Report {
	cfg.setDefaults()
	x := &examination{cfg: cfg, report: &Report{Target: "NATS at " + strings.Join(redacted(cfg.URLs), ", ")}}
	defer x.report.conclude()
	links := x.connectAll(ctx)
	defer func() {
		for _, l := range links {
			l.close()
		}
	}()
	if x.conn == nil {
		return x.report
	}
	x.server(links)
	x.permissions(ctx)
	x.jetStream(ctx)
	if cfg.Write {
		x.writeCheck(ctx)
	} else {
		x.report.add(Note, "writing", "nothing was written; --write-check also tries a message and a small stream, and removes it")
	}
	return x.report
}

// link is one address that was tried.
type link struct {
	url    string
	conn   *nats.Conn
	closed chan struct{}
	err    error
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		<-l.closed
	}
}

// connectAll tries every address by itself, so that a dead one does not hide behind a living one.
func (x *examination) connectAll(ctx context.Context) []*link {
	links := make([]*link, len(x.cfg.URLs))
	var wg sync.WaitGroup
	for i, url := range x.cfg.URLs {
		wg.Go(func() { links[i] = x.connect(ctx, url) })
	}
	wg.Wait()
	alive := 0
	for _, l := range links {
		if l.err == nil {
			alive++
			if x.conn == nil {
				x.conn = l.conn
			}
		}
	}
	for _, l := range links {
		if l.err == nil {
			continue
		}
		level := Warn // the node finds another address
		if alive == 0 {
			level = Fail
		}
		problem, fix := x.explain(l.err)
		x.report.wrong(level, "reach", redact(l.url)+": "+problem, fix)
	}
	if alive > 0 {
		x.report.add(OK, "reach", fmt.Sprintf("%d of %s let us in", alive, addresses(len(links))))
	}
	return links
}

func addresses(n int) string {
	if n == 1 {
		return "1 address"
	}
	return strconv.Itoa(n) + " addresses"
}

func (x *examination) connect(ctx context.Context, url string) *link {
	l := &link{url: url, closed: make(chan struct{})}
	opts := []nats.Option{
		nats.Name("throng doctor"), nats.Timeout(x.cfg.ConnectTimeout), nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(l.closed) }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // LastError tells
		nats.SetCustomDialer(contextDialer{ctx, x.cfg.ConnectTimeout}),
	}
	if x.cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(x.cfg.CredsFile))
	}
	if x.cfg.TLS != nil {
		opts = append(opts, nats.Secure(x.cfg.TLS))
	}
	l.conn, l.err = nats.Connect(url, opts...)
	return l
}

// contextDialer ends with a context, which nats.Connect knows nothing of.
type contextDialer struct {
	ctx     context.Context
	timeout time.Duration
}

// Dial implements nats.CustomDialer.
func (d contextDialer) Dial(network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: d.timeout}).DialContext(d.ctx, network, address)
}

// explain says in words what a failed connect means, and what to do.
func (x *examination) explain(err error) (problem, fix string) {
	text := err.Error()
	_, isDNS := errors.AsType[*net.DNSError](err)
	ne, isNet := errors.AsType[net.Error](err)
	switch {
	case isDNS:
		return "the host name is not known: " + text, "correct the name in --nats-url, or the DNS"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired),
		strings.Contains(strings.ToLower(text), "authorization"):
		return "the server refuses these credentials: " + text, x.authFix()
	case strings.Contains(text, "x509"), strings.Contains(text, "tls:"), errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return "TLS does not come about: " + text, "use tls:// and a server certificate that this machine's roots know"
	case errors.Is(err, nats.ErrMaxConnectionsExceeded), strings.Contains(text, "maximum"):
		return text, "raise max_connections at the server"
	case isNet && ne.Timeout(), errors.Is(err, nats.ErrTimeout):
		return fmt.Sprintf("no answer within %v", x.cfg.ConnectTimeout), "is a firewall between, or is that no NATS server? It has to send the first line"
	case errors.Is(err, nats.ErrNoServers), strings.Contains(text, "refused"):
		return "nothing listens there", "start NATS there, correct --nats-url, or leave it away: without it a node runs a NATS of its own"
	}
	return text, "correct --nats-url, or what stands between"
}

func (x *examination) authFix() string {
	if x.cfg.CredsFile != "" {
		return "give credentials that this server's operator issued, with --nats-creds"
	}
	return "give --nats-creds, or user:password@ (or token@) in --nats-url"
}

// server tells what the address says of itself.
func (x *examination) server(links []*link) {
	name, version := x.conn.ConnectedServerName(), x.conn.ConnectedServerVersion()
	text := fmt.Sprintf("nats-server %s, %s", version, name)
	if older(version, floor) {
		x.report.wrong(x.needed(), "server", text, fmt.Sprintf("update to %d.%d.%d or later: history reads in batches and keeps messages with a TTL of their own",
			floor[0], floor[1], floor[2]))
	} else {
		x.report.add(OK, "server", text)
	}
	x.cluster(links)
	x.roundTrip()
	x.payload()
	if !x.conn.HeadersSupported() {
		x.report.wrong(Fail, "headers", "the server takes no message headers", "drop no_header_support from its configuration")
	}
}

// needed is how bad it is when something is missing that only history uses.
func (x *examination) needed() Level {
	if len(x.cfg.Streams) > 0 {
		return Fail
	}
	return Warn
}

// older compares the numbers at the beginning of a version; what cannot be read counts as old.
func older(version string, than [3]int) bool {
	parts := strings.SplitN(version, ".", 3)
	for i, least := range than {
		if i >= len(parts) {
			return true
		}
		digits := strings.TrimLeft(parts[i], "0123456789")
		n, err := strconv.Atoi(strings.TrimSuffix(parts[i], digits))
		if err != nil || n < least {
			return true
		}
		if n > least {
			return false
		}
	}
	return false
}

// cluster counts the servers that answered or that the first one tells of.
func (x *examination) cluster(links []*link) {
	cluster := x.conn.ConnectedClusterName()
	replicas := 1
	for _, s := range x.cfg.Streams {
		replicas = max(replicas, s.Replicas)
	}
	if cluster == "" {
		if replicas > 1 {
			x.report.wrong(Fail, "cluster", fmt.Sprintf("a single server, but history wants %d replicas", replicas), "join servers into a cluster, or lower the replicas")
			return
		}
		x.report.add(Note, "cluster", "a single server: while it is away, so is everything between nodes")
		return
	}
	var names []string
	for _, l := range links {
		if l.err == nil && l.conn.ConnectedClusterName() == cluster && !slices.Contains(names, l.conn.ConnectedServerName()) {
			names = append(names, l.conn.ConnectedServerName())
		}
	}
	text := fmt.Sprintf("%s, seen of it: %s", cluster, strings.Join(names, ", "))
	if told := x.conn.DiscoveredServers(); len(told) > 0 {
		text += "; it also tells of " + strings.Join(told, ", ")
	}
	x.report.add(OK, "cluster", text)
}

func (x *examination) roundTrip() {
	best := time.Duration(0)
	for range rttRounds {
		rtt, err := x.conn.RTT()
		if err != nil {
			x.report.wrong(Fail, "round trip", "the link was lost: "+err.Error(), "look at the server's log")
			return
		}
		if best == 0 || rtt < best {
			best = rtt
		}
	}
	text := fmt.Sprintf("%v at best of %d", best.Round(time.Microsecond), rttRounds)
	if best > rttSlow {
		x.report.wrong(Warn, "round trip", text, "each acknowledged publication takes at least that; put NATS nearer")
		return
	}
	x.report.add(OK, "round trip", text)
}

func (x *examination) payload() {
	limit := x.conn.MaxPayload()
	text := fmt.Sprintf("max_payload %s, our messages up to %s", sizeText(limit), sizeText(int64(x.cfg.MaxMessage)))
	if int64(x.cfg.MaxMessage)+headerRoom > limit {
		x.report.wrong(Fail, "payload", text, fmt.Sprintf("raise max_payload at the server to %d, or lower --max-message", x.cfg.MaxMessage+headerRoom))
		return
	}
	x.report.add(OK, "payload", text)
}

func redacted(urls []string) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = redact(u)
	}
	return out
}

// redact hides what stands before an @.
func redact(url string) string {
	at := strings.LastIndexByte(url, '@')
	if at < 0 {
		return url
	}
	scheme, _, found := strings.Cut(url[:at], "://")
	if !found {
		return "xxxxx" + url[at:]
	}
	return scheme + "://xxxxx" + url[at:]
}
