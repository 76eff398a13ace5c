package broker

import (
	"log/slog"

	"github.com/nats-io/nats.go"
)

// wideInterest is the publisher's side of the wide subscription (wide.go):
//
//	off --WideInterest channels--> growing --half of them left--> leaving --table empty--> off      leaving --WideInterest--> growing
//
// growing: new channels are heard by the wide subscription. leaving: new ones get their own again, and those heard widely move.
type wideInterest struct {
	sub     *nats.Subscription // nil: off
	growing bool
	join    []string // gathered for one change
	leave   []string
}

// heard is how many channels this node hears. It may lag behind changes of the wide table.
func (p *publisher) heard() int {
	total := len(p.interest)
	if w := p.n.wide.Load(); w != nil {
		total += int(w.heard.Load())
	}
	return total
}

// bornWide says whether a channel that is wanted now comes under the wide subscription, and begins that when there are many.
func (p *publisher) bornWide() bool {
	if p.wide.growing || p.heard() < p.n.cfg.Limits.WideInterest {
		return p.wide.growing
	}
	if p.n.wide.Load() == nil {
		p.n.wide.Store(startWide(p.n))
	}
	if p.wide.sub == nil && !p.beginWide() {
		return false
	}
	p.wide.growing = true
	p.n.events.event(slog.LevelInfo, "many channels: new ones are heard by one NATS subscription on all", "channels", len(p.interest))
	return true
}

func (p *publisher) beginWide() bool {
	w := p.n.wide.Load()
	sub, err := p.conn.ChanSubscribe(w.subject, w.in)
	if err != nil {
		p.n.count.asyncErrors.Add(1)
		p.n.events.event(slog.LevelError, "NATS subscription refused", "subject", w.subject, "err", err)
		return false
	}
	p.wide.sub = sub
	return true
}

// unwide ends the wide interest in a channel that may have some.
func (p *publisher) unwide(channel string) {
	if p.wide.sub != nil {
		p.wide.leave = append(p.wide.leave, channel)
	}
}

// settleWide passes on what a turn has gathered, and goes on towards off where few channels are left.
func (p *publisher) settleWide() {
	if p.wide.sub == nil {
		return
	}
	w := p.n.wide.Load()
	w.change(p.wide.join, p.wide.leave)
	p.wide.join, p.wide.leave = nil, nil
	if p.wide.growing && p.heard() <= p.n.cfg.Limits.WideInterest/2 {
		p.leaveWide(w)
	}
	if !p.wide.growing && w.heard.Load() == 0 {
		p.n.drops.end(p.wide.sub)
		p.wide.sub = nil
		p.n.events.event(slog.LevelInfo, "few channels: each has its own NATS subscription again", "channels", len(p.interest))
	}
}

// leaveWide gives each channel heard widely a subscription of its own, and has it move there.
func (p *publisher) leaveWide(w *wide) {
	names := w.names()
	if len(p.interest)+len(names) > p.n.cfg.Limits.WideInterest/2 {
		return // the count had lagged behind
	}
	p.wide.growing = false
	var moving []string
	for _, channel := range names {
		if _, have := p.interest[channel]; have {
			continue // on its way since the last time
		}
		p.n.dialer.admit(p.n.life)
		subject := p.subjects.make(channel)
		sub, err := p.conn.ChanSubscribe(subject.text, w.in)
		if err != nil {
			p.n.count.asyncErrors.Add(1)
			p.n.events.event(slog.LevelError, "NATS subscription refused", "channel", channel, "err", err)
			continue
		}
		p.interest[p.n.codec.sharedKey(channel, subject.text)] = sub
		moving = append(moving, channel)
	}
	w.begin(moving)
	p.confirmMoves(w)
}

// confirmMoves tells the sorter when NATS knows the subscriptions made so far.
func (p *publisher) confirmMoves(w *wide) {
	f := newFence()
	p.n.confirm.await(f)
	w.helpers.Go(func() {
		if <-f.answer == nil { // else the next connect does it
			w.confirm(true)
		}
	})
}

// recheckWide runs after each connect, which may have lost copies of either kind.
func (p *publisher) recheckWide() {
	if p.wide.sub == nil {
		return
	}
	w := p.n.wide.Load()
	w.confirm(false)
	p.confirmMoves(w)
	if !p.wide.sub.IsValid() {
		p.beginWide()
	}
}

// remapWide gives channels that have become native their own subscription.
func (p *publisher) remapWide() {
	if p.wide.sub == nil {
		return
	}
	for _, channel := range p.n.wide.Load().names() {
		if subject := p.subjects.make(channel); subject.native || subject.refused() {
			p.unwide(channel)
			if sub, have := p.interest[channel]; have {
				p.n.drops.end(sub)
			}
			p.subscribe(channel)
		}
	}
}
