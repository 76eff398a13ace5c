package main

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Buckets are powers of two: the upper bounds go from 16 us (one write to a handful of clients) to 8.4 s
// (far beyond any healthy fan-out), and finding one is a single instruction.
const (
	firstBucketBits = 4 // 2^4 us
	durationBuckets = 20
)

// durationHistogram counts durations without locks: one atomic addition to a bucket and one to the sum.
// The zero value is ready. Any goroutine may observe and collect.
type durationHistogram struct {
	buckets [durationBuckets + 1]atomic.Uint64 // the last holds what is beyond all bounds
	nanos   atomic.Uint64
}

func (h *durationHistogram) observe(d time.Duration) {
	d = max(d, 0)
	us := uint64((d + time.Microsecond - 1) / time.Microsecond) // up: a bound is inclusive
	bucket := 0
	if us > 1<<firstBucketBits {
		bucket = min(bits.Len64(us-1)-firstBucketBits, durationBuckets)
	}
	h.buckets[bucket].Add(1)
	h.nanos.Add(uint64(d))
}

// bucketBound is the upper bound of bucket i in seconds.
func bucketBound(i int) float64 {
	return float64(uint64(1)<<(firstBucketBits+i)) / 1e6
}

// histogramCollector shows a durationHistogram to Prometheus.
type histogramCollector struct {
	histogram *durationHistogram
	desc      *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *histogramCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements prometheus.Collector.
func (c *histogramCollector) Collect(out chan<- prometheus.Metric) {
	var count uint64
	cumulative := make(map[float64]uint64, durationBuckets)
	for i := range c.histogram.buckets {
		count += c.histogram.buckets[i].Load()
		if i < durationBuckets {
			cumulative[bucketBound(i)] = count
		}
	}
	sum := float64(c.histogram.nanos.Load()) / 1e9
	out <- prometheus.MustNewConstHistogram(c.desc, count, sum, cumulative)
}
