package session

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/wire"
)

func TestConnectAnonymous(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{Config: Config{AllowAnonymous: true, Version: "0.1.0", SendTime: true}}, func(w *world) {
			c := w.nodes[0].accept(Handshake{Protocol: p})
			c.send(`{"id":1,"connect":{"name":"js"}}`)
			c.wantReply("no token is fine", `{"id":1,"connect":{"client":"ID","version":"0.1.0","ping":25,"pong":true,"time":946684800000}}`)
			if want := uint8(p) + 1; c.conn.keepAlive != want {
				t.Errorf("keep-alive %d, want %d", c.conn.keepAlive, want)
			}
			w.advance(time.Hour)
			c.wantNothing("a connected client does not become stale")
		})
	})
}

func TestConnectWithoutCredentialsIsTerminal(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{}}`)
		c.wantClose("nobody let it in", wire.CloseBadRequest)
	})
}

func TestConnectWithToken(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{}, func(w *world) {
			for _, v := range []struct{ why, token, reply string }{
				{"token that expires", w.token("42", time.Hour), `{"id":1,"connect":{"client":"ID","expires":true,"ttl":3600,"ping":25,"pong":true}}`},
				{"token for ever", w.token("42", 0), `{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`},
				{"anonymous token", w.token("", 0), `{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`},
			} {
				c := w.nodes[0].accept(Handshake{Protocol: p})
				c.send(`{"id":1,"connect":{"token":"` + v.token + `"}}`)
				c.wantReply(v.why, v.reply)
			}
			if n := w.nodes[0].service.Stats().Users; n != 2 {
				t.Errorf("%d users, want 42 and the anonymous one", n)
			}
			for _, token := range []string{"rubbish", w.token("42", 0) + "x", w.subToken("42", "c", 0), strings.Repeat("a", 60000)} {
				c := w.nodes[0].accept(Handshake{Protocol: p})
				c.send(`{"id":1,"connect":{"token":"` + token + `"}}`)
				c.wantClose("wrong token", wire.CloseInvalidToken)
			}
		})
	})
}

func TestExpiredTokenIsErrorAndThenTheClientMayOnlyGo(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		token := w.token("42", time.Second)
		time.Sleep(2 * time.Second)
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"` + token + `"}}`)
		c.wantReply("the client fetches another one", `{"id":1,"error":{"code":109,"message":"token expired"}}`)
		c.send(`{"id":2,"connect":{}}`)
		c.wantClose("after an error connect is over", wire.CloseBadRequest)

		d := w.nodes[0].accept(Handshake{})
		d.send(`{"id":1,"connect":{"token":"`+token+`"}}`, `{"id":2,"subscribe":{"channel":"news"}}`)
		d.wantReply("error", `{"id":1,"error":{"code":109,"message":"token expired"}}`)
		d.wantClose("a command behind it", wire.CloseBadRequest)

		e := w.nodes[0].accept(Handshake{})
		e.send(`{"id":1,"connect":{"token":"` + token + `"}}`)
		e.wantReply("error", `{"id":1,"error":{"code":109,"message":"token expired"}}`)
		w.advance(11 * time.Second)
		e.wantClose("who does not go becomes stale", wire.CloseStale)
	})
}

func TestStaleClient(t *testing.T) {
	inWorld(t, setup{Config: Config{AllowAnonymous: true, StaleTimeout: 3 * time.Second}}, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		w.advance(2900 * time.Millisecond)
		c.wantNothing("still has time")
		w.advance(200 * time.Millisecond)
		c.wantClose("said nothing", wire.CloseStale)
	})
}

func TestWhatMustNotComeBeforeConnect(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, anonymous, func(w *world) {
			for _, line := range []string{
				`{}`, `{"id":1}`, `{"id":1,"subscribe":{"channel":"news"}}`, `{"id":1,"ping":{}}`, `{"send":{"data":1}}`, `{"connect":{}}`,
			} {
				c := w.nodes[0].accept(Handshake{Protocol: p})
				c.send(line)
				c.wantClose(line, wire.CloseBadRequest)
			}
			c := w.nodes[0].join(p, "")
			c.send(`{"id":2,"connect":{}}`)
			c.wantClose("a second connect", wire.CloseBadRequest)
		})
	})
}

