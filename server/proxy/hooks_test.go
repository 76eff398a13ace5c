package proxy

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"throng/server/auth"
	"throng/server/channel"
)

// everything is a request with all fields set, so that a hook that sends too much is noticed.
func everything() *Request {
	return &Request{
		Client: "c1", Transport: "websocket", Protocol: "json", User: "42", Channel: "news", Method: "sum", Token: "t",
		Name: "js", Version: "1.0", Channels: []string{"a"}, Data: []byte(`{"x":"<a>"}`), Meta: []byte(`{"m":1}`),
	}
}

// What backends get, byte for byte.
func TestRequestsAreWhatBackendsExpect(t *testing.T) {
	const who = `"client":"c1","transport":"websocket","protocol":"json","encoding":"json"`
	for _, c := range []struct {
		hook Hook
		want string
	}{
		{Connect, `{` + who + `,"data":{"x":"<a>"},"name":"js","version":"1.0","channels":["a"]}`},
		{Refresh, `{` + who + `,"user":"42","meta":{"m":1}}`},
		{Subscribe, `{` + who + `,"user":"42","channel":"news","token":"t","data":{"x":"<a>"},"meta":{"m":1}}`},
		{SubRefresh, `{` + who + `,"user":"42","channel":"news","meta":{"m":1}}`},
		{Publish, `{` + who + `,"user":"42","channel":"news","data":{"x":"<a>"},"meta":{"m":1}}`},
		{RPC, `{` + who + `,"user":"42","method":"sum","data":{"x":"<a>"},"meta":{"m":1}}`},
	} {
		b := startBackend(t, says(`{"result":{}}`))
		p := start(t, all(EndpointConfig{Endpoint: b.URL + "/" + c.hook.String(), IncludeConnectionMeta: true}), Deps{})
		do(p, c.hook, everything())
		got := b.last(t)
		if strings.TrimSpace(got.body) != c.want {
			t.Errorf("%v\n got %s\nwant %s", c.hook, got.body, c.want)
		}
		if got.method != http.MethodPost || got.path != "/"+c.hook.String() || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v: %+v", c.hook, got)
		}
		p = start(t, all(EndpointConfig{Endpoint: b.URL, BinaryEncoding: true}), Deps{})
		q := everything()
		q.Data, q.User = []byte{0, 0xff}, ""
		do(p, c.hook, q)
		var body map[string]any
		if err := json.Unmarshal([]byte(b.last(t).body), &body); err != nil {
			t.Fatal(err)
		}
		hasData := c.hook != Refresh && c.hook != SubRefresh
		if body["encoding"] != "binary" || (body["b64data"] == "AP8=") != hasData || body["data"] != nil || body["meta"] != nil {
			t.Errorf("%v: %v", c.hook, body)
		}
		if user, there := body["user"]; c.hook != Connect && (!there || user != "") {
			t.Errorf("%v: the anonymous user is %v", c.hook, user)
		}
	}
}

