package ws

import (
	"sync"
	"testing"
	"time"

	"throng/server/wire"
)

// awake is a Handler that asks to be woken.
type awake struct {
	echo
	woken chan *Conn
}

func (a *awake) Open()  { a.c.WakeIn(30 * time.Millisecond) }
func (a *awake) Woken() { a.woken <- a.c }

func upgradeTo(h func(c *Conn) Handler) Config {
	return Config{
		WheelTick: 5 * time.Millisecond,
		Upgrade:   func(c *Conn, _ *wire.Request) (Handler, *Refusal) { return h(c), nil },
	}
}

func TestHandlerIsWokenOnItsPoller(t *testing.T) {
	woken := make(chan *Conn, 10)
	f := start(t, upgradeTo(func(c *Conn) Handler { return &awake{echo: echo{c: c}, woken: woken} }), nil)
	c := f.dial()
	conn := <-woken
	conn.WakeIn(time.Hour)
	conn.WakeIn(10 * time.Millisecond) // the later wish counts, though it is for earlier
	<-woken
	conn.WakeIn(10 * time.Millisecond)
	conn.WakeIn(0)
	c.send(wire.OpText, "still a connection")
	c.want(wire.OpText, "still a connection")
}

func TestPostRunsOnThePollerAndFlushes(t *testing.T) {
	f := start(t, Config{}, nil)
	c := f.dial()
	conn := f.conn(0)
	for i := range 100 {
		msg := string(rune('a' + i%26))
		if !conn.Post(func() { conn.Send(wire.AppendFrame(nil, wire.OpText, []byte(msg))) }) {
			t.Fatal("inbox full")
		}
	}
	for i := range 100 {
		c.want(wire.OpText, string(rune('a'+i%26)))
	}
	conn.Post(func() { panic("planted") })
	c.wantClose(wire.CloseInternal)
	c.Close()
	await(t, "closed", func() bool { return f.Stats().Connections == 0 })
	conn.Post(func() { t.Error("ran for a closed connection") })
	other := f.dial()
	done := make(chan struct{})
	f.conn(1).Post(func() { close(done) })
	<-done
	other.send(wire.OpText, "x")
	other.want(wire.OpText, "x")
}

func TestPostToAFullInboxFails(t *testing.T) {
	f := start(t, Config{Pollers: 1, Inbox: 3}, nil)
	f.dial()
	conn := f.conn(0)
	release := make(chan struct{})
	began := make(chan struct{})
	conn.Post(func() { close(began); <-release })
	<-began
	for i := range 3 {
		if !conn.Post(func() {}) {
			t.Fatalf("post %d refused", i)
		}
	}
	if conn.Post(func() {}) {
		t.Error("a fourth was taken")
	}
	close(release)
	if f.Stats().LostPosts != 1 {
		t.Errorf("%d lost posts counted, want 1", f.Stats().LostPosts)
	}
}

// Some clients count on a ping every interval, however much they talk.
func TestPingsThatAlwaysCome(t *testing.T) {
	cfg := upgradeTo(func(c *Conn) Handler { return &always{echo{c: c}} })
	cfg.PingInterval, cfg.PongTimeout = 600*time.Millisecond, 500*time.Millisecond
	cfg.KeepAlives[1] = KeepAlive{Frame: wire.AppendFrame(nil, wire.OpText, []byte("{}")), NoPong: wire.CloseNoPong, Always: true}
	f := start(t, cfg, nil)
	c := f.dial()
	for range 3 {
		c.want(wire.OpText, "{}")
		c.write(wire.AppendMaskedFrame(nil, wire.OpPong, true, nil, testMask))
	}
	for { // and now talk, but no answer
		c.send(wire.OpText, "talk")
		op, p, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		if op == wire.OpClose {
			if code, _, _ := wire.ParseCloseBody(p); code != wire.CloseNoPong {
				t.Errorf("closed with %d", code)
			}
			return
		}
	}
}

// Posted work must not run beside the Handler's Closed, which comes from another goroutine.
func TestPostedWorkNeverRunsBesideClosed(t *testing.T) {
	var mu sync.Mutex
	over := map[*Conn]bool{}
	cfg := upgradeTo(func(c *Conn) Handler {
		return &closing{echo: echo{c: c}, over: func() { mu.Lock(); over[c] = true; mu.Unlock() }}
	})
	conns := make(chan *Conn, 1)
	inner := cfg.Upgrade
	cfg.Upgrade = func(c *Conn, r *wire.Request) (Handler, *Refusal) { conns <- c; return inner(c, r) }
	f := start(t, cfg, nil)
	for range 300 {
		c := f.dial()
		conn := <-conns
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn.Post(func() {
					mu.Lock()
					defer mu.Unlock()
					if over[conn] {
						t.Error("ran after Closed")
					}
				})
			}
		})
		c.Close()
		await(t, "closed", func() bool { mu.Lock(); defer mu.Unlock(); return over[conn] })
		close(stop)
		wg.Wait()
	}
}

type closing struct {
	echo
	over func()
}

func (c *closing) Closed(wire.CloseCode) { c.over() }

type always struct{ echo }

func (a *always) Open() { a.c.UseKeepAlive(1) }

// A poller that is late must not cost clients that answered (F21).
func TestAnswersThatWaitToBeReadCountAsLife(t *testing.T) {
	cfg := Config{Pollers: 1, PingInterval: 50 * time.Millisecond, PongTimeout: 100 * time.Millisecond, WheelTick: 5 * time.Millisecond}
	f := start(t, cfg, nil)
	c := f.dial()
	release := make(chan struct{})
	began := make(chan struct{})
	f.conn(0).Post(func() { close(began); <-release })
	<-began
	c.want(wire.OpPing, "")
	c.write(wire.AppendMaskedFrame(nil, wire.OpPong, true, nil, testMask))
	for range 3 { // every further ping means that a pong was found missing and the connection kept all the same
		c.want(wire.OpPing, "")
	}
	if n := f.Stats().PongTimeouts; n != 0 {
		t.Errorf("%d pong timeouts", n)
	}
	close(release)
	c.send(wire.OpText, "alive")
	c.want(wire.OpText, "alive")
}
