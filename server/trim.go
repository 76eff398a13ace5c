package main

import (
	"runtime/debug"
	"time"
)

// trimmer gives memory back after storms. Millions of small objects that live long make the collector's usual pacing
// (GOGC: wait until the heap has doubled) expensive just then: the garbage of ten thousand reconnects would stay for hours on a
// node that is quiet afterwards. So: once connections have come and gone in numbers, and that has calmed down, collect
// once and return the pages.
type trimmer struct {
	every   time.Duration                        // how often to look
	least   uint64                               // comings and goings that are worth a collection
	churn   func() (n uint64, connections int64) // comings and goings since start, connections now
	collect func()

	stop, stopped chan struct{}
}

const (
	trimEvery = time.Second
	trimLeast = 1000
	// trimShare: a collection costs in proportion to all connections, so a small part of them leaving is not worth one.
	trimShare = 10
	// trimCalm: calm is when the last look saw less than this part of what is waiting to be trimmed.
	trimCalm = 20
)

func newTrimmer(churn func() (uint64, int64)) *trimmer {
	return &trimmer{every: trimEvery, least: trimLeast, churn: churn, collect: debug.FreeOSMemory, stop: make(chan struct{}), stopped: make(chan struct{})}
}

func (t *trimmer) run() {
	defer close(t.stopped)
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	var trimmed, last uint64
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
		}
		now, connections := t.churn()
		pending, recent := now-trimmed, now-last
		last = now
		if pending < max(t.least, uint64(connections)/trimShare) || recent > pending/trimCalm {
			continue
		}
		t.collect()
		trimmed = now
	}
}

func (t *trimmer) close() {
	close(t.stop)
	<-t.stopped
}
