package wire

import (
	"encoding/binary"
	"strconv"

	"github.com/centrifugal/protocol"
)

// Replies and pushes are built from the schema's own types; sessions use them by these names.
type (
	Reply               = protocol.Reply
	ConnectResult       = protocol.ConnectResult
	RefreshResult       = protocol.RefreshResult
	SubscribeResult     = protocol.SubscribeResult
	SubRefreshResult    = protocol.SubRefreshResult
	PresenceResult      = protocol.PresenceResult
	PresenceStatsResult = protocol.PresenceStatsResult
	PresenceInfo        = protocol.ClientInfo
	RPCResult           = protocol.RPCResult
	HistoryResult       = protocol.HistoryResult
	Publication         = protocol.Publication
	ReplyError          = protocol.Error
	Push                = protocol.Push
	UnsubscribePush     = protocol.Unsubscribe
	SubscribePush       = protocol.Subscribe
	MessagePush         = protocol.Message
	RefreshPush         = protocol.Refresh
	DisconnectPush      = protocol.Disconnect
)

// ErrorCode is the code of an error reply.
type ErrorCode uint32

// The errors of centrifuge-protocol.md, 17.1. Applications have their own from 400 to 1999.
const (
	ErrorInternal          ErrorCode = 100
	ErrorUnauthorized      ErrorCode = 101
	ErrorUnknownChannel    ErrorCode = 102
	ErrorPermissionDenied  ErrorCode = 103
	ErrorMethodNotFound    ErrorCode = 104
	ErrorAlreadySubscribed ErrorCode = 105
	ErrorLimitExceeded     ErrorCode = 106
	ErrorBadRequest        ErrorCode = 107
	ErrorNotAvailable      ErrorCode = 108
	ErrorTokenExpired      ErrorCode = 109
	ErrorExpired           ErrorCode = 110
	ErrorTooManyRequests   ErrorCode = 111
	ErrorUnrecoverable     ErrorCode = 112
	ErrorConcurrent        ErrorCode = 113
)

var errorTexts = [...]string{
	"internal server error", "unauthorized", "unknown channel", "permission denied", "method not found", "already subscribed",
	"limit exceeded", "bad request", "not available", "token expired", "expired", "too many requests", "unrecoverable position",
	"concurrent pagination",
}

// String is the message that goes with the code, usable as a metric label.
func (e ErrorCode) String() string {
	if i := e - ErrorInternal; i < ErrorCode(len(errorTexts)) {
		return errorTexts[i]
	}
	return "application error"
}

// Temporary tells whether the client may try the same again.
func (e ErrorCode) Temporary() bool {
	return e == ErrorInternal || e == ErrorTooManyRequests || e == ErrorConcurrent
}

// closeTexts are the reasons the protocol's SDKs know.
var closeTexts = map[CloseCode]string{
	CloseConnectionClosed:  "connection closed",
	CloseShutdown:          "shutdown",
	CloseServerError:       "internal server error",
	CloseExpired:           "connection expired",
	CloseSubExpired:        "subscription expired",
	CloseSlow:              "slow",
	CloseWriteError:        "write error",
	CloseInsufficientState: "insufficient state",
	CloseForceReconnect:    "force reconnect",
	CloseNoPong:            "no pong",
	CloseTooManyRequests:   "too many requests",
	CloseStateInvalidated:  "state invalidated",
	CloseInvalidToken:      "invalid token",
	CloseBadRequest:        "bad request",
	CloseStale:             "stale",
	CloseForceDisconnect:   "force disconnect",
	CloseConnectionLimit:   "connection limit",
	CloseChannelLimit:      "channel limit",
	CloseInappropriate:     "inappropriate protocol",
	ClosePermissionDenied:  "permission denied",
	CloseNotAvailable:      "not available",
	CloseTooManyErrors:     "too many errors",
}

// Reason is the text that goes with a Centrifuge code into a close frame, "" for all others. It is never JSON, which SDKs
// would take for the reason's old form (centrifuge-protocol.md, 4.4 and 17.2).
func (c CloseCode) Reason() string { return closeTexts[c] }

// Codes of an unsubscribe push (centrifuge-protocol.md, 17.3): from 2500 on SDKs subscribe again.
const (
	UnsubscribeByServer     = 2000
	UnsubscribeInsufficient = 2500
	UnsubscribeExpired      = 2501
	UnsubscribeInvalidated  = 2502
)

// UnsubscribeReason is the text that goes with an unsubscribe code.
func UnsubscribeReason(code uint32) string {
	switch code {
	case UnsubscribeByServer:
		return "server unsubscribe"
	case UnsubscribeInsufficient:
		return "insufficient state"
	case UnsubscribeExpired:
		return "expired"
	case UnsubscribeInvalidated:
		return "state invalidated"
	}
	return ""
}

