package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The control plane: what nodes ask of each other, beside the publications they exchange. Core NATS, request and reply:
//
//	subject                        | who listens      | what
//	-------------------------------|------------------|------------------------------------------------
//	<prefix>.ctl.beat              | every node       | who is there, every HeartbeatInterval; hello and bye
//	<prefix>.ctl.survey            | every node       | one request to all
//	<prefix>.ctl.node.<uid>        | that node        | a request to one, and "are you there?"
//	<prefix>.ctl.answer.<uid>.<id> | the node asking  | answers, also those of services asked by Request
//
// Nothing is sent outside the prefix, except by Request, to the subject it is given. Besides, a node on NATS is a NATS
// micro service (`nats micro ls` and `nats micro stats` see it), which listens on $SRV and only ever answers there.
//
// Goroutines of one Control: a dispatcher (inbox, heartbeats) and ControlConfig.Workers that run handlers; NATS's read
// loop runs none of it. Whoever calls Survey, Ask or Request blocks in his own goroutine. Lock order: all mutexes are leaves.

// SurveyHandler answers requests of other nodes, and of this one. It is called by the control plane's workers, several at
// once, and may block: within the time the asker gives, or the answer comes too late. The payload is its own to keep, what
// it returns is handed over. An error reaches the asker as text.
type SurveyHandler func(payload []byte) ([]byte, error)

// Answer is one node's part of a Survey.
type Answer struct {
	Node Node
	Data []byte
	// Err is why this node has no Data: its handler's words in a *RemoteError, or ErrTooBig.
	Err error
}

// Silent is a node that should have answered and did not.
type Silent struct {
	Node Node
	// Unreachable says that NATS knows no such subscriber: the process is gone, or cut off. Otherwise time ran out.
	Unreachable bool
}

// Survey is the result of asking all nodes.
type Survey struct {
	Answers []Answer // by Node.UID
	Silent  []Silent // by Node.UID
}

// Complete says that every node answered, and none with an error.
func (s *Survey) Complete() bool {
	for i := range s.Answers {
		if s.Answers[i].Err != nil {
			return false
		}
	}
	return len(s.Silent) == 0
}

// RemoteError is a handler's error as it arrived from another node.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return e.Text }

// Errors of the control plane, beside ErrBusy, ErrDisconnected, ErrClosed and ErrTooBig.
var (
	// ErrNoService: nobody listens on the subject that Request was given.
	ErrNoService = errors.New("broker: no service answers on this subject")
	// ErrNoNode: the node that Ask was given is not there.
	ErrNoNode = errors.New("broker: no such node")
	// ErrBadHeader: a header of a ServiceRequest that NATS would change in transport, or that could forge another one.
	ErrBadHeader = errors.New("broker: bad header")
	// ErrBadSubject: the subject of a ServiceRequest is not one literal NATS subject, or is NATS's or the nodes' own.
	ErrBadSubject = errors.New("broker: bad subject")
	errBadOp      = errors.New("broker: operation names are 1 to 64 of a-z 0-9 _ -")
)

// ServiceError is the error a NATS service answered with (headers Nats-Service-Error-Code and Nats-Service-Error).
type ServiceError struct {
	Code        string
	Description string
}

func (e *ServiceError) Error() string {
	return fmt.Sprintf("service error %s: %s", e.Code, e.Description)
}

// ServiceRequest is a call of a NATS service.
type ServiceRequest struct {
	Subject string            // literal
	Data    []byte            // copied before Request returns
	Header  map[string]string // values travel unchanged or not at all (ErrBadHeader)
}

// ServiceReply is what the service answered.
type ServiceReply struct{ Data []byte }

// Node is what a node tells of itself with each heartbeat.
type Node struct {
	UID     string    `json:"uid"`  // of this process: made at random when it starts
	Name    string    `json:"name"` // as the operator calls it
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Link counts its connects to NATS: what it said between two of them may be lost.
	Link   uint64     `json:"link,omitempty"`
	Counts NodeCounts `json:"counts"` // at its last heartbeat
}

