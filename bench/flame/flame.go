// Package flame draws a pprof profile as a flame graph in SVG: one picture that
// stands for itself, no script, every box with its full name and share as tooltip.
//
// It reads and draws only: it does not collect profiles and starts no goroutine.
// Children stand on their callers, wider means more; the x axis is no time (boxes
// are sorted by name, so that two graphs can be compared by eye).
//
// Source: B. Gregg, "The Flame Graph", CACM 59(6), 2016; pprof's profile.proto.
package flame

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Geometry in pixels.
const (
	width     = 1400
	rowHeight = 17
	margin    = 10
	header    = 46
	minWidth  = 0.4 // narrower boxes are left out
	charWidth = 6.6 // of the monospaced label font
)

// node is one function in one call path.
type node struct {
	name     string
	value    int64
	children map[string]*node
}

func (n *node) child(name string) *node {
	c := n.children[name]
	if c == nil {
		c = &node{name: name, children: map[string]*node{}}
		n.children[name] = c
	}
	return c
}

func (n *node) depth() int {
	d := 0
	for _, c := range n.children {
		d = max(d, c.depth())
	}
	return d + 1
}

// Read parses a profile as runtime/pprof writes it.
func Read(r io.Reader) (*profile.Profile, error) { return profile.Parse(r) }

// SampleTypes lists what the profile counts, such as samples and cpu.
func SampleTypes(p *profile.Profile) []string {
	var out []string
	for _, t := range p.SampleType {
		out = append(out, t.Type)
	}
	return out
}

// SVG writes the flame graph of one sample type ("" = the profile's last, which is
// cpu, delay or inuse_space). Boxes below 0.4 pixels are left out.
func SVG(w io.Writer, p *profile.Profile, sampleType, title string) error {
	index, err := indexOf(p, sampleType)
	if err != nil {
		return err
	}
	root := build(p, index)
	if root.value == 0 {
		return fmt.Errorf("the profile holds no %s", p.SampleType[index].Type)
	}
	d := &drawing{total: root.value, unit: p.SampleType[index].Unit, depth: root.depth()}
	height := header + d.depth*rowHeight + margin
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="11">`+"\n", width, height, width, height)
	fmt.Fprintf(&d.b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="%d" y="20" font-size="15">%s</text><text x="%d" y="37" fill="#555">%s: %s in all; wider is more, callers below</text>`+"\n",
		margin, html.EscapeString(title), margin, html.EscapeString(p.SampleType[index].Type), amount(root.value, d.unit))
	d.draw(root, margin, 0)
	d.b.WriteString("</svg>\n")
	_, err = w.Write(d.b.Bytes())
	return err
}

func indexOf(p *profile.Profile, sampleType string) (int, error) {
	if len(p.SampleType) == 0 {
		return 0, fmt.Errorf("the profile counts nothing")
	}
	if sampleType == "" {
		return len(p.SampleType) - 1, nil
	}
	for i, t := range p.SampleType {
		if t.Type == sampleType {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the profile has no %q, only %s", sampleType, strings.Join(SampleTypes(p), ", "))
}

// build merges samples into a tree from the outermost caller inwards.
func build(p *profile.Profile, index int) *node {
	root := &node{name: "all", children: map[string]*node{}}
	for _, s := range p.Sample {
		if v := s.Value[index]; v != 0 {
			root.grow(s, v)
		}
	}
	return root
}

// grow adds one sample's path, which pprof stores innermost first, inlined calls
// too.
func (n *node) grow(s *profile.Sample, v int64) {
	n.value += v
	for _, loc := range slices.Backward(s.Location) {
		for _, line := range slices.Backward(loc.Line) {
			if line.Function != nil {
				n = n.child(line.Function.Name)
				n.value += v
			}
		}
	}
}

type drawing struct {
	b     bytes.Buffer
	total int64
	unit  string
	depth int
}

func (d *drawing) draw(n *node, x float64, level int) {
	w := float64(n.value) / float64(d.total) * (width - 2*margin)
	if w < minWidth {
		return
	}
	y := header + (d.depth-1-level)*rowHeight
	fmt.Fprintf(&d.b, `<g><title>%s: %s, %.2f %%</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" rx="1"/>`,
		html.EscapeString(n.name), amount(n.value, d.unit), 100*float64(n.value)/float64(d.total), x, y, max(w-0.3, 0.3), rowHeight-1, color(n.name))
	if label := fit(short(n.name), w); label != "" {
		fmt.Fprintf(&d.b, `<text x="%.1f" y="%d">%s</text>`, x+3, y+12, html.EscapeString(label))
	}
	d.b.WriteString("</g>\n")
	children := slices.SortedFunc(maps.Values(n.children), func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	for _, c := range children {
		d.draw(c, x, level+1)
		x += float64(c.value) / float64(d.total) * (width - 2*margin)
	}
}

// short drops the import path's directories.
func short(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// fit cuts a label to the box, "" if not even a few letters have room.
func fit(label string, w float64) string {
	room := int((w - 6) / charWidth)
	switch {
	case room < 3:
		return ""
	case len(label) > room:
		return label[:room-2] + ".."
	}
	return label
}

// color tells own code, kernel entry, runtime and libraries apart, with a shade by
// name.
func color(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	shade := int(h.Sum32() % 24)
	hue := 28 // libraries: orange
	switch {
	case strings.HasPrefix(name, "throng/"), strings.HasPrefix(name, "main."):
		hue = 205
	case strings.Contains(name, "yscall"):
		hue = 0
	case strings.HasPrefix(name, "runtime."), strings.HasPrefix(name, "runtime/"):
		hue = 100
	}
	return fmt.Sprintf("hsl(%d,%d%%,%d%%)", hue, 55+shade, 66+shade/2)
}

func amount(v int64, unit string) string {
	switch unit {
	case "nanoseconds":
		return fmt.Sprintf("%.3f s", float64(v)/1e9)
	case "bytes":
		return fmt.Sprintf("%.2f MiB", float64(v)/(1<<20))
	}
	return fmt.Sprintf("%d %s", v, unit)
}
