package livechat

import (
	"errors"
	"sync/atomic"

	"throng/server/hub"
)

// Stats is a snapshot of counters since New.
type Stats struct {
	Sessions         int    // open now
	Text             uint64 // text messages from clients
	Binary           uint64 // binary messages from clients
	Greetings        uint64 // sent, delayed ones included
	GreetingsEarly   uint64 // of these, sent without their delay because MaxGreetings were waiting
	GreetingsWaiting int    // for their delay, or to be dropped because the client left
	RefusedRooms     uint64 // joins refused for their room's name
	LostBusy         uint64 // messages lost: the broker's publish queue was full
	LostTooBig       uint64 // messages lost: larger than the broker takes
	LostDisconnected uint64 // messages lost: no link to the broker
	LostClosed       uint64 // messages lost: the broker is closed
	LostOther        uint64 // messages lost: any other error of the broker
}

type counters struct {
	sessions                                atomic.Int64
	text, binary                            atomic.Uint64
	greetings, greetingsEarly, refusedRooms atomic.Uint64
	lostBusy, lostTooBig                    atomic.Uint64
	lostDisconnected, lostClosed, lostOther atomic.Uint64
}

func (n *counters) lost(err error) {
	switch {
	case errors.Is(err, hub.ErrBusy):
		n.lostBusy.Add(1)
	case errors.Is(err, hub.ErrTooBig):
		n.lostTooBig.Add(1)
	case errors.Is(err, hub.ErrDisconnected):
		n.lostDisconnected.Add(1)
	case errors.Is(err, hub.ErrClosed):
		n.lostClosed.Add(1)
	default:
		n.lostOther.Add(1)
	}
}

// Stats may be called by any goroutine.
func (c *Chat) Stats() Stats {
	n := &c.stats
	s := Stats{
		Sessions:         int(n.sessions.Load()),
		Text:             n.text.Load(),
		Binary:           n.binary.Load(),
		Greetings:        n.greetings.Load(),
		GreetingsEarly:   n.greetingsEarly.Load(),
		RefusedRooms:     n.refusedRooms.Load(),
		LostBusy:         n.lostBusy.Load(),
		LostTooBig:       n.lostTooBig.Load(),
		LostDisconnected: n.lostDisconnected.Load(),
		LostClosed:       n.lostClosed.Load(),
		LostOther:        n.lostOther.Load(),
	}
	if c.greeter != nil {
		s.GreetingsWaiting = c.greeter.waiting()
	}
	return s
}
