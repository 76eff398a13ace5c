package engine

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"strconv"

	"golang.org/x/sys/unix"

	"throng/server/wire"
)

// maxHead bounds the answer to the upgrade, in bytes.
const maxHead = 16 << 10

// acceptOf computes Sec-WebSocket-Accept (RFC 6455, 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// readable takes what row i's socket has.
func (e *Engine) readable(i int) {
	c := &e.conns[i]
	gen := c.gen
	for c.gen == gen {
		n, err := e.read(i)
		if err == unix.EAGAIN || err == unix.EINTR {
			return
		}
		e.now = e.clock.Now()
		if err != nil {
			e.fail(i, e.kindOfRead(i, err))
			return
		}
		if n == 0 {
			e.fail(i, KindEOF)
			return
		}
		c.seen = e.tick()
		e.n.Reads++
		e.n.BytesIn += uint64(n)
		e.out = e.out[:0]
		e.feed(i, e.buf[:n])
		e.publishAgain(i)
		if c.gen == gen && len(e.out) > 0 {
			e.write(i, e.out)
		}
		if n < len(e.buf) && !e.hasTLS(i) {
			return // level-triggered: whatever came meanwhile raises another event
		}
	}
}

func (e *Engine) hasTLS(i int) bool {
	s := e.conns[i].side
	return s != noSide && e.sides[s].tls != nil
}

func (e *Engine) read(i int) (int, error) {
	if e.hasTLS(i) {
		return e.sides[e.conns[i].side].tls.read(e.buf)
	}
	return unix.Read(int(e.conns[i].fd), e.buf)
}

func (e *Engine) kindOfRead(i int, err error) string {
	if e.hasTLS(i) {
		return kindOfTLS(err)
	}
	return kindOfErrno(err)
}

// feed hands p, behind what was left over, to consume and keeps what it leaves.
func (e *Engine) feed(i int, p []byte) {
	c := &e.conns[i]
	gen := c.gen
	if c.side != noSide && len(e.sides[c.side].in) > 0 {
		s := &e.sides[c.side]
		s.in = append(s.in, p...)
		p = s.in
	}
	used := e.consume(i, p)
	if c.gen != gen {
		return
	}
	if rest := p[used:]; len(rest) > 0 {
		s := e.sideOf(i)
		s.in = append(s.in[:0], rest...)
		return
	}
	if c.side != noSide {
		e.sides[c.side].in = nil
		e.settle(i)
	}
}

// consume takes whole units from p: the answer's head, frames, stream pieces.
func (e *Engine) consume(i int, p []byte) (used int) {
	c := &e.conns[i]
	d, gen := e.dialectOf(i), c.gen
	for used < len(p) && c.gen == gen {
		n := 0
		switch {
		case c.state == stateUpgrading:
			n = e.takeHead(i, p[used:])
		case d.WebSocket():
			n = e.takeFrame(i, p[used:])
		default:
			n = e.takePiece(i, p[used:])
		}
		if n == 0 {
			break
		}
		used += n
	}
	return used
}

// takeHead reads the answer to the GET. Source: RFC 6455, 4.1; RFC 9112, 4.
func (e *Engine) takeHead(i int, p []byte) int {
	const proto = "HTTP/1."
	if n := min(len(p), len(proto)); string(p[:n]) != proto[:n] {
		e.fail(i, KindGarbage)
		return 0
	}
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p) > maxHead {
			e.fail(i, KindGarbage)
		}
		return 0
	}
	status, err := statusOf(p[:end])
	d := e.dialectOf(i)
	switch {
	case err != nil:
		e.fail(i, KindGarbage)
	case d.WebSocket() && status == 101 && !e.accepted(p[:end]):
		e.fail(i, KindAccept)
	case d.WebSocket() && status == 101, !d.WebSocket() && status == 200:
		e.upgraded(i, d)
	default:
		e.fail(i, kindOfStatus(status))
	}
	return end + 4
}

func (e *Engine) upgraded(i int, d Dialect) {
	c := &e.conns[i]
	c.state = stateJoining
	e.out = d.AppendHello(e.out, e.hello(i))
	if readyAtUpgrade(d) {
		e.ready(i)
	}
}

// statusOf reads "HTTP/1.1 101 ...".
func statusOf(head []byte) (int, error) {
	_, rest, _ := bytes.Cut(head, []byte(" "))
	if len(rest) < 3 {
		return 0, errFrame
	}
	return strconv.Atoi(string(rest[:3]))
}

// accepted looks for our Sec-WebSocket-Accept among the header lines.
func (e *Engine) accepted(head []byte) bool {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(name, []byte("Sec-WebSocket-Accept")) {
			return string(bytes.TrimSpace(value)) == e.accept
		}
	}
	return false
}

// takeFrame reads one frame, or nothing if it is not whole yet.
func (e *Engine) takeFrame(i int, p []byte) int {
	h, ok, err := parseFrame(p)
	if err != nil {
		e.fail(i, KindGarbage)
		return 0
	}
	if !ok || len(p)-h.head < h.size {
		return 0
	}
	body := p[h.head : h.head+h.size]
	switch h.op {
	case wire.OpPing:
		e.n.PingsSeen++
		e.out = appendFrame(e.out, wire.OpPong, body)
	case wire.OpPong:
		e.ponged(i)
	case wire.OpClose:
		e.farewell(i, body)
	default:
		e.data(i, &h, body)
	}
	return h.head + h.size
}

