package wire

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two from minBuffer to maxPooled. minBuffer keeps a
// client that sends one byte of a frame from holding more than that; above
// maxPooled a buffer is left to the garbage collector, since such messages are
// rare and a pool of them would pin memory.
const (
	minBufferBits = 8  // 256 B
	maxPooledBits = 20 // 1 MiB
	minBuffer     = 1 << minBufferBits
	numClasses    = maxPooledBits - minBufferBits + 1
)

var (
	bufferPools [numClasses]sync.Pool // of *buffer with cap = minBuffer << index
	partialPool = sync.Pool{New: func() any { return new(partial) }}
)

// buffer holds the bytes of a frame or message that is not complete yet.
type buffer struct{ b []byte }

// bytes returns what is held; it works on nil, which holds nothing.
func (b *buffer) bytes() []byte {
	if b == nil {
		return nil
	}
	return b.b
}

// free gives b back to the pool of its class. It works on nil.
func (b *buffer) free() {
	if b == nil {
		return
	}
	if class := classOf(cap(b.b)); class < numClasses {
		b.b = b.b[:0]
		bufferPools[class].Put(b)
	}
}

// classOf returns the index of the smallest class that holds n bytes.
func classOf(n int) int {
	if n <= minBuffer {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// newBuffer returns an empty buffer for at least n bytes and fewer than 2n,
// minBuffer excepted.
func newBuffer(n int) *buffer {
	class := classOf(n)
	if class < numClasses {
		if b, ok := bufferPools[class].Get().(*buffer); ok {
			return b
		}
	}
	return &buffer{b: make([]byte, 0, minBuffer<<class)}
}

// grow adds p to b and returns the buffer that now holds everything; b itself is
// freed when a larger one was needed. b may be nil.
func (b *buffer) grow(p []byte) *buffer {
	held := b.bytes()
	if b == nil || len(held)+len(p) > cap(held) {
		larger := newBuffer(len(held) + len(p))
		larger.b = append(larger.b, held...)
		b.free()
		b = larger
	}
	b.b = append(b.b, p...)
	return b
}

// partial is what a Decoder keeps between two Feeds while something is
// incomplete. It is pooled: an idle connection has none.
type partial struct {
	frame frameHeader // the frame being read, valid while inFrame
	got   int         // payload bytes of frame already taken
	data  *buffer     // payload of the message under way
	ctl   *buffer     // payload of an incomplete control frame

	head    [MaxHeader]byte // the beginning of a header
	headLen uint8
	inFrame bool
	op      Opcode // OpText or OpBinary while a message is under way, else 0
	text    utf8Check
}

// empty reports whether nothing is left to remember.
func (s *partial) empty() bool {
	return !s.inFrame && s.headLen == 0 && s.op == OpContinuation
}

// held returns the number of bytes kept.
func (s *partial) held() int {
	return int(s.headLen) + len(s.data.bytes()) + len(s.ctl.bytes())
}

// free gives s and its buffers back to their pools.
func (s *partial) free() {
	s.data.free()
	s.ctl.free()
	*s = partial{}
	partialPool.Put(s)
}
