package main

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// numberedSnapshot returns a Snapshot in which every number is different, and those numbers with their
// field's name.
func numberedSnapshot(t *testing.T) (Snapshot, map[float64]string) {
	t.Helper()
	var s Snapshot
	names := map[float64]string{}
	next := uint64(1000)
	take := func(name string) uint64 {
		next++
		names[float64(next)] = name
		return next
	}
	var fill func(v reflect.Value, name string)
	fill = func(v reflect.Value, name string) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
		case reflect.Array:
			for i := range v.Len() {
				fill(v.Index(i), fmt.Sprint(name, i))
			}
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(take(name)))
		case reflect.Uint64:
			v.SetUint(take(name))
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			for i, word := range []string{"one", "two"} {
				key := reflect.New(v.Type().Key()).Elem()
				if key.Kind() == reflect.String {
					key.SetString(word)
				} else {
					key.SetUint(uint64(i + 1))
				}
				v.SetMapIndex(key, reflect.ValueOf(take(name+" "+word)))
			}
		default:
			t.Fatalf("%s is a %s: teach this test", name, v.Kind())
		}
	}
	fill(reflect.ValueOf(&s).Elem(), "Snapshot")
	return s, names
}

func testMetrics(s Snapshot) *metrics {
	return newMetrics("1111", versionInfo{Version: "v1", Commit: "c", NBIO: "n", NATS: "s"}, func() Snapshot { return s })
}

// gather returns the value of every sample whose name starts with throng_, by name and labels.
func gather(t *testing.T, m *metrics) map[string]float64 {
	t.Helper()
	got, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range got {
		if !strings.HasPrefix(family.GetName(), "throng_") {
			continue
		}
		for _, sample := range family.GetMetric() {
			key := family.GetName()
			for _, label := range sample.GetLabel() {
				key += "," + label.GetName() + "=" + label.GetValue()
			}
			out[key] = sample.GetCounter().GetValue() + sample.GetGauge().GetValue() + float64(sample.GetHistogram().GetSampleCount())
			gatherHistogram(out, key, sample.GetHistogram())
		}
	}
	return out
}

// gatherHistogram takes a histogram's buckets apart again, and its sum in nanoseconds.
func gatherHistogram(out map[string]float64, key string, h *dto.Histogram) {
	if h == nil {
		return
	}
	before := uint64(0)
	for i, b := range h.GetBucket() {
		out[fmt.Sprint(key, ",bucket=", i)] = float64(b.GetCumulativeCount() - before)
		before = b.GetCumulativeCount()
	}
	out[key+",bucket=last"] = float64(h.GetSampleCount() - before)
	out[key+",sum"] = math.Round(h.GetSampleSum() * 1e9)
}

// A counter that a package adds and nobody shows would be a loss in silence.
func TestEveryFigureOfASnapshotIsAMetric(t *testing.T) {
	s, names := numberedSnapshot(t)
	shown := map[float64]bool{}
	for _, value := range gather(t, testMetrics(s)) {
		shown[value] = true
	}
	for value, name := range names {
		if !shown[value] {
			t.Errorf("%s is in no metric", name)
		}
	}
}

func TestMetricsCarryTheirLabels(t *testing.T) {
	s, _ := numberedSnapshot(t)
	got := gather(t, testMetrics(s))
	for key, want := range map[string]float64{
		"throng_ws_connections,state=open":                                    float64(s.WS.Connections),
		"throng_ws_connections,state=handshaking":                             float64(s.WS.Handshaking),
		"throng_ws_connections,state=http":                                    float64(s.WS.HTTP),
		"throng_ws_handshakes_total,result=one":                               float64(s.WS.Handshakes["one"]),
		"throng_ws_closes_total,code=two,side=peer":                           float64(s.WS.ClosedByPeer["two"]),
		"throng_ws_closes_total,code=one,side=server":                         float64(s.WS.ClosedByServer["one"]),
		"throng_ws_received_messages_total,opcode=binary":                     float64(s.WS.BinaryIn),
		"throng_ws_lost_bytes_total,reason=slow_consumer":                     float64(s.WS.LostBytesSlow),
		"throng_broker_lost_messages_total,reason=publish_queue_full":         float64(s.Broker.Lost[0]),
		"throng_livechat_lost_messages_total,reason=busy":                     float64(s.Chat.LostBusy),
		"throng_broker_connected":                                             1,
		"throng_node_ready":                                                   1,
		"throng_node_info,commit=c,nats_server=s,nbio=n,node=1111,version=v1": 1,
	} {
		if got[key] != want {
			t.Errorf("%s = %v, want %v", key, got[key], want)
		}
	}
	if got := gather(t, testMetrics(Snapshot{}))["throng_broker_connected"]; got != 0 {
		t.Errorf("connected without a link: %v", got)
	}
}

