package httpapi

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOrdersReachAllNodes(t *testing.T) {
	c := startCluster(t, 3, nil)
	for _, k := range []struct{ method, request, order string }{
		{"disconnect", `{"user":"u","client":"c","session":"s","whitelist":["a","b"],"disconnect":{"code":4000,"reason":"r"}}`,
			`disconnect {User:u Client:c Session:s} 4000 r ["a" "b"]`},
		{"disconnect", `{"user":""}`, `disconnect {User: Client: Session:} 3503 force disconnect []`},
		{"unsubscribe", `{"user":"u","channel":"chat:x"}`, `unsubscribe {User:u Client: Session:} chat:x`},
		{"unsubscribe", `{"user":"u","session":"s"}`, `unsubscribe {User:u Client: Session:s} `},
		{"subscribe", `{"user":"u","channel":"x","info":{"i":1},"b64data":"AP8=","expire_at":9,"recover_since":{"offset":3,"epoch":"e"},"override":{"presence":{"value":true},"join_leave":{"value":false},"force_push_join_leave":{}}}`,
			"subscribe {User:u Client: Session:} x info={\"i\":1} data=\x00\xff at=9 since=&{Offset:3 Epoch:e} {Presence:2 JoinLeave:1 ForceRecovery:0 ForcePositioning:0 ForcePushJoinLeave:1}"},
		{"subscribe", `{"user":"u","channel":"x","b64info":"AP8=","data":"d","override":{"force_recovery":{"value":true},"force_positioning":{"value":false}}}`,
			"subscribe {User:u Client: Session:} x info=\x00\xff data=\"d\" at=0 since=<nil> {Presence:0 JoinLeave:0 ForceRecovery:2 ForcePositioning:1 ForcePushJoinLeave:0}"},
		{"refresh", `{"user":"u","expired":true,"expire_at":8,"info":{"a":1}}`, `refresh {User:u Client: Session:} true 8 {"a":1}`},
		{"refresh", `{"user":"u"}`, `refresh {User:u Client: Session:} false 0 `},
	} {
		if got := c.post(t, "/api/"+k.method, k.request); got.body != `{"result":{}}` {
			t.Errorf("%s: %s", k.method, got.body)
		}
		for _, n := range c.nodes {
			if told := n.told(); len(told) == 0 || told[len(told)-1] != k.order {
				t.Errorf("%s: %s\n got %q\nwant %q", n.name, k.request, told, k.order)
			}
		}
	}
}

func TestQuestionsAreAnsweredForTheWholeCluster(t *testing.T) {
	c := startCluster(t, 3, nil)
	c.nodes[0].presence["chat:x"] = []ClientInfo{{User: "u1", Client: "c1", ConnInfo: []byte(`{"a":1}`), ChanInfo: []byte("plain")}}
	c.nodes[1].presence["chat:x"] = []ClientInfo{{User: "u1", Client: "c2", ConnInfo: []byte{0, 0xff}}, {Client: "c3"}}
	c.nodes[0].counts = map[string]int{"chat:x": 1, "news": 5}
	c.nodes[2].counts = map[string]int{"chat:x": 2, "chat:y": 3}
	for _, k := range []struct{ path, request, want string }{
		{"/api/presence", `{"channel":"chat:x"}`, `{"result":{"presence":{"c1":{"user":"u1","client":"c1","conn_info":{"a":1},"chan_info":"plain"},"c2":{"user":"u1","client":"c2","conn_info":"AP8="},"c3":{"user":"","client":"c3"}}}}`},
		{"/api/presence_stats", `{"channel":"chat:x"}`, `{"result":{"num_clients":3,"num_users":2}}`},
		{"/api/channels", `{}`, `{"result":{"channels":{"chat:x":{"num_clients":3},"chat:y":{"num_clients":3},"news":{"num_clients":5}}}}`},
		{"/api/channels", `{"pattern":"chat:*"}`, `{"result":{"channels":{"chat:x":{"num_clients":3},"chat:y":{"num_clients":3}}}}`},
		{"/api/channels", `{"pattern":"none"}`, `{"result":{"channels":{}}}`},
	} {
		for i := range c.servers {
			got := send(t, "POST", c.servers[i].URL+k.path, k.request, "X-API-Key", "secret")
			if got.body != k.want {
				t.Errorf("node %d %s %s\n got %s\nwant %s", i, k.path, k.request, got.body, k.want)
			}
		}
	}
	if got := c.post(t, "/api/info", "{}"); strings.Count(got.body, `"uid"`) != 3 || strings.Index(got.body, "node-0") > strings.Index(got.body, "node-1") {
		t.Errorf("%s", got.body)
	}
}

