package hub

import (
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// shard is one goroutine that owns connections: the lists of their subscriptions and the fan-out to them.
type shard struct {
	cfg  *Config
	mail mailbox

	// The goroutine's own.
	in      taken
	runq    jobQueue
	opening []toOpen     // wait for what they held
	dirty   []Subscriber // got a frame in this turn; bounded like it
	scratch []byte       // frames are encoded here and copied out at their exact size
	taken   []bool       // which publications of a batch a special subscription takes
	tally   tally
	free    *job
	long    []fanout // batches finished in this turn that began in an earlier one

	batches     atomic.Uint64
	frames      atomic.Uint64
	deliveries  atomic.Uint64
	bytes       atomic.Uint64
	turns       atomic.Uint64
	subscribers atomic.Int64
	special     atomic.Int64
	held        atomic.Int64
	cuts        atomic.Uint64
	overflows   atomic.Uint64
	filtered    atomic.Uint64
	panics      atomic.Uint64
	lostPanic   atomic.Uint64
}

// tally is what was sent in one slice: batches as they are, and parts of some, with so many publications.
type tally struct{ sends, parts, publications, bytes int }

type fanout struct {
	began       time.Time
	subscribers int
}

func newShard(cfg *Config) *shard {
	sh := &shard{cfg: cfg}
	sh.mail.init(cfg)
	return sh
}

func (sh *shard) run() {
	for sh.mail.take(&sh.in, sh.runq.empty() && len(sh.opening) == 0) {
		sh.cycle()
	}
	sh.mail.abandon()
}

// cycle does what was taken from the mailbox, control first, and one turn of fan-out.
func (sh *shard) cycle() {
	idle := sh.runq.empty()
	sh.apply()
	if idle && sh.cfg.GatherDelay > 0 && sh.runq.largest() >= sh.cfg.GatherSubscribers {
		// What was published together arrives apart by microseconds; without this pause the first message of a burst would be
		// written to everybody alone.
		time.Sleep(sh.cfg.GatherDelay)
		if sh.mail.take(&sh.in, false) {
			sh.apply()
		}
	}
	if !sh.runq.empty() || len(sh.opening) > 0 {
		sh.turn()
	}
}

// apply changes the lists as the taken control operations say and gives the taken publications to their channels' jobs.
func (sh *shard) apply() {
	grown := 0
	for i := range sh.in.control {
		switch o := &sh.in.control[i]; o.kind {
		case opJoin:
			sh.join(o)
			grown++
		case opLeave:
			sh.leave(o)
			grown--
		case opOpen:
			sh.open(o)
		}
	}
	sh.subscribers.Add(int64(grown))
	for i := range sh.in.queue {
		d := &sh.in.queue[i]
		j := d.branch.job
		if j == nil {
			j = sh.newJob(d.branch)
			sh.runq.push(j)
		}
		j.pubs = append(j.pubs, d.pub)
	}
}

// turn gives waiting channels their slices until the budget is used up, then flushes every subscriber it made dirty, once.
// Openings have half as much for themselves: neither they nor channels wait for one another.
func (sh *shard) turn() {
	start := time.Now()
	if len(sh.opening) > 0 {
		sh.openSome((sh.cfg.TurnSubscribers + 1) / 2)
		sh.count(0)
	}
	short := 0 // subscribers of batches that begin and end in this turn
	for budget := sh.cfg.TurnSubscribers; budget > 0 && !sh.runq.empty(); {
		j := sh.runq.pop()
		if j.batch == 0 {
			sh.begin(j, start)
		}
		// A batch costs one too, or a turn over channels without subscribers had no bound.
		budget -= sh.slice(j, budget) + 1
		if j.cursor < j.end {
			j.spans = true
			sh.runq.push(j)
			continue
		}
		if j.spans && j.sent > 0 {
			sh.long = append(sh.long, fanout{j.began, j.sent})
		} else {
			short += j.sent
		}
		sh.finish(j)
	}
	sh.flush()
	sh.turns.Add(1)
	sh.report(start, short)
}

func (sh *shard) flush() {
	for i := 0; i < len(sh.dirty); {
		sh.protect(func() {
			for i < len(sh.dirty) {
				i++
				sh.dirty[i-1].Flush()
			}
		})
	}
	clear(sh.dirty)
	sh.dirty = sh.dirty[:0]
}

func (sh *shard) report(start time.Time, short int) {
	if sh.cfg.OnFanout != nil {
		if short > 0 {
			sh.cfg.OnFanout(time.Since(start), short)
		}
		for _, f := range sh.long {
			sh.cfg.OnFanout(time.Since(f.began), f.subscribers)
		}
	}
	sh.long = sh.long[:0]
}

// begin chooses the publications of the next batch, and its receivers: those that are in the list now.
func (sh *shard) begin(j *job, now time.Time) {
	j.end = len(j.branch.subs)
	j.began = now
	j.frames.torn = j.branch.torn
	if j.pubs[0].Meta == cutMark {
		j.batch, j.cutting = 1, true
		return
	}
	size := 0
	for i := range j.pubs {
		p := &j.pubs[i]
		size += p.size()
		if j.batch > 0 && (size > sh.cfg.BatchBytes || p.Meta == cutMark) {
			break
		}
		j.batch++
	}
	sh.batches.Add(1)
}

// slice gives the batch of j to at most limit more of its receivers and says to how many.
func (sh *shard) slice(j *job, limit int) int {
	from := j.cursor
	stop := min(j.end, from+limit)
	if j.cutting {
		sh.protect(func() { sh.cutSome(j, stop) })
		return j.cursor - from
	}
	if !sh.protect(func() { sh.fan(j, stop) }) {
		// From the one at which it happened on, nobody gets this batch. Those who must not miss any are told.
		j.cursor--
		j.cutting = true
		j.frames.torn = allDeltaBits
		sh.lostPanic.Add(uint64(j.batch))
	}
	j.sent += sh.tally.sends + sh.tally.parts
	sh.count(j.batch)
	return j.cursor - from
}

// fan sends the batch of j to its receivers before stop.
func (sh *shard) fan(j *job, stop int) {
	from := j.cursor
	for i, s := range j.branch.subs[from:stop] {
		j.cursor = from + i + 1
		if s.branch.Load() != j.branch {
			continue // has left, or not quite come: nothing must follow the answer to an unsubscribe
		}
		if sp := s.special.Load(); sp != nil {
			sh.sendSpecial(j, s, sp)
			continue
		}
		frame := j.frames.all[s.Encoding]
		if frame == nil {
			if frame = sh.build(j.pubs[:j.batch], &j.frames, s.Encoding); len(frame) == 0 {
				continue
			}
		}
		sh.tally.sends++
		sh.tally.bytes += len(frame)
		if s.Sub.Send(frame) {
			sh.dirty = append(sh.dirty, s.Sub)
		}
	}
}

// count moves the tally of a batch of so many publications to the counters.
func (sh *shard) count(batch int) {
	sh.deliveries.Add(uint64(sh.tally.sends*batch + sh.tally.publications))
	sh.bytes.Add(uint64(sh.tally.bytes))
	sh.tally = tally{}
}

// protect calls f, which calls what others wrote. A panic of theirs must not end the node.
func (sh *shard) protect(f func()) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			sh.panics.Add(1)
			if sh.cfg.OnPanic != nil {
				sh.cfg.OnPanic(v, debug.Stack())
			}
		}
	}()
	f()
	return true
}

