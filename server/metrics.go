package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"throng/broker"
	"throng/server/demo"
	"throng/server/history"
	"throng/server/hub"
	"throng/server/livechat"
	"throng/server/members"
	"throng/server/session"
	"throng/server/ws"
)

// Snapshot is everything the metrics are made from, taken once per scrape. Nothing on a hot path knows of
// Prometheus: packages count into their own atomics, and a scrape reads those.
type Snapshot struct {
	WS     ws.Stats
	Hub    hub.Stats
	Broker broker.Stats
	Chat   livechat.Stats

	Sessions session.Stats
	Members  members.Stats
	Control  broker.ControlStats
	API      apiFigures
	Proxy    proxyFigures
	Demo     demo.Stats
	Streams  broker.StreamsStats
	Past     history.Stats
	NotJSON  uint64 // publications JSON clients did not get because their data is not JSON

	ConnectionLimit int    // clients this node may hold
	Ready           bool   // what /readyz says
	Draining        bool   // SIGTERM has come
	LogSuppressed   uint64 // lines held back by the log limiter
}

// metrics turns snapshots into Prometheus metrics and keeps the one histogram there is.
type metrics struct {
	registry *prometheus.Registry
	fanout   *durationHistogram
}

// newMetrics registers the process's own collectors and ours. snapshot is called by each scrape, from its
// goroutine, possibly several at once.
func newMetrics(node string, v versionInfo, snapshot func() Snapshot) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), fanout: &durationHistogram{}}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&snapshotCollector{snapshot: snapshot, families: describeFamilies()},
		&histogramCollector{m.fanout, prometheus.NewDesc("throng_hub_fanout_duration_seconds",
			"From the begin of a fan-out turn until its last subscriber was flushed.", nil, nil)},
		infoCollector(node, v),
	)
	return m
}

// ObserveFanout is hub.Config.OnFanout: it counts one fan-out turn. Any goroutine, never blocks, no allocation.
func (m *metrics) ObserveFanout(d time.Duration, _ int) { m.fanout.observe(d) }

func infoCollector(node string, v versionInfo) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "throng_node_info", Help: "Always 1; the labels say which node and build this is.",
		ConstLabels: prometheus.Labels{
			"node": node, "version": v.Version, "commit": v.Commit, "nbio": v.NBIO, "nats_server": v.NATS,
		},
	})
	info.Set(1)
	return info
}

// family is one metric name: what it tells, and how its samples come out of a Snapshot.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	read       func(s *Snapshot, put putFunc)
	spread     func(s *Snapshot) (buckets []uint64, sum float64) // of a histogram instead of read; bounds are bucketBound's
}

// putFunc takes one sample; labels in the order of the family's.
type putFunc func(value float64, labels ...string)

type describedFamily struct {
	family
	desc *prometheus.Desc
}

func describeFamilies() []describedFamily {
	var out []describedFamily
	for _, f := range metricFamilies() {
		out = append(out, describedFamily{f, prometheus.NewDesc(f.name, f.help, f.labels, nil)})
	}
	return out
}

// snapshotCollector is a prometheus.Collector over the table of families.
type snapshotCollector struct {
	snapshot func() Snapshot
	families []describedFamily
}

// Describe implements prometheus.Collector.
func (c *snapshotCollector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range c.families {
		out <- f.desc
	}
}

// Collect implements prometheus.Collector: one snapshot, all families.
func (c *snapshotCollector) Collect(out chan<- prometheus.Metric) {
	s := c.snapshot()
	for _, f := range c.families {
		if f.spread != nil {
			out <- f.histogram(&s)
			continue
		}
		f.read(&s, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
		})
	}
}

// histogram makes one of counts per bucket, of which the last is beyond all bounds.
func (f *describedFamily) histogram(s *Snapshot) prometheus.Metric {
	buckets, sum := f.spread(s)
	var count uint64
	cumulative := make(map[float64]uint64, len(buckets))
	for i, n := range buckets {
		count += n
		if i < len(buckets)-1 {
			cumulative[bucketBound(i)] = count
		}
	}
	return prometheus.MustNewConstHistogram(f.desc, count, sum, cumulative)
}