// PingFrame is a ping as a whole frame, shared by all connections of a protocol: an empty reply (centrifuge-protocol.md, 2.2).
func PingFrame(p Protocol) []byte {
	if p == Protobuf {
		return protobufPing
	}
	return jsonPing
}

var (
	jsonPing     = AppendFrame(nil, OpText, []byte("{}"))
	protobufPing = AppendFrame(nil, OpBinary, []byte{0})
)

// AppendRecord appends r to a payload that holds records already, or none: JSON joined by line breaks, Protobuf behind its
// length. dst[from:] is the payload. The error says that r cannot be said in JSON because it embeds bytes that are not; dst
// comes back unchanged then. The results of methods without content and errors allocate nothing (AppendEmpty, AppendError);
// this does.
//
// Source: centrifuge-protocol.md, 2.
func AppendRecord(dst []byte, from int, p Protocol, r *Reply) ([]byte, error) {
	if p == JSON {
		text, err := protocol.NewJSONReplyEncoder().Encode(r)
		if err != nil {
			return dst, err
		}
		return append(joinRecord(dst, from), text...), nil
	}
	size := r.SizeVT()
	dst = binary.AppendUvarint(dst, uint64(size))
	start := len(dst)
	dst = append(dst, make([]byte, size)...)
	_, err := r.MarshalToSizedBufferVT(dst[start:])
	return dst, err
}

func joinRecord(dst []byte, from int) []byte {
	if len(dst) > from {
		dst = append(dst, '\n')
	}
	return dst
}

// AppendEmpty appends the reply to a command whose result has no content. dst and from as for AppendRecord.
func AppendEmpty(dst []byte, from int, p Protocol, id uint32, m Method) []byte {
	if p == JSON {
		dst = append(joinRecord(dst, from), `{"id":`...)
		dst = strconv.AppendUint(dst, uint64(id), 10)
		dst = append(dst, `,"`...)
		dst = append(dst, methodNames[m]...)
		return append(dst, `":{}}`...)
	}
	dst = binary.AppendUvarint(dst, uint64(1+uvarintLen(uint64(id))+2))
	dst = appendTagged(dst, 1, uint64(id))
	return appendBytesHeader(dst, replyFields[m], 0)
}

// replyFields are the numbers of the results in a Reply. It has none for send, so behind it they are not the command's.
var replyFields = [NumMethods]uint64{
	MethodConnect: 5, MethodSubscribe: 6, MethodUnsubscribe: 7, MethodPublish: 8, MethodPresence: 9, MethodPresenceStats: 10,
	MethodHistory: 11, MethodPing: 12, MethodRPC: 13, MethodRefresh: 14, MethodSubRefresh: 15,
}

// AppendError appends an error reply with one of the protocol's own codes. dst and from as for AppendRecord.
func AppendError(dst []byte, from int, p Protocol, id uint32, code ErrorCode) []byte {
	message := code.String()
	if p == JSON {
		dst = append(joinRecord(dst, from), `{"id":`...)
		dst = strconv.AppendUint(dst, uint64(id), 10)
		dst = append(dst, `,"error":{"code":`...)
		dst = strconv.AppendUint(dst, uint64(code), 10)
		dst = append(dst, `,"message":"`...)
		dst = append(dst, message...)
		if code.Temporary() {
			return append(dst, `","temporary":true}}`...)
		}
		return append(dst, `"}}`...)
	}
	size := taggedLen(uint64(code)) + bytesLen(len(message))
	if code.Temporary() {
		size += 2
	}
	dst = binary.AppendUvarint(dst, uint64(taggedLen(uint64(id))+bytesLen(size)))
	dst = appendTagged(dst, 1, uint64(id))
	dst = appendBytesHeader(dst, 2, size)
	dst = appendTagged(dst, 1, uint64(code))
	dst = append(appendBytesHeader(dst, 2, len(message)), message...)
	if code.Temporary() {
		dst = appendTagged(dst, 3, 1)
	}
	return dst
}

// appendTagged appends a varint field; field numbers here are below 16, so a tag is one byte.
func appendTagged(dst []byte, field byte, v uint64) []byte {
	return binary.AppendUvarint(append(dst, field<<3|pbVarint), v)
}

func taggedLen(v uint64) int { return 1 + uvarintLen(v) }

func appendBytesHeader(dst []byte, field uint64, n int) []byte {
	return binary.AppendUvarint(append(dst, byte(field)<<3|pbBytes), uint64(n))
}

func bytesLen(n int) int { return 1 + uvarintLen(uint64(n)) + n }

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}