func TestOptimisticFirstFrameKeepsItsOrderWhileKeysAreFetched(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{}, func(w *world) {
			n := w.nodes[0]
			n.connect.gate = make(chan struct{})
			c := n.accept(Handshake{Protocol: p})
			c.send(`{"id":1,"connect":{"token":"`+w.token("42", 0)+`"}}`, `{"id":2,"subscribe":{"channel":"news","flag":1}}`, `{"id":3,"publish":{"channel":"news","data":1}}`)
			c.wantNothing("connect is being decided")
			c.send(`{"id":4,"subscribe":{"channel":"more"}}`)
			c.send(`{"id":5,"unsubscribe":{"channel":"more"}}`, `{"id":6,"ping":{}}`)
			c.wantNothing("connect is still being decided")
			close(n.connect.gate)
			c.wantReply("in order", `{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`)
			c.wantReply("in order", `{"id":2,"subscribe":{}}`)
			c.wantReply("in order", `{"id":3,"publish":{}}`)
			c.wantReply("in order", `{"id":4,"subscribe":{}}`)
			c.wantReply("in order", `{"id":5,"unsubscribe":{}}`)
			c.wantReply("in order", `{"id":6,"error":{"code":108,"message":"not available"}}`)
			c.wantPush("its own publication, subscribed to before it was made", `{"channel":"news","pub":{"data":1,"info":{"user":"42","client":"ID"}}}`)
		})
	})
}

func TestKeysThatCannotBeFetchedAreATemporaryError(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		n := w.nodes[0]
		n.connect.gate, n.connect.err = make(chan struct{}), auth.ErrUnavailable
		close(n.connect.gate)
		c := n.accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"x"}}`)
		c.wantReply("the client is not at fault", `{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}`)

		n.connect.gate, n.connect.err = make(chan struct{}), nil
		d := n.accept(Handshake{})
		d.send(`{"id":1,"connect":{"token":"x"}}`)
		w.advance(5 * time.Second)
		d.wantReply("a key server that does not answer", `{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}`)

		n.pool.full = true
		e := n.accept(Handshake{})
		e.send(`{"id":1,"connect":{"token":"x"}}`)
		e.wantReply("too many wait already", `{"id":1,"error":{"code":111,"message":"too many requests","temporary":true}}`)
		if got := n.service.Stats().RequestsFull; got != 1 {
			t.Errorf("%d counted", got)
		}
	})
}

func TestAnswerThatCannotComeBackEndsTheConnection(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		n := w.nodes[0]
		n.connect.gate = make(chan struct{})
		c := n.accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"x"}}`)
		c.conn.mu.Lock()
		c.conn.full = true
		c.conn.mu.Unlock()
		close(n.connect.gate)
		c.wantClose("or it would wait for ever", wire.CloseServerError)

		n.connect.gate = make(chan struct{})
		gone := n.accept(Handshake{})
		gone.send(`{"id":1,"connect":{"token":"`+w.token("42", 0)+`"}}`, `{"id":2,"subscribe":{"channel":"news"}}`)
		gone.s.Closed(wire.CloseAbnormal)
		close(n.connect.gate)
		gone.wantNothing("an answer for who has gone")
	})
}

