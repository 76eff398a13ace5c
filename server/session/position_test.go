package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"throng/server/channel"
	"throng/server/history"
	"throng/server/wire"
)

// remembering is a town that keeps history.
func remembering(o setup) setup {
	o.Config.AllowAnonymous = true
	edit := o.rules
	o.rules = func(c *channel.Config, r *channel.RPCConfig, e *channel.Environment) {
		e.History, e.TagsFilter = true, true
		kept := channel.Options{
			HistorySize: 10, HistoryTTL: time.Minute, ForceRecovery: true, AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true,
			AllowPublishForClient: true, AllowPublishForAnonymous: true, AllowHistoryForClient: true, AllowHistoryForAnonymous: true,
			AllowedDeltaTypes: []string{"fossil"}, AllowTagsFilter: true,
		}
		cache, lax, told, changing := kept, kept, kept, kept
		cache.ForceRecoveryMode, cache.AutoCacheRecover = "cache", true
		lax.ForceRecovery, lax.AllowTagsFilter = false, false
		told.JoinLeave, told.ForcePushJoinLeave, told.Presence = true, true, true
		changing.DeltaPublish = true
		c.Namespaces = append(c.Namespaces,
			channel.NamespaceConfig{Name: "past", Options: kept}, channel.NamespaceConfig{Name: "cache", Options: cache},
			channel.NamespaceConfig{Name: "lax", Options: lax}, channel.NamespaceConfig{Name: "told", Options: told},
			channel.NamespaceConfig{Name: "delta", Options: changing})
		if edit != nil {
			edit(c, r, e)
		}
	}
	return o
}

// say publishes n numbered messages and takes the replies; the client must not be subscribed.
func (c *client) say(name string, from, to int) {
	c.t.Helper()
	for i := from; i <= to; i++ {
		c.send(fmt.Sprintf(`{"id":900,"publish":{"channel":"%s","data":{"n":%d}}}`, name, i))
		c.wantReply("published", `{"id":900,"publish":{}}`)
	}
}

func pubs(from, to int) string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf(`{"data":{"n":%d},"offset":%d,"info":{"user":"","client":"ID"}}`, i, i))
	}
	return strings.Join(list, ",")
}

func TestPositionedSubscriptionsGoOnWhereTheyWere(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, remembering(setup{nodes: 2}), func(w *world) {
			writer, reader := w.nodes[0].join(p, ""), w.nodes[1].join(p, "")
			reader.send(`{"id":2,"subscribe":{"channel":"past:x"}}`)
			reader.wantReply("the top of an empty channel", `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1"}}`)
			writer.say("past:x", 1, 2)
			reader.wantPush("live", `{"channel":"past:x","pub":`+pubs(1, 1)+`}`)
			reader.wantPush("live", `{"channel":"past:x","pub":`+pubs(2, 2)+`}`)
			reader.s.Closed(wire.CloseAbnormal)
			writer.say("past:x", 3, 5)
			again := w.nodes[1].join(p, "")
			again.send(`{"id":2,"subscribe":{"channel":"past:x","recover":true,"offset":2,"epoch":"e1"}}`)
			again.wantReply("what was missed",
				`{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":2,"recovered":true,"was_recovering":true,"publications":[`+pubs(3, 5)+`]}}`)
			writer.say("past:x", 6, 6)
			again.wantPush("and on", `{"channel":"past:x","pub":`+pubs(6, 6)+`}`)
			again.wantNothing("nothing twice")
			st := w.nodes[1].past.Stats()
			if st.Recovered != 1 || st.Unrecovered != 0 {
				t.Errorf("%d recovered, %d not", st.Recovered, st.Unrecovered)
			}
		})
	})
}

func TestWhatCannotBeRecoveredIsSaidToBe(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		writer := n.join(wire.JSON, "")
		writer.say("past:x", 1, 20)
		for _, k := range []struct{ asks, want string }{
			{`"offset":18,"epoch":"other"`, `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":20,"was_recovering":true}}`},
			{`"offset":0,"epoch":"_"`, `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":20,"was_recovering":true}}`},
			{`"offset":25,"epoch":"e1"`, `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":20,"was_recovering":true}}`},
			{`"offset":2,"epoch":"e1"`, `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":20,"was_recovering":true}}`},
			{`"offset":2,"epoch":"e1","flag":2`, `{"id":2,"error":{"code":112,"message":"unrecoverable position"}}`},
			{`"offset":20,"epoch":"e1"`, `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":20,"recovered":true,"was_recovering":true}}`},
			{`"offset":19,"epoch":""`, `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":19,"recovered":true,"was_recovering":true,"publications":[` + pubs(20, 20) + `]}}`},
		} {
			c := n.join(wire.JSON, "")
			c.send(`{"id":2,"subscribe":{"channel":"past:x","recover":true,` + k.asks + `}}`)
			w.advance(time.Second) // not every one is worth a read of its own at once
			c.wantReply(k.asks, k.want)
		}
	})
}

