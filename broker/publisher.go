package broker

import (
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// publisher is the one goroutine that produces volume for NATS and may therefore be held up by it (outbound.admit).
// It takes everything queued at once, applies interest first and then publishes; one connection carries both in that
// order, which is why a node hears itself.
//
// It does not flush: nats.go's flusher goroutine is kicked by the first write into an empty buffer, and the pump
// behind it writes whatever has gathered, so a batch costs few writes and a single message waits for nothing.
type publisher struct {
	n        *NATS
	conn     *nats.Conn
	interest map[string]*nats.Subscription // in force at NATS, nil where refused; keys share the subject's memory where nothing is escaped
	wide     wideInterest
	subjects subjects
	binary   nats.Msg // reused, as meta is: nats.go copies what it publishes
	meta     nats.Msg
	stored   storer
	done     chan struct{} // closed when it has ended
}

const (
	binaryHeader = "Throng-Binary"
	binaryValue  = "1"
	metaHeader   = "Throng-Meta"
	// metaOverhead is what the header adds to the line in it.
	metaOverhead = len("NATS/1.0\r\n" + metaHeader + ": " + "\r\n\r\n")
	// binaryOverhead is what the header adds to the payload that NATS limits.
	binaryOverhead = len("NATS/1.0\r\n" + binaryHeader + ": " + binaryValue + "\r\n\r\n")
	// releaseEvery is how many publications leave the queue's budget at once: often enough that callers refused
	// for a full queue are soon let in, seldom enough to cost nothing.
	releaseEvery = 128
)

func newPublisher(n *NATS) *publisher {
	return &publisher{
		n: n, conn: n.conn,
		interest: make(map[string]*nats.Subscription),
		subjects: newSubjects(n.codec, n.cfg.Prefix, nil),
		binary:   nats.Msg{Header: nats.Header{binaryHeader: []string{binaryValue}}},
		meta:     nats.Msg{Header: nats.Header{metaHeader: []string{""}}},
		done:     make(chan struct{}),
	}
}

// run is the publisher's goroutine.
func (p *publisher) run() {
	defer close(p.done)
	for range p.n.queue.wake {
		if p.turn() {
			return
		}
	}
}

// turn does all there is to do; true when the queue is closed and empty.
func (p *publisher) turn() (last bool) {
	up := p.n.link.up.Load()
	b := p.n.queue.take(!up)
	if up {
		p.n.confirm.begin()
		if p.n.recheck.Swap(false) {
			p.recheck()
			p.recheckWide()
		}
		if p.n.remap.Swap(false) {
			p.remap()
		}
		p.reconcile(b.changes)
		p.settleWide()
		p.n.count.interest.Store(int64(len(p.interest)))
		p.publish(b.items)
	} else {
		p.discard(b.items, LostDisconnected, ErrDisconnected)
	}
	p.n.queue.recycle(b.items)
	return b.closed
}

// reconcile brings NATS in line with the latest wishes.
func (p *publisher) reconcile(changes map[string]bool) {
	if len(changes) == 0 {
		return
	}
	for channel, wanted := range changes {
		p.n.dialer.admit(p.n.life)
		sub, have := p.interest[channel]
		switch {
		case wanted && !have:
			p.subscribe(channel)
		case !wanted && have:
			p.end(sub)
			delete(p.interest, channel)
		}
		if !wanted {
			p.unwide(channel)
		}
	}
	trySignal(p.n.confirm.kick)
}

func (p *publisher) end(sub *nats.Subscription) {
	if sub == nil {
		return
	}
	p.n.drops.end(sub)
	if p.subjects.native != nil {
		p.n.natives.end(sub)
	}
}

func (p *publisher) subscribe(channel string) {
	subject := p.subjects.make(channel)
	begin := func() (*nats.Subscription, error) {
		return p.conn.ChanSubscribe(subject.text, p.n.readers.of(channel))
	}
	var sub *nats.Subscription
	var err error
	switch {
	case subject.refused():
		p.n.count.lose(LostBadSubject, 1)
		p.n.events.event(slog.LevelError, "interest in a channel ignored: it stands for a subject that this node may not use", "channel", channel)
	case subject.native:
		sub, err = p.n.natives.subscribe(nativeSub{channel, subject.wildcard}, begin)
	case p.bornWide():
		delete(p.interest, channel)
		p.wide.join = append(p.wide.join, channel)
		return
	default:
		if sub, err = begin(); err == nil {
			channel = p.n.codec.sharedKey(channel, subject.text)
		}
	}
	if err != nil {
		// nats.go refuses only illegal subjects and closed connections: neither gets better by trying again.
		p.n.count.asyncErrors.Add(1)
		p.n.events.event(slog.LevelError, "NATS subscription refused", "channel", channel, "err", err)
		sub = nil
	}
	p.interest[channel] = sub
}

// remap brings the subjects of all interest in line with a new Native.
func (p *publisher) remap() {
	before := p.subjects.native
	p.subjects = newSubjects(p.n.codec, p.n.cfg.Prefix, p.n.nativeOf())
	if before == nil && p.subjects.native == nil {
		return
	}
	p.remapWide()
	for channel, sub := range p.interest {
		if sub != nil && p.subjects.make(channel).text == sub.Subject {
			continue
		}
		p.n.dialer.admit(p.n.life)
		p.subscribe(channel)
		if sub != nil {
			p.n.drops.end(sub)
			p.n.natives.end(sub)
		}
	}
	trySignal(p.n.confirm.kick)
}

// recheck runs after each connect. nats.go has re-sent what it believes to be subscribed; this makes sure that it
// believes what we do.
func (p *publisher) recheck() {
	if p.conn.NumSubscriptions() == len(p.interest) {
		return
	}
	for channel, sub := range p.interest {
		if sub != nil && !sub.IsValid() {
			p.n.natives.end(sub)
			delete(p.interest, channel)
			p.subscribe(channel)
		}
	}
}

func (p *publisher) publish(items []item) {
	var written, writtenBytes uint64
	var releasable, releasableBytes int64
	for i := range items {
		it := &items[i]
		if it.fence != nil {
			p.n.confirm.wrote(written)
			p.account(&written, &writtenBytes)
			p.n.confirm.await(it.fence)
			continue
		}
		if p.n.aborted() {
			p.n.queue.release(releasable, releasableBytes)
			releasable, releasableBytes = 0, 0
			p.discard(items[i:], LostClosed, ErrClosed)
			break
		}
		if it.storing != nil {
			p.store(it) // accounts for itself: it is acknowledged
		} else if p.send(it) {
			written++
			writtenBytes += uint64(len(it.data))
		}
		releasable++
		releasableBytes += int64(len(it.data))
		if releasable == releaseEvery {
			p.n.queue.release(releasable, releasableBytes)
			releasable, releasableBytes = 0, 0
		}
	}
	p.n.queue.release(releasable, releasableBytes)
	if written > 0 {
		p.n.confirm.wrote(written)
		p.account(&written, &writtenBytes)
	}
}

func (p *publisher) account(written, bytes *uint64) {
	p.n.count.published.Add(*written)
	p.n.count.publishedBytes.Add(*bytes)
	*written, *bytes = 0, 0
}

// send writes one publication; false when it was lost, which is then counted.
func (p *publisher) send(it *item) bool {
	p.n.dialer.admit(p.n.life)
	subject := p.subjects.of(it.channel)
	var err error
	switch {
	case !subject.takes(it):
		p.n.count.lose(LostBadSubject, 1)
		p.n.events.event(slog.LevelError, "publication dropped: its channel stands for subjects that take no such message", "channel", it.channel)
		return false
	case it.binary:
		p.binary.Subject, p.binary.Data = subject.text, it.data
		err = p.conn.PublishMsg(&p.binary)
		p.binary.Data = nil
	case it.meta > 0:
		p.meta.Subject, p.meta.Data = subject.text, it.payload()
		p.meta.Header[metaHeader][0] = it.metaLine()
		err = p.conn.PublishMsg(&p.meta)
		p.meta.Data = nil
	default:
		err = p.conn.Publish(subject.text, it.data)
	}
	if err == nil {
		return true
	}
	p.n.count.lose(p.failure(err), 1)
	return false
}

// failure says why nats.go refused a publication, and repairs what can be repaired.
func (p *publisher) failure(err error) LossReason {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected):
		return LostDisconnected
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return LostClosed
	case errors.Is(err, nats.ErrMaxPayload):
		// The limit shrank between acceptance and writing: another server.
		return LostOversize
	case errors.Is(err, nats.ErrHeadersNotSupported), errors.Is(err, nats.ErrBadSubject):
		p.n.events.event(slog.LevelError, "publication rejected by nats.go", "err", err)
		return LostRejected
	}
	// A write failed: nats.go has thrown its buffer away, with publications written before. Only a new
	// connection is in a known state; the confirmer counts the buffer's content when it sees the new one.
	p.n.events.event(slog.LevelWarn, "write to NATS failed, reconnecting", "err", err)
	_ = p.conn.ForceReconnect() // fails only when the connection is closed already
	return LostUnconfirmed
}

// discard counts publications that cannot be written and answers fences.
func (p *publisher) discard(items []item, reason LossReason, err error) {
	var messages, bytes, live int64
	for i := range items {
		if f := items[i].fence; f != nil {
			f.answer <- err
			continue
		}
		messages++
		bytes += int64(len(items[i].data))
		if w := items[i].storing; w != nil {
			p.n.unstored(w, err)
			continue
		}
		live++
	}
	p.n.count.lose(reason, uint64(live))
	p.n.queue.release(messages, bytes)
}
