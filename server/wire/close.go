package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// CloseCode says why a connection ends (RFC 6455, 7.4; IANA WebSocket Close Code
// Number Registry; Centrifuge protocol for 3000 on).
type CloseCode uint16

// Codes of RFC 6455, 7.4.1 and of the IANA registry.
const (
	CloseNormal             CloseCode = 1000 // the purpose is fulfilled
	CloseGoingAway          CloseCode = 1001 // page left, or server goes down
	CloseProtocolError      CloseCode = 1002 // the peer broke RFC 6455
	CloseUnsupported        CloseCode = 1003 // a kind of data we do not take
	CloseNoStatus           CloseCode = 1005 // never sent: the close frame had no code
	CloseAbnormal           CloseCode = 1006 // never sent: there was no close frame
	CloseInvalidPayload     CloseCode = 1007 // text that is not UTF-8
	ClosePolicy             CloseCode = 1008 // against our rules, nothing more exact fits
	CloseTooBig             CloseCode = 1009 // message over the limit
	CloseMandatoryExtension CloseCode = 1010 // a client's: the server did not agree to an extension
	CloseInternal           CloseCode = 1011 // our fault
	CloseRestart            CloseCode = 1012 // server restarts, come back with jitter
	CloseTryLater           CloseCode = 1013 // overloaded, come back later
	CloseBadGateway         CloseCode = 1014 // a gateway's upstream answered badly
	CloseTLS                CloseCode = 1015 // never sent: the TLS handshake failed
)

// Codes of the Centrifuge protocol. 3000-3499 and 4000-4499 tell its clients to
// reconnect, 3500-3999 and 4500-4999 to stay away (centrifuge-protocol.md, 17.2).
const (
	CloseConnectionClosed  CloseCode = 3000 // plain end
	CloseShutdown          CloseCode = 3001 // node drains
	CloseServerError       CloseCode = 3004 // internal server error
	CloseExpired           CloseCode = 3005 // connection expired
	CloseSubExpired        CloseCode = 3006 // subscription expired
	CloseSlow              CloseCode = 3008 // outbox over its limit
	CloseWriteError        CloseCode = 3009 // write failed
	CloseInsufficientState CloseCode = 3010 // a gap in a positioned stream
	CloseForceReconnect    CloseCode = 3011 // told to reconnect
	CloseNoPong            CloseCode = 3012 // ping unanswered
	CloseTooManyRequests   CloseCode = 3013 // rate limit
	CloseStateInvalidated  CloseCode = 3014 // drop token and positions
	CloseInvalidToken      CloseCode = 3500 // terminal from here on
	CloseBadRequest        CloseCode = 3501
	CloseStale             CloseCode = 3502 // no first command in time
	CloseForceDisconnect   CloseCode = 3503
	CloseConnectionLimit   CloseCode = 3504
	CloseChannelLimit      CloseCode = 3505
	CloseInappropriate     CloseCode = 3506 // wrong protocol variant
	ClosePermissionDenied  CloseCode = 3507
	CloseNotAvailable      CloseCode = 3508
	CloseTooManyErrors     CloseCode = 3509
)

// closeNames is the one table of codes this server knows by name.
var closeNames = map[CloseCode]string{
	CloseNormal:             "normal",
	CloseGoingAway:          "going_away",
	CloseProtocolError:      "protocol_error",
	CloseUnsupported:        "unsupported",
	CloseNoStatus:           "no_status",
	CloseAbnormal:           "abnormal",
	CloseInvalidPayload:     "invalid_payload",
	ClosePolicy:             "policy",
	CloseTooBig:             "too_big",
	CloseMandatoryExtension: "mandatory_extension",
	CloseInternal:           "internal",
	CloseRestart:            "restart",
	CloseTryLater:           "try_later",
	CloseBadGateway:         "bad_gateway",
	CloseTLS:                "tls",
	CloseConnectionClosed:   "connection_closed",
	CloseShutdown:           "shutdown",
	CloseServerError:        "server_error",
	CloseExpired:            "expired",
	CloseSubExpired:         "subscription_expired",
	CloseSlow:               "slow",
	CloseWriteError:         "write_error",
	CloseInsufficientState:  "insufficient_state",
	CloseForceReconnect:     "force_reconnect",
	CloseNoPong:             "no_pong",
	CloseTooManyRequests:    "too_many_requests",
	CloseStateInvalidated:   "state_invalidated",
	CloseInvalidToken:       "invalid_token",
	CloseBadRequest:         "bad_request",
	CloseStale:              "stale",
	CloseForceDisconnect:    "force_disconnect",
	CloseConnectionLimit:    "connection_limit",
	CloseChannelLimit:       "channel_limit",
	CloseInappropriate:      "inappropriate_protocol",
	ClosePermissionDenied:   "permission_denied",
	CloseNotAvailable:       "not_available",
	CloseTooManyErrors:      "too_many_errors",
}

// String returns a short constant text from a closed set, usable as a metric
// label: a peer that invents codes cannot invent labels.
func (c CloseCode) String() string {
	if name, ok := closeNames[c]; ok {
		return name
	}
	switch {
	case c >= 3000 && c <= 3999:
		return "registered"
	case c >= 4000 && c <= 4999:
		return "private"
	}
	return "invalid"
}

// ValidCloseCode reports whether a close frame may carry c: 1000-1003,
// 1007-1014 and 3000-4999 (RFC 6455, 7.4.1 and 7.4.2; IANA registry). 1004 is
// reserved; 1005, 1006 and 1015 only ever describe what happened.
func ValidCloseCode(c CloseCode) bool {
	return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
}

// maxCloseReason is what a control frame leaves for the reason behind the code.
const maxCloseReason = MaxControlPayload - 2

// AppendCloseFrame appends a whole unmasked close frame. reason is cut to 123
// bytes at a rune boundary, and at its first byte that is not UTF-8. A code that
// must not be sent (CloseNoStatus, CloseAbnormal, any invalid one) gives an
// empty body, which the peer reads as "no status".
//
// Allocates only when dst has to grow. RFC 6455, 5.5.1 and 7.4.1.
func AppendCloseFrame(dst []byte, code CloseCode, reason string) []byte {
	if !ValidCloseCode(code) {
		return AppendFrameHeader(dst, OpClose, 0)
	}
	reason = reason[:reasonLen(reason)]
	dst = AppendFrameHeader(dst, OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// reasonLen returns how many bytes of s are whole, valid runes that fit a close
// frame.
func reasonLen(s string) int {
	n := 0
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if r == utf8.RuneError && size == 1 || n+size > maxCloseReason {
			break
		}
		n += size
	}
	return n
}

// ParseCloseBody reads the payload of a peer's close frame. No body gives
// CloseNoStatus and no error. p is borrowed; the reason is a copy.
//
// Errors: ErrCloseLength, ErrCloseCode, ErrCloseReason. RFC 6455, 5.5.1, 7.1.5
// and 7.4.
func ParseCloseBody(p []byte) (CloseCode, string, error) {
	switch len(p) {
	case 0:
		return CloseNoStatus, "", nil
	case 1:
		return CloseProtocolError, "", ErrCloseLength
	}
	code := CloseCode(binary.BigEndian.Uint16(p))
	if !ValidCloseCode(code) {
		return CloseProtocolError, "", ErrCloseCode
	}
	if !utf8.Valid(p[2:]) {
		return CloseInvalidPayload, "", ErrCloseReason
	}
	return code, string(p[2:]), nil
}