func TestAStoreThatIsAwayCostsTheSubscriptionOnly(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "")
		w.store.down = errors.New("away")
		c.send(`{"id":2,"subscribe":{"channel":"past:x"}}`, `{"id":3,"subscribe":{"channel":"live"}}`, `{"id":4,"publish":{"channel":"past:x","data":1}}`)
		w.advance(10 * time.Second)
		c.wantReply("temporary", `{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}`)
		c.wantReply("a live channel", `{"id":3,"subscribe":{}}`)
		c.wantReply("not stored, not said to be", `{"id":4,"error":{"code":100,"message":"internal server error","temporary":true}}`)
		w.store.down = nil
		c.send(`{"id":5,"subscribe":{"channel":"past:x"}}`)
		w.advance(time.Second)
		c.wantReply("again", `{"id":5,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1"}}`)
	})
}

func TestALostStreamEndsItsSubscriptions(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		c, d, live := n.join(wire.JSON, ""), n.accept(Handshake{}), n.join(wire.JSON, "")
		d.send(`{"id":1,"connect":{"token":"` + w.token("42", 0, "past:x") + `"}}`)
		d.wantReply("server-side", `{"id":1,"connect":{"client":"ID","ping":25,"pong":true,"subs":{"past:x":{"recoverable":true,"positioned":true,"epoch":"e1"}}}}`)
		c.send(`{"id":2,"subscribe":{"channel":"past:x"}}`)
		c.wantReply("subscribed", `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1"}}`)
		live.send(`{"id":2,"subscribe":{"channel":"lax:x"}}`)
		live.wantReply("without a position", `{"id":2,"subscribe":{}}`)
		w.store.recreate("e2")
		n.past.Doubt("")
		w.advance(20 * time.Second)
		c.wantPush("client-side", `{"channel":"past:x","unsubscribe":{"code":2500,"reason":"insufficient state"}}`)
		d.wantClose("server-side", wire.CloseInsufficientState)
		live.wantNothing("plain ones go on")
		c.send(`{"id":3,"subscribe":{"channel":"past:x","recover":true,"epoch":"e1"}}`)
		w.advance(time.Second)
		c.wantReply("as SDKs do", `{"id":3,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e2","was_recovering":true}}`)
	})
}

func TestServerSideSubscriptionsRecoverAtConnect(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		writer := n.join(wire.JSON, "")
		writer.say("past:x", 1, 3)
		c := n.accept(Handshake{})
		c.send(`{"id":1,"connect":{"token":"` + w.token("42", 0, "past:x", "live") + `","subs":{"past:x":{"recover":true,"offset":1,"epoch":"e1"},"past:y":{"recover":true}}}}`)
		c.wantReply("with what was missed", `{"id":1,"connect":{"client":"ID","ping":25,"pong":true,"subs":{"live":{},"past:x":`+
			`{"recoverable":true,"positioned":true,"epoch":"e1","offset":1,"recovered":true,"was_recovering":true,"publications":[`+pubs(2, 3)+`]}}}}`)
		writer.say("past:x", 4, 4)
		c.wantPush("live", `{"channel":"past:x","pub":`+pubs(4, 4)+`}`)
		c.send(`{"id":3,"subscribe":{"channel":"past:x"}}`)
		c.wantReply("held already", `{"id":3,"error":{"code":105,"message":"already subscribed"}}`)
	})
}

func TestTheApiSubscribesFromAPosition(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		n.join(wire.JSON, "").say("past:x", 1, 3)
		c := n.join(wire.JSON, "42")
		n.service.Subscribe(Target{User: "42"}, ServerSub{Channel: "past:x", Data: []byte(`1`), Since: &history.Position{Offset: 2, Epoch: "e1"}})
		c.wantPush("told", `{"channel":"past:x","subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":2,"data":1}}`)
		c.wantPush("and what it missed", `{"channel":"past:x","pub":`+pubs(3, 3)+`}`)
		c.wantNothing("once")
	})
}

