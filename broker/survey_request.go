package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// single takes the answer to one question, in parts, or the first message of a service.
type single struct {
	collector
	first chan *nats.Msg // capacity 1; for services
	gone  chan struct{}  // capacity 1: nobody listens
}

// take implements waiter.
func (s *single) take(m *nats.Msg) {
	if isNoResponders(m) {
		trySignal(s.gone)
		return
	}
	if s.first != nil {
		select {
		case s.first <- m:
		default:
		}
		return
	}
	s.collector.take(m)
}

func (c *Control) ask(ctx context.Context, uid, op string, payload []byte) ([]byte, error) {
	if !goodOp(op) {
		return nil, errBadOp
	}
	if !goodUID(uid) {
		return nil, ErrNoNode
	}
	ctx, cancel, err := c.bound(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	c.count.asks.Add(1)
	if uid == c.self.UID {
		return c.answerSelf(ctx, op, payload)
	}
	if err := checkSize(len(payload), c.link.maxPayload()-headerRoom); err != nil {
		return nil, err
	}
	s := &single{gone: make(chan struct{}, 1), collector: collector{
		limit: c.cfg.MaxAnswerBytes, changed: make(chan struct{}, 1), alive: map[string]bool{},
		expected: map[string]Node{uid: {UID: uid}}, answers: map[string]*partial{},
	}}
	id, err := c.await(s)
	if err != nil {
		return nil, err
	}
	defer c.unawait(id)
	m := c.question(ctx, c.nodeSubject(uid), op, payload)
	m.Reply = c.answerSubject(id)
	if err := c.link.send(m); err != nil {
		return nil, err
	}
	for {
		select {
		case <-s.changed:
			if r := s.result(nil); len(r.Answers) == 1 {
				return r.Answers[0].Data, r.Answers[0].Err
			}
		case <-s.gone:
			return nil, ErrNoNode
		case <-c.stop:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Control) answerSelf(ctx context.Context, op string, payload []byte) ([]byte, error) {
	select {
	case a := <-c.askSelf(ctx, op, payload):
		return a.Data, a.Err
	case <-c.stop:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Control) request(ctx context.Context, r ServiceRequest) (ServiceReply, error) {
	if err := c.checkService(&r); err != nil {
		return ServiceReply{}, err
	}
	ctx, cancel, err := c.bound(ctx)
	if err != nil {
		return ServiceReply{}, err
	}
	defer cancel()
	c.count.requests.Add(1)
	s := &single{first: make(chan *nats.Msg, 1), gone: make(chan struct{}, 1)}
	id, err := c.await(s)
	if err != nil {
		return ServiceReply{}, err
	}
	defer c.unawait(id)
	m := &nats.Msg{Subject: r.Subject, Reply: c.answerSubject(id), Data: r.Data, Header: make(nats.Header, len(r.Header))}
	for k, v := range r.Header {
		m.Header[k] = []string{v}
	}
	if err := c.link.send(m); err != nil {
		return ServiceReply{}, err
	}
	select {
	case m := <-s.first:
		if code := header(m, "Nats-Service-Error-Code"); code != "" {
			return ServiceReply{}, &ServiceError{Code: code, Description: header(m, "Nats-Service-Error")}
		}
		return ServiceReply{Data: m.Data}, nil
	case <-s.gone:
		return ServiceReply{}, ErrNoService
	case <-c.stop:
		return ServiceReply{}, ErrClosed
	case <-ctx.Done():
		return ServiceReply{}, ctx.Err()
	}
}

func (c *Control) checkService(r *ServiceRequest) error {
	own := strings.HasPrefix(r.Subject+".", strings.TrimSuffix(c.prefix, "ctl."))
	if own || !literalSubject(r.Subject) {
		return fmt.Errorf("%w: %.80q", ErrBadSubject, r.Subject)
	}
	size := len(r.Data)
	for k, v := range r.Header {
		if !goodHeader(k, v) {
			return fmt.Errorf("%w: %.80q", ErrBadHeader, k)
		}
		size += len(k) + len(v) + len(": \r\n")
	}
	return checkSize(size, c.link.maxPayload()-headerRoom)
}

// literalSubject says whether s is one subject, without wildcards, that does not belong to NATS itself.
func literalSubject(s string) bool {
	if len(s) > maxMaxChannelBytes || strings.HasPrefix(s, "$") || strings.HasPrefix(s, "_") {
		return false
	}
	for token := range strings.SplitSeq(s, ".") {
		if !literalToken(token) {
			return false
		}
	}
	return true
}

// goodHeader refuses what NATS would trim, replace or read as something else, so that no value can pass for another.
func goodHeader(key, value string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] == ':' || key[i] >= 0x7f {
			return false
		}
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] == 0x7f {
			return false
		}
	}
	return key != "" && strings.TrimSpace(value) == value && utf8.ValidString(value)
}

// linkError names what nats.go says of a message that could not be sent.
func linkError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooBig, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrDisconnected, err)
}
