package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ensure brings a stream into being, as far as it is not, and reads its epoch. The manager's.
func (s *Streams) ensure(ctx context.Context, st *stream) (epoch string, err error) {
	st.mu.Lock()
	cfg, wish, apply := st.cfg, st.wishes, st.wishes != st.done
	st.mu.Unlock()
	high := st.high.Load() // before the question: what is acknowledged meanwhile may be missing in the answer
	info, err := s.streamInfo(ctx, st.name)
	if isCode(err, codeStreamNotFound) {
		if err := st.mayRecreate(); err != nil {
			return "", err
		}
		info, err = s.createStream(ctx, st.name, st.wanted(&cfg, s.n.cfg.Prefix))
		switch {
		case isCode(err, codeNameExists): // another node was faster
			info, err = s.streamInfo(ctx, st.name)
		case isCode(err, codeOverlap):
			return "", fmt.Errorf("%w: its subjects belong to %s: delete that stream, take %q from its subjects, or choose another --nats-prefix",
				ErrNoStream, s.overlapping(ctx, st.subject), st.subject)
		}
	}
	if err != nil {
		return "", err
	}
	st.missing = time.Time{}
	if err := st.ours(info.Config, s.n.cfg.Prefix); err != nil {
		return "", err
	}
	var mismatches []string
	if apply {
		if info, mismatches, err = s.reconcile(ctx, st, &cfg, info); err != nil {
			return "", err
		}
	} else {
		mismatches = st.differences(&cfg, info.Config, s.n.cfg.Prefix)
	}
	if err := st.usable(info.Config, s.n.cfg.Prefix); err != nil {
		return "", err
	}
	seq := uint64(0)
	if !st.once {
		if epoch, seq, err = s.epochOf(ctx, st); err != nil {
			return "", err
		}
		if epoch, seq, err = s.checkRegress(ctx, st, position{epoch, seq, info.State.Last, high}); err != nil {
			return "", err
		}
		if err := s.probe(ctx, st, epoch, seq); err != nil {
			return "", err
		}
		s.keepEpoch(ctx, st, &info, epoch, seq)
	}
	st.learned(&info, mismatches, wish)
	return epoch, nil
}

// recreateAfter is how long a deleted stream stays away before it is made anew. nats-server 2.15.2 forgets a stream before it
// removes its files: one made at that moment finds the old messages, while their files go.
const recreateAfter = time.Second

func (st *stream) mayRecreate() error {
	if st.lastEpoch == "" {
		return nil // not seen yet: it is new
	}
	if st.missing.IsZero() {
		st.missing = time.Now()
	}
	if time.Since(st.missing) < recreateAfter {
		return fmt.Errorf("%w: it was deleted, and is about to be made anew", ErrNoStream)
	}
	return nil
}

// learned notes what the stream is like.
func (st *stream) learned(info *jsInfo, mismatches []string, wish int) {
	st.replicas.Store(number(info.Config["num_replicas"]))
	st.mu.Lock()
	defer st.mu.Unlock()
	st.done = wish // another may have come meanwhile: Configure wakes the manager again
	status := StreamStatus{
		Namespace: st.namespace, Stream: st.name, Mismatches: mismatches,
		Storage: text(info.Config["storage"]), Replicas: int(number(info.Config["num_replicas"])),
		First: info.State.First, Last: info.State.Last, Messages: info.State.Messages, Bytes: info.State.Bytes,
		MaxBytes: number(info.Config["max_bytes"]), Checked: time.Now(),
	}
	if info.Cluster != nil {
		status.Leader = info.Cluster.Leader
	}
	st.status = status
}

// epochOf reads the epoch from the stream's leader, or begins one.
func (s *Streams) epochOf(ctx context.Context, st *stream) (string, uint64, error) {
	m, err := s.leaderMessage(ctx, st.name, jsGet{LastFor: st.epochAt})
	if err == nil && goodEpoch(m.Message.Data) {
		return string(m.Message.Data), m.Message.Seq, nil
	}
	if err == nil {
		s.n.events.event(slog.LevelError, "the epoch's subject held something else, a new epoch begins", "stream", st.name, "subject", st.epochAt)
		return s.newEpoch(ctx, st)
	}
	if !isCode(err, codeNoMessage) {
		return "", 0, err
	}
	return s.writeEpoch(ctx, st, rand.Text()[:12], 0)
}

func goodEpoch(data []byte) bool {
	if len(data) == 0 || len(data) > 64 || string(data) == "_" {
		return false
	}
	for _, b := range data {
		if !literal(b) {
			return false
		}
	}
	return true
}

