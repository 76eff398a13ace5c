package auth

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrRevocationsFull: the list holds as many entries as it may, and none of them has run out.
var ErrRevocationsFull = errors.New("too many revocations: raise the limit, or withdraw the key instead")

// Revocations is a list of tokens that count no more although they are right: single ones by jti, or all that a user got
// up to some moment. It lives in memory; whoever owns it spreads entries to the other nodes, and asks Revoked about the
// connections that are open already. Any goroutine may use it; nothing blocks but for a leaf mutex.
//
// Source: reliability.md, S4; centrifuge-protocol.md, 7.1 (iat and jti serve revocation).
type Revocations struct {
	most  int
	count atomic.Int64 // entries; lets the usual case, none, pass without a lock

	mu    sync.RWMutex
	ids   map[string]int64 // jti -> unix second until which the entry is kept
	users map[string]userRevocation
}

type userRevocation struct {
	issuedUpTo int64 // tokens with iat up to this are revoked
	until      int64 // the entry is kept until this
}

// defaultRevocations is some 10 MiB at 100 bytes each.
const defaultRevocations = 100_000

// NewRevocations makes a list of at most that many entries; 0 means 100,000.
func NewRevocations(most int) *Revocations {
	if most <= 0 {
		most = defaultRevocations
	}
	return &Revocations{most: most, ids: map[string]int64{}, users: map[string]userRevocation{}}
}

// RevokeToken revokes the token with this jti. The entry is kept until the given time, which should be the token's exp
// plus the leeway. ErrRevocationsFull where there is no room.
func (r *Revocations) RevokeToken(id string, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.ids[id]; !known {
		if r.full() {
			return ErrRevocationsFull
		}
		r.count.Add(1)
	}
	r.ids[id] = max(r.ids[id], until.Unix())
	return nil
}

// RevokeUser revokes all tokens of user issued up to the given moment, and those that do not say when they were issued.
func (r *Revocations) RevokeUser(user string, issuedUpTo, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.users[user]
	if !known {
		if r.full() {
			return ErrRevocationsFull
		}
		r.count.Add(1)
	}
	r.users[user] = userRevocation{max(old.issuedUpTo, issuedUpTo.Unix()), max(old.until, until.Unix())}
	return nil
}

func (r *Revocations) full() bool { return len(r.ids)+len(r.users) >= r.most }

// Revoked tells whether a token of user with this jti and iat is revoked. No allocation; no lock while the list is empty.
func (r *Revocations) Revoked(user, id string, issuedAt int64) bool {
	if r.count.Load() == 0 {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ok := r.ids[id]; ok && id != "" {
		return true
	}
	u, ok := r.users[user]
	return ok && issuedAt <= u.issuedUpTo
}

// Sweep forgets entries that have run out and returns how many. The owner calls it every minute or so.
func (r *Revocations) Sweep(now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.ids) + len(r.users)
	for id, until := range r.ids {
		if now.Unix() > until {
			delete(r.ids, id)
		}
	}
	for user, u := range r.users {
		if now.Unix() > u.until {
			delete(r.users, user)
		}
	}
	gone := before - len(r.ids) - len(r.users)
	r.count.Add(int64(-gone))
	return gone
}
