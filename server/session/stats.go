package session

import (
	"sync/atomic"

	"throng/server/wire"
)

// counters are striped by Conn.Shard, so that pollers do not fight for cache lines.
type counters struct{ stripes [statStripes]stat }

const statStripes = 8

// stat is one stripe; its counters are those of Stats.
type stat struct {
	Opened             atomic.Uint64
	Commands           [wire.NumMethods]atomic.Uint64
	Pongs              atomic.Uint64
	BadFrames          atomic.Uint64
	RateLimited        atomic.Uint64
	RequestsFull       atomic.Uint64
	HookFailures       atomic.Uint64
	ServerUnsubscribes atomic.Uint64
	LostJoins          atomic.Uint64
	PartialPresence    atomic.Uint64
	PresenceSurveys    atomic.Uint64
	SharedPresence     atomic.Uint64
	Unconfirmed        atomic.Uint64
	NotJSON            atomic.Uint64
	sessions           atomic.Int64
	subscriptions      atomic.Int64
	_                  [64]byte
}

func (v *Service) stat(s *Session) *stat {
	return &v.stats.stripes[uint(s.conn.Shard())%statStripes]
}

// codeCounts counts by a code out of a few short ranges; the last place is for all others.
type codeCounts struct {
	errors [16]atomic.Uint64 // 100 to 114
	closes [26]atomic.Uint64 // 3000 to 3014, 3500 to 3509
}

func (c *codeCounts) countError(code wire.ErrorCode) {
	i := code - wire.ErrorInternal
	c.errors[min(i, wire.ErrorCode(len(c.errors)-1))].Add(1)
}

func (c *codeCounts) countClose(code wire.CloseCode) {
	c.closes[closePlace(code)].Add(1)
}

func closePlace(code wire.CloseCode) int {
	switch {
	case code >= 3000 && code <= 3014:
		return int(code - 3000)
	case code >= 3500 && code <= 3509:
		return int(code-3500) + 15
	}
	return 25
}

// Stats is a snapshot of counters since New and of present levels.
type Stats struct {
	Sessions      int // connected
	Subscriptions int // of these, server-side ones included
	Users         int // with at least one session, the anonymous one included

	Opened             uint64                    // sessions begun
	Commands           map[wire.Method]uint64    // by method; none is a command without payload
	Pongs              uint64                    // answers to pings
	BadFrames          uint64                    // frames that ended the connection: malformed, empty or too many commands
	RateLimited        uint64                    // commands refused with error 111 for coming too fast
	RequestsFull       uint64                    // commands refused because too many answers were awaited already
	HookFailures       uint64                    // refresh hooks that failed and are asked again
	Errors             map[wire.ErrorCode]uint64 // error replies by code; 0 is the application's own codes
	Disconnects        map[wire.CloseCode]uint64 // connections ended by sessions, by code; 0 is the application's own codes
	ServerUnsubscribes uint64                    // subscriptions ended by the server
	LostJoins          uint64                    // joins and leaves that the broker had no room for
	PartialPresence    uint64                    // presence surveys that some node did not answer: failed
	PresenceSurveys    uint64                    // questions about presence put to all nodes
	SharedPresence     uint64                    // presence commands answered out of the survey for another one
	Unconfirmed        uint64                    // subscriptions confirmed though NATS had not confirmed this node's interest, per frame
	NotJSON            uint64                    // publications left out of what JSON clients are told of the past, because they are not JSON
}

// Stats may be called by any goroutine.
func (v *Service) Stats() Stats {
	s := Stats{
		Users: v.users.count(), Commands: map[wire.Method]uint64{}, Errors: map[wire.ErrorCode]uint64{}, Disconnects: map[wire.CloseCode]uint64{},
	}
	for i := range v.stats.stripes {
		st := &v.stats.stripes[i]
		s.Sessions += int(st.sessions.Load())
		s.Subscriptions += int(st.subscriptions.Load())
		s.Opened += st.Opened.Load()
		s.Pongs += st.Pongs.Load()
		s.BadFrames += st.BadFrames.Load()
		s.RateLimited += st.RateLimited.Load()
		s.RequestsFull += st.RequestsFull.Load()
		s.HookFailures += st.HookFailures.Load()
		s.ServerUnsubscribes += st.ServerUnsubscribes.Load()
		s.LostJoins += st.LostJoins.Load()
		s.PartialPresence += st.PartialPresence.Load()
		s.PresenceSurveys += st.PresenceSurveys.Load()
		s.SharedPresence += st.SharedPresence.Load()
		s.Unconfirmed += st.Unconfirmed.Load()
		s.NotJSON += st.NotJSON.Load()
		for m := range st.Commands {
			s.Commands[wire.Method(m)] += st.Commands[m].Load()
		}
	}
	for i := range v.codes.errors {
		code := wire.ErrorInternal + wire.ErrorCode(i)
		if i == len(v.codes.errors)-1 {
			code = 0
		}
		s.Errors[code] = v.codes.errors[i].Load()
	}
	for code := wire.CloseCode(3000); code <= 3509; code++ {
		if place := closePlace(code); place != 25 {
			s.Disconnects[code] = v.codes.closes[place].Load()
		}
	}
	s.Disconnects[0] = v.codes.closes[25].Load()
	return s
}
