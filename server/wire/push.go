package wire

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

// ClientInfo is who published, joined or left. Shared and immutable once it is on its way.
type ClientInfo struct {
	User     string // "" = anonymous
	Client   string // connection id as clients see it
	ConnInfo []byte // of the connection token or proxy; nil if none
	ChanInfo []byte // of the subscription token or proxy; nil if none
}

// Kind says what a message of a channel is.
type Kind uint8

// The kinds. Joins and leaves carry a ClientInfo and no data. A purge says, to nodes and never to clients, that history up to
// and including Offset was removed.
const (
	KindPublication Kind = iota
	KindJoin
	KindLeave
	KindPurge
	numKinds
)

var kindNames = [numKinds]string{"pub", "join", "leave", "purge"}

// String is the name of the push's field in the schema, which has none for a purge.
func (k Kind) String() string { return kindNames[k] }

// Tag is one of a publication's tags.
type Tag struct{ Key, Value string }

// Meta is what a channel's message carries besides channel and data. Shared and immutable once it is on its way.
type Meta struct {
	Kind    Kind
	Info    *ClientInfo // nil: published by a server
	Channel string      // of the publication itself where the subscription is to many; "" where it is the subscription's
	Tags    []Tag
	Offset  uint64 // 0: not in a stream. Of a purge: the last one removed
	Time    int64  // unix milliseconds, 0: not told
	Delta   bool   // the publisher wants subscribers who can to get deltas; data itself is never one

	// Version numbers what the publisher says, 0 not at all: what is not newer than what was said before, in the same
	// VersionEpoch, is left out. For nodes, not for clients.
	Version      uint64
	VersionEpoch string

	Node string // of joins and leaves: the uid of the node that holds the connection, "" = not told. For nodes, not for clients
}

// Plain says that m tells nothing: the message is its data and no more.
func (m *Meta) Plain() bool {
	return m == nil || m.Kind == KindPublication && m.Info == nil && m.Channel == "" && len(m.Tags) == 0 && m.Offset == 0 && m.Time == 0 && !m.Delta &&
		m.Version == 0 && m.VersionEpoch == "" && m.Node == ""
}

// Payload is a publication's data and, where there is one, its difference to the publication before it in the channel.
type Payload struct {
	Data  []byte // whole
	Delta []byte // made by Delta; nil = none
}

// content is what a publication's push carries as data, and how.
type content struct {
	data  []byte
	text  bool // JSON: as a string, which is how a client that asked for deltas takes all data
	delta bool
}

// AppendPush appends, as a whole WebSocket frame, the push that tells a subscriber of channel about a message; meta nil is
// a plain publication. ok is false if there is no way to say data in JSON (ValidJSON), or for a purge, of which clients know
// nothing; dst comes back unchanged then. A conn_info or chan_info that is not JSON is left out for JSON clients.
//
// data and meta are only read. Allocates only when dst has to grow. centrifuge-protocol.md, 2 and 11.
func AppendPush(dst []byte, p Protocol, channel string, data []byte, meta *Meta) (frame []byte, ok bool) {
	if meta == nil {
		meta = &noMeta
	}
	if meta.Kind == KindPurge || p == JSON && meta.Kind == KindPublication && !ValidJSON(data) {
		return dst, false
	}
	return appendPush(dst, p, channel, content{data: data}, meta), true
}

// AppendPushDelta is AppendPush for subscribers to whom deltas were promised: they get the delta if there is one, and JSON
// clients get either as a string. Who has not been sent the publication before this one in full or as a delta must be given
// a Payload without Delta. Also false if Data is not JSON and the client's protocol is, since it could not read the result.
//
// What payload and meta refer to is only read. Allocates only when dst has to grow. centrifuge-protocol.md, 13.
func AppendPushDelta(dst []byte, p Protocol, channel string, payload Payload, meta *Meta) (frame []byte, ok bool) {
	if meta == nil {
		meta = &noMeta
	}
	if meta.Kind != KindPublication {
		return AppendPush(dst, p, channel, nil, meta)
	}
	c := content{data: payload.Data}
	if p == JSON {
		if !ValidJSON(payload.Data) {
			return dst, false
		}
		c.text = true
	}
	if payload.Delta != nil && (p == Protobuf || utf8.Valid(payload.Delta)) {
		c.data, c.delta = payload.Delta, true
	}
	return appendPush(dst, p, channel, c, meta), true
}

