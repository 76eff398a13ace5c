package wire

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// The spelling of Meta between nodes: one line of JSON beside the message's data, so that the data itself stays plain and a
// foreign subscriber can read who published. Only what is set is written:
//
//	{"kind":"join","info":{"user":"42","client":"…","conn_info":{},"chan_info":{}},"node":"…","tags":{"k":"v"},"time":1,"deltas":true}
//
// An info that is not JSON is written as base64 under b64conn_info or b64chan_info. Fields a reader does not know are skipped,
// so a newer node may add some; a kind it does not know makes the message unreadable, and it is dropped. "delta" is not a field
// any more: the first version's nodes take it to say that the data is a delta, and would tell clients so.

// AppendMeta appends m as one line. Allocates only when dst has to grow, and for an info that is not JSON.
func AppendMeta(dst []byte, m *Meta) []byte {
	start := len(dst)
	dst = append(dst, '{')
	if m.Kind != KindPublication {
		dst = append(dst, `"kind":"`...)
		dst = append(dst, m.Kind.String()...)
		dst = append(dst, '"')
	}
	if m.Info != nil {
		dst = appendInfoMeta(comma(dst, start), m.Info)
	}
	if m.Node != "" {
		dst = append(comma(dst, start), `"node":`...)
		dst = AppendJSONString(dst, m.Node)
	}
	if m.Channel != "" {
		dst = append(comma(dst, start), `"channel":`...)
		dst = AppendJSONString(dst, m.Channel)
	}
	if len(m.Tags) > 0 {
		dst = append(comma(dst, start), `"tags":`...)
		dst = appendTagsJSON(dst, m.Tags)
	}
	if m.Offset != 0 {
		dst = append(comma(dst, start), `"offset":`...)
		dst = strconv.AppendUint(dst, m.Offset, 10)
	}
	if m.Time != 0 {
		dst = append(comma(dst, start), `"time":`...)
		dst = strconv.AppendInt(dst, m.Time, 10)
	}
	if m.Delta {
		dst = append(comma(dst, start), `"deltas":true`...)
	}
	if m.Version != 0 {
		dst = append(comma(dst, start), `"version":`...)
		dst = strconv.AppendUint(dst, m.Version, 10)
	}
	if m.VersionEpoch != "" {
		dst = append(comma(dst, start), `"version_epoch":`...)
		dst = AppendJSONString(dst, m.VersionEpoch)
	}
	return append(dst, '}')
}

// comma separates members of the object that began at start.
func comma(dst []byte, start int) []byte {
	if len(dst) > start+1 {
		dst = append(dst, ',')
	}
	return dst
}

func appendInfoMeta(dst []byte, info *ClientInfo) []byte {
	dst = append(dst, `"info":`...)
	return AppendClientInfo(dst, info)
}

// AppendClientInfo appends info as nodes tell it each other: a JSON object that keeps what JSON clients cannot be shown.
func AppendClientInfo(dst []byte, info *ClientInfo) []byte {
	dst = append(dst, `{"user":`...)
	dst = AppendJSONString(dst, info.User)
	dst = append(dst, `,"client":`...)
	dst = AppendJSONString(dst, info.Client)
	dst = appendBlob(dst, "conn_info", info.ConnInfo)
	dst = appendBlob(dst, "chan_info", info.ChanInfo)
	return append(dst, '}')
}

// appendBlob appends a member whose value is JSON if it can be, else base64. Carriage returns go the way of line breaks: the
// line may travel as a header.
func appendBlob(dst []byte, name string, p []byte) []byte {
	switch {
	case p == nil:
		return dst
	case ValidJSON(p):
		dst = append(dst, `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":`...)
		for _, b := range p {
			if b != '\n' && b != '\r' {
				dst = append(dst, b)
			}
		}
		return dst
	}
	dst = append(dst, `,"b64`...)
	dst = append(dst, name...)
	dst = append(dst, `":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, p)
	return append(dst, '"')
}

// ParseMeta reads what AppendMeta wrote, by whatever version. False: it is no such line, or of a kind this version does not
// know. text is only read; the result does not alias it.
func ParseMeta(text string) (*Meta, bool) {
	var scratch []byte
	c := jsonCursor{p: []byte(text), scratch: &scratch} // the one copy; everything below aliases it
	m := new(Meta)
	known := true
	if c.peek() != '{' || !utf8.Valid(c.p) {
		return nil, false
	}
	for it := c.members(); it.next(); {
		switch it.key {
		case "kind":
			m.Kind, known = parseKind(c.text())
		case "info":
			m.Info = c.clientInfo()
		case "node":
			m.Node = c.text()
		case "channel":
			m.Channel = c.text()
		case "tags":
			for tags := c.members(); tags.next(); {
				m.Tags = append(m.Tags, Tag{tags.key, c.text()})
			}
		case "offset":
			m.Offset = c.uint(1<<64 - 1)
		case "time":
			m.Time = c.int(1<<63 - 1)
		case "deltas":
			m.Delta = c.bool()
		case "version":
			m.Version = c.uint(1<<64 - 1)
		case "version_epoch":
			m.VersionEpoch = c.text()
		default:
			c.skip()
		}
	}
	return m, known && !c.bad && c.atEnd()
}

// ParseClientInfo reads what AppendClientInfo wrote. p is only read; the result does not alias it.
func ParseClientInfo(p []byte) (*ClientInfo, bool) {
	var scratch []byte
	c := jsonCursor{p: append([]byte(nil), p...), scratch: &scratch}
	if c.peek() != '{' || !utf8.Valid(c.p) {
		return nil, false
	}
	info := c.clientInfo()
	return info, !c.bad && c.atEnd()
}

func parseKind(name string) (Kind, bool) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), true
		}
	}
	return KindPublication, false
}

func (c *jsonCursor) clientInfo() *ClientInfo {
	info := new(ClientInfo)
	for it := c.members(); it.next(); {
		switch it.key {
		case "user":
			info.User = c.text()
		case "client":
			info.Client = c.text()
		case "conn_info":
			info.ConnInfo = c.raw()
		case "chan_info":
			info.ChanInfo = c.raw()
		case "b64conn_info":
			info.ConnInfo = c.base64()
		case "b64chan_info":
			info.ChanInfo = c.base64()
		default:
			c.skip()
		}
	}
	return info
}

func (c *jsonCursor) base64() []byte {
	p, err := base64.StdEncoding.DecodeString(c.text())
	if err != nil {
		c.fail()
	}
	return p
}
