package engine

import "time"

// AckOrder lets every talker publish with a fixed number of commands that have no
// answer yet: what one read answers goes out again in one frame.
type AckOrder struct {
	Outstanding int           // commands of one talker without an answer
	Count       int           // publications of each talker, 0 = as many as For allows
	For         time.Duration // 0 = until Count
	Timeout     time.Duration // for the answers that are still missing then
}

// ackBase is the id of a talker's first slot; the ids below are idPublish and its kin.
const ackBase = 16

// acks is the state of an AckOrder. Owned by the loop.
type acks struct {
	order    AckOrder
	until    int64    // Clock ns, never without For
	index    []int32  // of a row: its talker plus one, 0 = none
	sent     []int64  // by talker and slot: Clock ns of the command without an answer, 0 = free
	left     []int    // of a talker: publications to make, < 0 = no limit
	waiting  int      // commands without an answer
	freed    []uint32 // slots that the message being read has freed
	commands []byte
}

// Acks begins an order; done is called on the loop when everything published is
// answered, or at the timeout. Call it on the loop (Do).
func (e *Engine) Acks(o AckOrder, done func()) {
	t := &e.talk
	a := &e.acks
	a.end(e)
	o.Outstanding = max(o.Outstanding, 1)
	a.order, a.until = o, never
	a.index = make([]int32, len(e.conns))
	a.sent, a.left = make([]int64, len(t.rows)*o.Outstanding), make([]int, len(t.rows))
	for k, row := range t.rows {
		a.index[row] = int32(k + 1)
		a.left[k] = o.Count
		if o.Count == 0 {
			a.left[k] = -1
		}
	}
	if o.For > 0 {
		a.until = e.now + int64(o.For)
	}
	for _, row := range t.rows {
		a.freed = a.freed[:0]
		for slot := range o.Outstanding {
			a.freed = append(a.freed, uint32(slot))
		}
		e.out = e.out[:0]
		e.publishAgain(int(row))
		if len(e.out) > 0 {
			e.write(int(row), e.out)
		}
	}
	e.start(job{kind: jobAcks, until: e.now + int64(o.For+o.Timeout), done: func() {
		a.end(e)
		done()
	}})
}

// take notes the answer to a command of row i.
func (a *acks) take(e *Engine, i int, r *Reply) {
	if len(a.index) == 0 || a.index[i] == 0 || r.ID < ackBase || r.ID >= ackBase+uint32(a.order.Outstanding) {
		return
	}
	slot := r.ID - ackBase
	at := &a.sent[int(a.index[i]-1)*a.order.Outstanding+int(slot)]
	if *at == 0 {
		return
	}
	record(e.ack, e.now-*at)
	*at = 0
	a.waiting--
	a.freed = append(a.freed, slot)
}

// publishAgain appends to out the next publications of row i, one for each slot
// that was freed, in one frame.
func (e *Engine) publishAgain(i int) {
	a := &e.acks
	if len(a.freed) == 0 {
		return
	}
	c := &e.conns[i]
	k := int(a.index[i]) - 1
	a.commands = a.commands[:0]
	for _, slot := range a.freed {
		if e.now >= a.until || a.left[k] == 0 || c.state != stateReady {
			break
		}
		a.left[k]--
		a.sent[k*a.order.Outstanding+int(slot)] = e.now
		a.waiting++
		d := e.dialectOf(i).(AnsweringDialect)
		a.commands = d.AppendCommand(a.commands, ackBase+slot, e.names[c.channel], e.payload(k, e.now))
	}
	a.freed = a.freed[:0]
	if len(a.commands) > 0 {
		e.out = e.dialectOf(i).(AnsweringDialect).AppendCommands(e.out, a.commands)
	}
}

// forget gives up on what row i has not been answered.
func (a *acks) forget(e *Engine, i int) {
	a.freed = a.freed[:0]
	if a.waiting == 0 || a.index[i] == 0 {
		return
	}
	first := int(a.index[i]-1) * a.order.Outstanding
	a.giveUp(e, a.sent[first:first+a.order.Outstanding])
}

// end gives up on everything.
func (a *acks) end(e *Engine) {
	a.giveUp(e, a.sent)
	a.until = 0
}

func (a *acks) giveUp(e *Engine, slots []int64) {
	for s := range slots {
		if slots[s] != 0 {
			slots[s] = 0
			a.waiting--
			e.n.Unanswered++
		}
	}
}
