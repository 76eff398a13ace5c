package session

import (
	"context"
	"sync"

	"throng/server/channel"
	"throng/server/wire"
)

// waiting is a session that awaits answers: those that its last command needs, or NATS's word that publications are stored.
// Meanwhile it keeps what is said to it. It is the owner's.
type waiting struct {
	frames [][]byte
	bytes  int
	later  []func(*turn) // what the server wants, see whenFree

	left   int         // answers still awaited
	before func(*turn) // what comes after that of earlier commands of the frame
	then   func(*turn) // what comes after that of the last command

	acks *acks // publications that are being stored; more of them may follow
	shut bool  // but not now: something else has to come first
}

// busy tells whether what the client says has to wait.
func (w *waiting) busy() bool { return w != nil && (w.acks == nil || w.shut) }

// wait makes the session wait, if it does not already.
func (s *Session) wait() *waiting {
	if s.waiting == nil {
		s.waiting = &waiting{}
	}
	return s.waiting
}

// keep stores what the client says while an answer is awaited.
func (s *Session) keep(p []byte) {
	w := s.waiting
	w.bytes += len(p)
	if w.bytes > s.service.cfg.MaxPending {
		s.disconnect(nil, wire.CloseTooManyRequests)
		return
	}
	w.frames = append(w.frames, append([]byte(nil), p...))
}

// ask hands work to the requests pool; what it returns goes on as the session's owner. Until then commands wait. False, and
// error 111 to command id if there is one, if the pool is full. work must not touch the session.
func (s *Session) ask(t *turn, id uint32, work func(context.Context) func(*turn)) bool {
	timeout := s.service.cfg.RequestTimeout
	s.wait().left++
	accepted := s.service.parts.Requests.Go(func() {
		posted := false
		defer func() {
			if !posted { // a panic: the client would wait for ever
				s.conn.Close(wire.CloseServerError, wire.CloseServerError.Reason())
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		then := work(ctx)
		posted = true
		s.goOn(func(w *waiting) { w.then = then })
	})
	if !accepted {
		if s.waiting.left--; s.waiting.left == 0 {
			s.waiting = nil
		}
		s.service.stat(s).RequestsFull.Add(1)
	}
	if !accepted && id != 0 {
		t.fail(id, wire.ErrorTooManyRequests)
	}
	return accepted
}

// goOn posts an answer that was awaited; with the last one the session goes on. An owner without room for it has no room for its
// client, who would wait for ever.
func (s *Session) goOn(answer func(*waiting)) {
	posted := s.conn.Post(func() {
		w := s.waiting
		if s.state == over || w == nil {
			return
		}
		answer(w)
		if w.left--; w.left == 0 && w.acks == nil {
			s.resume(w)
		}
	})
	if !posted {
		s.conn.Close(wire.CloseServerError, wire.CloseServerError.Reason())
	}
}

// resume goes on with the answers, then with what the server and the client wanted meanwhile.
func (s *Session) resume(w *waiting) {
	s.waiting = nil
	t := begin(s)
	defer t.end()
	if w.before != nil {
		w.before(t)
	}
	if w.then != nil {
		w.then(t)
	}
	s.catchUp(t, w)
}

func (s *Session) catchUp(t *turn, w *waiting) {
	for _, f := range w.later {
		s.whenFree(t, f)
	}
	for _, frame := range w.frames {
		switch {
		case s.state == over:
			return
		case s.waiting.busy():
			s.keep(frame)
		default:
			s.read(t, frame)
		}
	}
}

// whenFree runs f, which changes what the client is told about channels, at once, or when the answer that is awaited has been
// given: it may be about the same channel.
func (s *Session) whenFree(t *turn, f func(*turn)) {
	if s.waiting == nil && s.state == connected && !t.commit() || s.waiting != nil {
		s.waiting.later = append(s.waiting.later, f)
		s.waiting.shut = true
		return
	}
	if s.state == connected {
		f(t)
	}
}

// acks are publications on their way into streams. Their replies leave in the order of the commands, whichever is stored first.
type acks struct {
	mu     sync.Mutex
	slots  []ack
	first  uint64 // number of slots[0]
	posted bool   // the owner will look
}

type ack struct {
	id   uint32 // of the command
	done bool
	err  error
}

// inStep tells whether a command may be carried out though publications have not been answered yet: only another publication
// that will be stored, or its reply would overtake theirs.
func (s *Session) inStep(c *wire.Command) bool {
	w := s.waiting
	if w == nil {
		return true
	}
	w.shut = true
	if c.Method != wire.MethodPublish || w.acks.waiting() >= s.service.cfg.MaxStoring {
		return false
	}
	rules := s.service.rules.Load()
	verdict := rules.CanPublish(c.Channel, channel.Client{User: s.who.name, Subscribed: s.find(c.Channel) != nil}, c.Data)
	w.shut = verdict.Decision != channel.Grant || !rules.KeepsHistory(&verdict.Channel)
	return !w.shut
}

func (a *acks) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.slots)
}

// storing notes a publication that is about to be stored and returns what takes the outcome, on any goroutine.
func (s *Session) storing(id uint32) (done func(error)) {
	w := s.wait()
	if w.acks == nil {
		w.acks = &acks{}
	}
	a := w.acks
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.first + uint64(len(a.slots))
	a.slots = append(a.slots, ack{id: id})
	return func(err error) { s.stored(a, n, err) }
}

func (s *Session) stored(a *acks, n uint64, err error) {
	a.mu.Lock()
	slot := &a.slots[n-a.first]
	slot.done, slot.err = true, err
	post := a.slots[0].done && !a.posted
	a.posted = a.posted || post
	a.mu.Unlock()
	if post && !s.conn.Post(func() { s.answerStored(a) }) {
		s.conn.Close(wire.CloseServerError, wire.CloseServerError.Reason())
	}
}

// answerStored answers the publications that are stored, up to the first that is not, in one frame.
func (s *Session) answerStored(a *acks) {
	w := s.waiting
	if s.state == over || w == nil {
		return
	}
	t := begin(s)
	defer t.end()
	a.mu.Lock()
	n := 0
	for ; n < len(a.slots) && a.slots[n].done; n++ {
		t.published(a.slots[n].id, a.slots[n].err)
	}
	a.slots = append(a.slots[:0], a.slots[n:]...)
	a.first += uint64(n)
	a.posted = false
	rest := len(a.slots)
	a.mu.Unlock()
	if rest > 0 {
		return
	}
	if w.acks = nil; w.left == 0 {
		s.waiting = nil
		s.catchUp(t, w)
	}
}
