package faults

import (
	"fmt"
	"strings"
	"testing"
)

// The checker has to notice every break of the promise, else it proves nothing.
func TestCheckerNoticesEveryBreak(t *testing.T) {
	at := func(offset uint64) event { return event{epoch: "A", offset: offset} }
	recovered := event{epoch: "A", asked: true, recovered: true, offset: 2}
	pub := func(n int) event { return event{publication: true, id: fmt.Sprint("m", n), offset: uint64(n)} }
	for name, c := range map[string]struct {
		events []event
		want   string // "" = all is well
	}{
		"all live":                    {[]event{at(0), pub(1), pub(2), pub(4), pub(6)}, ""},
		"late":                        {[]event{at(2), pub(4), pub(6)}, ""},
		"recovered":                   {[]event{at(0), pub(1), pub(2), recovered, pub(4), pub(6)}, ""},
		"unconfirmed may be seen":     {[]event{at(0), pub(1), pub(2), pub(4), pub(5), pub(6)}, ""},
		"told":                        {[]event{at(0), pub(1), {epoch: "A", asked: true, offset: 4}, pub(6)}, ""},
		"told of a new epoch":         {[]event{at(0), pub(1), {epoch: "B", asked: true, offset: 0}}, ""},
		"one missing":                 {[]event{at(0), pub(1), pub(4), pub(6)}, "m2 at 2 of A is missing before m4"},
		"first missing":               {[]event{at(0), pub(2), pub(4), pub(6)}, "m1 at 1 of A is missing"},
		"last missing":                {[]event{at(0), pub(1), pub(2), pub(4)}, "m6 at 6 of A is missing before the end"},
		"missing in recovery":         {[]event{at(0), pub(1), pub(2), recovered, pub(6)}, "m4 at 4 of A is missing"},
		"twice":                       {[]event{at(0), pub(1), pub(2), pub(2), pub(4), pub(6)}, "m2 at 2 again"},
		"stored twice":                {[]event{at(0), pub(1), pub(2), {publication: true, id: "m2", offset: 3}, pub(4), pub(6)}, "m2 at 3 again"},
		"out of order":                {[]event{at(0), pub(2), pub(1), pub(4), pub(6)}, "m1 at 1 after 2"},
		"never sent":                  {[]event{at(0), {publication: true, id: "x", offset: 1}, pub(2), pub(4), pub(6)}, "never sent"},
		"of another channel":          {[]event{at(0), pub(1), pub(2), {publication: true, id: "other", offset: 3}, pub(4), pub(6)}, "never sent to this channel"},
		"another offset than acked":   {[]event{at(0), {publication: true, id: "m2", offset: 1}, pub(4), pub(6)}, "was acknowledged as 2 of A"},
		"recovered into a new epoch":  {[]event{at(0), {epoch: "B", asked: true, recovered: true}}, "recovered into epoch B from A"},
		"position goes back":          {[]event{at(4), {epoch: "A", asked: true, offset: 2}, pub(4), pub(6)}, "went back"},
		"forgot that it was asked to": {[]event{at(0), pub(1), {epoch: "A", offset: 4}, pub(6)}, "a fresh position"},
		"mixed epochs":                {[]event{at(0), {epoch: "B", asked: true}, pub(1)}, "m1 at 1 of B was acknowledged as 1 of A"},
		"no epoch":                    {[]event{{offset: 6}}, `the epoch ""`},
		"reserved epoch":              {[]event{{epoch: "_", offset: 6}}, `the epoch "_"`},
		"nothing":                     {nil, "never subscribed"},
		"publication first":           {[]event{pub(1), at(6)}, "before any position"},
	} {
		l := newLedger()
		for n := 1; n <= 6; n++ {
			l.send(fmt.Sprint("m", n), "c")
		}
		l.send("other", "d")
		for _, n := range []int{1, 2, 4, 6} {
			l.confirm("c", ack{id: fmt.Sprint("m", n), offset: uint64(n), epoch: "A"})
		}
		r := &record{name: "s", channel: "c"}
		for _, e := range c.events {
			r.note(e)
		}
		got := strings.Join(l.check(r).wrong, "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestOnePlaceIsAcknowledgedOnce(t *testing.T) {
	l := newLedger()
	l.confirm("c", ack{id: "a", offset: 1, epoch: "A"})
	l.confirm("c", ack{id: "b", offset: 1, epoch: "B"})
	if wrong := l.stored(); len(wrong) > 0 {
		t.Error(wrong)
	}
	l.confirm("d", ack{id: "c", offset: 1, epoch: "A"})
	if wrong := l.stored(); len(wrong) != 1 {
		t.Error(wrong)
	}
}
