package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reading. Every replica may answer, and one may lag behind another, so answers are held against what this node knows (the
// highest sequence acknowledged, republished or read) and against each other; what does not fit is asked for again.

const (
	retryFirst = time.Millisecond
	retryLast  = 50 * time.Millisecond
	// mostUnanswered is how many questions of one read may go unanswered before it is given up.
	mostUnanswered = 2
	// multiMost is how many subjects nats-server takes in one multi_last; the epoch's is always one of them.
	multiMost = 1024
)

var errAgain = errors.New("broker: the answers do not fit together")

// unread counts what Tops, Read and Purge return.
func (s *Streams) unread(err error) error {
	if err != nil {
		s.count.readFailures.Add(1)
	}
	return err
}

// again repeats a read until it fits together or ctx ends.
func (s *Streams) again(ctx context.Context, namespace string, read func(*stream) error) error {
	unanswered := 0
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		st, err := s.awaitReady(ctx, namespace)
		if err != nil {
			return err
		}
		generation := st.generation.Load()
		err = s.within(ctx, func() error { return read(st) })
		if err == nil && st.generation.Load() == generation {
			return nil
		}
		if errors.Is(err, errNoAnswer) {
			unanswered++ // the replica asked may just have died
		}
		if err != nil && !errors.Is(err, errAgain) && (unanswered == 0 || unanswered > mostUnanswered) {
			return err
		}
		s.count.readRetries.Add(1)
		select {
		case <-time.After(wait):
		case <-s.stop:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoStream, ctx.Err())
		}
	}
}

// within runs a read under the bound on their number.
func (s *Streams) within(ctx context.Context, read func() error) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.slots }()
	return read()
}

// awaitReady returns a namespace's stream, waiting while it is only being looked at.
func (s *Streams) awaitReady(ctx context.Context, namespace string) (*stream, error) {
	for {
		if s.n.shutting.Load() {
			return nil, ErrClosed
		}
		st, err := s.lookup(namespace)
		if err != nil {
			return nil, err
		}
		state := st.state.Load()
		switch {
		case !s.n.link.up.Load():
			// Not to be left to nats.go: while it dials, it keeps everybody waiting, whatever their contexts say.
			return nil, ErrDisconnected
		case state.ready:
			return st, nil
		case state.why != nil:
			return nil, state.why
		}
		select {
		case <-state.changed:
		case <-s.stop:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ends is what one multi_last question says.
type ends struct {
	epoch string
	last  uint64
	top   map[string]uint64 // by subject
}

// lasts asks for the newest message of each subject and the epoch, as they were at one moment. errAgain when the answer is
// older than what this node knows, errTooMany when it did not fit.
func (s *Streams) lasts(ctx context.Context, st *stream, subjects []string) (ends, error) {
	high := st.high.Load()
	ask := jsGet{MultiLast: append([]string{st.epochAt}, subjects...), MaxBytes: s.cfg.ReadBytes}
	if room := 2*int(s.n.link.maxPayload.Load()) + maxHeaderBytes; len(subjects) == 1 {
		ask.MaxBytes = max(ask.MaxBytes, room) // both messages fit
	}
	got, err := s.get(ctx, st, ask, len(ask.MultiLast))
	if err != nil {
		return ends{}, err
	}
	if got.pending > 0 {
		return ends{}, errTooMany // the rest may come from another replica and not fit
	}
	out := ends{last: got.upTo, top: make(map[string]uint64, len(got.messages))}
	for _, m := range got.messages {
		subject := final(m.Header["Nats-Subject"])
		out.top[subject] = sequence(m)
		if subject == st.epochAt {
			out.epoch = string(m.Data)
		}
	}
	return out, s.judge(st, &out, high)
}

// judge holds the end of a stream against what is known of it.
func (s *Streams) judge(st *stream, e *ends, high uint64) error {
	state := st.state.Load()
	switch {
	case e.epoch != state.epoch:
		// Lost, begun anew, or read from a replica that has not got it yet: the leader knows.
		st.look()
		return errAgain
	case e.last < high:
		return errAgain
	}
	st.saw(e.last)
	return nil
}

// tops is Tops.
func (s *Streams) tops(ctx context.Context, namespace string, channels []string) (Tops, error) {
	var t Tops
	for _, channel := range channels {
		if err := s.n.codec.check(channel); err != nil {
			return t, err
		}
	}
	err := s.again(ctx, namespace, func(st *stream) error {
		t = Tops{Top: make([]uint64, 0, len(channels)), Last: never}
		for rest := channels; ; {
			part := s.chunk(st, rest)
			if err := s.topsOf(ctx, st, part, &t); err != nil {
				return err
			}
			if rest = rest[len(part):]; len(rest) == 0 {
				return nil
			}
		}
	})
	if err != nil {
		return Tops{}, err
	}
	return t, nil
}

// topsOf adds the tops of a part of the channels. Last becomes the least of all parts: what a part said of an empty channel
// holds up to its own end only.
func (s *Streams) topsOf(ctx context.Context, st *stream, channels []string, t *Tops) error {
	subjects := make([]string, len(channels))
	for i, channel := range channels {
		subjects[i] = st.codec.subject(channel)
	}
	e, err := s.lasts(ctx, st, subjects)
	if errors.Is(err, errTooMany) && len(channels) > 1 {
		half := len(channels) / 2
		if err := s.topsOf(ctx, st, channels[:half], t); err != nil {
			return err
		}
		return s.topsOf(ctx, st, channels[half:], t)
	}
	if err != nil {
		return err
	}
	if t.Epoch != "" && t.Epoch != e.epoch {
		return errAgain
	}
	t.Epoch, t.Last = e.epoch, min(t.Last, e.last)
	for _, subject := range subjects {
		t.Top = append(t.Top, e.top[subject])
	}
	return nil
}

// chunk is as many channels as one question takes, by number and by bytes.
func (s *Streams) chunk(st *stream, channels []string) []string {
	room := int(s.n.link.maxPayload.Load()) - len(st.epochAt) - 256
	for i, channel := range channels {
		room -= len(st.codec.live) + 3*len(channel) + len(`"",`)
		if i == multiMost-1 || room < 0 && i > 0 {
			return channels[:i]
		}
	}
	return channels
}

// read is Read.
func (s *Streams) read(ctx context.Context, q ReadQuery) (Page, error) {
	if err := s.n.codec.check(q.Channel); err != nil {
		return Page{}, err
	}
	var p Page
	tries := 0
	err := s.again(ctx, q.Namespace, func(st *stream) error {
		r := reading{s: s, ctx: ctx, st: st, q: q, subject: st.codec.subject(q.Channel), tries: tries}
		tries++
		err := r.run()
		p = r.page
		return err
	})
	if err != nil {
		return Page{}, err
	}
	return p, nil
}

// purge is Purge.
func (s *Streams) purge(ctx context.Context, namespace, channel string, below uint64) error {
	if err := s.n.codec.check(channel); err != nil {
		return err
	}
	st, err := s.awaitReady(ctx, namespace)
	if err != nil || below == 0 {
		return err
	}
	return s.within(ctx, func() error {
		return s.purgeStream(ctx, st.name, jsPurge{Filter: st.codec.subject(channel), Seq: below})
	})
}
