package engine

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock gives nanoseconds that are comparable between all processes of one
// machine (CLOCK_MONOTONIC), read by Go's vDSO path instead of a system call.
// Offset, in nanoseconds, moves it onto the coordinator's clock when the process
// runs on another machine. Any goroutine may call Now.
type Clock struct {
	start  time.Time
	base   int64
	Offset int64
}

// NewClock ties Go's monotonic reading to CLOCK_MONOTONIC, within about 1 us.
func NewClock() Clock {
	var ts unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("bench: CLOCK_MONOTONIC is not readable: " + err.Error()) // every Linux has it
	}
	return Clock{start: before, base: ts.Nano()}
}

// Now returns nanoseconds on the coordinator's monotonic clock. It never blocks
// and allocates nothing.
func (c *Clock) Now() int64 { return c.base + int64(time.Since(c.start)) + c.Offset }
