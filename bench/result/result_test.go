package result

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"throng/bench/engine"
	"throng/bench/probe"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a report with every optional part.
func sample(t *testing.T) *Report {
	t.Helper()
	h := engine.NewHistogram()
	for v := int64(100); v < 100_000; v += 100 {
		if err := h.RecordValue(v); err != nil {
			t.Fatal(err)
		}
	}
	d, err := NewDist(h)
	if err != nil {
		t.Fatal(err)
	}
	run := func(server string, round int, cpu float64) Run {
		return Run{
			Server: server, Round: round, Command: server + " --addr x", PIDs: []int{1},
			Figures: []Figure{
				{Key: "user_bytes_per_conn", Label: "user memory per connection, idle", Unit: "B", Value: 500 * cpu, Better: Lower},
				{Key: "delivery_cpu_us_w1", Label: "CPU per delivery, 1 in flight", Unit: "us", Value: cpu, Better: Lower},
				{Key: "threads", Label: "threads", Value: 7},
			},
			Phases: []Phase{{
				Name: "window 1", Seconds: 2, Lost: 1, Counters: engine.Counters{Open: 10, Sent: 3, Owed: 30, Received: 30, Duplicated: 1},
				Failures: map[string]uint64{"reset": 2}, Drops: map[string]uint64{"close_1001": 1}, Silent: 1, Latency: d, Connect: d,
				Window: &probe.Window{Seconds: 2, ServerCPU: 0.5, OtherCPU: 0.2, Disturbed: true, Metrics: map[string]float64{"go_goroutines": 30}},
				Faulty: []ChannelFault{{Channel: 0, Owed: 30, Received: 30, Lost: 1, Duplicated: 1}},
			}},
			Series: []Point{{At: 1, Phase: "open", Open: 5}, {At: 2, Phase: "open", Open: 10, UserBytes: 7}, {At: 3, Phase: "window 1", Open: 10, Received: 30}},
		}
	}
	r := &Report{
		Schema: SchemaVersion, Command: "compare", Args: []string{"compare", "-c", "10"},
		Started: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Seconds: 12, Goal: "every message once and in order",
		Misses: []string{"b, window 1: 1 deliveries lost"}, Notes: []string{"round 1 was disturbed"},
		Machine: probe.Facts{CPU: "a processor", Cores: 2, Memory: 24 << 30, Kernel: "Linux 6.18", Go: "go1.26"},
		Commit:  probe.Commit{ID: "0123456789ab"}, Pinning: Pinning{Server: "0", Client: "1"},
		Load:    Load{Targets: []string{"ws://127.0.0.1:1/"}, Dialect: "raw", Connections: 10, Channels: 1, Talkers: 1, Payload: 128, Workers: 1},
		Runs:    []Run{run("a", 1, 4), run("b", 1, 8), run("a", 2, 6), run("b", 2, 9)},
		Ceiling: &Ceiling{Connections: 10, Figures: []Figure{{Key: "delivery_cpu_us_w1", Label: "CPU per delivery, 1 in flight", Unit: "us", Value: 3, Better: Lower}}},
	}
	r.Compare("a")
	return r
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid checks a report file against the schema.
func valid(t *testing.T, s *jsonschema.Schema, file string) error {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestReportsFollowTheSchema(t *testing.T) {
	s := schema(t)
	file := filepath.Join(t.TempDir(), "r.json")
	empty := &Report{Schema: SchemaVersion, Command: "idle", Args: []string{}, Misses: []string{"down"}, Notes: []string{}, Machine: probe.ReadFacts()}
	for name, r := range map[string]*Report{"full": sample(t), "a run that could not begin": empty} {
		if err := r.Write(file); err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheSchemaRefusesWhatIsNoReport(t *testing.T) {
	s := schema(t)
	file := filepath.Join(t.TempDir(), "r.json")
	for name, spoil := range map[string]func(m map[string]any){
		"another version":       func(m map[string]any) { m["schema"] = "throng-bench/2" },
		"no verdict":            func(m map[string]any) { delete(m, "passed") },
		"an unknown member":     func(m map[string]any) { m["verdict"] = "fine" },
		"a negative duration":   func(m map[string]any) { m["seconds"] = -1 },
		"runs that are no list": func(m map[string]any) { m["runs"] = "none" },
		"a figure without key": func(m map[string]any) {
			delete(m["runs"].([]any)[0].(map[string]any)["figures"].([]any)[0].(map[string]any), "key")
		},
		"a distribution without its histogram": func(m map[string]any) {
			phase := m["runs"].([]any)[0].(map[string]any)["phases"].([]any)[0].(map[string]any)
			delete(phase["latency"].(map[string]any), "hdr")
		},
	} {
		var m map[string]any
		if err := sample(t).Write(file); err != nil {
			t.Fatal(err)
		}
		p, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(p, &m); err != nil {
			t.Fatal(err)
		}
		spoil(m)
		if p, err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, p, 0o600); err != nil {
			t.Fatal(err)
		}
		if valid(t, s, file) == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestCommittedBaselinesFollowTheSchema(t *testing.T) {
	files, err := filepath.Glob("../results/*.json")
	if err != nil {
		t.Fatal(err)
	}
	s := schema(t)
	for _, f := range files {
		if err := valid(t, s, f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if r, err := Read(f); err != nil || r.Partial {
			t.Errorf("%s: partial or unreadable: %v", f, err)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", file, got)
	}
}

func TestTableIsAsItWas(t *testing.T) {
	var b strings.Builder
	r := sample(t)
	if err := Table(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", b.String())
	b.Reset()
	r.Comparison, r.Runs, r.Partial = nil, r.Runs[:1], true
	if err := Table(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "single.txt", b.String())
}

func TestReportSurvivesItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	want := sample(t)
	if err := want.Write(file); err != nil {
		t.Fatal(err)
	}
	got, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(want)
	b, _ := json.Marshal(got)
	if !bytes.Equal(a, b) {
		t.Error("the report read is not the one written")
	}
	got.Schema = "throng-bench/0"
	if err := got.Write(file); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil || !strings.Contains(err.Error(), "throng-bench/0") {
		t.Errorf("another version must be refused by name: %v", err)
	}
	if err := got.Write(filepath.Join(t.TempDir(), "no", "such", "dir.json")); err == nil {
		t.Error("a folder that is not there must be an error")
	}
}

func TestMediansRatiosAndSpread(t *testing.T) {
	r := sample(t)
	row := r.Comparison[1]
	if row.Key != "delivery_cpu_us_w1" || !maps.Equal(row.Median, map[string]float64{"a": 5, "b": 8.5}) ||
		row.Ratio["a"] != 1 || row.Ratio["b"] != 1.7 || row.Spread["a"] != 0.4 {
		t.Errorf("%+v", row)
	}
	for _, row := range r.Comparison {
		if row.Key == "threads" {
			t.Error("facts without a direction are not compared")
		}
	}
}

func TestPageStandsForItself(t *testing.T) {
	r := sample(t)
	r.Goal = "<script>alert(1)</script>"
	file := filepath.Join(t.TempDir(), "r.html")
	if err := WriteHTML(file, r, r); err != nil {
		t.Fatal(err)
	}
	p, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(p)
	for _, bad := range []string{"<script", "src=", "href=\"http", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %s", bad)
		}
	}
	if n := strings.Count(page, "<svg"); n < 6 {
		t.Errorf("%d pictures", n)
	}
}

func TestPicturesRenderInBothFormats(t *testing.T) {
	dir := t.TempDir()
	r := sample(t)
	single := *r
	single.Command, single.Comparison, single.Runs = "idle", nil, r.Runs[:1]
	for _, x := range []*Report{r, &single, {Command: "none"}} {
		if err := WritePictures(dir, x, "svg", "png"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"compare-latency", "compare-compare-delivery_cpu_us_w1", "idle-course"} {
		svg, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil || !bytes.Contains(svg, []byte("</svg>")) {
			t.Errorf("%s.svg: %v", name, err)
		}
		png, err := os.ReadFile(filepath.Join(dir, name+".png"))
		if err != nil || !bytes.HasPrefix(png, []byte("\x89PNG")) {
			t.Errorf("%s.png: %v", name, err)
		}
	}
}
