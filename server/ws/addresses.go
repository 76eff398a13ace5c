package ws

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
)

// addresses counts open connections by where they come from, so that one peer cannot take all there are. Exact: each
// connection keeps the number of its address (Conn.address, four bytes that padding would take) and gives it back when it
// ends, when nobody can be asked for its address any more. An address costs 20 to 28 bytes while it has connections, and its
// place is reused; memory goes back when all of a stripe's have left. nil counts nothing.
type addresses struct {
	limit   uint32
	prefix6 int
	seed    maphash.Seed
	stripes [addressStripes]addressStripe
}

// addressStripes bounds what two pollers can wait for each other, and how long growing a table takes. A power of two.
const addressStripes = 256

// addressStripe is a hash table whose entries never move, so that their index can be kept.
type addressStripe struct {
	mu      sync.Mutex
	buckets []uint32 // index + 1 of the first entry, 0 = none; a power of two long
	entries []addressEntry
	free    uint32 // index + 1 of the first unused entry
	used    int
}

type addressEntry struct {
	key   uint64
	count uint32
	next  uint32 // of the bucket, or of the unused ones
}

func newAddresses(limit, prefix6 int) *addresses {
	if limit <= 0 {
		return nil
	}
	return &addresses{limit: uint32(limit), prefix6: prefix6, seed: maphash.MakeSeed()}
}

// keyOf is what counts as one address: all of IPv4's 32 bits, and of IPv6 the network, since whoever has one address of it has
// them all. IPv4 lies in ::/64, which IPv6 gives to nobody.
func (a *addresses) keyOf(addr netip.Addr) uint64 {
	addr = addr.Unmap()
	if addr.Is4() {
		b := addr.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := addr.As16()
	return binary.BigEndian.Uint64(b[:8]) >> (64 - a.prefix6) << (64 - a.prefix6)
}

// enter counts one more connection of addr, unless it has its share already. number is for leave, never 0.
func (a *addresses) enter(addr netip.Addr) (number uint32, ok bool) {
	if a == nil {
		return 0, true
	}
	key := a.keyOf(addr)
	h := maphash.Comparable(a.seed, key)
	st := &a.stripes[h%addressStripes]
	st.mu.Lock()
	defer st.mu.Unlock()
	i := st.find(key, h/addressStripes)
	if i == 0 {
		i = st.add(a, key, h/addressStripes)
	}
	e := &st.entries[i-1]
	if e.count >= a.limit {
		return 0, false
	}
	e.count++
	return (i-1)*addressStripes + uint32(h%addressStripes) + 1, true
}

// leave takes back what enter counted; number 0 is nobody.
func (a *addresses) leave(number uint32) {
	if number == 0 {
		return
	}
	number--
	st := &a.stripes[number%addressStripes]
	st.mu.Lock()
	defer st.mu.Unlock()
	e := &st.entries[number/addressStripes]
	e.count--
	if e.count == 0 {
		st.remove(number/addressStripes+1, maphash.Comparable(a.seed, e.key)/addressStripes)
	}
}

// len is how many addresses have connections.
func (a *addresses) len() int {
	if a == nil {
		return 0
	}
	n := 0
	for i := range a.stripes {
		st := &a.stripes[i]
		st.mu.Lock()
		n += st.used
		st.mu.Unlock()
	}
	return n
}

// find returns index + 1.
func (st *addressStripe) find(key, hash uint64) uint32 {
	if len(st.buckets) == 0 {
		return 0
	}
	i := st.buckets[hash&uint64(len(st.buckets)-1)]
	for i != 0 && st.entries[i-1].key != key {
		i = st.entries[i-1].next
	}
	return i
}

func (st *addressStripe) add(a *addresses, key, hash uint64) uint32 {
	if st.used == len(st.buckets) {
		st.grow(a)
	}
	i := st.free
	if i != 0 {
		st.free = st.entries[i-1].next
	} else {
		st.entries = append(st.entries, addressEntry{})
		i = uint32(len(st.entries))
	}
	b := &st.buckets[hash&uint64(len(st.buckets)-1)]
	st.entries[i-1] = addressEntry{key: key, next: *b}
	*b = i
	st.used++
	return i
}

func (st *addressStripe) grow(a *addresses) {
	old := st.buckets
	st.buckets = make([]uint32, max(8, 2*len(old)))
	for _, i := range old {
		for i != 0 {
			e := &st.entries[i-1]
			b := &st.buckets[maphash.Comparable(a.seed, e.key)/addressStripes&uint64(len(st.buckets)-1)]
			i, e.next, *b = e.next, *b, i
		}
	}
}

func (st *addressStripe) remove(i uint32, hash uint64) {
	st.used--
	if st.used == 0 {
		st.buckets, st.entries, st.free = nil, nil, 0
		return
	}
	at := &st.buckets[hash&uint64(len(st.buckets)-1)]
	for *at != i {
		at = &st.entries[*at-1].next
	}
	e := &st.entries[i-1]
	*at = e.next
	*e = addressEntry{next: st.free}
	st.free = i
}
