package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"throng/server/channel"
	"throng/server/hub"
	"throng/server/wire"
)

func TestPublishCodes(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{}, func(w *world) {
			c := w.nodes[0].join(p, "42")
			for _, v := range []struct {
				why, publish, reply string
				broker              error
			}{
				{"allowed", `"channel":"news","data":{}`, `"publish":{}`, nil},
				{"no data", `"channel":"news"`, `"error":{"code":107,"message":"bad request"}`, nil},
				{"unknown namespace", `"channel":"no:a","data":1`, `"error":{"code":102,"message":"unknown channel"}`, nil},
				{"for subscribers only", `"channel":"chat:1","data":1`, `"error":{"code":103,"message":"permission denied"}`, nil},
				{"queue full", `"channel":"news","data":1`, `"error":{"code":111,"message":"too many requests","temporary":true}`, hub.ErrBusy},
				{"too big", `"channel":"news","data":1`, `"error":{"code":106,"message":"limit exceeded"}`, fmt.Errorf("adapter: %w", hub.ErrTooBig)},
				{"no link", `"channel":"news","data":1`, `"error":{"code":100,"message":"internal server error","temporary":true}`, hub.ErrDisconnected},
			} {
				w.down = v.broker
				c.send(`{"id":2,"publish":{` + v.publish + `}}`)
				c.wantReply(v.why, `{"id":2,`+v.reply+`}`)
			}
			w.down = nil
			c.send(`{"id":3,"publish":{"data":1}}`)
			c.wantClose("no channel", wire.CloseBadRequest)
		})
	})
}

func TestPresence(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{Config: Config{AllowAnonymous: true, MaxPresence: 3}, nodes: 2}, func(w *world) {
			a, b := w.nodes[0].join(p, "1"), w.nodes[1].join(p, "1")
			a.send(`{"id":2,"presence":{"channel":"chat:1"}}`)
			a.wantReply("for subscribers only", `{"id":2,"error":{"code":103,"message":"permission denied"}}`)
			a.send(`{"id":3,"subscribe":{"channel":"chat:1"}}`, `{"id":4,"presence":{"channel":"chat:1"}}`, `{"id":5,"presence_stats":{"channel":"chat:1"}}`)
			a.wantReply("subscribed", `{"id":3,"subscribe":{}}`)
			a.wantReply("itself", `{"id":4,"presence":{"presence":{"ID":{"user":"1","client":"ID"}}}}`)
			a.wantReply("itself", `{"id":5,"presence_stats":{"num_clients":1,"num_users":1}}`)
			b.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
			b.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			w.advance(defaultPresenceReuse)
			a.send(`{"id":6,"presence_stats":{"channel":"chat:1"}}`)
			a.wantReply("one user on two nodes", `{"id":6,"presence_stats":{"num_clients":2,"num_users":1}}`)
			all, err := w.nodes[1].service.Presence(w.t.Context(), "chat:1")
			if err != nil || len(all.Presence) != 2 || all.Presence[a.s.clientID()] == nil || all.Presence[b.s.clientID()].User != "1" {
				t.Errorf("%v, %v", all, err)
			}
			w.advance(defaultPresenceReuse)
			w.nodes[1].silent = true
			a.send(`{"id":7,"presence_stats":{"channel":"chat:1"}}`)
			a.wantReply("nobody knows", `{"id":7,"error":{"code":100,"message":"internal server error","temporary":true}}`)
			if n := w.nodes[0].service.Stats().PartialPresence; n != 1 {
				t.Errorf("%d partial answers counted", n)
			}
			w.nodes[1].silent = false
			for i := range 2 {
				c := w.nodes[1].join(p, fmt.Sprint(i+2))
				c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
				c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			}
			a.send(`{"id":8,"presence":{"channel":"chat:1"}}`, `{"id":9,"presence_stats":{"channel":"chat:1"}}`)
			a.wantReply("a crowd", `{"id":8,"error":{"code":106,"message":"limit exceeded"}}`)
			a.wantReply("can be counted", `{"id":9,"presence_stats":{"num_clients":4,"num_users":3}}`)
			b.s.Closed(wire.CloseAbnormal)
			w.advance(defaultPresenceReuse)
			a.send(`{"id":10,"presence_stats":{"channel":"chat:1"}}`)
			a.wantReply("who is gone is gone", `{"id":10,"presence_stats":{"num_clients":3,"num_users":3}}`)
			a.send(`{"id":11,"presence":{"channel":"news"}}`)
			a.wantReply("no presence there", `{"id":11,"error":{"code":108,"message":"not available"}}`)
			a.send(`{"id":12,"presence":{}}`)
			a.wantClose("no channel", wire.CloseBadRequest)
		})
	})
}

