package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// Wire types of Protobuf; groups (3 and 4) are history and refused.
const (
	pbVarint = 0
	pbFixed8 = 1
	pbBytes  = 2
	pbFixed4 = 5
)

// pbCursor reads the fields of one Protobuf message. bad is sticky.
type pbCursor struct {
	p      []byte
	bad    bool
	number uint64 // of the field
	kind   byte   // its wire type
	v      uint64 // of a varint
	data   []byte // of a length-delimited field, borrowed
}

// next reads one field, whatever its type. False at the end or after a fault.
func (c *pbCursor) next() bool {
	if c.bad || len(c.p) == 0 {
		return false
	}
	tag := c.varint()
	c.number, c.kind = tag>>3, byte(tag&7)
	c.v, c.data = 0, nil
	switch c.kind {
	case pbVarint:
		c.v = c.varint()
	case pbBytes:
		c.data = c.cut(c.varint())
	case pbFixed4:
		c.cut(4)
	case pbFixed8:
		c.cut(8)
	default:
		c.bad = true
	}
	c.bad = c.bad || c.number == 0 || c.number > 1<<29-1
	return !c.bad
}

func (c *pbCursor) varint() uint64 {
	v, n := binary.Uvarint(c.p)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.p = c.p[n:]
	return v
}

func (c *pbCursor) cut(n uint64) []byte {
	if n > uint64(len(c.p)) {
		c.bad = true
		return nil
	}
	p := c.p[:n:n]
	c.p = c.p[n:]
	return p
}

// text is the field as a string, borrowed.
func (c *pbCursor) text() string {
	if c.kind != pbBytes || !utf8.Valid(c.data) {
		c.bad = true
		return ""
	}
	return alias(c.data)
}

func (c *pbCursor) bytes() []byte {
	if c.kind != pbBytes {
		c.bad = true
	}
	return c.data
}

func (c *pbCursor) number64() uint64 {
	if c.kind != pbVarint {
		c.bad = true
	}
	return c.v
}

func (c *pbCursor) bool() bool { return c.number64() != 0 }

// pbMethodBase: payloads are the fields 4 to 15 of a Command, in the order of the methods.
const pbMethodBase = 4 - uint64(MethodConnect)

// decodeProtobuf reads one Command record, which is a pong if it is empty.
func decodeProtobuf(record []byte, c *Command) bool {
	var payloads [NumMethods][]byte
	var seen uint16
	in := pbCursor{p: record}
	for in.next() {
		method := in.number - pbMethodBase
		switch {
		case in.number == 1:
			c.ID = uint32(in.number64())
		case in.number >= 4 && method < uint64(NumMethods):
			if seen&(1<<method) != 0 {
				return false
			}
			seen |= 1 << method
			payloads[method] = in.bytes()
		}
	}
	if in.bad {
		return false
	}
	for method := MethodConnect; method < NumMethods; method++ {
		if seen&(1<<method) != 0 {
			c.Method = method
			return c.parsePayload(payloads[method])
		}
	}
	return true
}

// Field numbers of the fields that several methods have.
var pbCommonFields = [NumMethods]struct{ channel, token, data uint64 }{
	MethodConnect:       {token: 1, data: 2},
	MethodSubscribe:     {channel: 1, token: 2, data: 8},
	MethodUnsubscribe:   {channel: 1},
	MethodPublish:       {channel: 1, data: 2},
	MethodPresence:      {channel: 1},
	MethodPresenceStats: {channel: 1},
	MethodHistory:       {channel: 1},
	MethodSend:          {data: 1},
	MethodRPC:           {data: 1},
	MethodRefresh:       {token: 1},
	MethodSubRefresh:    {channel: 1, token: 2},
}

func (c *Command) parsePayload(p []byte) bool {
	in := pbCursor{p: p}
	fields := &pbCommonFields[c.Method]
	for in.next() {
		switch in.number {
		case fields.channel:
			c.Channel = in.text()
		case fields.token:
			c.Token = in.text()
		case fields.data:
			c.Data = in.bytes()
		default:
			c.parseField(&in)
		}
	}
	return !in.bad
}

func (c *Command) parseField(in *pbCursor) {
	switch c.Method {
	case MethodConnect:
		c.parseConnect(in)
	case MethodSubscribe:
		c.Subscription.parse(in)
	case MethodHistory:
		c.parseHistory(in)
	case MethodRPC:
		if in.number == 2 {
			c.RPCMethod = in.text()
		}
	}
}

func (c *Command) parseConnect(in *pbCursor) {
	switch in.number {
	case 3:
		in.bad = in.bad || len(c.Subs) == maxConnectSubs
		c.Subs = append(c.Subs, parseConnectSub(in))
	case 4:
		c.Name = in.text()
	case 5:
		c.Version = in.text()
	case 6:
		in.bad = in.bad || len(c.Headers) == maxConnectHeaders
		c.Headers = append(c.Headers, parseHeader(in))
	}
}

// parseConnectSub reads one entry of the map of subscriptions.
func parseConnectSub(in *pbCursor) (s ConnectSub) {
	entry := pbCursor{p: in.bytes()}
	for entry.next() {
		switch entry.number {
		case 1:
			s.Channel = entry.text()
		case 2:
			fields := pbCursor{p: entry.bytes()}
			for fields.next() {
				s.Subscription.parse(&fields)
			}
			entry.bad = entry.bad || fields.bad
		}
	}
	in.bad = in.bad || entry.bad
	return s
}

// parseHeader reads one entry of the map of headers.
func parseHeader(in *pbCursor) (h Header) {
	entry := pbCursor{p: in.bytes()}
	for entry.next() {
		switch entry.number {
		case 1:
			h.Name = entry.text()
		case 2:
			h.Value = entry.text()
		}
	}
	in.bad = in.bad || entry.bad
	return h
}

// parse reads one field of a SubscribeRequest. The type of newer SDKs has no number in the schema this was written for, so
// it is only seen in JSON.
func (s *Subscription) parse(in *pbCursor) {
	switch in.number {
	case 3:
		s.Recover = in.bool()
	case 6:
		s.Epoch = in.text()
	case 7:
		s.Offset = in.number64()
	case 9:
		s.Positioned = in.bool()
	case 10:
		s.Recoverable = in.bool()
	case 11:
		s.JoinLeave = in.bool()
	case 12:
		s.Delta = in.text()
	case 13:
		s.parseFilter(in.bytes())
	case 14:
		s.Flag = int64(in.number64())
	}
}

func (c *Command) parseHistory(in *pbCursor) {
	switch in.number {
	case 7:
		c.Limit = int32(in.number64())
	case 8:
		c.HasSince = true
		since := pbCursor{p: in.bytes()}
		for since.next() {
			switch since.number {
			case 1:
				c.Offset = since.number64()
			case 2:
				c.Epoch = since.text()
			}
		}
		in.bad = in.bad || since.bad
	case 9:
		c.Reverse = in.bool()
	}
}
