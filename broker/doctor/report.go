// Package doctor looks at a NATS as a client sees it and says whether Throng can live on it: whether it is there and lets us
// in, what its account may do, whether JetStream keeps what it is given, and how the streams that history needs stand. It
// also says what an embedded server would find on this machine, without starting one.
//
// It leaves nothing behind, and unless Config.Write says so it does not publish a message, nor create anything: permissions
// are found by subscribing, by asking the server for them, and by requests that the server refuses as malformed after it has
// let them through. It does not judge what only the NATS operator's own account can see (other servers' disks,
// sync_interval): there it says what to look at.
//
// Goroutines: those of its NATS connections, and one per address while they are tried. All have ended when Examine returns.
// It is original work.
package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Level says how much a finding matters.
type Level string

// From "as it should be" to "Throng cannot do what the configuration asks for".
const (
	OK   Level = "ok"
	Note Level = "note" // nothing wrong, but worth knowing, or not to be seen from here
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	About string `json:"about"` // one word: server, jetstream, stream ...
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // what to do, when the level is Warn or Fail
}

// Report is everything found, in the order of looking.
type Report struct {
	Target   string    `json:"target"`
	Fit      bool      `json:"fit"` // nothing failed
	Verdict  string    `json:"verdict"`
	Findings []Finding `json:"findings"`
}

func (r *Report) add(level Level, about, text string) {
	r.Findings = append(r.Findings, Finding{Level: level, About: about, Text: text})
}

func (r *Report) wrong(level Level, about, text, fix string) {
	r.Findings = append(r.Findings, Finding{level, about, text, fix})
}

// count of findings of a level.
func (r *Report) count(level Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// conclude fills in the verdict.
func (r *Report) conclude() {
	fails, warns := r.count(Fail), r.count(Warn)
	r.Fit = fails == 0
	switch {
	case fails > 0:
		r.Verdict = "not fit: " + plural(fails, "problem")
		if warns > 0 {
			r.Verdict += " and " + plural(warns, "warning")
		}
	case warns > 0:
		r.Verdict = "fit, with " + plural(warns, "warning")
	default:
		r.Verdict = "fit"
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Text writes the report for people: a line for each finding, and below it what to do.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Target)
	for _, f := range r.Findings {
		level := string(f.Level)
		if f.Level == Fail {
			level = "FAIL"
		}
		fmt.Fprintf(&b, "  %-4s  %-11s  %s\n", level, f.About, f.Text)
		if f.Fix != "" {
			fmt.Fprintf(&b, "  %-4s  %-11s  -> %s\n", "", "", f.Fix)
		}
	}
	fmt.Fprintf(&b, "verdict: %s\n", r.Verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

// sizeText is a number of bytes as people say it.
func sizeText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n), ""
	for _, s := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		value, suffix = value/unit, s
		if value < unit {
			break
		}
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + suffix
}
