package broker

import (
	"context"
	"strconv"
)

// maxHeaderBytes is what nats-server lets the headers of a stored message have.
const maxHeaderBytes = 64 << 10

// reading is one attempt at a Read.
type reading struct {
	s       *Streams
	ctx     context.Context
	st      *stream
	q       ReadQuery
	subject string
	tries   int // attempts before this one

	page    Page
	ends    ends
	pending uint64 // stored behind the messages of the page
	begun   uint64 // messages from Since on when the answer began, less one
}

// stillStored makes sure of what SinceStored promises. nats-server reads the messages of an answer one by one: those after
// Since may be removed when Since has been read already. An answer that goes to the top, seen before, and has as many messages
// as it counted when it began is whole; else Since must still be stored now, since the oldest message is removed first.
func (r *reading) stillStored(toTop bool) error {
	if toTop && !r.page.More && uint64(len(r.page.Messages)) == r.begun {
		return nil
	}
	if r.st.replicas.Load() <= 1 {
		got, err := r.s.get(r.ctx, r.st, jsGet{Seq: r.q.Since}, 1)
		if err == nil && len(got.messages) == 0 {
			return errAgain
		}
		return err
	}
	// By the leader, once it has the newest of these messages itself.
	for _, seq := range []uint64{r.newest(), r.q.Since} {
		_, err := r.s.leaderMessage(r.ctx, r.st.name, jsGet{Seq: seq})
		if isCode(err, codeNoMessage) {
			return errAgain
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) run() error {
	var err error
	if r.ends, err = r.s.lasts(r.ctx, r.st, []string{r.subject}); err != nil {
		return err
	}
	top := r.ends.top[r.subject]
	r.page = Page{Epoch: r.ends.epoch, Last: r.ends.last, Top: top}
	if r.q.Limit <= 0 {
		return nil
	}
	if err := r.fetch(); err != nil {
		return err
	}
	p := &r.page
	newest := r.newest()
	p.More = r.pending > 0
	switch {
	case !p.More && newest < top && top > r.q.Since:
		return errAgain // answered by a replica that lags behind the other, or removed just now
	case newest > 0:
		p.Top, p.Last = max(top, newest), max(p.Last, newest)
	}
	r.st.saw(p.Last)
	if p.SinceStored {
		return r.stillStored(newest == top)
	}
	if r.st.replicas.Load() > 1 {
		return r.proveByLeader()
	}
	return r.prove()
}

// newest is the highest offset the page saw, the one asked for included.
func (r *reading) newest() uint64 {
	if n := len(r.page.Messages); n > 0 {
		return r.page.Messages[n-1].Offset
	}
	if r.page.SinceStored {
		return r.q.Since
	}
	return 0
}

// fetch reads the messages from Since on.
func (r *reading) fetch() error {
	ask := jsGet{NextFor: r.subject, Seq: r.q.Since, Batch: r.q.Limit, MaxBytes: r.q.MaxBytes}
	if r.q.Since > 0 {
		ask.Batch++
	}
	if ask.MaxBytes <= 0 {
		ask.MaxBytes = r.s.cfg.ReadBytes
	}
	got, err := r.s.get(r.ctx, r.st, ask, ask.Batch)
	if err != nil {
		return err
	}
	r.add(got)
	if r.page.SinceStored && len(r.page.Messages) == 0 && r.pending > 0 {
		// The one asked for alone filled the answer. It must be in the same answer as the others: it is their proof.
		ask.MaxBytes += len(got.messages[0].Data) + maxHeaderBytes
		if got, err = r.s.get(r.ctx, r.st, ask, ask.Batch); err != nil {
			return err
		}
		r.page.SinceStored, r.page.Messages = false, nil
		r.add(got)
	}
	if extra := len(r.page.Messages) - r.q.Limit; extra > 0 {
		r.page.Messages = r.page.Messages[:r.q.Limit]
		r.pending += uint64(extra)
	}
	return nil
}

func (r *reading) add(got direct) {
	r.pending, r.begun = got.pending, 0
	if len(got.messages) > 0 {
		r.begun, _ = strconv.ParseUint(final(got.messages[0].Header["Nats-Num-Pending"]), 10, 64)
	}
	for _, m := range got.messages {
		if r.q.Since > 0 && sequence(m) == r.q.Since {
			r.page.SinceStored = true
			continue
		}
		r.page.Messages = append(r.page.Messages, storedMessage(m))
	}
}

// count is how many messages behind Since the channel held when the page was read.
func (r *reading) count() int { return len(r.page.Messages) + int(r.pending) }

// prove finds what shows whether anything behind Since was removed, with one replica: each question is answered later
// than the one before, so what is still stored at the last was stored at the first.
func (r *reading) prove() error {
	p := &r.page
	oldest, stored, err := r.oldest()
	if err != nil {
		return err
	}
	p.Oldest, p.Count = oldest, max(stored, r.count())
	first, err := r.s.get(r.ctx, r.st, jsGet{NextFor: r.st.subject}, 1)
	if err != nil {
		return err
	}
	p.StreamFirst = p.Last + 1
	if len(first.messages) > 0 {
		p.StreamFirst = sequence(first.messages[0])
	}
	info, err := r.s.streamInfo(r.ctx, r.st.name)
	if err != nil {
		return err
	}
	if replicas := number(info.Config["num_replicas"]); replicas > 1 {
		r.st.replicas.Store(replicas)
		return errAgain
	}
	r.distrust(info.Config)
	return nil
}

// oldest asks for the channel's oldest message and how many there are.
func (r *reading) oldest() (offset uint64, stored int, err error) {
	p := &r.page
	if r.q.Since == 0 {
		if len(p.Messages) == 0 {
			return 0, 0, nil
		}
		return p.Messages[0].Offset, r.count(), nil
	}
	got, err := r.s.get(r.ctx, r.st, jsGet{NextFor: r.subject, Batch: 1}, 1)
	if err != nil || len(got.messages) == 0 {
		return 0, 0, err
	}
	return sequence(got.messages[0]), 1 + int(got.pending), nil
}

// distrust raises StreamFirst where the number of messages kept per channel is not what the reader thinks it is, or was not:
// messages removed under a smaller number had offsets up to the one at which it was raised. c is the configuration as it
// was after everything else had been read; any node or operator may change it at any time.
func (r *reading) distrust(c jsConfig) {
	r.st.mu.Lock()
	size := r.st.cfg.Size
	r.st.mu.Unlock()
	limit := int(number(c["max_msgs_per_subject"]))
	recorded, grown := c.limitRecord()
	if recorded != limit || limit < size+1 || grown == never {
		r.page.StreamFirst = max(r.page.StreamFirst, r.page.Last+1)
		return
	}
	if grown > 0 {
		r.page.StreamFirst = max(r.page.StreamFirst, grown+1)
	}
}

// proveByLeader is prove where several replicas answer, any of which may lag: the page counts as evidence only when it
// holds exactly what the stream's leader counts. A leader's count of the channel, taken at its sequence U, says how many
// messages up to U there were; a page with as many up to U misses none of them, whichever replica it came from.
func (r *reading) proveByLeader() error {
	p := &r.page
	var info jsInfo
	ask := map[string]string{"subjects_filter": r.subject}
	if err := r.s.ask(r.ctx, "STREAM.INFO."+r.st.name, ask, &info); err != nil {
		return err
	}
	stored, upTo := int(info.State.Subjects[r.subject]), 0
	for i := range p.Messages {
		if p.Messages[i].Offset <= info.State.Last {
			upTo++
		}
	}
	if p.More {
		upTo = r.count()
	}
	if upTo != stored || stored == 0 && len(p.Messages) > 0 {
		const patience = 5
		if r.tries < patience {
			return errAgain
		}
		// Messages before Since are stored as well, or the stream moves faster than it can be read: no proof.
		p.Count, p.StreamFirst = max(stored, r.count()), p.Last+1
		if len(p.Messages) > 0 {
			p.Oldest = p.Messages[0].Offset
		}
		return nil
	}
	p.Count = stored
	if stored > 0 {
		p.Oldest = p.Messages[0].Offset
	}
	first, err := r.s.leaderMessage(r.ctx, r.st.name, jsGet{NextFor: r.st.subject})
	switch {
	case isCode(err, codeNoMessage):
		p.StreamFirst = max(p.Last, info.State.Last) + 1
	case err != nil:
		return err
	default:
		p.StreamFirst = first.Message.Seq
	}
	now, err := r.s.streamInfo(r.ctx, r.st.name)
	if err != nil {
		return err
	}
	r.distrust(now.Config)
	return nil
}
