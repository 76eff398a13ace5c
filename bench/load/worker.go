package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"throng/bench/engine"
)

// Serve is a worker: it takes orders from in and answers to out until in ends,
// which also ends its connections. It returns the first error of the link.
func Serve(in io.Reader, out io.Writer) error {
	w := &worker{enc: json.NewEncoder(out)}
	defer w.stop()
	dec := json.NewDecoder(in)
	for {
		var o Order
		if err := dec.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
				return nil
			}
			return fmt.Errorf("worker: order: %w", err)
		}
		w.obey(&o)
	}
}

type worker struct {
	mu  sync.Mutex // guards enc: the loop answers too
	enc *json.Encoder

	e     *engine.Engine
	ended chan struct{}
}

func (w *worker) stop() {
	if w.e != nil {
		w.e.Stop()
		<-w.ended
	}
}

// answer sends a; a broken link shows as the end of the orders.
func (w *worker) answer(a Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.enc.Encode(a)
}

func (w *worker) obey(o *Order) {
	switch o.Op {
	case OpClock:
		clock := engine.NewClock()
		w.answer(Answer{ID: o.ID, Now: clock.Now(), PID: os.Getpid()})
	case OpSetup:
		w.answer(w.setup(o))
	default:
		if w.e == nil {
			w.answer(Answer{ID: o.ID, Error: "order " + string(o.Op) + " before setup"})
			return
		}
		w.e.Do(func(e *engine.Engine) { w.onLoop(e, o) })
	}
}

// onLoop carries out o; answers of long orders come later.
func (w *worker) onLoop(e *engine.Engine, o *Order) {
	done := func() { w.answer(Answer{ID: o.ID}) }
	switch {
	case o.Op == OpOpen && o.Open != nil:
		order := *o.Open
		if order.To == 0 {
			order.To = e.Rows()
		}
		e.Open(order, done)
	case o.Op == OpPublish && o.Publish != nil:
		e.Publish(*o.Publish, done)
	case o.Op == OpBurst && o.Burst != nil:
		e.Burst(*o.Burst, done)
	case o.Op == OpAcks && o.Acks != nil:
		e.Acks(*o.Acks, done)
	case o.Op == OpDrop:
		to := e.Rows()
		if o.Listeners {
			to = e.Listeners()
		}
		e.Drop(0, to)
		done()
	case o.Op == OpHeartbeat:
		e.Heartbeat(int64(o.Period))
		done()
	case o.Op == OpPhase && len(o.Phase) == 1:
		e.Phase(o.Phase[0])
		done()
	case o.Op == OpAbandon:
		e.Abandon()
		done()
	case o.Op == OpPeek:
		s := e.Peek()
		w.answer(Answer{ID: o.ID, Stats: &Stats{Counters: s.Counters, Failures: s.Failures, Drops: s.Drops, Codes: s.Codes}})
	case o.Op == OpCollect:
		w.collect(e, o)
	default:
		w.answer(Answer{ID: o.ID, Error: fmt.Sprintf("unknown or incomplete order %q", o.Op)})
	}
}

func (w *worker) collect(e *engine.Engine, o *Order) {
	s := e.Collect()
	stats, err := statsOf(&s)
	if err != nil {
		w.answer(Answer{ID: o.ID, Error: err.Error()})
		return
	}
	stats.RSS = ownRSS()
	w.answer(Answer{ID: o.ID, Stats: stats})
}

func (w *worker) setup(o *Order) Answer {
	a := Answer{ID: o.ID, PID: os.Getpid()}
	cfg, err := configOf(o.Plan)
	if err == nil && w.e != nil {
		err = errors.New("setup twice")
	}
	if err == nil {
		w.e, err = engine.New(cfg)
	}
	if err != nil {
		w.e, a.Error = nil, err.Error()
		return a
	}
	w.ended = make(chan struct{})
	go func() { defer close(w.ended); w.e.Run() }()
	a.Now = w.e.Now()
	return a
}

// ownRSS reads this process's resident set, in bytes, 0 if /proc hides it.
func ownRSS() int64 {
	p, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(p))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// configOf turns one worker's plan into an engine's configuration.
func configOf(p *Plan) (engine.Config, error) {
	if p == nil {
		return engine.Config{}, errors.New("setup without a plan")
	}
	cfg := engine.Config{
		First: p.Share.First, Count: p.Share.Count,
		FirstPublisher: p.Share.FirstPublisher, PublisherCount: p.Share.PublisherCount,
		Channels: p.Channels, Members: p.Members, Talkers: p.Talkers, ChannelPrefix: p.ChannelPrefix,
		Payload: p.Payload, Run: p.Run, PerAddress: p.PerAddress, HandshakeTimeout: p.Timeout,
		SilentAfter: p.SilentAfter, DropByReset: p.DropByReset, ClockOffset: p.Share.ClockOffset,
		MembersOf: p.MembersOf, Answers: p.Answers, Positioned: p.Positioned,
	}
	var err error
	if cfg.Dialect, err = engine.NewDialect(p.Dialect, p.ReadyAtUpgrade); err != nil {
		return cfg, err
	}
	cfg.PublishDialect = cfg.Dialect
	if p.PublishDialect != "" {
		if cfg.PublishDialect, err = engine.NewDialect(p.PublishDialect, p.ReadyAtUpgrade); err != nil {
			return cfg, err
		}
	}
	targets := p.Targets
	if len(p.Share.Targets) > 0 {
		targets = p.Share.Targets
	}
	if cfg.Targets, err = parseTargets(targets, needsRoom(p, cfg.Dialect)); err != nil {
		return cfg, err
	}
	if cfg.PublishTargets, err = parseTargets(p.PublishTargets, needsRoom(p, cfg.PublishDialect)); err != nil {
		return cfg, err
	}
	cfg.TLS, err = tlsOf(p, append(cfg.Targets, cfg.PublishTargets...))
	return cfg, err
}

// needsRoom says whether the channel must stand in the URL: dialects without a
// subscribe command, when the plan names one.
func needsRoom(p *Plan, d engine.Dialect) bool {
	return d.Name() == "raw" && p.ChannelPrefix != ""
}

func parseTargets(urls []string, room bool) ([]engine.Target, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out := make([]engine.Target, 0, len(urls))
	for _, u := range urls {
		t, err := engine.ParseTarget(ctx, u)
		if err != nil {
			return nil, err
		}
		if room {
			t = t.WithRoom()
		}
		out = append(out, t)
	}
	return out, nil
}

func tlsOf(p *Plan, targets []engine.Target) (*tls.Config, error) {
	wanted := false
	for i := range targets {
		wanted = wanted || targets[i].TLS
	}
	if !wanted {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: p.TLSInsecure, NextProtos: []string{"http/1.1"}}
	if p.TLSCA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(p.TLSCA)) {
			return nil, errors.New("the TLS authority file holds no PEM certificate")
		}
	}
	return cfg, nil
}
