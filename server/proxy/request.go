package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
)

// Header is one header of the client's handshake.
type Header struct{ Name, Value string }

// Request is one client's question. Which fields count depends on the hook; the others are ignored. It must not change
// until the call is done.
//
// Source: centrifuge-protocol.md, 20.
type Request struct {
	// Client is the connection's id, Transport ("websocket") and Protocol ("json", "protobuf") how it talks. All hooks.
	Client, Transport, Protocol string
	// Proxy names the endpoint: a name of `named:`, or DefaultName. Not for connect and refresh.
	Proxy string
	// Subject is the NATS service that is asked instead. Only rpc.
	Subject string

	// User is the connection's; all hooks but connect.
	User string
	// Channel of subscribe, sub_refresh and publish.
	Channel string
	// Method of rpc.
	Method string
	// Token of subscribe, if the client sent one.
	Token string
	// Name and Version of the client program, and the Channels it asks for; connect.
	Name, Version string
	Channels      []string
	// Data of connect, subscribe, publish and rpc, as the client sent it: JSON, or bytes where the protocol is Protobuf.
	Data []byte
	// Meta of the connection, JSON; sent only where include_connection_meta says so. All hooks but connect.
	Meta []byte

	// Headers of the handshake: at least those that Proxies.Headers names, in any order.
	Headers []Header
	// Emulated headers of the connect command.
	Emulated map[string]string

	// Gone, if set, says that the client has left: a call still in the queue is then dropped, and done not called. It is
	// called by a worker.
	Gone func() bool
}

// body is what all hooks send. The order is Centrifugo's.
type body struct {
	Client    string `json:"client"`
	Transport string `json:"transport"`
	Protocol  string `json:"protocol"`
	Encoding  string `json:"encoding"`

	User    *string         `json:"user,omitempty"`
	Channel *string         `json:"channel,omitempty"`
	Method  *string         `json:"method,omitempty"`
	Token   string          `json:"token,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	B64Data []byte          `json:"b64data,omitempty"`

	Name     string          `json:"name,omitempty"`
	Version  string          `json:"version,omitempty"`
	Channels []string        `json:"channels,omitempty"`
	Meta     json.RawMessage `json:"meta,omitempty"`
}

// errNotJSON: the client's data cannot be embedded, and the endpoint does not take base64.
var errNotJSON = errors.New("data is not JSON, and the endpoint has no binary_encoding")

// encode makes the body of one call.
func (q *Request) encode(hook Hook, e *EndpointConfig) ([]byte, error) {
	b := body{Client: q.Client, Transport: q.Transport, Protocol: q.Protocol, Encoding: "json"}
	if e.BinaryEncoding {
		b.Encoding = "binary"
	}
	if hook != Connect {
		b.User = &q.User
		if e.IncludeConnectionMeta && len(q.Meta) > 0 {
			b.Meta = q.Meta
		}
	}
	switch hook {
	case Connect:
		b.Name, b.Version, b.Channels = q.Name, q.Version, q.Channels
	case Subscribe:
		b.Channel, b.Token = &q.Channel, q.Token
	case SubRefresh, Publish:
		b.Channel = &q.Channel
	case RPC:
		b.Method = &q.Method
	}
	if hook != Refresh && hook != SubRefresh && len(q.Data) > 0 {
		if e.BinaryEncoding {
			b.B64Data = q.Data
		} else if !json.Valid(q.Data) {
			return nil, errNotJSON
		} else {
			b.Data = q.Data
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