func (e *Engine) ponged(i int) {
	if c := &e.conns[i]; c.unponged > 0 {
		c.unponged = 0
		e.n.PongsSeen++
	}
}

// farewell answers the server's close frame and ends the connection.
func (e *Engine) farewell(i int, body []byte) {
	code := 1005 // no status (RFC 6455, 7.1.5)
	if len(body) >= 2 {
		code = int(body[0])<<8 | int(body[1])
	}
	gen := e.conns[i].gen
	e.write(i, appendFrame(nil, wire.OpClose, body[:min(len(body), 2)]))
	if e.conns[i].gen == gen {
		e.fail(i, kindOfClose(code))
	}
}

// data routes the payload of a data frame: whole messages, fragments, or a piece
// of a stream.
func (e *Engine) data(i int, h *frameHeader, body []byte) {
	c := &e.conns[i]
	if e.dialectOf(i).Stream() {
		e.takePiece(i, body)
		return
	}
	if c.fragment != (h.op == wire.OpContinuation) {
		e.fail(i, KindGarbage)
		return
	}
	if h.fin && !c.fragment {
		e.message(i, body)
		return
	}
	c.fragment = !h.fin
	s := e.sideOf(i)
	s.app = append(s.app, body...)
	if len(s.app) > maxMessage {
		e.fail(i, KindGarbage)
		return
	}
	if h.fin {
		whole := s.app
		s.app = nil
		e.message(i, whole)
	}
}

func (e *Engine) message(i int, p []byte) {
	e.n.Messages++
	if e.cfg.Answers && !e.listen(i, p) {
		return
	}
	_, sig := e.dialectOf(i).Inspect(p, e.conns[i].state == stateReady)
	if sig != 0 && !e.obey(i, sig) {
		return
	}
	e.scan(i, p)
}

// takePiece feeds a stream dialect and returns len(p): what it cannot use yet is
// kept in the side.
func (e *Engine) takePiece(i int, p []byte) int {
	c := &e.conns[i]
	gen, taken := c.gen, len(p)
	if c.side != noSide && len(e.sides[c.side].app) > 0 {
		s := &e.sides[c.side]
		s.app = append(s.app, p...)
		p = s.app
	}
	used, sig := e.dialectOf(i).Inspect(p, c.state == stateReady)
	if used > 0 {
		e.n.Messages++
	}
	if sig != 0 && !e.obey(i, sig) {
		return taken
	}
	e.scan(i, p[:used])
	if c.gen != gen {
		return taken
	}
	if rest := p[used:]; len(rest) > maxMessage {
		e.fail(i, KindGarbage)
	} else if len(rest) > 0 {
		s := e.sideOf(i)
		s.app = append(s.app[:0], rest...)
	} else if c.side != noSide {
		e.sides[c.side].app = nil
		e.settle(i)
	}
	return taken
}

// obey acts on signals; false means the connection is gone.
func (e *Engine) obey(i int, sig Signal) bool {
	c := &e.conns[i]
	gen := c.gen
	if sig&SignalPing != 0 {
		e.n.PingsSeen++
		e.out = e.dialectOf(i).AppendPong(e.out)
	}
	if sig&SignalRejected != 0 {
		if c.state != stateReady {
			e.fail(i, KindRejected)
			return false
		}
		if !e.cfg.Answers { // else each is counted by its code
			e.n.Rejections++
		}
	}
	if sig&SignalReady != 0 && c.state == stateJoining {
		e.ready(i)
	}
	return c.gen == gen
}

// scan finds the stamps in p.
func (e *Engine) scan(i int, p []byte) {
	if e.isPublisher(i) {
		return
	}
	var st Stamp
	for {
		next, found, ok := FindStamp(p, &st)
		if !found {
			return
		}
		if ok {
			e.deliver(i, &st)
		} else {
			e.n.Damaged++
		}
		p = p[next:]
	}
}

// deliver counts one delivery and its latency.
func (e *Engine) deliver(i int, st *Stamp) {
	c := &e.conns[i]
	switch {
	case st.Run != e.cfg.Run:
		e.n.Foreign++
		return
	case st.Channel != c.channel:
		e.n.Misrouted++
		return
	case int(st.Publisher) >= e.cfg.Talkers:
		e.n.Damaged++
		return
	}
	verdict := e.track.see(i*e.cfg.Talkers+int(st.Publisher), st.Seq)
	if st.Phase != e.talk.phase {
		e.n.Late++
		return
	}
	ch := &e.channels[c.channel]
	e.n.Received++
	ch.Received++
	switch verdict {
	case verdictDuplicate:
		e.n.Duplicated++
		ch.Duplicated++
		return
	case verdictReordered:
		e.n.OutOfOrder++
		ch.OutOfOrder++
	}
	e.n.LastArrival = e.now
	if !e.recovering {
		record(e.latency, e.now-st.At)
	}
}
