package broker

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	msgIDHeader  = "Nats-Msg-Id"
	expectHeader = "Nats-Expected-Last-Subject-Sequence"
	// storeOverhead bounds what the headers besides the meta line take of the payload that NATS limits.
	storeOverhead = len("NATS/1.0\r\n"+binaryHeader+": "+binaryValue+"\r\n"+msgIDHeader+": "+"\r\n"+expectHeader+": "+"\r\n"+
		metaHeader+": "+"\r\n\r\n") + idLength + len("18446744073709551615")
	idLength = 22
)

// store is Store.
func (s *Streams) store(p *StorePublication) error {
	if len(p.Meta) > 0 {
		if err := checkMeta(p.Meta); err != nil {
			return err
		}
	}
	if err := s.n.accept(p.Channel, len(p.Data), storeOverhead+len(p.Meta)); err != nil {
		return err
	}
	to, err := s.ready(p.Namespace)
	if err != nil {
		return err
	}
	w := &storing{to: to, bytes: len(p.Data), accepted: time.Now(), done: p.Done}
	if p.ID != "" {
		w.msgID = messageID(p.Channel, p.ID)
	}
	if p.ExpectLast {
		w.expect = strconv.FormatUint(p.LastOffset, 10)
	}
	return s.enqueue(item{channel: p.Channel, binary: p.Binary, storing: w}, p.Data, p.Meta)
}

// storeOnce is StoreOnce.
func (s *Streams) storeOnce(channel, id string, done func(Stored)) error {
	if err := s.n.accept(channel, 0, storeOverhead); err != nil {
		return err
	}
	to := s.once.Load()
	if to == nil {
		return fmt.Errorf("%w: repetitions are not recognised in channels without history (StreamsConfig.Once)", ErrNoStream)
	}
	if state := to.state.Load(); !state.ready {
		return state.refusal()
	}
	w := &storing{to: to, msgID: messageID(channel, id), accepted: time.Now(), done: done}
	return s.enqueue(item{channel: onceToken, storing: w}, nil, nil)
}

// enqueue puts a publication into the table and the queue, or into neither.
func (s *Streams) enqueue(it item, data, meta []byte) error {
	if err := s.acks.add(it.storing); err != nil {
		return err
	}
	err := s.n.queue.publishMeta(it, data, meta)
	if err != nil && !s.acks.remove(it.storing) {
		return nil // Close has answered it meanwhile
	}
	return err
}

// messageID scopes an id to its channel. NATS compares ids over the whole stream, and a caller's may be of any length and
// hold any byte; 128 bits of SHA-256 are as good as unique.
func messageID(channel, id string) string {
	text := strconv.AppendInt(make([]byte, 0, 128), int64(len(channel)), 10)
	text = append(append(append(text, ':'), channel...), id...)
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// storer is the publisher's part: it turns queue items into messages. Owned by the publisher's goroutine.
type storer struct {
	msg    nats.Msg
	values [4][1]string // header values, reused: nats.go copies what it publishes
	reply  []byte
}

// store writes one publication to its stream, or answers it.
func (p *publisher) store(it *item) {
	s, w := p.n.streams.Load(), it.storing
	if !s.acks.writing(w) {
		return // overdue already
	}
	p.n.dialer.admit(p.n.life)
	err := p.conn.PublishMsg(p.stored.message(s, it))
	if err == nil {
		return
	}
	why := p.failure(err)
	if s.acks.remove(w) {
		s.answer(w, Stored{Err: fmt.Errorf("%w: %w", storeFailure(why), err)})
	}
}

// storeFailure says what a publication that nats.go refused came to.
func storeFailure(why LossReason) error {
	switch why {
	case LostDisconnected:
		return ErrDisconnected
	case LostClosed:
		return ErrClosed
	case LostOversize:
		return ErrTooBig
	case LostUnconfirmed:
		return ErrUnconfirmed
	}
	return ErrNoStream
}

func (t *storer) message(s *Streams, it *item) *nats.Msg {
	w, m := it.storing, &t.msg
	if m.Header == nil {
		m.Header = make(nats.Header, len(t.values))
	}
	clear(m.Header)
	t.set(0, msgIDHeader, w.msgID)
	t.set(1, expectHeader, w.expect)
	if it.meta > 0 {
		t.set(2, metaHeader, it.metaLine())
	}
	if it.binary {
		t.set(3, binaryHeader, binaryValue)
	}
	if w.to.once {
		m.Subject = w.to.subject
	} else {
		m.Subject = w.to.subjects.of(it.channel).text
	}
	t.reply = strconv.AppendUint(append(t.reply[:0], s.ackInbox...), w.id, 36)
	m.Reply, m.Data = string(t.reply), it.payload()
	return m
}

func (t *storer) set(slot int, name, value string) {
	if value != "" {
		t.values[slot][0] = value
		t.msg.Header[name] = t.values[slot][:]
	}
}

// unstored answers what the publisher threw away unwritten.
func (n *NATS) unstored(w *storing, err error) {
	if s := n.streams.Load(); s.acks.remove(w) {
		s.answer(w, Stored{Err: err})
	}
}

// sweep is the goroutine that answers what NATS does not.
func (s *Streams) sweep() {
	const forGood = time.Hour
	timer := time.NewTimer(forGood)
	defer timer.Stop()
	for {
		late, again := s.acks.overdue(time.Now())
		for _, p := range late {
			p.to.silent.Store(true)
			p.to.lag.Store(int64(s.cfg.AckTimeout))
		}
		if len(late) > 0 {
			s.answerAll(late, fmt.Errorf("%w within %v", ErrUnconfirmed, s.cfg.AckTimeout))
			s.n.events.event(slog.LevelWarn, "NATS does not acknowledge publications", "publications", len(late))
		}
		if again == 0 {
			again = forGood
		}
		timer.Reset(again)
		select {
		case <-timer.C:
		case <-s.acks.kick:
		case <-s.stop:
			return
		}
	}
}

// drainAcks waits until every publication has been answered, at most until giveUp is closed or the link is lost.
func (s *Streams) drainAcks(giveUp <-chan struct{}) error {
	for s.acks.len() > 0 {
		select {
		case <-s.acks.emptied:
		case <-giveUp:
			return ErrUnconfirmed
		}
	}
	return nil
}

// refused counts what Store returns.
func (s *Streams) refused(err error) error {
	if err != nil {
		s.count.refused[failureOf(err)].Add(1)
	}
	return err
}
