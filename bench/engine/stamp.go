package engine

import "bytes"

// StampLen is the least payload in bytes: each published message starts with one
// stamp, the rest is padding.
//
// Layout, all lower-case hexadecimal but the marker and the phase:
//
//	"~T1" run(4) channel(8) publisher(4) sequence(8) time(16) phase(1) check(4)
//
// Only characters that are the same in plain text, JSON strings and Protobuf
// bytes are used, so one scanner finds the stamp in every dialect.
const StampLen = 48

const stampChecked = StampLen - 4 // bytes covered by the check

var stampMarker = []byte("~T1")

// Phases a message can belong to.
const (
	PhaseWarm     = 'w' // counted apart, never in a latency histogram
	PhaseMeasured = 'm'
)

// Stamp is what a message says about itself.
type Stamp struct {
	Run       uint16 // which bench run: messages of another run are foreign
	Publisher uint16 // index of the talker inside its channel
	Channel   uint32
	Seq       uint32 // per channel and publisher, from 0
	Phase     byte
	At        int64 // intended send time, Clock nanoseconds
}

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>uint(shift)&15])
	}
	return dst
}

// unhex maps a digit to its value, everything else to 0xff.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range hexDigits {
		t[hexDigits[i]] = byte(i)
	}
	return t
}()

func parseHex(p []byte) (v uint64, ok bool) {
	var bad byte
	for _, c := range p {
		d := unhex[c]
		bad |= d
		v = v<<4 | uint64(d&15)
	}
	return v, bad < 16
}

// sum16 folds FNV-1a over p into 16 bits: a stamp torn by a server's framing
// error must not pass as a delivery.
func sum16(p []byte) uint64 {
	h := uint32(2166136261)
	for _, c := range p {
		h = (h ^ uint32(c)) * 16777619
	}
	return uint64(h>>16 ^ h&0xffff)
}

// AppendStamp appends s and padding up to size bytes (at least StampLen).
func AppendStamp(dst []byte, s *Stamp, size int) []byte {
	at := len(dst)
	dst = append(dst, stampMarker...)
	dst = appendHex(dst, uint64(s.Run), 4)
	dst = appendHex(dst, uint64(s.Channel), 8)
	dst = appendHex(dst, uint64(s.Publisher), 4)
	dst = appendHex(dst, uint64(s.Seq), 8)
	dst = appendHex(dst, uint64(s.At), 16)
	dst = append(dst, s.Phase)
	dst = appendHex(dst, sum16(dst[at:]), 4)
	for n := size - StampLen; n > 0; n-- {
		dst = append(dst, 'x')
	}
	return dst
}

// FindStamp looks for the next stamp in p and stores it in s. next is where to
// search on. found without ok is a stamp that is cut or damaged.
func FindStamp(p []byte, s *Stamp) (next int, found, ok bool) {
	i := bytes.Index(p, stampMarker)
	if i < 0 {
		return len(p), false, false
	}
	if len(p)-i < StampLen {
		return len(p), true, false
	}
	ok = parseStamp(p[i:i+StampLen], s)
	return i + StampLen, true, ok
}

func parseStamp(p []byte, s *Stamp) bool {
	run, ok1 := parseHex(p[3:7])
	channel, ok2 := parseHex(p[7:15])
	publisher, ok3 := parseHex(p[15:19])
	seq, ok4 := parseHex(p[19:27])
	at, ok5 := parseHex(p[27:43])
	check, ok6 := parseHex(p[stampChecked:])
	s.Run, s.Channel, s.Publisher = uint16(run), uint32(channel), uint16(publisher)
	s.Seq, s.At, s.Phase = uint32(seq), int64(at), p[43]
	return ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && check == sum16(p[:stampChecked])
}
