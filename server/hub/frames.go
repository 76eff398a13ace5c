package hub

import "math/bits"

// frames are the wire forms of one batch, made when the first receiver needs them.
type frames struct {
	all   [numEncodings][]byte // of the whole batch; what the fast path sends
	built uint16               // encodings whose all is made, even if it is empty
	// Encodings of deltas whose receivers were not sent the last publication before the batch or, once built, the last in it:
	// the next one must be without its delta.
	torn  uint16
	parts map[part]partFrame
}

// part is a batch as some special subscriptions get it.
type part struct {
	taken    uint64 // a bit per publication
	encoding Encoding
	deltas   deltaUse
}

type partFrame struct {
	frame []byte
	torn  bool
}

// deltaUse says which publications are encoded with their delta.
type deltaUse uint8

const (
	allDeltas    deltaUse = iota
	notTheFirst           // the receiver has not got the publication before the batch
	noDeltas              // the receiver misses publications between
	maxParts     = 64     // kept for others per batch; more different ones are made for one receiver each
	allDeltaBits = 1<<EncodingJSONDelta | 1<<EncodingJSONDeltaJoins | 1<<EncodingProtobufDelta | 1<<EncodingProtobufDeltaJoins
)

// sendPart gives s what it takes of pubs, whose frames f are.
func (sh *shard) sendPart(s *Subscription, sp *special, pubs []Publication, f *frames) {
	e := s.Encoding
	waits := !sp.passed
	n := sh.choose(sp, pubs)
	if n == 0 {
		return
	}
	use := allDeltas
	switch {
	case !e.deltas():
	case sp.filter != nil, waits && !sh.startsInStream(pubs):
		use = noDeltas
	case sp.fresh:
		use = notTheFirst
	}
	var frame []byte
	torn := false
	if n == len(pubs) && use == allDeltas {
		frame = f.all[e]
		if frame == nil {
			frame = sh.build(pubs, f, e)
		}
		torn = f.torn&(1<<e) != 0
	} else {
		frame, torn = sh.buildPart(pubs, f, e, use)
	}
	sp.fresh = torn
	if len(frame) == 0 {
		return
	}
	sh.tally.parts++
	sh.tally.publications += n
	sh.tally.bytes += len(frame)
	if s.Sub.Send(frame) {
		sh.dirty = append(sh.dirty, s.Sub)
	}
}

// choose notes in sh.taken which of pubs a subscription takes, and says how many.
func (sh *shard) choose(sp *special, pubs []Publication) (n int) {
	sh.taken = sh.taken[:0]
	filtered := 0
	for i := range pubs {
		p := &pubs[i]
		take := true
		if p.Meta != nil && p.Meta.Offset != 0 {
			take = p.Meta.Offset > sp.after
			sp.passed = sp.passed || take
		}
		if take && sp.filter != nil && p.isMessage() && !sp.filter.Match(p.tags()) {
			take = false
			filtered++
		}
		if take {
			n++
		}
		sh.taken = append(sh.taken, take)
	}
	if filtered > 0 {
		sh.filtered.Add(uint64(filtered))
	}
	return n
}

// startsInStream: the first message taken is of a stream. One that is not, and comes to a subscription that waits for the first
// offset it was not told, is out of the order in which deltas were made.
func (sh *shard) startsInStream(pubs []Publication) bool {
	for i, take := range sh.taken {
		if p := &pubs[i]; take && p.isMessage() {
			return p.Meta != nil && p.Meta.Offset != 0
		}
	}
	return true
}

// build makes the joined frames of a batch in one encoding: the fan-out's only allocation.
func (sh *shard) build(pubs []Publication, f *frames, e Encoding) []byte {
	bit := uint16(1) << e
	if f.built&bit != 0 {
		return nil
	}
	use := allDeltas
	if f.torn&bit != 0 {
		use = notTheFirst
	}
	frame, torn := sh.encode(pubs, nil, e, use)
	f.built |= bit
	f.torn &^= bit
	if torn {
		f.torn |= bit
	}
	f.all[e] = frame
	return frame
}

// buildPart makes the frames of those publications that sh.taken names. Others who take the same share them.
func (sh *shard) buildPart(pubs []Publication, f *frames, e Encoding, use deltaUse) ([]byte, bool) {
	key := part{encoding: e, deltas: use}
	if len(pubs) > bits.UintSize {
		return sh.encode(pubs, sh.taken, e, use)
	}
	for i, take := range sh.taken {
		if take {
			key.taken |= 1 << i
		}
	}
	made, ok := f.parts[key]
	if ok {
		return made.frame, made.torn
	}
	made.frame, made.torn = sh.encode(pubs, sh.taken, e, use)
	if f.parts == nil {
		f.parts = make(map[part]partFrame)
	}
	if len(f.parts) < maxParts {
		f.parts[key] = made
	}
	return made.frame, made.torn
}

// encode joins the frames of the taken ones of pubs, nil: all. torn: the next publication must be without its delta.
func (sh *shard) encode(pubs []Publication, taken []bool, e Encoding, use deltaUse) (frame []byte, torn bool) {
	dst := sh.scratch[:0]
	torn = use != allDeltas
	for i := range pubs {
		p := &pubs[i]
		if taken != nil && !taken[i] || !e.takes(p) {
			continue
		}
		if torn && p.Delta != nil {
			whole := *p
			whole.Delta = nil
			p = &whole
		}
		before := len(dst)
		dst = sh.cfg.Encoders[e](dst, p)
		if e.deltas() && p.isMessage() {
			torn = len(dst) == before || use == noDeltas
		}
	}
	sh.scratch = dst
	if cap(dst) > 2*sh.cfg.BatchBytes {
		sh.scratch = nil
	}
	if len(dst) == 0 {
		return nil, torn
	}
	sh.frames.Add(1)
	return append(make([]byte, 0, len(dst)), dst...), torn
}
