package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"throng/server/channel"

	"go.yaml.in/yaml/v3"
)

func TestKeyOpensTheAPIInEveryForm(t *testing.T) {
	c := startCluster(t, 1, nil)
	base := c.servers[0].URL + "/api/info"
	for _, k := range []struct {
		name    string
		query   string
		headers []string
		want    int
	}{
		{"header", "", []string{"X-API-Key", "secret"}, 200},
		{"authorization", "", []string{"Authorization", "apikey secret"}, 200},
		{"authorization in another case", "", []string{"Authorization", "ApiKey  secret"}, 200},
		{"query", "?api_key=secret", nil, 200},
		{"nothing", "", nil, 401},
		{"empty", "", []string{"X-API-Key", ""}, 401},
		{"wrong", "", []string{"X-API-Key", "Secret"}, 401},
		{"longer", "", []string{"X-API-Key", "secret1"}, 401},
		{"wrong header hides the right query", "?api_key=secret", []string{"X-API-Key", "no"}, 401},
		{"bearer", "", []string{"Authorization", "Bearer secret"}, 401},
		{"empty query", "?api_key=", nil, 401},
	} {
		if got := send(t, "POST", base+k.query, "{}", k.headers...); got.status != k.want {
			t.Errorf("%s: %d %s", k.name, got.status, got.body)
		}
	}
	if n := c.apis[0].Stats().Unauthorized; n != 7 {
		t.Errorf("%d refusals counted", n)
	}
	for _, edit := range []func(*Config){func(c *Config) { c.Key = "" }, func(c *Config) { c.Key = ""; c.Insecure = true }} {
		open := startCluster(t, 1, edit)
		want := 401
		if open.apis[0].cfg.Insecure {
			want = 200
		}
		for _, headers := range [][]string{nil, {"X-API-Key", ""}, {"X-API-Key", "x"}, {"Authorization", "apikey "}} {
			if got := send(t, "POST", open.servers[0].URL+"/api/info", "{}", headers...); got.status != want {
				t.Errorf("no key configured, insecure %v, %q: %d", open.apis[0].cfg.Insecure, headers, got.status)
			}
		}
	}
}

func TestWhatIsWrongWithARequestShowsInItsStatus(t *testing.T) {
	c := startCluster(t, 1, func(c *Config) { c.MaxBodyBytes, c.MaxCommands = 1000, 3 })
	for _, k := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/api/publish", "", 405}, {"PUT", "/api/publish", "{}", 405}, {"OPTIONS", "/api/info", "", 405}, {"GET", "/api", "", 405},
		{"POST", "/api/nothing", "{}", 404}, {"POST", "/api/publish/x", "{}", 404}, {"POST", "/api/../api/x", "{}", 404}, {"POST", "/other", "{}", 404},
		{"POST", "/api/PUBLISH", "{}", 404}, {"POST", "/api/map_publish", "{}", 404},
		{"POST", "/api/info", "", 400}, {"POST", "/api/info", " ", 400}, {"POST", "/api/info", "null", 400}, {"POST", "/api/info", "[]", 400},
		{"POST", "/api/info", "{", 400}, {"POST", "/api/info", "{}{}", 400}, {"POST", "/api/info", "{}x", 400}, {"POST", "/api/info", "7", 400},
		{"POST", "/api/publish", `{"channel":7}`, 400}, {"POST", "/api/publish", `{"channel":"x","data":}`, 400}, {"POST", "/api/publish", `{"channel":"x","version":-1}`, 400},
		{"POST", "/api/batch", `{"commands":{}}`, 400}, {"POST", "/api/batch", `{"commands":[7]}`, 400}, {"POST", "/api/batch", `{"commands":[{"publish":7}]}`, 400},
		{"POST", "/api/info", "{" + strings.Repeat(" ", 1000) + "}", 413}, {"POST", "/api/info", "{" + strings.Repeat(" ", 998) + "}", 200},
		{"POST", "/api/info/", "{}", 200}, {"POST", "/api", "", 400}, {"POST", "/api", " \n", 400}, {"POST", "/api", "{", 400}, {"POST", "/api", `{"method":[]}`, 400},
		{"POST", "/api", `{"id":1,"method":"info"}`, 200}, {"POST", "/api/", `{"id":1,"method":"info"}`, 200},
		{"POST", "/api", strings.Repeat(`{"id":1,"method":"info"}`, 4), 400}, {"POST", "/api/info", strings.Repeat("[", 900), 400},
		{"GET", "/api/openapi.yaml", "", 200}, {"HEAD", "/api/openapi.json", "", 200}, {"POST", "/api/openapi.json", "", 405},
	} {
		got := send(t, k.method, c.servers[0].URL+k.path, k.body, "X-API-Key", "secret")
		if got.status != k.want {
			t.Errorf("%s %s %.30q: %d, want %d", k.method, k.path, k.body, got.status, k.want)
		}
		if got.status == 405 && !strings.Contains(got.header.Get("Allow"), "T") {
			t.Errorf("%s %s: no Allow", k.method, k.path)
		}
		if got.status == 200 && k.method == "POST" && got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %q", k.path, got.header.Get("Content-Type"))
		}
	}
	if s := c.apis[0].Stats(); s.Malformed == 0 || s.Oversize != 1 {
		t.Errorf("%+v", s)
	}
	if len(c.nodes[0].pubs)+len(c.nodes[0].told()) != 0 {
		t.Error("a malformed request did something")
	}
	// Methods of Centrifugo PRO.
	for name := range strings.FieldsSeq("connections update_user_status get_user_status delete_user_status block_user unblock_user revoke_token invalidate_user_tokens" +
		" device_register device_update device_remove device_list device_topic_list device_topic_update user_topic_list user_topic_update send_push_notification update_push_status cancel_push") {
		if got := c.post(t, "/api/"+name, "{}"); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	off := startCluster(t, 1, func(c *Config) { c.Disabled = true })
	if got := off.post(t, "/api/info", "{}"); got.status != 404 {
		t.Errorf("disabled: %d", got.status)
	}
}

