package session

import "throng/server/wire"

// bucket is a token bucket in eight bytes. It goes below zero, so that who does not heed the limit is known.
type bucket struct {
	left float32
	at   tick // of left; 0 = never used
}

// verdict is what a bucket says to one more command.
type verdict uint8

const (
	fits verdict = iota
	exceeds
	floods // has been exceeding for a whole burst
)

// spend takes one command. rate is per second.
func (b *bucket) spend(now tick, rate, burst int) verdict {
	if b.at == 0 {
		b.left = float32(burst)
	} else {
		b.left = min(float32(burst), b.left+float32(now-b.at)*float32(rate)/10)
	}
	b.at = now
	b.left--
	switch {
	case b.left >= 0:
		return fits
	case b.left >= float32(-burst):
		return exceeds
	}
	return floods
}

// withinRate holds a command against the limits of its connection and of its user, and answers it if it is over one.
func (s *Session) withinRate(t *turn, c *wire.Command) bool {
	cfg := &s.service.cfg
	if cfg.CommandRate == 0 && cfg.UserCommandRate == 0 {
		return true
	}
	now := s.service.now()
	worst := fits
	if cfg.CommandRate > 0 {
		worst = s.budget.spend(now, cfg.CommandRate, cfg.CommandBurst)
	}
	if s.who != nil {
		worst = max(worst, s.who.spend(now, cfg.UserCommandRate, cfg.UserCommandBurst))
	}
	switch worst {
	case fits:
		return true
	case exceeds:
		s.service.stat(s).RateLimited.Add(1)
		if c.ID != 0 {
			t.fail(c.ID, wire.ErrorTooManyRequests)
		}
	default:
		s.disconnect(t, wire.CloseTooManyRequests)
	}
	return false
}