func TestHistoryCommand(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, remembering(setup{Config: Config{MaxHistory: 3}}), func(w *world) {
			c := w.nodes[0].join(p, "")
			c.say("past:x", 1, 5)
			for _, k := range []struct{ asks, want string }{
				{`"channel":"past:x"`, `{"publications":[],"epoch":"e1","offset":5}`},
				{`"channel":"past:x","limit":2`, `{"publications":[` + pubs(1, 2) + `],"epoch":"e1","offset":5}`},
				{`"channel":"past:x","limit":-1`, `{"publications":[` + pubs(1, 3) + `],"epoch":"e1","offset":5}`},
				{`"channel":"past:x","limit":100,"since":{"offset":4,"epoch":"e1"}`, `{"publications":[` + pubs(5, 5) + `],"epoch":"e1","offset":5}`},
				{`"channel":"past:x","limit":2,"reverse":true`, `{"publications":[` + pubs(5, 5) + `,` + pubs(4, 4) + `],"epoch":"e1","offset":5}`},
				{`"channel":"past:x","limit":2,"reverse":true,"since":{"offset":3,"epoch":"e1"}`, `{"publications":[` + pubs(2, 2) + `,` + pubs(1, 1) + `],"epoch":"e1","offset":5}`},
			} {
				c.send(`{"id":2,"history":{` + k.asks + `}}`)
				if p == wire.Protobuf { // has no empty lists
					k.want = strings.Replace(k.want, "[]", "null", 1)
				}
				c.wantReply(k.asks, `{"id":2,"history":`+k.want+`}`)
			}
			for _, k := range []struct{ asks, want string }{
				{`"channel":"past:x","limit":2,"reverse":true,"since":{"offset":0,"epoch":"e1"}`, `{"code":107,"message":"bad request"}`},
				{`"channel":"past:x","limit":2,"since":{"offset":1,"epoch":"e0"}`, `{"code":112,"message":"unrecoverable position"}`},
				{`"channel":"x","limit":2`, `{"code":108,"message":"not available"}`},
				{`"channel":"none:x","limit":2`, `{"code":102,"message":"unknown channel"}`},
			} {
				c.send(`{"id":2,"history":{` + k.asks + `}}`)
				c.wantReply(k.asks, `{"id":2,"error":`+k.want+`}`)
			}
		})
	})
}

func TestCacheModeHandsOutTheNewestPublication(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "")
		c.say("cache:x", 1, 3)
		c.send(`{"id":2,"subscribe":{"channel":"cache:x"}}`)
		c.wantReply("on the first subscribe too",
			`{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","recovered":true,"was_recovering":true,"publications":[`+pubs(3, 3)+`]}}`)
		d := n.join(wire.JSON, "")
		d.send(`{"id":2,"subscribe":{"channel":"cache:x","recover":true,"offset":3,"epoch":"e1"}}`)
		d.wantReply("who has it is not sent it again", `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":3,"recovered":true,"was_recovering":true}}`)
	})
}

func TestTagsFilterAppliesToThePastAndToWhatIsLive(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		publish := func(number int, tag string) {
			err := n.past.Publish(&history.Publication{
				Stream: history.Stream{Namespace: "past", Size: 10, TTL: time.Minute}, Channel: "past:x",
				Data: []byte(fmt.Sprint(number)), Meta: &wire.Meta{Tags: []wire.Tag{{Key: "k", Value: tag}}},
			}, func(history.Position, error) {})
			if err != nil {
				t.Error(err)
			}
		}
		publish(1, "a")
		publish(2, "b")
		publish(3, "a")
		c := n.join(wire.JSON, "")
		c.send(`{"id":2,"subscribe":{"channel":"past:x","recover":true,"offset":1,"epoch":"e1","tf":{"key":"k","cmp":"eq","val":"a"}}}`)
		c.wantReply("of the past", `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":1,"recovered":true,"was_recovering":true,"publications":[{"data":3,"offset":3,"tags":{"k":"a"}}]}}`)
		publish(4, "b")
		publish(5, "a")
		c.wantPush("live", `{"channel":"past:x","pub":{"data":5,"offset":5,"tags":{"k":"a"}}}`)
		c.wantNothing("and no other")
		for _, wrong := range []string{`"channel":"past:y","tf":{"key":"k","cmp":"like","val":"a"}`, `"channel":"lax:y","tf":{"key":"k","cmp":"eq","val":"a"}`,
			`"channel":"past:y","delta":"fossil","tf":{"key":"k","cmp":"eq","val":"a"}`} {
			c.send(`{"id":3,"subscribe":{` + wrong + `}}`)
			c.wantReply(wrong, `{"id":3,"error":{"code":107,"message":"bad request"}}`)
		}
	})
}