func TestResultsAreUnderstood(t *testing.T) {
	on, off := channel.On, channel.Off
	override := channel.Override{Presence: on, JoinLeave: off, ForceRecovery: on, ForcePositioning: off, ForcePushJoinLeave: on}
	const overrideJSON = `{"presence":{"value":true},"join_leave":{"value":false},"force_recovery":{"value":true},"force_positioning":{"value":false},"force_push_join_leave":{"value":true}}`
	expired := Result{Expired: true}
	noUser := Result{Outcome: Disconnected, Reason: ReasonDisconnect, Code: 3501, Message: "bad request"}
	for _, c := range []struct {
		hooks  []Hook
		answer string
		want   Result
	}{
		{[]Hook{Connect}, `{"result":{"user":"42","expire_at":7,"info":{"a": 1},"data":[1, 2],"meta":{"k":"v"},"channels":["a","b"],` +
			`"subs":{"s":{"info":{"i":1},"b64data":"AP8=","expire_at":9,"cache_recover":true,"override":` + overrideJSON + `}}}}`,
			Result{User: "42", ExpireAt: 7, Info: []byte(`{"a":1}`), Data: []byte(`[1,2]`), Meta: []byte(`{"k":"v"}`), Channels: []string{"a", "b"},
				Subs: map[string]Subscription{"s": {Info: []byte(`{"i":1}`), Data: []byte{0, 0xff}, ExpireAt: 9, CacheRecover: true, Override: override}}}},
		{[]Hook{Connect}, `{"result":{"user":""}}`, Result{}},
		{[]Hook{Connect}, `{"result":{}}`, noUser},
		{[]Hook{Connect}, `{"result":null}`, noUser},
		{[]Hook{Connect}, ` {} `, noUser},
		{[]Hook{Refresh, SubRefresh}, `{}`, expired},
		{[]Hook{Refresh, SubRefresh}, `{"result":{"expired":true}}`, expired},
		{[]Hook{Refresh, SubRefresh}, `{"result":{"expire_at":99,"b64info":"e30="}}`, Result{ExpireAt: 99, Info: []byte(`{}`)}},
		{[]Hook{Refresh}, `{"result":{"meta":{"a":1}}}`, Result{Meta: []byte(`{"a":1}`)}},
		{[]Hook{Subscribe, Publish, RPC}, `{}`, Result{}},
		{[]Hook{Subscribe}, `{"result":{"info":1,"data":"x","override":` + overrideJSON + `,"expire_at":3}}`,
			Result{Info: []byte(`1`), Data: []byte(`"x"`), Override: override, ExpireAt: 3}},
		{[]Hook{Publish}, `{"result":{"data":{"new":true},"skip_history":true,"tags":{"a":"b"},"idempotency_key":"k","delta":true,"version":18446744073709551615,"version_epoch":"e"}}`,
			Result{Data: []byte(`{"new":true}`), Publication: Publication{SkipHistory: true, Tags: map[string]string{"a": "b"},
				IdempotencyKey: "k", Delta: true, Version: 1<<64 - 1, VersionEpoch: "e"}}},
		{[]Hook{RPC}, "{\"result\":{\"data\":{\"a\":\n1}}, \"later\": 1}", Result{Data: []byte(`{"a":1}`)}},
		{Hooks(), `{"error":{"code":403,"message":"no","temporary":true}}`, Result{Outcome: Refused, Reason: ReasonError, Code: 403, Message: "no", Temporary: true}},
		{Hooks(), `{"disconnect":{"code":4500,"reason":"bye"}}`, Result{Outcome: Disconnected, Reason: ReasonDisconnect, Code: 4500, Message: "bye"}},
		{Hooks(), `{"error":{"code":403},"disconnect":{"code":3500,"reason":"bye"},"result":{}}`, Result{Outcome: Disconnected, Reason: ReasonDisconnect, Code: 3500, Message: "bye"}},
	} {
		b := startBackend(t, says(c.answer))
		p := start(t, all(EndpointConfig{Endpoint: b.URL}), Deps{})
		for _, hook := range c.hooks {
			got := do(p, hook, everything())
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("%v %s\n got %+v\nwant %+v", hook, c.answer, *got, c.want)
			}
		}
	}
}

func TestAnswersThatMakeNoSenseAreFailures(t *testing.T) {
	for _, answer := range []string{
		"", "null null", "[]", "7", `"x"`, "{", `{"result":{}}x`, `{"result":{}}{}`, `{"result":[]}`, `{"result":"x"}`, `{"error":"x"}`, `{"error":[]}`,
		`{"error":{"code":0}}`, `{"error":{"code":99,"message":"x"}}`, `{"error":{"code":2000}}`, `{"error":{"code":-1}}`, `{"error":{"code":1.5}}`, `{"error":{"code":"400"}}`,
		`{"error":{"code":99999999999999999999}}`, `{"disconnect":{}}`, `{"disconnect":{"code":2999}}`, `{"disconnect":{"code":5000}}`, `{"disconnect":{"code":70000}}`,
		`{"result":{"user":7}}`, `{"result":{"expire_at":"x"}}`, `{"result":{"b64info":"***"}}`, `{"result":{"b64data":"AP8"}}`, `{"result":{"channels":"a"}}`,
		`{"result":{"subs":{"a":{"b64data":"*"}}}}`, `{"result":{"override":{"presence":true}}}`, `{"result":{"tags":{"a":1}}}`, `{"result":{"version":-1}}`,
		"{\"result\":{\"user\":\"\xff\"}}", "\xef\xbb\xbf{}", "<html>", strings.Repeat("[", 20000), `{"result":` + strings.Repeat(`{"info":`, 20000),
	} {
		b := startBackend(t, says(answer))
		p := start(t, all(EndpointConfig{Endpoint: b.URL}), Deps{})
		for _, hook := range Hooks() {
			r := do(p, hook, everything())
			if r.Outcome != Failed || r.Reason != ReasonMalformed || r.Code != channel.Internal || !r.Temporary || r.Err == nil {
				t.Errorf("%v %.60q: %+v", hook, answer, r)
			}
			if retries := hook == Refresh || hook == SubRefresh; (r.RetryAfter > 0) != retries {
				t.Errorf("%v: retry after %v", hook, r.RetryAfter)
			}
		}
	}
}

