package session

import (
	"testing"
	"time"

	"throng/server/channel"
	"throng/server/wire"
)

func TestServerDisconnects(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, anonymous, func(w *world) {
			v := w.nodes[0].service
			a, b, c, other := w.nodes[0].join(p, "42"), w.nodes[0].join(p, "42"), w.nodes[0].join(p, ""), w.nodes[0].join(p, "43")
			a.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
			a.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			if n := v.Disconnect(Target{User: "42", Except: []string{b.s.clientID()}}, wire.CloseForceDisconnect, "force disconnect"); n != 1 {
				t.Errorf("%d meant", n)
			}
			a.wantClose("told to", wire.CloseForceDisconnect)
			b.wantNothing("spared")
			if n := v.Disconnect(Target{User: "42", Client: "somebody else"}, 4000, "x"); n != 0 {
				t.Errorf("%d meant", n)
			}
			v.Disconnect(Target{}, wire.CloseForceReconnect, "force reconnect")
			c.wantClose("the anonymous", wire.CloseForceReconnect)
			v.Disconnect(Target{User: "43"}, 4501, "own words")
			other.run()
			if other.conn.closed != 4501 || other.conn.reason != "own words" {
				t.Errorf("%d %q", other.conn.closed, other.conn.reason)
			}
			if got := v.Stats().Disconnects; got[wire.CloseForceDisconnect] != 1 || got[0] != 1 {
				t.Errorf("%v", got)
			}
		})
	})
}

func TestServerSubscribesAndUnsubscribes(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, anonymous, func(w *world) {
			v := w.nodes[0].service
			c := w.nodes[0].join(p, "42")
			if n, code := v.Subscribe(Target{User: "42"}, ServerSub{Channel: "chat:1", Data: []byte(`{"a":1}`), Info: []byte(`1`), Override: channel.Override{ForcePushJoinLeave: channel.On}}); n != 1 || code != channel.Allowed {
				t.Errorf("%d, %v", n, code)
			}
			c.wantPush("first", `{"channel":"chat:1","subscribe":{"data":{"a":1}}}`)
			c.wantPush("then its join", `{"channel":"chat:1","join":{"info":{"user":"42","client":"ID","chan_info":1}}}`)
			v.Subscribe(Target{User: "42"}, ServerSub{Channel: "chat:1"})
			c.wantNothing("held already")
			if _, code := v.Subscribe(Target{User: "42"}, ServerSub{Channel: "no:1"}); code != channel.UnknownChannel {
				t.Errorf("%v", code)
			}
			c.send(`{"id":2,"subscribe":{"channel":"a"}}`)
			c.wantReply("another", `{"id":2,"subscribe":{}}`)
			v.Unsubscribe(Target{User: "42"}, "a", wire.UnsubscribeByServer)
			c.wantPush("one", `{"channel":"a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}`)
			v.Unsubscribe(Target{User: "42"}, "a", wire.UnsubscribeByServer)
			c.wantNothing("is not held")
			v.Unsubscribe(Target{User: "42"}, "", wire.UnsubscribeInvalidated)
			c.wantPush("all", `{"channel":"chat:1","unsubscribe":{"code":2502,"reason":"state invalidated"}}`)
			w.foreign("chat:1", `1`)
			c.wantNothing("out")
			v.Send(Target{User: "42"}, []byte(`{"m":1}`))
			c.wantPush("a message", `{"message":{"data":{"m":1}}}`)
		})
	})
}

func TestServerRefreshes(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		v := w.nodes[0].service
		c := w.nodes[0].join(wire.JSON, "42")
		c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
		c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
		v.Refresh(Target{User: "42"}, RefreshOrder{ExpireAt: time.Now().Unix() + 60, Info: []byte(`"i"`)})
		c.wantPush("told", `{"refresh":{"expires":true,"ttl":60}}`)
		c.send(`{"id":3,"presence":{"channel":"chat:1"}}`)
		c.wantReply("with its new info", `{"id":3,"presence":{"presence":{"ID":{"user":"42","client":"ID","conn_info":"i"}}}}`)
		v.Refresh(Target{User: "42"}, RefreshOrder{})
		c.wantPush("for ever", `{"refresh":{}}`)
		w.advance(time.Hour)
		c.wantNothing("for ever")
		v.Refresh(Target{User: "42"}, RefreshOrder{Expired: true})
		c.wantClose("over", wire.CloseExpired)
	})
}

func TestControlThatCannotReachItsSessionEndsIt(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "42")
		c.conn.full = true
		w.nodes[0].service.Unsubscribe(Target{User: "42"}, "a", wire.UnsubscribeByServer)
		c.wantClose("or the order would be lost", wire.CloseServerError)
	})
}

func TestConfigIsChecked(t *testing.T) {
	err := Config{StaleTimeout: -1, PingInterval: 1500 * time.Millisecond, MaxCommands: -1, CommandRate: -1}.Validate()
	if err == nil {
		t.Fatal("taken")
	}
	if Config.Validate(Config{}) != nil || (Config{PingInterval: -1}).Validate() != nil {
		t.Error("refused what is right")
	}
	for _, bad := range []func(){
		func() { New(Config{StaleTimeout: -1}, Parts{}) },
		func() { New(Config{}, Parts{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("New took it")
				}
			}()
			bad()
		}()
	}
}