// A cluster that cannot answer as a whole does not pretend to.
func TestNodesThatDoNotAnswerAreReported(t *testing.T) {
	c := startCluster(t, 3, nil)
	c.brokers[2].Close() // as a crash would
	const incomplete = `{"error":{"code":100,"message":"internal server error: no answer from 1 of 3 nodes"}}`
	for method, request := range map[string]string{
		"disconnect": `{"user":"u"}`, "subscribe": `{"user":"u","channel":"x"}`, "unsubscribe": `{"user":"u"}`, "refresh": `{"user":"u"}`,
		"presence": `{"channel":"chat:x"}`, "presence_stats": `{"channel":"chat:x"}`, "channels": `{}`,
	} {
		got := c.post(t, "/api/"+method, request)
		if got.body != incomplete || got.header.Get(unansweredHeader) != "node-2" {
			t.Errorf("%s: %s %q", method, got.body, got.header.Get(unansweredHeader))
		}
	}
	if len(c.nodes[1].told()) != 4 {
		t.Errorf("the nodes that are there were told %q", c.nodes[1].told())
	}
	got := c.post(t, "/api/info", `{}`)
	if strings.Count(got.body, `"uid"`) != 2 || got.header.Get(unansweredHeader) != "node-2" {
		t.Errorf("info: %s %q", got.body, got.header.Get(unansweredHeader))
	}
	got = c.post(t, "/api/batch", `{"commands":[{"publish":{"channel":"x","data":1}},{"disconnect":{"user":"u"}}]}`)
	if got.body != `{"replies":[{"publish":{}},`+strings.TrimSuffix(incomplete, "}")+`}]}` || got.header.Get(unansweredHeader) != "node-2" {
		t.Errorf("batch: %s %q", got.body, got.header.Get(unansweredHeader))
	}
	got = c.post(t, "/api", `{"id":1,"method":"disconnect","params":{"user":"u"}}`)
	if got.header.Get(unansweredHeader) != "node-2" {
		t.Errorf("legacy: %s %q", got.body, got.header.Get(unansweredHeader))
	}
	if got := c.post(t, "/api/disconnect", `{"user":"u"}`, "X-Centrifugo-Error-Mode", "transport"); got.status != 500 {
		t.Errorf("transport mode: %d", got.status)
	}
	if s := c.apis[0].Stats(); s.Incomplete != 11 || s.Unanswered != 11 {
		t.Errorf("%+v", s)
	}
	// A node that answers with a failure has not done it either.
	c = startCluster(t, 2, nil)
	c.nodes[1].fail = errors.New("out of order")
	got = c.post(t, "/api/disconnect", `{"user":"u"}`)
	if !strings.Contains(got.body, "1 of 2 nodes") || got.header.Get(unansweredHeader) != "node-1" {
		t.Errorf("%s %q", got.body, got.header.Get(unansweredHeader))
	}
}

