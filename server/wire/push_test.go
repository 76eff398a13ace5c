package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/centrifugal/protocol"
)

var pushInfo = &ClientInfo{User: "u<1>\"", Client: "c-1", ConnInfo: []byte("{\n\"a\":1}"), ChanInfo: []byte(`[]`)}

var pushVectors = []struct {
	name, data string
	meta       *Meta
	json       string
}{
	{"plain", `{"a":1}`, nil, `{"push":{"channel":"news","pub":{"data":{"a":1}}}}`},
	{"line breaks go", "{\n\"a\":\r\n1}", nil, "{\"push\":{\"channel\":\"news\",\"pub\":{\"data\":{\"a\":\r1}}}}"},
	{"of a client", `1`, &Meta{Info: pushInfo}, `{"push":{"channel":"news","pub":{"data":1,"info":{"user":"u<1>\"","client":"c-1","conn_info":{"a":1},"chan_info":[]}}}}`},
	{"everything", `"x"`, &Meta{Info: &ClientInfo{}, Offset: 300, Tags: []Tag{{"k", "v\n"}}, Delta: true, Version: 7, VersionEpoch: "e", Time: 1700000000000, Channel: "news.a"},
		`{"push":{"channel":"news","pub":{"data":"x","info":{"user":"","client":""},"offset":300,"tags":{"k":"v\n"},"time":1700000000000,"channel":"news.a"}}}`},
	{"join", "", &Meta{Kind: KindJoin, Info: pushInfo}, `{"push":{"channel":"news","join":{"info":{"user":"u<1>\"","client":"c-1","conn_info":{"a":1},"chan_info":[]}}}}`},
	{"leave", "", &Meta{Kind: KindLeave, Info: pushInfo}, `{"push":{"channel":"news","leave":{"info":{"user":"u<1>\"","client":"c-1","conn_info":{"a":1},"chan_info":[]}}}}`},
	{"long", `"` + strings.Repeat("x", 70000) + `"`, nil, `{"push":{"channel":"news","pub":{"data":"` + strings.Repeat("x", 70000) + `"}}}`},
	{"info that is no JSON", `1`, &Meta{Info: &ClientInfo{User: "u", ConnInfo: []byte{0xff}}}, `{"push":{"channel":"news","pub":{"data":1,"info":{"user":"u","client":""}}}}`},
}

func schemaPush(data []byte, meta *Meta) *protocol.Reply {
	push := &protocol.Push{Channel: "news"}
	if meta == nil {
		meta = &Meta{}
	}
	var info *protocol.ClientInfo
	if i := meta.Info; i != nil {
		info = &protocol.ClientInfo{User: i.User, Client: i.Client, ConnInfo: i.ConnInfo, ChanInfo: i.ChanInfo}
	}
	switch meta.Kind {
	case KindJoin:
		push.Join = &protocol.Join{Info: info}
	case KindLeave:
		push.Leave = &protocol.Leave{Info: info}
	default:
		push.Pub = &protocol.Publication{Data: data, Info: info, Offset: meta.Offset, Time: meta.Time, Channel: meta.Channel}
		for _, t := range meta.Tags {
			push.Pub.Tags = map[string]string{t.Key: t.Value}
		}
	}
	return &protocol.Reply{Push: push}
}

// payloadOf checks that frame is one whole frame of kind op.
func payloadOf(t *testing.T, frame []byte, op Opcode) []byte {
	t.Helper()
	rules := headerRules{maxFrame: 1 << 30, room: 1 << 30}
	h, n, err := rules.parse(frame)
	if err != nil || h.op != op || !h.fin || n+h.length != len(frame) {
		t.Fatalf("bad frame %.20x: %+v, %v", frame, h, err)
	}
	return frame[n:]
}

func TestPushesAreThoseOfTheSchema(t *testing.T) {
	for _, v := range pushVectors {
		frame, ok := AppendPush([]byte("before"), JSON, "news", []byte(v.data), v.meta)
		if got := payloadOf(t, frame[6:], OpText); !ok || string(got) != v.json {
			t.Errorf("%s: %t\n got %.200s\nwant %.200s", v.name, ok, got, v.json)
		}
		want, err := protocol.NewProtobufReplyEncoder().Encode(schemaPush([]byte(v.data), v.meta))
		if err != nil {
			t.Fatal(err)
		}
		frame, _ = AppendPush([]byte("before"), Protobuf, "news", []byte(v.data), v.meta)
		got := payloadOf(t, frame[6:], OpBinary)
		d := protocol.NewProtobufReplyDecoder(got)
		if _, err := d.Decode(); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		if !bytes.HasSuffix(got, want) || len(got)-len(want) > 3 {
			t.Errorf("%s:\n got %x\nwant %x behind its length", v.name, got[:min(len(got), 80)], want[:min(len(want), 80)])
		}
	}
}