func TestPublisherNeedNotBeSubscribed(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, anonymous, func(w *world) {
			a, b := w.nodes[0].join(p, "1"), w.nodes[0].join(p, "2")
			b.send(`{"id":2,"subscribe":{"channel":"news"}}`)
			b.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			a.send(`{"id":2,"publish":{"channel":"news","data":[1]}}`)
			a.wantReply("published", `{"id":2,"publish":{}}`)
			b.wantPush("heard", `{"channel":"news","pub":{"data":[1],"info":{"user":"1","client":"ID"}}}`)
		})
	})
}

func TestPresenceCountsAUserOnce(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		for range 3 {
			c := w.nodes[0].join(wire.JSON, "1")
			c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
			c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
		}
		answer, err := w.nodes[0].service.AnswerPresence([]byte("Cother\nchat:1"))
		if err != nil || len(answer) != 1+8 || answer[0] != 3 {
			t.Errorf("%x, %v", answer, err)
		}
	})
}

func TestPresenceOfANodeByItself(t *testing.T) {
	inWorld(t, setup{Config: Config{AllowAnonymous: true}, alone: true}, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "1")
		c.send(`{"id":3,"subscribe":{"channel":"chat:1"}}`, `{"id":4,"presence":{"channel":"chat:1"}}`)
		c.wantReply("subscribed", `{"id":3,"subscribe":{}}`)
		c.wantReply("itself", `{"id":4,"presence":{"presence":{"ID":{"user":"1","client":"ID"}}}}`)
		for _, question := range []string{"", "?x"} {
			if _, err := w.nodes[0].service.AnswerPresence([]byte(question)); err == nil {
				t.Errorf("%q was answered", question)
			}
		}
	})
}

