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

// The kinds. Joins and leaves carry a ClientInfo and no data.
const (
	KindPublication Kind = iota
	KindJoin
	KindLeave
	numKinds
)

var kindNames = [numKinds]string{"pub", "join", "leave"}

// String is the name of the push's field in the schema.
func (k Kind) String() string { return kindNames[k] }

// Tag is one of a publication's tags.
type Tag struct{ Key, Value string }

// Meta is what a channel's message carries besides channel and data. Shared and immutable once it is on its way.
type Meta struct {
	Kind    Kind
	Info    *ClientInfo // nil: published by a server
	Channel string      // of the publication itself where the subscription is to many; "" where it is the subscription's
	Tags    []Tag
	Offset  uint64 // 0: not in a stream
	Time    int64  // unix milliseconds, 0: not told
	Delta   bool   // data is a delta
}

// Plain says that m tells nothing: the message is its data and no more.
func (m *Meta) Plain() bool {
	return m == nil || m.Kind == KindPublication && m.Info == nil && m.Channel == "" && len(m.Tags) == 0 && m.Offset == 0 && m.Time == 0 && !m.Delta
}

// AppendPush appends, as a whole WebSocket frame, the push that tells a subscriber of channel about a message; meta nil is
// a plain publication. ok is false if there is no way to say data in JSON (ValidJSON); dst comes back unchanged then. A
// conn_info or chan_info that is not JSON is left out for JSON clients.
//
// data and meta are only read. Allocates only when dst has to grow. centrifuge-protocol.md, 2 and 11.
func AppendPush(dst []byte, p Protocol, channel string, data []byte, meta *Meta) (frame []byte, ok bool) {
	if meta == nil {
		meta = &noMeta
	}
	if p == Protobuf {
		return appendPushProtobuf(dst, channel, data, meta), true
	}
	if meta.Kind == KindPublication && !ValidJSON(data) {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, frameRoom[:]...)
	dst = append(dst, `{"push":{"channel":`...)
	dst = AppendJSONString(dst, channel)
	dst = append(dst, `,"`...)
	dst = append(dst, meta.Kind.String()...)
	dst = append(dst, `":{`...)
	if meta.Kind == KindPublication {
		dst = appendPublicationJSON(dst, data, meta)
	} else {
		dst = appendInfoMember(dst, meta.Info)
	}
	dst = append(dst, '}', '}', '}')
	return closeFrame(dst, start, OpText), true
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

func appendPublicationJSON(dst, data []byte, meta *Meta) []byte {
	dst = append(dst, `"data":`...)
	dst = AppendRawJSON(dst, data)
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
	if meta.Delta {
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

// AppendJSONString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
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
		dst = append(dst, s[start:i]...)
		switch {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b >= utf8.RuneSelf:
			dst = append(dst, "\ufffd"...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[b>>4], lowerHex[b&15])
		}
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendPushProtobuf knows every length before it writes: messages within messages are sized from the inside out.
func appendPushProtobuf(dst []byte, channel string, data []byte, meta *Meta) []byte {
	info := infoLen(meta.Info)
	body := bytesLen(info)
	field := uint64(4)
	if meta.Kind == KindPublication {
		body = publicationLen(data, meta, info)
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
	return appendPublicationProtobuf(dst, data, meta)
}

func publicationLen(data []byte, meta *Meta, info int) int {
	n := optionalLen(len(data)) + optionalLen(len(meta.Channel))
	if meta.Info != nil {
		n += bytesLen(info)
	}
	if meta.Offset != 0 {
		n += taggedLen(meta.Offset)
	}
	for _, t := range meta.Tags {
		n += bytesLen(bytesLen(len(t.Key)) + bytesLen(len(t.Value)))
	}
	if meta.Delta {
		n += 2
	}
	if meta.Time != 0 {
		n += taggedLen(uint64(meta.Time))
	}
	return n
}

func appendPublicationProtobuf(dst, data []byte, meta *Meta) []byte {
	if len(data) > 0 {
		dst = append(appendBytesHeader(dst, 4, len(data)), data...)
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
	if meta.Delta {
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
