package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// controlLink is what the control plane needs of a transport. Messages are nats.go's, also in memory, and belong to the
// receiver.
type controlLink interface {
	// listen delivers what comes on the subjects ('*' may be the last token) into the channel, without blocking.
	listen(subjects []string, into chan *nats.Msg) (stop func(), err error)
	// send does not block. Errors: ErrDisconnected, ErrTooBig, ErrBusy, ErrClosed.
	send(m *nats.Msg) error
	// settle waits until the server has taken what was sent: the back-pressure between the parts of a large answer.
	settle(ctx context.Context) error
	// up counts the connects; 0 while there is no link.
	up() uint64
	maxPayload() int
	// announce makes the node visible to the tools of the transport until stop is called.
	announce(c *Control) (stop func(), err error)
}

// Control is a node's part of the control plane. All methods may be called by any goroutine; Survey, Ask and Request block
// (not for pollers), the others do not. Close it before its broker.
type Control struct {
	cfg    ControlConfig
	link   controlLink
	prefix string
	events *eventLog
	self   Node // without Counts
	counts atomic.Pointer[func() NodeCounts]
	count  controlCounters

	inbox   chan *nats.Msg
	work    chan job
	settled chan struct{} // closed when the others have had time to introduce themselves
	stop    chan struct{} // closed by Close
	leaving atomic.Bool   // goodbye is said or about to be: no heartbeat must follow it
	once    sync.Once
	wg      sync.WaitGroup
	unhear  func()
	unseen  func()
	echo    time.Time              // dispatcher's: when its own heartbeat last came back
	seen    [2]map[string]struct{} // dispatcher's: reply subjects of surveys that arrived, of this while and the one before

	mu       sync.RWMutex // leaf
	handlers map[string]SurveyHandler
	known    map[string]*neighbour // without this node
	pending  map[uint64]waiter
	lastID   uint64
}

// neighbour is another node.
type neighbour struct {
	node  Node
	heard time.Time
}

// waiter takes the answers to one question. take is called by the dispatcher and must not block.
type waiter interface{ take(m *nats.Msg) }

// job is one request for the workers. Exactly one of ask and local is set.
type job struct {
	op       string
	payload  []byte
	deadline time.Time
	reply    string        // subject of the answer to another node
	local    chan<- Answer // for this node's own survey; has room
}

// Headers of control messages.
const (
	headerKind    = "Throng-Kind"
	headerFrom    = "Throng-Node"
	headerName    = "Throng-Name"
	headerOp      = "Throng-Op"
	headerTimeout = "Throng-Timeout" // milliseconds the asker will still wait
	headerPart    = "Throng-Part"    // of an answer, from 0
	headerMore    = "Throng-More"    // another part follows
	headerReply   = "Throng-Reply"   // of a probe: where the answer to the survey goes
)

// Kinds of control messages.
const (
	kindBeat    = "beat"
	kindHello   = "hello" // a beat that wants an answer
	kindBye     = "bye"
	kindRequest = "request"
	kindProbe   = "probe" // "are you there?", with the survey, in case it was missed
	kindHere    = "here"  // answers a probe
	kindAnswer  = "answer"
	kindError   = "error"
)

const (
	maxOpBytes = 64 // of names of operations, and of UIDs
	textBusy   = "node is busy"
	// headerRoom is kept free in each message for its headers.
	headerRoom = 1024
	// ticksPerBeat is how often per heartbeat the link and the neighbours are looked at.
	ticksPerBeat = 6
	// maxNeighbours bounds what a flood of forged heartbeats can fill.
	maxNeighbours = 10_000
	// maxSeen is how many requests are remembered, at least, to tell a probe whether its survey came: those of a few
	// seconds at a rate no cluster reaches.
	maxSeen = 4096
)

func goodOp(op string) bool {
	for i := range len(op) {
		b := op[i]
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '_' && b != '-' {
			return false
		}
	}
	return op != "" && len(op) <= maxOpBytes
}

// goodUID says whether a node's UID can be a subject token.
func goodUID(uid string) bool {
	for i := range len(uid) {
		if !literal(uid[i]) {
			return false
		}
	}
	return uid != "" && len(uid) <= maxOpBytes
}

