package main

import (
	"time"

	"throng/server/session"
)

// ClientConfig is the client: section: connections that speak the Centrifuge protocol. Names are Centrifugo's.
type ClientConfig struct {
	// AllowAnonymous lets clients without a token in, as the user "". Default false.
	AllowAnonymous bool `yaml:"allow_anonymous_connect_without_token"`
	// Insecure lets everybody in and do everything, for development. Also --insecure. Default false.
	Insecure bool `yaml:"insecure"`
	// SendTime adds the server's clock to connect results. Default false.
	SendTime bool `yaml:"connect_include_server_time"`
	// StaleTimeout is how long a client may stay without a successful connect, then 3502. Default 10s.
	StaleTimeout time.Duration `yaml:"stale_close_delay"`
	// ExpiredCloseDelay and ExpiredSubCloseDelay are the time to fetch a new token. Defaults 25s.
	ExpiredCloseDelay    time.Duration `yaml:"expired_close_delay"`
	ExpiredSubCloseDelay time.Duration `yaml:"expired_sub_close_delay"`
	// RequestTimeout bounds whatever one command waits for. Default 4s: SDKs give up after 5 s.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// MaxRequests bounds what all clients of this node wait for at once. Default 4096: each is a goroutine of some KiB.
	MaxRequests int `yaml:"max_requests"`
	// MaxCommands per frame. Default 512.
	MaxCommands int `yaml:"max_commands"`
	// MaxPending bytes a client may say while it waits for an answer. Default 131072.
	MaxPending int `yaml:"max_pending_bytes"`
	// MaxPresence is the most clients a presence result lists. Default 5000.
	MaxPresence int `yaml:"max_presence"`
	// PresenceReuse is how long the other nodes' answer about a channel's presence serves further questions. Default 100ms.
	PresenceReuse time.Duration `yaml:"presence_reuse"`
	// MaxMembers and MaxMemberBytes bound what is kept of clients on other nodes, of one channel and in all, in channels whose
	// joins and leaves somebody here hears. Beyond them a node that dies takes its clients along silently. Defaults 10000, 67108864.
	MaxMembers     int   `yaml:"max_members"`
	MaxMemberBytes int64 `yaml:"max_member_bytes"`
	// MaxStoring is how many publications of one client may be on their way into streams. Default 256.
	MaxStoring int `yaml:"max_storing"`
	// MaxRecovered and MaxHistory are the most publications a recovery and a history command return. Defaults 300.
	MaxRecovered int `yaml:"recovery_max_publication_limit"`
	MaxHistory   int `yaml:"history_max_publication_limit"`
	// UserConnectionLimit per user and node, else 3504. Default 0: none.
	UserConnectionLimit int `yaml:"user_connection_limit"`
	// CommandRate and its like are commands per second of one connection, and of one user on this node. Default 0: no limit.
	CommandRate      int `yaml:"command_rate"`
	CommandBurst     int `yaml:"command_burst"`
	UserCommandRate  int `yaml:"user_command_rate"`
	UserCommandBurst int `yaml:"user_command_burst"`
}

const defaultMaxRequests = 4096

// session is the part that sessions take; zeros mean their defaults.
func (c *ClientConfig) session() session.Config {
	return session.Config{
		AllowAnonymous: c.AllowAnonymous, Insecure: c.Insecure, SendTime: c.SendTime,
		StaleTimeout: c.StaleTimeout, ExpiredCloseDelay: c.ExpiredCloseDelay, ExpiredSubCloseDelay: c.ExpiredSubCloseDelay,
		RequestTimeout: c.RequestTimeout, MaxCommands: c.MaxCommands, MaxPending: c.MaxPending, MaxPresence: c.MaxPresence, PresenceReuse: c.PresenceReuse,
		MaxStoring: c.MaxStoring, MaxRecovered: c.MaxRecovered, MaxHistory: c.MaxHistory,
		UserConnectionLimit: c.UserConnectionLimit, CommandRate: c.CommandRate, CommandBurst: c.CommandBurst,
		UserCommandRate: c.UserCommandRate, UserCommandBurst: c.UserCommandBurst,
	}
}