func TestRequestsAtOnceAreBounded(t *testing.T) {
	c := startCluster(t, 1, func(c *Config) { c.MaxConcurrent = 1 })
	c.nodes[0].block = make(chan struct{})
	first := make(chan reply, 1)
	go func() { first <- c.post(t, "/api/presence", `{"channel":"chat:x"}`) }()
	until(t, "one under way", func() bool { return c.apis[0].Stats().Running == 1 })
	if got := c.post(t, "/api/info", "{}"); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("%d", got.status)
	}
	close(c.nodes[0].block)
	if got := <-first; got.status != 200 || c.apis[0].Stats().Busy != 1 {
		t.Errorf("%+v %+v", got, c.apis[0].Stats())
	}
}

// vectors are exchanges with one node, byte for byte.
var vectors = []struct{ method, request, response string }{
	{"publish", `{"channel":"x","data":{"a":1}}`, `{"result":{}}`},
	{"publish", `{"channel":"stream:x","data":"<&>"}`, `{"result":{"offset":2,"epoch":"e"}}`},
	{"publish", `{"channel":"x","b64data":"AP8="}`, `{"result":{}}`},
	{"publish", `{"channel":"x","b64data":"AP8"}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"channel":"x"}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"channel":"x","data":null}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"channel":"","data":{}}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"data":{}}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"channel":"nons:x","data":{}}`, `{"error":{"code":102,"message":"unknown channel"}}`},
	{"publish", `{"channel":"json:x","data":[]}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"channel":"sensors:*.x","data":{}}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"channel":"x\n","data":{}}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"publish", `{"channel":"x","data":{},"unknown":[1]}`, `{"result":{}}`},
	{"broadcast", `{"channels":["x","","nons:y","z"],"data":1}`, `{"result":{"responses":[{"result":{}},{"error":{"code":107,"message":"bad request"}},{"error":{"code":102,"message":"unknown channel"}},{"result":{}}]}}`},
	{"broadcast", `{"channels":[],"data":1}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"broadcast", `{"channels":["x"],"b64data":"*"}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"subscribe", `{"user":"u","channel":"x"}`, `{"result":{}}`},
	{"subscribe", `{"user":"u","channel":""}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"subscribe", `{"user":"u","channel":"nons:x"}`, `{"error":{"code":102,"message":"unknown channel"}}`},
	{"subscribe", `{"user":"u","channel":"x","b64info":"*"}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"subscribe", `{"user":"u","channel":"x","b64data":"*"}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"subscribe", `{"user":"u","channel":"x","all_users":true}`, `{"error":{"code":108,"message":"not available"}}`},
	{"unsubscribe", `{"user":"u","channel":"x"}`, `{"result":{}}`},
	{"unsubscribe", `{"user":"u"}`, `{"result":{}}`},
	{"unsubscribe", `{"user":"u","channel":"nons:x"}`, `{"error":{"code":102,"message":"unknown channel"}}`},
	{"unsubscribe", `{"user":"u","label_filter":{"a":"b"}}`, `{"error":{"code":108,"message":"not available"}}`},
	{"disconnect", `{"user":"u"}`, `{"result":{}}`},
	{"disconnect", `{"user":"u","all_users":false,"label_filter":null}`, `{"result":{}}`},
	{"disconnect", `{"all_users":true}`, `{"error":{"code":108,"message":"not available"}}`},
	{"disconnect", `{"user":"u","disconnect":{"code":4500,"reason":"bye"}}`, `{"result":{}}`},
	{"disconnect", `{"user":"u","disconnect":{"code":2999}}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"disconnect", `{"user":"u","disconnect":{"code":5000}}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"refresh", `{"user":"u","expire_at":7,"info":{"a":1}}`, `{"result":{}}`},
	{"refresh", `{"all_users":1}`, `{"error":{"code":108,"message":"not available"}}`},
	{"presence", `{"channel":"chat:none"}`, `{"result":{"presence":{}}}`},
	{"presence", `{"channel":"x"}`, `{"error":{"code":108,"message":"not available"}}`},
	{"presence", `{"channel":"sensors:*"}`, `{"error":{"code":108,"message":"not available"}}`},
	{"presence", `{}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"presence", `{"channel":"nons:x"}`, `{"error":{"code":102,"message":"unknown channel"}}`},
	{"presence_stats", `{"channel":"chat:none"}`, `{"result":{"num_clients":0,"num_users":0}}`},
	{"presence_stats", `{"channel":"x"}`, `{"error":{"code":108,"message":"not available"}}`},
	{"history", `{"channel":"stream:x","limit":-1,"since":{"offset":1,"epoch":"e"},"reverse":true}`,
		`{"result":{"publications":[{"data":{"a":1},"info":{"user":"u","client":"c","conn_info":1,"chan_info":"/w=="},"offset":6,"tags":{"k":"v"}},{"data":"/w==","offset":7}],"offset":7,"epoch":"e"}}`},
	{"history", `{"channel":"stream:x"}`, `{"result":{"publications":[],"offset":7,"epoch":"e"}}`},
	{"history", `{"channel":"stream:x","since":{"epoch":"other"}}`, `{"error":{"code":112,"message":"unrecoverable position"}}`},
	{"history", `{"channel":"stream:x","limit":-2}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"history", `{"channel":"x"}`, `{"error":{"code":108,"message":"not available"}}`},
	{"history", `{"channel":"nons:x"}`, `{"error":{"code":102,"message":"unknown channel"}}`},
	{"history", `{}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"history_remove", `{"channel":"stream:x"}`, `{"result":{}}`},
	{"history_remove", `{"channel":"x"}`, `{"error":{"code":108,"message":"not available"}}`},
	{"history_remove", `{"channel":""}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"channels", `{}`, `{"result":{"channels":{}}}`},
	{"channels", `{"pattern":"["}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"info", `{}`, `{"result":{"nodes":[{"uid":"uid-node-0","name":"node-0","version":"1.2.3","num_clients":1,"num_users":2,"num_subs":3,"num_channels":4,"uptime":5,"metrics":{"interval":60,"items":{"a":1}},"process":{"cpu":0.5,"rss":1048576}}]}}`},
	{"rpc", `{"method":"echo","params":{"a":1}}`, `{"result":{"data":{"a":1}}}`},
	{"rpc", `{"method":"echo"}`, `{"result":{}}`},
	{"rpc", `{"method":"echo","params":"fail"}`, `{"error":{"code":444,"message":"custom"}}`},
	{"rpc", `{"method":"echo","params":"break"}`, `{"error":{"code":100,"message":"internal server error"}}`},
	{"rpc", `{"method":"nothing"}`, `{"error":{"code":104,"message":"not found"}}`},
	{"rpc", `{"method":""}`, `{"error":{"code":107,"message":"bad request"}}`},
	{"batch", `{}`, `{"replies":[]}`},
	{"batch", `{"commands":[{"publish":{"channel":"stream:x","data":1}},{"broadcast":{"channels":["a"],"data":1}},{"presence":{"channel":"x"}},{"map_publish":{}},{},{"info":null,"unsubscribe":{"user":"u"}}]}`,
		`{"replies":[{"publish":{"offset":1,"epoch":"e"}},{"broadcast":{"responses":[{"result":{}}]}},{"error":{"code":108,"message":"not available"}},{"error":{"code":104,"message":"not found"}},{"error":{"code":104,"message":"not found"}},{"unsubscribe":{}}]}`},
	{"batch", `{"parallel":true,"commands":[{"channels":{}},{"presence_stats":{"channel":"chat:a"}},{"rpc":{"method":"echo","params":1}},{"rpc":{"method":"x"}},{"disconnect":{"user":"u"}},{"refresh":{"user":"u"}},{"subscribe":{"user":"u","channel":"x"}}]}`,
		`{"replies":[{"channels":{"channels":{}}},{"presence_stats":{"num_clients":0,"num_users":0}},{"rpc":{"data":1}},{"error":{"code":104,"message":"not found"}},{"disconnect":{}},{"refresh":{}},{"subscribe":{}}]}`},
}

func TestAnswersAreByteForByteWhatClientsExpect(t *testing.T) {
	c := startCluster(t, 1, nil)
	for _, v := range vectors {
		if v.method == "batch" {
			c.nodes[0].pubs = nil
		} else if len(c.nodes[0].pubs) > 1 {
			c.nodes[0].pubs = c.nodes[0].pubs[:1]
		}
		got := c.post(t, "/api/"+v.method, v.request)
		if got.status != 200 || got.body != v.response {
			t.Errorf("%s %s\n got %d %s\nwant %s", v.method, v.request, got.status, got.body, v.response)
		}
		if got.header.Get(unansweredHeader) != "" {
			t.Errorf("%s: %s", v.method, got.header.Get(unansweredHeader))
		}
	}
	s := c.apis[0].Stats()
	if s.Commands["publish"] < 10 || s.Errors[MethodError{"publish", 107}] < 5 || s.Errors[MethodError{"broadcast_publish", 102}] != 1 || s.Errors[MethodError{"unknown", 104}] != 2 {
		t.Errorf("%+v", s)
	}
}

func TestPublicationsArriveWhole(t *testing.T) {
	c := startCluster(t, 1, nil)
	c.post(t, "/api/publish", "{\"channel\":\"chat:x\",\"data\":{\"a\":\r\n \"b c\"},\"skip_history\":true,\"tags\":{\"k\":\"v\"},\"idempotency_key\":\"i\",\"delta\":true,\"version\":18446744073709551615,\"version_epoch\":\"ve\"}")
	c.post(t, "/api/publish", `{"channel":"x","data":{"kept": [1,  2]},"b64data":""}`)
	c.post(t, "/api/publish", `{"channel":"x","data":1,"b64data":"AP8="}`)
	c.post(t, "/api/broadcast", `{"channels":["a","b"],"data":{"x":1},"tags":{"k":"v"}}`)
	p := c.nodes[0].pubs
	if len(p) != 5 {
		t.Fatalf("%d publications", len(p))
	}
	if one := p[0]; one.Channel.Name != "chat:x" || one.Channel.Namespace.Name != "chat" || string(one.Data) != `{"a":"b c"}` || !one.SkipHistory || one.Tags["k"] != "v" ||
		one.IdempotencyKey != "i" || !one.Delta || one.Version != 1<<64-1 || one.VersionEpoch != "ve" || one.Binary {
		t.Errorf("%+v", one)
	}
	if string(p[1].Data) != `{"kept": [1,  2]}` || p[1].Binary || string(p[2].Data) != "\x00\xff" || !p[2].Binary {
		t.Errorf("%q %q", p[1].Data, p[2].Data)
	}
	if p[3].Channel.Name != "a" || p[4].Channel.Name != "b" || string(p[4].Data) != `{"x":1}` {
		t.Errorf("%+v %+v", p[3], p[4])
	}
	p[3].Data[0], p[3].Tags["k"] = '!', "!"
	if string(p[4].Data) != `{"x":1}` || p[4].Tags["k"] != "v" {
		t.Error("two publications of a broadcast share memory")
	}
}

func TestTransportModeTellsErrorsByStatus(t *testing.T) {
	c := startCluster(t, 1, nil)
	byConfig := startCluster(t, 1, func(c *Config) { c.ErrorMode = "transport" })
	for _, k := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/api/rpc", `{"method":"echo","params":"break"}`, 500, `{"code":100,"message":"internal server error"}`},
		{"/api/publish", `{"channel":"nons:x","data":1}`, 404, `{"code":102,"message":"unknown channel"}`},
		{"/api/rpc", `{"method":"x"}`, 404, `{"code":104,"message":"not found"}`},
		{"/api/publish", `{"channel":""}`, 400, `{"code":107,"message":"bad request"}`},
		{"/api/history", `{"channel":"x"}`, 400, `{"code":108,"message":"not available"}`},
		{"/api/publish", `{"channel":"x","data":1}`, 200, `{"result":{}}`},
		{"/api/batch", `{"commands":[{"rpc":{"method":"x"}}]}`, 200, `{"replies":[{"error":{"code":104,"message":"not found"}}]}`},
	} {
		for _, got := range []reply{c.post(t, k.path, k.body, "X-Centrifugo-Error-Mode", "transport"), byConfig.post(t, k.path, k.body)} {
			if got.status != k.status || got.body != k.want {
				t.Errorf("%s %s: %d %s", k.path, k.body, got.status, got.body)
			}
		}
	}
	if ErrUnrecoverablePosition.status() != 416 {
		t.Error("112 is not 416")
	}
}

func TestNumbersOfOneRequestAreBounded(t *testing.T) {
	c := startCluster(t, 1, func(c *Config) { c.MaxCommands, c.MaxChannels = 2, 2 })
	for body, want := range map[string]string{
		`{"commands":[{"info":{}},{"info":{}},{"info":{}}]}`: `{"error":{"code":107,"message":"bad request"}}`,
	} {
		if got := c.post(t, "/api/batch", body); got.body != want {
			t.Errorf("%s: %s", body, got.body)
		}
	}
	if got := c.post(t, "/api/broadcast", `{"channels":["a","b","c"],"data":1}`); !strings.Contains(got.body, "107") {
		t.Errorf("broadcast: %s", got.body)
	}
	if len(c.nodes[0].pubs) != 0 {
		t.Error("something was published")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		`kye: x`:                         "did you mean key?",
		`max_body_bytes: 0`:              "http_api.max_body_bytes = 0: must be a positive number",
		`error_mode: trasport`:           `must be "transport"`,
		`survey_timeout: 5`:              "has no unit",
		`survey_timeout: -5s`:            "must be a positive duration",
		`{key: hunter2, insecure: true}`: "makes the key pointless",
		`{key: {hunter2: 1}}`:            "must be a single value",
	} {
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(text), &node); err != nil {
			t.Fatal(err)
		}
		cfg := DefaultConfig()
		err := channel.Decode(&node, &cfg, "http_api")
		if err == nil {
			err = cfg.Check()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := New(Config{}, Deps{}); err == nil {
		t.Error("New took what Check refuses")
	}
}

// The key must not be told by URLs that break.
func TestKeyWithSpecialCharacters(t *testing.T) {
	c := startCluster(t, 1, func(c *Config) { c.Key = "a b&c=d%/é" })
	if got := send(t, "POST", c.servers[0].URL+"/api/info?api_key="+url.QueryEscape("a b&c=d%/é"), "{}"); got.status != 200 {
		t.Errorf("%d", got.status)
	}
}
