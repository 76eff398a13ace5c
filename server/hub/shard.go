package hub

import (
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
	dirty   []Subscriber // got a frame in this turn; at most TurnSubscribers
	scratch []byte       // frames are encoded here and copied out at their exact size
	free    *job
	long    []fanout // batches finished in this turn that began in an earlier one

	batches     atomic.Uint64
	frames      atomic.Uint64
	deliveries  atomic.Uint64
	bytes       atomic.Uint64
	turns       atomic.Uint64
	subscribers atomic.Int64
}

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
	for sh.mail.take(&sh.in, sh.runq.empty()) {
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
	if !sh.runq.empty() {
		sh.turn()
	}
}

// apply changes the lists as the taken control operations say and gives the taken publications to their channels' jobs.
func (sh *shard) apply() {
	grown := 0
	for _, o := range sh.in.control {
		if o.join {
			o.branch.join(o.sub)
			grown++
		} else {
			o.branch.leave(o.sub)
			grown--
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
func (sh *shard) turn() {
	start := time.Now()
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
		if j.spans {
			sh.long = append(sh.long, fanout{j.began, j.sent})
		} else {
			short += j.sent
		}
		sh.finish(j)
	}
	for _, s := range sh.dirty {
		s.Flush()
	}
	clear(sh.dirty)
	sh.dirty = sh.dirty[:0]
	sh.turns.Add(1)
	sh.report(start, short)
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
	size := 0
	for i := range j.pubs {
		size += len(j.pubs[i].Data)
		if j.batch > 0 && size > sh.cfg.BatchBytes {
			break
		}
		j.batch++
	}
	j.end = len(j.branch.subs)
	j.began = now
	sh.batches.Add(1)
}

// slice sends the batch of j to at most limit more of its receivers and says to how many.
func (sh *shard) slice(j *job, limit int) int {
	stop := min(j.end, j.cursor+limit)
	sent, bytes := 0, 0
	for _, s := range j.branch.subs[j.cursor:stop] {
		if s.branch.Load() != j.branch {
			continue // has left, or not quite come: nothing must follow the answer to an unsubscribe
		}
		frame := j.frames[s.Encoding]
		if frame == nil {
			if frame = sh.build(j, s.Encoding); len(frame) == 0 {
				continue
			}
		}
		sent++
		bytes += len(frame)
		if s.Sub.Send(frame) {
			sh.dirty = append(sh.dirty, s.Sub)
		}
	}
	n := stop - j.cursor
	j.cursor = stop
	j.sent += sent
	sh.deliveries.Add(uint64(sent * j.batch))
	sh.bytes.Add(uint64(bytes))
	return n
}

// build makes the joined frames of the batch in one encoding: the fan-out's only allocation.
func (sh *shard) build(j *job, e Encoding) []byte {
	if j.silent&(1<<e) != 0 {
		return nil
	}
	dst := sh.scratch[:0]
	for i := range j.pubs[:j.batch] {
		if p := &j.pubs[i]; e.takes(p) {
			dst = sh.cfg.Encoders[e](dst, p)
		}
	}
	sh.scratch = dst
	if cap(dst) > 2*sh.cfg.BatchBytes {
		sh.scratch = nil
	}
	if len(dst) == 0 {
		j.silent |= 1 << e
		return nil
	}
	sh.frames.Add(1)
	j.frames[e] = append(make([]byte, 0, len(dst)), dst...)
	return j.frames[e]
}

// finish ends the batch of j; j goes to the end of the queue if more publications wait, else back to the free list.
func (sh *shard) finish(j *job) {
	for i := range j.pubs[:j.batch] {
		sh.in.releasedBytes += len(j.pubs[i].Data)
	}
	sh.in.released += j.batch
	j.branch.queued.Add(int32(-j.batch))
	j.pubs = slices.Delete(j.pubs, 0, j.batch)
	j.batch, j.cursor, j.end, j.sent = 0, 0, 0, 0
	j.frames, j.silent, j.spans = [numEncodings][]byte{}, 0, false
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
	sh.mail.mu.Lock()
	defer sh.mail.mu.Unlock()
	s.LostClosed += sh.mail.lost
	s.MailboxDepth += sh.mail.depth
	s.ControlDepth += len(sh.mail.control)
}
