package faults

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"throng/broker"
	"throng/broker/natstest"
)

// The store alone: what broker.Streams was told is stored is stored, once, at the offset it said, whatever happens to the
// servers (F2 to F5 and F8, without nodes between).

const storeChannels = 20

// storer publishes like publisher, through broker.Streams.
type storer struct {
	l       *ledger
	streams *broker.Streams
	name    string
	turn    int
}

func (p *storer) next(ctx context.Context) {
	channel := fmt.Sprintf("rec:%d", p.turn%storeChannels)
	id := fmt.Sprintf("%s-%d", p.name, p.turn)
	p.turn++
	p.l.send(id, channel)
	for {
		began := time.Now()
		answer := make(chan broker.Stored, 1)
		err := p.streams.Store(&broker.StorePublication{
			Namespace: "rec", Channel: channel, Data: []byte(id), ID: id, Done: func(r broker.Stored) { answer <- r },
		})
		if err == nil {
			r := <-answer
			if err = r.Err; err == nil {
				p.l.confirm(channel, ack{id: id, offset: r.Offset, epoch: r.Epoch})
				return
			}
		}
		p.l.refused(began, err.Error())
		select {
		case <-ctx.Done():
			p.l.giveUp(id, err.Error())
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// storeLoad runs storers until stopped.
type storeLoad struct {
	stop, hard context.CancelFunc
	wg         sync.WaitGroup
}

func (d *storeLoad) end() { d.stop(); d.hard(); d.wg.Wait() }

func startStoring(t *testing.T, l *ledger, s *broker.Streams, name string) *storeLoad {
	soft, stop := context.WithCancel(context.Background())
	hard, giveUp := context.WithCancel(context.Background())
	d := &storeLoad{stop: stop, hard: giveUp}
	for i := range 4 {
		p := &storer{l: l, streams: s, name: fmt.Sprintf("%s%d", name, i)}
		d.wg.Go(func() {
			for soft.Err() == nil {
				p.next(hard)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	t.Cleanup(d.end)
	return d
}

func connectStreams(t *testing.T, url string, replicas int) *broker.Streams {
	t.Helper()
	n, err := broker.Connect(broker.Config{URLs: strings.Split(url, ","), Logger: slog.New(slog.DiscardHandler)}, func(broker.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	s, err := n.Streams(broker.StreamsConfig{Streams: []broker.StreamConfig{{Namespace: "rec", Size: 10_000, MaxAge: time.Hour, Replicas: replicas}}})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "stream ready", func() bool { return s.Status()[0].Ready })
	return s
}

// storedAll reads everything back and compares it with what was acknowledged.
func storedAll(t *testing.T, l *ledger, s *broker.Streams) (stored int) {
	t.Helper()
	for k := range storeChannels {
		channel := fmt.Sprintf("rec:%d", k)
		at := map[string]uint64{}
		epoch := ""
		for since := uint64(0); ; {
			var page broker.Page
			await(t, "read back "+channel, func() (ok bool) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				var err error
				page, err = s.Read(ctx, broker.ReadQuery{Namespace: "rec", Channel: channel, Since: since, Limit: 500})
				return err == nil
			})
			epoch = page.Epoch
			for _, m := range page.Messages {
				id := string(m.Data)
				if first, twice := at[id]; twice {
					t.Errorf("%s: %s is stored at %d and %d", channel, id, first, m.Offset)
				}
				if m.Offset <= since {
					t.Errorf("%s: %d after %d", channel, m.Offset, since)
				}
				at[id], since = m.Offset, m.Offset
			}
			if !page.More {
				break
			}
		}
		stored += len(at)
		for e, acks := range l.of(channel) {
			if e != epoch {
				t.Errorf("%s: %d acknowledged in the epoch %s, which is %s now", channel, len(acks), e, epoch)
			}
			for _, a := range acks {
				if at[a.id] != a.offset {
					t.Errorf("%s: %s was acknowledged as %d and is at %d", channel, a.id, a.offset, at[a.id])
				}
			}
		}
	}
	return stored
}

// underLoad publishes, makes the fault, publishes until acknowledgements flow again, and reads all back.
func underLoad(t *testing.T, s *broker.Streams, fault func(t *testing.T, l *ledger)) {
	t.Helper()
	l := newLedger()
	load := startStoring(t, l, s, t.Name())
	more := func(what string) {
		before, _ := l.count()
		await(t, what, func() bool { now, _ := l.count(); return now > before+200 })
	}
	more("publications are acknowledged")
	began := time.Now()
	fault(t, l)
	more("publications are acknowledged again")
	load.stop()
	done := make(chan struct{})
	go func() { load.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("still refused")
	}
	stored := storedAll(t, l, s)
	acked, refused := l.count()
	_, _, slowest := l.since(began)
	t.Logf("%d acknowledged, %d stored, %d refused (slowest answer %v), longest time without an acknowledgement %v", acked, stored, refused, slowest.Round(time.Millisecond), l.gap(began).Round(time.Millisecond))
	if slowest > 5*time.Second {
		t.Errorf("a refusal took %v", slowest)
	}
}

// The short forms of the scenes, which go through nodes, cover this too.
func TestTheStoreKeepsWhatItAcknowledges(t *testing.T) {
	t.Parallel()
	if !long {
		t.Skip("one of the long forms: THRONG_FAULTS=long")
	}
	c := natstest.StartCluster(t, natstest.Config{ProxiedRoutes: true})
	s := connectStreams(t, c.URL(), 3)
	for _, step := range []struct {
		name  string
		fault func(*testing.T, *ledger)
	}{
		{"leader killed (F2)", func(t *testing.T, l *ledger) {
			leader := c.Leader(recStream)
			leader.Kill()
			c.Leader(recStream)
			leader.Start()
		}},
		{"leader stopped (F3)", func(t *testing.T, l *ledger) {
			leader := c.Leader(recStream)
			leader.Stop()
			await(t, "another leader", func() bool { return c.Leader(recStream) != leader })
			time.Sleep(pick(time.Second, 8*time.Second))
			leader.Cont()
		}},
		{"leader in the minority (F8)", func(t *testing.T, l *ledger) {
			leader := c.Leader(recStream)
			c.Partition(leader)
			await(t, "another leader", func() bool { return c.Leader(recStream) != leader })
			time.Sleep(pick(time.Second, 10*time.Second))
			c.Heal()
		}},
		{"two of three killed (F4)", func(t *testing.T, l *ledger) {
			dead := c.Others(c.Leader(recStream))
			for _, d := range dead {
				d.Kill()
			}
			time.Sleep(500 * time.Millisecond) // what was acknowledged by a quorum before may still be on its way
			since := time.Now()
			await(t, "refusals", func() bool { _, refused, _ := l.since(since); return refused > 20 })
			if acked, _, _ := l.since(since); acked > 0 {
				t.Errorf("%d acknowledged by one of three", acked)
			}
			for _, d := range dead {
				d.Start()
			}
		}},
		{"all killed (F5)", func(t *testing.T, l *ledger) {
			for _, d := range c.Servers {
				d.Kill()
			}
			for _, d := range c.Servers {
				d.Start()
			}
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			underLoad(t, s, step.fault)
			c.WaitReady()
			c.WaitCurrent(recStream)
		})
	}
}
