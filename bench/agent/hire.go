package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Hire asks the agents that answer within two seconds for n workers, dealt over
// them in turn. On an error what was hired is given back.
func Hire(ctx context.Context, nc *nats.Conn, n int) (links []io.ReadWriteCloser, err error) {
	defer func() {
		if err != nil {
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			links = nil
		}
	}()
	cards, err := callRoll(ctx, nc)
	if err != nil {
		return nil, err
	}
	room := 0
	for _, c := range cards {
		room += c.Workers
	}
	if room < n {
		return nil, fmt.Errorf("--agents %d: %d agents answered and lend %d load processes; start more with: bench agent --nats-url %s", n, len(cards), room, nc.ConnectedUrl())
	}
	for i := 0; len(links) < n; i++ {
		c := &cards[i%len(cards)]
		if c.Workers == 0 {
			continue
		}
		c.Workers--
		l, err := hire(ctx, nc, c.ID)
		if err != nil {
			return links, fmt.Errorf("agent on %s: %w", c.Host, err)
		}
		links = append(links, l)
	}
	return links, nil
}

func callRoll(ctx context.Context, nc *nats.Conn) ([]card, error) {
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest(roll, inbox, nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, rollWait)
	defer cancel()
	var cards []card
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) {
			return cards, nil
		}
		if err != nil {
			return nil, err
		}
		var c card
		if json.Unmarshal(m.Data, &c) == nil && c.ID != "" {
			cards = append(cards, c)
		}
	}
}

func hire(ctx context.Context, nc *nats.Conn, id string) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, prefix+"agent."+id+".start", nil)
	if err != nil {
		return nil, err
	}
	var s started
	if err := json.Unmarshal(m.Data, &s); err != nil {
		return nil, err
	}
	if s.Error != "" {
		return nil, errors.New(s.Error)
	}
	return newStream(nc, s.Worker)
}

// stream is the coordinator's end of a hired worker.
type stream struct {
	nc     *nats.Conn
	worker string
	sub    *nats.Subscription
	r      *io.PipeReader
	w      *io.PipeWriter
	once   sync.Once
	quit   chan struct{}
	ended  sync.WaitGroup
	err    error
}

func newStream(nc *nats.Conn, worker string) (*stream, error) {
	s := &stream{nc: nc, worker: worker, quit: make(chan struct{})}
	s.r, s.w = io.Pipe()
	var err error
	if s.sub, err = nc.Subscribe(answers(worker), s.answer); err != nil {
		return nil, err
	}
	if err := errors.Join(s.sub.SetPendingLimits(-1, -1), nc.Flush()); err != nil {
		return nil, err
	}
	s.ended.Go(s.live)
	return s, nil
}

func (s *stream) answer(m *nats.Msg) {
	if m.Header.Get(endMark) != "" {
		_ = s.w.Close()
		return
	}
	_, _ = s.w.Write(m.Data) // fails only when closed
}

// live tells the agent that the coordinator lives.
func (s *stream) live() {
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
		m := nats.NewMsg(orders(s.worker))
		m.Header.Set(aliveOf, "1")
		if s.nc.PublishMsg(m) != nil {
			return
		}
	}
}

// Read takes from the worker's answers.
func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// Write gives orders, in messages that NATS takes.
func (s *stream) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+chunk, len(p))]
		if err := s.nc.Publish(orders(s.worker), part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// Close gives the worker back.
func (s *stream) Close() error {
	s.once.Do(func() {
		close(s.quit)
		s.ended.Wait()
		end := nats.NewMsg(orders(s.worker))
		end.Header.Set(endMark, "1")
		s.err = errors.Join(s.nc.PublishMsg(end), s.nc.Flush(), s.sub.Unsubscribe(), s.w.Close())
	})
	return s.err
}