func startControl(cfg ControlConfig, l controlLink, prefix string, events *eventLog) (*Control, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Control{
		cfg: cfg, link: l, prefix: prefix + ".ctl.", events: events,
		self:  Node{UID: nuid.Next(), Name: cfg.Name, Version: cfg.Version, Started: time.Now().UTC()},
		inbox: make(chan *nats.Msg, cfg.InboxLen), work: make(chan job, cfg.QueueLen),
		settled: make(chan struct{}), stop: make(chan struct{}),
		handlers: make(map[string]SurveyHandler), known: make(map[string]*neighbour), pending: make(map[uint64]waiter),
		unseen: func() {}, seen: [2]map[string]struct{}{{}, {}},
	}
	if cfg.Counts != nil {
		c.SetCounts(cfg.Counts)
	}
	subjects := []string{c.prefix + "beat", c.prefix + "survey", c.nodeSubject(c.self.UID), c.prefix + "answer." + c.self.UID + ".*"}
	var err error
	if c.unhear, err = l.listen(subjects, c.inbox); err != nil {
		return nil, err
	}
	if !cfg.NoMicro {
		unseen, err := l.announce(c)
		if err != nil {
			c.unhear()
			return nil, fmt.Errorf("broker: NATS micro service: %w", err)
		}
		c.unseen = unseen
	}
	for range cfg.Workers {
		c.wg.Go(c.runWorker)
	}
	c.wg.Go(c.run)
	return c, nil
}

func (c *Control) nodeSubject(uid string) string { return c.prefix + "node." + uid }

func (c *Control) answerSubject(id uint64) string {
	return c.prefix + "answer." + c.self.UID + "." + strconv.FormatUint(id, 36)
}

func (c *Control) describe() Node {
	n := c.self
	n.Link = c.link.up()
	if counts := c.counts.Load(); counts != nil {
		n.Counts = (*counts)()
	}
	return n
}

func (c *Control) nodes() []Node {
	all := []Node{c.describe()}
	c.mu.RLock()
	for _, n := range c.known {
		all = append(all, n.node)
	}
	c.mu.RUnlock()
	slices.SortFunc(all, func(a, b Node) int { return strings.Compare(a.UID, b.UID) })
	return all
}

// run is the dispatcher.
func (c *Control) run() {
	tick := time.NewTicker(c.cfg.HeartbeatInterval / ticksPerBeat)
	defer tick.Stop()
	p := &pulse{c: c}
	p.tick(time.Now())
	for {
		select {
		case m := <-c.inbox:
			c.dispatch(m)
		case now := <-tick.C:
			p.tick(now)
		case <-p.settling():
			p.settle()
		case <-c.stop:
			return
		}
	}
}

func (c *Control) beat(kind string) error {
	if c.leaving.Load() {
		return nil
	}
	data, err := json.Marshal(c.describe())
	if err != nil {
		return err
	}
	return c.link.send(c.message(c.prefix+"beat", kind, data))
}

func (c *Control) message(subject, kind string, data []byte) *nats.Msg {
	return &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		headerKind: {kind}, headerFrom: {c.self.UID}, headerName: {headerSafe(c.self.Name)},
	}}
}

// headerSafe makes a name fit for a header, for people only: NATS would change it.
func headerSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

