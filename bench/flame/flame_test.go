package flame

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// sample is main -> {work 30, syscall 70}, where work is inlined into main's frame.
func sample() *profile.Profile {
	fn := func(id uint64, name string) *profile.Function { return &profile.Function{ID: id, Name: name} }
	main, work, sys := fn(1, "main.main"), fn(2, "throng/server/hub.(*Hub).Work<T>"), fn(3, "syscall.Syscall")
	outer := &profile.Location{ID: 1, Line: []profile.Line{{Function: main}}}
	inlined := &profile.Location{ID: 2, Line: []profile.Line{{Function: work}, {Function: main}}}
	kernel := &profile.Location{ID: 3, Line: []profile.Line{{Function: sys}}}
	return &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		Sample: []*profile.Sample{
			{Location: []*profile.Location{inlined}, Value: []int64{3, 300_000_000}},
			{Location: []*profile.Location{kernel, outer}, Value: []int64{7, 700_000_000}},
		},
		Function: []*profile.Function{main, work, sys},
		Location: []*profile.Location{outer, inlined, kernel},
	}
}

func TestGraphIsWellFormedAndNamesShares(t *testing.T) {
	var b bytes.Buffer
	if err := SVG(&b, sample(), "", "a <test>"); err != nil {
		t.Fatal(err)
	}
	for dec := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"main.main: 1.000 s, 100.00 %", "syscall.Syscall: 0.700 s, 70.00 %",
		"throng/server/hub.(*Hub).Work&lt;T&gt;: 0.300 s, 30.00 %", "a &lt;test&gt;",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestSampleTypesAreChosenByName(t *testing.T) {
	var b bytes.Buffer
	if err := SVG(&b, sample(), "samples", "x"); err != nil || !strings.Contains(b.String(), "7 count, 70.00 %") {
		t.Errorf("%v", err)
	}
	if err := SVG(&b, sample(), "heap", "x"); err == nil || !strings.Contains(err.Error(), "samples, cpu") {
		t.Errorf("%v", err)
	}
	empty := sample()
	empty.Sample = nil
	if err := SVG(&b, empty, "", "x"); err == nil {
		t.Error("an empty profile must be an error")
	}
	if err := SVG(&b, &profile.Profile{}, "", "x"); err == nil {
		t.Error("a profile that counts nothing must be an error")
	}
}

func TestLabelsFitTheirBoxes(t *testing.T) {
	for _, c := range []struct {
		w    float64
		want string
	}{{10, ""}, {60, "longfu.."}, {500, "longfunction"}} {
		if got := fit("longfunction", c.w); got != c.want {
			t.Errorf("%v: %q, want %q", c.w, got, c.want)
		}
	}
}
