package history

import (
	"context"
	"errors"
	"time"
)

// errLag says that the store's answers contradict what is known already: what gave them is behind.
var errLag = errors.New("history: the store lags")

// reading is what several pages in a row told of a channel.
type reading struct {
	epoch string
	last  uint64 // of the stream, not newer than top
	top   uint64 // of the channel, 0: nothing stored
	low   uint64 // lowest position, not below what was asked for, after which nothing is missing
	tail  tail   // what follows low
	count int    // messages stored; -1: not told
	older bool   // some are stored at or before what was asked for
	bare  bool   // the newest stored message is no publication, or there is none
	more  bool   // ended before top
}

// reach is up to where the reading knows the channel: an empty one was looked through to the end of the stream.
func (r *reading) reach() uint64 {
	if r.top == 0 {
		return r.last
	}
	return r.top
}

// page reads once, within ReadTimeout.
func (v *Service) page(ctx context.Context, q ReadQuery) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, v.cfg.ReadTimeout)
	defer cancel()
	v.n.reads.Add(1)
	p, err := v.parts.Store.Read(ctx, q)
	if err != nil {
		v.n.readErrors.Add(1)
		return p, v.why(err)
	}
	v.n.readMessages.Add(uint64(len(p.Messages)))
	return p, nil
}

// pageUntil is page for a repair that is given up at end, on the service's clock.
func (v *Service) pageUntil(end time.Duration, q ReadQuery) (Page, error) {
	ctx, cancel := v.until(end)
	defer cancel()
	return v.page(ctx, q)
}

func (v *Service) until(end time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(v.ctx, v.start.Add(end))
}

// gather reads a channel after since, until its top or until there are limit publications.
func (v *Service) gather(ctx context.Context, s Stream, channel string, since uint64, limit int) (reading, error) {
	r := reading{count: -1, low: since}
	r.tail.base = since
	at, first := since, true
	for {
		p, err := v.page(ctx, ReadQuery{Namespace: s.Namespace, Channel: channel, Since: at, Limit: v.cfg.PageLen, MaxBytes: v.cfg.PageBytes})
		switch {
		case err != nil:
			return r, err
		case !first && p.Epoch != r.epoch, p.More && len(p.Messages) == 0:
			return r, errLag
		}
		f := pageFacts(&p, at, s.Size)
		for i := range p.Messages {
			e := v.understand(channel, &p.Messages[i])
			r.bare = e.silent
			f.see(&e)
			if !e.silent {
				r.tail.add(e.pub, e.at)
			}
		}
		r.epoch, r.last, r.top, r.more = p.Epoch, p.Last, p.Top, p.More
		if first {
			r.older = p.SinceStored || p.Oldest > 0 && p.Oldest <= since
		}
		if first && !p.SinceStored {
			r.count = p.Count
		}
		if low := f.provable(); first || low > at {
			r.low = low
		}
		r.low = max(r.low, f.removed)
		if !p.More || len(r.tail.pubs) >= limit {
			break
		}
		at, first = p.Messages[len(p.Messages)-1].Offset, false
	}
	r.bare = r.bare || r.top == 0
	r.tail.drop(r.tail.index(r.low))
	r.tail.base = r.low
	return r, nil
}

// pageFacts are a page's facts, without what its messages tell.
func pageFacts(p *Page, since uint64, size int) facts {
	return facts{since: since, sinceStored: p.SinceStored, oldest: p.Oldest, count: p.Count, first: p.StreamFirst, size: size}
}

// see regards a message of the page, oldest first.
func (f *facts) see(e *incoming) {
	if e.purge {
		f.removed = max(f.removed, e.after)
		f.mark = f.mark || e.offset() == f.oldest
	}
}

// age is the time before which a publication of s is not shown any more, unix milliseconds.
func (v *Service) age(s Stream) int64 {
	if s.TTL <= 0 {
		return 0
	}
	return millis(v.parts.Clock().Add(-s.TTL))
}

// lastTry is how long before its end a repair tries for the last time, long enough for an answer; and what is left to it in any
// case, however long the store was silent before: after a standstill of this node it may well be there.
const lastTry = time.Second

// pause is the wait before the next attempt when left is what remains: the last one still has time.
func pause(retry, left time.Duration) time.Duration {
	if left > lastTry {
		return min(retry, left-lastTry)
	}
	return min(retry, left)
}

// backOff doubles a wait within bounds.
func backOff(d, longest time.Duration) time.Duration { return min(2*d, longest) }
