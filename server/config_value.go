package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// misfit says why a text is no value for an option and what would be.
type misfit struct{ problem, fix string }

// Error joins both.
func (m *misfit) Error() string { return m.problem + "; " + m.fix }

// value reads and prints one kind of setting; it is bound to a field of a Config.
type value interface {
	set(text string) *misfit // leaves the field alone when it returns a misfit
	text() string            // the field's value in the shortest spelling set accepts
}

// span is the legal range of a number; zero says that 0 is legal besides ("choose for me", "off").
type span struct {
	min, max int64
	zero     bool
}

func (s span) check(n int64, show func(int64) string) *misfit {
	if n == 0 && s.zero || n >= s.min && n <= s.max {
		return nil
	}
	fix := fmt.Sprintf("use %s to %s", show(s.min), show(s.max))
	if s.zero {
		fix += ", or 0"
	}
	return &misfit{"is out of range", fix}
}

type boolValue struct{ field *bool }

func (v boolValue) set(text string) *misfit {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return &misfit{"is neither true nor false", "write true or false"}
	}
	*v.field = b
	return nil
}

func (v boolValue) text() string { return strconv.FormatBool(*v.field) }

// stringValue is a text; check may be nil.
type stringValue struct {
	field *string
	check func(string) *misfit
}

func (v stringValue) set(text string) *misfit {
	if v.check != nil {
		if bad := v.check(text); bad != nil {
			return bad
		}
	}
	*v.field = text
	return nil
}

func (v stringValue) text() string { return *v.field }

// listValue is texts separated by commas; each goes through item, which may rewrite it.
type listValue struct {
	field *[]string
	item  func(string) (string, *misfit)
}

func (v listValue) set(text string) *misfit {
	var items []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		item, bad := v.item(part)
		if bad != nil {
			return bad
		}
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	*v.field = items
	return nil
}

func (v listValue) text() string { return strings.Join(*v.field, ",") }

// enumValue is one of a few words.
type enumValue struct {
	field *string
	words []string // "" among them: may be left empty
}

func (v enumValue) set(text string) *misfit {
	if !slices.Contains(v.words, text) {
		shown := slices.DeleteFunc(slices.Clone(v.words), func(w string) bool { return w == "" })
		return &misfit{"is not known", "use one of " + strings.Join(shown, ", ")}
	}
	*v.field = text
	return nil
}

func (v enumValue) text() string { return *v.field }

type intValue struct {
	field *int
	span
}

func (v intValue) set(text string) *misfit {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return &misfit{"is not a whole number", "write digits only"}
	}
	if bad := v.check(n, decimal); bad != nil {
		return bad
	}
	*v.field = int(n)
	return nil
}

func (v intValue) text() string { return strconv.Itoa(*v.field) }

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// sizeUnits from large to small, so that sizeText finds the largest that divides.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// sizeValue is a number of bytes, with a binary unit if one likes.
type sizeValue struct {
	field *int
	span
}

func (v sizeValue) set(text string) *misfit {
	n, ok := parseSize(text)
	if !ok {
		return &misfit{"is not a size", "write bytes, or a whole number with KiB, MiB or GiB, such as 64KiB"}
	}
	if bad := v.check(n, sizeText); bad != nil {
		return bad
	}
	*v.field = int(n)
	return nil
}

func (v sizeValue) text() string { return sizeText(int64(*v.field)) }

// parseSize reads "65536", "65536B" or "64KiB"; a size beyond int64 comes out as the largest int64.
func parseSize(text string) (int64, bool) {
	digits := strings.TrimRight(text, "BbKkMmGgIi")
	unit := strings.TrimPrefix(text, digits)
	factor := int64(1)
	if unit != "" {
		i := slices.IndexFunc(sizeUnits, func(u struct {
			name  string
			bytes int64
		}) bool {
			return strings.EqualFold(u.name, unit)
		})
		if i < 0 {
			return 0, false
		}
		factor = sizeUnits[i].bytes
	}
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, true
	}
	if err != nil {
		return 0, false
	}
	if n > uint64(math.MaxInt64/factor) {
		return math.MaxInt64, true
	}
	return int64(n) * factor, true
}

func sizeText(n int64) string {
	if n == 0 {
		return "0"
	}
	for _, u := range sizeUnits {
		if n%u.bytes == 0 {
			return decimal(n/u.bytes) + u.name
		}
	}
	return decimal(n) // not reached: 1 divides everything
}

// durationValue is a time span in Go's spelling; step, if set, is what it must be a multiple of.
type durationValue struct {
	field *time.Duration
	span
	step time.Duration
}

func (v durationValue) set(text string) *misfit {
	d, err := time.ParseDuration(text)
	if err != nil {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return &misfit{"has no unit", "write " + text + "s for seconds, or use ms, m, h"}
		}
		return &misfit{"is not a duration", "write a number with ms, s, m or h, such as 10s or 1m30s"}
	}
	if bad := v.check(int64(d), durationText); bad != nil {
		return bad
	}
	if v.step > 0 && d%v.step != 0 {
		return &misfit{"is too fine", "use a multiple of " + durationText(int64(v.step))}
	}
	*v.field = d
	return nil
}

func (v durationValue) text() string { return durationText(int64(*v.field)) }

// durationText is Duration.String without the zeros it carries along: 2m, not 2m0s.
func durationText(n int64) string {
	s := time.Duration(n).String()
	if n == 0 {
		return "0"
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
