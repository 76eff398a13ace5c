package session

import (
	"hash/maphash"
	"strings"
	"sync"
)

// users is the table of the node's connected sessions by user. Its locks are leaves.
type users struct {
	seed    maphash.Seed
	stripes [userStripes]userStripe
}

const userStripes = 64

type userStripe struct {
	mu sync.Mutex
	m  map[string]*user
	_  [40]byte // own cache line
}

// user is one user's sessions on this node. It stays in the table while there are any.
type user struct {
	name   string
	stripe *userStripe

	// Guarded by the stripe.
	first  *Session
	count  int
	budget bucket
}

func (t *users) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.stripes {
		t.stripes[i].m = make(map[string]*user)
	}
}

func (t *users) stripeOf(name string) *userStripe {
	return &t.stripes[maphash.String(t.seed, name)%userStripes]
}

// add enters s under its user, unless the user has an id and limit sessions already (0: no limit).
func (t *users) add(s *Session, name string, limit int) bool {
	st := t.stripeOf(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	u := st.m[name]
	if u == nil {
		u = &user{name: strings.Clone(name), stripe: st}
		st.m[u.name] = u
	}
	if name != "" && limit > 0 && u.count >= limit {
		return false
	}
	s.who, s.next = u, u.first
	if u.first != nil {
		u.first.prev = s
	}
	u.first = s
	u.count++
	return true
}

func (t *users) remove(s *Session) {
	u := s.who
	u.stripe.mu.Lock()
	defer u.stripe.mu.Unlock()
	if s.prev == nil {
		u.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.next, s.prev = nil, nil
	u.count--
	if u.count == 0 {
		delete(u.stripe.m, u.name)
	}
}

// of returns the sessions of a user.
func (t *users) of(name string) []*Session {
	st := t.stripeOf(name)
	st.mu.Lock()
	defer st.mu.Unlock()
	u := st.m[name]
	if u == nil {
		return nil
	}
	all := make([]*Session, 0, u.count)
	for s := u.first; s != nil; s = s.next {
		all = append(all, s)
	}
	return all
}

// count is how many users have sessions, the anonymous one included.
func (t *users) count() int {
	n := 0
	for i := range t.stripes {
		t.stripes[i].mu.Lock()
		n += len(t.stripes[i].m)
		t.stripes[i].mu.Unlock()
	}
	return n
}

// spend takes one command from the budget of a user with an id.
func (u *user) spend(now tick, rate, burst int) verdict {
	if rate == 0 || u.name == "" {
		return fits
	}
	u.stripe.mu.Lock()
	defer u.stripe.mu.Unlock()
	return u.budget.spend(now, rate, burst)
}
