package ws

import "sync"

// outbox holds the frames a connection has yet to write, in order. It is pure data: whoever holds the
// connection's mutex may use it. Frames are shared and immutable; an empty outbox keeps no memory beyond
// its own 40 bytes, the list for second and later frames is pooled.
type outbox struct {
	head  []byte     // first unsent frame, or what is left of it
	more  *frameList // frames after head, nil when there are none
	bytes int        // unsent bytes of all frames
}

// frameCost is counted per queued frame on top of its bytes: without it a peer that pings and never
// reads holds half a million two-byte pongs in a one-megabyte outbox, 24 bytes of slice header each.
const frameCost = 32

type frameList struct {
	frames [][]byte
	next   int // index of the first frame not taken yet
}

var frameLists = sync.Pool{New: func() any { return &frameList{frames: make([][]byte, 0, 8)} }}

// keptFrames bounds the list that goes back to the pool: a slow consumer's long one is left to the collector.
const keptFrames = 256

// push appends a frame, borrowed for good: it must never change.
func (o *outbox) push(frame []byte) {
	if len(frame) == 0 {
		return
	}
	o.bytes += len(frame)
	if o.head == nil {
		o.head = frame
		return
	}
	if o.more == nil {
		o.more = frameLists.Get().(*frameList)
	}
	o.more.frames = append(o.more.frames, frame)
}

func (o *outbox) empty() bool { return o.head == nil }

// cost is what the outbox weighs against its limit, in bytes.
func (o *outbox) cost() int {
	if o.more == nil {
		return o.bytes
	}
	return o.bytes + frameCost*(len(o.more.frames)-o.more.next)
}

// gather copies unsent bytes from the front into dst, up to its capacity, and returns them; nothing is consumed.
func (o *outbox) gather(dst []byte) []byte {
	dst = append(dst, o.head[:min(len(o.head), cap(dst))]...)
	if o.more == nil {
		return dst
	}
	for _, f := range o.more.frames[o.more.next:] {
		room := cap(dst) - len(dst)
		if room == 0 {
			break
		}
		dst = append(dst, f[:min(len(f), room)]...)
	}
	return dst
}

// consume drops n written bytes from the front.
func (o *outbox) consume(n int) {
	o.bytes -= n
	for n > 0 && n >= len(o.head) {
		n -= len(o.head)
		o.head = o.pop()
	}
	if n > 0 {
		o.head = o.head[n:]
	}
}

// pop takes the next frame off the list, nil when there is none left.
func (o *outbox) pop() []byte {
	if o.more == nil {
		return nil
	}
	f := o.more.frames[o.more.next]
	o.more.frames[o.more.next] = nil
	o.more.next++
	if o.more.next == len(o.more.frames) {
		o.releaseList()
	}
	return f
}

// truncate keeps only the frame at the front and returns how many bytes were dropped. A frame partly
// written must be completed, or the peer reads what follows as its middle.
func (o *outbox) truncate() int {
	dropped := o.bytes - len(o.head)
	o.bytes = len(o.head)
	if o.more != nil {
		clear(o.more.frames)
		o.releaseList()
	}
	return dropped
}

// clear drops everything and returns how many bytes were dropped.
func (o *outbox) clear() int {
	dropped := o.truncate() + len(o.head)
	o.head, o.bytes = nil, 0
	return dropped
}

func (o *outbox) releaseList() {
	l := o.more
	o.more = nil
	if cap(l.frames) <= keptFrames {
		l.frames, l.next = l.frames[:0], 0
		frameLists.Put(l)
	}
}
