// Package result holds what a run found, in the form that is kept: one JSON file
// per run under a versioned schema, and the ways to show it (table, HTML, plots).
//
// It computes nothing about servers: figures come in finished. It starts no
// goroutine and opens no connection. Times are wall clock for people; durations
// and latencies were measured on the monotonic clock.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"throng/bench/engine"
	"throng/bench/probe"
)

// SchemaVersion is the value of Report.Schema. It changes when a field changes its
// meaning or goes away; new optional fields do not change it.
const SchemaVersion = "throng-bench/1"

// Report is one run of one subcommand.
type Report struct {
	Schema  string    `json:"schema"`
	Command string    `json:"command"` // subcommand
	Args    []string  `json:"args"`    // as typed
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`

	Partial bool     `json:"partial"` // interrupted: figures are of what was done
	Passed  bool     `json:"passed"`  // the goal of the run was met
	Goal    string   `json:"goal"`
	Misses  []string `json:"misses"` // why not
	Notes   []string `json:"notes"`  // what a reader must know: disturbed, not pinned, ...

	Machine probe.Facts  `json:"machine"`
	Commit  probe.Commit `json:"commit"`
	Pinning Pinning      `json:"pinning"`

	Load       Load     `json:"load"`
	Runs       []Run    `json:"runs"`
	Comparison []Row    `json:"comparison,omitempty"` // medians side by side
	Base       string   `json:"base,omitempty"`       // server the ratios of Comparison refer to
	Ceiling    *Ceiling `json:"ceiling,omitempty"`
}

// Pinning says which cores were used; "" is "not pinned".
type Pinning struct {
	Server string `json:"server_cpus"`
	Client string `json:"client_cpus"`
}

// Load is what was asked for.
type Load struct {
	Targets     []string `json:"targets"`
	Dialect     string   `json:"dialect"`
	Connections int      `json:"connections"`
	Channels    int      `json:"channels"`
	Members     int      `json:"members,omitempty"`
	Talkers     int      `json:"talkers"`
	Payload     int      `json:"payload"`
	Workers     int      `json:"workers"` // load processes
	Nodes       int      `json:"nodes,omitempty"`
}

// Run is one server taken once through a scenario.
type Run struct {
	Server  string   `json:"server"` // name in comparisons
	Command string   `json:"command,omitempty"`
	Round   int      `json:"round"`
	PIDs    []int    `json:"pids,omitempty"`
	Phases  []Phase  `json:"phases"`
	Figures []Figure `json:"figures"`
	Series  []Point  `json:"series,omitempty"`
	Error   string   `json:"error,omitempty"` // why the run ended early
}

// Phase is one stretch of a run.
type Phase struct {
	Name     string            `json:"name"`
	Seconds  float64           `json:"seconds"`
	Counters engine.Counters   `json:"counters"`
	Lost     uint64            `json:"lost"`
	Failures map[string]uint64 `json:"failures,omitempty"` // before ready, by kind
	Drops    map[string]uint64 `json:"drops,omitempty"`    // after ready, by kind
	Codes    map[string]uint64 `json:"codes,omitempty"`    // error replies, by code
	Silent   uint64            `json:"silent,omitempty"`
	Latency  *Dist             `json:"latency,omitempty"` // intended send to delivery
	Connect  *Dist             `json:"connect,omitempty"` // intended start to ready
	Ack      *Dist             `json:"ack,omitempty"`     // publish command to its answer
	Window   *probe.Window     `json:"window,omitempty"`
	Faulty   []ChannelFault    `json:"faulty_channels,omitempty"`
}

// ChannelFault is one channel with losses, duplicates or disorder.
type ChannelFault struct {
	Channel    int    `json:"channel"`
	Owed       uint64 `json:"owed"`
	Received   uint64 `json:"received"`
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	OutOfOrder uint64 `json:"out_of_order"`
}

// Dist is a latency distribution in microseconds. HDR is the whole histogram
// (HdrHistogram V2, compressed, base64), so that others can recompute and merge.
type Dist struct {
	Count int64   `json:"count"`
	Min   int64   `json:"min"`
	Mean  float64 `json:"mean"`
	P50   int64   `json:"p50"`
	P90   int64   `json:"p90"`
	P99   int64   `json:"p99"`
	P999  int64   `json:"p999"`
	Max   int64   `json:"max"`
	HDR   string  `json:"hdr"`
}

// NewDist summarises h; nil when it is empty.
func NewDist(h *hdrhistogram.Histogram) (*Dist, error) {
	if h == nil || h.TotalCount() == 0 {
		return nil, nil
	}
	p, err := h.EncodeV2()
	if err != nil {
		return nil, fmt.Errorf("encode histogram: %w", err)
	}
	return &Dist{
		Count: h.TotalCount(), Min: h.Min(), Mean: h.Mean(), P50: h.ValueAtQuantile(50),
		P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9),
		Max: h.Max(), HDR: string(p),
	}, nil
}

// Better says which direction of a figure is good.
type Better string

// Directions.
const (
	Lower  Better = "lower"
	Higher Better = "higher"
	Plain  Better = "" // neither: a fact
)

// Figure is one number of a run; Key is stable across versions and servers.
type Figure struct {
	Key    string  `json:"key"`
	Label  string  `json:"label"`
	Unit   string  `json:"unit"`
	Value  float64 `json:"value"`
	Better Better  `json:"better,omitempty"`
}

// Point is one moment of a run, for plots.
type Point struct {
	At        float64 `json:"at"` // seconds since the run began
	Phase     string  `json:"phase"`
	Open      int64   `json:"open"`
	Failed    uint64  `json:"failed"`
	Dropped   uint64  `json:"dropped"`
	Received  uint64  `json:"received"`
	UserBytes int64   `json:"user_bytes,omitempty"`
	ServerCPU float64 `json:"server_cpu,omitempty"` // cores since the point before
}

// Row compares one figure over servers: medians over rounds.
type Row struct {
	Key    string             `json:"key"`
	Label  string             `json:"label"`
	Unit   string             `json:"unit"`
	Better Better             `json:"better,omitempty"`
	Median map[string]float64 `json:"median"`
	Ratio  map[string]float64 `json:"ratio"` // to Report.Base
	Spread map[string]float64 `json:"spread"`
}

// Ceiling is what the harness reached against the built-in null server (a bare
// epoll writer) with the same pinning: it bounds what any figure can show, and its
// CPU per delivery is the floor.
type Ceiling struct {
	Connections int      `json:"connections"`
	Figures     []Figure `json:"figures"`
}

// Figure returns the figure with that key.
func (r *Run) Figure(key string) (float64, bool) { return find(r.Figures, key) }

// Figure returns the ceiling's figure with that key; it may be called on nil.
func (c *Ceiling) Figure(key string) (float64, bool) {
	if c == nil {
		return 0, false
	}
	return find(c.Figures, key)
}

func find(figures []Figure, key string) (float64, bool) {
	for i := range figures {
		if figures[i].Key == key {
			return figures[i].Value, true
		}
	}
	return 0, false
}

// Write stores r as indented JSON, atomically: a reader never sees half a file.
func (r *Report) Write(path string) error {
	p, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = tmp.Write(append(p, '\n'))
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("report: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}

// Read loads a report and refuses other schema versions.
func Read(path string) (*Report, error) {
	p, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(p, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Schema != SchemaVersion {
		return nil, fmt.Errorf("%s: schema %q, this program reads %q", path, r.Schema, SchemaVersion)
	}
	return &r, nil
}
