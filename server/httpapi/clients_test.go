package httpapi

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/gocent/v3"
)

// The official Go client, which talks the legacy form.
func TestGocentWorksUnchanged(t *testing.T) {
	c := startCluster(t, 2, nil)
	c.nodes[1].presence["chat:x"] = []ClientInfo{{User: "u", Client: "c", ConnInfo: []byte(`{"a":1}`)}}
	c.nodes[1].counts["chat:x"] = 2
	client := gocent.New(gocent.Config{Addr: c.servers[0].URL + "/api", Key: "secret"})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	position, err := client.Publish(ctx, "stream:x", []byte(`{"a":1}`), gocent.WithSkipHistory(true))
	if must(err); position.Offset != 1 || position.Epoch != "e" || !c.nodes[0].pubs[0].SkipHistory {
		t.Errorf("%+v", position)
	}
	broadcast, err := client.Broadcast(ctx, []string{"a", "nons:b"}, []byte(`1`))
	if must(err); len(broadcast.Responses) != 2 || broadcast.Responses[0].Error != nil || broadcast.Responses[1].Error == nil || broadcast.Responses[1].Error.Code != 102 {
		t.Errorf("%+v", broadcast)
	}
	must(client.Subscribe(ctx, "chat:x", "u"))
	must(client.Unsubscribe(ctx, "chat:x", "u"))
	must(client.Disconnect(ctx, "u", gocent.WithDisconnect(&gocent.Disconnect{Code: 4001, Reason: "r"})))
	presence, err := client.Presence(ctx, "chat:x")
	if must(err); presence.Presence["c"].User != "u" || string(presence.Presence["c"].ConnInfo) != `{"a":1}` {
		t.Errorf("%+v", presence)
	}
	stats, err := client.PresenceStats(ctx, "chat:x")
	if must(err); stats.NumClients != 1 || stats.NumUsers != 1 {
		t.Errorf("%+v", stats)
	}
	channels, err := client.Channels(ctx, gocent.WithPattern("chat:*"))
	if _, there := channels.Channels["chat:x"]; err != nil || !there {
		t.Errorf("%+v", channels)
	}
	info, err := client.Info(ctx)
	if must(err); len(info.Nodes) != 2 || info.Nodes[0].Name != "node-0" || info.Nodes[1].NumClients != 1 {
		t.Errorf("%+v", info)
	}
	history, err := client.History(ctx, "stream:x", gocent.WithLimit(1))
	if must(err); history.Offset != 7 || history.Epoch != "e" || len(history.Publications) != 2 || history.Publications[0].Info.User != "u" {
		t.Errorf("%+v", history)
	}
	must(client.HistoryRemove(ctx, "stream:x"))
	if told := c.nodes[1].told(); len(told) != 3 || told[2] != `disconnect {User:u Client: Session:} 4001 r []` {
		t.Errorf("%q", told)
	}
	pipe := client.Pipe()
	for range 3 {
		must(pipe.AddPublish("x", []byte(`1`)))
	}
	must(pipe.AddPublish("nons:x", []byte(`1`)))
	replies, err := client.SendPipe(ctx, pipe)
	if must(err); len(replies) != 4 || replies[0].Error != nil || replies[3].Error == nil {
		t.Errorf("%+v", replies)
	}
	wrong := gocent.New(gocent.Config{Addr: c.servers[0].URL + "/api", Key: "wrong"})
	if _, err := wrong.Info(ctx); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("wrong key: %v", err)
	}
}

