package engine

import (
	"maps"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histogram bounds: 1 us to 2 minutes in microseconds, 3 significant figures.
const (
	histLowest  = 1
	histHighest = 120_000_000
	histFigures = 3
)

// NewHistogram returns a histogram of the one geometry used everywhere, so that
// all of them can be merged. Unit: microseconds.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(histLowest, histHighest, histFigures)
}

// record stores ns in h as microseconds, rounded up to at least 1 and cut at the
// bound (a value beyond it is 2 minutes late: the run fails for other reasons).
func record(h *hdrhistogram.Histogram, ns int64) {
	us := min(max((ns+500)/1000, histLowest), histHighest)
	_ = h.RecordValue(us) // cannot fail inside the bounds
}

// Counters are totals since the last Collect, but Open, InFlight and Waiting, which
// are gauges. All are plain sums over processes. Owned by the loop; copied out by Snapshot.
type Counters struct {
	Open     int64 `json:"open"`      // ready now
	InFlight int64 `json:"in_flight"` // connecting, upgrading or joining now
	Waiting  int64 `json:"waiting"`   // asked for, but not begun (rate, retry)

	Started uint64 `json:"started"` // attempts to connect
	Opened  uint64 `json:"opened"`  // became ready
	Failed  uint64 `json:"failed"`  // attempts that did not become ready
	GivenUp uint64 `json:"given_up"`
	Dropped uint64 `json:"dropped"` // were ready, then ended without our asking

	Sent         uint64 `json:"sent"`         // messages published
	Owed         uint64 `json:"owed"`         // deliveries that Sent makes, over all members
	Unsent       uint64 `json:"unsent"`       // due, but the publisher was gone or blocked
	Received     uint64 `json:"received"`     // deliveries with a good stamp, all kinds
	Duplicated   uint64 `json:"duplicated"`   // seen before on that connection
	OutOfOrder   uint64 `json:"out_of_order"` // arrived after a later one
	Misrouted    uint64 `json:"misrouted"`    // of a channel the connection did not join
	Foreign      uint64 `json:"foreign"`      // of another run
	Late         uint64 `json:"late"`         // of a phase that was closed before they came
	Damaged      uint64 `json:"damaged"`      // stamp cut or check wrong
	Rejections   uint64 `json:"rejections"`   // error replies on a ready connection
	Acked        uint64 `json:"acked"`        // publications that the server says it took (Config.Answers)
	Unanswered   uint64 `json:"unanswered"`   // publications of an AckOrder that got no answer
	Recovered    uint64 `json:"recovered"`    // subscriptions that came back with all they had missed (Config.Positioned)
	Unrecovered  uint64 `json:"unrecovered"`  // subscriptions that asked to come back, and were told to begin anew
	Unpositioned uint64 `json:"unpositioned"` // subscriptions that asked for a position and got none
	Attached     uint64 `json:"attached"`     // publications that came with the answer to a subscription
	Messages     uint64 `json:"messages"`     // application messages of any content
	BytesIn      uint64 `json:"bytes_in"`
	BytesOut     uint64 `json:"bytes_out"`
	PingsSent    uint64 `json:"pings_sent"`   // by us
	PongsSeen    uint64 `json:"pongs_seen"`   // answers to them
	PingsSeen    uint64 `json:"pings_seen"`   // by the server, each answered
	Reads        uint64 `json:"reads"`        // read(2) calls that returned bytes
	LastArrival  int64  `json:"last_arrival"` // Clock ns of the last delivery
}

// Unique returns the deliveries that were not duplicates.
func (c *Counters) Unique() uint64 { return c.Received - c.Duplicated }

// Add merges o into c: sums, and the latest of LastArrival.
func (c *Counters) Add(o *Counters) {
	c.Open += o.Open
	c.InFlight += o.InFlight
	c.Waiting += o.Waiting
	c.Started += o.Started
	c.Opened += o.Opened
	c.Failed += o.Failed
	c.GivenUp += o.GivenUp
	c.Dropped += o.Dropped
	c.Sent += o.Sent
	c.Owed += o.Owed
	c.Unsent += o.Unsent
	c.Received += o.Received
	c.Duplicated += o.Duplicated
	c.OutOfOrder += o.OutOfOrder
	c.Misrouted += o.Misrouted
	c.Foreign += o.Foreign
	c.Late += o.Late
	c.Damaged += o.Damaged
	c.Rejections += o.Rejections
	c.Acked += o.Acked
	c.Unanswered += o.Unanswered
	c.Recovered += o.Recovered
	c.Unrecovered += o.Unrecovered
	c.Unpositioned += o.Unpositioned
	c.Attached += o.Attached
	c.Messages += o.Messages
	c.BytesIn += o.BytesIn
	c.BytesOut += o.BytesOut
	c.PingsSent += o.PingsSent
	c.PongsSeen += o.PongsSeen
	c.PingsSeen += o.PingsSeen
	c.Reads += o.Reads
	c.LastArrival = max(c.LastArrival, o.LastArrival)
}

// ChannelCounts are the figures of one channel as one engine saw it.
type ChannelCounts struct {
	Sent       uint64 `json:"sent"`
	Received   uint64 `json:"received"`
	Duplicated uint64 `json:"duplicated"`
	OutOfOrder uint64 `json:"out_of_order"`
	Members    int64  `json:"members"` // ready connections that joined it
}

// Snapshot is a copy of everything an engine has counted.
type Snapshot struct {
	Counters Counters
	Failures map[string]uint64 // before ready, by kind
	Drops    map[string]uint64 // after ready, by kind
	Codes    map[string]uint64 // error replies, by code (Config.Answers)
	Silent   uint64            // ready connections without a byte for Config.SilentAfter
	Latency  *hdrhistogram.Histogram
	Connect  *hdrhistogram.Histogram
	Ack      *hdrhistogram.Histogram // from a publication of an AckOrder to its answer
	Channels []ChannelCounts
}

// Peek returns the counters and kinds only. Call it on the loop (Do).
func (e *Engine) Peek() Snapshot {
	s := Snapshot{Counters: e.n, Failures: maps.Clone(e.failures), Drops: maps.Clone(e.drops), Codes: map[string]uint64{}}
	for code, n := range e.codes {
		s.Codes[strconv.FormatUint(uint64(code), 10)] = n
	}
	s.Counters.Waiting = int64(e.waiting())
	return s
}

// Collect returns everything, and starts all but the gauges at zero for the next
// phase. Call it on the loop (Do).
func (e *Engine) Collect() Snapshot {
	s := e.Peek()
	s.Silent = e.countSilent()
	s.Latency, s.Connect, s.Ack = e.latency, e.connect, e.ack
	e.latency, e.connect, e.ack = NewHistogram(), NewHistogram(), NewHistogram()
	s.Channels = make([]ChannelCounts, len(e.channels))
	copy(s.Channels, e.channels)
	for i := range e.channels {
		e.channels[i] = ChannelCounts{Members: e.channels[i].Members}
	}
	e.talk.goal = 0
	e.n = Counters{Open: e.n.Open, InFlight: e.n.InFlight}
	clear(e.failures)
	clear(e.drops)
	clear(e.codes)
	return s
}
