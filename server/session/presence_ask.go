package session

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"throng/server/channel"
	"throng/server/wire"
)

// inquiries are the questions about presence that are under way or were answered a moment ago, by what is asked: whoever asks
// the same shares the answer. Its lock is a leaf.
type inquiries struct {
	mu sync.Mutex
	m  map[string]*inquiry
}

// inquiry is one question to the other nodes.
type inquiry struct {
	done   chan struct{}
	others *others // these two once done is closed
	err    error
}

// enter returns the inquiry under a key; mine says that the caller has to carry it out.
func (q *inquiries) enter(key string) (one *inquiry, mine bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if one := q.m[key]; one != nil {
		return one, false
	}
	if q.m == nil {
		q.m = make(map[string]*inquiry)
	}
	one = &inquiry{done: make(chan struct{}), err: errSilent}
	q.m[key] = one
	return one, true
}

func (q *inquiries) forget(key string) {
	q.mu.Lock()
	delete(q.m, key)
	q.mu.Unlock()
}

// peek returns an answer there is already, or nil.
func (q *inquiries) peek(key string) *others {
	q.mu.Lock()
	one := q.m[key]
	q.mu.Unlock()
	if one == nil {
		return nil
	}
	select {
	case <-one.done:
		return one.others
	default:
		return nil
	}
}

// askOthers asks the other nodes about a channel, or shares in an answer that is at most Config.PresenceReuse old. What is on
// this node is for the caller to add: it must see its own doing.
func (v *Service) askOthers(ctx context.Context, kind byte, name string) (*others, error) {
	if v.parts.Surveyor == nil {
		return &others{}, nil
	}
	key := string(kind) + name
	one, mine := v.inquiries.enter(key)
	if !mine {
		v.stats.stripes[0].SharedPresence.Add(1)
		select {
		case <-one.done:
			return one.others, one.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() {
		close(one.done)
		if one.err != nil || v.cfg.PresenceReuse <= 0 {
			v.inquiries.forget(key)
			return
		}
		time.AfterFunc(v.cfg.PresenceReuse, func() { v.inquiries.forget(key) })
	}()
	one.others, one.err = v.survey(ctx, kind, name)
	return one.others, one.err
}

func (v *Service) survey(ctx context.Context, kind byte, name string) (*others, error) {
	v.stats.stripes[0].PresenceSurveys.Add(1)
	question := append([]byte{kind}, v.parts.UID+"\n"+name...)
	answers, silent, err := v.parts.Surveyor.Survey(ctx, presenceOp, question)
	switch {
	case err != nil:
		return nil, err
	case silent > 0:
		v.stats.stripes[0].PartialPresence.Add(1)
		return nil, errSilent
	}
	return v.readAnswers(kind, answers)
}

// Presence lists who is in a channel on all nodes. Blocks; for the requests pool. An error means that some node may have clients
// that are not known of.
func (v *Service) Presence(ctx context.Context, name string) (*wire.PresenceResult, error) {
	o, err := v.askOthers(ctx, askWho, name)
	if err != nil {
		return nil, err
	}
	return v.list(o, name, wire.Protobuf)
}

// list is o and who is here.
func (v *Service) list(o *others, name string, p wire.Protocol) (*wire.PresenceResult, error) {
	here, n := v.presence.snapshot(name, inPresence, v.cfg.MaxPresence-len(o.who))
	if n > len(here) {
		return nil, errCrowd
	}
	r := &wire.PresenceResult{Presence: make(map[string]*wire.PresenceInfo, n+len(o.who))}
	enter := func(s shownInfo) {
		info := s.whole
		if p == wire.JSON {
			info = s.json
		}
		r.Presence[info.Client] = info
	}
	for _, s := range o.who {
		enter(s)
	}
	for _, info := range infosOf(here) {
		enter(shown(&info))
	}
	return r, nil
}

// PresenceStats counts who is in a channel on all nodes. Otherwise as Presence.
func (v *Service) PresenceStats(ctx context.Context, name string) (*wire.PresenceStatsResult, error) {
	o, err := v.askOthers(ctx, askCount, name)
	if err != nil {
		return nil, err
	}
	return v.sum(o, name), nil
}

// sum is o and who is here.
func (v *Service) sum(o *others, name string) *wire.PresenceStatsResult {
	n, users := v.countUsers(name)
	r := &wire.PresenceStatsResult{NumClients: o.clients + uint32(n), NumUsers: uint32(len(o.users))}
	for sum := range users {
		if _, twice := o.users[sum]; !twice {
			r.NumUsers++
		}
	}
	return r
}

// smallPresence is how many clients a poller lists by itself, when the other nodes' answer is there: some 100 us.
const smallPresence = 64

// presence answers who is in a channel, or how many. A long answer is encoded on the requests pool too.
func (s *Session) presence(t *turn, c *wire.Command) {
	verdict := s.service.rules.Load().CanPresence(c.Channel, s.reader(c.Channel))
	if verdict.Decision == channel.Refuse {
		s.fail(t, c.ID, verdict.Code)
		return
	}
	v, id, method, p := s.service, c.ID, c.Method, s.mode.protocol
	if o := v.known(method, c.Channel); o != nil {
		record, err := v.presenceRecord(id, method, c.Channel, p, o)
		t.presence(id, record, err)
		return
	}
	name := strings.Clone(c.Channel)
	s.ask(t, id, func(ctx context.Context) func(*turn) {
		o, err := v.askOthers(ctx, kindOf(method), name)
		var record []byte
		if err == nil {
			record, err = v.presenceRecord(id, method, name, p, o)
		}
		return func(t *turn) { t.presence(id, record, err) }
	})
}

func kindOf(m wire.Method) byte {
	if m == wire.MethodPresence {
		return askWho
	}
	return askCount
}

// known is what the other nodes said, if nobody has to be waited for and the answer is short.
func (v *Service) known(m wire.Method, name string) *others {
	o := &others{}
	if v.parts.Surveyor != nil {
		if o = v.inquiries.peek(string(kindOf(m)) + name); o == nil {
			return nil
		}
		v.stats.stripes[0].SharedPresence.Add(1)
	}
	if len(o.who)+v.presence.size(name) > smallPresence {
		return nil
	}
	return o
}

// presenceRecord is the whole reply.
func (v *Service) presenceRecord(id uint32, m wire.Method, name string, p wire.Protocol, o *others) ([]byte, error) {
	reply := &wire.Reply{Id: id}
	if m == wire.MethodPresence {
		var err error
		if reply.Presence, err = v.list(o, name, p); err != nil {
			return nil, err
		}
	} else {
		reply.PresenceStats = v.sum(o, name)
	}
	return wire.AppendRecord(nil, 0, p, reply)
}

func (t *turn) presence(id uint32, record []byte, err error) {
	switch {
	case errors.Is(err, errCrowd):
		t.fail(id, wire.ErrorLimitExceeded)
	case err != nil:
		t.fail(id, wire.ErrorInternal)
	default:
		t.record(record)
	}
}
