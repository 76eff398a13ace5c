package wire

// ProtocolError says what a peer did wrong and with which close code the
// connection has to end. The values are sentinels: compare them with == or
// errors.Is, never change their fields.
type ProtocolError struct {
	Code   CloseCode // what the close frame must carry (RFC 6455, 7.4.1)
	Reason string    // short constant text, fit for the close frame and for a metric label
}

// Error returns the code and the reason.
func (e *ProtocolError) Error() string {
	return "wire: " + e.Code.String() + ": " + e.Reason
}

// What Decoder.Feed and ParseCloseBody can find wrong with a peer.
var (
	// ErrReservedBits: RSV1, RSV2 or RSV3 is set and no extension was agreed on (RFC 6455, 5.2).
	ErrReservedBits = &ProtocolError{CloseProtocolError, "reserved bit set"}
	// ErrReservedOpcode: opcode 3-7 or 11-15 (RFC 6455, 5.2).
	ErrReservedOpcode = &ProtocolError{CloseProtocolError, "reserved opcode"}
	// ErrControlFragmented: a control frame without FIN (RFC 6455, 5.5).
	ErrControlFragmented = &ProtocolError{CloseProtocolError, "fragmented control frame"}
	// ErrControlTooLong: a control frame of more than 125 bytes (RFC 6455, 5.5).
	ErrControlTooLong = &ProtocolError{CloseProtocolError, "control frame too long"}
	// ErrStrayContinuation: a continuation with no message begun (RFC 6455, 5.4).
	ErrStrayContinuation = &ProtocolError{CloseProtocolError, "continuation without a message"}
	// ErrInterleaved: a new text or binary frame inside a fragmented message (RFC 6455, 5.4).
	ErrInterleaved = &ProtocolError{CloseProtocolError, "new message inside a fragmented one"}
	// ErrNotMasked: a client's frame without a mask (RFC 6455, 5.1).
	ErrNotMasked = &ProtocolError{CloseProtocolError, "client frame not masked"}
	// ErrMasked: a server's frame with a mask (RFC 6455, 5.1).
	ErrMasked = &ProtocolError{CloseProtocolError, "server frame masked"}
	// ErrLengthNotMinimal: a length written in more bytes than it needs (RFC 6455, 5.2).
	ErrLengthNotMinimal = &ProtocolError{CloseProtocolError, "length not minimal"}
	// ErrLengthHighBit: a 64-bit length with its highest bit set (RFC 6455, 5.2).
	ErrLengthHighBit = &ProtocolError{CloseProtocolError, "length high bit set"}
	// ErrInvalidUTF8: text that is not, or can no longer become, UTF-8 (RFC 6455, 8.1).
	ErrInvalidUTF8 = &ProtocolError{CloseInvalidPayload, "invalid UTF-8"}
	// ErrFrameTooBig: a data frame announces more than Limits.MaxFrame.
	ErrFrameTooBig = &ProtocolError{CloseTooBig, "frame too big"}
	// ErrMessageTooBig: the frames of one message announce more than Limits.MaxMessage.
	ErrMessageTooBig = &ProtocolError{CloseTooBig, "message too big"}
	// ErrCloseLength: a close body of one byte, which cannot hold a code (RFC 6455, 5.5.1).
	ErrCloseLength = &ProtocolError{CloseProtocolError, "close body of one byte"}
	// ErrCloseCode: a close code that must not appear in a close frame (RFC 6455, 7.4).
	ErrCloseCode = &ProtocolError{CloseProtocolError, "close code not allowed"}
	// ErrCloseReason: a close reason that is not UTF-8 (RFC 6455, 5.5.1 and 8.1).
	ErrCloseReason = &ProtocolError{CloseInvalidPayload, "close reason is invalid UTF-8"}
)
