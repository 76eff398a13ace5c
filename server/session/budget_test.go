package session

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/hub"
	"throng/server/wire"
)

// idleConn is a connection that costs nothing.
type idleConn struct {
	posted []func()
	sent   int
	closed wire.CloseCode
}

func (c *idleConn) Shard() int             { return 0 }
func (c *idleConn) Flush()                 {}
func (c *idleConn) Send(frame []byte) bool { c.sent += len(frame); return false }
func (c *idleConn) WakeIn(time.Duration)   {}
func (c *idleConn) UseKeepAlive(uint8)     {}
func (c *idleConn) Post(fn func()) bool    { c.posted = append(c.posted, fn); return true }
func (c *idleConn) Close(code wire.CloseCode, _ string) {
	if c.closed == 0 {
		c.closed = code
	}
}

func (c *idleConn) run() {
	for len(c.posted) > 0 {
		fn := c.posted[0]
		c.posted = c.posted[1:]
		if c.closed == 0 {
			fn()
		}
	}
}

// inline runs requests at once.
type inline struct{}

func (inline) Go(fn func()) bool { fn(); return true }

// idleHub counts memberships.
type idleHub struct{ members, left int }

func (h *idleHub) Subscribe(*hub.Subscription, string)  { h.members++ }
func (h *idleHub) Unsubscribe(*hub.Subscription)        { h.left++ }
func (h *idleHub) Open(*hub.Subscription, uint64, bool) {}
func (h *idleHub) Warm(string) (hub.Interest, bool)     { return hub.Interest{}, true }
func (h *idleHub) Confirm(hub.Interest)                 {}

func (h *idleHub) SubscribeSpecial(*hub.Subscription, string, hub.Special) { h.members++ }
func (h *idleHub) PublishMeta(string, []byte, *wire.Meta) error            { return nil }

