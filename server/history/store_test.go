package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// jetStream is an honest model of one JetStream stream per namespace, in memory: sequences, a limit per channel, age, eviction
// by bytes from the front, purge, deletion, acknowledgement, expected last sequence, message ids. It stands where a test must
// control time and order; everything else is tried with a real NATS server by the packages above.
type jetStream struct {
	mu      sync.Mutex
	streams map[string]*memStream
	epochs  int
	once    map[string]bool
	publish func(namespace string, m memMessage, previous uint64) // what RePublish does; without the lock
	stored  func(namespace string, m memMessage, epoch string)    // the test's own book; under the lock
}

type memStream struct {
	epoch    string
	last     uint64
	messages []memMessage
	bytes    int
	size     int
	age      time.Duration
	maxBytes int
	ids      map[string]uint64
}

type memMessage struct {
	StoredMessage
	channel string
}

func newJetStream() *jetStream {
	return &jetStream{streams: map[string]*memStream{}, once: map[string]bool{}}
}

func (j *jetStream) add(namespace string, size int, age time.Duration, maxBytes int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.epochs++
	j.streams[namespace] = &memStream{
		epoch: fmt.Sprintf("e%d", j.epochs), size: size, age: age, maxBytes: maxBytes, ids: map[string]uint64{},
	}
}

func (j *jetStream) epoch(namespace string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.streams[namespace].epoch
}

// recreate deletes a stream and makes it anew; its sequence begins after first.
func (j *jetStream) recreate(namespace string, first uint64) {
	j.mu.Lock()
	s := j.streams[namespace]
	j.mu.Unlock()
	j.add(namespace, s.size, s.age, s.maxBytes)
	j.mu.Lock()
	j.streams[namespace].last = first
	j.mu.Unlock()
}

func (s *memStream) expire() {
	for len(s.messages) > 0 && s.age > 0 && time.Since(s.messages[0].Time) >= s.age {
		s.remove(0)
	}
}

func (s *memStream) remove(i int) {
	s.bytes -= len(s.messages[i].Data)
	s.messages = slices.Delete(s.messages, i, i+1)
}

func (s *memStream) indices(channel string) (all []int) {
	for i := range s.messages {
		if s.messages[i].channel == channel {
			all = append(all, i)
		}
	}
	return all
}

func (s *memStream) top(channel string) uint64 {
	for i := len(s.messages) - 1; i >= 0; i-- {
		if s.messages[i].channel == channel {
			return s.messages[i].Offset
		}
	}
	return 0
}

func (s *memStream) first() uint64 {
	if len(s.messages) == 0 {
		return s.last + 1
	}
	return s.messages[0].Offset
}

// put is Store as the leader does it.
func (j *jetStream) put(p *StorePublication) Stored {
	j.mu.Lock()
	s := j.streams[p.Namespace]
	if s == nil {
		j.mu.Unlock()
		return Stored{Err: ErrNoStream}
	}
	s.expire()
	if at, ok := s.ids[p.Channel+"\x00"+p.ID]; ok && p.ID != "" {
		defer j.mu.Unlock()
		return Stored{Offset: at, Epoch: s.epoch, Duplicate: true}
	}
	previous := s.top(p.Channel)
	if p.ExpectLast && previous != p.LastOffset {
		defer j.mu.Unlock()
		return Stored{Err: ErrConflict}
	}
	s.last++
	m := memMessage{channel: p.Channel, StoredMessage: StoredMessage{
		Offset: s.last, Time: time.Now(), Data: slices.Clone(p.Data), Meta: string(p.Meta), Binary: p.Binary,
	}}
	s.messages = append(s.messages, m)
	s.bytes += len(m.Data)
	if at := s.indices(p.Channel); len(at) > s.size+1 {
		s.remove(at[0])
	}
	for s.maxBytes > 0 && s.bytes > s.maxBytes && len(s.messages) > 1 {
		s.remove(0)
	}
	if p.ID != "" {
		s.ids[p.Channel+"\x00"+p.ID] = s.last
	}
	ack := Stored{Offset: s.last, Epoch: s.epoch}
	if j.stored != nil {
		j.stored(p.Namespace, m, s.epoch)
	}
	j.mu.Unlock()
	if j.publish != nil {
		j.publish(p.Namespace, m, previous)
	}
	return ack
}

// memStore is one node's road to a jetStream.
type memStore struct {
	j *jetStream
	// wait is called before, in and after a request, and may sleep or fail.
	wait func(ctx context.Context, what string) error

	mu    sync.Mutex
	reads map[string]int // pages read, by channel
	tops  int
	asked int // channels in tops
}