func header(m *nats.Msg, key string) string {
	if values := m.Header[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// dispatch is the work of the dispatcher for one message: never more than handing it on.
func (c *Control) dispatch(m *nats.Msg) {
	kind, from := header(m, headerKind), header(m, headerFrom)
	own := from == c.self.UID
	switch {
	case strings.HasPrefix(m.Subject, c.prefix+"answer."):
		c.answered(m)
	case own:
		c.echoed(m, kind)
	case kind == kindRequest:
		c.enqueue(m, m.Reply)
	case kind == kindProbe:
		_ = c.link.send(c.message(m.Reply, kindHere, nil)) // unheard, the asker waits as before
		// NATS keeps the order: a survey that has not come before its probe never will.
		if reply := header(m, headerReply); !c.saw(reply) {
			c.enqueue(m, reply)
		}
	case kind == kindBeat || kind == kindHello:
		c.meet(m, kind == kindHello)
	case kind == kindBye:
		c.mu.Lock()
		delete(c.known, from)
		c.mu.Unlock()
	default:
		c.count.malformed.Add(1)
	}
}

// echoed is called for what this node told all: NATS has carried it.
func (c *Control) echoed(m *nats.Msg, kind string) {
	switch kind {
	case kindBeat, kindHello:
		c.echo = time.Now()
	case kindRequest:
		if k, ok := c.waiting(m.Reply).(*collector); ok {
			k.echo()
		}
	}
}

func (c *Control) meet(m *nats.Msg, introduce bool) {
	var n Node
	if err := json.Unmarshal(m.Data, &n); err != nil || !goodUID(n.UID) || n.UID != header(m, headerFrom) {
		c.count.malformed.Add(1)
		return
	}
	c.mu.Lock()
	if at := c.known[n.UID]; at != nil || len(c.known) < maxNeighbours {
		c.known[n.UID] = &neighbour{node: n, heard: time.Now()}
	}
	c.mu.Unlock()
	if introduce {
		_ = c.beat(kindBeat) // lost, the next heartbeat does it
	}
}

func (c *Control) saw(reply string) bool {
	_, now := c.seen[0][reply]
	_, before := c.seen[1][reply]
	return now || before
}

// enqueue hands a request of another node to the workers.
func (c *Control) enqueue(m *nats.Msg, reply string) {
	millis, err := strconv.ParseInt(header(m, headerTimeout), 10, 32)
	if err != nil || !strings.HasPrefix(reply, c.prefix+"answer.") {
		c.count.malformed.Add(1)
		return
	}
	c.seen[0][reply] = struct{}{}
	if len(c.seen[0]) >= maxSeen {
		c.seen[0], c.seen[1] = make(map[string]struct{}), c.seen[0]
	}
	j := job{op: header(m, headerOp), payload: m.Data, reply: reply, deadline: time.Now().Add(time.Duration(millis) * time.Millisecond)}
	select {
	case c.work <- j:
	default:
		c.count.refused.Add(1)
		_ = c.link.send(c.message(reply, kindError, []byte(textBusy)))
	}
}

func (c *Control) runWorker() {
	for {
		select {
		case j := <-c.work:
			c.perform(j)
		case <-c.stop:
			return
		}
	}
}

// perform runs the handler of one request and sends its answer.
func (c *Control) perform(j job) {
	if time.Now().After(j.deadline) {
		c.count.expired.Add(1) // the asker was told "silent": acting now would make that a lie
		return
	}
	data, err := c.handle(j.op, j.payload)
	if err == nil && len(data) > c.cfg.MaxAnswerBytes {
		data, err = nil, fmt.Errorf("answer of %d bytes is over the limit of %d", len(data), c.cfg.MaxAnswerBytes)
	}
	c.count.handled.Add(1)
	if err != nil {
		c.count.failed.Add(1)
	}
	if j.local != nil {
		a := Answer{Node: c.describe(), Data: data}
		if err != nil {
			a.Err = &RemoteError{Text: err.Error()}
		}
		j.local <- a
		return
	}
	if err := c.respond(j, data, err); err != nil {
		c.count.unsent.Add(1)
		c.events.event(slog.LevelWarn, "answer to another node could not be sent", "op", j.op, "err", err)
	}
}

func (c *Control) handle(op string, payload []byte) (data []byte, err error) {
	c.mu.RLock()
	fn := c.handlers[op]
	c.mu.RUnlock()
	if fn == nil {
		return nil, fmt.Errorf("operation %.64q is not known to this node", op)
	}
	defer func() {
		if p := recover(); p != nil {
			c.count.panics.Add(1)
			c.events.event(slog.LevelError, "survey handler panicked", "op", op, "panic", p, "stack", string(debug.Stack()))
			data, err = nil, errors.New("handler failed")
		}
	}()
	return fn(payload)
}

// respond sends an answer in as many parts as NATS needs. An error text is cut to one.
func (c *Control) respond(j job, data []byte, failure error) error {
	room := max(c.link.maxPayload()-headerRoom, 1)
	if failure != nil {
		text := failure.Error()
		return c.link.send(c.message(j.reply, kindError, []byte(text[:min(len(text), room)])))
	}
	ctx, cancel := context.WithDeadline(context.Background(), j.deadline)
	defer cancel()
	for part := 0; ; part++ {
		m := c.message(j.reply, kindAnswer, data[:min(len(data), room)])
		data = data[len(m.Data):]
		m.Header[headerPart] = []string{strconv.Itoa(part)}
		if len(data) == 0 {
			return c.link.send(m)
		}
		m.Header[headerMore] = []string{"1"}
		if err := errors.Join(c.link.send(m), c.link.settle(ctx)); err != nil {
			return err
		}
	}
}

func (c *Control) close() {
	c.once.Do(func() {
		c.leaving.Store(true)
		if c.link.up() > 0 {
			_ = c.link.send(c.message(c.prefix+"beat", kindBye, nil)) // unheard, the others forget in a while
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = c.link.settle(ctx)
			cancel()
		}
		c.unseen()
		close(c.stop)
		c.unhear()
	})
	c.wg.Wait()
}
