package session

import (
	"errors"
	"fmt"
	"time"
)

// Config is the sessions' set-up. A zero field takes its default; Validate says what is wrong.
type Config struct {
	// NodeID and Version are told to clients: the node to those of emulated transports, the version to all. Default "".
	NodeID  string
	Version string

	// AllowAnonymous lets clients without a token in, as the user "". Default false.
	AllowAnonymous bool
	// Insecure lets everybody in and ignores expiry: for development. The rules have a switch of that name too; set both.
	Insecure bool
	// SendTime adds the server's clock to connect results. Default false.
	SendTime bool

	// StaleTimeout is how long a client may stay without a successful connect, then 3502. Default 10 s.
	StaleTimeout time.Duration
	// PingInterval is what clients are told about pings, which the connection sends: it must be the connection layer's.
	// Whole seconds, default 25 s. Negative: there are none.
	PingInterval time.Duration
	// KeepAliveJSON and KeepAliveProtobuf are given to Conn.UseKeepAlive once connected. Defaults 1 and 2.
	KeepAliveJSON, KeepAliveProtobuf uint8
	// ExpiredCloseDelay is the grace after a connection's expiry before 3005, ExpiredSubCloseDelay after a subscription's
	// before it ends with 2501 or 3006: time to fetch a token. Defaults 25 s.
	ExpiredCloseDelay, ExpiredSubCloseDelay time.Duration
	// RefreshRetry is when a refresh hook that failed is asked again. Default 60 s.
	RefreshRetry time.Duration
	// RequestTimeout bounds whatever is awaited for one command. Default 4 s: SDKs give up after 5 s.
	RequestTimeout time.Duration

	// MaxCommands is how many commands one frame may hold, else 3013. Default 512, about half a millisecond of work;
	// it holds connect and all subscriptions of a client at the default channel limit of 128.
	MaxCommands int
	// MaxPending bounds what a client may say while an answer is awaited, in bytes, else 3013. Default 128 KiB: two of the
	// largest messages.
	MaxPending int
	// UserConnectionLimit is how many connections one user with an id may have on this node, else 3504. Default 0: no limit.
	UserConnectionLimit int
	// CommandRate is how many commands a second one connection may send, with bursts of CommandBurst; above it error 111,
	// and beyond twice the burst 3013. UserCommandRate and UserCommandBurst are the same for all connections of one user with
	// an id on this node. Default 0: no limit; a burst of 0 is the rate of one second.
	CommandRate, CommandBurst, UserCommandRate, UserCommandBurst int
	// MaxPresence is the most clients a presence result may list, else error 106: it is one frame, and must fit the
	// outbox. Default 5,000. presence_stats has no such limit.
	MaxPresence int
	// PresenceReuse is how long what the other nodes said of a channel answers the next question about it: however many clients
	// ask, a channel costs at most one survey in that time. What is on this node is never old. Default 100 ms; negative: only
	// questions at the same moment share an answer.
	PresenceReuse time.Duration
	// MaxStoring is how many publications of one session may be on their way into streams; what is said next waits until all
	// of them are answered. Default 256: a batch worth of work for JetStream, some 20 KiB beside the data.
	MaxStoring int
	// MaxRecovered is the most publications a recovery hands out; who missed more is told "not recovered". MaxHistory is the
	// most one history command returns. Defaults 300, Centrifugo's: a reply of some 100 KiB.
	MaxRecovered, MaxHistory int
}

const (
	defaultStaleTimeout   = 10 * time.Second
	defaultPingInterval   = 25 * time.Second
	defaultGrace          = 25 * time.Second
	defaultRefreshRetry   = 60 * time.Second
	defaultRequestTimeout = 4 * time.Second
	defaultMaxCommands    = 512
	defaultMaxPending     = 128 << 10
	defaultMaxPresence    = 5000
	defaultPresenceReuse  = 100 * time.Millisecond
	defaultMaxPast        = 300
	defaultMaxStoring     = 256
)

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.StaleTimeout, defaultStaleTimeout}, {&c.PingInterval, defaultPingInterval}, {&c.ExpiredCloseDelay, defaultGrace},
		{&c.ExpiredSubCloseDelay, defaultGrace}, {&c.RefreshRetry, defaultRefreshRetry}, {&c.RequestTimeout, defaultRequestTimeout},
		{&c.PresenceReuse, defaultPresenceReuse},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.MaxCommands, defaultMaxCommands}, {&c.MaxPending, defaultMaxPending}, {&c.MaxPresence, defaultMaxPresence},
		{&c.MaxStoring, defaultMaxStoring}, {&c.MaxRecovered, defaultMaxPast}, {&c.MaxHistory, defaultMaxPast},
		{&c.CommandBurst, c.CommandRate}, {&c.UserCommandBurst, c.UserCommandRate},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.KeepAliveJSON == 0 {
		c.KeepAliveJSON = 1
	}
	if c.KeepAliveProtobuf == 0 {
		c.KeepAliveProtobuf = 2
	}
	return c
}

// Validate says what is wrong with c, all of it, or returns nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"StaleTimeout", c.StaleTimeout}, {"ExpiredCloseDelay", c.ExpiredCloseDelay}, {"ExpiredSubCloseDelay", c.ExpiredSubCloseDelay},
		{"RefreshRetry", c.RefreshRetry}, {"RequestTimeout", c.RequestTimeout},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("session: %s %v: must not be negative", d.name, d.value))
		}
	}
	if c.PingInterval > 0 && c.PingInterval%time.Second != 0 {
		errs = append(errs, fmt.Errorf("session: PingInterval %v: must be whole seconds, which is how clients are told", c.PingInterval))
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"MaxCommands", c.MaxCommands}, {"MaxPending", c.MaxPending}, {"UserConnectionLimit", c.UserConnectionLimit},
		{"CommandRate", c.CommandRate}, {"CommandBurst", c.CommandBurst}, {"UserCommandRate", c.UserCommandRate},
		{"UserCommandBurst", c.UserCommandBurst}, {"MaxPresence", c.MaxPresence},
		{"MaxStoring", c.MaxStoring}, {"MaxRecovered", c.MaxRecovered}, {"MaxHistory", c.MaxHistory},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("session: %s %d: must not be negative", n.name, n.value))
		}
	}
	return errors.Join(errs...)
}
