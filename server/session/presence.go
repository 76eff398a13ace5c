package session

import (
	"hash/maphash"
	"sync"
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
	m.chanInfo = u.info()
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

// size is how many of a channel's subscriptions are in the table.
func (p *presence) size(name string) int {
	st := p.stripeOf(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.m[name])
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