// newEpoch ends the epoch there is and begins another.
func (s *Streams) newEpoch(ctx context.Context, st *stream) (string, uint64, error) {
	if err := s.purgeStream(ctx, st.name, jsPurge{Filter: st.epochAt}); err != nil {
		return "", 0, err
	}
	return s.writeEpoch(ctx, st, rand.Text()[:12], 0)
}

// writeEpoch stores an epoch provided that the last one stored is after. Of many nodes one succeeds; the others get
// ErrConflict and read the winner's at their next look.
func (s *Streams) writeEpoch(ctx context.Context, st *stream, epoch string, after uint64) (string, uint64, error) {
	m := &nats.Msg{Subject: st.epochAt, Data: []byte(epoch), Header: nats.Header{
		"Nats-TTL":   []string{"never"}, // MaxAge would take it otherwise
		expectHeader: []string{strconv.FormatUint(after, 10)},
	}}
	answer, err := s.request(ctx, m)
	if err != nil {
		return "", 0, err
	}
	ack := readAck(st.ackPrefix, answer)
	if ack.err != nil {
		return "", 0, ack.err
	}
	if after == 0 {
		s.count.epochs.Add(1)
		s.n.events.event(slog.LevelInfo, "a new epoch begins", "stream", st.name, "epoch", epoch)
	}
	return epoch, ack.seq, nil
}

// position is what a look found.
type position struct {
	epoch string
	at    uint64 // sequence of the epoch's message
	last  uint64 // of the stream
	high  uint64 // the highest sequence this node knew of before it looked
}

// checkRegress finds a stream that has lost its newest messages, as a NATS server without sync_interval: always can when
// its machine loses power. Their numbers are given again, to other messages: a new epoch must begin. Several looks in a
// row must find it so, since a new leader may not have caught up with itself.
func (s *Streams) checkRegress(ctx context.Context, st *stream, p position) (string, uint64, error) {
	if st.lastEpoch != p.epoch {
		st.lastEpoch, p.high = p.epoch, 0
		st.high.Store(0)
	}
	last := max(p.last, p.at)
	if last >= p.high {
		st.regress = 0
		st.saw(last)
		return p.epoch, p.at, nil
	}
	const looks = 3
	if st.regress++; st.regress < looks {
		return "", 0, fmt.Errorf("%w: it ends at %d, behind what was acknowledged; looking again", ErrNoStream, last)
	}
	s.n.events.event(slog.LevelError, "a stream has lost acknowledged messages, a new epoch begins", "stream", st.name,
		"last", last, "acknowledged", p.high)
	st.regress = 0
	epoch, at, err := s.newEpoch(ctx, st)
	if err == nil {
		st.lastEpoch = epoch
		st.high.Store(at)
	}
	return epoch, at, err
}

// probe finds out whether a stream that left publications unanswered stores again, by writing the epoch anew. A stream whose
// disk was full looks well otherwise.
func (s *Streams) probe(ctx context.Context, st *stream, epoch string, seq uint64) error {
	if !st.silent.Load() {
		return nil
	}
	if _, _, err := s.writeEpoch(ctx, st, epoch, seq); err != nil && !errors.Is(err, ErrConflict) {
		if errors.Is(err, errNoAnswer) {
			return nil // as it was: publications go on being tried
		}
		return err
	}
	st.silent.Store(false)
	return nil
}

// keepEpoch writes the epoch again before the limit on bytes, which removes the oldest message first, comes to it: when
// a quarter of what the stream holds at its limit has been stored since.
func (s *Streams) keepEpoch(ctx context.Context, st *stream, info *jsInfo, epoch string, seq uint64) {
	most := number(info.Config["max_bytes"])
	if most <= 0 {
		st.rewriteAt.Store(0)
		return
	}
	const sample, soon = 64, 16
	if info.State.Messages < sample { // too few to tell how large they are
		st.rewriteAt.Store(max(info.State.Last, seq) + soon)
		return
	}
	room := uint64(float64(most) / float64(info.State.Bytes) * float64(info.State.Messages))
	at := seq + max(room/4, 1)
	if info.State.Last >= at {
		_, again, err := s.writeEpoch(ctx, st, epoch, seq)
		if err != nil {
			return // another node did, or the next look does
		}
		_ = s.purgeStream(ctx, st.name, jsPurge{Filter: st.epochAt, Keep: 1}) // only tidiness
		at = again + max(room/4, 1)
	}
	st.rewriteAt.Store(at)
}

// number reads a number of a configuration; 0 when there is none.
func number(raw json.RawMessage) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
