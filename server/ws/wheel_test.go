package ws

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const testTick = 100 * time.Millisecond

// running starts a wheel in a bubble and returns what came due for a connection, in ticks since start.
func running(t *testing.T, next func(c *Conn) uint32) (*wheel, func(*Conn) []uint32) {
	w := newWheel(testTick)
	begin := w.now()
	var mu sync.Mutex
	due := map[*Conn][]uint32{}
	go w.run(func(c *Conn) uint32 {
		mu.Lock()
		due[c] = append(due[c], w.now()-begin)
		mu.Unlock()
		return next(c)
	})
	t.Cleanup(w.halt)
	return w, func(c *Conn) []uint32 {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return due[c]
	}
}

func never(*Conn) uint32 { return 0 }

func TestWheelCallsWhenDueAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, due := running(t, never)
		c := &Conn{}
		w.schedule(c, 25*time.Second)
		time.Sleep(24900 * time.Millisecond)
		if len(due(c)) != 0 {
			t.Fatalf("due after %v ticks, want 250", due(c))
		}
		time.Sleep(200 * time.Millisecond)
		if len(due(c)) != 1 || due(c)[0] != 250 {
			t.Fatalf("due at ticks %v, want [250]", due(c))
		}
	})
}

func TestWheelRepeatsMovesAndRemoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		repeat := &Conn{}
		w, due := running(t, func(c *Conn) uint32 {
			if c == repeat {
				return 10
			}
			return 0
		})
		moved, removed := &Conn{}, &Conn{}
		w.schedule(repeat, time.Second)
		w.schedule(moved, time.Second)
		w.schedule(moved, 3*time.Second)
		w.schedule(removed, 2*time.Second)
		w.remove(removed)
		w.schedule(removed, time.Second) // gone is for ever
		time.Sleep(5*time.Second + testTick/2)
		if len(due(repeat)) != 5 || len(due(moved)) != 1 || due(moved)[0] != 30 || len(due(removed)) != 0 {
			t.Errorf("repeat %v, moved %v, removed %v", due(repeat), due(moved), due(removed))
		}
		if n := len(w.all()); n != 1 {
			t.Errorf("%d connections in the wheel, want 1", n)
		}
	})
}

func TestWheelRemovedWhileItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wheel
		w, due := running(t, func(c *Conn) uint32 {
			w.remove(c)
			return 5
		})
		c := &Conn{}
		w.schedule(c, time.Second)
		time.Sleep(10 * time.Second)
		if len(due(c)) != 1 || len(w.all()) != 0 {
			t.Errorf("due %v, %d left in the wheel", due(c), len(w.all()))
		}
	})
}

func TestWheelBeyondItsHorizon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, due := running(t, never)
		c := &Conn{}
		w.schedule(c, time.Hour)
		time.Sleep(2 * time.Minute)
		if len(due(c)) != 1 || due(c)[0] != wheelSlots-1 {
			t.Errorf("due at %v, want once at the horizon, where the caller looks again", due(c))
		}
	})
}

// The slots against a map, for random schedules, removals and ticks.
func TestWheelModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWheel(testTick)
	model := map[*Conn]uint32{} // tick it is due
	var conns []*Conn
	for range 300 {
		conns = append(conns, &Conn{})
	}
	for range 100_000 {
		c := conns[r.IntN(len(conns))]
		switch r.IntN(4) {
		case 0, 1:
			ticks := uint32(1 + r.IntN(wheelSlots-1))
			w.schedule(c, time.Duration(ticks)*testTick)
			model[c] = w.now() + ticks
		case 2:
			w.mu.Lock()
			w.unlink(c)
			w.mu.Unlock()
			delete(model, c)
		case 3:
			w.advance(func(c *Conn) uint32 {
				if model[c] != w.now() {
					t.Fatalf("due at %d, want %d", w.now(), model[c])
				}
				delete(model, c)
				return 0
			})
			for c, at := range model {
				if at <= w.now() {
					t.Fatalf("%p missed at %d", c, at)
				}
			}
		}
	}
	if len(w.all()) != len(model) {
		t.Errorf("%d in the wheel, want %d", len(w.all()), len(model))
	}
}
