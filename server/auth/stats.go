package auth

import "sync/atomic"

// Stats counts what happened. Both kinds of tokens share one; all fields may be read at any time.
type Stats struct {
	// Verified counts accepted tokens, Refused those that were not, by reason.
	Verified atomic.Uint64
	Refused  [numReasons]atomic.Uint64
	// NeedsFetch counts tokens that had to be handed on to VerifyBlocking.
	NeedsFetch atomic.Uint64
	// Fetches of JWKS endpoints, how many failed, how many were not made because of a limit, and how many keys of the
	// answers could not be used.
	Fetches        atomic.Uint64
	FetchFailures  atomic.Uint64
	FetchesLimited atomic.Uint64
	KeysSkipped    atomic.Uint64
	// Reloads that took effect.
	Reloads atomic.Uint64
}

func (s *Stats) count(err error) {
	switch e := err.(type) {
	case nil:
		s.Verified.Add(1)
	case *Error:
		s.Refused[e.Reason].Add(1)
	}
}
