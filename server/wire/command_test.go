package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
)

// commandVectors are commands as SDKs write them: the line, and the Protobuf record of the same command.
var commandVectors = []struct {
	name, json, protobuf string
	want                 Command
}{
	{"pong", `{}`, "", Command{}},
	{"js: connect with token", `{"id":1,"connect":{"token":"t0","name":"js"}}`, "080122080a02743022026a73", Command{ID: 1, Method: MethodConnect, Token: "t0", Name: "js"}},
	{"js: connect empty", `{"id":1,"connect":{}}`, "08012200", Command{ID: 1, Method: MethodConnect}},
	{"js: subscribe with flag", `{"id":2,"subscribe":{"channel":"news","flag":1}}`, "08022a080a046e6577737001", Command{ID: 2, Method: MethodSubscribe, Channel: "news", Subscription: Subscription{Flag: 1}}},
	{"js: recover", `{"id":3,"subscribe":{"channel":"c","recover":true,"epoch":"abcd","offset":18446744073709551615,"flag":3}}`, "",
		Command{ID: 3, Method: MethodSubscribe, Channel: "c", Subscription: Subscription{Recover: true, Epoch: "abcd", Offset: 1<<64 - 1, Flag: 3}}},
	{"js: subscribe options", `{"id":4,"subscribe":{"channel":"c","token":"t","data":{"a":[1,2]},"positioned":true,"recoverable":true,"join_leave":true,"delta":"fossil"}}`, "",
		Command{ID: 4, Method: MethodSubscribe, Channel: "c", Token: "t", Data: []byte(`{"a":[1,2]}`), Subscription: Subscription{Positioned: true, Recoverable: true, JoinLeave: true, Delta: "fossil"}}},
	{"js: publish null", `{"id":5,"publish":{"channel":"c","data":null}}`, "", Command{ID: 5, Method: MethodPublish, Channel: "c", Data: []byte(`null`)}},
	{"dart: publish bytes", "", "08063a080a0163120300ff7b", Command{ID: 6, Method: MethodPublish, Channel: "c", Data: []byte{0, 0xff, '{'}}},
	{"unsubscribe", `{"id":7,"unsubscribe":{"channel":"c"}}`, "080732030a0163", Command{ID: 7, Method: MethodUnsubscribe, Channel: "c"}},
	{"presence", `{"id":8,"presence":{"channel":"c"}}`, "080842030a0163", Command{ID: 8, Method: MethodPresence, Channel: "c"}},
	{"presence_stats", `{"id":9,"presence_stats":{"channel":"c"}}`, "08094a030a0163", Command{ID: 9, Method: MethodPresenceStats, Channel: "c"}},
	{"history", `{"id":10,"history":{"channel":"c","limit":-1,"since":{"offset":3,"epoch":"e"},"reverse":true}}`, "",
		Command{ID: 10, Method: MethodHistory, Channel: "c", Limit: -1, HasSince: true, Reverse: true, Subscription: Subscription{Offset: 3, Epoch: "e"}}},
	{"history without since", `{"id":10,"history":{"channel":"c","since":null}}`, "080a52030a0163", Command{ID: 10, Method: MethodHistory, Channel: "c"}},
	{"ping", `{"id":11,"ping":{}}`, "080b5a00", Command{ID: 11, Method: MethodPing}},
	{"send", `{"send":{"data":{"x":1}}}`, "", Command{Method: MethodSend, Data: []byte(`{"x":1}`)}},
	{"rpc", `{"id":12,"rpc":{"method":"ns:m","data":"é"}}`, "", Command{ID: 12, Method: MethodRPC, RPCMethod: "ns:m", Data: []byte(`"é"`)}},
	{"refresh", `{"id":13,"refresh":{"token":"t"}}`, "080d72030a0174", Command{ID: 13, Method: MethodRefresh, Token: "t"}},
	{"sub_refresh", `{"id":14,"sub_refresh":{"channel":"c","token":"t"}}`, "080e7a060a0163120174", Command{ID: 14, Method: MethodSubRefresh, Channel: "c", Token: "t"}},
	{"python: sub_refresh without channel", `{"id": 14, "sub_refresh": {"token": "t"}}`, "", Command{ID: 14, Method: MethodSubRefresh, Token: "t"}},
	{"connect with everything", `{"id":1,"connect":{"data":[],"version":"1","subs":{"a":{"recover":true,"offset":5,"epoch":"x"},"b":{}},"headers":{"X-A":"1"},"flag":1,"profile":{"a":1}}}`, "",
		Command{ID: 1, Method: MethodConnect, Data: []byte(`[]`), Version: "1", Headers: []Header{{"X-A", "1"}},
			Subs: []ConnectSub{{"a", Subscription{Recover: true, Offset: 5, Epoch: "x"}}, {Channel: "b"}}}},
	{"newer SDK: map subscription and unknown fields", `{"id":2,"new":[{}],"subscribe":{"channel":"c","type":1,"phase":2,"cursor":"x"}}`, "",
		Command{ID: 2, Method: MethodSubscribe, Channel: "c", Subscription: Subscription{Type: 1}}},
	{"js: subscribe with a tags filter", `{"id":2,"subscribe":{"channel":"c","tf":{"key":"k","cmp":"eq","val":"v"}}}`, "08022a0f0a01636a0a12016b1a026571220176",
		Command{ID: 2, Method: MethodSubscribe, Channel: "c", Subscription: Subscription{Filter: &Filter{filterNode{cmp: cmpEqual, key: "k", val: "v"}}}}},
	{"a filter that is none", `{"id":2,"subscribe":{"channel":"c","tf":null}}`, "08022a030a0163", Command{ID: 2, Method: MethodSubscribe, Channel: "c"}},
	{"a filter that says nothing", `{"id":2,"subscribe":{"channel":"c","tf":{"key":"k"}}}`, "08022a080a01636a0312016b",
		Command{ID: 2, Method: MethodSubscribe, Channel: "c", Subscription: Subscription{BadFilter: true}}},
	{"escapes", `{"id":2,"subscribe":{"ch\u0061nnel":"\u00e9\ud83d\ude00\ud83d\n\"\/"}}`, "", Command{ID: 2, Method: MethodSubscribe, Channel: "é😀\ufffd\n\"/"}},
	{"the first payload of the schema counts", `{"id":2,"publish":{"channel":"x"},"subscribe":{"channel":"c"}}`, "", Command{ID: 2, Method: MethodSubscribe, Channel: "c"}},
	{"null payloads do not count", `{"id":2,"connect":null,"publish":{"channel":"c"}}`, "", Command{ID: 2, Method: MethodPublish, Channel: "c"}},
	{"id without payload", `{"id":2}`, "0802", Command{ID: 2}},
	{"spaces", " { \"id\" : 2 , \"publish\" : { } }\t\r", "", Command{ID: 2, Method: MethodPublish}},
}

