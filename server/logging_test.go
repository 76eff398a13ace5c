package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogFormatsAndLevels(t *testing.T) {
	var out bytes.Buffer
	log, _ := newLogger(&out, "warn", "json", 0)
	log.Info("quiet")
	log.Warn("loud", "n", 1)
	var line struct {
		Msg, Level string
		N          int
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "loud" || line.Level != "WARN" || line.N != 1 {
		t.Errorf("%v: %s", err, out.String())
	}
	out.Reset()
	log, _ = newLogger(&out, "debug", "text", 0)
	log.Debug("fine", "n", 2)
	if !strings.Contains(out.String(), "level=DEBUG msg=fine n=2") {
		t.Errorf("%s", out.String())
	}
	for _, level := range []string{"debug", "info", "warn", "error"} {
		newLogger(&out, level, "text", 0) // panics on a word the table lets through and slog does not know
	}
}

func TestRepeatedMessagesAreHeldBackAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, limiter := newLogger(&out, "debug", "text", 3)
		for range 10 {
			log.Warn("flood", "who", "a")
		}
		log.Warn("other")
		if got := strings.Count(out.String(), "msg=flood"); got != 3 || strings.Count(out.String(), "msg=other") != 1 {
			t.Errorf("%d lines of the flood:\n%s", got, out.String())
		}
		out.Reset()
		time.Sleep(time.Second)
		log.With("w", 1).WithGroup("g").Warn("flood", "who", "b") // derived loggers share the allowance
		if !strings.Contains(out.String(), "suppressed=7") {
			t.Errorf("the number held back is not told:\n%s", out.String())
		}
		out.Reset()
		log.Warn("flood")
		if strings.Contains(out.String(), "suppressed") {
			t.Errorf("told twice:\n%s", out.String())
		}
		if limiter.Suppressed() != 7 {
			t.Errorf("Suppressed = %d", limiter.Suppressed())
		}
	})
}

func TestDebugIsNotLimited(t *testing.T) {
	var out bytes.Buffer
	log, limiter := newLogger(&out, "debug", "text", 1)
	for range 5 {
		log.Debug("detail")
	}
	if got := strings.Count(out.String(), "detail"); got != 5 || limiter.Suppressed() != 0 {
		t.Errorf("%d lines", got)
	}
}

func TestLimiterMemoryIsBounded(t *testing.T) {
	l := newLogLimiter(1)
	for i := range 10 * maxLimitedMessages {
		l.allow(fmt.Sprint("message ", i))
	}
	if len(l.messages) > maxLimitedMessages+1 {
		t.Errorf("%d messages kept", len(l.messages))
	}
	if l.Suppressed() == 0 {
		t.Error("messages beyond the table have no limit")
	}
}

func TestLimiterIsSafeForManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, limiter := newLogger(discard{}, "info", "text", 5)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					log.Error("together")
				}
			})
		}
		wg.Wait()
		if limiter.Suppressed() != 795 {
			t.Errorf("Suppressed = %d", limiter.Suppressed())
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

var _ slog.Handler = limitedHandler{}