func TestWithoutALinkTheAnswerIsAnError(t *testing.T) {
	c := startCluster(t, 2, nil)
	c.bus.SetDown(true)
	got := c.post(t, "/api/disconnect", `{"user":"u"}`)
	if got.body != `{"error":{"code":100,"message":"internal server error: not all nodes could be asked"}}` || got.header.Get(unansweredHeader) != "node-1" {
		t.Errorf("%s %q", got.body, got.header.Get(unansweredHeader))
	}
	if len(c.nodes[0].told()) != 1 {
		t.Error("the node itself did not act")
	}
	if got := c.post(t, "/api/info", `{}`); strings.Count(got.body, `"uid"`) != 1 {
		t.Errorf("%s", got.body)
	}
	c.nodes[0].fail = errors.New("queue full")
	if got := c.post(t, "/api/publish", `{"channel":"x","data":1}`); got.body != `{"error":{"code":100,"message":"internal server error"}}` {
		t.Errorf("%s", got.body)
	}
	c.nodes[0].fail = ErrBadRequest
	if got := c.post(t, "/api/publish", `{"channel":"x","data":1}`); got.body != `{"error":{"code":107,"message":"bad request"}}` {
		t.Errorf("%s", got.body)
	}
}

func TestSlowNodesAreNotWaitedForForEver(t *testing.T) {
	c := startCluster(t, 2, func(c *Config) { c.SurveyTimeout = 200 * time.Millisecond })
	c.nodes[1].block = make(chan struct{})
	defer close(c.nodes[1].block)
	got := c.post(t, "/api/presence", `{"channel":"chat:x"}`)
	if !strings.Contains(got.body, "1 of 2") || got.header.Get(unansweredHeader) != "node-1" {
		t.Errorf("%s %q", got.body, got.header.Get(unansweredHeader))
	}
}

func TestPatternsMatchAsGlobs(t *testing.T) {
	for _, k := range []struct {
		pattern string
		match   string
		other   string
	}{
		{"*", "a b:c/d.e", ""}, {"chat:*", "chat:|chat:x:y", "chat|xchat:y"}, {"?", "a|é|-", "ab"}, {"a?c", "abc", "ac|abbc"},
		{"[abc]x", "ax|cx", "dx|x"}, {"[a-c]x", "bx", "dx"}, {"[!a-c]x", "dx", "bx|x"}, {"{cat,bat}*", "cat|bats", "rat|c"}, {"{a,{b,c}d}", "a|bd|cd", "b|d"},
		{`\*`, "*", "a"}, {`a\[`, "a[", "a"}, {"a.b", "a.b", "axb"}, {"a+(b)$^", "a+(b)$^", "ab"}, {"**", "a:b", ""}, {"a,b", "a,b", "a"}, {"#1}", "#1}", "#1"},
	} {
		glob, err := compileGlob(k.pattern)
		if err != nil {
			t.Errorf("%s: %v", k.pattern, err)
			continue
		}
		for _, name := range strings.Split(k.match, "|") {
			if !glob.MatchString(name) {
				t.Errorf("%s does not match %q", k.pattern, name)
			}
		}
		for _, name := range strings.Split(k.other, "|") {
			if name != "" && glob.MatchString(name) {
				t.Errorf("%s matches %q", k.pattern, name)
			}
		}
	}
	for _, bad := range []string{"[", "[a", "[]", "[!]", "{", "{a", `\`, "[[a]", "[a^b]", "[z-a]", strings.Repeat("a", 2000)} {
		if _, err := compileGlob(bad); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
}

// Where the standard library's patterns mean the same, so do ours.
func FuzzPatternsAgreeWithPathMatch(f *testing.F) {
	f.Add("a*c?", "abcd")
	f.Add("[a-c]*", "bx")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		glob, err := compileGlob(pattern)
		if err != nil || glob == nil || strings.ContainsAny(pattern, `{}[]\/`) || strings.Contains(name, "/") || !slices.Equal([]byte(strings.ToValidUTF8(pattern+name, "")), []byte(pattern+name)) {
			return
		}
		want, err := path.Match(pattern, name)
		if err == nil && glob.MatchString(name) != want {
			t.Errorf("%q %q: %v, path.Match says %v", pattern, name, !want, want)
		}
	})
}