func TestPresenceTellsWhatAnswersCannotBeSaidInJSON(t *testing.T) {
	o := setup{hooks: Hooks{Connect: func(context.Context, *ConnectCall) (ConnectAnswer, error) {
		return ConnectAnswer{User: "7", Info: []byte{0xff}, Subs: []ServerSub{{Channel: "chat:1", Info: []byte(`"i"`)}}}, nil
	}}}
	inWorld(t, o, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{}}`, `{"id":2,"presence":{"channel":"chat:1"}}`)
		c.wantReply("connected", `{"id":1,"connect":{"client":"ID","subs":{"chat:1":{}},"ping":25,"pong":true}}`)
		c.wantReply("the binary info is left out", `{"id":2,"presence":{"presence":{"ID":{"user":"7","client":"ID","chan_info":"i"}}}}`)
		all, err := w.nodes[0].service.Presence(w.t.Context(), "chat:1")
		if err != nil || string(all.Presence[c.s.clientID()].ConnInfo) != "\xff" {
			t.Errorf("the server API sees it: %v, %v", all, err)
		}
	})
}

func TestCommandsThatAreNotAvailable(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, anonymous, func(w *world) {
			c := w.nodes[0].join(p, "42")
			for _, line := range []string{
				`{"id":2,"ping":{}}`, `{"id":2,"history":{"channel":"news"}}`, `{"id":2,"rpc":{"method":"m","data":1}}`,
			} {
				c.send(line)
				c.wantReply(line, `{"id":2,"error":{"code":108,"message":"not available"}}`)
			}
			for _, line := range []string{`{"id":3}`, `{"id":3,"history":{}}`, `{"id":3,"rpc":{}}`, `{"id":3,"refresh":{}}`, `{"id":3,"connect":{}}`} {
				c := w.nodes[0].join(p, "42")
				c.send(line)
				c.wantClose(line, wire.CloseBadRequest)
			}
			d := w.nodes[0].join(p, "42")
			d.send(`{"send":{"data":1}}`)
			d.wantClose("nobody listens to send", wire.CloseNotAvailable)
		})
	})
}

func TestRPC(t *testing.T) {
	var got *RPCCall
	o := setup{hooks: Hooks{RPC: func(ctx context.Context, q *RPCCall) ([]byte, error) {
		got = q
		switch q.Method {
		case "slow":
			<-ctx.Done()
			return nil, ctx.Err()
		case "bad":
			return nil, errors.New("no")
		}
		return append([]byte(nil), q.Data...), nil
	}}}
	inWorld(t, o, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "42")
		c.send(`{"id":2,"rpc":{"method":"echo","data":{"a":1}}}`, `{"id":3,"rpc":{"method":"bad"}}`, `{"id":4,"rpc":{"method":"no:x"}}`, `{"id":5,"rpc":{"method":"a b"}}`)
		c.wantReply("answered", `{"id":2,"rpc":{"data":{"a":1}}}`)
		c.wantReply("failed", `{"id":3,"error":{"code":100,"message":"internal server error","temporary":true}}`)
		c.wantReply("unknown namespace", `{"id":4,"error":{"code":104,"message":"method not found"}}`)
		c.wantReply("no subject", `{"id":5,"error":{"code":104,"message":"method not found"}}`)
		c.send(`{"id":6,"rpc":{"method":"slow"}}`, `{"id":7,"publish":{"channel":"news","data":1}}`)
		c.wantNothing("replies keep the order of commands")
		w.advance(5 * time.Second)
		c.wantReply("given up", `{"id":6,"error":{"code":100,"message":"internal server error","temporary":true}}`)
		c.wantReply("then the next", `{"id":7,"publish":{}}`)
		if got.Route.Subject != "svc.slow" || got.User != "42" {
			t.Errorf("%+v", got)
		}
	})
}

func TestRefreshByToken(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{}, func(w *world) {
			n := w.nodes[0]
			c := n.accept(Handshake{Protocol: p})
			c.send(`{"id":1,"connect":{"token":"` + w.token("42", time.Minute, "news") + `"}}`)
			c.wantReply("connected", `{"id":1,"connect":{"client":"ID","expires":true,"ttl":60,"subs":{"news":{}},"ping":25,"pong":true}}`)
			w.advance(59 * time.Second)
			c.send(`{"id":2,"refresh":{"token":"` + w.token("42", 2*time.Minute, "news") + `"}}`)
			c.wantReply("prolonged", `{"id":2,"refresh":{"client":"ID","expires":true,"ttl":120}}`)
			w.advance(120 * time.Second)
			c.wantNothing("grace")
			w.advance(24 * time.Second)
			c.wantNothing("grace")
			n.connect.gate = make(chan struct{})
			c.send(`{"id":3,"refresh":{"token":"` + w.token("42", 0, "news") + `"}}`)
			close(n.connect.gate)
			c.wantReply("for ever, after a fetch", `{"id":3,"refresh":{"client":"ID"}}`)
			w.advance(time.Hour)
			c.wantNothing("for ever")
			n.connect.gate = nil
			c.send(`{"id":4,"refresh":{"token":"` + w.token("42", 0) + `"}}`)
			c.wantClose("other server-side subscriptions: come again", wire.CloseInsufficientState)
		})
	})
}

func TestPersonalChannelIsNoReasonToComeAgain(t *testing.T) {
	o := setup{rules: func(c *channel.Config, _ *channel.RPCConfig, _ *channel.Environment) {
		c.PersonalChannel = channel.PersonalChannelConfig{Enabled: true, Namespace: "me"}
	}}
	inWorld(t, o, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"` + w.token("42", time.Minute, "news") + `"}}`)
		c.wantReply("connected", `{"id":1,"connect":{"client":"ID","expires":true,"ttl":60,"subs":{"news":{},"me:#42":{}},"ping":25,"pong":true}}`)
		c.send(`{"id":2,"refresh":{"token":"` + w.token("42", time.Minute, "news") + `"}}`)
		c.wantReply("the token's are the same", `{"id":2,"refresh":{"client":"ID","expires":true,"ttl":60}}`)
		d := w.nodes[0].accept(Handshake{})
		d.send(`{"id":1,"connect":{"token":"` + w.token("42", 0, "me:#42") + `"}}`)
		d.wantReply("once, though asked for twice", `{"id":1,"connect":{"client":"ID","subs":{"me:#42":{}},"ping":25,"pong":true}}`)
		if d.s.held() != 1 {
			t.Errorf("%d held", d.s.held())
		}
	})
}

