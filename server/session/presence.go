package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"hash/maphash"
	"strings"
	"sync"

	"throng/server/channel"
	"throng/server/wire"
)

// presence is the table of who is in which channel on this node, for subscriptions that appear in presence or tell their join and
// leave. Nothing in it can go stale:
// other nodes ask when they want to know, and a node that dies takes its clients along. Its locks are leaves.
//
// Source: centrifuge-protocol.md, 11 and 12; nats.md, presence.
type presence struct {
	seed    maphash.Seed
	stripes [presenceStripes]presenceStripe
}

const presenceStripes = 64

type presenceStripe struct {
	mu sync.Mutex
	m  map[string][]member
	_  [40]byte // own cache line
}

// member is a session as others see it. Immutable but for its place.
type member struct {
	id       [16]byte
	user     string
	connInfo []byte
	chanInfo []byte
	sub      *subscription // knows its place in the list
	flags    subFlags      // inPresence and tellsJoins
}

// listed are the flags of subscriptions that are in the table.
const listed = inPresence | tellsJoins

func (p *presence) init() {
	p.seed = maphash.MakeSeed()
	for i := range p.stripes {
		p.stripes[i].m = make(map[string][]member)
	}
}

func (p *presence) stripeOf(name string) *presenceStripe {
	return &p.stripes[maphash.String(p.seed, name)%presenceStripes]
}

func memberOf(s *Session, u *subscription) member {
	m := member{id: s.id, user: s.who.name, sub: u, flags: u.flags & listed}
	if s.extra != nil {
		m.connInfo = s.extra.info
	}
	if u.info != nil {
		m.chanInfo = *u.info
	}
	return m
}

// add enters u. Its name must stay as it is until remove.
func (p *presence) add(s *Session, u *subscription) {
	st := p.stripeOf(u.name)
	st.mu.Lock()
	defer st.mu.Unlock()
	list := st.m[u.name]
	u.at = uint32(len(list))
	st.m[u.name] = append(list, memberOf(s, u))
}

// update tells others the session's info as it is now.
func (p *presence) update(s *Session, u *subscription) {
	if !u.is(listed) || u.is(joining) {
		return
	}
	st := p.stripeOf(u.name)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.m[u.name][u.at] = memberOf(s, u)
}

func (p *presence) remove(u *subscription) {
	st := p.stripeOf(u.name)
	st.mu.Lock()
	defer st.mu.Unlock()
	list := st.m[u.name]
	last := len(list) - 1
	if last == 0 {
		delete(st.m, u.name)
		return
	}
	list[u.at] = list[last]
	list[u.at].sub.at = u.at
	list[last] = member{}
	list = list[:last]
	if cap(list) > 64 && last < cap(list)/4 {
		list = append(make([]member, 0, 2*last), list...) // give a crowd's memory back
	}
	st.m[u.name] = list
}

