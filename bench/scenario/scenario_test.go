package scenario

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"throng/bench/nullserver"
	"throng/bench/probe"
	"throng/bench/result"
)

func wantMet(t *testing.T, o *Outcome) {
	t.Helper()
	if len(o.Misses) > 0 || len(o.Runs) == 0 {
		t.Fatalf("%d runs, missed: %q", len(o.Runs), o.Misses)
	}
}

func phaseOf(t *testing.T, o *Outcome, name string) *result.Phase {
	t.Helper()
	for i := range o.Runs[0].Phases {
		if p := &o.Runs[0].Phases[i]; p.Name == name {
			return p
		}
	}
	t.Fatalf("no phase %q", name)
	return nil
}

func want(t *testing.T, name string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %d, want %d", name, got, want)
	}
}

func TestIdleHoldsAllAndReachesAll(t *testing.T) {
	for _, procs := range []string{"0", "2"} {
		opts := against(t, nullserver.Config{Ping: 100 * time.Millisecond})
		opts.Procs = procs
		o := Idle(deadline(t), opts, ui(t), 600*time.Millisecond)
		wantMet(t, o)
		want(t, "opened", phaseOf(t, o, "open").Counters.Opened, 500)
		hold := phaseOf(t, o, "hold")
		if hold.Counters.PingsSeen < 500 || hold.Counters.PongsSeen < 500 {
			t.Errorf("heartbeats: %d pings seen, %d pongs", hold.Counters.PingsSeen, hold.Counters.PongsSeen)
		}
		want(t, "broadcast", phaseOf(t, o, "broadcast").Counters.Received, 500)
	}
}

func TestFanoutCountsEveryDelivery(t *testing.T) {
	opts := against(t, nullserver.Config{})
	o := Fanout(deadline(t), opts, ui(t), FanoutSpec{
		Channels: 5, Window: []int{1, 8}, Rate: 20, For: 200 * time.Millisecond, WarmUp: 100 * time.Millisecond,
	})
	wantMet(t, o)
	p := phaseOf(t, o, "rate")
	want(t, "sent", p.Counters.Sent, 5*4)
	want(t, "owed", p.Counters.Owed, 4*500)
	want(t, "received", p.Counters.Received, 4*500)
	w := phaseOf(t, o, "window 8")
	want(t, "received with a window", w.Counters.Received, w.Counters.Sent*100)
	if n := w.Counters.Sent % 40; n != 0 || w.Counters.Sent == 0 {
		t.Errorf("sent %d: no whole rounds of 8 by 5 talkers", w.Counters.Sent)
	}
}

func TestRoomsHearOnlyThemselves(t *testing.T) {
	opts := against(t, nullserver.Config{})
	opts.Procs = "2" // members of one room live in two processes
	o := Rooms(deadline(t), opts, ui(t), RoomsSpec{Members: 7, Rate: 10, For: 300 * time.Millisecond})
	wantMet(t, o)
	p := phaseOf(t, o, "talk")
	want(t, "sent", p.Counters.Sent, 500*3)
	want(t, "received", p.Counters.Received, (71*7*7+3*3)*3)
}

func TestLatencyWithPublishersOfTheirOwn(t *testing.T) {
	opts := against(t, nullserver.Config{})
	opts.Connections = 100
	opts.PublishTargets = opts.Targets
	o := Latency(deadline(t), opts, ui(t), LatencySpec{Channels: 4, Rate: 50, For: 200 * time.Millisecond})
	wantMet(t, o)
	p := phaseOf(t, o, "latency")
	want(t, "sent", p.Counters.Sent, 40)
	want(t, "received", p.Counters.Received, 40*25)
	want(t, "timed", uint64(p.Latency.Count), 40*25)
}

func TestLatencyAboveTheLimitIsAMiss(t *testing.T) {
	opts := against(t, nullserver.Config{})
	opts.Connections = 20
	o := Latency(deadline(t), opts, ui(t), LatencySpec{Channels: 1, Rate: 50, For: 100 * time.Millisecond, MaxP99: time.Nanosecond})
	if len(o.Misses) != 1 || !strings.Contains(o.Misses[0], "p99") {
		t.Errorf("missed: %q", o.Misses)
	}
}

func TestStormBringsAllBack(t *testing.T) {
	opts := against(t, nullserver.Config{})
	o := StormRun(deadline(t), opts, ui(t), 2, time.Minute)
	wantMet(t, o)
	for _, name := range []string{"storm 1", "storm 2"} {
		p := phaseOf(t, o, name)
		want(t, "opened", p.Counters.Opened, 500)
		want(t, "dropped", p.Counters.Dropped, 0)
	}
}

func TestHandshakeLadderEndsWhereTheServerDoes(t *testing.T) {
	opts := against(t, nullserver.Config{})
	o := Handshake(deadline(t), opts, ui(t), LadderSpec{From: 100, To: 500, Factor: 5, Step: 500 * time.Millisecond})
	want(t, "first rung", phaseOf(t, o, "100/s").Counters.Opened, 50)
	opts = against(t, nullserver.Config{Faults: nullserver.Faults{Upgrade: nullserver.UpgradeRefuse}})
	o = Handshake(deadline(t), opts, ui(t), LadderSpec{From: 100, To: 500, Factor: 5, Step: 200 * time.Millisecond})
	if len(o.Misses) != 1 || !strings.Contains(o.Misses[0], "not even 100") {
		t.Errorf("missed: %q", o.Misses)
	}
	if !strings.Contains(strings.Join(o.Notes, " "), "http_503") {
		t.Errorf("notes: %q", o.Notes)
	}
}

