package session

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/wire"
)

func TestSubscribeCodes(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{}, func(w *world) {
			c := w.nodes[0].join(p, "42")
			for _, v := range []struct{ why, subscribe, reply string }{
				{"plain", `"channel":"news","flag":1`, `"subscribe":{}`},
				{"again", `"channel":"news"`, `"error":{"code":105,"message":"already subscribed"}`},
				{"too long", `"channel":"` + strings.Repeat("x", 256) + `"`, `"error":{"code":107,"message":"bad request"}`},
				{"unknown namespace", `"channel":"no:a"`, `"error":{"code":102,"message":"unknown channel"}`},
				{"not ASCII", `"channel":"é"`, `"error":{"code":107,"message":"bad request"}`},
				{"NUL", `"channel":"a\u0000"`, `"error":{"code":107,"message":"bad request"}`},
				{"CR LF", `"channel":"a\r\nPUB x 1"`, `"error":{"code":107,"message":"bad request"}`},
				{"wildcards are letters here", `"channel":"a.*.>"`, `"subscribe":{}`},
				{"NATS's own subjects are names here", `"channel":"$JS.API.>"`, `"error":{"code":103,"message":"permission denied"}`},
				{"not allowed", `"channel":"closed:a"`, `"error":{"code":103,"message":"permission denied"}`},
				{"private without a token", `"channel":"$news"`, `"error":{"code":103,"message":"permission denied"}`},
				{"private with one", `"channel":"$news","token":"` + w.subToken("42", "$news", 0) + `"`, `"subscribe":{}`},
				{"token opens what is closed", `"channel":"closed:b","token":"` + w.subToken("42", "closed:b", 0) + `"`, `"subscribe":{}`},
				{"token that expires", `"channel":"closed:c","token":"` + w.subToken("42", "closed:c", time.Minute) + `"`, `"subscribe":{"expires":true,"ttl":60}`},
				{"rubbish for a token", `"channel":"closed:d","token":"x"`, `"error":{"code":103,"message":"permission denied"}`},
				{"for this user", `"channel":"chat:#41,42"`, `"subscribe":{}`},
				{"for another", `"channel":"chat:#41,43"`, `"error":{"code":103,"message":"permission denied"}`},
				{"recovery without history", `"channel":"r","recover":true,"epoch":"x","offset":5,"recoverable":true,"positioned":true,"flag":3`, `"subscribe":{}`},
				{"delta without history", `"channel":"d","delta":"fossil"`, `"subscribe":{}`},
				{"tags filter", `"channel":"f","tf":{"key":"a","cmp":"ex"}`, `"error":{"code":107,"message":"bad request"}`},
			} {
				c.send(`{"id":9,"subscribe":{` + v.subscribe + `}}`)
				c.wantReply(v.why, `{"id":9,`+v.reply+`}`)
			}
		})
	})
}

func TestSubscribesThatEndTheConnection(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{}, func(w *world) {
			for _, v := range []struct {
				why, subscribe string
				code           wire.CloseCode
			}{
				{"no channel", ``, wire.CloseBadRequest},
				{"unknown delta", `"channel":"news","delta":"xor"`, wire.CloseBadRequest},
				{"token of another channel", `"channel":"a","token":"` + w.subToken("42", "b", 0) + `"`, wire.CloseInvalidToken},
				{"token of another user", `"channel":"a","token":"` + w.subToken("43", "a", 0) + `"`, wire.CloseInvalidToken},
			} {
				c := w.nodes[0].join(p, "42")
				c.send(`{"id":2,"subscribe":{` + v.subscribe + `}}`)
				c.wantClose(v.why, v.code)
			}
		})
	})
}

func TestExpiredSubscriptionTokenIsError109(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		token := w.subToken("", "closed:a", time.Second)
		time.Sleep(2 * time.Second)
		c := w.nodes[0].join(wire.JSON, "")
		c.send(`{"id":2,"subscribe":{"channel":"closed:a","token":"` + token + `"}}`)
		c.wantReply("the SDK fetches another", `{"id":2,"error":{"code":109,"message":"token expired"}}`)
	})
}

func TestSubscriptionTypesOfNewerSDKsAreNotAvailable(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "")
		c.send(`{"id":2,"subscribe":{"channel":"m","type":1,"phase":1}}`)
		c.wantReply("no map subscriptions", `{"id":2,"error":{"code":108,"message":"not available"}}`)
	})
}