func TestHeadersAreOnlyThoseConfigured(t *testing.T) {
	b := startBackend(t, says(`{"result":{}}`))
	p := start(t, all(EndpointConfig{
		Endpoint: b.URL, HTTPHeaders: []string{"cookie", "X-Real", "X-Both"}, EmulatedHeaders: []string{"authorization", "X-Both", "x-key", "X-Bad"},
		StaticHeaders: map[string]auth.Secret{"x-key": "operator's"},
	}), Deps{})
	q := everything()
	q.Headers = []Header{{"Cookie", "a=1"}, {"cookie", "b=2"}, {"X-Both", "real"}, {"X-Secret", "no"}, {"Authorization", "forged in handshake"}, {"X-Real", "bad\r\nInjected: 1"}}
	q.Emulated = map[string]string{"Authorization": "Bearer x", "x-both": "claimed", "X-Key": "claimed", "Cookie": "claimed", "X-Bad": "a\nb", "Content-Type": "evil"}
	do(p, Subscribe, q)
	h := b.last(t).header
	for name, want := range map[string]string{
		"Cookie": "a=1|b=2", "X-Both": "real", "Authorization": "Bearer x", "X-Key": "operator's", "X-Secret": "", "X-Real": "", "X-Bad": "", "Injected": "",
		"Content-Type": "application/json", "User-Agent": "throng",
	} {
		if got := strings.Join(h.Values(name), "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestStatusesAreMappedWhereConfigured(t *testing.T) {
	b := startBackend(t, nil)
	p := start(t, all(EndpointConfig{Endpoint: b.URL, StatusTransforms: []StatusTransform{
		{StatusCode: 404, ToError: &ErrorBody{Code: 404, Message: "nope", Temporary: true}},
		{StatusCode: 302, ToDisconnect: &DisconnectBody{Code: 4001, Reason: "moved"}},
	}}), Deps{})
	for status, want := range map[int]Result{
		404: {Outcome: Refused, Reason: ReasonError, Code: 404, Message: "nope", Temporary: true},
		302: {Outcome: Disconnected, Reason: ReasonDisconnect, Code: 4001, Message: "moved"},
		500: {Outcome: Failed, Reason: ReasonStatus, Code: 100, Message: "internal server error", Temporary: true},
		204: {Outcome: Failed, Reason: ReasonStatus, Code: 100, Message: "internal server error", Temporary: true},
		307: {Outcome: Failed, Reason: ReasonStatus, Code: 100, Message: "internal server error", Temporary: true},
	} {
		asked := b.asked()
		b.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}
		got := *do(p, RPC, everything())
		got.Err = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d: %+v", status, got)
		}
		if b.asked() != asked+1 {
			t.Errorf("%d: a redirect was followed or a call repeated", status)
		}
	}
}

func TestDataThatIsNoJSONNeedsBinaryEncoding(t *testing.T) {
	b := startBackend(t, says(`{"result":{}}`))
	p := start(t, all(EndpointConfig{Endpoint: b.URL}), Deps{})
	for _, data := range []string{"\xff", "{", "not json", "{} {}"} {
		q := everything()
		q.Data = []byte(data)
		if r := do(p, Publish, q); r.Code != channel.BadRequest || r.Temporary || r.Reason != ReasonBadRequest {
			t.Errorf("%q: %+v", data, r)
		}
	}
	if b.asked() != 0 {
		t.Error("the backend was asked")
	}
}

func FuzzAnswersNeverPanic(f *testing.F) {
	f.Add([]byte(`{"result":{"user":"42","subs":{"a":{"override":{"presence":{"value":true}}}}}}`))
	f.Add([]byte(`{"error":{"code":400}}`))
	f.Add([]byte(`{"disconnect":{"code":4000}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, hook := range Hooks() {
			r := decode(hook, answer)
			bad := r.Outcome == Refused && (r.Code < 100 || r.Code > 1999) || r.Outcome == Disconnected && (r.Code < 3000 || r.Code > 4999)
			if bad || (r.Outcome == Failed) != (r.Err != nil) {
				t.Errorf("%v %q: %+v", hook, answer, r)
			}
		}
	})
}
