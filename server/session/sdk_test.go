package session

import (
	"encoding/hex"
	"strings"
	"testing"

	"throng/server/wire"
)

// sdkFrames are conversations as the official SDKs begin them: their field order, spaces, flags, batching and encodings
// (centrifuge-protocol.md, 1.1, 2.3, 22 and 24). Protobuf frames are hex as they stand on the wire. They were written down by
// hand from the SDKs' sources, not recorded from the network.
var sdkFrames = []struct {
	name     string
	protocol wire.Protocol
	says     []string
	hears    []string
}{
	{
		"js 5.7: optimistic first frame, then a publish", wire.JSON,
		[]string{`{"connect":{"name":"js"},"id":1}` + "\n" + `{"subscribe":{"channel":"news","flag":1},"id":2}`, `{"publish":{"channel":"news","data":{"input":"hi"}},"id":3}`},
		[]string{`{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`, `{"id":2,"subscribe":{}}`, `{"id":3,"publish":{}}`,
			`{"push":{"channel":"news","pub":{"data":{"input":"hi"},"info":{"user":"","client":"ID"}}}}`},
	},
	{
		"js: recovery after a reconnect", wire.JSON,
		[]string{`{"connect":{"data":{"a":1},"name":"js","version":"1"},"id":1}` + "\n" + `{"subscribe":{"channel":"news","recover":true,"offset":7,"epoch":"xyz","positioned":true,"recoverable":true,"join_leave":true,"flag":1},"id":2}` + "\n"},
		[]string{`{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`, `{"id":2,"subscribe":{}}`},
	},
	{
		"go 0.12 JSON: a command a frame, trailing line break", wire.JSON,
		[]string{`{"id":1,"connect":{"token":"","name":"go"}}` + "\n", `{"id":2,"subscribe":{"channel":"news","token":"","flag":1}}` + "\n", `{"id":3,"unsubscribe":{"channel":"news"}}` + "\n"},
		[]string{`{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`, `{"id":2,"subscribe":{}}`, `{"id":3,"unsubscribe":{}}`},
	},
	{
		"python 0.4 JSON: spaces, nulls, all fields", wire.JSON,
		[]string{`{"id": 1, "connect": {"token": "", "data": null, "name": "python", "version": "", "headers": {}}}`,
			`{"id": 2, "subscribe": {"channel": "news", "token": "", "data": null, "flag": 1, "positioned": false, "recoverable": false, "join_leave": false}}`,
			`{"id": 3, "publish": {"channel": "news", "data": {"text": "h\u00e9"}}}`},
		[]string{`{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`, `{"id":2,"subscribe":{}}`, `{"id":3,"publish":{}}`,
			`{"push":{"channel":"news","pub":{"data":{"text":"h\u00e9"},"info":{"user":"","client":"ID"}}}}`},
	},
	{
		"dart, swift, java: Protobuf, empty strings left out, one frame each", wire.Protobuf,
		[]string{"0a" + "0801" + "2206" + "2204" + hex.EncodeToString([]byte("dart")), "0c" + "0802" + "2a08" + "0a04" + hex.EncodeToString([]byte("news")) + "7001",
			"0c" + "0803" + "3a08" + "0a04" + hex.EncodeToString([]byte("news")) + "1200"},
		[]string{`{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`, `{"id":2,"subscribe":{}}`, `{"id":3,"error":{"code":107,"message":"bad request"}}`},
	},
	{
		"js Protobuf build and csharp: batch of records in one frame, a pong among them", wire.Protobuf,
		[]string{"04" + "0801" + "2200" + "0c" + "0802" + "2a08" + "0a04" + hex.EncodeToString([]byte("news")) + "7001" + "00" + "04" + "0803" + "5a00"},
		[]string{`{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`, `{"id":2,"subscribe":{}}`, `{"id":3,"error":{"code":108,"message":"not available"}}`},
	},
	{
		"newer SDKs: fields this server does not know", wire.JSON,
		[]string{`{"connect":{"name":"js","flag":1,"profile":"x","dict":{"a":[1,{"b":null}]}},"id":1,"extra":{}}`, `{"subscribe":{"channel":"news","flag":1,"type":0,"limit":100,"asc":true},"id":2}`},
		[]string{`{"id":1,"connect":{"client":"ID","ping":25,"pong":true}}`, `{"id":2,"subscribe":{}}`},
	},
}

func sdkFrame(t testing.TB, p wire.Protocol, text string) []byte {
	if p == wire.JSON {
		return []byte(text)
	}
	frame, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func TestConversationsOfTheSDKs(t *testing.T) {
	for _, v := range sdkFrames {
		t.Run(strings.ReplaceAll(v.name, " ", "_"), func(t *testing.T) {
			inWorld(t, anonymous, func(w *world) {
				c := w.nodes[0].accept(Handshake{Protocol: v.protocol})
				c.conn.pings = 1
				for _, text := range v.says {
					c.sendFrame(sdkFrame(t, v.protocol, text))
				}
				for _, want := range v.hears {
					c.wantReply(v.name, want)
				}
				c.wantNothing("no more")
			})
		})
	}
}
