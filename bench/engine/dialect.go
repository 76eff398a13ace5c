package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"throng/server/wire"
)

// Signal is a set of things one inspected piece of input says.
type Signal uint8

// The signals a dialect can report.
const (
	SignalReady    Signal = 1 << iota // joined: from now on deliveries are owed
	SignalPing                        // the server wants AppendPong's answer
	SignalRejected                    // an error reply: the command did not succeed
)

// Dialect is one client protocol, without state: everything a connection must
// remember stands in the engine's tables. Methods run on the loop, never block,
// and keep none of the bytes they are given.
type Dialect interface {
	// Name is the value of --dialect.
	Name() string
	// Stream is false when each WebSocket message stands for itself, true when
	// input is a byte stream whose units may be cut anywhere.
	Stream() bool
	// WebSocket is false when the answer to the GET is itself the stream.
	WebSocket() bool
	// RequestHeaders are added to the GET, each line ended by CRLF.
	RequestHeaders() string
	// AppendHello appends the frames to send as soon as the upgrade succeeded.
	AppendHello(dst []byte, h Hello) []byte
	// AppendPublish appends the frames that publish payload to channel.
	AppendPublish(dst []byte, channel string, payload []byte) []byte
	// AppendPong appends the frames that answer SignalPing.
	AppendPong(dst []byte) []byte
	// Inspect reads p. used < len(p) (stream dialects only) asks for the rest
	// again with more bytes behind it. Stamps in p[:used] are the engine's affair.
	Inspect(p []byte, ready bool) (used int, sig Signal)
}

// NewDialect returns the dialect of that name. readyAtUpgrade makes a connection
// of a dialect without a confirmed join (raw, sse) ready at the answer to its GET
// instead of at the first message.
func NewDialect(name string, readyAtUpgrade bool) (Dialect, error) {
	switch name {
	case "raw":
		return raw{readyAtUpgrade}, nil
	case "centrifuge", "centrifuge-json":
		return centrifugeJSON{}, nil
	case "centrifuge-protobuf":
		return centrifugeProtobuf{}, nil
	case "nats-ws":
		return natsWS{}, nil
	case "sse":
		return sse{readyAtUpgrade}, nil
	}
	return nil, fmt.Errorf("unknown dialect %q: one of %s", name, strings.Join(DialectNames(), ", "))
}

// DialectNames lists what NewDialect knows.
func DialectNames() []string {
	return slices.Clone([]string{"raw", "centrifuge-json", "centrifuge-protobuf", "sse", "nats-ws"})
}

// readyAtUpgrade says that no message has to arrive before deliveries are owed.
func readyAtUpgrade(d Dialect) bool {
	switch d := d.(type) {
	case raw:
		return d.atUpgrade
	case sse:
		return d.atUpgrade
	}
	return false
}

// raw is Throng's livechat: text in, "<node>:<text>" out, and the room stands in
// the URL. The first message is the greeting, sent after the join.
type raw struct{ atUpgrade bool }

func (raw) Name() string           { return "raw" }
func (raw) Stream() bool           { return false }
func (raw) WebSocket() bool        { return true }
func (raw) RequestHeaders() string { return "" }

func (raw) AppendHello(dst []byte, _ Hello) []byte { return dst }
func (raw) AppendPong(dst []byte) []byte           { return dst }

func (raw) AppendPublish(dst []byte, _ string, payload []byte) []byte {
	return appendFrame(dst, wire.OpText, payload)
}

func (raw) Inspect(p []byte, ready bool) (int, Signal) {
	if ready {
		return len(p), 0
	}
	return len(p), SignalReady
}

// sse is a Server-Sent Events stream: read-only, so publishers need a dialect and
// target of their own. Source: WHATWG HTML, 9.2 (event streams end with a blank
// line). Chunked transfer coding is not decoded: an event that a server cuts into
// several chunks inside a stamp counts as damaged, which is seen, not lost.
type sse struct{ atUpgrade bool }

func (sse) Name() string           { return "sse" }
func (sse) Stream() bool           { return true }
func (sse) WebSocket() bool        { return false }
func (sse) RequestHeaders() string { return "Accept: text/event-stream\r\nCache-Control: no-cache\r\n" }

func (sse) AppendHello(dst []byte, _ Hello) []byte              { return dst }
func (sse) AppendPong(dst []byte) []byte                        { return dst }
func (sse) AppendPublish(dst []byte, _ string, _ []byte) []byte { return dst }

func (sse) Inspect(p []byte, ready bool) (int, Signal) {
	end := bytes.LastIndex(p, []byte("\n\n"))
	if end < 0 {
		if end = bytes.LastIndex(p, []byte("\n\r\n")); end < 0 {
			return 0, 0
		}
		end++
	}
	if ready {
		return end + 2, 0
	}
	return end + 2, SignalReady
}