var errDown = errors.New("store is down")

// during sets what requests meet from now on.
func (m *memStore) during(wait func(ctx context.Context, what string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wait = wait
}

// questions is how many Tops there were, and for how many channels.
func (m *memStore) questions() (tops, asked int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tops, m.asked
}

func (m *memStore) pause(ctx context.Context, what string) error {
	m.mu.Lock()
	wait := m.wait
	m.mu.Unlock()
	if wait == nil {
		return ctx.Err()
	}
	if err := wait(ctx, what); err != nil {
		return err
	}
	return ctx.Err()
}

func (m *memStore) Tops(ctx context.Context, namespace string, channels []string) (Tops, error) {
	m.mu.Lock()
	m.tops++
	m.asked += len(channels)
	m.mu.Unlock()
	if err := m.pause(ctx, "tops"); err != nil {
		return Tops{}, err
	}
	m.j.mu.Lock()
	s := m.j.streams[namespace]
	if s == nil {
		m.j.mu.Unlock()
		return Tops{}, ErrNoStream
	}
	s.expire()
	t := Tops{Epoch: s.epoch, Last: s.last}
	for _, c := range channels {
		t.Top = append(t.Top, s.top(c))
	}
	m.j.mu.Unlock()
	return t, m.pause(ctx, "tops")
}

func (m *memStore) Read(ctx context.Context, q ReadQuery) (Page, error) {
	m.mu.Lock()
	if m.reads == nil {
		m.reads = map[string]int{}
	}
	m.reads[q.Channel]++
	m.mu.Unlock()
	if err := m.pause(ctx, "read"); err != nil {
		return Page{}, err
	}
	m.j.mu.Lock()
	s := m.j.streams[q.Namespace]
	if s == nil {
		m.j.mu.Unlock()
		return Page{}, ErrNoStream
	}
	s.expire()
	p := Page{Epoch: s.epoch, Last: s.last, Top: s.top(q.Channel)}
	bytes := 0
	for _, i := range s.indices(q.Channel) {
		e := s.messages[i].StoredMessage
		if e.Offset <= q.Since {
			continue
		}
		if len(p.Messages) == q.Limit || bytes > q.MaxBytes {
			p.More = true
			break
		}
		bytes += len(e.Data)
		p.Messages = append(p.Messages, e)
	}
	m.j.mu.Unlock()
	if err := m.pause(ctx, "facts"); err != nil {
		return Page{}, err
	}
	m.j.mu.Lock()
	defer m.j.mu.Unlock()
	if now := m.j.streams[q.Namespace]; now != s {
		return Page{}, errDown
	}
	s.expire()
	at := s.indices(q.Channel)
	p.SinceStored = slices.ContainsFunc(at, func(i int) bool { return s.messages[i].Offset == q.Since })
	if !p.SinceStored {
		p.Count, p.StreamFirst = len(at), s.first()
		if len(at) > 0 {
			p.Oldest = s.messages[at[0]].Offset
		}
	}
	return p, nil
}

func (m *memStore) Store(p *StorePublication) error {
	kept := *p
	kept.Data, kept.Meta = slices.Clone(p.Data), slices.Clone(p.Meta)
	go func() {
		if err := m.pause(context.Background(), "store"); err != nil {
			kept.Done(Stored{Err: ErrUnconfirmed})
			return
		}
		ack := m.j.put(&kept)
		if err := m.pause(context.Background(), "ack"); err != nil && ack.Err == nil {
			ack = Stored{Err: ErrUnconfirmed}
		}
		kept.Done(ack)
	}()
	return nil
}

func (m *memStore) StoreOnce(channel, id string, done func(Stored)) error {
	m.j.mu.Lock()
	known := m.j.once[channel+"\x00"+id]
	m.j.once[channel+"\x00"+id] = true
	m.j.mu.Unlock()
	go done(Stored{Duplicate: known})
	return nil
}

func (m *memStore) Purge(ctx context.Context, namespace, channel string, below uint64) error {
	if err := m.pause(ctx, "purge"); err != nil {
		return err
	}
	m.j.mu.Lock()
	defer m.j.mu.Unlock()
	s := m.j.streams[namespace]
	for _, i := range slices.Backward(s.indices(channel)) {
		if s.messages[i].Offset < below {
			s.remove(i)
		}
	}
	return nil
}
