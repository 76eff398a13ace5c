package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Direct gets: questions that any replica answers, with several messages. The last one has no data and the status 204 (end
// of batch), or says what is wrong.

const directPrefix = "$JS.API.DIRECT.GET."

// direct is the answer to a direct get.
type direct struct {
	messages []*nats.Msg
	pending  uint64 // messages that would follow
	upTo     uint64 // multi_last: the stream's last sequence, at this replica
}

var errTooMany = fmt.Errorf("%w: too many results", ErrNoStream)

// statusError is a refusal of a direct get.
type statusError struct{ status, text string }

func (e *statusError) Error() string { return fmt.Sprintf("JetStream answers %s %s", e.status, e.text) }

func (e *statusError) Unwrap() error { return ErrNoStream }

// onAnswer is called by nats.go's goroutine of answers to reads.
func (s *Streams) onAnswer(m *nats.Msg) {
	id, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return
	}
	s.mu.Lock()
	call := s.calls[id]
	s.mu.Unlock()
	if call == nil {
		return // nobody waits any more
	}
	select {
	case call <- m:
	default: // more than asked for: the caller runs into its time limit
	}
}

// open begins a call; most is how many messages may answer it.
func (s *Streams) open(most int) (id uint64, answers chan *nats.Msg) {
	answers = make(chan *nats.Msg, most)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.calls[s.last] = answers
	return s.last, answers
}

func (s *Streams) close(id uint64) {
	s.mu.Lock()
	delete(s.calls, id)
	s.mu.Unlock()
}

// get asks a replica of a stream. Nothing found is no error. most is how many messages to expect at most. The caller holds
// a slot.
func (s *Streams) get(ctx context.Context, st *stream, question jsGet, most int) (direct, error) {
	data, err := json.Marshal(question)
	if err != nil {
		return direct{}, err
	}
	s.count.reads.Add(1)
	id, answers := s.open(most + 1)
	defer s.close(id)
	link := s.link.Load()
	err = s.n.conn.PublishMsg(&nats.Msg{Subject: directPrefix + st.name, Reply: s.inbox + strconv.FormatUint(id, 36), Data: data})
	if err != nil {
		return direct{}, fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	silence := time.NewTimer(s.cfg.ReadTimeout)
	defer silence.Stop()
	var out direct
	single := question.Batch == 0 && len(question.MultiLast) == 0
	for {
		select {
		case m := <-answers:
			if end, err := out.take(m, single); end || err != nil {
				s.count.readMessages.Add(uint64(len(out.messages)))
				return out, err
			}
			s.count.readBytes.Add(uint64(len(m.Data)))
		case <-silence.C:
			return out, errNoAnswer
		case <-link.ctx.Done():
			return out, s.gone()
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
}

func (s *Streams) gone() error {
	if s.n.shutting.Load() {
		return ErrClosed
	}
	return ErrDisconnected
}

// take enters one answer; true when it was the last.
func (d *direct) take(m *nats.Msg, single bool) (bool, error) {
	status := first(m.Header["Status"])
	switch {
	case status == "" || sequence(m) > 0:
		d.messages = append(d.messages, m)
		return single, nil
	case status == "204":
		d.pending, _ = strconv.ParseUint(final(m.Header["Nats-Num-Pending"]), 10, 64)
		d.upTo, _ = strconv.ParseUint(final(m.Header["Nats-UpTo-Sequence"]), 10, 64)
		return true, nil
	case status == "404":
		return true, nil
	case status == "413":
		return true, errTooMany
	case status == "503":
		return true, errNoResponders
	}
	return true, &statusError{status, first(m.Header["Description"])}
}

// sequence of a message; 0 for a status. JetStream's headers come last, behind any of the publisher's.
func sequence(m *nats.Msg) uint64 {
	seq, err := strconv.ParseUint(final(m.Header["Nats-Sequence"]), 10, 64)
	if err != nil {
		return 0
	}
	return seq
}

func storedMessage(m *nats.Msg) StoredMessage {
	at, _ := time.Parse(time.RFC3339Nano, final(m.Header["Nats-Time-Stamp"]))
	return StoredMessage{
		Offset: sequence(m), Time: at, Data: m.Data,
		Meta: first(m.Header[metaHeader]), Binary: isBinary(m.Header),
	}
}
