package history

import (
	"slices"
	"sort"
	"time"

	"throng/server/hub"
)

// entryOverhead is what a publication in memory costs beside its data: its place in the two lists, and its Meta.
const entryOverhead = 256

// tail is a stretch of a channel: every publication with an offset above base up to wherever its owner says. What was handed out
// is shared, so entries never change; removal cuts them off, and the next growth lets them go.
type tail struct {
	base  uint64
	bytes int
	pubs  []hub.Publication // by offset
	times []int64           // of storing, unix milliseconds
	used  int64             // Service.tick of the last use
}

func cost(p *hub.Publication) int { return len(p.Data) + entryOverhead }

func (t *tail) add(p hub.Publication, at int64) {
	t.pubs = append(t.pubs, p)
	t.times = append(t.times, at)
	t.bytes += cost(&p)
}

// drop cuts off the n oldest.
func (t *tail) drop(n int) {
	if n == 0 {
		return
	}
	for i := range t.pubs[:n] {
		t.bytes -= cost(&t.pubs[i])
	}
	t.base = max(t.base, t.pubs[n-1].Meta.Offset)
	t.pubs, t.times = t.pubs[n:], t.times[n:]
	if len(t.pubs) == 0 {
		t.pubs, t.times = nil, nil
	}
}

// index of the first publication beyond offset.
func (t *tail) index(offset uint64) int {
	return sort.Search(len(t.pubs), func(i int) bool { return t.pubs[i].Meta.Offset > offset })
}

// after is the part beyond offset.
func (t *tail) after(offset uint64) tail {
	i := t.index(offset)
	return tail{base: max(t.base, offset), pubs: slices.Clip(t.pubs[i:]), times: t.times[i:]}
}

// until cuts off what is beyond offset.
func (t *tail) until(offset uint64) tail {
	i := t.index(offset)
	return tail{base: t.base, pubs: t.pubs[:i], times: t.times[:i]}
}

// fresh leaves out what was stored before since, unix milliseconds, and says how many these were. Clocks of stores may step
// back, so it is not the first that counts.
func (t *tail) fresh(since int64) (tail, int) {
	old := 0
	for i, at := range t.times {
		if at < since {
			old = i + 1
		}
	}
	return tail{base: t.base, pubs: t.pubs[old:], times: t.times[old:]}, old
}

// last says whether the newest publication has this offset.
func (t *tail) last(offset uint64) bool {
	return len(t.pubs) > 0 && t.pubs[len(t.pubs)-1].Meta.Offset == offset
}

// keep appends a publication to the line's tail within all bounds. l.mu is held.
func (l *Line) keep(p hub.Publication, at int64) {
	v, t := l.v, &l.tail
	before := t.bytes
	p.Delta = nil
	t.add(p, at)
	t.used = v.tick.Load()
	if v.tailBytes.Load() > int64(v.cfg.TailBytes)/4*5 { // the sweeper is behind
		l.shorten(len(t.pubs) - 1)
	}
	l.fit()
	v.tailBytes.Add(int64(t.bytes - before))
}

// fit shortens the tail to the bounds of one line; the newest publication stays, which is what deltas are made against.
func (l *Line) fit() {
	t, c := &l.tail, &l.v.cfg
	n := max(len(t.pubs)-c.TailLen, 0)
	bytes := t.bytes
	for i := range t.pubs[:n] {
		bytes -= cost(&t.pubs[i])
	}
	for ; bytes > c.LineTailBytes && n < len(t.pubs)-1; n++ {
		bytes -= cost(&t.pubs[n])
	}
	l.shorten(n)
}

func (l *Line) shorten(n int) {
	if n > 0 {
		l.tail.drop(n)
		l.whole = false
	}
}

// forget empties the tail; it begins anew at base. l.mu is held.
func (l *Line) forget(base uint64) {
	l.v.tailBytes.Add(-int64(l.tail.bytes))
	l.tail = tail{base: base}
	l.whole = false
}

// replace puts t in the place of the tail, as much of it as fits. l.mu is held.
func (l *Line) replace(t tail, whole bool) {
	l.forget(t.base)
	l.whole = whole
	t.bytes = 0
	for i := range t.pubs {
		t.bytes += cost(&t.pubs[i])
	}
	t.used = l.v.tick.Load()
	t.pubs, t.times = slices.Clip(t.pubs), slices.Clip(t.times) // shared with answers: growth copies
	l.tail = t
	l.fit()
	l.v.tailBytes.Add(int64(l.tail.bytes))
}

// trimTails lets the least recently used lines give their tails up while all together are too large.
func (v *Service) trimTails() {
	if v.tailBytes.Load() <= int64(v.cfg.TailBytes) {
		return
	}
	type candidate struct {
		line *Line
		used int64
	}
	var all []candidate
	v.each(func(l *Line) {
		l.mu.Lock()
		if len(l.tail.pubs) > 0 {
			all = append(all, candidate{l, l.tail.used})
		}
		l.mu.Unlock()
	})
	slices.SortFunc(all, func(a, b candidate) int { return int(a.used - b.used) })
	for _, c := range all {
		if v.tailBytes.Load() <= int64(v.cfg.TailBytes)/10*9 {
			return
		}
		c.line.mu.Lock()
		if c.line.state == open || c.line.state == broken {
			c.line.forget(c.line.top)
			v.n.tailsGivenUp.Add(1)
		}
		c.line.mu.Unlock()
	}
}

func millis(t time.Time) int64 { return t.UnixMilli() }
