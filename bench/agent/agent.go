package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	prefix  = "throngbench."
	roll    = prefix + "roll"
	endMark = "Bench-End"   // header: the stream is over
	aliveOf = "Bench-Alive" // header: nothing but a sign of life

	chunk     = 256 << 10        // bytes per message; NATS takes 1 MiB by default
	alive     = 5 * time.Second  // between signs of life
	silence   = 20 * time.Second // without one, until an agent gives a worker up
	startWait = 15 * time.Second
	rollWait  = 2 * time.Second
)

// card is an agent's answer to the roll.
type card struct {
	ID      string `json:"id"`
	Host    string `json:"host"`
	Workers int    `json:"workers"` // that it may still start
}

// started answers a start.
type started struct {
	Worker string `json:"worker,omitempty"`
	Error  string `json:"error,omitempty"`
}

// newID names an agent or a worker: random, and legal as a subject token.
func newID() string { return strings.ToLower(rand.Text()) }

func orders(worker string) string  { return prefix + "worker." + worker + ".orders" }
func answers(worker string) string { return prefix + "worker." + worker + ".answers" }

// Config of an agent.
type Config struct {
	Workers int                                // load processes it may have at once
	Start   func() (io.ReadWriteCloser, error) // starts one
	Log     func(format string, args ...any)   // one line per event
}

// agent is the lending side.
type agent struct {
	cfg  Config
	nc   *nats.Conn
	id   string
	busy atomic.Int64
	wg   sync.WaitGroup
	ctx  context.Context
}

// Serve lends workers until ctx is over, then ends those that are lent.
func Serve(ctx context.Context, nc *nats.Conn, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &agent{cfg: cfg, nc: nc, id: newID(), ctx: ctx}
	rolls, err := nc.Subscribe(roll, a.answerRoll)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer rolls.Unsubscribe()
	starts, err := nc.Subscribe(prefix+"agent."+a.id+".start", a.start)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer starts.Unsubscribe()
	if err := nc.FlushTimeout(startWait); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	cfg.Log("agent %s lends %d load processes", a.id, cfg.Workers)
	<-ctx.Done()
	a.wg.Wait()
	return nil
}

func (a *agent) answerRoll(m *nats.Msg) {
	host, _ := os.Hostname()
	p, err := json.Marshal(card{ID: a.id, Host: host, Workers: a.cfg.Workers - int(a.busy.Load())})
	if err == nil {
		err = m.Respond(p)
	}
	if err != nil {
		a.cfg.Log("roll: %v", err)
	}
}

// start is one callback at a time, so that busy cannot be overrun.
func (a *agent) start(m *nats.Msg) {
	var s started
	if int(a.busy.Load()) >= a.cfg.Workers {
		s.Error = "all " + strconv.Itoa(a.cfg.Workers) + " load processes are lent"
	} else if err := a.lend(&s); err != nil {
		s.Error = err.Error()
	}
	p, err := json.Marshal(s)
	if err == nil {
		err = m.Respond(p)
	}
	if err != nil {
		a.cfg.Log("start: %v", err)
	}
}

func (a *agent) lend(s *started) error {
	worker, err := a.cfg.Start()
	if err != nil {
		return err
	}
	id := newID()
	l := &loan{a: a, id: id, worker: worker, over: make(chan struct{})}
	l.heard.Store(time.Now().UnixNano())
	sub, err := a.nc.Subscribe(orders(id), l.order)
	if err == nil {
		err = errors.Join(sub.SetPendingLimits(-1, -1), a.nc.Flush())
	}
	if err != nil {
		return errors.Join(err, worker.Close())
	}
	l.sub = sub
	a.busy.Add(1)
	a.wg.Go(l.answer)
	a.wg.Go(l.watch)
	s.Worker = id
	a.cfg.Log("worker %s lent", id)
	return nil
}

// loan is one worker that is lent.
type loan struct {
	a      *agent
	id     string
	worker io.ReadWriteCloser
	sub    *nats.Subscription
	heard  atomic.Int64 // unix ns of the last message
	once   sync.Once
	over   chan struct{}
}

func (l *loan) order(m *nats.Msg) {
	l.heard.Store(time.Now().UnixNano())
	if m.Header.Get(endMark) != "" {
		l.end()
		return
	}
	if len(m.Data) > 0 {
		if _, err := l.worker.Write(m.Data); err != nil {
			l.end()
		}
	}
}

// end may be called from any goroutine, more than once; it does not wait.
func (l *loan) end() { l.once.Do(func() { close(l.over) }) }

// answer carries the worker's answers until it ends.
func (l *loan) answer() {
	p := make([]byte, chunk)
	for {
		n, err := l.worker.Read(p)
		if n > 0 && l.a.nc.Publish(answers(l.id), p[:n]) != nil {
			break
		}
		if err != nil {
			break
		}
	}
	end := nats.NewMsg(answers(l.id))
	end.Header.Set(endMark, "1")
	if err := l.a.nc.PublishMsg(end); err != nil {
		l.a.cfg.Log("worker %s: %v", l.id, err)
	}
	l.end()
}

// watch ends the worker when its coordinator said so, fell silent, or the agent
// itself ends.
func (l *loan) watch() {
	tick := time.NewTicker(silence / 4)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-l.over:
			waiting = false
		case <-l.a.ctx.Done():
			waiting = false
		case <-tick.C:
			waiting = time.Since(time.Unix(0, l.heard.Load())) < silence
		}
	}
	if err := l.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		l.a.cfg.Log("worker %s: %v", l.id, err)
	}
	if err := l.worker.Close(); err != nil {
		l.a.cfg.Log("worker %s: %v", l.id, err)
	}
	l.a.busy.Add(-1)
	l.a.cfg.Log("worker %s is back", l.id)
}
