package broker

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// wide hears many channels by one NATS subscription on all of them, and sorts out which messages this node wants. A
// subscription costs nats.go and nats-server about 1,000 bytes; a name in a table here costs 30, and every message of every channel
// costs this node the look at it. So the publisher begins to use it beyond Limits.WideInterest channels (publisher_wide.go).
//
// No channel changes over while it has subscribers: those heard by subscriptions of their own stay so until they end, and only
// new ones come here. So there is one source of messages for each channel, and copies by the other are dropped. The one
// exception is the way back, when few channels are left (move).
//
// Order on the NATS connection decides what counts: a change of the table is a marker in the channel through which the messages
// come. The sorter's goroutine alone has the table. It never blocks: a message for a reader whose channel is full is dropped and
// counted, so nats.go's read loop finds room, and no channel waits for another one's Handler. Where nats.go finds none all the same
// it drops, and what it drops counts as lost (LostReaderFull) whether or not anybody wanted it.
type wide struct {
	n       *NATS
	subject string         // of the wide subscription
	in      chan *nats.Msg // messages by nats.go, markers by do
	stop    chan struct{}
	done    chan struct{} // closed when the goroutine has ended
	helpers sync.WaitGroup

	mu    sync.Mutex
	asked []func() // what the markers stand for, in their order

	heard    atomic.Int64  // len(wanted)
	unwanted atomic.Uint64 // messages heard for nothing

	// The goroutine's own.
	wanted map[string]struct{}
	moves  map[string]*move
	seed   maphash.Seed
	quiet  *time.Ticker            // runs while there are moves
	full   map[chan *nats.Msg]bool // readers whose channel took no more the last time
	ending bool                    // nats.go has ended, so pass may wait for the readers
}

// marker is a place in the order of messages.
var marker = new(nats.Msg)

func startWide(n *NATS) *wide {
	w := &wide{
		n: n, subject: n.codec.live + ">",
		in:   make(chan *nats.Msg, n.cfg.Limits.Readers*n.cfg.Limits.ReaderMessages), // what it feeds can hold
		stop: make(chan struct{}), done: make(chan struct{}),
		wanted: make(map[string]struct{}), moves: make(map[string]*move), full: make(map[chan *nats.Msg]bool),
		seed: maphash.MakeSeed(), quiet: time.NewTicker(moveTick),
	}
	w.quiet.Stop()
	go w.run()
	return w
}

// do runs fn in the sorter's goroutine, after all messages received so far. It may block for as long as those take; it does
// nothing once the sorter has ended.
func (w *wide) do(fn func()) {
	w.mu.Lock()
	w.asked = append(w.asked, fn)
	w.mu.Unlock()
	select {
	case w.in <- marker:
	case <-w.done:
	}
}

// change has channels heard or not from now on.
func (w *wide) change(join, leave []string) {
	if len(join)+len(leave) == 0 {
		return
	}
	w.do(func() {
		for _, c := range join {
			w.wanted[c] = struct{}{}
		}
		for _, c := range leave {
			w.forget(c)
		}
		w.counted()
	})
}

// names returns all channels heard.
func (w *wide) names() []string {
	answer := make(chan []string, 1)
	w.do(func() {
		names := make([]string, 0, len(w.wanted))
		for c := range w.wanted {
			names = append(names, c)
		}
		answer <- names
	})
	select {
	case names := <-answer:
		return names
	case <-w.done:
		return nil
	}
}

// settle returns when all that was received before the call is in the readers' channels.
func (w *wide) settle(ctx context.Context) error {
	passed := make(chan struct{})
	w.do(func() { close(passed) })
	select {
	case <-passed:
		return nil
	case <-w.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish hands on what was received and ends the goroutine. nats.go must not send any more.
func (w *wide) finish() {
	close(w.stop)
	<-w.done
	w.helpers.Wait()
}

func (w *wide) run() {
	defer close(w.done)
	defer w.quiet.Stop()
	for {
		// The common case apart: a select of one channel costs a fraction of one of three.
		select {
		case m := <-w.in:
			w.take(m)
			continue
		default:
		}
		select {
		case m := <-w.in:
			w.take(m)
		case now := <-w.quiet.C:
			w.endQuietMoves(now)
		case <-w.stop:
			w.ending = true
			for len(w.in) > 0 {
				w.take(<-w.in)
			}
			return
		}
	}
}

func (w *wide) take(m *nats.Msg) {
	if m == marker {
		w.mu.Lock()
		fn := w.asked[0]
		w.asked[0] = nil
		w.asked = w.asked[1:]
		w.mu.Unlock()
		fn()
		return
	}
	channel, ok := w.n.codec.channel(m.Subject)
	_, wanted := w.wanted[channel]
	byWide := m.Sub.Subject == w.subject
	switch {
	case ok && wanted == byWide:
		w.pass(channel, m)
	case byWide:
		w.unwanted.Add(1)
	}
	if len(w.moves) > 0 {
		w.watch(channel, m.Data, byWide)
	}
}

// pass hands a message to its channel's reader, as nats.go does it with subscriptions of their own.
func (w *wide) pass(channel string, m *nats.Msg) {
	reader := w.n.readers.of(channel)
	if w.ending {
		reader <- m
		return
	}
	select {
	case reader <- m:
		if len(w.full) > 0 {
			delete(w.full, reader)
		}
	default:
		w.n.count.lose(LostReaderFull, 1)
		if !w.full[reader] {
			w.full[reader] = true
			w.n.overflowed(m.Subject)
		}
	}
}

func (w *wide) forget(channel string) {
	delete(w.wanted, channel)
	delete(w.moves, channel)
}

// counted follows every change of the table. Go maps do not shrink, so an empty one begins anew.
func (w *wide) counted() {
	if len(w.wanted) == 0 {
		w.wanted = make(map[string]struct{})
		w.n.queue.signal() // the publisher may want to end the wide subscription
	}
	if len(w.moves) == 0 {
		w.quiet.Stop()
	}
	w.heard.Store(int64(len(w.wanted)))
}
