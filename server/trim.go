package main

import (
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// trimmer gives memory back after storms and bursts. Millions of small objects that live long make the collector's usual
// pacing (GOGC: wait until the heap has doubled) expensive just then: the garbage of ten thousand reconnects would stay for
// minutes on a node that is quiet afterwards. So: once enough has come and gone, and that has calmed down, collect once and
// return the pages.
type trimmer struct {
	every   time.Duration // how often to look
	work    func() workDone
	collect func()

	stop, stopped chan struct{}
}

// workDone is what makes garbage.
type workDone struct {
	churn       uint64 // connections that came or went, since start
	connections uint64 // now
	allocated   uint64 // bytes, since start
	live        uint64 // bytes the last collection found in use
}

const (
	trimEvery = time.Second
	// Less is not worth a collection, which costs in proportion to everything that lives.
	trimLeastChurn, trimChurnShare = 1000, 10   // comings and goings: at least so many, and a tenth of all connections
	trimLeastBytes, trimBytesShare = 1 << 20, 4 // allocations: at least so much, and a quarter of the heap in use
	// trimCalm: calm is when the last look saw less than a twentieth of what is waiting to be trimmed.
	trimCalm = 20
)

func newTrimmer(work func() workDone) *trimmer {
	return &trimmer{every: trimEvery, work: work, collect: debug.FreeOSMemory, stop: make(chan struct{}), stopped: make(chan struct{})}
}

func (t *trimmer) run() {
	defer close(t.stopped)
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	var trimmed, last workDone
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
		}
		now := t.work()
		churn := worth(now.churn-trimmed.churn, now.churn-last.churn, max(trimLeastChurn, now.connections/trimChurnShare))
		bytes := worth(now.allocated-trimmed.allocated, now.allocated-last.allocated, max(trimLeastBytes, now.live/trimBytesShare))
		last = now
		if churn == calmed && bytes != busy || bytes == calmed && churn != busy {
			t.collect()
			trimmed = t.work()
			last = trimmed
		}
	}
}

type workState uint8

const (
	little workState = iota // not worth a collection
	busy                    // worth one, and still going on
	calmed                  // worth one, and over
)

func worth(pending, recent, least uint64) workState {
	switch {
	case pending < least:
		return little
	case recent > pending/trimCalm:
		return busy
	}
	return calmed
}

func (t *trimmer) close() {
	close(t.stop)
	<-t.stopped
}

// heapWork reads what the runtime knows of allocations. It does not stop the world.
func heapWork() (allocated, live uint64) {
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}
