package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// subscriber is a client of the Centrifuge protocol that does what SDKs do: it comes back after every disconnect, and
// subscribes anew, from where it was, after every unsubscribe that asks for it. It notes all that it is told.
type subscriber struct {
	record
	nodes []*node // the next after each failure
	at    int

	plain     bool // of a channel without history: only listens
	started   bool // has a position
	epoch     string
	offset    uint64
	requests  int
	connects  atomic.Int64
	lastError atomic.Value // string
	told      atomic.Int64 // when it was last told that something is amiss, Unix nanoseconds: unsubscribed, refused, disconnected
}

func (s *subscriber) amiss(format string, args ...any) {
	s.lastError.Store(fmt.Sprintf(format, args...))
	s.told.Store(time.Now().UnixNano())
}

// pub is a publication as clients see it.
type pub struct {
	Data struct {
		ID string `json:"id"`
	} `json:"data"`
	Offset uint64 `json:"offset"`
}

// reply is one line from the server.
type reply struct {
	ID    int `json:"id"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Connect   *json.RawMessage `json:"connect"`
	Subscribe *struct {
		Positioned    bool   `json:"positioned"`
		Recoverable   bool   `json:"recoverable"`
		Epoch         string `json:"epoch"`
		Offset        uint64 `json:"offset"`
		Recovered     bool   `json:"recovered"`
		WasRecovering bool   `json:"was_recovering"`
		Publications  []pub  `json:"publications"`
	} `json:"subscribe"`
	Push *struct {
		Channel     string `json:"channel"`
		Pub         *pub   `json:"pub"`
		Unsubscribe *struct {
			Code   int    `json:"code"`
			Reason string `json:"reason"`
		} `json:"unsubscribe"`
		Disconnect *struct {
			Code int `json:"code"`
		} `json:"disconnect"`
	} `json:"push"`
}

// crowd is subscribers that run until they are stopped.
type crowd struct {
	t       testing.TB
	members []*subscriber
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

func startCrowd(t testing.TB) *crowd {
	ctx, cancel := context.WithCancel(context.Background())
	c := &crowd{t: t, ctx: ctx, cancel: cancel}
	t.Cleanup(c.end)
	return c
}

func (c *crowd) end() {
	c.cancel()
	c.wg.Wait()
}

// add starts one more.
func (c *crowd) add(s *subscriber) {
	s.name = fmt.Sprint("s", len(c.members))
	c.members = append(c.members, s)
	c.wg.Go(func() { s.run(c.ctx) })
}

// joined waits until every member has a position.
func (c *crowd) joined() {
	c.t.Helper()
	c.await("subscribed", func(s *subscriber) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.events) > 0
	})
}

// join starts n subscribers of each channel, spread over the nodes, and waits until all are subscribed.
func join(t testing.TB, nodes []*node, channels []string, n int) *crowd {
	t.Helper()
	c := startCrowd(t)
	for i := range n {
		for k, channel := range channels {
			c.add(&subscriber{record: record{channel: channel}, nodes: nodes, at: i + k})
		}
	}
	c.joined()
	return c
}

// await waits until something holds of every member.
func (c *crowd) await(what string, holds func(*subscriber) bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		missing := 0
		var one *subscriber
		for _, s := range c.members {
			if !holds(s) {
				missing++
				one = s
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(end) {
			top, seen := one.stands()
			c.t.Fatalf("%d of %d never %s; %s of %s at %d after %d publications, %d connects, last error %v", missing, len(c.members), what,
				one.name, one.channel, top, seen, one.connects.Load(), one.lastError.Load())
		}
	}
}

// heard waits until every member that listens to the channel was told that publication.
func (c *crowd) heard(channel, id string) {
	c.t.Helper()
	c.await("heard "+id, func(s *subscriber) bool { return s.channel != channel || s.has(id) })
}

// check compares all records with the ledger.
func (c *crowd) check(l *ledger) (v verdict) {
	c.t.Helper()
	for _, s := range c.members {
		one := l.check(&s.record)
		v.seen += one.seen
		v.recovered += one.recovered
		v.unrecovered += one.unrecovered
		for _, w := range one.wrong {
			if len(v.wrong) < 20 {
				c.t.Error(w)
			}
			v.wrong = append(v.wrong, w)
		}
	}
	for _, w := range l.stored() {
		c.t.Error(w)
	}
	return v
}

func (s *subscriber) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.session(ctx, s.nodes[s.at%len(s.nodes)])
		if err != nil && ctx.Err() == nil {
			s.amiss("%v", err)
		}
		s.at++
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(20+rand.IntN(100)) * time.Millisecond):
		}
	}
}

// session is one connection.
func (s *subscriber) session(ctx context.Context, n *node) error {
	dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second, ReadBufferSize: 2048, WriteBufferSize: 512}
	c, answer, err := dialer.DialContext(ctx, "ws://"+n.addr+"/connection/websocket", nil)
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // of an upgrade: nothing is in it
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	s.connects.Add(1)
	if err := s.ask(c, map[string]any{"connect": map[string]any{}}); err != nil {
		return err
	}
	for {
		// The server pings every second.
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, frame, err := c.ReadMessage()
		if err != nil {
			return err
		}
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			if err := s.line(ctx, c, line); err != nil {
				return err
			}
		}
	}
}

func (s *subscriber) ask(c *websocket.Conn, command map[string]any) error {
	s.requests++
	command["id"] = s.requests
	return c.WriteJSON(command)
}

func (s *subscriber) subscribe(c *websocket.Conn) error {
	request := map[string]any{"channel": s.channel}
	if !s.plain {
		request["recoverable"], request["positioned"] = true, true
	}
	if s.started {
		request["recover"], request["offset"], request["epoch"] = true, s.offset, s.epoch
	}
	return s.ask(c, map[string]any{"subscribe": request})
}

var errRefused = errors.New("refused")

func (s *subscriber) line(ctx context.Context, c *websocket.Conn, line []byte) error {
	if len(line) == 0 {
		return nil
	}
	if string(line) == "{}" { // a ping
		return c.WriteMessage(websocket.TextMessage, line)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	switch {
	case r.Error != nil && r.Error.Code == 100: // temporary
		s.amiss("error %d %s", r.Error.Code, r.Error.Message)
		select {
		case <-ctx.Done():
			return errStopped
		case <-time.After(time.Duration(50+rand.IntN(100)) * time.Millisecond):
		}
		return s.subscribe(c)
	case r.Error != nil:
		return fmt.Errorf("%w: error %d %s", errRefused, r.Error.Code, r.Error.Message)
	case r.Connect != nil:
		return s.subscribe(c)
	case r.Subscribe != nil:
		return s.subscribed(&r)
	case r.Push != nil:
		return s.push(c, &r)
	}
	return fmt.Errorf("neither reply nor push: %q", line)
}

func (s *subscriber) subscribed(r *reply) error {
	got := r.Subscribe
	if s.plain {
		s.note(event{epoch: "none"})
		return nil
	}
	if !got.Recoverable || !got.Positioned {
		return fmt.Errorf("%w: not recoverable", errRefused)
	}
	if s.started != got.WasRecovering {
		return fmt.Errorf("%w: was_recovering is %v", errRefused, got.WasRecovering)
	}
	s.note(event{offset: got.Offset, epoch: got.Epoch, asked: s.started, recovered: got.Recovered})
	if !got.Recovered {
		s.offset = got.Offset
	}
	s.epoch, s.started = got.Epoch, true
	for _, p := range got.Publications {
		s.take(p)
	}
	return nil
}

func (s *subscriber) take(p pub) {
	s.note(event{publication: true, offset: p.Offset, id: p.Data.ID})
	s.offset = p.Offset
}

func (s *subscriber) push(c *websocket.Conn, r *reply) error {
	switch p := r.Push; {
	case p.Pub != nil && p.Channel == s.channel:
		s.take(*p.Pub)
	case p.Pub != nil:
		return fmt.Errorf("%w: publication of %q", errRefused, p.Channel)
	case p.Unsubscribe != nil && p.Unsubscribe.Code >= 2500:
		s.amiss("unsubscribed %d %s", p.Unsubscribe.Code, p.Unsubscribe.Reason)
		return s.subscribe(c)
	case p.Unsubscribe != nil:
		return fmt.Errorf("%w: unsubscribed for good, %d %s", errRefused, p.Unsubscribe.Code, p.Unsubscribe.Reason)
	case p.Disconnect != nil:
		return fmt.Errorf("disconnect %d", p.Disconnect.Code)
	}
	return nil
}