// NodeCounts are the sizes a node reports.
type NodeCounts struct {
	Clients  uint32 `json:"clients"`
	Users    uint32 `json:"users"`
	Subs     uint32 `json:"subs"`
	Channels uint32 `json:"channels"`
	// LostJoins are the joins and leaves it could not tell since it started.
	LostJoins uint64 `json:"lost_joins,omitempty"`
}

// ControlConfig says who this node is and bounds its control plane. Zero values mean the defaults named here.
type ControlConfig struct {
	// Name of the node for people, e.g. the --node-id. Required.
	Name string
	// Version of the program; a semantic version, or `nats micro ls` shows 0.0.0. Default "0.0.0".
	Version string
	// Counts is called for each heartbeat, by the dispatcher, from Control on (SetCounts gives it later): it must not block.
	// Default none: zeros.
	Counts func() NodeCounts

	// HeartbeatInterval, and the time without one after which a node is forgotten: its clients are taken for gone then.
	// Defaults 3 s and 12 s. A node that stands still for 8 s (SIGSTOP, a page-in) is silent for up to 11 and not gone; the
	// clients of one that was killed leave within 15 s.
	HeartbeatInterval, ForgetAfter time.Duration
	// SettleTime is how long after its first connect a node waits for the others to introduce themselves before its first
	// survey, which would otherwise not know whom to expect. Default 250 ms: many round trips.
	SettleTime time.Duration
	// SurveyTimeout bounds surveys, Ask and Request whose context has no earlier end. Default 5 s: what SDKs wait for.
	SurveyTimeout time.Duration
	// ProbeAfter is when a survey asks NATS whether the nodes that are still silent exist at all. Default 250 ms: slower
	// than any healthy answer, and a node that was killed costs this instead of the whole timeout.
	ProbeAfter time.Duration

	// Workers run handlers, and QueueLen requests may wait for one; beyond it the asker is told "busy". Defaults 8 and 1024.
	Workers, QueueLen int
	// MaxInFlight bounds the surveys and requests of this node that wait for answers. Default 4096; beyond it ErrBusy.
	MaxInFlight int
	// MaxAnswerBytes bounds the answers to one survey, together. Default 32 MiB: the names of about half a million channels.
	MaxAnswerBytes int
	// InboxLen is how many control messages may wait for the dispatcher, which does little with each. Default 8192.
	InboxLen int

	// NoMicro leaves out the NATS micro service, for NATS accounts that may not subscribe to $SRV.
	NoMicro bool
}

func (c *ControlConfig) setDefaults() {
	if c.Version == "" {
		c.Version = "0.0.0"
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.HeartbeatInterval, 3 * time.Second}, {&c.ForgetAfter, 12 * time.Second},
		{&c.SettleTime, 250 * time.Millisecond}, {&c.SurveyTimeout, 5 * time.Second}, {&c.ProbeAfter, 250 * time.Millisecond},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *int
		value int
	}{
		{&c.Workers, 8}, {&c.QueueLen, 1024}, {&c.MaxInFlight, 4096}, {&c.MaxAnswerBytes, 32 << 20}, {&c.InboxLen, 8192},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
}

func (c *ControlConfig) validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, &ConfigError{Field: "Name", Why: errors.New("is empty"), Fix: "give this node a name"})
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"Workers", c.Workers}, {"QueueLen", c.QueueLen}, {"MaxInFlight", c.MaxInFlight},
		{"MaxAnswerBytes", c.MaxAnswerBytes}, {"InboxLen", c.InboxLen},
		{"HeartbeatInterval", int(c.HeartbeatInterval)}, {"ForgetAfter", int(c.ForgetAfter)}, {"SettleTime", int(c.SettleTime)},
		{"SurveyTimeout", int(c.SurveyTimeout)}, {"ProbeAfter", int(c.ProbeAfter)},
	} {
		errs = append(errs, checkCount(f.name, f.value))
	}
	if c.ForgetAfter > 0 && c.ForgetAfter < 2*c.HeartbeatInterval {
		errs = append(errs, &ConfigError{
			Field: "ForgetAfter", Value: c.ForgetAfter.String(), Why: errors.New("one lost heartbeat would make a node disappear"),
			Fix: "give at least two HeartbeatIntervals",
		})
	}
	return errors.Join(errs...)
}