func TestFaultsOfTheServerAreMissesThatSayWhat(t *testing.T) {
	spec := FanoutSpec{Channels: 1, Window: []int{2}, Rate: 20, For: 200 * time.Millisecond}
	for word, faults := range map[string]nullserver.Faults{
		"lost":             {DropEvery: 900},
		"duplicated":       {DupEvery: 100},
		"out of order":     {SwapEvery: 101},
		"reset 1":          {ResetAfter: 50},
		"close_1012 1":     {CloseAfter: 50},
		"garbage 1":        {GarbageAfter: 50},
		"http_503 1000":    {Upgrade: nullserver.UpgradeRefuse},
		"closed_early":     {Upgrade: nullserver.UpgradeEOF},
		"bad_accept_key":   {Upgrade: nullserver.UpgradeBadAccept},
		"timeout_upgrade":  {Upgrade: nullserver.UpgradeSilent},
		"timeout_ready":    {Upgrade: nullserver.UpgradeMute},
		"could not be ope": {Upgrade: nullserver.UpgradeReset},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			opts := against(t, nullserver.Config{Faults: faults})
			opts.Timeout = 300 * time.Millisecond
			o := Fanout(deadline(t), opts, ui(t), spec)
			if !strings.Contains(strings.Join(o.Misses, "; "), word) {
				t.Errorf("missed: %q", o.Misses)
			}
		})
	}
}

func TestADownTargetIsAMissAtOnce(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts := against(t, nullserver.Config{})
	opts.Targets = []string{"ws://" + l.Addr().String() + "/"}
	l.Close()
	o := Idle(deadline(t), opts, ui(t), time.Minute)
	if len(o.Misses) != 1 || !strings.Contains(o.Misses[0], "refused") {
		t.Errorf("missed: %q", o.Misses)
	}
}

func TestAnInterruptedRunKeepsWhatItHas(t *testing.T) {
	ctx, cancel := context.WithCancelCause(deadline(t))
	why := errors.New("enough")
	opts := against(t, nullserver.Config{})
	o := Idle(ctx, opts, cancelOn{ui(t), "hold", func() { cancel(why) }}, time.Hour)
	if len(o.Runs) != 1 || o.Runs[0].Error != why.Error() {
		t.Fatalf("runs %+v", o.Runs)
	}
	want(t, "opened", phaseOf(t, o, "open").Counters.Opened, 500)
	want(t, "open when interrupted", uint64(phaseOf(t, o, "hold").Counters.Open), 500)
}

// cancelOn calls f when the named phase begins.
type cancelOn struct {
	UI
	phase string
	f     func()
}

func (c cancelOn) Phase(name, unit string, total int64) {
	c.UI.Phase(name, unit, total)
	if name == c.phase {
		c.f()
	}
}

func TestCompareTakesEachServerInTurn(t *testing.T) {
	opts := against(t, nullserver.Config{})
	opts.Connections = 100
	spec := BatterySpec{Rounds: 2, For: 100 * time.Millisecond, Rate: 20, Beat: 50 * time.Millisecond, Storms: 1}
	// Without a command a contender is the running target.
	o := Compare(deadline(t), opts, ui(t), []Contender{{Name: "a"}, {Name: "b", Channel: "x"}}, spec)
	wantMet(t, o)
	var order []string
	for i := range o.Runs {
		order = append(order, o.Runs[i].Server)
	}
	if got := strings.Join(order, " "); got != "a b a b" {
		t.Errorf("order %q", got)
	}
	r := result.Report{Runs: o.Runs}
	r.Compare("a")
	found := false
	for _, row := range r.Comparison {
		found = found || row.Key == "storm_s" && row.Ratio["a"] == 1 && row.Median["b"] > 0
	}
	if !found {
		t.Error("no storm row with both servers")
	}
}

func TestCeilingIsMeasuredWithTheSameLoad(t *testing.T) {
	opts := against(t, nullserver.Config{})
	opts.Connections = 50
	c, err := MeasureCeiling(deadline(t), opts, ui(t))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := c.Figure("deliveries_per_s_w8"); !ok || v <= 0 || c.Connections != 50 {
		t.Errorf("ceiling %+v", c)
	}
}

func TestSpawnedServersAreFilledInPinnedAndEnded(t *testing.T) {
	ctx := deadline(t)
	for line, word := range map[string]string{
		"sleep 30":           "listen",
		"false {addr}":       "ended",
		"no-such-program":    "no-such-program",
		"'unclosed":          "quote",
		"":                   "empty",
		"sh -c 'exit 3' {x}": "exit status 3",
	} {
		short, cancel := context.WithTimeout(ctx, time.Second)
		_, err := StartServer(short, line, nil)
		cancel()
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v, want %q", line, err, word)
		}
	}
}

func TestTooFewDescriptorsOrPortsAreSaidBeforeTheStart(t *testing.T) {
	limit := probe.RaiseFDLimit()
	opts := against(t, nullserver.Config{})
	opts.Connections, opts.Procs = limit+1, "1"
	if o := Idle(deadline(t), opts, ui(t), 0); len(o.Misses) != 1 || !strings.Contains(o.Misses[0], "RLIMIT_NOFILE") {
		t.Errorf("missed: %q", o.Misses)
	}
	opts = against(t, nullserver.Config{})
	opts.PerAddress = 70_000
	if o := Idle(deadline(t), opts, ui(t), 0); len(o.Misses) != 1 || !strings.Contains(o.Misses[0], "ip_local_port_range") {
		t.Errorf("missed: %q", o.Misses)
	}
}
