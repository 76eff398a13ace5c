package history

import (
	"sync"

	"throng/server/hub"
)

// memHub is a hub without shards: subscriptions that are held, opened after an offset, and cut, as hub.SubscribeSpecial, Open and
// Cut promise, told at once on the caller's goroutine.
type memHub struct {
	mu   sync.Mutex
	subs map[string][]*memSub
	all  func(p hub.Publication) // hears every Deliver, before the subscriptions
}

type memSub struct {
	held  bool
	queue []hub.Publication
	after uint64
	dead  bool
	got   func(p hub.Publication) // with the hub's lock held
	cut   func()
}

func newMemHub() *memHub { return &memHub{subs: map[string][]*memSub{}} }

func (h *memHub) hold(channel string, s *memSub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.held = true
	h.subs[channel] = append(h.subs[channel], s)
}

func (h *memHub) open(s *memSub, after uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.dead || !s.held {
		return
	}
	s.held, s.after = false, after
	for _, p := range s.queue {
		s.send(p)
	}
	s.queue = nil
}

func (s *memSub) send(p hub.Publication) {
	if p.Meta == nil || p.Meta.Offset == 0 || p.Meta.Offset > s.after {
		s.got(p)
	}
}

func (h *memHub) leave(channel string, s *memSub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.dead = true
	subs := h.subs[channel]
	for i := range subs {
		if subs[i] == s {
			h.subs[channel] = append(subs[:i:i], subs[i+1:]...)
			return
		}
	}
}

func (h *memHub) Deliver(p hub.Publication) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all != nil {
		h.all(p)
	}
	for _, s := range h.subs[p.Channel] {
		switch {
		case s.dead:
		case s.held:
			s.queue = append(s.queue, p)
		default:
			s.send(p)
		}
	}
}

func (h *memHub) Cut(channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.subs[channel] {
		s.dead = true
		s.cut()
	}
	h.subs[channel] = nil
}
