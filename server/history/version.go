package history

import (
	"context"
	"errors"
	"sync"

	"throng/server/hub"
)

// versionTable is the channels to which publications with a version were made here lately. What it knows may be old; the store
// decides, by accepting a publication only on top of what was known.
type versionTable struct {
	mu       sync.Mutex
	channels map[string]*versioned
	waiting  int
}

// versioned is one channel. Its publications go one after the other, lest they stand in each other's way.
type versioned struct {
	channel string
	queue   []versionJob // the table's
	running bool         // the table's

	// Of the goroutine that runs.
	known   bool
	epoch   string
	top     uint64 // of the channel, 0: nothing stored
	version uint64 // newest stored with one, 0: none
	era     string // its VersionEpoch
}

type versionJob struct {
	p    Publication
	done func(Position, error)
}

// publishVersion queues p behind those of the same channel.
func (v *Service) publishVersion(p *Publication, done func(Position, error)) error {
	t := &v.versions
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case v.closed():
		return hub.ErrClosed
	case t.waiting >= v.cfg.PublishQueue:
		return hub.ErrBusy
	}
	c := t.channels[p.Channel]
	if c == nil {
		t.makeRoom(v.cfg.Versions)
		c = &versioned{channel: p.Channel}
		t.channels[p.Channel] = c
	}
	t.waiting++
	c.queue = append(c.queue, versionJob{*p, done})
	if c.running {
		return nil
	}
	c.running = true
	v.acks.run(func() { v.publishVersions(c) })
	return nil
}

// makeRoom forgets some channels, whichever come first.
func (t *versionTable) makeRoom(limit int) {
	for name, c := range t.channels {
		if len(t.channels) < limit {
			return
		}
		if !c.running {
			delete(t.channels, name)
		}
	}
}

func (v *Service) publishVersions(c *versioned) {
	for {
		v.versions.mu.Lock()
		if len(c.queue) == 0 {
			c.queue, c.running = nil, false
			if len(v.versions.channels) > v.cfg.Versions {
				delete(v.versions.channels, c.channel)
			}
			v.versions.mu.Unlock()
			return
		}
		job := c.queue[0]
		c.queue = c.queue[1:]
		v.versions.waiting--
		v.versions.mu.Unlock()
		ctx, cancel := context.WithTimeout(v.ctx, v.cfg.AckTimeout)
		job.done(v.publishNewer(ctx, c, &job.p))
		cancel()
	}
}

// abandonVersions answers who waits when the service ends.
func (v *Service) abandonVersions() {
	v.versions.mu.Lock()
	var jobs []versionJob
	for _, c := range v.versions.channels {
		jobs = append(jobs, c.queue...)
		c.queue = nil
	}
	v.versions.waiting = 0
	v.versions.mu.Unlock()
	for _, j := range jobs {
		j.done(Position{}, hub.ErrClosed)
	}
}

// publishNewer stores p if its version is newer than the newest stored one. That holds across nodes: the store accepts it only
// on top of what was compared.
func (v *Service) publishNewer(ctx context.Context, c *versioned, p *Publication) (Position, error) {
	fresh := false // what c knows was read, or tried, just now
	for range v.cfg.Conflicts + 1 {
		if !c.known || !fresh && c.suppresses(p) {
			if err := v.learn(ctx, c, p); err != nil {
				return Position{}, err
			}
			fresh = true
		}
		if c.suppresses(p) {
			v.n.suppressed.Add(1)
			return Position{c.top, c.epoch}, nil
		}
		s := v.storeWait(ctx, p, &c.top)
		switch {
		case s.Err == nil && !s.Duplicate:
			c.known = c.epoch == s.Epoch
			c.top, c.version, c.era = s.Offset, p.Version, p.VersionEpoch
			return Position{s.Offset, s.Epoch}, nil
		case s.Err == nil:
			return Position{s.Offset, s.Epoch}, nil
		case !errors.Is(s.Err, ErrConflict):
			c.known = false
			return Position{}, s.Err
		}
		v.n.conflicts.Add(1)
		if err := v.learn(ctx, c, p); err != nil {
			return Position{}, err
		}
		fresh = true
	}
	return Position{}, ErrConflict
}

// suppresses compares as Centrifuge does: only publications with a version count, and one without an epoch is of any.
func (c *versioned) suppresses(p *Publication) bool {
	return c.version > 0 && (p.VersionEpoch == "" || p.VersionEpoch == c.era) && p.Version <= c.version
}

// learn reads what was stored since the last time.
func (v *Service) learn(ctx context.Context, c *versioned, p *Publication) error {
	if !c.known {
		c.top, c.version, c.era = 0, 0, ""
	}
	at := c.top
	for {
		page, err := v.page(ctx, ReadQuery{Namespace: p.Stream.Namespace, Channel: p.Channel, Since: at, Limit: v.cfg.PageLen, MaxBytes: v.cfg.PageBytes})
		if err != nil {
			c.known = false
			return err
		}
		if c.known && page.Epoch != c.epoch || page.More && len(page.Messages) == 0 {
			c.known = false
			return errLag // the next one begins anew
		}
		c.see(v, p.Channel, &page)
		if !page.More {
			return nil
		}
		at = page.Messages[len(page.Messages)-1].Offset
	}
}

func (c *versioned) see(v *Service, channel string, page *Page) {
	for i := range page.Messages {
		e := v.understand(channel, &page.Messages[i])
		switch m := e.pub.Meta; {
		case e.purge:
			c.version, c.era = 0, ""
		case !e.silent && m.Version > 0:
			c.version, c.era = m.Version, m.VersionEpoch
		}
	}
	c.known, c.epoch, c.top = true, page.Epoch, page.Top
	if page.Top == 0 {
		c.version, c.era = 0, ""
	}
}