func TestMetricsPassThePrometheusLinter(t *testing.T) {
	s, _ := numberedSnapshot(t)
	m := testMetrics(s)
	m.ObserveFanout(time.Millisecond, 1)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricNamesFollowTheScheme(t *testing.T) {
	scheme := regexp.MustCompile(`^throng_(node|ws|hub|broker|livechat|session|stream|history|members|control|api|proxy|demo)_[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	for _, f := range metricFamilies() {
		if !scheme.MatchString(f.name) || seen[f.name] {
			t.Errorf("%s is out of the scheme or there twice", f.name)
		}
		if (f.kind == prometheus.CounterValue) != strings.HasSuffix(f.name, "_total") {
			t.Errorf("%s: counters, and only those, end in _total", f.name)
		}
		if !strings.HasSuffix(f.help, ".") {
			t.Errorf("%s: help %q is no sentence", f.name, f.help)
		}
		seen[f.name] = true
	}
}

func TestProcessAndRuntimeAreShown(t *testing.T) {
	got, err := testMetrics(Snapshot{}).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, family := range got {
		names[family.GetName()] = true
	}
	for _, want := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"} {
		if !names[want] {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestHistogramPutsEachDurationUnderItsBound(t *testing.T) {
	for d, want := range map[time.Duration]int{
		-time.Second: 0, 0: 0, time.Nanosecond: 0, 16 * time.Microsecond: 0,
		16*time.Microsecond + 1: 1, 17 * time.Microsecond: 1, 32 * time.Microsecond: 1, 33 * time.Microsecond: 2,
		time.Millisecond: 6, 8 * time.Second: durationBuckets - 1, 9 * time.Second: durationBuckets, math.MaxInt64: durationBuckets,
	} {
		var h durationHistogram
		h.observe(d)
		for i := range h.buckets {
			if n := h.buckets[i].Load(); (n == 1) != (i == want) {
				t.Errorf("%v: bucket %d holds %d, want it in %d", d, i, n, want)
			}
		}
		if want < durationBuckets && d.Seconds() > bucketBound(want) || want > 0 && d.Seconds() <= bucketBound(want-1) {
			t.Errorf("%v does not belong under %v s", d, bucketBound(min(want, durationBuckets)))
		}
	}
}

func TestFanoutHistogramIsCumulative(t *testing.T) {
	m := testMetrics(Snapshot{})
	for range 3 {
		m.ObserveFanout(20*time.Microsecond, 10)
	}
	m.ObserveFanout(10*time.Second, 10)
	got, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range got {
		if family.GetName() != "throng_hub_fanout_duration_seconds" {
			continue
		}
		h := family.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 4 || math.Abs(h.GetSampleSum()-10.00006) > 1e-9 || len(h.GetBucket()) != durationBuckets {
			t.Errorf("%v", h)
		}
		if b := h.GetBucket(); b[0].GetCumulativeCount() != 0 || b[1].GetCumulativeCount() != 3 || b[durationBuckets-1].GetCumulativeCount() != 3 {
			t.Errorf("%v", b)
		}
		return
	}
	t.Error("no histogram")
}

func TestObservingAllocatesNothing(t *testing.T) {
	m := testMetrics(Snapshot{})
	if n := testing.AllocsPerRun(100, func() { m.ObserveFanout(time.Millisecond, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