func TestChannelLimitPerConnection(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "")
		for i := range 128 {
			c.send(fmt.Sprintf(`{"id":2,"subscribe":{"channel":"c%d"}}`, i))
			c.wantReply("fits", `{"id":2,"subscribe":{}}`)
		}
		c.send(`{"id":3,"subscribe":{"channel":"more"}}`)
		c.wantReply("full", `{"id":3,"error":{"code":106,"message":"limit exceeded"}}`)
		for i := range 128 {
			c.send(fmt.Sprintf(`{"id":4,"unsubscribe":{"channel":"c%d"}}`, i))
			c.wantReply("out", `{"id":4,"unsubscribe":{}}`)
		}
		if c.s.held() != 0 || c.s.more != nil {
			t.Errorf("%d held", c.s.held())
		}
		c.send(`{"id":5,"subscribe":{"channel":"more"}}`)
		c.wantReply("room again", `{"id":5,"subscribe":{}}`)
	})
}

func TestPublicationsReachEveryNodeAndStopAtUnsubscribe(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{Config: Config{AllowAnonymous: true}, nodes: 2}, func(w *world) {
			a, b := w.nodes[0].join(p, "1"), w.nodes[1].join(wire.JSON, "2")
			for _, c := range []*client{a, b} {
				c.send(`{"id":2,"subscribe":{"channel":"news"}}`)
				c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			}
			a.send(`{"id":3,"publish":{"channel":"news","data":{"a":[1]}}}`)
			a.wantReply("published", `{"id":3,"publish":{}}`)
			for _, c := range []*client{a, b} {
				c.wantPush("everybody", `{"channel":"news","pub":{"data":{"a":[1]},"info":{"user":"1","client":"ID"}}}`)
			}
			b.send(`{"id":4,"unsubscribe":{"channel":"news"}}`)
			b.wantReply("unsubscribed", `{"id":4,"unsubscribe":{}}`)
			b.send(`{"id":5,"unsubscribe":{"channel":"news"}}`)
			b.wantReply("once more is no error", `{"id":5,"unsubscribe":{}}`)
			w.foreign("news", `1`)
			a.wantPush("still there", `{"channel":"news","pub":{"data":1}}`)
			b.wantNothing("gone")
			b.send(`{"id":6,"subscribe":{"channel":"news","join_leave":true}}`)
			b.wantReply("back", `{"id":6,"subscribe":{}}`)
			w.foreign("news", `2`)
			b.wantPush("back", `{"channel":"news","pub":{"data":2}}`)
			b.send(`{"id":7,"unsubscribe":{}}`)
			b.wantClose("no channel", wire.CloseBadRequest)
		})
	})
}

func TestForeignPayloadThatIsNoJSONIsForProtobufClientsOnly(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		n := w.nodes[0]
		a, b := n.join(wire.JSON, ""), n.join(wire.Protobuf, "")
		for _, c := range []*client{a, b} {
			c.send(`{"id":2,"subscribe":{"channel":"news"}}`)
			c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
		}
		w.foreign("news", "hello")
		a.wantNothing("no way to say it")
		b.receive()
		if len(b.records) != 1 || n.encoders.NotJSON() != 1 {
			t.Errorf("Protobuf client got %v; %d counted", b.records, n.encoders.NotJSON())
		}
		w.foreign("news", "{\n \"t\": 1}")
		a.wantPush("pretty JSON goes on one line", `{"channel":"news","pub":{"data":{ "t": 1}}}`)
	})
}

