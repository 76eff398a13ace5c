package session

import (
	"context"
	"sync"
	"time"

	"throng/server/history"
)

// memoryStore is a stream per namespace, as NATS keeps them, without limits of its own: what history does with those is tested
// there.
type memoryStore struct {
	mu      sync.Mutex
	down    error // what everything returns
	epoch   string
	last    uint64
	entries []stored
	road    []history.Message // republished, not yet delivered
	lost    bool              // what is republished gets lost
	ids     map[string]uint64
	hold    bool // acknowledgements wait for release
	held    []func()
}

type stored struct {
	channel string
	history.StoredMessage
}

func newMemoryStore() *memoryStore { return &memoryStore{epoch: "e1", ids: map[string]uint64{}} }

func (m *memoryStore) take() []history.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	road := m.road
	m.road = nil
	return road
}

// recreate loses everything.
func (m *memoryStore) recreate(epoch string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch, m.last, m.entries = epoch, 0, nil
}

func (m *memoryStore) top(channel string) uint64 {
	for i := len(m.entries) - 1; i >= 0; i-- {
		if m.entries[i].channel == channel {
			return m.entries[i].Offset
		}
	}
	return 0
}

func (m *memoryStore) Tops(_ context.Context, _ string, channels []string) (history.Tops, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := history.Tops{Epoch: m.epoch, Last: m.last}
	for _, c := range channels {
		t.Top = append(t.Top, m.top(c))
	}
	return t, m.down
}

func (m *memoryStore) Read(_ context.Context, q history.ReadQuery) (history.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := history.Page{Epoch: m.epoch, Last: m.last, Top: m.top(q.Channel), StreamFirst: m.last + 1}
	for i, e := range m.entries {
		if i == 0 {
			p.StreamFirst = e.Offset
		}
		if e.channel != q.Channel {
			continue
		}
		if p.Oldest == 0 {
			p.Oldest = e.Offset
		}
		p.Count++
		p.SinceStored = p.SinceStored || e.Offset == q.Since
		if e.Offset <= q.Since {
			continue
		}
		if len(p.Messages) == q.Limit {
			p.More = true
			continue
		}
		p.Messages = append(p.Messages, e.StoredMessage)
	}
	return p, m.down
}

func (m *memoryStore) Store(p *history.StorePublication) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	previous := m.top(p.Channel)
	key := p.Channel + " " + p.ID
	if at, twice := m.ids[key]; p.ID != "" && twice {
		go p.Done(history.Stored{Offset: at, Epoch: m.epoch, Duplicate: true})
		return nil
	}
	if p.ExpectLast && p.LastOffset != previous {
		go p.Done(history.Stored{Err: history.ErrConflict})
		return nil
	}
	m.last++
	m.ids[key] = m.last
	e := stored{p.Channel, history.StoredMessage{Offset: m.last, Time: time.Now(), Data: append([]byte(nil), p.Data...), Meta: string(p.Meta), Binary: p.Binary}}
	m.entries = append(m.entries, e)
	if !m.lost {
		m.road = append(m.road, history.Message{
			Channel: p.Channel, Namespace: p.Namespace, Data: e.Data, Meta: e.Meta, Binary: e.Binary, Offset: m.last, Previous: previous, Time: e.Time,
		})
	}
	outcome := history.Stored{Offset: m.last, Epoch: m.epoch}
	switch done := p.Done; {
	case done == nil:
	case m.hold:
		m.held = append(m.held, func() { done(outcome) })
	default:
		go done(outcome)
	}
	return nil
}

// release acknowledges one of the publications that are held.
func (m *memoryStore) release(i int) {
	m.mu.Lock()
	done := m.held[i]
	m.mu.Unlock()
	done()
}

func (m *memoryStore) StoreOnce(_, id string, done func(history.Stored)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, twice := m.ids["once "+id]
	m.ids["once "+id] = 1
	outcome := history.Stored{Duplicate: twice}
	if m.hold {
		m.held = append(m.held, func() { done(outcome) })
		return nil
	}
	go done(outcome)
	return m.down
}

func (m *memoryStore) Purge(_ context.Context, _, channel string, below uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []stored
	for _, e := range m.entries {
		if e.channel != channel || e.Offset >= below {
			left = append(left, e)
		}
	}
	m.entries = left
	return m.down
}