func TestCommandsOfEverySDKAreRead(t *testing.T) {
	var r CommandReader
	for _, v := range commandVectors {
		for p, frame := range map[Protocol]string{JSON: v.json, Protobuf: record(t, v.protobuf)} {
			if frame == "" || p == Protobuf && v.protobuf == "" && v.name != "pong" {
				continue
			}
			var c Command
			r.Reset(p, []byte(frame), 10)
			if err := r.Next(&c); err != nil {
				t.Errorf("%s, %v: %v", v.name, p, err)
				continue
			}
			if got := plain(c); !reflect.DeepEqual(got, plain(v.want)) {
				t.Errorf("%s, %v:\n got %+v\nwant %+v", v.name, p, got, plain(v.want))
			}
			if err := r.Next(&c); err != io.EOF {
				t.Errorf("%s, %v: second Next: %v", v.name, p, err)
			}
		}
	}
}

func record(t *testing.T, text string) string {
	t.Helper()
	p, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(rune(len(p))) + string(p)
}

// plain makes commands comparable: empty lists are nil, and nothing aliases the reader.
func plain(c Command) Command {
	if len(c.Subs) == 0 {
		c.Subs = nil
	}
	if len(c.Headers) == 0 {
		c.Headers = nil
	}
	c.Data = bytes.Clone(c.Data)
	c.Channel = strings.Clone(c.Channel)
	return c
}

