package engine

// verdict says what a sequence number tells about the stream it belongs to.
type verdict uint8

const (
	verdictFresh     verdict = iota // the expected one, or one behind a gap
	verdictReordered                // first arrival, but after a later one
	verdictDuplicate                // seen before
)

// trackWindow is how far back, in messages, a duplicate can be told from a late
// first arrival. A message later than that counts as reordered.
const trackWindow = 64

// trackers follow one sequence per (connection, publisher) in 12 bytes: the next
// expected number and one bit for each of the trackWindow numbers before it.
// Owned by the loop.
type trackers struct {
	next []uint32
	mask []uint64
}

func newTrackers(n int) trackers {
	return trackers{next: make([]uint32, n), mask: make([]uint64, n)}
}

// see records the arrival of seq at row k.
func (t *trackers) see(k int, seq uint32) verdict {
	next := t.next[k]
	if seq >= next {
		shift := seq - next + 1
		if shift >= trackWindow {
			t.mask[k] = 1
		} else {
			t.mask[k] = t.mask[k]<<shift | 1
		}
		t.next[k] = seq + 1
		return verdictFresh
	}
	back := next - 1 - seq
	if back >= trackWindow {
		return verdictReordered
	}
	bit := uint64(1) << back
	if t.mask[k]&bit != 0 {
		return verdictDuplicate
	}
	t.mask[k] |= bit
	return verdictReordered
}

// forget makes row k as new, for a connection that was opened again.
func (t *trackers) forget(k int) { t.next[k], t.mask[k] = 0, 0 }