func TestJoinsAndLeaves(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{Config: Config{AllowAnonymous: true}, nodes: 2}, func(w *world) {
			a, b, deaf := w.nodes[0].join(p, "1"), w.nodes[1].join(p, "2"), w.nodes[0].join(p, "3")
			info := func(user string) string { return `{"info":{"user":"` + user + `","client":"ID"}}` }
			a.send(`{"id":2,"subscribe":{"channel":"chat:1","join_leave":true}}`)
			a.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			a.wantPush("its own join", `{"channel":"chat:1","join":`+info("1")+`}`)
			deaf.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
			deaf.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			a.wantPush("of who did not ask for joins", `{"channel":"chat:1","join":`+info("3")+`}`)
			b.send(`{"id":2,"subscribe":{"channel":"chat:1","join_leave":true}}`)
			b.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			b.wantPush("its own join", `{"channel":"chat:1","join":`+info("2")+`}`)
			a.wantPush("from the other node", `{"channel":"chat:1","join":`+info("2")+`}`)
			b.send(`{"id":3,"unsubscribe":{"channel":"chat:1"}}`)
			b.wantReply("unsubscribed", `{"id":3,"unsubscribe":{}}`)
			a.wantPush("leave", `{"channel":"chat:1","leave":`+info("2")+`}`)
			deaf.wantNothing("did not ask")
			deaf.s.Closed(wire.CloseAbnormal)
			a.wantPush("a lost connection leaves too", `{"channel":"chat:1","leave":`+info("3")+`}`)
			b.wantNothing("has left")
			w.down = fmt.Errorf("no link")
			a.s.Closed(wire.CloseAbnormal)
			if n := w.nodes[0].service.Stats().LostJoins; n != 1 {
				t.Errorf("%d lost leaves counted", n)
			}
		})
	})
}

func TestForcedJoinsReachWhoDidNotAsk(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "")
		c.send(`{"id":2,"subscribe":{"channel":"forced:a"}}`)
		c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
		c.wantPush("join", `{"channel":"forced:a","join":{"info":{"user":"","client":"ID"}}}`)
		c.send(`{"id":3,"unsubscribe":{"channel":"forced:a"}}`, `{"id":4,"subscribe":{"channel":"news"}}`, `{"id":5,"subscribe":{"channel":"forced:b"}}`)
		c.wantReply("the same place in another encoding", `{"id":3,"unsubscribe":{}}`)
		c.wantReply("news", `{"id":4,"subscribe":{}}`)
		c.wantReply("forced", `{"id":5,"subscribe":{}}`)
		c.wantPush("join", `{"channel":"forced:b","join":{"info":{"user":"","client":"ID"}}}`)
		if c.s.first.name != "forced:b" || len(c.s.more) != 1 {
			t.Error("the hub may still look at a subscription that has left: it must not change its encoding")
		}
	})
}

func TestSubRefresh(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{}, func(w *world) {
			n := w.nodes[0]
			c := n.join(p, "42")
			c.send(`{"id":2,"subscribe":{"channel":"$a","token":"` + w.subToken("42", "$a", time.Minute) + `"}}`)
			c.wantReply("subscribed", `{"id":2,"subscribe":{"expires":true,"ttl":60}}`)
			w.advance(50 * time.Second)
			c.send(`{"id":3,"sub_refresh":{"channel":"$a","token":"` + w.subToken("42", "$a", 2*time.Minute) + `"}}`)
			c.wantReply("prolonged", `{"id":3,"sub_refresh":{"expires":true,"ttl":120}}`)
			w.advance(100 * time.Second)
			c.send(`{"id":4,"sub_refresh":{"token":"` + w.subToken("42", "$a", time.Minute) + `"}}`)
			c.wantReply("the channel is in the token", `{"id":4,"sub_refresh":{"expires":true,"ttl":60}}`)
			w.advance(84 * time.Second)
			c.wantNothing("grace")
			w.advance(2 * time.Second)
			c.wantPush("expired", `{"channel":"$a","unsubscribe":{"code":2501,"reason":"expired"}}`)
			c.send(`{"id":5,"sub_refresh":{"channel":"$a","token":"x"}}`)
			c.wantReply("not subscribed", `{"id":5,"error":{"code":103,"message":"permission denied"}}`)
			c.send(`{"id":6,"subscribe":{"channel":"$a","token":"` + w.subToken("42", "$a", time.Minute) + `"}}`)
			c.wantReply("subscribed", `{"id":6,"subscribe":{"expires":true,"ttl":60}}`)
			c.send(`{"id":7,"sub_refresh":{"channel":"$a"}}`)
			c.wantReply("no token", `{"id":7,"error":{"code":107,"message":"bad request"}}`)
			c.send(`{"id":8,"sub_refresh":{"channel":"$a","token":"` + w.subToken("42", "$a", 0) + `"}}`)
			c.wantReply("for ever", `{"id":8,"sub_refresh":{}}`)
			w.advance(time.Hour)
			c.wantNothing("for ever")
		})
	})
}

