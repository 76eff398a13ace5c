package broker

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// switchboard carries control messages between the members of a Bus, with NATS's manners: nobody waits, a full channel
// drops, and a request on a subject without a listener is answered with "no responders".
type switchboard struct {
	mu        sync.RWMutex // leaf
	listeners []*listener
	services  map[string]ServiceFunc
}

type listener struct {
	member  *Memory
	pattern string
	into    chan *nats.Msg
}

// ServiceFunc answers the requests that Control.Request sends to one subject of a Bus, as a NATS service would. It is
// called in the caller's goroutine. A *ServiceError reaches the caller; any other error means no answer at all.
type ServiceFunc func(r ServiceRequest) ([]byte, error)

// Serve puts a service on a subject of the bus, for tests of what calls NATS services. Nil takes it away.
func (b *Bus) Serve(subject string, fn ServiceFunc) {
	b.control.mu.Lock()
	defer b.control.mu.Unlock()
	if b.control.services == nil {
		b.control.services = make(map[string]ServiceFunc)
	}
	b.control.services[subject] = fn
}

// memoryControl is the control plane's link between members of a Bus.
type memoryControl struct{ m *Memory }

func (l *memoryControl) listen(subjects []string, into chan *nats.Msg) (func(), error) {
	s := &l.m.bus.control
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, subject := range subjects {
		s.listeners = append(slices.Clip(s.listeners), &listener{member: l.m, pattern: subject, into: into})
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listeners = slices.DeleteFunc(slices.Clone(s.listeners), func(o *listener) bool { return o.into == into })
	}, nil
}

func (l *memoryControl) send(m *nats.Msg) error {
	switch {
	case l.m.shutting.Load():
		return ErrClosed
	case l.m.bus.down.Load():
		return ErrDisconnected
	}
	if err := checkSize(m.Size()-len(m.Subject)-len(m.Reply), l.maxPayload()); err != nil {
		return err
	}
	if heard := l.m.bus.control.carry(m); heard || m.Reply == "" {
		return nil
	}
	if l.serve(m) {
		return nil
	}
	l.m.bus.control.carry(&nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"503"}}})
	return nil
}

// carry gives everyone who listens a message of his own.
func (s *switchboard) carry(m *nats.Msg) (heard bool) {
	s.mu.RLock()
	listeners := s.listeners
	s.mu.RUnlock()
	for _, o := range listeners {
		if o.member.shutting.Load() || !matches(o.pattern, m.Subject) {
			continue
		}
		heard = true
		own := &nats.Msg{Subject: m.Subject, Reply: m.Reply, Header: m.Header, Data: bytes.Clone(m.Data)}
		select {
		case o.into <- own:
		default:
		}
	}
	return heard
}

func matches(pattern, subject string) bool {
	before, star := strings.CutSuffix(pattern, "*")
	if !star {
		return pattern == subject
	}
	rest, ok := strings.CutPrefix(subject, before)
	return ok && rest != "" && !strings.Contains(rest, ".")
}

func (l *memoryControl) serve(m *nats.Msg) bool {
	s := &l.m.bus.control
	s.mu.RLock()
	fn := s.services[m.Subject]
	s.mu.RUnlock()
	if fn == nil {
		return false
	}
	r := ServiceRequest{Subject: m.Subject, Data: bytes.Clone(m.Data), Header: make(map[string]string)}
	for k, v := range m.Header {
		r.Header[k] = v[0]
	}
	data, err := fn(r)
	answer := &nats.Msg{Subject: m.Reply, Data: data, Header: nats.Header{}}
	if err != nil {
		failure, ok := err.(*ServiceError)
		if !ok {
			return true
		}
		answer.Header["Nats-Service-Error-Code"] = []string{failure.Code}
		answer.Header["Nats-Service-Error"] = []string{failure.Description}
	}
	s.carry(answer)
	return true
}

func (l *memoryControl) settle(context.Context) error { return nil }

// up counts the times the bus was up for this member, as NATS counts connects.
func (l *memoryControl) up() uint64 {
	if l.m.bus.down.Load() || l.m.shutting.Load() {
		return 0
	}
	return l.m.count.reconnects.Load() + 1
}

func (l *memoryControl) maxPayload() int { return l.m.limits.MaxMessageBytes }

func (l *memoryControl) announce(*Control) (func(), error) { return func() {}, nil }
