package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"throng/server/wire"
)

func TestPresenceQuestionsShareOneSurvey(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{Config: Config{AllowAnonymous: true}, nodes: 2}, func(w *world) {
			here, there := w.nodes[0], w.nodes[1]
			far := there.join(p, "far")
			far.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
			far.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			var clients []*client
			for i := range 50 {
				c := here.join(p, fmt.Sprint(i%10))
				c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
				c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
				clients = append(clients, c)
			}
			here.delay = 20 * time.Millisecond
			for round := range 3 { // while the survey runs, and when it has just ended
				for _, c := range clients {
					c.send(`{"id":3,"presence_stats":{"channel":"chat:1"}}`)
				}
				w.advance(30 * time.Millisecond)
				for _, c := range clients {
					c.wantReply("all are told the same", `{"id":3,"presence_stats":{"num_clients":51,"num_users":11}}`)
				}
				if here.asked != 1 {
					t.Fatalf("round %d: %d surveys, want 1", round, here.asked)
				}
			}
			w.advance(defaultPresenceReuse)
			clients[0].send(`{"id":4,"presence_stats":{"channel":"chat:1"}}`)
			w.advance(30 * time.Millisecond)
			clients[0].wantReply("asked anew", `{"id":4,"presence_stats":{"num_clients":51,"num_users":11}}`)
			if s := here.service.Stats(); here.asked != 2 || s.PresenceSurveys != 2 || s.SharedPresence != 149 {
				t.Errorf("%d surveys, %+v", here.asked, s)
			}
		})
	})
}

func TestClientsSeeTheirOwnArrivalInAnOldAnswer(t *testing.T) {
	inWorld(t, setup{Config: Config{AllowAnonymous: true}, nodes: 2}, func(w *world) {
		for i := range 3 {
			c := w.nodes[0].join(wire.JSON, fmt.Sprint(i))
			c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`, `{"id":3,"presence_stats":{"channel":"chat:1"}}`)
			c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			c.wantReply("counted", fmt.Sprintf(`{"id":3,"presence_stats":{"num_clients":%d,"num_users":%d}}`, i+1, i+1))
		}
		if n := w.nodes[0].asked; n != 1 {
			t.Errorf("%d surveys", n)
		}
	})
}

func TestFailedPresenceIsNotShared(t *testing.T) {
	inWorld(t, setup{Config: Config{AllowAnonymous: true}, nodes: 2}, func(w *world) {
		c := w.nodes[0].join(wire.JSON, "1")
		c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
		c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
		w.nodes[1].silent = true
		c.send(`{"id":3,"presence":{"channel":"chat:1"}}`)
		c.wantReply("nobody knows who is there", `{"id":3,"error":{"code":100,"message":"internal server error","temporary":true}}`)
		w.nodes[1].silent = false
		c.send(`{"id":4,"presence_stats":{"channel":"chat:1"}}`, `{"id":5,"presence":{"channel":"chat:1"}}`)
		c.wantReply("better luck", `{"id":4,"presence_stats":{"num_clients":1,"num_users":1}}`)
		c.wantReply("better luck", `{"id":5,"presence":{"presence":{"ID":{"user":"1","client":"ID"}}}}`)
	})
}

// JavaScript clients that come back online open a new connection without closing the old one, which then lives until its pong is
// overdue (centrifuge-protocol.md, 22.10).
func TestTwoConnectionsOfOneClientAreTwoMembersAndOneUser(t *testing.T) {
	both(t, func(t *testing.T, p wire.Protocol) {
		inWorld(t, setup{Config: Config{AllowAnonymous: true}, nodes: 2}, func(w *world) {
			watcher, old := w.nodes[0].join(p, "watcher"), w.nodes[0].join(p, "7")
			watcher.send(`{"id":2,"subscribe":{"channel":"chat:1","join_leave":true}}`)
			watcher.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
			w.travel()
			watcher.wantPush("itself", `{"channel":"chat:1","join":{"info":{"user":"watcher","client":"ID"}}}`)
			again := w.nodes[1].join(p, "7")
			for _, c := range []*client{old, again} {
				c.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`)
				c.wantReply("subscribed", `{"id":2,"subscribe":{}}`)
				w.travel()
				watcher.wantPush("joined", `{"channel":"chat:1","join":{"info":{"user":"7","client":"ID"}}}`)
			}
			watcher.send(`{"id":3,"presence_stats":{"channel":"chat:1"}}`)
			watcher.wantReply("both connections, one user more", `{"id":3,"presence_stats":{"num_clients":3,"num_users":2}}`)
			all, err := w.nodes[0].service.Presence(w.t.Context(), "chat:1")
			if err != nil || all.Presence[old.s.clientID()] == nil || all.Presence[again.s.clientID()] == nil {
				t.Errorf("%v, %v", all, err)
			}
			old.s.Closed(wire.CloseNoPong)
			w.travel()
			watcher.wantPush("the old one leaves alone", `{"channel":"chat:1","leave":{"info":{"user":"7","client":"ID"}}}`)
			w.advance(defaultPresenceReuse)
			watcher.send(`{"id":4,"presence_stats":{"channel":"chat:1"}}`)
			watcher.wantReply("the new one stays", `{"id":4,"presence_stats":{"num_clients":2,"num_users":2}}`)
		})
	})
}

// roll notes what is told to Members.
type roll map[string]int

func (r roll) Watch(name string)   { r[name]++ }
func (r roll) Unwatch(name string) { r[name]-- }

func TestOnlySubscriptionsThatHearJoinsAreWatchedFor(t *testing.T) {
	inWorld(t, anonymous, func(w *world) {
		n, watched := w.nodes[0], roll{}
		n.service.parts.Members = watched
		plain, hears, forced := n.join(wire.JSON, "1"), n.join(wire.JSON, "2"), n.join(wire.JSON, "3")
		plain.send(`{"id":2,"subscribe":{"channel":"chat:1"}}`, `{"id":3,"subscribe":{"channel":"news"}}`)
		hears.send(`{"id":2,"subscribe":{"channel":"chat:1","join_leave":true}}`)
		forced.send(`{"id":2,"subscribe":{"channel":"forced:1"}}`)
		if len(watched) != 2 || watched["chat:1"] != 1 || watched["forced:1"] != 1 {
			t.Errorf("%v", watched)
		}
		for name, want := range map[string]int{"chat:1": 2, "forced:1": 1, "news": 0} {
			if some, all := n.service.LocalMembers(name, 1); all != want || len(some) != min(want, 1) {
				t.Errorf("%s: %v of %d members, want %d", name, some, all, want)
			}
		}
		if infos, err := n.service.LocalPresence("forced:1"); err != nil || len(infos) != 0 {
			t.Errorf("presence without presence: %v, %v", infos, err)
		}
		hears.send(`{"id":3,"unsubscribe":{"channel":"chat:1"}}`)
		forced.s.Closed(wire.CloseNormal)
		if watched["chat:1"] != 0 || watched["forced:1"] != 0 {
			t.Errorf("left behind: %v", watched)
		}
		synctest.Wait()
	})
}