func TestDataThatIsNoJSONIsNotForJSONClients(t *testing.T) {
	for _, data := range []string{"", "hello", "{", "\"\xff\"", "1 2", "\x00", strings.Repeat("[", 200) + strings.Repeat("]", 200)} {
		before := []byte("before")
		if frame, ok := AppendPush(before, JSON, "c", []byte(data), nil); ok || string(frame) != "before" {
			t.Errorf("%.20q: %t, %q", data, ok, frame)
		}
		if _, ok := AppendPush(nil, Protobuf, "c", []byte(data), nil); !ok {
			t.Errorf("%.20q: refused for Protobuf", data)
		}
	}
}

func TestShortRepliesAreThoseOfTheSchema(t *testing.T) {
	for _, p := range []Protocol{JSON, Protobuf} {
		for _, id := range []uint32{1, 127, 128, 1<<32 - 1} {
			for m, r := range map[Method]*Reply{
				MethodSubscribe:   {Id: id, Subscribe: &SubscribeResult{}},
				MethodUnsubscribe: {Id: id, Unsubscribe: &protocol.UnsubscribeResult{}},
				MethodPublish:     {Id: id, Publish: &protocol.PublishResult{}},
				MethodSubRefresh:  {Id: id, SubRefresh: &SubRefreshResult{}},
			} {
				same(t, p, m.String(), AppendEmpty([]byte("x"), 1, p, id, m), r)
			}
			for code := ErrorInternal; code <= ErrorConcurrent; code++ {
				same(t, p, code.String(), AppendError([]byte("x"), 1, p, id, code),
					&Reply{Id: id, Error: &ReplyError{Code: uint32(code), Message: code.String(), Temporary: code.Temporary()}})
			}
		}
	}
}

func same(t *testing.T, p Protocol, name string, got []byte, r *Reply) {
	t.Helper()
	want, err := AppendRecord([]byte("x"), 1, p, r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, %s:\n got %q\nwant %q, %v", p, name, got, want, err)
	}
}

func TestRecordsAreJoined(t *testing.T) {
	r := &Reply{Id: 1, Rpc: &RPCResult{Data: []byte(`{}`)}}
	got, _ := AppendRecord(nil, 0, JSON, r)
	got = AppendEmpty(got, 0, JSON, 2, MethodPublish)
	got = AppendError(got, 0, JSON, 3, ErrorInternal)
	if want := `{"id":1,"rpc":{"data":{}}}` + "\n" + `{"id":2,"publish":{}}` + "\n" + `{"id":3,"error":{"code":100,"message":"internal server error","temporary":true}}`; string(got) != want {
		t.Errorf("got %s", got)
	}
	got, _ = AppendRecord(nil, 0, Protobuf, r)
	got = AppendEmpty(got, 0, Protobuf, 2, MethodPublish)
	d := protocol.NewProtobufReplyDecoder(got)
	for id := uint32(1); id <= 2; id++ {
		if r, err := d.Decode(); err != nil || r.Id != id {
			t.Errorf("record %d: %+v, %v", id, r, err)
		}
	}
	if _, err := AppendRecord(nil, 0, JSON, &Reply{Id: 1, Rpc: &RPCResult{Data: []byte(`{`)}}); err == nil {
		t.Error("rubbish went out as JSON")
	}
}

func TestPingIsAnEmptyReply(t *testing.T) {
	if got := PingFrame(JSON); string(got) != "\x81\x02{}" {
		t.Errorf("%q", got)
	}
	if got := PingFrame(Protobuf); string(got) != "\x82\x01\x00" {
		t.Errorf("%q", got)
	}
}

func TestEveryCentrifugeCodeHasAReasonThatIsNoJSON(t *testing.T) {
	for code := range closeNames {
		reason := code.Reason()
		if (reason == "") != (code < 3000) || json.Valid([]byte(reason)) {
			t.Errorf("%d: %q", code, reason)
		}
	}
	if CloseBadRequest.Reason() != "bad request" || CloseExpired.Reason() != "connection expired" || ErrorCode(400).String() != "application error" {
		t.Error("wrong text")
	}
	for _, code := range []uint32{UnsubscribeByServer, UnsubscribeInsufficient, UnsubscribeExpired, UnsubscribeInvalidated} {
		if UnsubscribeReason(code) == "" {
			t.Errorf("%d has no reason", code)
		}
	}
}

