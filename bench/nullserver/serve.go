package nullserver

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"throng/server/wire"
)

func (s *Server) read(fd int32) {
	n, err := unix.Read(int(fd), s.buf)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n == 0 {
		s.shut(fd)
		return
	}
	p := s.buf[:n]
	if rest, ok := s.partial[fd]; ok {
		p = append(rest, p...)
		delete(s.partial, fd)
	}
	gen := s.peers[fd].gen
	for len(p) > 0 && s.alive(fd, gen) {
		used := s.take(fd, p)
		if used == 0 {
			break
		}
		p = p[used:]
	}
	if len(p) > 0 && s.alive(fd, gen) {
		s.partial[fd] = bytes.Clone(p)
	}
	s.fanOut()
}

func (s *Server) alive(fd int32, gen uint32) bool { return s.peers[fd].open && s.peers[fd].gen == gen }

// take reads one request head or one frame.
func (s *Server) take(fd int32, p []byte) int {
	if s.peers[fd].room < 0 {
		return s.takeRequest(fd, p)
	}
	return s.takeFrame(fd, p)
}

func (s *Server) takeRequest(fd int32, p []byte) int {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	head := p[:end]
	key, ok := header(head, "Sec-WebSocket-Key")
	if !ok {
		s.send(fd, []byte("HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
		s.shut(fd)
		return end + 4
	}
	accept := acceptOf(key)
	switch s.cfg.Faults.Upgrade {
	case UpgradeSilent:
		return end + 4
	case UpgradeReset:
		s.reset(fd)
		return end + 4
	case UpgradeEOF:
		s.shut(fd)
		return end + 4
	case UpgradeGarbage:
		s.send(fd, []byte("\x00\x01\x02 this is no HTTP\r\n\r\n"))
		return end + 4
	case UpgradeRefuse:
		s.send(fd, []byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
		s.shut(fd)
		return end + 4
	case UpgradeBadAccept:
		accept = acceptOf([]byte("another key"))
	}
	out := append([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "), accept...)
	out = append(out, "\r\n\r\n"...)
	if s.cfg.Faults.Upgrade != UpgradeMute {
		out = wire.AppendFrame(out, wire.OpText, []byte("Connected to server "+s.cfg.ID))
	}
	s.join(fd, roomOf(head))
	s.send(fd, out)
	return end + 4
}

func header(head []byte, name string) ([]byte, bool) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		k, v, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(k, []byte(name)) {
			return bytes.TrimSpace(v), true
		}
	}
	return nil, false
}

// roomOf reads ?room= of the request line.
func roomOf(head []byte) string {
	line, _, _ := bytes.Cut(head, []byte(" HTTP/"))
	_, room, ok := bytes.Cut(line, []byte("room="))
	if !ok {
		return "livechat"
	}
	room, _, _ = bytes.Cut(room, []byte("&"))
	return string(room)
}

// takeFrame reads one masked frame. Fragments are not joined: the bench's own
// clients send none.
func (s *Server) takeFrame(fd int32, p []byte) int {
	if len(p) < 6 {
		return 0
	}
	head, size := 2, int(p[1]&0x7f)
	switch size {
	case 126:
		size, head = int(binary.BigEndian.Uint16(p[2:])), 4
	case 127:
		if len(p) < 14 {
			return 0
		}
		size, head = int(binary.BigEndian.Uint64(p[2:])), 10
	}
	if p[1]&0x80 == 0 || size < 0 || size > pendingMax {
		s.shut(fd)
		return 0
	}
	if len(p) < head+4+size {
		return 0
	}
	key := [4]byte(p[head : head+4])
	body := p[head+4 : head+4+size]
	for i := range body {
		body[i] ^= key[i&3]
	}
	switch wire.Opcode(p[0] & 15) {
	case wire.OpText, wire.OpBinary:
		s.publish(s.peers[fd].room, body)
	case wire.OpPing:
		if !s.cfg.Faults.MutePong {
			s.send(fd, wire.AppendFrame(nil, wire.OpPong, body))
		}
	case wire.OpClose:
		s.send(fd, wire.AppendFrame(nil, wire.OpClose, body[:min(size, 2)]))
		s.shut(fd)
	}
	return head + 4 + size
}

// publish queues one message for everybody in the room, until the end of the read.
func (s *Server) publish(id int32, body []byte) {
	r := &s.rooms[id]
	if !r.dirty {
		r.dirty = true
		s.dirty = append(s.dirty, id)
	}
	at := len(r.pending)
	r.pending = wire.AppendFrameHeader(r.pending, wire.OpText, len(s.cfg.ID)+1+len(body))
	r.pending = append(r.pending, s.cfg.ID...)
	r.pending = append(r.pending, ':')
	r.pending = append(r.pending, body...)
	if s.cfg.Faults.perDelivery() {
		r.frames = append(r.frames, bytes.Clone(r.pending[at:]))
	}
}

// fanOut writes what this turn's messages are to the members of their rooms.
func (s *Server) fanOut() {
	for _, id := range s.dirty {
		r := &s.rooms[id]
		for k := len(r.members) - 1; k >= 0; k-- { // backwards: shut swaps the last one in
			if s.cfg.Faults.perDelivery() {
				s.sendFaulty(r.members[k], r.frames)
			} else {
				s.send(r.members[k], r.pending)
			}
		}
		r.pending, r.frames, r.dirty = r.pending[:0], nil, false
	}
	s.dirty = s.dirty[:0]
}

// send writes p to fd, keeping what the socket does not take.
func (s *Server) send(fd int32, p []byte) {
	if s.peers[fd].writer {
		s.owe(fd, p)
		return
	}
	n, err := unix.Write(int(fd), p)
	switch {
	case err == unix.EAGAIN:
		s.owe(fd, p)
	case err != nil:
		s.shut(fd)
	case n < len(p):
		s.owe(fd, p[n:])
	}
}

func (s *Server) owe(fd int32, p []byte) {
	s.owed[fd] = append(s.owed[fd], p...)
	if len(s.owed[fd]) > pendingMax {
		s.shut(fd)
		return
	}
	s.want(fd, true)
}

func (s *Server) want(fd int32, writer bool) {
	p := &s.peers[fd]
	if p.writer == writer {
		return
	}
	p.writer = writer
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd, Pad: int32(p.gen)}
	if writer {
		ev.Events |= unix.EPOLLOUT
	}
	if unix.EpollCtl(s.epfd, unix.EPOLL_CTL_MOD, int(fd), &ev) != nil {
		s.shut(fd)
	}
}

func (s *Server) flush(fd int32) {
	p := s.owed[fd]
	n, err := unix.Write(int(fd), p)
	if err == unix.EAGAIN {
		return
	}
	if err != nil {
		s.shut(fd)
		return
	}
	if n < len(p) {
		s.owed[fd] = p[n:]
		return
	}
	delete(s.owed, fd)
	s.want(fd, false)
}

func (s *Server) reset(fd int32) {
	_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	s.shut(fd)
}

func (s *Server) pingAll() {
	ping := wire.AppendFrame(nil, wire.OpPing, []byte("p"))
	for fd := range s.peers {
		if s.peers[fd].open && s.peers[fd].room >= 0 {
			s.send(int32(fd), ping)
		}
	}
}

// every says whether the count-th delivery is the one that n asks for.
func every(n, count int) bool { return n > 0 && count%n == 0 }

// sendFaulty delivers frame by frame and breaks what Faults ask for.
func (s *Server) sendFaulty(fd int32, frames [][]byte) {
	gen, f := s.peers[fd].gen, &s.cfg.Faults
	for _, frame := range frames {
		if !s.alive(fd, gen) {
			return
		}
		s.count++
		held, holding := s.stash[fd]
		switch {
		case every(f.DropEvery, s.count):
			continue
		case f.ResetAfter > 0 && s.count == f.ResetAfter:
			s.reset(fd)
			return
		case f.CloseAfter > 0 && s.count == f.CloseAfter:
			frame = wire.AppendCloseFrame(nil, wire.CloseRestart, "restart")
		case f.GarbageAfter > 0 && s.count == f.GarbageAfter:
			frame = []byte{0xff, 0xff, 0xff, 0xff}
		case every(f.MisrouteEvery, s.count):
			frame = misroute(frame)
		case every(f.SwapEvery, s.count) && !holding:
			s.stash[fd] = frame
			continue
		case every(f.DupEvery, s.count):
			frame = append(bytes.Clone(frame), frame...)
		}
		if holding {
			delete(s.stash, fd)
			frame = append(bytes.Clone(frame), held...)
		}
		s.send(fd, frame)
	}
}

// misroute is replaced by the tests' knowledge of the stamp: see Misroute.
func misroute(frame []byte) []byte {
	if Misroute == nil {
		return frame
	}
	return Misroute(bytes.Clone(frame))
}

// Misroute rewrites a frame so that it names another channel. Tests set it: this
// package does not know the stamp.
var Misroute func(frame []byte) []byte
