package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// InProcess is a NATS server in this process; *Embedded is one.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

// Config says which NATS to use and within which bounds. Zero values mean the defaults named here.
type Config struct {
	// URLs of NATS servers, any of which will do, e.g. "nats://10.0.0.1:4222", "tls://nats.example:4222". Either
	// URLs or Server is needed.
	URLs []string
	// Server, when set, is used instead of URLs, without any socket.
	Server InProcess
	// Name of the connection as `nats server report connections` shows it. Default "throng".
	Name string
	// Prefix of all subjects. Default "throng". Nodes with different prefixes do not hear each other.
	Prefix string

	// CredsFile is the path of a NATS credentials file (user JWT and key). Default none.
	CredsFile string
	// User and Password, or Token, for servers that ask for them (also an embedded one whose nats.conf has users).
	// A URL may carry them too. Default none.
	User, Password, Token string
	// TLS for the NATS link. Default: the system's roots when a URL says tls:// or the server asks for TLS.
	TLS *tls.Config

	Limits Limits

	// ConnectTimeout bounds one attempt with one server. Default 2 s.
	ConnectTimeout time.Duration
	// PingInterval is the time between NATS pings, each of which a healthy server answers. A link on which nothing at
	// all arrives for PingInterval x (MaxPings + 1) is declared dead. Defaults 4 s and 2: 12 s, since clients of
	// recoverable channels are to be told within 15 s (reliability.md F7). An answer that is merely late, behind a
	// flood of messages, kills nothing.
	PingInterval time.Duration
	MaxPings     int
	// WriteTimeout bounds one write of up to 64 KiB to the NATS socket; beyond it the link is declared dead. Default
	// 5 s: a link of 0.1 Mbit/s lives.
	WriteTimeout time.Duration
	// ReconnectMin and ReconnectMax bound the wait between rounds of attempts: it doubles from the one to the
	// other, and each wait is drawn between half and the whole of it, so that nodes that lost one server do not
	// return in step. Defaults 100 ms and 5 s. Attempts never end.
	ReconnectMin, ReconnectMax time.Duration
	// ConfirmInterval is the least time between the PINGs that confirm publications. Default 50 ms: at most 20
	// small frames a second, and what can be in doubt when a link dies is what was written in that time.
	ConfirmInterval time.Duration
	// OutboundBytes is how much may wait for the NATS socket before the publisher waits too and the publish queue
	// fills. Default 256 KiB: several large writes, yet gone within 2 s on a 1 Mbit/s link.
	OutboundBytes int
	// LogInterval is the least time between log lines of one kind. Default 10 s.
	LogInterval time.Duration
	// Logger takes the events of the link. Default slog.Default().
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	c.Limits.setDefaults()
	if c.Name == "" {
		c.Name = "throng"
	}
	if c.Prefix == "" {
		c.Prefix = "throng"
	}
	if c.MaxPings == 0 {
		c.MaxPings = 2
	}
	if c.OutboundBytes == 0 {
		c.OutboundBytes = 256 << 10
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.ConnectTimeout, 2 * time.Second},
		{&c.PingInterval, 4 * time.Second},
		{&c.WriteTimeout, 5 * time.Second},
		{&c.ReconnectMin, 100 * time.Millisecond},
		{&c.ReconnectMax, 5 * time.Second},
		{&c.ConfirmInterval, 50 * time.Millisecond},
		{&c.LogInterval, 10 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

func (c *Config) validate() error {
	errs := []error{c.Limits.validate(), c.validateURLs()}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"ConnectTimeout", c.ConnectTimeout}, {"PingInterval", c.PingInterval}, {"WriteTimeout", c.WriteTimeout},
		{"ReconnectMin", c.ReconnectMin}, {"ReconnectMax", c.ReconnectMax},
		{"ConfirmInterval", c.ConfirmInterval}, {"LogInterval", c.LogInterval},
	} {
		if f.value < 0 {
			errs = append(errs, &ConfigError{
				Field: f.name, Value: f.value.String(),
				Why: errors.New("is negative"), Fix: "give a positive time, or 0 for the default",
			})
		}
	}
	if c.ReconnectMax < c.ReconnectMin {
		errs = append(errs, &ConfigError{
			Field: "ReconnectMax", Value: c.ReconnectMax.String(),
			Why: fmt.Errorf("is less than ReconnectMin %v", c.ReconnectMin), Fix: "make it at least that",
		})
	}
	errs = append(errs, checkCount("MaxPings", c.MaxPings), checkCount("OutboundBytes", c.OutboundBytes))
	return errors.Join(errs...)
}

func (c *Config) validateURLs() error {
	if c.Server == nil && len(c.URLs) == 0 {
		return &ConfigError{
			Field: "URLs", Why: errors.New("no NATS server given"),
			Fix: `give at least one, such as "nats://127.0.0.1:4222", or start an embedded server`,
		}
	}
	for _, raw := range c.URLs {
		if err := checkURL(raw); err != nil {
			return &ConfigError{
				Field: "URLs", Value: redact(raw), Why: err,
				Fix: `write it as "nats://host:port" or "tls://host:port"`,
			}
		}
	}
	return nil
}

func checkURL(raw string) error {
	if !strings.Contains(raw, "://") {
		raw = "nats://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error quotes the whole URL, which may hold a password.
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return fmt.Errorf("is no URL: %w", err)
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return fmt.Errorf("has the scheme %q", u.Scheme)
	}
	if u.Hostname() == "" {
		return errors.New("has no host")
	}
	return nil
}

// redact hides what stands before an @, whether or not the rest is a URL.
func redact(raw string) string {
	if at := strings.LastIndexByte(raw, '@'); at >= 0 {
		return "***" + raw[at:]
	}
	return raw
}

// silence is how long nothing may arrive.
func (c *Config) silence() time.Duration { return c.PingInterval * time.Duration(c.MaxPings+1) }

// options are nats.go's, without the callbacks, which link.go adds.
func (c *Config) options(d *dialer) []nats.Option {
	opts := []nats.Option{
		nats.Name(c.Name),
		nats.Timeout(c.ConnectTimeout),
		nats.PingInterval(c.PingInterval),
		// nats.go counts unanswered pings even while messages pour in; outbound watches for silence instead.
		nats.MaxPingsOutstanding(math.MaxInt32),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		// Wrong credentials are an operator's mistake that an operator repairs at the server: keep trying (F23).
		nats.IgnoreAuthErrorAbort(),
		// A negative size makes nats.go refuse publishes while it has no link, with an error, instead of keeping them
		// and replaying them late. With a buffer, publications older than the outage would arrive after newer ones
		// were refused, and a buffer that overflows or a Close would drop the rest without a count.
		nats.ReconnectBufSize(-1),
		// After a failed write nats.go forgets its buffer; reconnect at once, on a connection in a known state.
		nats.ReconnectOnFlusherError(),
		// The codec makes subjects legal by construction, and its fuzz test checks them with nats-server's own rule.
		nats.SkipSubjectValidation(),
		nats.CustomReconnectDelay(c.reconnectDelay),
	}
	if c.Server != nil {
		opts = append(opts, nats.InProcessServer(d))
	} else {
		opts = append(opts, nats.SetCustomDialer(d))
	}
	if c.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	}
	if c.User != "" {
		opts = append(opts, nats.UserInfo(c.User, c.Password))
	}
	if c.Token != "" {
		opts = append(opts, nats.Token(c.Token))
	}
	if c.TLS != nil {
		opts = append(opts, nats.Secure(c.TLS))
	}
	return opts
}