func TestSubRefreshesThatEndTheConnection(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		old := w.subToken("42", "$a", time.Second)
		time.Sleep(2 * time.Second)
		for _, v := range []struct {
			why, refresh string
			code         wire.CloseCode
		}{
			{"neither channel nor token", ``, wire.CloseBadRequest},
			{"rubbish", `"channel":"$a","token":"x"`, wire.CloseInvalidToken},
			{"of another user", `"channel":"$a","token":"` + w.subToken("43", "$a", 0) + `"`, wire.CloseInvalidToken},
			{"of another channel", `"channel":"$a","token":"` + w.subToken("42", "$b", 0) + `"`, wire.CloseInvalidToken},
			{"expired", `"channel":"$a","token":"` + old + `"`, wire.CloseSubExpired},
		} {
			c := w.nodes[0].join(wire.JSON, "42")
			c.send(`{"id":2,"subscribe":{"channel":"$a","token":"` + w.subToken("42", "$a", 0) + `"}}`)
			c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			c.send(`{"id":3,"sub_refresh":{` + v.refresh + `}}`)
			c.wantClose(v.why, v.code)
		}
	})
}

func TestSubscriptionTokenThatNeedsAFetchKeepsOrder(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "42")
		n.sub.gate = make(chan struct{})
		c.send(`{"id":2,"subscribe":{"channel":"$a","token":"`+w.subToken("42", "$a", 0)+`"}}`, `{"id":3,"publish":{"channel":"x","data":1}}`)
		c.send(`{}`)
		if c.conn.closed != wire.CloseBadRequest {
			t.Error("an unsolicited pong while waiting was taken")
		}
		d := n.join(wire.JSON, "42")
		d.conn.pings = 1
		d.send(`{"id":2,"subscribe":{"channel":"$a","token":"`+w.subToken("42", "$a", 0)+`"}}`, `{"id":3,"publish":{"channel":"x","data":1}}`)
		d.send(`{}`)
		d.wantNothing("waiting")
		if n.service.Unsubscribe(Target{User: "42", Client: d.s.clientID()}, "$a", wire.UnsubscribeByServer) != 1 {
			t.Error("the server did not find the client")
		}
		d.wantNothing("still waiting")
		close(n.sub.gate)
		d.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
		d.wantPush("and taken back", `{"channel":"$a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}`)
		d.wantReply("then the rest", `{"id":3,"publish":{}}`)
	})
}

func TestTheServersWishWaitsForTheAnswerToTheClients(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "42")
		for _, k := range []struct {
			name, user, want string
			pushed           bool
		}{
			{"$a", "42", `{"id":2,"subscribe":{}}`, false},
			{"$b", "43", `{"id":2,"error":{"code":103,"message":"permission denied"}}`, true},
		} {
			n.sub.gate = make(chan struct{})
			n.sub.err = nil
			if k.pushed {
				n.sub.err = auth.ErrInvalid
			}
			c.send(`{"id":2,"subscribe":{"channel":"` + k.name + `","token":"` + w.subToken(k.user, k.name, 0) + `"}}`)
			n.service.Subscribe(Target{User: "42"}, ServerSub{Channel: k.name, Data: []byte(`1`)})
			c.wantNothing("waiting")
			close(n.sub.gate)
			c.wantReply("the client's", k.want)
			if k.pushed {
				c.wantPush("then the server's", `{"channel":"`+k.name+`","subscribe":{"data":1}}`)
			}
			c.wantNothing("already there")
		}
	})
}

