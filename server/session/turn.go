package session

import (
	"context"
	"strings"
	"sync"

	"throng/server/wire"
)

// turn is what one entry into a session gathers: replies, which leave as one frame, and subscriptions whose reply is among
// them, which enter the hub behind it. Borrowed from a pool from begin to end.
type turn struct {
	s       *Session
	reader  wire.CommandReader
	command wire.Command
	out     []byte // payload of the reply frame
	joining []*subscription

	info wire.ClientInfo // of a publication on its way
	meta wire.Meta
	id   [36]byte
}

// frameSize is when gathered replies leave though there are more to come, bytes.
const frameSize = 16 << 10

// keptOut bounds the memory for replies that a turn takes back to the pool, bytes.
const keptOut = 2 * frameSize

var turns = sync.Pool{New: func() any { return new(turn) }}

func begin(s *Session) *turn {
	t := turns.Get().(*turn)
	t.s = s
	return t
}

func (t *turn) end() {
	t.commit()
	t.s = nil
	t.info, t.meta = wire.ClientInfo{}, wire.Meta{}
	t.reader.Reset(wire.JSON, nil, 0)
	if cap(t.out) > keptOut {
		t.out = nil
	}
	turns.Put(t)
}

// commit sends the replies gathered so far, then lets the subscriptions they confirmed into the hub.
func (t *turn) commit() {
	t.send()
	for i, sub := range t.joining {
		t.joining[i] = nil
		if t.s.state == connected {
			t.s.enter(sub)
		}
	}
	t.joining = t.joining[:0]
}

func (t *turn) send() {
	if len(t.out) == 0 {
		return
	}
	t.s.send(t.out)
	t.out = t.out[:0]
}

// send hands a payload to the connection as a frame of its own, which is the one allocation of an answer.
func (s *Session) send(payload []byte) {
	frame := make([]byte, 0, len(payload)+wire.MaxHeader)
	s.conn.Send(wire.AppendFrame(frame, s.mode.protocol.Opcode(), payload))
}

// room sends what is gathered when it has become much.
func (t *turn) room() {
	if len(t.out) >= frameSize {
		t.send()
	}
}

// done answers a command whose result has no content.
func (t *turn) done(id uint32, m wire.Method) {
	t.out = wire.AppendEmpty(t.out, 0, t.s.mode.protocol, id, m)
	t.room()
}

// fail answers a command with an error.
func (t *turn) fail(id uint32, code wire.ErrorCode) {
	t.s.service.codes.countError(code)
	t.out = wire.AppendError(t.out, 0, t.s.mode.protocol, id, code)
	t.room()
}

// reply answers a command. What cannot be said in the client's encoding ends the connection: it asked for the wrong one.
func (t *turn) reply(r *wire.Reply) {
	out, err := wire.AppendRecord(t.out, 0, t.s.mode.protocol, r)
	if err != nil {
		t.s.disconnect(t, wire.CloseInappropriate)
		return
	}
	t.out = out
	t.room()
}

// push tells the client something that is no reply, in order with the replies.
func (t *turn) push(p *wire.Push) { t.reply(&wire.Reply{Push: p}) }

// record answers with what was encoded elsewhere.
func (t *turn) record(r []byte) {
	if t.s.mode.protocol == wire.JSON && len(t.out) > 0 {
		t.out = append(t.out, '\n')
	}
	t.out = append(t.out, r...)
	t.room()
}

// ask hands work to the requests pool; what it returns goes on as the session's owner. Until then commands wait. False, and
// error 111 to command id if there is one, if the pool is full. work must not touch the session.
func (s *Session) ask(t *turn, id uint32, work func(context.Context) func(*turn)) bool {
	timeout := s.service.cfg.RequestTimeout
	s.waiting = &waiting{}
	accepted := s.service.parts.Requests.Go(func() {
		posted := false
		defer func() {
			if !posted { // a panic, or an owner with no room: the client would wait for ever
				s.conn.Close(wire.CloseServerError, wire.CloseServerError.Reason())
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		then := work(ctx)
		posted = s.conn.Post(func() { s.resume(then) })
	})
	if !accepted {
		s.waiting = nil
		s.service.stat(s).RequestsFull.Add(1)
	}
	if !accepted && id != 0 {
		t.fail(id, wire.ErrorTooManyRequests)
	}
	return accepted
}

// resume goes on with an answer, then with what the client said meanwhile.
func (s *Session) resume(then func(*turn)) {
	if s.state == over {
		return
	}
	w := s.waiting
	s.waiting = nil
	t := begin(s)
	defer t.end()
	then(t)
	if w.unsub != 0 {
		s.unsubscribeBy(t, w.target, w.unsub)
	}
	for _, frame := range w.frames {
		switch {
		case s.state == over:
			return
		case s.waiting != nil:
			s.keep(frame)
		default:
			s.read(t, frame)
		}
	}
}

// keepText makes a string of a command outlive it.
func keepText(s string) string { return strings.Clone(s) }

// keepBytes makes bytes of a command outlive it; nil stays nil.
func keepBytes(p []byte) []byte {
	if p == nil {
		return nil
	}
	return append([]byte{}, p...)
}