func TestWhatIsSaidWhileAnAnswerIsAwaitedIsBounded(t *testing.T) {
	inWorld(t, setup{Config: Config{MaxPending: 1000}}, func(w *world) {
		n := w.nodes[0]
		n.connect.gate = make(chan struct{})
		defer close(n.connect.gate)
		c := n.accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"` + w.token("42", 0) + `"}}`)
		for range 10 {
			c.send(`{"id":2,"publish":{"channel":"news","data":"` + strings.Repeat("x", 50) + `"}}`)
		}
		c.wantNothing("it fits")
		c.send(`{"id":2,"publish":{"channel":"news","data":"` + strings.Repeat("x", 500) + `"}}`)
		c.wantClose("too much", wire.CloseTooManyRequests)
	})
}

func TestServerSideSubscriptions(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		o := setup{rules: func(c *channel.Config, _ *channel.RPCConfig, _ *channel.Environment) {
			c.PersonalChannel = channel.PersonalChannelConfig{Enabled: true, Namespace: "me"}
		}}
		inWorld(t, o, func(w *world) {
			c := w.nodes[0].accept(Handshake{Protocol: p})
			c.send(`{"id":1,"connect":{"token":"`+w.token("42", 0, "closed:a", "news")+`"}}`, `{"id":2,"subscribe":{"channel":"news"}}`)
			c.wantReply("of the token, and the personal one", `{"id":1,"connect":{"client":"ID","subs":{"closed:a":{},"news":{},"me:#42":{}},"ping":25,"pong":true}}`)
			c.wantReply("server-side ones count", `{"id":2,"error":{"code":105,"message":"already subscribed"}}`)
			w.foreign("me:#42", `"psst"`)
			c.wantPush("for its user", `{"channel":"me:#42","pub":{"data":"psst"}}`)

			d := w.nodes[0].accept(Handshake{Protocol: p})
			d.send(`{"id":1,"connect":{"token":"` + w.token("42", 0, "unknown:a") + `"}}`)
			d.wantReply("unknown namespace in a token", `{"id":1,"error":{"code":102,"message":"unknown channel"}}`)

			var many []string
			for i := range 129 {
				many = append(many, strings.Repeat("x", i+1))
			}
			e := w.nodes[0].accept(Handshake{Protocol: p})
			e.send(`{"id":1,"connect":{"token":"` + w.token("42", 0, many...) + `"}}`)
			e.wantClose("more channels than allowed", wire.CloseChannelLimit)
		})
	})
}

func TestConnectReplyComesBeforeAnyPublication(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"`+w.token("42", 0, "news")+`"}}`, `{"id":2,"publish":{"channel":"news","data":1}}`)
		c.wantReply("first", `{"id":1,"connect":{"client":"ID","subs":{"news":{}},"ping":25,"pong":true}}`)
		c.wantReply("then", `{"id":2,"publish":{}}`)
		c.wantPush("then", `{"channel":"news","pub":{"data":1,"info":{"user":"42","client":"ID"}}}`)
	})
}

func TestInsecureLetsEverybodyInAndForgetsTime(t *testing.T) {
	hooks := Hooks{Connect: func(context.Context, *ConnectCall) (ConnectAnswer, error) {
		t.Error("asked who may come in")
		return ConnectAnswer{}, nil
	}}
	o := setup{Config: Config{Insecure: true}, hooks: hooks, rules: func(_ *channel.Config, _ *channel.RPCConfig, e *channel.Environment) { e.Insecure = true }}
	inWorld(t, o, func(w *world) {
		for _, token := range []string{"", "rubbish", w.token("42", time.Second)} {
			c := w.nodes[0].accept(Handshake{})
			c.send(`{"id":1,"connect":{"token":"`+token+`"}}`, `{"id":2,"subscribe":{"channel":"closed:a","token":"rubbish"}}`)
			c.wantReply("in", `{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`)
			c.wantReply("everywhere", `{"id":2,"subscribe":{}}`)
		}
		w.advance(time.Hour)
		for _, c := range w.nodes[0].clients {
			c.wantNothing("nothing expires")
		}
	})
}

func TestTrustedHeaderAndNativePings(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		c := w.nodes[0].accept(Handshake{Trusted: true, User: "from the proxy", NativePing: true})
		c.send(`{"id":1,"connect":{}}`)
		c.wantReply("no pings of the protocol", `{"id":1,"connect":{"client":"ID"}}`)
		if c.conn.keepAlive != 0 || len(w.nodes[0].service.users.of("from the proxy")) != 1 {
			t.Errorf("keep-alive %d", c.conn.keepAlive)
		}
	})
}

