package session

import (
	"strings"
	"sync"

	"throng/server/hub"
	"throng/server/wire"
)

// turn is what one entry into a session gathers: replies, which leave as one frame, and subscriptions whose reply is among
// them, which enter the hub behind it. Borrowed from a pool from begin to end.
type turn struct {
	s       *Session
	reader  wire.CommandReader
	command wire.Command
	out     []byte // payload of the reply frame
	joining []entry
	fresh   []hub.Interest // in channels of these, which NATS has not confirmed

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

// join lets a subscription in behind the reply that confirms it. A channel that is new to this node has to be waited for first:
// what other nodes publish there does not come here before NATS knows that it should.
func (t *turn) join(e entry) {
	e.name = e.sub.name
	t.joining = append(t.joining, e)
	if e.sub.line() != nil || t.s.service.parts.Confirm == nil {
		return
	}
	if interest, confirmed := t.s.service.parts.Hub.Warm(e.sub.name); !confirmed {
		t.fresh = append(t.fresh, interest)
	}
}

// commit sends the replies gathered so far, then lets the subscriptions they confirm into the hub. False: that has to wait for
// NATS, and so has what the client says next.
func (t *turn) commit() bool {
	if len(t.fresh) > 0 && t.s.state != over {
		t.await()
		return false
	}
	t.fresh = t.fresh[:0]
	t.send()
	lost := 0
	for i, e := range t.joining {
		t.joining[i] = entry{}
		if t.s.state != connected {
			continue
		}
		t.s.enter(e)
		if e.sub.is(cut) {
			t.joining[lost] = e
			lost++
		}
	}
	gone := t.joining[:lost]
	t.joining = nil
	for _, e := range gone {
		t.s.cutOff(e.sub, e.sub.own.Load())
	}
	t.joining = gone[:0]
	return true
}

// await sets replies and subscriptions aside until NATS has confirmed this node's interest, once for all of them. That it cannot
// be confirmed is no reason to refuse a subscription to a live channel: it is counted.
func (t *turn) await() {
	s, v := t.s, t.s.service
	out := append([]byte(nil), t.out...)
	joining, fresh := append([]entry(nil), t.joining...), append([]hub.Interest(nil), t.fresh...)
	clear(t.joining)
	clear(t.fresh)
	t.out, t.joining, t.fresh = t.out[:0], t.joining[:0], t.fresh[:0]
	s.wait().left++
	v.parts.Confirm(func(err error) {
		for _, interest := range fresh {
			if err == nil {
				v.parts.Hub.Confirm(interest)
			}
		}
		if err != nil {
			v.stat(s).Unconfirmed.Add(1)
		}
		s.goOn(func(w *waiting) {
			w.before = func(t *turn) { t.out, t.joining = append(t.out, out...), append(t.joining, joining...) }
		})
	})
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

// room sends what is gathered when it has become much, unless it has to wait for something.
func (t *turn) room() {
	if len(t.out) >= frameSize && len(t.fresh) == 0 {
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

// keepText makes a string of a command outlive it.
func keepText(s string) string { return strings.Clone(s) }

// keepBytes makes bytes of a command outlive it; nil stays nil.
func keepBytes(p []byte) []byte {
	if p == nil {
		return nil
	}
	return append([]byte{}, p...)
}