func TestSubscribeHookAndItsRenewal(t *testing.T) {
	var got *SubscribeCall
	renew := SubRefreshAnswer{}
	var fault error
	o := setup{hooks: Hooks{
		Subscribe: func(_ context.Context, q *SubscribeCall) (SubscribeAnswer, error) {
			got = q
			if q.Channel == "asked:no" {
				return SubscribeAnswer{}, &HookError{Code: 403, Message: "no"}
			}
			return SubscribeAnswer{Data: []byte(`{"d":1}`), Info: []byte(`"chan"`), ExpireAt: time.Now().Unix() + 60}, nil
		},
		SubRefresh: func(_ context.Context, q *SubRefreshCall) (SubRefreshAnswer, error) {
			if q.Channel != "asked:a" || q.Proxy != "default" || q.User != "42" {
				t.Errorf("%+v", q)
			}
			return renew, fault
		},
		Publish: func(_ context.Context, q *PublishCall) (PublishAnswer, error) {
			return PublishAnswer{Data: append(append([]byte(`[`), q.Data...), ']'), Tags: map[string]string{"b": "2", "a": "1"}}, nil
		},
	}}
	inWorld(t, o, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "42")
		c.send(`{"id":2,"subscribe":{"channel":"asked:a","data":{"x":1}}}`, `{"id":3,"subscribe":{"channel":"asked:no"}}`, `{"id":4,"publish":{"channel":"asked:a","data":1}}`)
		c.wantReply("the server renews, so no ttl", `{"id":2,"subscribe":{"data":{"d":1}}}`)
		c.wantReply("refused", `{"id":3,"error":{"code":403,"message":"no"}}`)
		c.wantReply("published", `{"id":4,"publish":{}}`)
		c.wantPush("as the hook changed it", `{"channel":"asked:a","pub":{"data":[1],"info":{"user":"42","client":"ID","chan_info":"chan"},"tags":{"a":"1","b":"2"}}}`)
		if got.Proxy != "default" || got.User != "42" {
			t.Errorf("%+v", got)
		}
		c.send(`{"id":5,"subscribe":{"channel":"asked:t","token":"` + w.subToken("42", "asked:t", time.Hour) + `"}}`)
		c.wantReply("here the server renews those by token too", `{"id":5,"subscribe":{}}`)
		c.send(`{"id":6,"unsubscribe":{"channel":"asked:t"}}`)
		c.wantReply("done", `{"id":6,"unsubscribe":{}}`)
		fault = fmt.Errorf("backend is away")
		w.advance(61 * time.Second)
		c.wantNothing("asked again later")
		fault, renew = nil, SubRefreshAnswer{ExpireAt: time.Now().Unix() + 120}
		w.advance(61 * time.Second)
		c.wantNothing("renewed")
		renew = SubRefreshAnswer{Expired: true}
		w.advance(120 * time.Second)
		c.wantPush("ended", `{"channel":"asked:a","unsubscribe":{"code":2501,"reason":"expired"}}`)
		c.send(`{"id":7,"subscribe":{"channel":"asked:a"}}`)
		c.wantReply("again", `{"id":7,"subscribe":{"data":{"d":1}}}`)
		c.send(`{"id":8,"sub_refresh":{"channel":"asked:a","token":"x"}}`)
		c.wantClose("not the client's to renew", wire.CloseBadRequest)
		if n := w.nodes[0].service.Stats().HookFailures; n != 1 {
			t.Errorf("%d failures counted", n)
		}
	})
}

func TestNamespaceWhoseHookIsMissingIsNotAvailable(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "42")
		c.send(`{"id":2,"subscribe":{"channel":"asked:a"}}`, `{"id":3,"publish":{"channel":"asked:a","data":1}}`, `{"id":4,"rpc":{"method":"m"}}`)
		for id := 2; id <= 4; id++ {
			c.wantReply("no hook", fmt.Sprintf(`{"id":%d,"error":{"code":108,"message":"not available"}}`, id))
		}
	})
}

func TestServerSideSubscriptionThatExpiresEndsTheConnection(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "42")
		n.service.Subscribe(Target{User: "42"}, ServerSub{Channel: "a", ExpireAt: time.Now().Unix() + 10})
		c.wantPush("subscribed", `{"channel":"a","subscribe":{}}`)
		w.advance(34 * time.Second)
		c.wantNothing("grace")
		w.advance(2 * time.Second)
		c.wantClose("expired", wire.CloseSubExpired)
	})
}

func TestRulesMayBeReplacedWhileClientsAreConnected(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "")
		c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
		c.wantReply("known", `{"id":2,"subscribe":{}}`)
		n.service.SetRules(rulesOf(t, func(c *channel.Config, _ *channel.RPCConfig, _ *channel.Environment) { c.Namespaces = nil }))
		c.send(`{"id":3,"subscribe":{"channel":"chat:2"}}`)
		c.wantReply("not any more", `{"id":3,"error":{"code":102,"message":"unknown channel"}}`)
		w.foreign("chat:1", `1`)
		c.wantPush("what it has it keeps", `{"channel":"chat:1","pub":{"data":1}}`)
	})
}

var _ Verifier = (*auth.Verifier)(nil)
