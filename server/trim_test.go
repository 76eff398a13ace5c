package main

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTrimmerCollectsOnceAfterAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var work workDone
		collected := 0
		tr := newTrimmer(func() workDone { mu.Lock(); defer mu.Unlock(); return work })
		tr.collect = func() { mu.Lock(); collected++; mu.Unlock() }
		go tr.run()
		defer tr.close()
		step := func(what string, churn, bytes uint64, want int) {
			t.Helper()
			mu.Lock()
			work.churn += churn
			work.allocated += bytes
			mu.Unlock()
			time.Sleep(trimEvery)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if collected != want {
				t.Errorf("%s: %d collections, want %d", what, collected, want)
			}
		}
		time.Sleep(trimEvery / 2) // between two ticks from here on
		work.connections, work.live = 10_000, 8<<20
		step("storm begins", 5_000, 1<<20, 0)
		step("storm goes on", 15_000, 5<<20, 0)
		step("calm", 0, 0, 1)
		step("still calm", 0, 1000, 1)
		step("few come and go", 900, 10_000, 1)
		step("few in the next second", 0, 0, 1)
		mu.Lock()
		work.connections, work.live = 1_000_000, 500<<20
		mu.Unlock()
		step("a fiftieth of a million", 20_000, 10<<20, 1)
		step("calm, not worth it", 0, 0, 1)
		step("another tenth", 100_000, 10<<20, 1)
		step("calm, worth it", 0, 0, 2)
		step("a burst of messages", 0, 300<<20, 2)
		step("goes on", 0, 300<<20, 2)
		step("calm after messages", 0, 1<<20, 3)
		for range 10 {
			step("steady traffic is never calm", 0, 50<<20, 3)
		}
	})
}

func TestHeapWorkIsRead(t *testing.T) {
	before, _ := heapWork()
	sink = make([]byte, 4<<20)
	after, live := heapWork()
	if after-before < 4<<20 || live == 0 {
		t.Errorf("%d bytes allocated, %d live", after-before, live)
	}
}

var sink []byte