var metaVectors = []*Meta{
	{},
	{Kind: KindJoin, Info: pushInfo, Node: "NODE1"},
	{Kind: KindLeave, Info: &ClientInfo{User: "é\x00", Client: "c", ConnInfo: []byte{0xff, 0}, ChanInfo: []byte{}}},
	{Info: &ClientInfo{}, Channel: "a:b", Tags: []Tag{{"a", "1"}, {"b", ""}}, Offset: 1<<64 - 1, Time: -5, Delta: true},
	{Version: 1<<64 - 1, VersionEpoch: "é\n"},
	{Kind: KindPurge, Offset: 7},
}

func TestMetaIsOneLineAndComesBack(t *testing.T) {
	for _, m := range metaVectors {
		line := AppendMeta([]byte("x"), m)[1:]
		if bytes.ContainsAny(line, "\r\n") || !ValidJSON(line) {
			t.Errorf("%q", line)
		}
		got, ok := ParseMeta(string(line))
		want := *m
		if want.Info == pushInfo {
			i := *pushInfo
			i.ConnInfo = []byte(`{"a":1}`)
			want.Info = &i
		}
		if !ok || !reflect.DeepEqual(got, &want) {
			t.Errorf("%s: %t\n got %+v\nwant %+v", line, ok, got, want)
		}
	}
	for _, text := range []string{"", "x", "null", "[]", `{"kind":"later"}`, `{"info":1}`, `{"info":{"b64conn_info":"*"}}`, `{}{}`, `{"channel":1}`, "{\"channel\":\"\xff\"}"} {
		if m, ok := ParseMeta(text); ok {
			t.Errorf("%q became %+v", text, m)
		}
	}
	if m, ok := ParseMeta(`{"later":[1],"info":{"user":"u","later":{}},"kind":"join"}`); !ok || m.Info.User != "u" || m.Kind != KindJoin {
		t.Errorf("%+v, %t", m, ok)
	}
	info, ok := ParseClientInfo(AppendClientInfo(nil, pushInfo))
	if !ok || info.Client != "c-1" {
		t.Errorf("%+v, %t", info, ok)
	}
	if _, ok := ParseClientInfo([]byte(`[]`)); ok {
		t.Error("an array is no info")
	}
}

func FuzzMeta(f *testing.F) {
	for _, m := range metaVectors {
		f.Add(string(AppendMeta(nil, m)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := ParseMeta(text)
		if !ok {
			return
		}
		line := AppendMeta(nil, m)
		again, ok := ParseMeta(string(line))
		if !ok || bytes.ContainsAny(line, "\r\n") || !bytes.Equal(AppendMeta(nil, again), line) {
			t.Fatalf("%q -> %s -> %+v", text, line, again)
		}
		frame, ok := AppendPush(nil, JSON, "c", []byte("1"), m)
		if !ok && m.Kind == KindPurge {
			return
		}
		if !ok || !ValidJSON(payloadOf(t, frame, OpText)) {
			t.Fatalf("%q -> %q", text, frame)
		}
		frame, _ = AppendPush(nil, Protobuf, "c", []byte("1"), m)
		if r, err := protocol.NewProtobufReplyDecoder(payloadOf(t, frame, OpBinary)).Decode(); err != nil || r.Push == nil {
			t.Fatalf("%q -> %x: %v", text, frame, err)
		}
	})
}

func FuzzValidJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,true,false,null,"\u00e9\n"]}`, `[]`, ` 1 `, `01`, `"` + "\x7f" + `"`, `{"a":}`, `[1,]`, `-`, `1.`, `1e`, `nul`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		want := json.Valid(p) && utf8.Valid(p)
		if got := ValidJSON(p); got != want && !(want && tooDeep(p)) {
			t.Fatalf("%q: %t, encoding/json says %t", p, got, want)
		}
		if !want {
			return
		}
		var text string
		if json.Unmarshal(p, &text) == nil && !bytes.Equal(bytes.TrimSpace(p), []byte("null")) {
			var scratch []byte
			c := jsonCursor{p: p, scratch: &scratch}
			if got := c.text(); got != text {
				t.Fatalf("%q: %q, want %q", p, got, text)
			}
			if !utf8.ValidString(text) {
				t.Fatal("encoding/json gave broken UTF-8")
			}
			var back string
			if err := json.Unmarshal(AppendJSONString(nil, text), &back); err != nil || back != text {
				t.Fatalf("%q came back as %q, %v", text, back, err)
			}
		}
	})
}

func tooDeep(p []byte) bool {
	return bytes.Count(p, []byte("["))+bytes.Count(p, []byte("{")) > MaxJSONDepth
}