func TestGraceOfTheConnectionIsNotCutShortByASubscription(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"`+w.token("42", time.Minute)+`"}}`, `{"id":2,"subscribe":{"channel":"$a","token":"`+w.subToken("42", "$a", 50*time.Second)+`"}}`)
		c.wantReply("connected", `{"id":1,"connect":{"client":"ID","expires":true,"ttl":60,"ping":25,"pong":true}}`)
		c.wantReply("subscribed", `{"id":2,"subscribe":{"expires":true,"ttl":50}}`)
		w.advance(76 * time.Second)
		c.wantPush("the subscription", `{"channel":"$a","unsubscribe":{"code":2501,"reason":"expired"}}`)
		c.wantNothing("but not the connection")
		w.advance(10 * time.Second)
		c.wantClose("then the connection", wire.CloseExpired)
	})
}

func TestConnectionThatIsNotRefreshedEnds(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"` + w.token("42", time.Minute) + `"}}`)
		c.wantReply("connected", `{"id":1,"connect":{"client":"ID","expires":true,"ttl":60,"ping":25,"pong":true}}`)
		w.advance(84 * time.Second)
		c.wantNothing("grace")
		w.advance(2 * time.Second)
		c.wantClose("expired", wire.CloseExpired)
	})
}

func TestRefreshesThatEndTheConnection(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		old := w.token("42", time.Second)
		time.Sleep(2 * time.Second)
		for _, v := range []struct {
			why, token string
			code       wire.CloseCode
		}{
			{"rubbish", "x", wire.CloseInvalidToken},
			{"of another user", w.token("43", 0), wire.CloseInvalidToken},
			{"expired", old, wire.CloseExpired},
			{"none", "", wire.CloseBadRequest},
		} {
			c := w.nodes[0].join(wire.JSON, "42")
			c.send(`{"id":2,"refresh":{"token":"` + v.token + `"}}`)
			c.wantClose(v.why, v.code)
		}
		c := w.nodes[0].join(wire.JSON, "")
		c.send(`{"id":2,"refresh":{"token":"` + w.token("", 0) + `"}}`)
		c.wantClose("came without a token", wire.CloseBadRequest)
	})
}