// Control starts the control plane of this node over NATS. With NATS away it starts all the same. One per broker.
// Errors: *ConfigError, ErrClosed.
func (n *NATS) Control(cfg ControlConfig) (*Control, error) {
	return startControl(cfg, &natsControl{n: n}, n.cfg.Prefix, n.events)
}

// Control starts the control plane of this node among the members of its Bus. One per broker.
// Errors: *ConfigError.
func (m *Memory) Control(cfg ControlConfig) (*Control, error) {
	return startControl(cfg, &memoryControl{m: m}, memoryPrefix, newEventLog(slog.New(slog.DiscardHandler), time.Minute))
}

const memoryPrefix = "memory"

// HandleSurvey sets who answers op, on this node, from now on; the last call wins. op is 1 to 64 of a-z 0-9 _ and -, or it
// panics.
func (c *Control) HandleSurvey(op string, fn SurveyHandler) {
	if !goodOp(op) {
		panic(errBadOp)
	}
	c.mu.Lock()
	c.handlers[op] = fn
	c.mu.Unlock()
}

// SetCounts sets ControlConfig.Counts from now on, for a node whose parts need its control plane before they can be counted.
func (c *Control) SetCounts(fn func() NodeCounts) { c.counts.Store(&fn) }

// Survey asks all nodes, this one included, and returns when all that are known have answered, or are known to be gone, or
// the time is over (ctx, at most SurveyTimeout). That a node is silent is no error: the result says so. The payload is
// copied.
// Errors: ErrDisconnected, with what this node itself answered (others may exist and were not asked), ErrBusy, ErrTooBig,
// ErrClosed, and the context's if it ended before anybody was asked.
func (c *Control) Survey(ctx context.Context, op string, payload []byte) (Survey, error) {
	return c.survey(ctx, op, payload)
}

// Ask is a request to one node, by its UID.
// Errors: ErrNoNode, *RemoteError, ErrTooBig, ErrBusy, ErrDisconnected, ErrClosed, or the context's when time ran out.
func (c *Control) Ask(ctx context.Context, uid, op string, payload []byte) ([]byte, error) {
	return c.ask(ctx, uid, op, payload)
}

// Request calls a NATS service, any one of those that listen on the subject.
// Errors: ErrNoService, *ServiceError, ErrBadSubject, ErrBadHeader, ErrTooBig, ErrBusy, ErrDisconnected, ErrClosed, or the
// context's when time ran out.
func (c *Control) Request(ctx context.Context, r ServiceRequest) (ServiceReply, error) {
	return c.request(ctx, r)
}

// Self is this node, with its counts of now.
func (c *Control) Self() Node { return c.describe() }

// Nodes are the nodes known at this moment, this one included, by UID.
func (c *Control) Nodes() []Node { return c.nodes() }

// UID is this node's.
func (c *Control) UID() string { return c.self.UID }

// Neighbours appends the other nodes known at this moment to dst, in no order. A node is known from its first heartbeat until it
// says goodbye or has been silent for ForgetAfter while this node's own link was up.
func (c *Control) Neighbours(dst []Node) []Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, n := range c.known {
		dst = append(dst, n.node)
	}
	return dst
}

// Link counts the connects of this node; 0 while it has no link. What other nodes said between two connects is lost.
func (c *Control) Link() uint64 { return c.link.up() }

// Stats is a snapshot; counters only grow.
func (c *Control) Stats() ControlStats { return c.stats() }

// Close says goodbye, so that other nodes stop expecting this one, lets running handlers end, and ends all goroutines.
// Calls under way return ErrClosed. Idempotent; blocks for as long as handlers do.
func (c *Control) Close() { c.close() }
