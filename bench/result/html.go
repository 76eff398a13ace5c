package result

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"value": Value,
	"ms":    func(us int64) string { return fmt.Sprintf("%.2f", ms(us)) },
	"cell":  cell,
}).Parse(pageText))

type section struct {
	Report   *Report
	Servers  []string
	Pictures []template.HTML
	Text     string
}

// WriteHTML writes reports as one page that needs nothing else: plots are inline
// SVG, and the numbers stand in it as tables and as text.
func WriteHTML(path string, reports ...*Report) error {
	var sections []section
	for _, r := range reports {
		s, err := newSection(r)
		if err != nil {
			return err
		}
		sections = append(sections, s)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, sections); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func newSection(r *Report) (section, error) {
	s := section{Report: r, Servers: r.Servers()}
	pictures, err := Pictures(r)
	if err != nil {
		return s, err
	}
	for i := range pictures {
		svg, err := pictures[i].Render("svg")
		if err != nil {
			return s, err
		}
		// gonum's own output with our labels, which it escapes; the prolog must go.
		if at := bytes.Index(svg, []byte("<svg")); at > 0 {
			svg = svg[at:]
		}
		s.Pictures = append(s.Pictures, template.HTML(svg))
	}
	var text strings.Builder
	if err := Table(&text, r); err != nil {
		return s, err
	}
	s.Text = text.String()
	return s, nil
}

// cell is one value of a comparison row, with its ratio to the base.
func cell(r *Report, row Row, server string) string {
	v, ok := row.Median[server]
	if !ok {
		return "-"
	}
	out := Value(v, row.Unit)
	if ratio, has := row.Ratio[server]; has && server != r.Base {
		out += fmt.Sprintf(" (%.2fx)", ratio)
	}
	return out
}