func TestRepliesWaitUntilNATSKnowsOfTheInterest(t *testing.T) {
	var done func(error)
	asked := 0
	o := anonymous
	o.confirm = func(f func(error)) { done, asked = f, asked+1 }
	inWorld(t, o, func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "")
		c.send(`{"id":2,"subscribe":{"channel":"a"}}`, `{"id":3,"subscribe":{"channel":"b"}}`, `{"id":4,"publish":{"channel":"a","data":1}}`, `{"id":5,"unsubscribe":{"channel":"b"}}`)
		c.wantNothing("asking")
		done(nil)
		c.wantReply("a", `{"id":2,"subscribe":{}}`)
		c.wantReply("b", `{"id":3,"subscribe":{}}`)
		c.wantReply("then what followed", `{"id":4,"publish":{}}`)
		c.wantReply("then what followed", `{"id":5,"unsubscribe":{}}`)
		c.wantPush("heard", `{"channel":"a","pub":{"data":1,"info":{"user":"","client":"ID"}}}`)
		d := n.join(wire.JSON, "")
		d.send(`{"id":2,"subscribe":{"channel":"a"}}`)
		d.wantReply("known by now", `{"id":2,"subscribe":{}}`)
		d.send(`{"id":3,"subscribe":{"channel":"c"}}`)
		d.wantNothing("asking")
		done(errors.New("away"))
		d.wantReply("no reason to refuse", `{"id":3,"subscribe":{}}`)
		if got := n.service.Stats().Unconfirmed; asked != 2 || got != 1 {
			t.Errorf("asked %d times, %d unconfirmed", asked, got)
		}
		e := n.join(wire.JSON, "")
		e.send(`{"id":2,"subscribe":{"channel":"d"}}`)
		n.service.Unsubscribe(Target{}, "d", wire.UnsubscribeByServer)
		e.wantNothing("asking")
		done(nil)
		e.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
		e.wantPush("and taken back", `{"channel":"d","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}`)
		f := n.join(wire.JSON, "")
		f.send(`{"id":2,"subscribe":{"channel":"e"}}`)
		f.s.Closed(wire.CloseAbnormal)
		done(nil)
		f.run()
	})
}

func TestDeltasFollowAWholePublication(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		text := func(i int) string {
			return fmt.Sprintf(`{"long":"%s","n":%d}`, strings.Repeat("the same all the time ", 5), i)
		}
		whole := func(i int) string { return `"` + strings.ReplaceAll(text(i), `"`, `\"`) + `"` }
		difference := func(i int) string {
			d := wire.Delta([]byte(text(i-1)), []byte(text(i)))
			if d == nil {
				t.Fatal("no delta")
			}
			return string(wire.StringData(nil, d))
		}
		writer := n.join(wire.JSON, "")
		say := func(i int) {
			writer.send(`{"id":9,"publish":{"channel":"delta:x","data":` + text(i) + `}}`)
			writer.wantReply("published", `{"id":9,"publish":{}}`)
		}
		info := `"info":{"user":"","client":"ID"}`
		say(1)
		c := n.join(wire.JSON, "")
		c.send(`{"id":2,"subscribe":{"channel":"delta:x","delta":"fossil"}}`)
		c.wantReply("agreed", `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":1,"delta":true}}`)
		say(2)
		c.wantPush("the first is whole", `{"channel":"delta:x","pub":{"data":`+whole(2)+`,"offset":2,`+info+`}}`)
		say(3)
		c.wantPush("then differences", `{"channel":"delta:x","pub":{"data":`+difference(3)+`,"offset":3,"delta":true,`+info+`}}`)
		d := n.join(wire.JSON, "")
		d.send(`{"id":2,"subscribe":{"channel":"delta:x","delta":"fossil","recover":true,"offset":1,"epoch":"e1"}}`)
		d.wantReply("the past likewise", `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":1,"delta":true,"recovered":true,"was_recovering":true,"publications":[`+
			`{"data":`+whole(2)+`,"offset":2,`+info+`},{"data":`+difference(3)+`,"offset":3,"delta":true,`+info+`}]}}`)
		e := n.join(wire.JSON, "")
		e.send(`{"id":2,"subscribe":{"channel":"delta:x","delta":"fossil","recover":true,"offset":3,"epoch":"e1"}}`)
		e.wantReply("nothing missed", `{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":3,"delta":true,"recovered":true,"was_recovering":true}}`)
		say(4)
		d.wantPush("goes on", `{"channel":"delta:x","pub":{"data":`+difference(4)+`,"offset":4,"delta":true,`+info+`}}`)
		e.wantPush("has no base yet", `{"channel":"delta:x","pub":{"data":`+whole(4)+`,"offset":4,`+info+`}}`)
		say(5)
		e.wantPush("has one now", `{"channel":"delta:x","pub":{"data":`+difference(5)+`,"offset":5,"delta":true,`+info+`}}`)
	})
}

