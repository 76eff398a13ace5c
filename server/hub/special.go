package hub

import "slices"

// Special is what a subscription needs beyond getting every batch as it is.
type Special struct {
	// Hold: nothing is sent before [Hub.Open]; what arrives meanwhile is kept. Such a subscription is positioned: its owner
	// vouches that it misses nothing, so it is the one that [Hub.Cut], and whatever else makes it miss something, ends.
	Hold bool
	// Filter chooses the publications it gets, nil: all. With one it never takes the fast path.
	Filter Filter
}

// special is a subscription that is not, or not yet, on the fast path. All but the filter is the shard's once the join is
// queued. The owner puts it into the Subscription itself, before the join is queued: a shard that still has a former membership
// of the same Subscription in its list must not take that for the new one, and send before the new one is opened.
type special struct {
	filter Filter
	after  uint64 // offsets up to here are skipped: the owner has told them
	held   *held  // nil: nothing yet
	state  state
	fresh  bool // the next publication must be sent without its delta
	passed bool // an offset above after was seen, or there is none to wait for
}

type state uint8

const (
	unjoined state = iota // the shard has not applied the join: it is not this one that is in the list
	holding
	opening // is open, and waits for the shard to send what was held; more is held until then
	opened
	isCut
)

// cutOff is the special of all that were cut. Constant, shared by all shards.
var cutOff = &special{state: isCut}

// marks are what the shard remembers of a membership.
type marks uint8

const (
	positioned marks = 1 << iota // was subscribed with Hold
	offPath                      // counted in Stats.Special
	shut                         // counted in Stats.Held
)

// held is what arrived before a subscription was opened.
type held struct {
	batches []*heldBatch
	count   int
	bytes   int
}

// heldBatch outlives its job for those that hold it, who share it and its frames.
type heldBatch struct {
	pubs   []Publication
	bytes  int
	frames frames
}

// toOpen is a subscription in state opening.
type toOpen struct {
	sub     *Subscription
	branch  *branch
	special *special
}

func newSpecial(e Encoding, needs Special) *special {
	if !needs.Hold && needs.Filter == nil && !e.deltas() {
		return nil
	}
	return &special{filter: needs.Filter, fresh: e.deltas()}
}

// join applies a join. Without Hold nothing was told before, so there is no offset to skip.
func (sh *shard) join(o *op) {
	o.branch.join(o.sub)
	o.sub.marks = 0
	switch {
	case o.special == nil:
		return
	case o.hold:
		o.special.state = holding
		o.sub.marks = positioned | shut
		sh.held.Add(1)
	default:
		o.special.state, o.special.passed = opened, true
	}
	o.sub.marks |= offPath
	sh.special.Add(1)
}

func (sh *shard) leave(o *op) {
	s := o.sub
	o.branch.leave(s)
	if sp := s.special.Load(); sp != nil && sp.state != unjoined {
		s.special.CompareAndSwap(sp, nil) // else its next membership has begun
	}
	sh.unmark(s, ^marks(0))
}

// unmark takes marks back, and out of the levels they count in.
func (sh *shard) unmark(s *Subscription, m marks) {
	m &= s.marks
	s.marks &^= m
	if m&offPath != 0 {
		sh.special.Add(-1)
	}
	if m&shut != 0 {
		sh.held.Add(-1)
	}
}

// open applies Open. What was held is sent in a turn, whose length is bounded.
func (sh *shard) open(o *op) {
	s := o.sub
	sp := s.special.Load()
	if sp == nil || sp.state != holding {
		return // left or cut meanwhile, or open already
	}
	sh.unmark(s, shut)
	sp.after, sp.passed = o.after, o.after == 0
	sp.fresh = o.whole && s.Encoding.deltas()
	if sp.held == nil {
		sp.state = opened
		sh.relax(s, sp)
		return
	}
	sp.state = opening
	sh.opening = append(sh.opening, toOpen{s, o.branch, sp})
}

// openSome sends what was held to subscriptions that were opened, until about limit batches were looked at.
func (sh *shard) openSome(limit int) {
	n := 0
	for ; n < len(sh.opening) && limit > 0; n++ {
		limit -= 1 + sh.sendHeld(&sh.opening[n])
	}
	clear(sh.opening[:n])
	sh.opening = sh.opening[n:]
	if len(sh.opening) == 0 {
		sh.opening = nil
	}
}

func (sh *shard) sendHeld(o *toOpen) (batches int) {
	s, sp := o.sub, o.special
	if s.special.Load() != sp || s.branch.Load() != o.branch {
		return 0
	}
	h := sp.held
	sp.held, sp.state = nil, opened
	ok := sh.protect(func() {
		for _, b := range h.batches {
			sh.sendPart(s, sp, b.pubs, &b.frames)
		}
	})
	if ok {
		sh.relax(s, sp)
	} else {
		sh.lostPanic.Add(uint64(h.count))
		sh.protect(func() { sh.cut(s) })
	}
	return len(h.batches)
}

// sendSpecial gives the batch of j to a subscription that is not on the fast path.
func (sh *shard) sendSpecial(j *job, s *Subscription, sp *special) {
	switch sp.state {
	case holding, opening:
		sh.hold(j, s, sp)
	case opened:
		sh.sendPart(s, sp, j.pubs[:j.batch], &j.frames)
		sh.relax(s, sp)
	}
}

func (sh *shard) hold(j *job, s *Subscription, sp *special) {
	if j.kept == nil {
		j.kept = &heldBatch{pubs: slices.Clone(j.pubs[:j.batch])}
		for i := range j.kept.pubs {
			j.kept.bytes += j.kept.pubs[i].size()
		}
	}
	if sp.held == nil {
		sp.held = new(held)
	}
	h := sp.held
	h.count += j.batch
	h.bytes += j.kept.bytes
	if h.count > sh.cfg.HoldLen || h.bytes > sh.cfg.HoldBytes {
		sh.overflows.Add(1)
		sh.cut(s)
		return
	}
	h.batches = append(h.batches, j.kept)
}

// relax puts s on the fast path if nothing is special about it any more.
func (sh *shard) relax(s *Subscription, sp *special) {
	if sp.filter == nil && !sp.fresh && sp.passed && s.special.CompareAndSwap(sp, nil) {
		sh.unmark(s, offPath)
	}
}

// cut ends what s gets and tells its owner.
func (sh *shard) cut(s *Subscription) {
	sp := s.special.Load()
	if sp != nil && (sp.state == unjoined || sp.state == isCut) || !s.special.CompareAndSwap(sp, cutOff) {
		return
	}
	sh.unmark(s, shut|offPath)
	sh.cuts.Add(1)
	if sh.cfg.OnCut != nil {
		sh.cfg.OnCut(s)
	}
}

// cutSome cuts the positioned among the receivers of j before stop.
func (sh *shard) cutSome(j *job, stop int) {
	for _, s := range j.branch.subs[j.cursor:stop] {
		j.cursor++
		if s.marks&positioned != 0 && s.branch.Load() == j.branch {
			sh.cut(s)
		}
	}
}
