package wire

import (
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// DefaultMaxMessage is the message limit in bytes where Limits names none:
// 64 KiB, the Centrifuge protocol's message_size_limit.
const DefaultMaxMessage = 64 << 10

// Limits bounds what a peer may make a Decoder hold. It is shared by all
// connections and read only.
type Limits struct {
	// MaxMessage is the most payload bytes of one message, all its frames
	// together. Default (0): DefaultMaxMessage.
	MaxMessage int
	// MaxFrame is the most payload bytes one data frame may announce.
	// Default (0): MaxMessage.
	MaxFrame int
}

// Sink receives what a Decoder finds, on the goroutine that feeds it. It must
// not call Feed; it may call Release.
type Sink interface {
	// OnMessage takes one whole message: OpText, which is valid UTF-8, or
	// OpBinary. p is borrowed until return, already unmasked, and may be
	// overwritten. An error stops the Feed, which returns it as it is.
	OnMessage(op Opcode, p []byte) error
	// OnControl takes OpPing, OpPong or OpClose with at most MaxControlPayload
	// bytes, borrowed until return. It may come between two frames of one
	// message. Whatever follows OpClose must be ignored (RFC 6455, 5.5.1):
	// return an error to stop the Feed there.
	OnControl(op Opcode, p []byte) error
}

// Decoder turns the byte stream of one peer into messages. The zero value is
// ready. It is one pointer, nil while the stream stands between two messages, so
// an idle connection pays 8 bytes. A Decoder must not be copied after first use
// and belongs to one goroutine at a time.
type Decoder struct{ st *partial }

// Feed takes the next bytes from a client, whose frames must be masked, and
// hands over every message and control frame that they complete.
//
// p is borrowed until return and overwritten (frames are unmasked in place). A
// frame that lies whole in p is handed over without a copy or an allocation. The
// rest is kept in pooled buffers that grow with the bytes that arrived, never
// with an announced length: at most minBuffer or twice the bytes held, and no
// byte beyond lim.
//
// It never blocks, except as long as sink does. Errors: a *ProtocolError as soon
// as the bytes at hand show a violation, also in the middle of a frame (text is
// checked fail-fast); the sink's error as it is. After an error everything held
// is released, and feeding on makes no sense since the stream is out of step.
//
// RFC 6455, 5 and 8.1.
func (d *Decoder) Feed(p []byte, lim *Limits, sink Sink) error {
	f := newFeed(d, lim, sink)
	f.rules.masked = true
	return f.run(p)
}

// FeedServer is Feed for the bytes a server sends, which must not be masked
// (RFC 6455, 5.1). It is the reading side of a client: tests and load
// generators. A Decoder takes either Feed or FeedServer all its life.
func (d *Decoder) FeedServer(p []byte, lim *Limits, sink Sink) error {
	f := newFeed(d, lim, sink)
	return f.run(p)
}

// Buffered returns the number of bytes held: those of an incomplete header,
// frame or message.
func (d *Decoder) Buffered() int {
	if d.st == nil {
		return 0
	}
	return d.st.held()
}

// Release gives everything held back to the pools, to be called when the
// connection is closed. The Decoder is then as new.
func (d *Decoder) Release() {
	if st := d.st; st != nil {
		d.st = nil
		st.free()
	}
}

// feed is one run of a Decoder over one piece of input.
type feed struct {
	d          *Decoder
	sink       Sink
	maxMessage int
	rules      headerRules
}

func newFeed(d *Decoder, lim *Limits, sink Sink) feed {
	f := feed{d: d, sink: sink, maxMessage: lim.MaxMessage}
	if f.maxMessage <= 0 {
		f.maxMessage = DefaultMaxMessage
	}
	f.rules.maxFrame = lim.MaxFrame
	if f.rules.maxFrame <= 0 {
		f.rules.maxFrame = f.maxMessage
	}
	return f
}

// run consumes all of p, step by step. The sink may have released the decoder's
// state in any step, so each looks at it anew.
func (f *feed) run(p []byte) error {
	for len(p) > 0 {
		n, err := f.step(p)
		if err != nil {
			f.d.Release()
			return err
		}
		p = p[n:]
	}
	return nil
}

// step consumes the next n > 0 bytes of p.
func (f *feed) step(p []byte) (n int, err error) {
	st := f.d.st
	if st == nil {
		f.rules.room, f.rules.inMessage = f.maxMessage, false
		return f.frame(p)
	}
	if st.inFrame {
		return f.payload(st, p)
	}
	f.rules.room = f.maxMessage - len(st.data.bytes())
	f.rules.inMessage = st.op != OpContinuation
	if st.headLen > 0 {
		return f.restOfHeader(st, p)
	}
	return f.frame(p)
}

// frame consumes one whole frame at the beginning of p, or what there is of it.
func (f *feed) frame(p []byte) (int, error) {
	h, n, err := f.rules.parse(p)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		st := f.state()
		st.headLen = uint8(copy(st.head[:], p))
		return len(p), nil
	}
	if len(p)-n < h.length {
		took, err := f.payload(f.begin(h), p[n:])
		return n + took, err
	}
	end := n + h.length
	body := p[n:end:end]
	if f.rules.masked {
		ws.Cipher(body, h.key, 0)
	}
	return end, f.whole(h, body)
}