func appendPush(dst []byte, p Protocol, channel string, c content, meta *Meta) []byte {
	if p == Protobuf {
		return appendPushProtobuf(dst, channel, c, meta)
	}
	start := len(dst)
	dst = append(dst, frameRoom[:]...)
	dst = append(dst, `{"push":{"channel":`...)
	dst = AppendJSONString(dst, channel)
	dst = append(dst, `,"`...)
	dst = append(dst, meta.Kind.String()...)
	dst = append(dst, `":{`...)
	if meta.Kind == KindPublication {
		dst = appendPublicationJSON(dst, c, meta)
	} else {
		dst = appendInfoMember(dst, meta.Info)
	}
	dst = append(dst, '}', '}', '}')
	return closeFrame(dst, start, OpText)
}

var noMeta Meta

// frameRoom is kept free in front of a payload whose length is not known yet: the longest header without a mask.
var frameRoom [10]byte

// closeFrame puts the header in front of the payload that follows the frameRoom at start.
func closeFrame(dst []byte, start int, op Opcode) []byte {
	payload := dst[start+len(frameRoom):]
	n := len(AppendFrameHeader(dst[:start], op, len(payload)))
	copy(dst[n:], payload)
	return dst[:n+len(payload)]
}

func appendPublicationJSON(dst []byte, c content, meta *Meta) []byte {
	dst = append(dst, `"data":`...)
	if c.text {
		dst = StringData(dst, c.data)
	} else {
		dst = AppendRawJSON(dst, c.data)
	}
	if meta.Info != nil {
		dst = append(dst, ',')
		dst = appendInfoMember(dst, meta.Info)
	}
	if meta.Offset != 0 {
		dst = append(dst, `,"offset":`...)
		dst = strconv.AppendUint(dst, meta.Offset, 10)
	}
	if len(meta.Tags) > 0 {
		dst = append(dst, `,"tags":`...)
		dst = appendTagsJSON(dst, meta.Tags)
	}
	if c.delta {
		dst = append(dst, `,"delta":true`...)
	}
	if meta.Time != 0 {
		dst = append(dst, `,"time":`...)
		dst = strconv.AppendInt(dst, meta.Time, 10)
	}
	if meta.Channel != "" {
		dst = append(dst, `,"channel":`...)
		dst = AppendJSONString(dst, meta.Channel)
	}
	return dst
}

func appendTagsJSON(dst []byte, tags []Tag) []byte {
	for i, t := range tags {
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = AppendJSONString(dst, t.Key)
		dst = append(dst, ':')
		dst = AppendJSONString(dst, t.Value)
	}
	return append(dst, '}')
}

func appendInfoMember(dst []byte, info *ClientInfo) []byte {
	dst = append(dst, `"info":`...)
	if info == nil {
		return append(dst, "{}"...)
	}
	dst = append(dst, `{"user":`...)
	dst = AppendJSONString(dst, info.User)
	dst = append(dst, `,"client":`...)
	dst = AppendJSONString(dst, info.Client)
	if info.ConnInfo != nil && ValidJSON(info.ConnInfo) {
		dst = append(dst, `,"conn_info":`...)
		dst = AppendRawJSON(dst, info.ConnInfo)
	}
	if info.ChanInfo != nil && ValidJSON(info.ChanInfo) {
		dst = append(dst, `,"chan_info":`...)
		dst = AppendRawJSON(dst, info.ChanInfo)
	}
	return append(dst, '}')
}

// AppendRawJSON appends valid JSON without its line breaks, which separate messages and which no JSON needs
// (centrifuge-protocol.md, 2.1).
func AppendRawJSON(dst, text []byte) []byte {
	for {
		at := bytes.IndexByte(text, '\n')
		if at < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:at]...)
		text = text[at+1:]
	}
}

const lowerHex = "0123456789abcdef"

// StringData appends a publication's whole data, or a delta, as the JSON string in which a client that was promised deltas
// takes it: byte for byte, line breaks included, because the next delta is against these bytes. Such a client can only read
// data that is JSON, so ask ValidJSON first; bytes that are no UTF-8 become U+FFFD. Allocates only when dst has to grow.
//
// Source: centrifuge-protocol.md, 13.
func StringData(dst, data []byte) []byte { return AppendJSONString(dst, alias(data)) }

