package result

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgimg" // PNG
	_ "gonum.org/v1/plot/vg/vgsvg" // SVG
)

// Picture is one plot of a report.
type Picture struct {
	Name          string // file name without extension
	Title         string
	plot          *plot.Plot
	width, height vg.Length
}

// Render returns the picture as "svg" or "png".
func (p *Picture) Render(format string) ([]byte, error) {
	w, err := p.plot.WriterTo(p.width, p.height, format)
	if err != nil {
		return nil, fmt.Errorf("plot %s: %w", p.Name, err)
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("plot %s: %w", p.Name, err)
	}
	return b.Bytes(), nil
}

// WritePictures renders all pictures of r into dir, in each of the formats.
func WritePictures(dir string, r *Report, formats ...string) error {
	pictures, err := Pictures(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range pictures {
		for _, f := range formats {
			p, err := pictures[i].Render(f)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, r.Command+"-"+pictures[i].Name+"."+f), p, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// Pictures draws what the report holds: latency by percentile, the course of a
// single run, and bars where servers are compared.
func Pictures(r *Report) ([]Picture, error) {
	var out []Picture
	add := func(p *Picture, err error) error {
		if p != nil {
			out = append(out, *p)
		}
		return err
	}
	for i := range r.Comparison {
		if row := &r.Comparison[i]; len(row.Median) > 1 {
			if err := add(bars(r, row)); err != nil {
				return nil, err
			}
		}
	}
	if err := add(percentiles(r)); err != nil {
		return nil, err
	}
	if len(r.Runs) == 1 {
		if err := add(course(&r.Runs[0])); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// percentileSteps are drawn at 1/(1-q), so that each nine takes the same room.
var percentileSteps = []float64{0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 99.999}

// maxCurves bounds the latency curves of one picture.
const maxCurves = 10

func percentiles(r *Report) (*Picture, error) {
	p := plot.New()
	p.Title.Text = "Latency by percentile, from the intended send time"
	p.X.Label.Text, p.Y.Label.Text = "percentile", "milliseconds"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = nines(percentileSteps), plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	curves := 0
	for i := range r.Runs {
		run := &r.Runs[i]
		for k := range run.Phases {
			ph := &run.Phases[k]
			if ph.Latency == nil || ph.Name == "warm-up" || run.Round > 1 || curves == maxCurves {
				continue
			}
			line, err := curve(ph.Latency)
			if err != nil {
				return nil, err
			}
			line.Color, line.Width = plotutil.Color(curves), vg.Points(1.5)
			p.Add(line)
			p.Legend.Add(run.Server+", "+ph.Name, line)
			curves++
		}
	}
	if curves == 0 {
		return nil, nil
	}
	return &Picture{Name: "latency", Title: p.Title.Text, plot: p, width: 22 * vg.Centimeter, height: 12 * vg.Centimeter}, nil
}

func curve(d *Dist) (*plotter.Line, error) {
	h, err := hdrhistogram.Decode([]byte(d.HDR))
	if err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	var xy plotter.XYs
	for _, q := range percentileSteps {
		if float64(h.TotalCount())*(100-q) < 100 {
			break // fewer than one value beyond it
		}
		xy = append(xy, plotter.XY{X: 100 / (100 - q), Y: math.Max(float64(h.ValueAtQuantile(q))/1000, 0.001)})
	}
	xy = append(xy, plotter.XY{X: math.Max(float64(h.TotalCount()), 1.01), Y: math.Max(float64(h.Max())/1000, 0.001)})
	return plotter.NewLine(xy)
}

// nines labels the x axis of percentiles.
type nines []float64

// Ticks implements plot.Ticker.
func (n nines) Ticks(_, _ float64) (out []plot.Tick) {
	for _, q := range n {
		out = append(out, plot.Tick{Value: 100 / (100 - q), Label: strings.TrimSuffix(fmt.Sprintf("%g", q), ".0")})
	}
	return out
}

// course draws open connections and the server's CPU over a run.
func course(run *Run) (*Picture, error) {
	if len(run.Series) < 3 {
		return nil, nil
	}
	p := plot.New()
	p.Title.Text = "Course of the run: share of connections open, server CPU in cores"
	p.X.Label.Text = "seconds"
	p.Y.Min = 0
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	top := slices.MaxFunc(run.Series, func(a, b Point) int { return cmp.Compare(a.Open, b.Open) }).Open
	var open, cpu plotter.XYs
	for i := range run.Series {
		pt := &run.Series[i]
		open = append(open, plotter.XY{X: pt.At, Y: float64(pt.Open) / float64(max(top, 1))})
		cpu = append(cpu, plotter.XY{X: pt.At, Y: pt.ServerCPU})
	}
	for i, c := range []struct {
		name string
		xy   plotter.XYs
	}{{fmt.Sprintf("open (1 = %d)", top), open}, {"server cores", cpu}} {
		line, err := plotter.NewLine(c.xy)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(c.name, line)
	}
	return &Picture{Name: "course", Title: p.Title.Text, plot: p, width: 22 * vg.Centimeter, height: 9 * vg.Centimeter}, nil
}

// bars compares one figure over the servers.
func bars(r *Report, row *Row) (*Picture, error) {
	var names []string
	var values plotter.Values
	for _, s := range r.Servers() {
		if v, ok := row.Median[s]; ok {
			names = append(names, s)
			values = append(values, v)
		}
	}
	p := plot.New()
	p.Title.Text = row.Label
	if row.Better != Plain {
		p.Title.Text += " (" + string(row.Better) + " is better)"
	}
	p.Y.Label.Text = row.Unit
	p.Y.Min = 0
	chart, err := plotter.NewBarChart(values, vg.Points(24))
	if err != nil {
		return nil, fmt.Errorf("plot %s: %w", row.Key, err)
	}
	chart.Color = plotutil.Color(0)
	chart.LineStyle.Width = 0
	p.Add(chart)
	p.NominalX(names...)
	width := vg.Length(len(names))*2.6*vg.Centimeter + 3*vg.Centimeter
	return &Picture{Name: "compare-" + row.Key, Title: p.Title.Text, plot: p, width: width, height: 8 * vg.Centimeter}, nil
}
