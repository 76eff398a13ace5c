package proxy

import (
	"time"

	"throng/server/channel"
)

// Outcome says what became of a call.
type Outcome uint8

const (
	// Accepted: go on with what the fields say.
	Accepted Outcome = iota
	// Refused: an error reply with Code, Message and Temporary.
	Refused
	// Disconnected: close the connection with Code and Message.
	Disconnected
	// Failed: nobody decided. connect, subscribe, publish and rpc: an error reply with Code, Message and Temporary; refresh
	// and sub_refresh: as before, and again after RetryAfter.
	Failed
)

// Result is the answer to one call. It belongs to whoever got it.
//
// Source: centrifuge-protocol.md, 20.
type Result struct {
	Outcome   Outcome
	Reason    Reason // for metrics and logs
	Code      channel.Code
	Message   string
	Temporary bool
	// RetryAfter is set for a Failed refresh or sub_refresh.
	RetryAfter time.Duration
	// Err says why a call Failed, for the log; the client is not told.
	Err error

	// User of connect. "" is the anonymous user.
	User string
	// ExpireAt in unix seconds, 0 = never; connect, refresh, subscribe, sub_refresh.
	ExpireAt int64
	// Expired ends the connection (refresh) or subscription (sub_refresh).
	Expired bool
	// Info of the connection (connect, refresh) or channel (subscribe, sub_refresh); nil = none, or as before.
	Info []byte
	// Data for the client (connect, subscribe, rpc), or what is published instead (publish); nil = none, or as it was.
	Data []byte
	// Meta of the connection, JSON; connect, refresh. nil = none, or as before.
	Meta []byte
	// Channels and Subs are the server-side subscriptions of connect; a channel in Subs needs none in Channels.
	Channels []string
	Subs     map[string]Subscription
	// Override of the namespace's options; subscribe.
	Override channel.Override
	// Publication says how data is published; publish.
	Publication Publication
}

// Subscription is one server-side subscription of a connect result.
type Subscription struct {
	Info, Data   []byte
	ExpireAt     int64 // unix seconds, 0 = never
	Override     channel.Override
	CacheRecover bool
}

// Publication is what a publish result may set beside the data.
type Publication struct {
	SkipHistory    bool
	Tags           map[string]string
	IdempotencyKey string
	Delta          bool
	Version        uint64
	VersionEpoch   string
}

// Reason is what became of a call, in more detail than Outcome: a closed list, for metric labels.
type Reason uint8

// The reasons: the backend's answers first, then why there was none.
const (
	ReasonOK           Reason = iota // Accepted
	ReasonError                      // the backend answered with an error
	ReasonDisconnect                 // the backend answered with a disconnect
	ReasonBusy                       // the endpoint's queue is full
	ReasonQueueTimeout               // waited too long for a worker
	ReasonGone                       // the client left while its call waited
	ReasonTimeout                    // no answer in time
	ReasonUnreachable                // no connection, or it broke
	ReasonStatus                     // an HTTP status that is not mapped
	ReasonOversize                   // the answer is too long
	ReasonMalformed                  // the answer makes no sense
	ReasonBadRequest                 // what the client sent cannot be passed on
	ReasonNoService                  // no NATS service listens, or no endpoint has this name
	ReasonClosed                     // the node is stopping
	numReasons
)

var reasonNames = [numReasons]string{
	"ok", "error", "disconnect", "busy", "queue_timeout", "gone", "timeout", "unreachable", "status", "oversize", "malformed",
	"bad_request", "no_service", "closed",
}

// String returns the metric label.
func (r Reason) String() string { return reasonNames[r] }

// Reasons returns all reasons, for registering metrics.
func Reasons() []Reason {
	all := make([]Reason, numReasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// failed makes the result of a call that nobody answered.
func failed(reason Reason, err error) *Result {
	r := &Result{Outcome: Failed, Reason: reason, Err: err, Code: channel.Internal, Temporary: true}
	switch reason {
	case ReasonBadRequest:
		r.Code, r.Temporary = channel.BadRequest, false
	case ReasonNoService:
		r.Code, r.Temporary = channel.NotAvailable, false
	}
	r.Message = r.Code.String()
	return r
}

func (e *ErrorBody) result() *Result {
	return &Result{Outcome: Refused, Reason: ReasonError, Code: channel.Code(e.Code), Message: e.Message, Temporary: e.Temporary}
}

func (d *DisconnectBody) result() *Result {
	return &Result{Outcome: Disconnected, Reason: ReasonDisconnect, Code: channel.Code(d.Code), Message: d.Reason}
}
