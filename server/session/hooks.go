package session

import (
	"context"

	"throng/server/channel"
	"throng/server/history"
)

// Hooks ask the application backend. A nil hook is one that is not there. Each is called on the requests pool and may block
// until ctx ends; calls and answers are immutable for both sides from then on.
//
// An error that is, or wraps, a *HookError or *HookDisconnect is passed on to the client as it is; any other means that the call
// failed: error 100 for connect, subscribe, publish and rpc, another try later for the two refreshes.
//
// Source: centrifuge-protocol.md, 20.
type Hooks struct {
	Connect    func(ctx context.Context, q *ConnectCall) (ConnectAnswer, error)       // no token given
	Refresh    func(ctx context.Context, q *Peer) (RefreshAnswer, error)              // a connection let in by Connect expires
	Subscribe  func(ctx context.Context, q *SubscribeCall) (SubscribeAnswer, error)   // where the namespace says so
	SubRefresh func(ctx context.Context, q *SubRefreshCall) (SubRefreshAnswer, error) // a subscription let in by Subscribe expires
	Publish    func(ctx context.Context, q *PublishCall) (PublishAnswer, error)       // where the namespace says so
	RPC        func(ctx context.Context, q *RPCCall) ([]byte, error)                  // the data of the result
}

// HookError makes an error reply with a code and words of the application's.
type HookError struct {
	Code      uint32
	Message   string
	Temporary bool
}

func (e *HookError) Error() string { return e.Message }

// HookDisconnect makes the connection end with a code and words of the application's.
type HookDisconnect struct {
	Code   uint32 // 3000 to 4999, else 3004 is sent
	Reason string
}

func (e *HookDisconnect) Error() string { return e.Reason }

// Peer is the connection a call is about.
type Peer struct {
	Client     string // connection id
	User       string // "" before connect
	Protocol   string // "json" or "protobuf"
	Meta       []byte // of the token or the connect hook; nil if none
	Headers    map[string]string
	Attachment any // Handshake.Attachment
}

// ConnectCall is a connect command without a token.
type ConnectCall struct {
	Peer
	Name, Version string
	Data          []byte
	Channels      []string // of the command's subs
}

// ConnectAnswer is who the backend says the client is.
type ConnectAnswer struct {
	User     string
	ExpireAt int64 // unix seconds, 0 = never
	Info     []byte
	Data     []byte // for the client
	Meta     []byte
	Subs     []ServerSub
	// Unknown says that the backend had nothing to say: the client is not let in.
	Unknown bool
}

// ServerSub is a server-side subscription that a token, a hook or the API asks for.
type ServerSub struct {
	Channel  string
	Info     []byte // chan_info
	Data     []byte // for the client
	ExpireAt int64  // unix seconds, 0 = never
	Override channel.Override
	Since    *history.Position // of the API: what was published after it is sent too; nil: nothing
}

// RefreshAnswer is what becomes of an expiring connection.
type RefreshAnswer struct {
	Expired  bool
	ExpireAt int64
	Info     []byte // nil: as before
	Meta     []byte // nil: as before
}

// SubscribeCall is a subscribe command in a namespace with a subscribe proxy.
type SubscribeCall struct {
	Peer
	Proxy, Channel, Token string
	Data                  []byte
}

// SubscribeAnswer lets the client in.
type SubscribeAnswer struct {
	Info     []byte
	Data     []byte
	ExpireAt int64
	Override channel.Override
}

// SubRefreshCall is about an expiring subscription in a namespace with a sub_refresh proxy.
type SubRefreshCall struct {
	Peer
	Proxy, Channel string
}

// SubRefreshAnswer is what becomes of it.
type SubRefreshAnswer struct {
	Expired  bool
	ExpireAt int64
	Info     []byte // nil: as before
}

// PublishCall is a publish command in a namespace with a publish proxy.
type PublishCall struct {
	Peer
	Proxy, Channel string
	Data           []byte
}

// PublishAnswer lets the publication go out.
type PublishAnswer struct {
	Data           []byte // nil: the client's
	Tags           map[string]string
	SkipHistory    bool
	IdempotencyKey string
	Delta          bool
	Version        uint64
	VersionEpoch   string
}

// RPCCall is an rpc command.
type RPCCall struct {
	Peer
	Route  channel.RPCRoute // the proxy or the NATS subject that answers
	Method string
	Data   []byte
}
