package engine

import (
	"bytes"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"throng/server/wire"
)

// Command ids: one connect and one subscribe per connection, both in the first
// frame, as centrifuge-js sends them; every publish has the third.
const (
	idConnect   = 1
	idSubscribe = 2
	idPublish   = 3
)

// centrifugeJSON is the Centrifuge client protocol in JSON: one object per line,
// the server pings with {} and is answered with {}.
// Source: design/centrifuge-protocol.md, 2.1, 3 and 4.
type centrifugeJSON struct{}

func (centrifugeJSON) Name() string           { return "centrifuge-json" }
func (centrifugeJSON) Stream() bool           { return false }
func (centrifugeJSON) WebSocket() bool        { return true }
func (centrifugeJSON) RequestHeaders() string { return "" }

func (centrifugeJSON) AppendHello(dst []byte, h Hello) []byte {
	p := make([]byte, 0, 256)
	p = append(p, `{"id":1,"connect":{"name":"bench"}}`+"\n"+`{"id":2,"subscribe":{"channel":`...)
	p = strconv.AppendQuote(p, h.Channel)
	if h.Positioned {
		p = append(p, `,"positioned":true,"recoverable":true`...)
	}
	if h.Recover {
		p = append(p, `,"recover":true,"offset":`...)
		p = strconv.AppendUint(p, h.Offset, 10)
		p = append(p, `,"epoch":`...)
		p = strconv.AppendQuote(p, h.Epoch)
	}
	p = append(p, "}}"...)
	return appendFrame(dst, wire.OpText, p)
}

func (d centrifugeJSON) AppendPublish(dst []byte, channel string, payload []byte) []byte {
	p := make([]byte, 0, len(payload)+len(channel)+64)
	return d.AppendCommands(dst, d.AppendCommand(p, idPublish, channel, payload))
}

func (centrifugeJSON) AppendPong(dst []byte) []byte {
	return appendFrame(dst, wire.OpText, []byte("{}"))
}

var (
	jsonPush  = []byte(`{"push":`)
	jsonError = []byte(`"error":{`)
	jsonSub   = []byte(`"subscribe":{`)
)

func (centrifugeJSON) Inspect(p []byte, ready bool) (int, Signal) {
	used := len(p)
	var sig Signal
	for len(p) > 0 {
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		switch {
		case bytes.HasPrefix(line, jsonPush):
		case len(line) == 2 && line[0] == '{' && line[1] == '}':
			sig |= SignalPing
		case bytes.Contains(line, jsonError):
			sig |= SignalRejected
		case !ready && bytes.Contains(line, jsonSub):
			sig |= SignalReady
		}
	}
	return used, sig
}

// centrifugeProtobuf is the same protocol in Protobuf: length-prefixed records,
// an empty record is the ping and its answer.
// Source: design/centrifuge-protocol.md, 2.2; field numbers from
// centrifugal/protocol v0.17 client.proto.
type centrifugeProtobuf struct{}

// Field numbers of client.proto used here.
const (
	commandID        = 1
	commandConnect   = 4
	commandSubscribe = 5
	commandPublish   = 7
	connectName      = 4
	requestChannel   = 1 // of subscribe and publish
	publishData      = 2

	subscribeRecover     = 3
	subscribeEpoch       = 6
	subscribeOffset      = 7
	subscribePositioned  = 9
	subscribeRecoverable = 10

	replyID        = 1
	replyError     = 2
	replyPush      = 4
	replySubscribe = 6
	replyPublish   = 8
)

func (centrifugeProtobuf) Name() string    { return "centrifuge-protobuf" }
func (centrifugeProtobuf) Stream() bool    { return false }
func (centrifugeProtobuf) WebSocket() bool { return true }
func (centrifugeProtobuf) RequestHeaders() string {
	return "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n"
}

// appendCommand appends one length-prefixed Command holding body in field.
func appendCommand(dst []byte, id uint64, field protowire.Number, body []byte) []byte {
	var c []byte
	c = protowire.AppendTag(c, commandID, protowire.VarintType)
	c = protowire.AppendVarint(c, id)
	c = protowire.AppendTag(c, field, protowire.BytesType)
	c = protowire.AppendBytes(c, body)
	return protowire.AppendBytes(dst, c)
}

func (centrifugeProtobuf) AppendHello(dst []byte, h Hello) []byte {
	connect := protowire.AppendTag(nil, connectName, protowire.BytesType)
	connect = protowire.AppendString(connect, "bench")
	sub := protowire.AppendTag(nil, requestChannel, protowire.BytesType)
	sub = protowire.AppendString(sub, h.Channel)
	if h.Recover {
		sub = appendTrue(sub, subscribeRecover)
		sub = protowire.AppendTag(sub, subscribeEpoch, protowire.BytesType)
		sub = protowire.AppendString(sub, h.Epoch)
		sub = protowire.AppendTag(sub, subscribeOffset, protowire.VarintType)
		sub = protowire.AppendVarint(sub, h.Offset)
	}
	if h.Positioned {
		sub = appendTrue(appendTrue(sub, subscribePositioned), subscribeRecoverable)
	}
	p := appendCommand(nil, idConnect, commandConnect, connect)
	p = appendCommand(p, idSubscribe, commandSubscribe, sub)
	return appendFrame(dst, wire.OpBinary, p)
}

func appendTrue(dst []byte, field protowire.Number) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), 1)
}

func (d centrifugeProtobuf) AppendPublish(dst []byte, channel string, payload []byte) []byte {
	return d.AppendCommands(dst, d.AppendCommand(nil, idPublish, channel, payload))
}

func (centrifugeProtobuf) AppendPong(dst []byte) []byte {
	return appendFrame(dst, wire.OpBinary, []byte{0})
}

func (centrifugeProtobuf) Inspect(p []byte, ready bool) (int, Signal) {
	used := len(p)
	var sig Signal
	for len(p) > 0 {
		record, n := protowire.ConsumeBytes(p)
		if n < 0 {
			return used, sig | SignalRejected
		}
		p = p[n:]
		if len(record) == 0 {
			sig |= SignalPing
			continue
		}
		sig |= inspectReply(record, ready)
	}
	return used, sig
}

// inspectReply looks at the fields of one Reply: only the first two matter.
func inspectReply(record []byte, ready bool) (sig Signal) {
	var id uint64
	for len(record) > 0 {
		field, typ, n := protowire.ConsumeTag(record)
		if n < 0 {
			return sig | SignalRejected
		}
		size := protowire.ConsumeFieldValue(field, typ, record[n:])
		if size < 0 {
			return sig | SignalRejected
		}
		switch field {
		case replyID:
			id, _ = protowire.ConsumeVarint(record[n:])
		case replyError:
			sig |= SignalRejected
		case replySubscribe:
			if !ready && id == idSubscribe {
				sig |= SignalReady
			}
		}
		record = record[n+size:]
	}
	return sig
}
