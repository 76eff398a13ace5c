package history

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

// rig is one node whose live path delivers at once, unless a test says otherwise.
type rig struct {
	t       *testing.T
	v       *Service
	js      *jetStream
	hub     *memHub
	store   *memStore
	s       Stream
	lose    func(m Message) bool // messages that the live path loses
	live    []string             // what went to Parts.Live
	liveErr error
}

func newRig(t *testing.T, cfg Config) *rig {
	r := &rig{t: t, js: newJetStream(), hub: newMemHub(), s: Stream{Namespace: "ns", Size: 100}}
	r.js.add("ns", r.s.Size, time.Hour, 0)
	r.store = &memStore{j: r.js}
	r.v = New(cfg, Parts{
		Store: r.store, Hub: r.hub, Sync: func(ctx context.Context) error { return r.store.pause(ctx, "sync") },
		Live: func(channel string, data []byte, _ *wire.Meta, _ bool) error {
			r.live = append(r.live, channel+"="+string(data))
			return r.liveErr
		},
	})
	r.js.publish = func(namespace string, m memMessage, previous uint64) {
		msg := Message{Channel: m.channel, Namespace: namespace, Data: m.Data, Meta: m.Meta, Offset: m.Offset, Previous: previous, Time: m.Time}
		if r.lose == nil || !r.lose(msg) {
			r.v.Receive(msg)
		}
	}
	return r
}

// calm runs f with a rig in fake time.
func calm(t *testing.T, cfg Config, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, cfg)
		f(r)
		r.v.Close()
	})
}

// rest lets time pass and what happens in it end.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// put stores and publishes one message past the service.
func (r *rig) put(channel, data string) uint64 {
	return r.js.put(&StorePublication{Namespace: "ns", Channel: channel, Data: []byte(data)}).Offset
}

// listener is one positioned subscriber.
type listener struct {
	r       *rig
	channel string
	line    *Line
	sub     *memSub
	got     []string
	deltas  int
	cut     time.Time
	answer  Recovered
	now     bool
	called  int
}

func (r *rig) listen(channel string, q Request) *listener {
	l := &listener{r: r, channel: channel, sub: &memSub{}}
	l.sub.got = func(p hub.Publication) {
		l.got = append(l.got, string(p.Data))
		if p.Delta != nil {
			l.deltas++
		}
	}
	l.sub.cut = func() { l.cut = time.Now() }
	r.hub.hold(channel, l.sub)
	l.line = r.v.Join(r.s, channel)
	answer := func(a Recovered) {
		l.called++
		l.answer = a
		if a.Err == nil {
			r.hub.open(l.sub, a.Top)
		}
	}
	if a, now := l.line.Recover(q, answer); now {
		l.now = true
		answer(a)
	}
	return l
}

// listenNow waits for the answer.
func (r *rig) listenNow(channel string, q Request) *listener {
	r.t.Helper()
	l := r.listen(channel, q)
	synctest.Wait()
	if l.called != 1 || l.answer.Err != nil {
		r.t.Fatalf("%s: %d answers, %+v", channel, l.called, l.answer)
	}
	return l
}

func (l *listener) leave() {
	l.r.hub.leave(l.channel, l.sub)
	l.line.Leave()
}

func (l *listener) want(why string, data ...string) {
	l.r.t.Helper()
	synctest.Wait()
	l.r.hub.mu.Lock()
	defer l.r.hub.mu.Unlock()
	if fmt.Sprint(l.got) != fmt.Sprint(data) {
		l.r.t.Errorf("%s: got %v, want %v", why, l.got, data)
	}
	l.got = nil
}

func (l *listener) wantAnswer(why string, recovered bool, data ...string) {
	l.r.t.Helper()
	var got []string
	for _, p := range l.answer.Publications {
		got = append(got, string(p.Data))
	}
	if l.answer.Recovered != recovered || fmt.Sprint(got) != fmt.Sprint(data) || l.answer.Epoch == "" {
		l.r.t.Errorf("%s: recovered %v with %v, want %v with %v", why, l.answer.Recovered, got, recovered, data)
	}
}

func (r *rig) reads(channel string) int {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return r.store.reads[channel]
}