// whole takes a frame whose payload, unmasked, lies in one piece.
func (f *feed) whole(h frameHeader, body []byte) error {
	switch {
	case h.op.isControl():
		return f.sink.OnControl(h.op, body)
	case h.fin && h.op != OpContinuation:
		if h.op == OpText && !utf8.Valid(body) {
			return ErrInvalidUTF8
		}
		return f.sink.OnMessage(h.op, body)
	}
	st := f.begin(h)
	if err := st.take(body); err != nil {
		return err
	}
	return f.endFrame(st)
}

// restOfHeader goes on with a header that came in pieces.
func (f *feed) restOfHeader(st *partial, p []byte) (int, error) {
	had := int(st.headLen)
	have := had + copy(st.head[had:], p)
	h, n, err := f.rules.parse(st.head[:have])
	if err != nil {
		return 0, err
	}
	if n == 0 {
		st.headLen = uint8(have)
		return have - had, nil
	}
	st.headLen = 0
	f.begin(h)
	// Straight on into the payload, because an empty one would not be visited
	// when p ends here.
	took, err := f.payload(st, p[n-had:])
	return n - had + took, err
}

// payload takes what p has of the current frame's payload.
func (f *feed) payload(st *partial, p []byte) (int, error) {
	n := min(len(p), st.frame.length-st.got)
	if f.rules.masked {
		ws.Cipher(p[:n], st.frame.key, st.got)
	}
	if err := st.take(p[:n]); err != nil {
		return 0, err
	}
	if st.got < st.frame.length {
		return n, nil
	}
	return n, f.endFrame(st)
}

// state returns the decoder's state, taking one from the pool when it has none.
func (f *feed) state() *partial {
	if f.d.st == nil {
		f.d.st = partialPool.Get().(*partial)
	}
	return f.d.st
}

// begin notes that the frame behind h is being read.
func (f *feed) begin(h frameHeader) *partial {
	st := f.state()
	st.frame, st.got, st.inFrame = h, 0, true
	if h.op == OpText || h.op == OpBinary {
		st.op = h.op
	}
	return st
}

// take adds unmasked payload to the current frame.
func (s *partial) take(p []byte) error {
	s.got += len(p)
	if len(p) == 0 {
		return nil
	}
	if s.frame.op.isControl() {
		s.ctl = s.ctl.grow(p)
		return nil
	}
	if s.op == OpText && !s.text.write(p) {
		return ErrInvalidUTF8
	}
	s.data = s.data.grow(p)
	return nil
}

// endFrame ends the current frame and hands over what it completes. State and
// buffer are let go before the sink runs, so that it may close the connection;
// the buffer returns to its pool after.
func (f *feed) endFrame(st *partial) error {
	h := st.frame
	st.inFrame = false
	if h.op.isControl() {
		b := st.ctl
		st.ctl = nil
		f.drop(st)
		err := f.sink.OnControl(h.op, b.bytes())
		b.free()
		return err
	}
	if !h.fin {
		return nil
	}
	op, b := st.op, st.data
	if op == OpText && !st.text.complete() {
		return ErrInvalidUTF8
	}
	st.op, st.data = OpContinuation, nil
	f.drop(st)
	err := f.sink.OnMessage(op, b.bytes())
	b.free()
	return err
}

// drop lets the state go when there is nothing left in it.
func (f *feed) drop(st *partial) {
	if st.empty() {
		f.d.st = nil
		st.free()
	}
}
