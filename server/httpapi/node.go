package httpapi

import (
	"context"
	"encoding/json"

	"throng/server/channel"
)

// Node is this node's connections and channels, as far as the API acts on them. It is called by request goroutines and by
// survey workers, several at once, and may block as long as these may. What it does to connections need not be finished when
// it returns, but must happen.
type Node interface {
	// Publish sends p to the subscribers on all nodes. An *Error decides what the caller is told; every other error is an
	// internal one.
	Publish(ctx context.Context, p Publication) (Position, error)
	// History is what was published in a channel whose namespace keeps history; RemoveHistory takes it away.
	History(ctx context.Context, ch channel.Channel, q HistoryQuery) (History, error)
	RemoveHistory(ctx context.Context, ch channel.Channel) error
	// Disconnect closes t's connections but those whose client id is in keep.
	Disconnect(t Target, code uint32, reason string, keep []string) error
	// Unsubscribe ends t's subscription of a channel, or of all with "", with unsubscribe code 2000.
	Unsubscribe(t Target, channel string) error
	// Subscribe makes server-side subscriptions for t's connections.
	Subscribe(t Target, s Subscription) error
	// Refresh prolongs or ends t's connections.
	Refresh(t Target, r Refresh) error
	// Presence is who is in a channel on this node.
	Presence(channel string) ([]ClientInfo, error)
	// Channels calls yield for each channel with subscribers on this node and their number, until it returns false.
	Channels(yield func(channel string, clients int) bool)
	// Info describes this node.
	Info() NodeInfo
}

// Target says whose connections are meant: those of User ("" = anonymous), and of these only the ones with Client or Session,
// where these are not empty.
type Target struct {
	User    string `json:"user"`
	Client  string `json:"client,omitempty"`
	Session string `json:"session,omitempty"`
}

// Publication is data on its way to a channel. Its memory belongs to who gets it.
type Publication struct {
	Channel        channel.Channel
	Data           []byte // JSON on one line, or any bytes where Binary
	Binary         bool   // came as b64data
	Tags           map[string]string
	SkipHistory    bool
	IdempotencyKey string
	Delta          bool
	Version        uint64
	VersionEpoch   string
}

// Position is where a publication stands in its channel's stream; zero without history.
type Position struct {
	Offset uint64 `json:"offset,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
}

// HistoryQuery says which publications of a channel are wanted.
type HistoryQuery struct {
	Limit   int       // 0 the position only, -1 all
	Since   *Position // not these, but what follows (or precedes, in Reverse); nil: from the oldest, or the newest
	Reverse bool      // newest first
}

// History is what was published in a channel, and its newest position.
type History struct {
	Publications []Published
	Position     Position
}

// Published is a publication of the past.
type Published struct {
	Data   []byte // usually JSON
	Info   *ClientInfo
	Offset uint64
	Tags   map[string]string
}

// Subscription is a server-side subscription that the API asks for.
type Subscription struct {
	Channel      string           `json:"channel"`
	Info         []byte           `json:"info,omitempty"`
	Data         []byte           `json:"data,omitempty"`
	ExpireAt     int64            `json:"expire_at,omitempty"` // unix seconds, 0 = never
	RecoverSince *Position        `json:"recover_since,omitempty"`
	Override     channel.Override `json:"override"`
}

// Refresh is what becomes of connections' expiry.
type Refresh struct {
	Expired  bool            `json:"expired,omitempty"`
	ExpireAt int64           `json:"expire_at,omitempty"` // unix seconds
	Info     json.RawMessage `json:"info,omitempty"`      // nil: as before
}

// ClientInfo is one connection in a channel's presence.
type ClientInfo struct {
	User     string `json:"user"`
	Client   string `json:"client"`
	ConnInfo []byte `json:"conn_info,omitempty"` // usually JSON
	ChanInfo []byte `json:"chan_info,omitempty"`
}

// NodeInfo describes a node.
type NodeInfo struct {
	UID         string   `json:"uid"`
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	NumClients  uint32   `json:"num_clients"`
	NumUsers    uint32   `json:"num_users"`
	NumSubs     uint32   `json:"num_subs"`
	NumChannels uint32   `json:"num_channels"`
	Uptime      uint32   `json:"uptime"` // seconds
	Metrics     *Metrics `json:"metrics,omitempty"`
	Process     *Process `json:"process,omitempty"`
}

// Metrics are counters of a node over the last Interval.
type Metrics struct {
	Interval float64            `json:"interval"` // seconds
	Items    map[string]float64 `json:"items"`
}

// Process is what the operating system says of a node.
type Process struct {
	CPU float64 `json:"cpu"` // percent of one core
	RSS int64   `json:"rss"` // bytes
}

// Cluster asks all nodes, this one included; package broker's control plane, behind an adapter of main.
type Cluster interface {
	// Survey blocks until all nodes have answered or time is over. An error means that nodes may have been left out beyond
	// those in Silent; the Survey tells what is known all the same.
	Survey(ctx context.Context, op string, payload []byte) (Survey, error)
	// HandleSurvey sets what answers op on this node.
	HandleSurvey(op string, fn func(payload []byte) ([]byte, error))
}

// Survey is what the nodes answered.
type Survey struct {
	Answers []Answer
	Silent  []string // names of nodes that did not answer and should have
}

// Answer is one node's.
type Answer struct {
	Node string // name, for people
	Data []byte
	Err  error // why there is no Data
}