func TestUserConnectionLimit(t *testing.T) {
	inWorld(t, setup{Config: Config{AllowAnonymous: true, UserConnectionLimit: 2}}, func(w *world) {
		n := w.nodes[0]
		first := n.join(wire.JSON, "42")
		n.join(wire.JSON, "42")
		c := n.accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"` + w.token("42", 0) + `"}}`)
		c.wantClose("one too many", wire.CloseConnectionLimit)
		first.s.Closed(wire.CloseNormal)
		n.join(wire.JSON, "42")
		for range 5 {
			n.join(wire.JSON, "") // the anonymous have no limit
		}
	})
}

func TestConnectHook(t *testing.T) {
	var got *ConnectCall
	var answer ConnectAnswer
	var fault error
	o := setup{hooks: Hooks{Connect: func(_ context.Context, q *ConnectCall) (ConnectAnswer, error) {
		got = q
		return answer, fault
	}}}
	inWorld(t, o, func(w *world) {
		ask := func() *client {
			c := w.nodes[0].accept(Handshake{Attachment: "cookie"})
			c.send(`{"id":1,"connect":{"name":"js","version":"5","data":{"a":1},"headers":{"X-A":"1"},"subs":{"news":{}}}}`)
			return c
		}
		answer = ConnectAnswer{User: "7", Data: []byte(`{"hello":1}`), Info: []byte(`"i"`), Subs: []ServerSub{{Channel: "news", Data: []byte(`1`)}}, ExpireAt: time.Now().Unix() + 60}
		c := ask()
		c.wantReply("the server renews, so no ttl", `{"id":1,"connect":{"client":"ID","data":{"hello":1},"subs":{"news":{"data":1}},"ping":25,"pong":true}}`)
		if got.Name != "js" || got.Version != "5" || string(got.Data) != `{"a":1}` || got.Headers["X-A"] != "1" || got.Attachment != "cookie" ||
			len(got.Channels) != 1 || got.Channels[0] != "news" || got.Protocol != "json" || got.Client != c.s.clientID() {
			t.Errorf("%+v", got)
		}
		c.send(`{"id":2,"publish":{"channel":"news","data":1}}`)
		c.wantReply("published", `{"id":2,"publish":{}}`)
		c.wantPush("with conn_info", `{"channel":"news","pub":{"data":1,"info":{"user":"7","client":"ID","conn_info":"i"}}}`)
		c.send(`{"id":3,"refresh":{"token":"x"}}`)
		c.wantClose("not the client's to renew", wire.CloseBadRequest)

		answer = ConnectAnswer{Unknown: true}
		ask().wantClose("nobody", wire.CloseBadRequest)
		answer = ConnectAnswer{ExpireAt: 1}
		ask().wantReply("expired already", `{"id":1,"error":{"code":110,"message":"expired"}}`)
		fault = &HookError{Code: 1000, Message: "no", Temporary: true}
		ask().wantReply("its own error", `{"id":1,"error":{"code":1000,"message":"no","temporary":true}}`)
		fault = errors.New("connection refused")
		ask().wantReply("call failed", `{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}`)
		fault = &HookDisconnect{Code: 4501, Reason: "go away"}
		d := ask()
		if d.receive(); d.conn.closed != 4501 || d.conn.reason != "go away" {
			t.Errorf("closed %d %q", d.conn.closed, d.conn.reason)
		}
		fault = &HookDisconnect{Code: 1000}
		ask().wantClose("a code that is not for hooks", wire.CloseServerError)
	})
}

func TestInfoThatIsNoJSONEndsAJSONClientThatAsksForIt(t *testing.T) {
	o := setup{hooks: Hooks{Connect: func(context.Context, *ConnectCall) (ConnectAnswer, error) {
		return ConnectAnswer{User: "7", Data: []byte{0xff}}, nil
	}}}
	inWorld(t, o, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{}}`)
		c.wantClose("data that JSON cannot say", wire.CloseInappropriate)
		d := w.nodes[0].accept(Handshake{Protocol: wire.Protobuf})
		d.send(`{"id":1,"connect":{}}`)
		d.receive()
		if len(d.records) != 1 || d.conn.closed != 0 {
			t.Errorf("Protobuf client: %v, %d", d.records, d.conn.closed)
		}
	})
}
