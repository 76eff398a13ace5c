package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// display is a scenario.UI that can be closed.
type display interface {
	Phase(name, unit string, total int64)
	Update(done int64, failed uint64)
	Note(format string, args ...any)
	Close()
}

// newDisplay shows bars on a terminal and plain lines elsewhere.
func newDisplay(w *os.File) display {
	if _, err := unix.IoctlGetTermios(int(w.Fd()), unix.TCGETS); err == nil && os.Getenv("TERM") != "dumb" {
		return &bars{p: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))}
	}
	return &lines{w: w}
}

// bars draws one bar per phase, with rate, time left and failures.
type bars struct {
	p      *mpb.Progress
	mu     sync.Mutex
	bar    *mpb.Bar
	total  int64
	failed uint64
}

func (b *bars) Phase(name, unit string, total int64) {
	b.finish()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total, b.failed = total, 0
	failures := decor.Any(func(decor.Statistics) string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.failed == 0 {
			return ""
		}
		return fmt.Sprintf(" failed %d", b.failed)
	})
	// A bar made with a total cannot be completed early, so it is set afterwards.
	b.bar = b.p.AddBar(0,
		mpb.PrependDecorators(decor.Name(name, decor.WC{W: 14, C: decor.DindentRight}), decor.CountersNoUnit(" %d / %d "+unit)),
		mpb.AppendDecorators(decor.Percentage(), decor.AverageSpeed(0, " %.0f/s"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_MMSS), failures))
	b.bar.SetTotal(max(total, 1), false)
}

func (b *bars) Update(done int64, failed uint64) {
	b.mu.Lock()
	bar, total := b.bar, b.total
	b.failed = failed
	b.mu.Unlock()
	if bar == nil {
		return
	}
	if total <= 0 || done >= total {
		bar.SetTotal(done+1, false) // not before the phase says so itself
	}
	bar.SetCurrent(done)
}

func (b *bars) finish() {
	b.mu.Lock()
	bar := b.bar
	b.bar = nil
	b.mu.Unlock()
	if bar != nil {
		bar.SetTotal(-1, true)
	}
}

func (b *bars) Note(format string, args ...any) {
	_, _ = fmt.Fprintf(b.p, format+"\n", args...)
}

func (b *bars) Close() {
	b.finish()
	b.p.Wait()
}

// linesEvery is how often plain progress is printed.
const linesEvery = 2 * time.Second

// lines prints progress now and then.
type lines struct {
	w     io.Writer
	mu    sync.Mutex
	name  string
	unit  string
	total int64
	begun time.Time
	next  time.Time
}

func (l *lines) Phase(name, unit string, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name, l.unit, l.total = name, unit, total
	l.begun = time.Now()
	l.next = l.begun.Add(linesEvery)
	fmt.Fprintf(l.w, "%s ...\n", name)
}

func (l *lines) Update(done int64, failed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.next) {
		return
	}
	l.next = now.Add(linesEvery)
	rate := float64(done) / now.Sub(l.begun).Seconds()
	fmt.Fprintf(l.w, "  %s: %d", l.name, done)
	if l.total > 0 {
		fmt.Fprintf(l.w, " of %d", l.total)
	}
	fmt.Fprintf(l.w, " %s, %.0f/s", l.unit, rate)
	if left := l.total - done; left > 0 && rate > 0 {
		fmt.Fprintf(l.w, ", %.0f s left", float64(left)/rate)
	}
	if failed > 0 {
		fmt.Fprintf(l.w, ", failed %d", failed)
	}
	fmt.Fprintln(l.w)
}

func (l *lines) Note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "  "+format+"\n", args...)
}

func (l *lines) Close() {}

// stderrFile is where progress goes: never into a report on standard output.
func stderrFile() *os.File { return os.Stderr }