// AppendJSONString appends s as a JSON string, escaping only what must be: quote, backslash and control characters. Bytes
// that are no UTF-8 become U+FFFD.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf && plainByte[b] {
			i++
			continue
		}
		size := 1
		if b >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = appendEscape(append(dst, s[start:i]...), b)
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendEscape appends what stands in a string for a byte that cannot stand for itself, in the fewest bytes.
func appendEscape(dst []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(dst, '\\', b)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if b >= utf8.RuneSelf {
		return append(dst, "\ufffd"...)
	}
	return append(dst, '\\', 'u', '0', '0', lowerHex[b>>4], lowerHex[b&15])
}

// appendPushProtobuf knows every length before it writes: messages within messages are sized from the inside out.
func appendPushProtobuf(dst []byte, channel string, c content, meta *Meta) []byte {
	info := infoLen(meta.Info)
	body := bytesLen(info)
	field := uint64(4)
	if meta.Kind == KindPublication {
		body = publicationLen(c, meta, info)
	} else {
		field += uint64(meta.Kind)
	}
	push := bytesLen(len(channel)) + bytesLen(body)
	record := bytesLen(push)
	dst = AppendFrameHeader(dst, OpBinary, uvarintLen(uint64(record))+record)
	dst = binary.AppendUvarint(dst, uint64(record))
	dst = appendBytesHeader(dst, 4, push)
	dst = append(appendBytesHeader(dst, 2, len(channel)), channel...)
	dst = appendBytesHeader(dst, field, body)
	if meta.Kind != KindPublication {
		return appendInfoProtobuf(appendBytesHeader(dst, 1, info), meta.Info)
	}
	return appendPublicationProtobuf(dst, c, meta)
}

func publicationLen(c content, meta *Meta, info int) int {
	n := optionalLen(len(c.data)) + optionalLen(len(meta.Channel))
	if meta.Info != nil {
		n += bytesLen(info)
	}
	if meta.Offset != 0 {
		n += taggedLen(meta.Offset)
	}
	for _, t := range meta.Tags {
		n += bytesLen(bytesLen(len(t.Key)) + bytesLen(len(t.Value)))
	}
	if c.delta {
		n += 2
	}
	if meta.Time != 0 {
		n += taggedLen(uint64(meta.Time))
	}
	return n
}

func appendPublicationProtobuf(dst []byte, c content, meta *Meta) []byte {
	if len(c.data) > 0 {
		dst = append(appendBytesHeader(dst, 4, len(c.data)), c.data...)
	}
	if meta.Info != nil {
		dst = appendInfoProtobuf(appendBytesHeader(dst, 5, infoLen(meta.Info)), meta.Info)
	}
	if meta.Offset != 0 {
		dst = appendTagged(dst, 6, meta.Offset)
	}
	for _, t := range meta.Tags {
		dst = appendBytesHeader(dst, 7, bytesLen(len(t.Key))+bytesLen(len(t.Value)))
		dst = append(appendBytesHeader(dst, 1, len(t.Key)), t.Key...)
		dst = append(appendBytesHeader(dst, 2, len(t.Value)), t.Value...)
	}
	if c.delta {
		dst = appendTagged(dst, 8, 1)
	}
	if meta.Time != 0 {
		dst = appendTagged(dst, 9, uint64(meta.Time))
	}
	return appendOptional(dst, 10, meta.Channel)
}

// infoLen is the size of a ClientInfo message; an absent one is empty.
func infoLen(info *ClientInfo) int {
	if info == nil {
		return 0
	}
	return optionalLen(len(info.User)) + optionalLen(len(info.Client)) + optionalLen(len(info.ConnInfo)) + optionalLen(len(info.ChanInfo))
}

func appendInfoProtobuf(dst []byte, info *ClientInfo) []byte {
	if info == nil {
		return dst
	}
	dst = appendOptional(dst, 1, info.User)
	dst = appendOptional(dst, 2, info.Client)
	dst = appendOptional(dst, 3, alias(info.ConnInfo))
	return appendOptional(dst, 4, alias(info.ChanInfo))
}

// optionalLen is bytesLen of a field that is left out when empty.
func optionalLen(n int) int {
	if n == 0 {
		return 0
	}
	return bytesLen(n)
}

func appendOptional(dst []byte, field uint64, s string) []byte {
	if s == "" {
		return dst
	}
	return append(appendBytesHeader(dst, field, len(s)), s...)
}