// Legacy requests in every spelling that is allowed.
func TestLegacyFormsAreAnsweredLineByLine(t *testing.T) {
	c := startCluster(t, 1, nil)
	for _, k := range []struct{ request, want string }{
		{`{"id":1,"method":"publish","params":{"channel":"x","data":1}}`, `{"id":1,"result":{}}`},
		{`{"id":1,"method":"PUBLISH","params":{"channel":"x","data":1}}`, `{"id":1,"result":{}}`},
		{`{"method":"Presence_Stats","params":{"channel":"chat:x"}}`, `{"result":{"num_clients":0,"num_users":0}}`},
		{`{"id":2,"method":0,"params":{"channel":"x","data":1}}`, `{"id":2,"result":{}}`},
		{`{"id":2,"params":{"channel":"x","data":1}}`, `{"id":2,"result":{}}`},
		{`{"id":3,"method":1,"params":{"channels":["x"],"data":1}}`, `{"id":3,"result":{"responses":[{"result":{}}]}}`},
		{`{"method":2,"params":{"user":"u"}}`, `{"result":{}}`},
		{`{"method":3,"params":{"user":"u"}}`, `{"result":{}}`},
		{`{"method":4,"params":{"channel":"chat:x"}}`, `{"result":{"presence":{}}}`},
		{`{"method":5,"params":{"channel":"chat:x"}}`, `{"result":{"num_clients":0,"num_users":0}}`},
		{`{"method":6,"params":{"channel":"x"}}`, `{"error":{"code":108,"message":"not available"}}`},
		{`{"method":7,"params":{"channel":"x"}}`, `{"error":{"code":108,"message":"not available"}}`},
		{`{"method":8}`, `{"result":{"channels":{}}}`},
		{`{"method":10,"params":{"method":"echo","params":[1]}}`, `{"result":{"data":[1]}}`},
		{`{"method":11,"params":{"user":"u","channel":"x"}}`, `{"result":{}}`},
		{`{"method":12,"params":{"user":"u"}}`, `{"result":{}}`},
		{`{"id":9,"method":13}`, `{"id":9,"error":{"code":104,"message":"not found"}}`},
		{`{"id":9,"method":"batch"}`, `{"id":9,"error":{"code":104,"message":"not found"}}`},
		{`{"id":9,"method":"connections"}`, `{"id":9,"error":{"code":104,"message":"not found"}}`},
		{`{"id":9,"method":"publish","params":[]}`, `{"id":9,"error":{"code":107,"message":"bad request"}}`},
		{`{"id":9,"method":"publish","params":null}`, `{"id":9,"error":{"code":107,"message":"bad request"}}`},
		{"{\"id\":1,\"method\":\"channels\"}\n{\"id\":2,\"method\":\"rpc\",\"params\":{\"method\":\"x\"}}\r\n{\"id\":3,\"method\":8}\n", "{\"id\":1,\"result\":{\"channels\":{}}}\n{\"id\":2,\"error\":{\"code\":104,\"message\":\"not found\"}}\n{\"id\":3,\"result\":{\"channels\":{}}}"},
	} {
		got := send(t, "POST", c.servers[0].URL+"/api", k.request, "Authorization", "apikey secret")
		if got.status != 200 || got.body != k.want {
			t.Errorf("%s\n got %d %s\nwant %s", k.request, got.status, got.body, k.want)
		}
	}
	published := len(c.nodes[0].pubs)
	if got := send(t, "POST", c.servers[0].URL+"/api", `{"method":"publish","params":{"channel":"x","data":1}}`+"\n{", "Authorization", "apikey secret"); got.status != 400 || len(c.nodes[0].pubs) != published {
		t.Errorf("a broken second line: %d, and the first was carried out", got.status)
	}
}

// What pycent 5 sends: every field of its models, nulls left out, and what it needs of the answer.
func TestPycentRequestsAreUnderstood(t *testing.T) {
	c := startCluster(t, 1, nil)
	for _, k := range []struct{ method, body, key string }{
		{"publish", `{"channel": "x", "data": {"text": "h\u00e9"}, "skip_history": false, "tags": {"a": "b"}, "idempotency_key": "k", "delta": false}`, "result"},
		{"broadcast", `{"channels": ["a", "b"], "data": {}, "skip_history": false, "delta": false}`, "result"},
		{"subscribe", `{"user": "42", "channel": "x", "info": {"a": 1}, "client": "c", "session": "s", "data": {"b": 2}, "recover_since": {"offset": 5, "epoch": "e"}, "override": {"presence": {"value": true}}}`, "result"},
		{"unsubscribe", `{"user": "42", "channel": "x", "client": "c", "session": "s"}`, "result"},
		{"disconnect", `{"user": "42", "client": "c", "session": "s", "whitelist": ["w"], "disconnect": {"code": 4000, "reason": "r"}}`, "result"},
		{"refresh", `{"user": "42", "client": "c", "session": "s", "expired": false, "expire_at": 1900000000}`, "result"},
		{"presence", `{"channel": "chat:x"}`, "result"}, {"presence_stats", `{"channel": "chat:x"}`, "result"},
		{"history", `{"channel": "stream:x", "limit": 1, "since": {"offset": 1, "epoch": "e"}, "reverse": false}`, "result"},
		{"channels", `{"pattern": "*"}`, "result"}, {"info", `{}`, "result"},
		{"batch", `{"commands": [{"publish": {"channel": "x", "data": {}, "skip_history": false, "delta": false}}, {"presence_stats": {"channel": "chat:x"}}], "parallel": true}`, "replies"},
	} {
		got := c.post(t, "/api/"+k.method, k.body, "Content-Type", "application/json")
		var body map[string]json.RawMessage
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != 200 || body[k.key] == nil || len(body) != 1 {
			t.Errorf("%s: %d %s", k.method, got.status, got.body)
		}
	}
}

func FuzzRequestsNeverPanic(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.method, v.request)
	}
	f.Add("", `{"id":1,"method":"publish","params":{"channel":"x","data":1}}`+"\n{}")
	c := startCluster(f, 1, nil)
	f.Fuzz(func(t *testing.T, method, body string) {
		path := "/api"
		if methods[method] != nil {
			path += "/" + method
		}
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("X-API-Key", "secret")
		w := httptest.NewRecorder()
		began := time.Now()
		c.apis[0].ServeHTTP(w, r)
		c.nodes[0].pubs, c.nodes[0].orders = nil, nil
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%v", took)
		}
		if w.Code == 200 && path != "/api" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q: %s", method, body, w.Body)
		}
	})
}
