package main

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTrimmerCollectsOnceAfterAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var churn atomic.Uint64
		var connections, collected atomic.Int64
		tr := newTrimmer(func() (uint64, int64) { return churn.Load(), connections.Load() })
		tr.collect = func() { collected.Add(1) }
		go tr.run()
		defer tr.close()
		step := func(what string, more uint64, want int64) {
			t.Helper()
			churn.Add(more)
			time.Sleep(trimEvery)
			synctest.Wait()
			if got := collected.Load(); got != want {
				t.Errorf("%s: %d collections, want %d", what, got, want)
			}
		}
		time.Sleep(trimEvery / 2) // between two ticks from here on
		connections.Store(10_000)
		step("storm begins", 5_000, 0)
		step("storm goes on", 15_000, 0)
		step("calm", 0, 1)
		step("still calm", 0, 1)
		step("few come and go", 900, 1)
		step("few in the next second", 0, 1)
		connections.Store(1_000_000)
		step("a fiftieth of a million", 20_000, 1)
		step("calm, not worth it", 0, 1)
		step("another tenth", 100_000, 1)
		step("calm, worth it", 0, 2)
	})
}
