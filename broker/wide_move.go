package broker

import (
	"hash/maphash"
	"time"
)

// move is a channel on its way from the wide subscription to one of its own. Each of its messages comes twice meanwhile, by
// both; the wide one's copy counts, until the change to the other, which must not fall between the two copies of one
// message: that would lose it or double it. The server queues both at once as a rule, yet copies of other messages may come
// between, and nothing in a message tells its twin. Therefore the change waits for one of these moments:
//
//   - a message's second copy, after which every copy seen since a quiet moment has had its twin, of the same content;
//   - a long silence, once NATS has confirmed that the new subscription is in force.
//
// The silence before the watch begins is what makes sure that no twin belongs to a message from before. Messages of the
// channel's own subscription come through the sorter too, and go on to do so, so that one goroutine sees all in order.
type move struct {
	confirmed bool // the own subscription is in force
	last      time.Time
	since     time.Time      // of the watch
	open      map[uint64]int // by content: copies by the own subscription less copies by the wide one; nil: no watch
}

const (
	// moveQuiet is the silence before a watch: a thousand times what lies between two copies.
	moveQuiet = 20 * time.Millisecond
	// moveSilence is the silence that needs no watch: more than any stall of a server that still lives.
	moveSilence = 2 * time.Second
	// moveRestart and moveOpen bound a watch, which a lost copy leaves open for ever, by time and by copies without a twin.
	moveRestart = 5 * time.Second
	moveOpen    = 4096
	moveTick    = 250 * time.Millisecond
)

// begin starts the moves of channels that have a subscription of their own now. Their copies may have come already.
func (w *wide) begin(channels []string) {
	w.do(func() {
		now := time.Now()
		for _, c := range channels {
			if _, wanted := w.wanted[c]; wanted {
				w.moves[c] = &move{last: now}
			}
		}
		if len(w.moves) > 0 {
			w.quiet.Reset(moveTick)
		}
	})
}

// confirm says that the subscriptions of all moves so far are in force; with false, after a lost link, that none is and that
// copies may be missing.
func (w *wide) confirm(inForce bool) {
	w.do(func() {
		for _, mv := range w.moves {
			mv.confirmed = inForce
			if !inForce {
				mv.open, mv.last = nil, time.Now()
			}
		}
	})
}

// watch looks at one copy, which has been judged already, and ends the move of its channel when it may.
func (w *wide) watch(channel string, data []byte, byWide bool) {
	mv := w.moves[channel]
	if mv == nil {
		return
	}
	now := time.Now()
	silence := now.Sub(mv.last)
	mv.last = now
	if mv.open == nil || now.Sub(mv.since) > moveRestart || len(mv.open) > moveOpen {
		mv.open = nil
		if !mv.confirmed || silence < moveQuiet {
			return
		}
		mv.open, mv.since = make(map[uint64]int), now
	}
	content, step := maphash.Bytes(w.seed, data), 1
	if byWide {
		step = -1
	}
	if mv.open[content] += step; mv.open[content] == 0 {
		delete(mv.open, content)
	}
	if len(mv.open) == 0 {
		w.forget(channel)
		w.counted()
	}
}

func (w *wide) endQuietMoves(now time.Time) {
	for channel, mv := range w.moves {
		if mv.confirmed && now.Sub(mv.last) >= moveSilence {
			w.forget(channel)
		}
	}
	w.counted()
}