func TestFramesThatAreRefused(t *testing.T) {
	deep := strings.Repeat("[", MaxJSONDepth+1) + strings.Repeat("]", MaxJSONDepth+1)
	for _, v := range []struct {
		name  string
		p     Protocol
		frame string
		want  error
	}{
		{"empty", JSON, "", ErrNoCommand},
		{"empty", Protobuf, "", ErrNoCommand},
		{"line break alone", JSON, "\n", ErrBadCommand},
		{"two line breaks", JSON, "{}\n\n", ErrBadCommand},
		{"line break in front", JSON, "\n{}", ErrBadCommand},
		{"array", JSON, "[]", ErrBadCommand},
		{"null", JSON, "null", ErrBadCommand},
		{"string", JSON, `"x"`, ErrBadCommand},
		{"rubbish behind", JSON, `{"id":1}x`, ErrBadCommand},
		{"two on a line", JSON, `{}{}`, ErrBadCommand},
		{"message over two lines", JSON, "{\"id\":\n1}", ErrBadCommand},
		{"id negative", JSON, `{"id":-1}`, ErrBadCommand},
		{"id too large", JSON, `{"id":4294967296}`, ErrBadCommand},
		{"id not whole", JSON, `{"id":1.0}`, ErrBadCommand},
		{"id a string", JSON, `{"id":"1"}`, ErrBadCommand},
		{"leading zero", JSON, `{"id":01}`, ErrBadCommand},
		{"payload no object", JSON, `{"id":1,"publish":[]}`, ErrBadCommand},
		{"channel a number", JSON, `{"id":1,"publish":{"channel":1}}`, ErrBadCommand},
		{"flag a string", JSON, `{"id":1,"subscribe":{"recover":"yes"}}`, ErrBadCommand},
		{"payload twice", JSON, `{"id":1,"publish":{},"publish":{}}`, ErrBadCommand},
		{"trailing comma", JSON, `{"id":1,}`, ErrBadCommand},
		{"unclosed", JSON, `{"id":1`, ErrBadCommand},
		{"broken UTF-8", JSON, "{\"id\":1,\"publish\":{\"channel\":\"\xff\"}}", ErrBadCommand},
		{"control character", JSON, "{\"id\":1,\"publish\":{\"channel\":\"\x01\"}}", ErrBadCommand},
		{"bad escape", JSON, `{"id":1,"publish":{"channel":"\x"}}`, ErrBadCommand},
		{"bad data", JSON, `{"id":1,"publish":{"channel":"c","data":{a:1}}}`, ErrBadCommand},
		{"deep data", JSON, `{"id":1,"publish":{"channel":"c","data":` + deep + `}}`, ErrBadCommand},
		{"deep unknown field", JSON, `{"x":` + deep + `}`, ErrBadCommand},
		{"too many", JSON, "{}\n{}\n{}\n{}", ErrTooManyCommands},
		{"too many", Protobuf, "\x00\x00\x00\x00", ErrTooManyCommands},
		{"endless varint", Protobuf, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ErrBadCommand},
		{"cut varint", Protobuf, "\x80", ErrBadCommand},
		{"record longer than the frame", Protobuf, "\x05\x08\x01", ErrBadCommand},
		{"length that overflows", Protobuf, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ErrBadCommand},
		{"group", Protobuf, "\x01\x0b", ErrBadCommand},
		{"field 0", Protobuf, "\x02\x00\x01", ErrBadCommand},
		{"id as bytes", Protobuf, "\x02\x0a\x00", ErrBadCommand},
		{"payload as varint", Protobuf, "\x02\x20\x01", ErrBadCommand},
		{"payload twice", Protobuf, "\x04\x32\x00\x32\x00", ErrBadCommand},
		{"channel not UTF-8", Protobuf, "\x05\x32\x03\x0a\x01\xff", ErrBadCommand},
		{"entry longer than its list", Protobuf, "\x04\x22\x02\x1a\x05", ErrBadCommand},
		{"subs without end", Protobuf, "\x85\x20\x22\x82\x20" + strings.Repeat("\x1a\x00", maxConnectSubs+1), ErrBadCommand},
	} {
		var r CommandReader
		var c Command
		r.Reset(v.p, []byte(v.frame), 3)
		err := r.Next(&c)
		for err == nil {
			err = r.Next(&c)
		}
		if !errors.Is(err, v.want) {
			t.Errorf("%v, %s: got %v, want %v", v.p, v.name, err, v.want)
		}
	}
}

func TestRestIsAFrameByItself(t *testing.T) {
	for p, frame := range map[Protocol]string{JSON: "{\"id\":1}\n{\"id\":2}\n{}\n", Protobuf: "\x02\x08\x01\x02\x08\x02\x00"} {
		var r CommandReader
		var c Command
		r.Reset(p, []byte(frame), 3)
		if err := r.Next(&c); err != nil || c.ID != 1 {
			t.Fatal(err)
		}
		rest := bytes.Clone(r.Rest())
		r.Reset(p, rest, 3)
		if err := r.Next(&c); err != nil || c.ID != 2 {
			t.Errorf("%v: id %d, %v", p, c.ID, err)
		}
		if err := r.Next(&c); err != nil || c.Method != MethodNone || len(r.Rest()) != 0 {
			t.Errorf("%v: %+v, %v, rest %q", p, c, err, r.Rest())
		}
	}
}

