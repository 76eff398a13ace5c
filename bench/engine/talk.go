package engine

import "time"

// PublishOrder is a schedule: every talker of the engine publishes Count messages
// at Rate per second from Begin on, the talkers evenly offset to each other.
type PublishOrder struct {
	Rate  float64 // messages per second and talker, > 0
	Count int     // messages per talker
	Begin int64   // Clock ns of the first intended send, 0 = now
	// Background: the order is done at once and others may follow while it is carried out.
	Background bool
}

// BurstOrder is one round of window mode.
type BurstOrder struct {
	Messages int           // per talker, all in one write
	Timeout  time.Duration // after that the round counts as done, with losses
}

// speaksPerTurn bounds publications between two looks at events.
const speaksPerTurn = 64

// talk is the publishing state. Owned by the loop.
type talk struct {
	rows  []uint32 // talkers of this engine
	seqs  []uint32 // next sequence number of each
	phase byte

	begin    int64
	interval float64 // ns between two messages of this engine
	total    int     // messages of the order
	next     int     // index of the next one

	goal uint64 // unique deliveries that end the current burst, summed over the phase
}

func (t *talk) init(e *Engine) {
	t.phase = PhaseWarm
	for i := range e.conns {
		if e.conns[i].talker != notTalker {
			t.rows = append(t.rows, uint32(i))
		}
	}
	t.seqs = make([]uint32, len(t.rows))
}

func (t *talk) idle() bool { return t.next >= t.total }
func (t *talk) stop()      { t.total = t.next }

func (t *talk) dueAt() int64 { return t.begin + int64(float64(t.next)*t.interval) }

func (t *talk) due() int64 {
	if t.idle() {
		return never
	}
	return t.dueAt()
}

// Phase marks what is published from now on, and makes deliveries of other phases
// count as late. Call it on the loop (Do).
func (e *Engine) Phase(phase byte) { e.talk.phase = phase }

// Publish begins a schedule; done is called on the loop when its last message was
// sent. Call it on the loop (Do).
func (e *Engine) Publish(o PublishOrder, done func()) {
	t := &e.talk
	if t.begin = o.Begin; o.Begin == 0 {
		t.begin = e.now
	}
	t.total, t.next = o.Count*len(t.rows), 0
	if t.total > 0 {
		t.interval = 1e9 / (o.Rate * float64(len(t.rows)))
	}
	if o.Background {
		done()
		return
	}
	e.start(job{kind: jobTalk, done: done})
}

// speak publishes what is due. The stamp carries the intended time, so that a
// message sent late is measured as late.
func (e *Engine) speak() {
	t := &e.talk
	for range speaksPerTurn {
		if t.idle() || t.dueAt() > e.now {
			return
		}
		k := t.next % len(t.rows)
		at := t.dueAt()
		t.next++
		if p := e.compose(e.scratchOut(), k, at); p != nil {
			e.write(int(t.rows[k]), p)
		}
	}
}

// scratchOut lends the reply buffer: no event is being handled.
func (e *Engine) scratchOut() []byte { return e.out[:0] }

// compose appends talker k's next message, or returns nil if it cannot speak.
func (e *Engine) compose(dst []byte, k int, at int64) []byte {
	payload := e.payload(k, at)
	if payload == nil {
		return nil
	}
	i := int(e.talk.rows[k])
	return e.dialectOf(i).AppendPublish(dst, e.names[e.conns[i].channel], payload)
}

// payload makes talker k's next message, valid until the next call; nil if it cannot speak.
func (e *Engine) payload(k int, at int64) []byte {
	t := &e.talk
	c := &e.conns[t.rows[k]]
	if c.state != stateReady {
		e.n.Unsent++
		return nil
	}
	st := Stamp{
		Run: e.cfg.Run, Channel: c.channel, Publisher: c.talker,
		Seq: t.seqs[k], Phase: t.phase, At: at,
	}
	t.seqs[k]++
	e.n.Sent++
	e.channels[c.channel].Sent++
	if e.cfg.MembersOf != nil {
		e.n.Owed += uint64(e.cfg.MembersOf(int(c.channel)))
	}
	e.scratch = AppendStamp(e.scratch[:0], &st, e.cfg.Payload)
	return e.scratch
}

// Burst makes every talker send its messages in one write; done is called on the
// loop when every ready subscriber of this engine has got the messages of all
// talkers of its channel, here or in other engines, or at the timeout. Deliveries
// that came before the order count. Call it on the loop (Do).
func (e *Engine) Burst(o BurstOrder, done func()) {
	t := &e.talk
	t.goal += e.subscribers() * uint64(e.cfg.Talkers*o.Messages)
	for k := range t.rows {
		p := e.scratchOut()
		for range o.Messages {
			if next := e.compose(p, k, e.clock.Now()); next != nil {
				p = next
			}
		}
		if len(p) > 0 {
			e.write(int(t.rows[k]), p)
		}
	}
	e.start(job{kind: jobBurst, until: e.now + int64(o.Timeout), done: func() {
		t.goal = min(t.goal, e.n.Unique()) // after losses: begin the next round even
		done()
	}})
}

// subscribers counts the ready rows that listen.
func (e *Engine) subscribers() (n uint64) {
	for i := range e.channels {
		n += uint64(e.channels[i].Members)
	}
	return n
}

// Talkers says how many publishers the engine has; fixed after New.
func (e *Engine) Talkers() int { return len(e.talk.rows) }

// Listeners returns how many rows listen: all but the publishers, which stand behind them; fixed after New.
func (e *Engine) Listeners() int { return e.cfg.Count }

// Row returns how many rows the engine has, publishers included; fixed after New.
func (e *Engine) Rows() int { return len(e.conns) }
