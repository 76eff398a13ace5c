package engine

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"

	"throng/server/wire"
)

// errFrame is any breach of RFC 6455 section 5 by the server. The reader is the
// bench's own, not the server's decoder: a harness that shares the bug of what it
// measures finds nothing.
var errFrame = errors.New("bytes are no valid server frame (RFC 6455, 5.2)")

// maxMessage bounds one message from the server, in bytes; more is garbage.
const maxMessage = 16 << 20

type frameHeader struct {
	op   wire.Opcode
	fin  bool
	head int // bytes of the header
	size int // bytes of the payload
}

// parseFrame reads the header of an unmasked frame. ok is false while bytes are
// missing. Source: RFC 6455, 5.2.
func parseFrame(p []byte) (h frameHeader, ok bool, err error) {
	if len(p) < 2 {
		return h, false, nil
	}
	h.op, h.fin, h.head = wire.Opcode(p[0]&15), p[0]&0x80 != 0, 2
	if p[0]&0x70 != 0 || p[1]&0x80 != 0 {
		return h, false, errFrame
	}
	switch n := int(p[1]); {
	case n < 126:
		h.size = n
	case n == 126:
		if len(p) < 4 {
			return h, false, nil
		}
		h.size, h.head = int(binary.BigEndian.Uint16(p[2:])), 4
	default:
		if len(p) < 10 {
			return h, false, nil
		}
		v := binary.BigEndian.Uint64(p[2:])
		if v > maxMessage {
			return h, false, errFrame
		}
		h.size, h.head = int(v), 10
	}
	return h, true, h.check()
}

func (h *frameHeader) check() error {
	switch h.op {
	case wire.OpContinuation, wire.OpText, wire.OpBinary:
		return nil
	case wire.OpClose, wire.OpPing, wire.OpPong:
		if h.fin && h.size <= 125 {
			return nil
		}
	}
	return errFrame
}

// appendFrame appends one whole frame under a fresh random mask, as RFC 6455, 5.3
// asks of a client.
func appendFrame(dst []byte, op wire.Opcode, p []byte) []byte {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	return wire.AppendMaskedFrame(dst, op, true, p, key)
}
