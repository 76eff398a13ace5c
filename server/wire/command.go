package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf8"
)

// Protocol is the encoding of a Centrifuge conversation, both ways.
type Protocol uint8

// The two encodings of centrifuge-protocol.md, 2.
const (
	JSON Protocol = iota
	Protobuf
)

// String returns the name that hooks and metrics use.
func (p Protocol) String() string {
	if p == Protobuf {
		return "protobuf"
	}
	return "json"
}

// Opcode is the kind of WebSocket message the encoding travels in.
func (p Protocol) Opcode() Opcode {
	if p == Protobuf {
		return OpBinary
	}
	return OpText
}

// Method says what a command asks for. The order is that of the schema: of several payloads in one command the first counts.
type Method uint8

// The methods; MethodNone is a command without payload, which is a pong when it has no id either.
const (
	MethodNone Method = iota
	MethodConnect
	MethodSubscribe
	MethodUnsubscribe
	MethodPublish
	MethodPresence
	MethodPresenceStats
	MethodHistory
	MethodPing
	MethodSend
	MethodRPC
	MethodRefresh
	MethodSubRefresh
	NumMethods
)

var methodNames = [NumMethods]string{
	"none", "connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "ping", "send", "rpc",
	"refresh", "sub_refresh",
}

// String is the name of the payload's field in the schema, usable as a metric label.
func (m Method) String() string { return methodNames[m] }

func methodOf(field string) Method {
	for m := MethodConnect; m < NumMethods; m++ {
		if methodNames[m] == field {
			return m
		}
	}
	return MethodNone
}

// fieldSet says which of the fields that several methods share a method has.
type fieldSet uint8

const (
	fieldChannel fieldSet = 1 << iota
	fieldToken
	fieldData
)

var commonFields = [NumMethods]fieldSet{
	MethodConnect:       fieldToken | fieldData,
	MethodSubscribe:     fieldChannel | fieldToken | fieldData,
	MethodUnsubscribe:   fieldChannel,
	MethodPublish:       fieldChannel | fieldData,
	MethodPresence:      fieldChannel,
	MethodPresenceStats: fieldChannel,
	MethodHistory:       fieldChannel,
	MethodSend:          fieldData,
	MethodRPC:           fieldData,
	MethodRefresh:       fieldToken,
	MethodSubRefresh:    fieldChannel | fieldToken,
}

// Command is one command of a client, flat: only the fields of its method are set. Strings and byte slices alias the frame
// it was read from, or the reader's own memory: they hold until the next call of Next, and what outlives that is cloned.
//
// Source: centrifuge-protocol.md, 3; client.proto of github.com/centrifugal/protocol v0.17.0.
type Command struct {
	ID     uint32 // chosen by the client; 0 for send and pong
	Method Method

	Channel string // subscribe, unsubscribe, publish, presence, presence_stats, history, sub_refresh
	Token   string // connect, subscribe, refresh, sub_refresh
	Data    []byte // connect, subscribe, publish, send, rpc: JSON text from JSON clients, anything from others; nil if absent

	Subscription // subscribe; of connect there may be several, in Subs

	Name    string // connect: of the SDK or app
	Version string // connect: of the SDK or app
	Subs    []ConnectSub
	Headers []Header // connect: what a browser cannot put into the handshake

	RPCMethod string // rpc

	Limit    int32 // history
	Reverse  bool  // history
	HasSince bool  // history: Epoch and Offset are where to begin
}

// Subscription is what a client may ask for besides the channel.
type Subscription struct {
	Epoch       string
	Offset      uint64
	Delta       string // "" or the type asked for
	Flag        int64  // bit mask; see FlagRejectUnrecovered
	Type        int32  // newer SDKs: 0 is the plain stream
	Recover     bool
	Positioned  bool
	Recoverable bool
	JoinLeave   bool
	Filter      *Filter // tags filter, nil if none; refers to no frame
	BadFilter   bool    // there was one that says nothing, or too much: error 107
}

// FlagRejectUnrecovered in Subscription.Flag asks for error 112 instead of a result that says "not recovered".
const FlagRejectUnrecovered = 2

// ConnectSub is one entry of a connect command's subs.
type ConnectSub struct {
	Channel string
	Subscription
}

