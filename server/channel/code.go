package channel

import "strconv"

// Code is what a client is told, as the number that goes over the wire: 0 for yes, 100 to 1999 for an error reply,
// 3000 to 4999 for a disconnect (close code or disconnect push). The ranges do not overlap, so one number says both what
// happened and which way it is said.
//
// Source: centrifuge-protocol.md, 17.1 and 17.2.
type Code uint16

// The codes that names, permissions and tokens lead to.
const (
	Allowed          Code = 0
	Internal         Code = 100 // temporary: the client tries again
	UnknownChannel   Code = 102
	PermissionDenied Code = 103
	MethodNotFound   Code = 104
	AlreadySubbed    Code = 105
	LimitExceeded    Code = 106
	BadRequest       Code = 107
	NotAvailable     Code = 108
	TokenExpired     Code = 109 // the client fetches a new token
	Expired          Code = 110

	CloseConnExpired   Code = 3005
	CloseSubExpired    Code = 3006
	CloseInvalidToken  Code = 3500
	CloseBadRequest    Code = 3501
	CloseChannelLimit  Code = 3505
	ClosePermission    Code = 3507
	firstDisconnect    Code = 3000
	firstDisconnectEnd Code = 5000
)

var codeText = map[Code]string{
	Allowed:           "allowed",
	Internal:          "internal server error",
	UnknownChannel:    "unknown channel",
	PermissionDenied:  "permission denied",
	MethodNotFound:    "method not found",
	AlreadySubbed:     "already subscribed",
	LimitExceeded:     "limit exceeded",
	BadRequest:        "bad request",
	NotAvailable:      "not available",
	TokenExpired:      "token expired",
	Expired:           "expired",
	CloseConnExpired:  "connection expired",
	CloseSubExpired:   "subscription expired",
	CloseInvalidToken: "invalid token",
	CloseBadRequest:   "bad request",
	CloseChannelLimit: "channel limit",
	ClosePermission:   "permission denied",
}

// Disconnects tells whether the connection ends with this code; otherwise it is an error reply (or Allowed).
func (c Code) Disconnects() bool { return c >= firstDisconnect && c < firstDisconnectEnd }

// Temporary tells whether an error reply with this code carries temporary=true.
func (c Code) Temporary() bool { return c == Internal }

// String is the message or reason that goes with the code: constant text, never JSON, usable as a metric label.
func (c Code) String() string {
	if s, ok := codeText[c]; ok {
		return s
	}
	return "code " + strconv.Itoa(int(c))
}
