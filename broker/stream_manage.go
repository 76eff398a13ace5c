package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The life of Streams. Goroutines, beside those of the broker: the manager, which creates, updates and watches streams
// and blocks on JetStream's API; the sweeper, which answers what NATS does not; and three of nats.go, one per subscription:
// acknowledgements, answers to reads, JetStream's advisories. OnDoubt and Done are called by any of them, by the
// publisher and by nats.go's callback goroutine.

func startStreams(n *NATS, cfg StreamsConfig) (*Streams, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if n.shutting.Load() {
		return nil, ErrClosed
	}
	s := &Streams{
		n: n, cfg: cfg, acks: newAckTable(cfg.MaxPending, cfg.AckTimeout),
		ackInbox: n.conn.NewInbox() + ".", inbox: n.conn.NewInbox() + ".",
		slots: make(chan struct{}, cfg.MaxReads), calls: make(map[uint64]chan *nats.Msg),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	none := make(map[string]*stream)
	s.known.Store(&none)
	s.newLink()
	if err := s.configure(cfg.Streams); err != nil {
		return nil, err
	}
	if !n.streams.CompareAndSwap(nil, s) {
		return nil, errors.New("broker: Streams was called before")
	}
	if err := s.listen(); err != nil {
		return nil, linkError(err)
	}
	s.ends.Go(s.manage)
	s.ends.Go(s.sweep)
	return s, nil
}

// listen subscribes what NATS answers on. nats.go keeps the subscriptions across reconnects.
func (s *Streams) listen() error {
	for _, l := range []struct {
		subject string
		call    nats.MsgHandler
	}{
		{s.ackInbox + "*", s.onAck},
		{s.inbox + "*", s.onAnswer},
		{advisories + ">", s.onAdvisory},
	} {
		sub, err := s.n.conn.Subscribe(l.subject, l.call)
		if err != nil {
			return err
		}
		s.ends.Add(1)
		sub.SetClosedHandler(func(string) { s.ends.Done() })
		// What may arrive is bounded by MaxPending and MaxReads.
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			return err
		}
		s.subs = append(s.subs, sub)
	}
	return nil
}

// halt ends the manager's and the sweeper's work and all calls. The publisher has ended.
func (s *Streams) halt() {
	s.link.Load().end()
	close(s.stop)
}

// end answers what is left. nats.go's connection is closed.
func (s *Streams) end() {
	s.answerAll(s.acks.close(), fmt.Errorf("%w: %w", ErrUnconfirmed, ErrClosed))
	s.ends.Wait() // the last acknowledgements still want to know the epoch
	for _, st := range s.all() {
		st.become(streamState{why: ErrClosed})
	}
}

func (s *Streams) newLink() {
	ctx, cancel := context.WithCancel(s.n.life)
	s.link.Store(&linkLife{ctx: ctx, end: cancel})
}

// linkUp is called by nats.go's callback goroutine, as linkDown. What happened meanwhile is not known.
func (s *Streams) linkUp() {
	s.newLink()
	for _, st := range s.all() {
		st.doubt()
	}
}

func (s *Streams) linkDown() {
	s.link.Load().end()
	s.answerAll(s.acks.takeWritten(), fmt.Errorf("%w: %w", ErrUnconfirmed, ErrDisconnected))
	if s.cfg.OnLost != nil {
		s.cfg.OnLost(s.n.dialer.silent())
	}
}

// blame notes what a refused publication says of its stream. One that cannot be used is taken out of use until the manager
// brings it back; a full one goes on being tried, since others remove and make room.
func (s *Streams) blame(st *stream, why error) {
	if errors.Is(why, ErrStoreFull) {
		st.full.Store(time.Now().UnixNano())
		s.n.events.event(slog.LevelError, "the NATS store is full", "stream", st.name, "err", why)
		return
	}
	state := st.state.Load()
	if !errors.Is(why, ErrNoStream) || !state.ready {
		return
	}
	s.count.faults.Add(1)
	st.become(streamState{epoch: state.epoch, why: why})
	s.n.events.event(slog.LevelWarn, "a stream cannot take publications", "stream", st.name, "err", why)
	st.look()
}

func (s *Streams) tellDoubt(namespace string) {
	if s.cfg.OnDoubt != nil {
		s.count.doubts.Add(1)
		s.cfg.OnDoubt(namespace)
	}
}

// configure is Configure.
func (s *Streams) configure(streams []StreamConfig) error {
	if err := validateStreams(streams); err != nil {
		return err
	}
	before := *s.known.Load()
	after := make(map[string]*stream, len(streams))
	replicas := 1
	for _, c := range streams {
		c.setDefaults()
		replicas = max(replicas, c.Replicas)
		st := before[c.Namespace]
		if st == nil {
			st = s.n.newStream(c, s.wake)
		} else {
			st.reconfigure(c)
		}
		after[c.Namespace] = st
	}
	if s.cfg.Once > 0 && s.once.Load() == nil {
		s.once.Store(s.n.newOnce(StreamConfig{
			Size: 1, MaxAge: s.cfg.Once, DuplicateWindow: s.cfg.Once, Replicas: replicas, Storage: "memory",
		}, s.wake))
	}
	s.known.Store(&after)
	trySignal(s.wake)
	return nil
}

func (st *stream) reconfigure(c StreamConfig) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !reflect.DeepEqual(st.cfg, c) {
		st.cfg = c
		st.wishes++
		st.urgent.Store(true)
	}
}