// snapshot returns at most limit members of a channel that have the flag, and how many there are.
func (p *presence) snapshot(name string, flag subFlags, limit int) (some []member, all int) {
	st := p.stripeOf(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.m[name] {
		m := &st.m[name][i]
		if m.flags&flag == 0 {
			continue
		}
		if all++; all <= limit {
			some = append(some, *m)
		}
	}
	return some, all
}

// The survey of presence: the first byte of a question says what is asked, the channel follows.
const (
	presenceOp = "presence"
	askWho     = 'w' // answer: one line of JSON for each client, as wire.AppendClientInfo writes it
	askCount   = 'c' // answer: number of clients as uvarint, then the hashes of their users, 8 bytes each, none twice
)

// maxUserHashes bounds an answer to askCount; NATS takes 1 MiB at most by default.
const maxUserHashes = 120_000

var (
	errQuestion = errors.New("session: this version does not know the question")
	errCrowd    = errors.New("session: more clients than a presence answer may hold")
)

// PresenceOp is the name of the survey that AnswerPresence answers.
const PresenceOp = presenceOp

// AnswerPresence answers another node's, or this one's, question about presence: the handler of the survey PresenceOp. It may
// be called by any goroutine but pollers: it takes milliseconds for thousands of clients.
func (v *Service) AnswerPresence(question []byte) ([]byte, error) {
	if len(question) == 0 {
		return nil, errQuestion
	}
	name := string(question[1:])
	switch question[0] {
	case askWho:
		return v.answerWho(name)
	case askCount:
		return v.answerCount(name)
	}
	return nil, errQuestion
}

func (v *Service) answerWho(name string) ([]byte, error) {
	list, n := v.presence.snapshot(name, inPresence, v.cfg.MaxPresence)
	if n > len(list) {
		return nil, errCrowd
	}
	var out []byte
	for i := range list {
		m := &list[i]
		info := wire.ClientInfo{User: m.user, Client: string(appendID(nil, &m.id)), ConnInfo: m.connInfo, ChanInfo: m.chanInfo}
		out = append(wire.AppendClientInfo(out, &info), '\n')
	}
	return out, nil
}

func (v *Service) answerCount(name string) ([]byte, error) {
	list, n := v.presence.snapshot(name, inPresence, 1<<30)
	out := binary.AppendUvarint(nil, uint64(n))
	seen := make(map[uint64]struct{}, len(list))
	for i := range list {
		h := fnv.New64a()
		_, _ = h.Write([]byte(list[i].user))
		sum := h.Sum64()
		if _, twice := seen[sum]; twice {
			continue
		}
		if len(seen) == maxUserHashes {
			return nil, errCrowd
		}
		seen[sum] = struct{}{}
		out = binary.BigEndian.AppendUint64(out, sum)
	}
	return out, nil
}

// ask puts a question to all nodes, or to this one where there are no others.
func (v *Service) askPresence(ctx context.Context, kind byte, name string) ([][]byte, error) {
	question := append([]byte{kind}, name...)
	if v.parts.Surveyor == nil {
		answer, err := v.AnswerPresence(question)
		return [][]byte{answer}, err
	}
	answers, silent, err := v.parts.Surveyor.Survey(ctx, presenceOp, question)
	if silent > 0 {
		v.stats.stripes[0].PartialPresence.Add(1)
	}
	return answers, err
}

// Presence lists who is in a channel on all nodes. Nodes that did not answer in time are missing in it and counted. Blocks; for
// the server API and the requests pool. An error means that nothing is known.
func (v *Service) Presence(ctx context.Context, name string) (*wire.PresenceResult, error) {
	answers, err := v.askPresence(ctx, askWho, name)
	if err != nil {
		return nil, err
	}
	r := &wire.PresenceResult{Presence: make(map[string]*wire.PresenceInfo)}
	for _, a := range answers {
		for line := range bytes.Lines(a) {
			info, ok := wire.ParseClientInfo(line)
			if !ok {
				continue
			}
			r.Presence[info.Client] = &wire.PresenceInfo{User: info.User, Client: info.Client, ConnInfo: info.ConnInfo, ChanInfo: info.ChanInfo}
		}
	}
	if len(r.Presence) > v.cfg.MaxPresence {
		return nil, errCrowd
	}
	return r, nil
}

// PresenceStats counts who is in a channel on all nodes. Otherwise as Presence.
func (v *Service) PresenceStats(ctx context.Context, name string) (*wire.PresenceStatsResult, error) {
	answers, err := v.askPresence(ctx, askCount, name)
	if err != nil {
		return nil, err
	}
	r := &wire.PresenceStatsResult{}
	seen := make(map[uint64]struct{})
	for _, a := range answers {
		n, size := binary.Uvarint(a)
		if size <= 0 {
			continue
		}
		r.NumClients += uint32(n)
		for a = a[size:]; len(a) >= 8; a = a[8:] {
			seen[binary.BigEndian.Uint64(a)] = struct{}{}
		}
	}
	r.NumUsers = uint32(len(seen))
	return r, nil
}

// presence answers who is in a channel, or how many. The answer is encoded on the requests pool too: it may be long.
func (s *Session) presence(t *turn, c *wire.Command) {
	verdict := s.service.rules.Load().CanPresence(c.Channel, s.reader(c.Channel))
	if verdict.Decision == channel.Refuse {
		s.fail(t, c.ID, verdict.Code)
		return
	}
	v, id, name, method, p := s.service, c.ID, strings.Clone(c.Channel), c.Method, s.mode.protocol
	s.ask(t, id, func(ctx context.Context) func(*turn) {
		reply := &wire.Reply{Id: id}
		var err error
		if method == wire.MethodPresence {
			reply.Presence, err = v.Presence(ctx, name)
		} else {
			reply.PresenceStats, err = v.PresenceStats(ctx, name)
		}
		if err == nil && p == wire.JSON {
			showAsJSON(reply.Presence)
		}
		var record []byte
		if err == nil {
			record, err = wire.AppendRecord(nil, 0, p, reply)
		}
		return func(t *turn) {
			switch {
			case errors.Is(err, errCrowd):
				t.fail(id, wire.ErrorLimitExceeded)
			case err != nil:
				t.fail(id, wire.ErrorInternal)
			default:
				t.record(record)
			}
		}
	})
}

// showAsJSON leaves out infos that are not JSON, which JSON clients cannot be shown.
func showAsJSON(r *wire.PresenceResult) {
	if r == nil {
		return
	}
	for _, info := range r.Presence {
		if info.ConnInfo != nil && !wire.ValidJSON(info.ConnInfo) {
			info.ConnInfo = nil
		}
		if info.ChanInfo != nil && !wire.ValidJSON(info.ChanInfo) {
			info.ChanInfo = nil
		}
	}
}