func idleService(t testing.TB, h Hub) *Service {
	t.Helper()
	cfg := auth.DefaultConfig()
	cfg.Token.HMACSecretKey = secret
	tokens, err := auth.NewTokens(cfg, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	return New(Config{AllowAnonymous: true}, Parts{
		Hub: h, Rules: rulesOf(t, func(_ *channel.Config, _ *channel.RPCConfig, e *channel.Environment) { e.Insecure = true }),
		Connection: tokens.Connection, Subscription: tokens.Subscription, Requests: inline{},
	})
}

// say gives a session text that it may not keep.
func say(t testing.TB, s *Session, text string) {
	if err := s.Message(wire.OpText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// oneHub is a hub that publishes nothing.
type oneHub struct{ *hub.Hub }

func (oneHub) PublishMeta(string, []byte, *wire.Meta) error { return nil }

func TestSessionWithOneSubscriptionIsSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector pads")
	}
	if n := unsafe.Sizeof(Session{}); n > 240 {
		t.Errorf("Session is %d bytes", n)
	}
	if n := unsafe.Sizeof(subscription{}); n > 80 {
		t.Errorf("subscription is %d bytes", n)
	}
	var cfg hub.Config
	cfg.Shards = 1
	(&Encoders{}).AddTo(&cfg)
	h := hub.New(cfg, quietBroker{})
	h.Start()
	defer h.Close()
	v := idleService(t, oneHub{h})
	const count = 20_000
	sessions := make([]*Session, 0, count)
	conns := make([]idleConn, count)
	before := heap()
	for i := range conns {
		s := v.Join(&conns[i], Handshake{})
		s.Open()
		say(t, s, `{"id":1,"connect":{"token":"","name":"js","data":{"a":1}}}`+"\n"+`{"id":2,"subscribe":{"channel":"news","flag":1}}`)
		sessions = append(sessions, s)
	}
	for h.Stats().Subscribers < count {
		runtime.Gosched()
	}
	each := float64(heap()-before) / count
	t.Logf("session with one subscription: %.0f bytes with the hub's part, the struct is %d", each, unsafe.Sizeof(Session{}))
	if each > 260 { // the brief allows 300
		t.Errorf("%.0f bytes per session, want at most 260", each)
	}
	if sessions[0].first.name != "news" || sessions[0].more != nil || v.Stats().Sessions != count {
		t.Error("not what was to be measured")
	}
	runtime.KeepAlive(sessions)
}

type quietBroker struct{}

func (quietBroker) Publish(string, []byte, bool) error       { return nil }
func (quietBroker) PublishMeta(string, []byte, []byte) error { return nil }
func (quietBroker) Subscribe(string)                         {}
func (quietBroker) Unsubscribe(string)                       {}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestSteadyTrafficMakesNoGarbageButItsReplies(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	v := idleService(t, &idleHub{})
	for _, p := range []wire.Protocol{wire.JSON, wire.Protobuf} {
		s := v.Join(&idleConn{}, Handshake{Protocol: p})
		s.Open()
		frame := func(line string) []byte {
			if p == wire.JSON {
				return []byte(line)
			}
			return asProtobuf(t, line)
		}
		if err := s.Message(p.Opcode(), append(frame(`{"id":1,"connect":{}}`), join(p, frame(`{"id":2,"subscribe":{"channel":"news"}}`))...)); err != nil {
			t.Fatal(err)
		}
		pong, publish, ping := frame(`{}`), frame(`{"id":3,"publish":{"channel":"news","data":{"a":1}}}`), frame(`{"id":4,"ping":{}}`)
		for _, b := range []struct {
			name   string
			frame  []byte
			allocs float64
		}{{"pong", pong, 0}, {"publish", publish, 1}, {"error reply", ping, 1}} {
			if n := testing.AllocsPerRun(200, func() { _ = s.Message(p.Opcode(), b.frame) }); n > b.allocs {
				t.Errorf("%v %s: %v allocations, want %v", p, b.name, n, b.allocs)
			}
		}
		if s.state != connected {
			t.Fatal("session is over")
		}
	}
	var e Encoders
	var cfg hub.Config
	e.AddTo(&cfg)
	pub := &hub.Publication{Channel: "news", Data: []byte(`{"a":1}`), Meta: &wire.Meta{Info: &wire.ClientInfo{User: "1", Client: "2"}}}
	dst := make([]byte, 0, 1024)
	for _, encoding := range []hub.Encoding{hub.EncodingJSON, hub.EncodingProtobufJoins} {
		if n := testing.AllocsPerRun(200, func() { cfg.Encoders[encoding](dst, pub) }); n != 0 {
			t.Errorf("encoding %d: %v allocations", encoding, n)
		}
	}
}

func join(p wire.Protocol, record []byte) []byte {
	if p == wire.JSON {
		return append([]byte{'\n'}, record...)
	}
	return record
}

// The frames that cost a session most, 64 KiB each, or as many commands as one frame may have.
func BenchmarkWorstFrames(b *testing.B) {
	many := func(line string) []byte { return []byte(strings.Repeat(line+"\n", 512)) }
	for _, w := range []struct {
		name  string
		frame []byte
	}{
		{"pings", many(`{"id":1,"ping":{}}`)},
		{"publish", many(`{"id":1,"publish":{"channel":"news","data":{"a":1}}}`)},
		{"publish elsewhere", many(`{"id":1,"publish":{"channel":"` + strings.Repeat("x", 60) + `","data":{"a":[1,2,3]}}}`)},
		{"subscribe and unsubscribe", []byte(strings.Repeat(`{"id":1,"subscribe":{"channel":"chat:1"}}`+"\n"+`{"id":1,"unsubscribe":{"channel":"chat:1"}}`+"\n", 256))},
		{"refused subscribes", many(`{"id":1,"subscribe":{"channel":"no:a"}}`)},
		{"one large publish", []byte(`{"id":1,"publish":{"channel":"news","data":[` + strings.Repeat("[],", 21000) + `1]}}`)},
		{"large token", []byte(`{"id":1,"sub_refresh":{"channel":"a","token":"` + strings.Repeat("a", 65000) + `"}}`)},
	} {
		b.Run(w.name, func(b *testing.B) {
			v := idleService(b, &idleHub{})
			s := v.Join(&idleConn{}, Handshake{})
			s.Open()
			say(b, s, `{"id":1,"connect":{}}`)
			say(b, s, `{"id":2,"subscribe":{"channel":"news"}}`)
			b.ReportAllocs()
			for b.Loop() {
				_ = s.Message(wire.OpText, w.frame)
			}
			if s.state != connected {
				b.Fatal("session is over")
			}
		})
	}
}

func BenchmarkConnectAndSubscribe(b *testing.B) {
	v := idleService(b, &idleHub{})
	token, err := auth.MakeConnectionToken(func() auth.Config { c := auth.DefaultConfig(); c.Token.HMACSecretKey = secret; return c }(), auth.TokenRequest{User: "42", TTL: time.Hour}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for _, token := range []string{"", token} {
		b.Run(fmt.Sprintf("token %t", token != ""), func(b *testing.B) {
			frame := []byte(`{"id":1,"connect":{"token":"` + token + `","name":"js"}}` + "\n" + `{"id":2,"subscribe":{"channel":"news","flag":1}}`)
			b.ReportAllocs()
			for b.Loop() {
				s := v.Join(&idleConn{}, Handshake{})
				s.Open()
				_ = s.Message(wire.OpText, frame)
				s.Closed(wire.CloseNormal)
			}
		})
	}
}

func BenchmarkPong(b *testing.B) {
	v := idleService(b, &idleHub{})
	s := v.Join(&idleConn{}, Handshake{})
	s.Open()
	say(b, s, `{"id":1,"connect":{}}`)
	pong := []byte("{}")
	for b.Loop() {
		_ = s.Message(wire.OpText, pong)
	}
}