// Publications do not wait for each other's acknowledgement, and everything else waits for all of them.
func TestPublicationsAreStoredSideBySideAndAnsweredInOrder(t *testing.T) {
	inWorld(t, remembering(setup{}), func(w *world) {
		n := w.nodes[0]
		c := n.join(wire.JSON, "42")
		w.store.hold = true
		c.send(`{"id":2,"publish":{"channel":"past:x","data":1}}`, `{"id":3,"publish":{"channel":"past:y","data":2}}`, `{"id":4,"publish":{"channel":"past:x","data":3}}`,
			`{"id":5,"publish":{"channel":"nowhere:x","data":4}}`, `{"id":6,"publish":{"channel":"past:x","data":5}}`, `{"id":7,"subscribe":{"channel":"live"}}`)
		c.send(`{"id":8,"publish":{"channel":"live","data":6}}`)
		n.service.Unsubscribe(Target{User: "42"}, "live", wire.UnsubscribeByServer)
		c.wantNothing("nothing is stored")
		if got := len(w.store.held); got != 3 {
			t.Fatalf("%d publications on their way, want 3", got)
		}
		w.store.release(1)
		c.wantNothing("the second alone")
		w.store.release(0)
		c.wantReply("the first", `{"id":2,"publish":{}}`)
		c.wantReply("and the second", `{"id":3,"publish":{}}`)
		c.wantNothing("not the third")
		w.store.hold = false
		w.store.release(2)
		c.wantReply("the third", `{"id":4,"publish":{}}`)
		c.wantReply("an error in its place", `{"id":5,"error":{"code":102,"message":"unknown channel"}}`)
		c.wantReply("one more", `{"id":6,"publish":{}}`)
		c.wantReply("then the rest", `{"id":7,"subscribe":{}}`)
		c.wantReply("then the rest", `{"id":8,"publish":{}}`)
		c.wantPush("heard", `{"channel":"live","pub":{"data":6,"info":{"user":"42","client":"ID"}}}`)
	})
}

// A publication that waits for its key to be remembered is the publisher's still, whatever others say meanwhile.
func TestALivePublicationWithAKeyKeepsItsPublisher(t *testing.T) {
	o := remembering(setup{hooks: Hooks{Publish: func(context.Context, *PublishCall) (PublishAnswer, error) {
		return PublishAnswer{IdempotencyKey: "k"}, nil
	}}})
	o.alone = true
	inWorld(t, o, func(w *world) {
		n := w.nodes[0]
		reader, ann, bob := n.join(wire.JSON, ""), n.join(wire.JSON, "ann"), n.join(wire.JSON, "bob")
		n.service.Subscribe(Target{}, ServerSub{Channel: "asked:x"})
		reader.wantPush("subscribed", `{"channel":"asked:x","subscribe":{}}`)
		w.store.hold = true
		ann.send(`{"id":2,"publish":{"channel":"asked:x","data":1}}`)
		ann.wantNothing("not remembered yet")
		bob.send(`{"id":2,"publish":{"channel":"live","data":2}}`)
		bob.wantReply("another publication", `{"id":2,"publish":{}}`)
		w.store.release(0)
		ann.wantReply("published", `{"id":2,"publish":{}}`)
		reader.wantPush("ann's", `{"channel":"asked:x","pub":{"data":1,"info":{"user":"ann","client":"ID"}}}`)
	})
}

func TestPublicationsBeyondTheLimitWaitForThoseBefore(t *testing.T) {
	inWorld(t, remembering(setup{Config: Config{MaxStoring: 2}}), func(w *world) {
		c := w.nodes[0].join(wire.JSON, "")
		w.store.hold = true
		var said []string
		for i := range 5 {
			said = append(said, fmt.Sprintf(`{"id":%d,"publish":{"channel":"past:x","data":%d}}`, 10+i, i))
		}
		c.send(said...)
		for done := 0; done < 5; done++ {
			if under := len(w.store.held) - done; under < 1 || under > 2 {
				t.Fatalf("%d publications on their way behind %d stored, want 1 or 2", under, done)
			}
			w.store.release(done)
			c.wantReply("in order", fmt.Sprintf(`{"id":%d,"publish":{}}`, 10+done))
		}
	})
}
