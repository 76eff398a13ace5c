package session

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"throng/server/auth"
	"throng/server/hub"
	"throng/server/wire"
)

// liveConn is a connection with an owner of its own, for the race detector.
type liveConn struct {
	shard int
	work  chan func()

	mu     sync.Mutex
	closed bool
	sent   int
}

func (c *liveConn) Shard() int           { return c.shard }
func (c *liveConn) Flush()               {}
func (c *liveConn) WakeIn(time.Duration) {}
func (c *liveConn) UseKeepAlive(uint8)   {}

func (c *liveConn) Send([]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	return false
}

func (c *liveConn) Close(wire.CloseCode, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

func (c *liveConn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *liveConn) Post(fn func()) bool {
	select {
	case c.work <- fn:
		return true
	default:
		return false
	}
}

// loopBroker brings everything back at once, on a goroutine of its own as NATS does.
type loopBroker struct {
	hub   *hub.Hub
	queue chan func()
}

func (b *loopBroker) Subscribe(string)                   {}
func (b *loopBroker) Unsubscribe(string)                 {}
func (b *loopBroker) Publish(string, []byte, bool) error { return nil }
func (b *loopBroker) PublishMeta(name string, data, meta []byte) error {
	data, line := append([]byte(nil), data...), string(meta)
	select {
	case b.queue <- func() { b.hub.Receive(hub.Publication{Channel: name, Data: data}, line) }:
		return nil
	default:
		return hub.ErrBusy
	}
}

var stressCommands = []string{
	`{"id":2,"subscribe":{"channel":"chat:1","join_leave":true}}`, `{"id":2,"subscribe":{"channel":"chat:2"}}`, `{"id":2,"subscribe":{"channel":"news"}}`,
	`{"id":3,"unsubscribe":{"channel":"chat:1"}}`, `{"id":3,"unsubscribe":{"channel":"news"}}`, `{"id":4,"publish":{"channel":"chat:1","data":1}}`,
	`{"id":5,"presence":{"channel":"chat:1"}}`, `{"id":5,"presence_stats":{"channel":"chat:2"}}`, `{}`, `{"id":6,"ping":{}}`,
}

func TestManyOwnersAndTheServerAtOnceLeaveNothingBehind(t *testing.T) {
	cfg := auth.DefaultConfig()
	tokens, err := auth.NewTokens(cfg, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	b := &loopBroker{queue: make(chan func(), 1024)}
	var hc hub.Config
	hc.Shards = 3
	(&Encoders{}).AddTo(&hc)
	b.hub = hub.New(hc, b)
	b.hub.Start()
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		for fn := range b.queue {
			fn()
		}
	}()
	requests := &pool{}
	v := New(Config{AllowAnonymous: true}, Parts{Hub: b.hub, Rules: rulesOf(t, nil), Connection: tokens.Connection, Subscription: tokens.Subscription, Requests: requests})
	var clients, control sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { stressClient(v, i) })
	}
	stop := make(chan struct{})
	control.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			switch n % 5 {
			case 0:
				v.Subscribe(Target{}, ServerSub{Channel: "chat:2", Info: []byte(`1`)})
			case 1:
				v.Unsubscribe(Target{}, "chat:2", wire.UnsubscribeByServer)
			case 2:
				v.Refresh(Target{}, RefreshOrder{Info: fmt.Appendf(nil, "%d", n)})
			case 3:
				if _, err := v.Presence(t.Context(), "chat:1"); err != nil {
					t.Error(err)
				}
			case 4:
				v.Disconnect(Target{}, wire.CloseForceReconnect, "force reconnect")
			}
			v.Stats()
			time.Sleep(time.Millisecond)
		}
	})
	clients.Wait()
	close(stop)
	control.Wait()
	requests.wg.Wait()
	close(b.queue)
	<-delivered
	b.hub.Close()
	s := v.Stats()
	if s.Sessions != 0 || s.Subscriptions != 0 || s.Users != 0 {
		t.Errorf("left behind: %+v", s)
	}
	for i := range v.presence.stripes {
		if n := len(v.presence.stripes[i].m); n != 0 {
			t.Errorf("%d channels left in presence", n)
		}
	}
}

// stressClient comes and goes, twenty times.
func stressClient(v *Service, seed int) {
	r := rand.New(rand.NewPCG(uint64(seed), 7))
	for range 20 {
		c := &liveConn{shard: seed, work: make(chan func(), 256)}
		s := v.Join(c, Handshake{Protocol: wire.JSON})
		s.Open()
		_ = s.Message(wire.OpText, []byte(`{"id":1,"connect":{}}`))
		for n := 0; n < 100 && !c.over(); n++ {
			select {
			case fn := <-c.work:
				fn()
			default:
				_ = s.Message(wire.OpText, []byte(stressCommands[r.IntN(len(stressCommands))]))
			}
		}
		s.Closed(wire.CloseNormal)
	}
}
