package members

import (
	"sync"
	"time"

	"throng/server/wire"
)

// roster is who is in one channel on other nodes.
type roster struct {
	name string
	link uint64 // of this node when the first client came

	// Guarded by the stripe.
	watchers  int
	idleSince time.Duration
	idling    bool // in the queue's list of idle rosters

	queued bool // the queue's: waits to be asked about

	// mu is held while what changed is delivered, so that subscribers hear each change once and in its order.
	mu       sync.Mutex
	from     map[*origin]map[string]*member // by node and client
	size     int64
	count    int
	tries    int
	seeded   bool // has been asked about: what later answers add is news to subscribers
	degraded bool // over a limit: nothing is kept
	dead     bool // forgotten
	asking   bool // a question is out
	// touched are the clients that came or went since then.
	touched map[string]struct{}
	// left are the clients whose leave was told though it was not heard: it may still be on its way, or they come back.
	left   map[string]struct{}
	leftAt time.Duration // when one was added last
}

// leftKept is how long left is kept at least, seconds longer than anything is on its way.
const leftKept = time.Minute

// member is a client on another node.
type member struct {
	info *wire.ClientInfo
	told bool // subscribers were told the join
}

// memberOverhead is what a member costs beside its texts: measured, see TestBytesAreCountedAboutRight.
const memberOverhead = 256

func (m *member) size() int64 {
	i := m.info
	return int64(memberOverhead + len(i.Client) + len(i.User) + len(i.ConnInfo) + len(i.ChanInfo))
}

// hear enters a join or a leave and says whether subscribers are to hear it. The caller holds r's lock.
func (t *Table) hear(r *roster, from *origin, m *wire.Meta) bool {
	if r.dead || r.degraded {
		return true
	}
	id := m.Info.Client
	if r.asking {
		if len(r.touched) >= t.cfg.MaxChannel {
			t.degrade(r)
			return true
		}
		mark(&r.touched, id)
	}
	if m.Kind == wire.KindJoin {
		from.spoke.Store(true)
		delete(r.left, id)
		if old := r.from[from][id]; old != nil && old.told {
			return false
		}
		t.enter(r, from, &member{m.Info, true})
		return true
	}
	if t.drop(r, from, id) {
		return true
	}
	if _, told := r.left[id]; told {
		delete(r.left, id)
		return false
	}
	return !from.mourned.Load()
}

func mark(set *map[string]struct{}, id string) {
	if *set == nil {
		*set = make(map[string]struct{})
	}
	(*set)[id] = struct{}{}
}

// enter adds a member, or replaces it. The caller holds r's lock.
func (t *Table) enter(r *roster, from *origin, m *member) {
	id := m.info.Client
	t.drop(r, from, id)
	size := m.size()
	if r.count >= t.cfg.MaxChannel || t.bytes.Load()+size > t.cfg.MaxBytes {
		t.degrade(r)
		return
	}
	if r.from == nil {
		r.from = make(map[*origin]map[string]*member)
	}
	if r.from[from] == nil {
		r.from[from] = make(map[string]*member)
	}
	r.from[from][id] = m
	r.count++
	r.size += size
	from.members.Add(1)
	t.members.Add(1)
	t.bytes.Add(size)
}

// drop removes a member and says whether there was one. The caller holds r's lock.
func (t *Table) drop(r *roster, from *origin, id string) bool {
	mine := r.from[from]
	m := mine[id]
	if m == nil {
		return false
	}
	delete(mine, id)
	if len(mine) == 0 {
		delete(r.from, from)
	}
	size := m.size()
	r.count--
	r.size -= size
	from.members.Add(-1)
	t.members.Add(-1)
	t.bytes.Add(-size)
	return true
}

// empty forgets all members of r, whose lock the caller holds.
func (t *Table) empty(r *roster) {
	for from, mine := range r.from {
		from.members.Add(int64(-len(mine)))
	}
	t.members.Add(int64(-r.count))
	t.bytes.Add(-r.size)
	r.from, r.touched, r.left, r.count, r.size = nil, nil, nil, 0, 0
}

// degrade gives up keeping r, whose lock the caller holds.
func (t *Table) degrade(r *roster) {
	t.empty(r)
	r.degraded = true
	t.count.degraded.Add(1)
	t.spoilt.Add(1)
}

// mourn tells the leaves of all members of a node that is gone.
func (t *Table) mourn(from *origin) {
	if from.members.Load() == 0 {
		return
	}
	for _, r := range t.all(nil) {
		t.mournIn(r, from)
	}
}

func (t *Table) mournIn(r *roster, from *origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.from[from] {
		t.bury(r, from, m)
		t.count.mourned.Add(1)
	}
}

// bury tells the leave of a member that did not tell it itself. The caller holds r's lock.
func (t *Table) bury(r *roster, from *origin, m *member) {
	t.drop(r, from, m.info.Client)
	mark(&r.left, m.info.Client)
	r.leftAt = t.now()
	t.tell(r, wire.KindLeave, from, m.info)
}

// ask begins a question: from now on answers are older than what is heard.
func (r *roster) ask(now time.Duration) {
	r.mu.Lock()
	r.asking, r.touched = true, nil
	if now-r.leftAt > leftKept {
		r.left = nil
	}
	r.mu.Unlock()
}

// answered ends a question, to one node or to all (""), and says whether all have to be asked again.
func (t *Table) answered(r *roster, to string, whole bool) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking, r.touched = false, nil
	switch {
	case r.dead || r.degraded:
		return false
	case whole:
		r.tries, r.seeded = 0, r.seeded || to == ""
		return false
	}
	r.tries++
	if r.tries < t.cfg.SeedTries {
		return true
	}
	r.tries, r.seeded = 0, true
	t.count.unfinished.Add(1)
	return false
}

// learn takes a node's answer about r.
func (t *Table) learn(r *roster, from *origin, infos []*wire.ClientInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	here := make(map[string]struct{}, len(infos))
	// A first seed is no news to clients, who have just read presence, unless joins were lost since.
	news := r.seeded || r.link != t.parts.Cluster.Link()
	for _, info := range infos {
		if r.dead || r.degraded || from.away.Load() {
			return
		}
		here[info.Client] = struct{}{}
		if _, newer := r.touched[info.Client]; newer || r.from[from][info.Client] != nil {
			continue
		}
		_, back := r.left[info.Client]
		delete(r.left, info.Client)
		told := news || back
		t.enter(r, from, &member{info, told})
		if told {
			t.tell(r, wire.KindJoin, from, info)
			t.count.found.Add(1)
		}
	}
	if r.degraded || from.away.Load() {
		return
	}
	for id, m := range r.from[from] {
		_, newer := r.touched[id]
		if _, is := here[id]; is || newer {
			continue
		}
		t.bury(r, from, m)
		t.count.missed.Add(1)
	}
}
