package main

import (
	"testing"
	"time"
)

func TestProcessMeter(t *testing.T) {
	var m processMeter
	now := time.Now()
	if p := m.read(now); p.CPU != 0 || p.RSS < 1<<20 {
		t.Errorf("first reading: %+v", p)
	}
	for start := cpuTime(); cpuTime()-start < 50*time.Millisecond; {
	}
	if p := m.read(now.Add(meterStretch / 2)); p.CPU != 0 {
		t.Errorf("too soon for another figure: %+v", p)
	}
	p := m.read(now.Add(meterStretch))
	if p.CPU < 5 {
		t.Errorf("50 ms of CPU in a second: %+v", p)
	}
	if again := m.read(now.Add(meterStretch + time.Millisecond)); again.CPU != p.CPU {
		t.Errorf("%+v, then %+v", p, again)
	}
}