func TestOneAnswerAtATime(t *testing.T) {
	refreshed := 0
	o := setup{hooks: Hooks{
		Connect: func(context.Context, *ConnectCall) (ConnectAnswer, error) {
			return ConnectAnswer{User: "7", ExpireAt: time.Now().Unix() + 3}, nil
		},
		Refresh: func(context.Context, *Peer) (RefreshAnswer, error) {
			refreshed++
			return RefreshAnswer{}, nil
		},
		RPC: func(ctx context.Context, _ *RPCCall) ([]byte, error) {
			time.Sleep(3500 * time.Millisecond)
			return []byte(`1`), nil
		},
	}}
	inWorld(t, o, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{}}`, `{"id":2,"rpc":{"method":"slow"}}`, `{"id":3,"unsubscribe":{"channel":"a"}}`)
		c.wantReply("connected", `{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`)
		w.advance(3300 * time.Millisecond)
		c.wantNothing("the connection has expired, but its client waits for something else")
		if refreshed != 0 {
			t.Error("the refresh hook was asked at the same time")
		}
		w.advance(2 * time.Second)
		c.wantReply("answered", `{"id":2,"rpc":{"data":1}}`)
		c.wantReply("and the rest", `{"id":3,"unsubscribe":{}}`)
		if refreshed != 1 {
			t.Errorf("refreshed %d times", refreshed)
		}
	})
}

func TestRefreshByHook(t *testing.T) {
	var answer RefreshAnswer
	var fault error
	o := setup{hooks: Hooks{
		Connect: func(context.Context, *ConnectCall) (ConnectAnswer, error) {
			return ConnectAnswer{User: "7", ExpireAt: time.Now().Unix() + 60, Subs: []ServerSub{{Channel: "chat:1"}}}, nil
		},
		Refresh: func(_ context.Context, q *Peer) (RefreshAnswer, error) {
			if q.User != "7" {
				t.Errorf("%+v", q)
			}
			return answer, fault
		},
	}}
	inWorld(t, o, func(w *world) {
		c := w.nodes[0].accept(Handshake{})
		c.send(`{"id":1,"connect":{}}`)
		c.wantReply("connected", `{"id":1,"connect":{"client":"ID","subs":{"chat:1":{}},"ping":25,"pong":true}}`)
		fault = errors.New("away")
		w.advance(61 * time.Second)
		fault, answer = nil, RefreshAnswer{ExpireAt: time.Now().Unix() + 180, Info: []byte(`{"new":1}`)}
		w.advance(61 * time.Second)
		c.send(`{"id":2,"presence":{"channel":"chat:1"}}`)
		c.wantReply("with its new info", `{"id":2,"presence":{"presence":{"ID":{"user":"7","client":"ID","conn_info":{"new":1}}}}}`)
		answer = RefreshAnswer{Expired: true}
		w.advance(119 * time.Second)
		c.wantClose("ended by the backend", wire.CloseExpired)
	})
}

func TestCommandRate(t *testing.T) {
	inWorld(t, setup{Config: Config{AllowAnonymous: true, CommandRate: 10, CommandBurst: 3, UserCommandRate: 10, UserCommandBurst: 5}}, func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "")
		publish := func(c *client) { c.send(`{"id":2,"publish":{"channel":"news","data":1}}`) }
		for range 2 { // connect was the first
			publish(c)
			c.wantReply("burst", `{"id":2,"publish":{}}`)
		}
		for range 3 {
			publish(c)
			c.wantReply("over the rate", `{"id":2,"error":{"code":111,"message":"too many requests","temporary":true}}`)
		}
		w.advance(time.Second)
		publish(c)
		c.wantReply("calmed down", `{"id":2,"publish":{}}`)
		for range 5 {
			publish(c)
		}
		c.records, c.conn.frames = nil, nil
		publish(c)
		c.wantClose("does not listen", wire.CloseTooManyRequests)
		a, b := n.join(wire.JSON, "42"), n.join(wire.JSON, "42")
		for _, x := range []*client{a, a, b} {
			publish(x)
			x.wantReply("each within its own", `{"id":2,"publish":{}}`)
		}
		for range 2 {
			publish(b)
		}
		b.receive()
		if last := b.records[len(b.records)-1]; !strings.Contains(last, "111") {
			t.Errorf("user is over, got %s", last)
		}
	})
}

func TestPongs(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, anonymous, func(w *world) {
			c := w.nodes[0].join(p, "")
			for range 3 {
				c.conn.pings++
				c.send(`{}`)
				c.wantNothing("a pong has no answer")
			}
			c.conn.pings = 2
			c.send(`{}`, `{"id":5,"unsubscribe":{"channel":"a"}}`, `{}`)
			c.wantReply("among commands", `{"id":5,"unsubscribe":{}}`)
			c.send(`{}`)
			c.wantClose("nobody pinged", wire.CloseBadRequest)
		})
	})
}

func TestFramesThatEndTheConnection(t *testing.T) {
	inWorld(t, setup{Config: Config{AllowAnonymous: true, MaxCommands: 10}}, func(w *world) {
		n := w.nodes[0]
		for _, v := range []struct {
			p     wire.Protocol
			frame string
			code  wire.CloseCode
		}{
			{wire.JSON, "", wire.CloseBadRequest},
			{wire.JSON, "\n", wire.CloseBadRequest},
			{wire.JSON, "hello", wire.CloseBadRequest},
			{wire.JSON, `{"id":1,"publish":{"channel":"a","data":` + strings.Repeat("[", 60000), wire.CloseBadRequest},
			{wire.Protobuf, "", wire.CloseBadRequest},
			{wire.Protobuf, "\xff\xff", wire.CloseBadRequest},
			{wire.JSON, strings.Repeat(`{"id":2,"unsubscribe":{"channel":"a"}}`+"\n", 11), wire.CloseTooManyRequests},
		} {
			c := n.join(v.p, "")
			c.sendFrame([]byte(v.frame))
			c.receive()
			c.records = nil
			c.wantClose(fmt.Sprintf("%.20q", v.frame), v.code)
			c.send(`{"id":3,"publish":{"channel":"a","data":1}}`)
			c.wantClose("nothing after it counts", v.code)
		}
	})
}

func TestRepliesOfAFrameLeaveAsOneUnlessTheyAreMany(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "")
		var lines []string
		for i := range 100 {
			lines = append(lines, fmt.Sprintf(`{"id":%d,"unsubscribe":{"channel":"a"}}`, i+2))
		}
		c.send(lines...)
		if n := len(c.conn.frames); n != 1 {
			t.Errorf("%d frames", n)
		}
		c.receive()
		for i := range 400 {
			lines = append(lines, fmt.Sprintf(`{"id":%d,"publish":{"channel":"no:a"}}`, i+2))
		}
		c.records = nil
		c.send(lines...)
		if n := len(c.conn.frames); n < 2 {
			t.Errorf("%d frames", n)
		}
		for _, f := range c.conn.frames {
			if len(f) > 2*frameSize {
				t.Errorf("a frame of %d bytes", len(f))
			}
		}
		c.receive()
		if len(c.records) != 500 {
			t.Errorf("%d replies", len(c.records))
		}
	})
}