func (s *Streams) statuses() []StreamStatus {
	var out []StreamStatus
	for _, st := range *s.known.Load() {
		st.mu.Lock()
		status := st.status
		st.mu.Unlock()
		state := st.state.Load()
		up := s.n.link.up.Load()
		full := time.Now().UnixNano()-st.full.Load() < int64(s.cfg.CheckInterval)
		status.Ready, status.Epoch, status.Why = state.ready && up && !full && !st.silent.Load(), state.epoch, "it is being looked at"
		switch {
		case status.Ready:
			status.Why = ""
		case !up:
			status.Why = ErrDisconnected.Error()
		case state.why != nil:
			status.Why = explain(state.why)
		case full:
			status.Why = explain(ErrStoreFull)
		case st.silent.Load():
			status.Why = "NATS takes publications and does not acknowledge them: its disk may be full or failing (see its log: then free space and " +
				"restart that NATS server), it may be overloaded, or too few replicas are up"
		}
		out = append(out, status)
	}
	slices.SortFunc(out, func(a, b StreamStatus) int { return cmp.Compare(a.Namespace, b.Namespace) })
	return out
}

// explain says in an operator's words why a stream is not ready, and what to do.
func explain(err error) string {
	switch {
	case errors.Is(err, errNoAPI), isCode(err, codeNotEnabled), isCode(err, codeNotEnabledAccount):
		return "JetStream is off at NATS: either it was never enabled there (`jetstream` in nats.conf), or it has switched itself off, " +
			"as it does when its disk is full or fails; then free space and restart that NATS server"
	case errors.Is(err, errNoResponders):
		return "NATS has no leader for this stream: too few of its replicas are up, or JetStream has switched itself off on them (disk full?)"
	case errors.Is(err, errNoAnswer), isCode(err, codeClusterNotAvail):
		return "JetStream does not answer: its cluster has no leader, because fewer than half of its servers are up, or it is overloaded"
	case errors.Is(err, ErrStoreFull):
		return fmt.Sprintf("the NATS store is full (%v): free space or raise the limit (max_store, max_bytes); if it was the disk, JetStream "+
			"stays off until that NATS server is restarted", err)
	case isCode(err, codeNoCluster):
		return "several replicas are asked for, and NATS is a single server: ask for 1, or cluster it"
	}
	return strings.TrimPrefix(err.Error(), ErrNoStream.Error()+": ")
}

// manage is the manager's goroutine.
func (s *Streams) manage() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	lost := uint64(0)
	for {
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.stop:
			return
		}
		// nats.go announces only the first drop of an episode.
		s.n.drops.tally()
		if now := s.n.count.lost[LostReaderFull].Load(); now != lost {
			lost = now
			s.tellDoubt("")
		}
		timer.Reset(s.turn())
	}
}

// turn looks at every stream that is due, and says when the next one is.
func (s *Streams) turn() time.Duration {
	wait := s.cfg.CheckInterval
	if !s.n.link.up.Load() {
		return wait // linkUp wakes
	}
	for _, st := range s.all() {
		if st.urgent.Swap(false) {
			st.next = time.Time{}
		}
		if !time.Now().Before(st.next) {
			st.next = time.Now().Add(s.lookAt(st))
		}
		wait = min(wait, time.Until(st.next))
	}
	return max(wait, time.Millisecond)
}

// lookAt makes a stream usable if it can, and says when to look again.
func (s *Streams) lookAt(st *stream) time.Duration {
	generation := st.generation.Load()
	link := s.link.Load().ctx
	ctx, cancel := context.WithCancel(link)
	defer cancel()
	s.look.Store(&cancel)
	epoch, err := s.ensure(ctx, st)
	s.look.Store(nil)
	if st.generation.Load() != generation {
		return 0 // doubted meanwhile
	}
	if err != nil && ctx.Err() != nil && link.Err() == nil {
		return s.cfg.RetryMin // interrupted
	}
	before := st.state.Load()
	if err == nil {
		st.attempts = 0
		s.confirm(st, before, epoch)
		if left := st.unsure.Load(); left > 0 && st.unsure.CompareAndSwap(left, left-1) {
			return min(s.cfg.RetryMin<<(2*(looksWhenUnsure-left)), s.cfg.CheckInterval)
		}
		return s.cfg.CheckInterval
	}
	if before.ready && errors.Is(err, errNoAnswer) && st.attempts < 1 {
		st.attempts++ // busy, perhaps: publications will tell
		return s.cfg.RetryMin
	}
	if errors.Is(err, ErrConflict) {
		return time.Millisecond // another node began the epoch
	}
	if !errors.Is(err, ErrDisconnected) && !errors.Is(err, context.Canceled) {
		if !errors.Is(err, ErrNoStream) && !errors.Is(err, ErrStoreFull) {
			err = fmt.Errorf("%w: %v", ErrNoStream, err)
		}
		st.become(streamState{epoch: before.epoch, why: err})
		s.n.events.event(slog.LevelWarn, "a stream is not ready", "stream", st.name, "why", explain(err))
	}
	st.attempts++
	return s.backOff(st.attempts)
}

// interrupt ends the manager's wait for an answer that may never come: a stream without a leader gives none, and now one has a
// leader. Without it, publishing went on only when StreamsConfig.ReadTimeout had passed, once or twice.
func (s *Streams) interrupt() {
	if cancel := s.look.Load(); cancel != nil {
		(*cancel)()
	}
}

func (s *Streams) backOff(attempt int) time.Duration {
	c := Config{ReconnectMin: s.cfg.RetryMin, ReconnectMax: s.cfg.RetryMax}
	return c.reconnectDelay(attempt)
}

// confirm puts a stream in force that was found well.
func (s *Streams) confirm(st *stream, before *streamState, epoch string) {
	if before.ready && before.epoch == epoch {
		return
	}
	st.become(streamState{ready: true, epoch: epoch})
	if st.once {
		return
	}
	s.n.events.event(slog.LevelInfo, "stream ready", "stream", st.name, "epoch", epoch)
	s.tellDoubt(st.namespace)
}

const never = math.MaxUint64
