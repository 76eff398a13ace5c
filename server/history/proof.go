package history

// facts are what the store says about a channel. They must not be older than the messages they are used with: a message that is
// still stored proves that nothing after it had been removed.
type facts struct {
	since       uint64
	sinceStored bool   // the message with offset since is stored
	oldest      uint64 // offset of the oldest stored message, 0: none
	count       int    // messages stored
	first       uint64 // oldest stored message of the whole stream, last + 1 if there is none
	size        int    // the namespace keeps size + 1 messages of a channel
	removed     uint64 // the last offset that any mark of removal beyond since tells of, 0: none
	mark        bool   // the oldest stored message is such a mark, and removed is what it tells
}

// provable is the lowest position, not below since, after which nothing of the channel was removed: a client at or beyond it
// has missed nothing but what is stored. Of one below it that cannot be said.
//
// Messages of a channel are removed oldest first, by three limits and by marks of removal:
//
//   - A stored message proves that nothing after it was removed, and with it the position just before it.
//   - If nothing of the whole stream beyond a position was removed by age or size, and the channel is below its limit, then
//     nothing beyond it was removed by the channel's limit either.
//   - A mark removes everything up to the offset it tells, on purpose, whatever else is still stored.
func (f *facts) provable() uint64 {
	low := f.since
	if !f.sinceStored && (f.oldest == 0 || f.oldest > f.since) {
		low = f.lowest()
	}
	return max(low, f.since, f.removed)
}

// lowest regards the limits alone, of a channel without a message at or below since.
func (f *facts) lowest() uint64 {
	low := uint64(1<<64 - 1)
	if f.oldest > 0 {
		low = f.oldest - 1
		if f.mark {
			low = f.removed
		}
	}
	if f.count <= f.size && f.first > 0 {
		low = min(low, f.first-1)
	}
	return low
}
