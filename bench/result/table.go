package result

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Table writes r for a terminal.
func Table(w io.Writer, r *Report) error {
	b := &strings.Builder{}
	head(b, r)
	if len(r.Comparison) > 0 {
		comparison(b, r)
	} else {
		for i := range r.Runs {
			figures(b, r, &r.Runs[i])
		}
	}
	for i := range r.Runs {
		if len(r.Comparison) == 0 || r.Runs[i].Error != "" { // else it is in the file
			phases(b, &r.Runs[i])
		}
	}
	ceiling(b, r.Ceiling)
	verdict(b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

func head(b *strings.Builder, r *Report) {
	fmt.Fprintf(b, "\nbench %s  %s  commit %s%s\n", r.Command, r.Started.Format("2006-01-02 15:04:05 MST"), orUnknown(r.Commit.ID), mark(r.Commit.Dirty, " (dirty)"))
	fmt.Fprintf(b, "%s, %d cores, %s memory, %s, %s\n", r.Machine.CPU, r.Machine.Cores, Bytes(float64(r.Machine.Memory)), r.Machine.Kernel, r.Machine.Go)
	fmt.Fprintf(b, "%d connections, %d channels, %d B, dialect %s, %d load processes; server on cores %s, load on cores %s\n\n",
		r.Load.Connections, r.Load.Channels, r.Load.Payload, orUnknown(r.Load.Dialect), r.Load.Workers, orAny(r.Pinning.Server), orAny(r.Pinning.Client))
}

func mark(on bool, text string) string {
	if on {
		return text
	}
	return ""
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

func figures(b *strings.Builder, r *Report, run *Run) {
	t := tabwriter.NewWriter(b, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\t\tnull server\tratio\t\n", run.Server)
	for _, f := range run.Figures {
		fmt.Fprintf(t, "%s\t%s\t", f.Label, Value(f.Value, f.Unit))
		if floor, ok := r.Ceiling.Figure(f.Key); ok && floor > 0 && f.Better != Plain {
			fmt.Fprintf(t, "%s\t%.2f\t\n", Value(floor, f.Unit), f.Value/floor)
		} else {
			fmt.Fprint(t, "\t\t\n")
		}
	}
	_ = t.Flush() // a strings.Builder takes everything
	b.WriteByte('\n')
}

func comparison(b *strings.Builder, r *Report) {
	servers := r.Servers()
	t := tabwriter.NewWriter(b, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "median of rounds\t%s\t\n", strings.Join(servers, "\t"))
	for i := range r.Comparison {
		row := &r.Comparison[i]
		fmt.Fprintf(t, "%s\t", row.Label)
		for _, s := range servers {
			v, ok := row.Median[s]
			switch ratio, has := row.Ratio[s]; {
			case !ok:
				fmt.Fprint(t, "-\t")
			case has && s != r.Base:
				fmt.Fprintf(t, "%s (%.2fx)\t", Value(v, row.Unit), ratio)
			default:
				fmt.Fprintf(t, "%s\t", Value(v, row.Unit))
			}
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	fmt.Fprintf(b, "ratios are to %s\n\n", r.Base)
}

// Servers lists the servers of the runs, the base first, then by first appearance.
func (r *Report) Servers() (out []string) {
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for i := range r.Runs {
		if r.Runs[i].Server == r.Base {
			add(r.Base)
		}
	}
	for i := range r.Runs {
		add(r.Runs[i].Server)
	}
	return out
}

func phases(b *strings.Builder, run *Run) {
	t := tabwriter.NewWriter(b, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s, round %d\ts\topened\tfailed\tdropped\tsent\treceived\tlost\tdup\torder\tp50 ms\tp99 ms\tmax ms\tserver cores\tbench\tother\t\n", run.Server, run.Round)
	for i := range run.Phases {
		p := &run.Phases[i]
		c := &p.Counters
		fmt.Fprintf(t, "%s\t%.1f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t", p.Name, p.Seconds, c.Opened, c.Failed, c.Dropped, c.Sent, c.Received, p.Lost, c.Duplicated, c.OutOfOrder)
		d := p.Latency
		if d == nil {
			d = p.Connect
		}
		if d != nil {
			fmt.Fprintf(t, "%.2f\t%.2f\t%.2f\t", ms(d.P50), ms(d.P99), ms(d.Max))
		} else {
			fmt.Fprint(t, "\t\t\t")
		}
		if w := p.Window; w != nil {
			fmt.Fprintf(t, "%.2f\t%.2f\t%.2f%s\t\n", w.ServerCPU, w.BenchCPU, w.OtherCPU, mark(w.Disturbed, " !"))
		} else {
			fmt.Fprint(t, "\t\t\t\n")
		}
	}
	_ = t.Flush()
	b.WriteByte('\n')
}

func ms(us int64) float64 { return float64(us) / 1000 }

func ceiling(b *strings.Builder, c *Ceiling) {
	if c == nil {
		return
	}
	fmt.Fprintf(b, "ceiling of the harness (null server, %d connections):", c.Connections)
	for _, key := range []string{"handshakes_per_s", "deliveries_per_s_w1", "deliveries_per_s_w8", "delivery_cpu_us_w1", "delivery_cpu_us_w8"} {
		for _, f := range c.Figures {
			if f.Key == key {
				fmt.Fprintf(b, " %s %s;", f.Label, Value(f.Value, f.Unit))
			}
		}
	}
	b.WriteString("\n")
}

func verdict(b *strings.Builder, r *Report) {
	for _, n := range r.Notes {
		fmt.Fprintf(b, "note: %s\n", n)
	}
	for _, m := range r.Misses {
		fmt.Fprintf(b, "missed: %s\n", m)
	}
	state := "met"
	switch {
	case r.Partial:
		state = "PARTIAL, not judged"
	case !r.Passed:
		state = "NOT met"
	}
	fmt.Fprintf(b, "goal %s: %s\n", state, r.Goal)
}

// Value formats v with its unit for people.
func Value(v float64, unit string) string {
	switch unit {
	case "B":
		return Bytes(v)
	case "us":
		if math.Abs(v) >= 10_000 {
			return fmt.Sprintf("%.1f ms", v/1000)
		}
		return trim(v) + " us"
	case "":
		return trim(v)
	}
	return trim(v) + " " + unit
}

// Bytes formats a number of bytes: exact below 100 kB, binary units above.
func Bytes(v float64) string {
	switch {
	case math.Abs(v) < 100_000:
		return fmt.Sprintf("%.0f B", v)
	case math.Abs(v) < 100<<20:
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", v/(1<<30))
}

// trim gives three significant figures below 1000 and whole numbers above.
func trim(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