// finish ends the batch of j; j goes to the end of the queue if more publications wait, else back to the free list.
func (sh *shard) finish(j *job) {
	for i := range j.pubs[:j.batch] {
		sh.in.releasedBytes += j.pubs[i].size()
	}
	sh.in.released += j.batch
	j.branch.queued.Add(int32(-j.batch))
	j.pubs = slices.Delete(j.pubs, 0, j.batch)
	j.branch.torn = j.frames.torn
	j.batch, j.cursor, j.end, j.sent = 0, 0, 0, 0
	j.frames, j.kept, j.cutting, j.spans = frames{}, nil, false, false
	if len(j.pubs) > 0 {
		sh.runq.push(j)
		return
	}
	j.branch.job = nil
	j.branch = nil
	if cap(j.pubs) > keepPubs {
		j.pubs = nil
	}
	j.next, sh.free = sh.free, j
}

func (sh *shard) addTo(s *Stats) {
	s.Batches += sh.batches.Load()
	s.Frames += sh.frames.Load()
	s.Deliveries += sh.deliveries.Load()
	s.Bytes += sh.bytes.Load()
	s.Turns += sh.turns.Load()
	s.Subscribers += int(sh.subscribers.Load())
	s.Special += int(sh.special.Load())
	s.Held += int(sh.held.Load())
	s.Cuts += sh.cuts.Load()
	s.HoldOverflows += sh.overflows.Load()
	s.Filtered += sh.filtered.Load()
	s.Panics += sh.panics.Load()
	s.LostPanic += sh.lostPanic.Load()
	sh.mail.mu.Lock()
	defer sh.mail.mu.Unlock()
	s.LostClosed += sh.mail.lost
	s.MailboxDepth += sh.mail.depth
	s.ControlDepth += len(sh.mail.control)
}
