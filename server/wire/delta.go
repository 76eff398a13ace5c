package wire

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"unicode/utf8"
)

// Bounds of what one delta may cost, however hostile the data; BenchmarkDelta has figures.
const (
	// MaxDeltaBytes is the size of a publication, bytes, from which on none is made, nor against a larger one. Above, the
	// worst case takes milliseconds on a goroutine that other publications wait for, and memory grows with it.
	MaxDeltaBytes = 128 << 10
	// deltaWindow is how many bytes are looked up at once, and how far apart those of the previous publication are that can
	// be found: every part of 15 equal bytes is. One machine word, and no rolling hash; shorter parts are hardly worth a copy.
	deltaWindow = 8
	// deltaCandidates is how many places of the same hash are compared: equal bytes elsewhere may be missed, but a publication
	// of one repeated word, or of chosen collisions, costs this factor and no more.
	deltaCandidates = 8
)

// Delta is what to send instead of data to a subscriber that has previous, in the Fossil format; nil where it would not be
// smaller than data, where either is longer than MaxDeltaBytes, and where data is JSON and previous is not, since JSON
// clients have never seen that one. Where data is UTF-8, so is the delta: no character is cut, and it can be sent as a JSON
// string, StringData.
//
// Both are only read; the result is new and belongs to the caller. Time is linear in the lengths; besides the result it
// allocates nothing but pooled memory, about four times MaxDeltaBytes at most for each one working.
//
// Source: centrifuge-protocol.md, 13; fossil-scm.org/home/doc/trunk/www/delta_format.wiki.
func Delta(previous, data []byte) []byte {
	if min(len(previous), len(data)) < deltaWindow || max(len(previous), len(data)) > MaxDeltaBytes {
		return nil
	}
	m := deltaMakers.Get().(*deltaMaker)
	defer deltaMakers.Put(m)
	m.previous, m.data, m.text = previous, data, utf8.Valid(data)
	m.out = m.out[:0]
	m.index()
	small := m.write()
	m.previous, m.data = nil, nil
	if !small || !ValidJSON(previous) && ValidJSON(data) {
		return nil
	}
	return append(make([]byte, 0, len(m.out)), m.out...)
}

// deltaMakers keeps the memory of deltaMaker.
var deltaMakers = sync.Pool{New: func() any { return new(deltaMaker) }}

// deltaMaker finds in previous what data repeats. Only every deltaWindow-th place of previous is indexed.
type deltaMaker struct {
	previous, data []byte
	text           bool // data is UTF-8 and the delta has to be

	heads []int32 // by hash: the first window of it plus one, 0 = none
	next  []int32 // by window: the next of the same hash plus one
	shift uint8   // from a hash to its place in heads
	out   []byte
}

// index takes the windows from the last to the first, so that the candidates come in the order in which a repetition runs
// on longest.
func (m *deltaMaker) index() {
	windows := len(m.previous) / deltaWindow
	log := bits.Len(uint(windows)) + 1 // at most half full: a look-up that finds nothing is what happens most
	m.shift = uint8(64 - log)
	m.heads = zeroed(m.heads, 1<<log)
	m.next = zeroed(m.next, windows)
	for w := windows - 1; w >= 0; w-- {
		h := m.hash(window(m.previous[w*deltaWindow:]))
		m.next[w] = m.heads[h]
		m.heads[h] = int32(w + 1)
	}
}

func zeroed(p []int32, n int) []int32 {
	if cap(p) < n {
		return make([]int32, n)
	}
	p = p[:n]
	clear(p)
	return p
}

func window(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// hash is Fibonacci hashing of one window.
func (m *deltaMaker) hash(w uint64) uint64 { return w * 0x9e3779b97f4a7c15 >> (m.shift & 63) }

// match is a part of data, from at on, that stands in previous.
type match struct{ at, from, length int }

// write makes out the delta. False: it has grown to the length of data, and was given up.
func (m *deltaMaker) write() bool {
	m.out = append(appendFossilInt(m.out, uint32(len(m.data))), '\n')
	done := 0 // what comes before is written
	for i := 0; i+deltaWindow <= len(m.data); {
		best := m.find(done, i)
		if best.length == 0 {
			i++
			continue
		}
		m.insert(done, best.at)
		m.out = append(appendFossilInt(m.out, uint32(best.length)), '@')
		m.out = append(appendFossilInt(m.out, uint32(best.from)), ',')
		done = best.at + best.length
		i = done
		if len(m.out) >= len(m.data) {
			return false
		}
	}
	m.insert(done, len(m.data))
	m.out = append(appendFossilInt(m.out, fossilChecksum(m.data)), ';')
	return len(m.out) < len(m.data)
}

// insert writes data[from:to] as it is.
func (m *deltaMaker) insert(from, to int) {
	if from == to {
		return
	}
	m.out = append(appendFossilInt(m.out, uint32(to-from)), ':')
	m.out = append(m.out, m.data[from:to]...)
}

// find returns the longest part of data that a copy of the window at i grows to, not before done, or none that would save
// anything.
func (m *deltaMaker) find(done, i int) (best match) {
	w := window(m.data[i:])
	candidate := m.heads[m.hash(w)]
	for n := 0; candidate > 0 && n < deltaCandidates; n++ {
		at := int(candidate-1) * deltaWindow
		candidate = m.next[candidate-1]
		if window(m.previous[at:]) != w {
			continue // another one of the same hash
		}
		found := m.grow(done, i, at)
		// Digits of the two numbers, their two signs, and the head of one more insert.
		cost := fossilDigits(found.length) + fossilDigits(found.from) + fossilDigits(i-done) + 3
		if found.length > max(best.length, cost) {
			best = found
		}
	}
	return best
}

// grow extends equality of data at i and previous at p both ways, and back to whole characters.
func (m *deltaMaker) grow(done, i, p int) match {
	length := equalBytes(m.data[i:], m.previous[p:])
	start := i
	for start > done && p > 0 && m.data[start-1] == m.previous[p-1] {
		start--
		p--
	}
	end := i + length
	for m.text && start < end && !utf8.RuneStart(m.data[start]) {
		start++
		p++
	}
	for m.text && start < end && end < len(m.data) && !utf8.RuneStart(m.data[end]) {
		end--
	}
	return match{at: start, from: p, length: end - start}
}

// equalBytes counts the bytes that a and b begin with alike.
func equalBytes(a, b []byte) int {
	limit := min(len(a), len(b))
	a, b = a[:limit], b[:limit]
	n := 0
	for ; n+8 <= limit; n += 8 {
		if d := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); d != 0 {
			return n + bits.TrailingZeros64(d)/8
		}
	}
	for n < limit && a[n] == b[n] {
		n++
	}
	return n
}

const fossilAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"

// appendFossilInt appends v in base 64, most significant digit first.
func appendFossilInt(dst []byte, v uint32) []byte {
	for n := fossilDigits(int(v)) - 1; n >= 0; n-- {
		dst = append(dst, fossilAlphabet[v>>(6*n)&63])
	}
	return dst
}

func fossilDigits(v int) int { return max(1, (bits.Len(uint(v))+5)/6) }

// fossilChecksum is the sum of p as 32-bit words, the highest byte first and the last word filled up with zeros.
func fossilChecksum(p []byte) (sum uint32) {
	for ; len(p) >= 4; p = p[4:] {
		sum += binary.BigEndian.Uint32(p)
	}
	var last [4]byte
	copy(last[:], p)
	return sum + binary.BigEndian.Uint32(last[:])
}