// Header is one entry of a connect command's emulated headers.
type Header struct{ Name, Value string }

// Bounds of what one connect command may carry, so that 64 KiB of tiny entries do not become megabytes: far above the
// channels a connection may hold, and the headers a request may have.
const (
	maxConnectSubs    = 1024
	maxConnectHeaders = 100
	keptSubs          = 64 // larger lists are not kept for the next command
)

func (c *Command) reset() {
	if cap(c.Subs) > keptSubs {
		c.Subs = nil
	}
	clear(c.Subs)
	clear(c.Headers)
	*c = Command{Subs: c.Subs[:0], Headers: c.Headers[:0]}
}

// What CommandReader.Next can find wrong with a frame.
var (
	// ErrNoCommand: an empty frame.
	ErrNoCommand = &ProtocolError{CloseBadRequest, "frame without a command"}
	// ErrBadCommand: no JSON, no Protobuf, wrong types, broken UTF-8, or nested deeper than MaxJSONDepth.
	ErrBadCommand = &ProtocolError{CloseBadRequest, "malformed command"}
	// ErrTooManyCommands: more commands in one frame than allowed. The client may come back and send less at once.
	ErrTooManyCommands = &ProtocolError{CloseTooManyRequests, "too many commands in one frame"}
)

// CommandReader takes the commands out of one frame, one after the other. The zero value is empty; Reset starts a frame. It
// keeps memory for unescaped text from frame to frame, so it is worth pooling, by one user at a time.
//
// It allocates nothing for a frame without escapes, and its time is linear in the frame whatever the frame holds. It is
// stricter than the SDKs need: one JSON object per line and nothing behind it, exact field names and types, every string
// valid UTF-8, no payload twice; unknown fields are skipped, whatever their type.
//
// Source: centrifuge-protocol.md, 2 and 3; 14 for unknown fields; 22.3 for empty records.
type CommandReader struct {
	protocol Protocol
	rest     []byte // not read yet
	left     int    // commands still allowed
	begun    bool
	scratch  []byte
	cursor   jsonCursor // here because it would escape from the stack
}

// keptScratch bounds the memory for unescaped text that survives a frame, bytes.
const keptScratch = 4 << 10

// Reset starts frame, which is borrowed until the last Next, and allows at most maxCommands commands in it.
func (r *CommandReader) Reset(p Protocol, frame []byte, maxCommands int) {
	if cap(r.scratch) > keptScratch {
		r.scratch = nil
	}
	*r = CommandReader{protocol: p, rest: frame, left: maxCommands, scratch: r.scratch[:0]}
}

// Rest is the part of the frame behind the last command read, borrowed: a frame by itself, unless it is empty.
func (r *CommandReader) Rest() []byte { return r.rest }

// Next reads one command into c, overwriting it. It returns io.EOF after the last one, and ErrNoCommand, ErrBadCommand or
// ErrTooManyCommands, after which the frame is of no further use.
func (r *CommandReader) Next(c *Command) error {
	if len(r.rest) == 0 {
		if !r.begun {
			return ErrNoCommand
		}
		return io.EOF
	}
	if r.left == 0 {
		return ErrTooManyCommands
	}
	r.left--
	r.scratch = r.scratch[:0]
	c.reset()
	ok := false
	if r.protocol == JSON {
		ok = r.nextJSON(c)
	} else {
		ok = r.nextProtobuf(c)
	}
	r.begun = true
	if !ok {
		r.rest = nil
		return ErrBadCommand
	}
	return nil
}

// nextJSON takes one line. One line break may end the last.
func (r *CommandReader) nextJSON(c *Command) bool {
	line := r.rest
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line, r.rest = line[:end], line[end+1:]
	} else {
		r.rest = nil
	}
	if string(line) == "{}" {
		return true
	}
	return utf8.Valid(line) && r.decodeJSON(line, c)
}

// nextProtobuf takes one record: its length, then that many bytes, which may be none.
func (r *CommandReader) nextProtobuf(c *Command) bool {
	size, n := binary.Uvarint(r.rest)
	if n <= 0 || size > uint64(len(r.rest)-n) {
		return false
	}
	record := r.rest[n : n+int(size)]
	r.rest = r.rest[n+int(size):]
	return decodeProtobuf(record, c)
}