// fromSchema is the same command as the schema's own decoder sees it.
func fromSchema(c *protocol.Command) Command {
	out := Command{ID: c.Id}
	sub := func(s *protocol.SubscribeRequest) Subscription {
		out := Subscription{
			Epoch: s.Epoch, Offset: s.Offset, Delta: s.Delta, Flag: s.Flag, Recover: s.Recover, Positioned: s.Positioned,
			Recoverable: s.Recoverable, JoinLeave: s.JoinLeave,
		}
		if s.Tf != nil {
			out.Filter, out.BadFilter = filterOfSchema(s.Tf)
		}
		return out
	}
	switch {
	case c.Connect != nil:
		out.Method, out.Token, out.Data, out.Name, out.Version = MethodConnect, c.Connect.Token, c.Connect.Data, c.Connect.Name, c.Connect.Version
	case c.Subscribe != nil:
		out.Method, out.Channel, out.Token, out.Data, out.Subscription = MethodSubscribe, c.Subscribe.Channel, c.Subscribe.Token, c.Subscribe.Data, sub(c.Subscribe)
	case c.Unsubscribe != nil:
		out.Method, out.Channel = MethodUnsubscribe, c.Unsubscribe.Channel
	case c.Publish != nil:
		out.Method, out.Channel, out.Data = MethodPublish, c.Publish.Channel, c.Publish.Data
	case c.Presence != nil:
		out.Method, out.Channel = MethodPresence, c.Presence.Channel
	case c.PresenceStats != nil:
		out.Method, out.Channel = MethodPresenceStats, c.PresenceStats.Channel
	case c.History != nil:
		out.Method, out.Channel, out.Limit, out.Reverse = MethodHistory, c.History.Channel, c.History.Limit, c.History.Reverse
		if s := c.History.Since; s != nil {
			out.HasSince, out.Offset, out.Epoch = true, s.Offset, s.Epoch
		}
	case c.Ping != nil:
		out.Method = MethodPing
	case c.Send != nil:
		out.Method, out.Data = MethodSend, c.Send.Data
	case c.Rpc != nil:
		out.Method, out.RPCMethod, out.Data = MethodRPC, c.Rpc.Method, c.Rpc.Data
	case c.Refresh != nil:
		out.Method, out.Token = MethodRefresh, c.Refresh.Token
	case c.SubRefresh != nil:
		out.Method, out.Channel, out.Token = MethodSubRefresh, c.SubRefresh.Channel, c.SubRefresh.Token
	}
	return out
}

// agree fails if the schema's decoder reads the frame differently. What is stricter here does not matter; what is new in
// newer SDKs is not in the schema.
func agree(t *testing.T, p Protocol, frame []byte) {
	var r CommandReader
	r.Reset(p, bytes.Clone(frame), 1<<20)
	kind := protocol.TypeJSON
	if p == Protobuf {
		kind = protocol.TypeProtobuf
	}
	theirs := protocol.GetCommandDecoder(kind, bytes.Clone(frame))
	for {
		var c Command
		if err := r.Next(&c); err != nil {
			return
		}
		other, err := theirs.Decode()
		if other == nil && (p == Protobuf || badFilters(&c)) {
			return // rubbish in a payload that does not count, or in a filter, which costs the subscription only
		}
		if other == nil {
			t.Fatalf("%v %q: we read %+v, the schema's decoder says %v", p, frame, c, err)
		}
		want := fromSchema(other)
		got := plain(c)
		got.Subs, got.Headers, got.Type = nil, nil, 0
		if len(got.Data) == 0 && len(want.Data) == 0 {
			got.Data, want.Data = nil, nil
		}
		if got.BadFilter { // theirs is judged later, and not by its size
			want.Filter, want.BadFilter = got.Filter, true
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%v %q:\n ours %+v\ntheirs %+v", p, frame, got, want)
		}
	}
}

func TestSchemasDecoderAgrees(t *testing.T) {
	for _, v := range commandVectors {
		if v.json != "" && v.name != "escapes" {
			agree(t, JSON, []byte(v.json))
		}
		if v.protobuf != "" {
			agree(t, Protobuf, []byte(record(t, v.protobuf)))
		}
	}
}

func FuzzCommandJSON(f *testing.F) {
	for _, v := range commandVectors {
		f.Add([]byte(v.json))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		// Left to others: names in another case, which the schema's decoder takes too, and lone surrogates.
		if bytes.ContainsAny(frame, "\\ABCDEFGHIJKLMNOPQRSTUVWXYZ") || bytes.Contains(frame, []byte("ſ")) || bytes.Contains(frame, []byte("\u212a")) {
			var r CommandReader
			var c Command
			r.Reset(JSON, frame, 1<<20)
			for r.Next(&c) == nil {
			}
			return
		}
		agree(t, JSON, frame)
	})
}

func FuzzCommandProtobuf(f *testing.F) {
	for _, v := range commandVectors {
		p, _ := hex.DecodeString(v.protobuf)
		f.Add(append([]byte{byte(len(p))}, p...))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { agree(t, Protobuf, frame) })
}
