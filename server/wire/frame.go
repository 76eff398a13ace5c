package wire

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// Opcode says what a frame is (RFC 6455, 5.2).
type Opcode byte

// The opcodes of RFC 6455, 11.8. All others are reserved and refused.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// String returns a short constant name, usable as a metric label.
func (op Opcode) String() string {
	switch op {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return "reserved"
}

// isControl reports whether op is a control opcode, reserved ones included
// (RFC 6455, 5.5: the highest bit of the opcode is set).
func (op Opcode) isControl() bool { return op&0x8 != 0 }

const (
	// MaxControlPayload is the most bytes a control frame may carry (RFC 6455, 5.5).
	MaxControlPayload = 125
	// MaxHeader is the most bytes a frame header can have: 2, an 8-byte length, a 4-byte mask.
	MaxHeader = 14

	finBit     = 0x80
	rsvBits    = 0x70
	opcodeBits = 0x0f
	maskBit    = 0x80
	len16      = 126 // the 7-bit length that announces a 16-bit one
	len64      = 127 // the 7-bit length that announces a 64-bit one
)

// AppendFrame appends one whole unmasked frame with FIN set, as a server sends
// it, and returns the extended slice. payload is copied and not checked: text
// must be valid UTF-8 and a control payload at most MaxControlPayload bytes,
// which is the caller's promise.
//
// Allocates only when dst has to grow. RFC 6455, 5.2.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendFrameHeader(dst, op, len(payload)), payload...)
}

// AppendFrameHeader appends the header of an unmasked frame with FIN set whose
// payload of payloadLen bytes the caller adds. It always writes the shortest
// length. payloadLen must not be negative.
//
// Allocates only when dst has to grow. RFC 6455, 5.2.
func AppendFrameHeader(dst []byte, op Opcode, payloadLen int) []byte {
	return appendHeader(dst, finBit|byte(op), 0, payloadLen)
}

// AppendMaskedFrame appends one frame as a client sends it: masked with key, FIN
// as told. payload is copied, then the copy is masked. It is for tests and load
// generators; a real client draws key from a strong random source.
//
// Allocates only when dst has to grow. RFC 6455, 5.2 and 5.3.
func AppendMaskedFrame(dst []byte, op Opcode, fin bool, payload []byte, key [4]byte) []byte {
	first := byte(op)
	if fin {
		first |= finBit
	}
	dst = appendHeader(dst, first, maskBit, len(payload))
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[start:], key, 0)
	return dst
}

// appendHeader writes the first byte as given and the length in its shortest
// form with mask (0 or maskBit) on its top bit.
func appendHeader(dst []byte, first, mask byte, n int) []byte {
	switch {
	case n < len16:
		return append(dst, first, mask|byte(n))
	case n <= 0xffff:
		return append(dst, first, mask|len16, byte(n>>8), byte(n))
	}
	dst = append(dst, first, mask|len64)
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

// frameHeader is one parsed frame header.
type frameHeader struct {
	length int // payload bytes that follow
	key    [4]byte
	op     Opcode
	fin    bool
}

// headerRules is what a header has to obey beyond its own syntax.
type headerRules struct {
	maxFrame  int  // bytes one data frame may announce
	room      int  // bytes the message under way may still take
	inMessage bool // a fragmented message has begun
	masked    bool // the peer is a client
}

// parse reads one header from the beginning of p. n is its size, 0 when p ends
// before the header does. Each rule is checked as soon as the bytes it needs are
// there, and in the order of the bytes, so that a header in pieces meets the
// same verdict as a whole one.
func (r *headerRules) parse(p []byte) (h frameHeader, n int, err error) {
	if len(p) < 1 {
		return h, 0, nil
	}
	if err := r.checkFirst(p[0]); err != nil {
		return h, 0, err
	}
	if len(p) < 2 {
		return h, 0, nil
	}
	h.fin, h.op = p[0]&finBit != 0, Opcode(p[0]&opcodeBits)
	if p[1]&maskBit != 0 != r.masked {
		if r.masked {
			return h, 0, ErrNotMasked
		}
		return h, 0, ErrMasked
	}
	h.length, n = int(p[1]&^maskBit), 2
	if h.length >= len16 {
		if h.op.isControl() {
			return h, 0, ErrControlTooLong
		}
		if h.length, n, err = longLength(p); n == 0 {
			return h, 0, err
		}
	}
	if !h.op.isControl() {
		if h.length > r.maxFrame {
			return h, 0, ErrFrameTooBig
		}
		if h.length > r.room {
			return h, 0, ErrMessageTooBig
		}
	}
	if !r.masked {
		return h, n, nil
	}
	if len(p) < n+4 {
		return h, 0, nil
	}
	h.key = [4]byte(p[n:])
	return h, n + 4, nil
}

// checkFirst judges the first byte of a header.
func (r *headerRules) checkFirst(b byte) error {
	if b&rsvBits != 0 {
		return ErrReservedBits
	}
	switch op := Opcode(b & opcodeBits); op {
	case OpContinuation:
		if !r.inMessage {
			return ErrStrayContinuation
		}
	case OpText, OpBinary:
		if r.inMessage {
			return ErrInterleaved
		}
	case OpClose, OpPing, OpPong:
		if b&finBit == 0 {
			return ErrControlFragmented
		}
	default:
		return ErrReservedOpcode
	}
	return nil
}

// longLength reads the 16-bit or 64-bit length of the header in p. end is the
// offset behind it, 0 when p is too short or err is set.
func longLength(p []byte) (length, end int, err error) {
	if p[1]&^maskBit == len16 {
		if len(p) < 4 {
			return 0, 0, nil
		}
		v := binary.BigEndian.Uint16(p[2:])
		if v < len16 {
			return 0, 0, ErrLengthNotMinimal
		}
		return int(v), 4, nil
	}
	if len(p) < 10 {
		return 0, 0, nil
	}
	v := binary.BigEndian.Uint64(p[2:])
	switch {
	case v>>63 != 0:
		return 0, 0, ErrLengthHighBit
	case v <= 0xffff:
		return 0, 0, ErrLengthNotMinimal
	}
	return int(v), 10, nil
}
