package members

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"throng/server/wire"
)

const room = "chat:1"

// soon is enough for a seed, later for a node to be forgotten.
const (
	soon  = 5 * time.Second
	later = forgetAfter + 5*time.Second
)

func TestMembersOfAKilledNodeLeaveOnce(t *testing.T) {
	inCountry(t, 3, Config{}, func(c *country) {
		a, b, other := c.nodes[0], c.nodes[1], c.nodes[2]
		b.join(room, "before")
		a.table.Watch(room)
		other.table.Watch(room)
		time.Sleep(soon)
		b.join(room, "after")
		b.join(room, "short")
		b.leave(room, "short")
		other.join(room, "elsewhere")
		time.Sleep(time.Second)
		for _, n := range []*town{a, other} {
			n.want("as it happened", room, "+before", "+after", "+short", "-short", "+elsewhere")
		}
		b.kill()
		time.Sleep(forgetAfter - 2*time.Second)
		a.want("nobody is taken for dead too soon", room)
		time.Sleep(5 * time.Second)
		for _, n := range []*town{a, other} {
			n.want("who was there leaves", room, "-before", "-after")
			if s := n.table.Stats(); s.Mourned != 2 || s.GoneNodes != 1 {
				t.Errorf("%+v", s)
			}
		}
		time.Sleep(time.Minute)
		a.want("once", room)
	})
}

func TestGoodbyeOvertakesLeaves(t *testing.T) {
	inCountry(t, 2, Config{}, func(c *country) {
		a, b := c.nodes[0], c.nodes[1]
		b.join(room, "x")
		a.table.Watch(room)
		time.Sleep(soon)
		a.want("joined", room, "+x")
		b.quit()
		time.Sleep(soon)
		a.want("the node is gone", room, "-x")
		c.mu.Lock()
		b.dead = false // its last words were on their way
		b.say(room, "x", wire.KindLeave)
		b.dead = true
		c.mu.Unlock()
		time.Sleep(time.Second)
		a.want("told already", room)
		if s := a.table.Stats(); s.Repeated != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNodeThatWasCutOffIsBack(t *testing.T) {
	inCountry(t, 3, Config{}, func(c *country) {
		a, b, d := c.nodes[0], c.nodes[1], c.nodes[2]
		a.table.Watch(room)
		b.table.Watch(room)
		time.Sleep(soon)
		for _, n := range c.nodes {
			n.join(room, "on"+n.uid)
		}
		b.join(room, "leaves")
		time.Sleep(time.Second)
		a.want("joined", room, "+onN0", "+onN1", "+onN2", "+leaves")
		b.want("joined", room, "+onN0", "+onN1", "+onN2", "+leaves")
		b.setCut(true)
		time.Sleep(later)
		a.want("taken for dead", room, "-onN1", "-leaves")
		b.want("who is cut off takes nobody for dead", room)
		b.leave(room, "leaves")
		b.join(room, "new")
		a.leave(room, "onN0")
		d.join(room, "late")
		time.Sleep(time.Second)
		b.want("its own are heard", room, "-leaves", "+new")
		a.want("and those at home", room, "-onN0", "+late")
		b.setCut(false)
		time.Sleep(soon)
		a.want("back, as it is now", room, "+onN1", "+new")
		b.want("what it missed", room, "-onN0", "+late")
		time.Sleep(time.Minute)
		a.want("once", room)
		b.want("once", room)
	})
}

func TestShortStandstillChangesNothing(t *testing.T) {
	inCountry(t, 2, Config{}, func(c *country) {
		a, b := c.nodes[0], c.nodes[1]
		a.table.Watch(room)
		b.join(room, "x")
		time.Sleep(soon)
		a.want("joined", room, "+x")
		b.setCut(true)
		time.Sleep(8 * time.Second)
		b.setCut(false)
		time.Sleep(later)
		a.want("still there", room)
	})
}

func TestNewcomersToldByTheirNodeAreNotToldTwice(t *testing.T) {
	inCountry(t, 1, Config{}, func(c *country) {
		a := c.nodes[0]
		a.table.Watch(room)
		time.Sleep(soon)
		b := c.found(Config{})
		b.join(room, "x") // before the first heartbeat
		time.Sleep(soon)
		a.want("joined", room, "+x")
		b.kill()
		time.Sleep(later)
		a.want("left", room, "-x")
	})
}

func TestStrangersMembersLeaveToo(t *testing.T) {
	inCountry(t, 1, Config{}, func(c *country) {
		a := c.nodes[0]
		a.table.Watch(room)
		time.Sleep(soon)
		line := wire.AppendMeta(nil, &wire.Meta{Kind: wire.KindJoin, Info: &wire.ClientInfo{Client: "x"}, Node: "never heard of"})
		if !a.table.Receive(room, string(line)) {
			t.Fatal("not taken")
		}
		time.Sleep(soon)
		a.want("joined", room, "+x")
		time.Sleep(30 * time.Second)
		a.want("left", room, "-x")
		a.table.Receive(room, string(line))
		time.Sleep(time.Minute)
		a.want("and again", room, "+x", "-x")
	})
}

func TestQuestionsAreSharedAndPutAgain(t *testing.T) {
	inCountry(t, 2, Config{SeedChannels: 100}, func(c *country) {
		a, b := c.nodes[0], c.nodes[1]
		c.fail = func(n *town) bool { return n == b }
		for i := range 1000 {
			name := fmt.Sprint("chat:", i)
			b.join(name, "x")
			a.table.Watch(name)
		}
		time.Sleep(1050 * time.Millisecond)
		c.mu.Lock()
		asked := c.asked
		c.fail = nil
		clear(a.heard)
		c.mu.Unlock()
		if asked != 10 {
			t.Errorf("%d questions about 1000 channels in the first second, want 10", asked)
		}
		if n := a.table.Stats().Incomplete; n != 10 {
			t.Errorf("%d incomplete", n)
		}
		time.Sleep(20 * time.Second)
		if s := a.table.Stats(); s.Members != 1000 || s.Waiting != 0 || s.Found != 0 {
			t.Errorf("%+v", s)
		}
		b.kill()
		time.Sleep(later)
		a.want("left", "chat:77", "-x")
		if s := a.table.Stats(); s.Members != 0 || s.Bytes != 0 || s.Mourned != 1000 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNodeThatNeverAnswersIsGivenUp(t *testing.T) {
	inCountry(t, 2, Config{SeedTries: 3}, func(c *country) {
		c.fail = func(n *town) bool { return n == c.nodes[1] }
		c.nodes[0].table.Watch(room)
		time.Sleep(time.Minute)
		if s := c.nodes[0].table.Stats(); s.Unfinished != 1 || s.Incomplete != 3 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCrowdsArePassedThrough(t *testing.T) {
	for name, cfg := range map[string]Config{"in the channel": {MaxChannel: 10}, "in all": {MaxBytes: 10 * (memberOverhead + 20)}} {
		t.Run(name, func(t *testing.T) {
			inCountry(t, 2, cfg, func(c *country) {
				a, b := c.nodes[0], c.nodes[1]
				a.table.Watch(room)
				time.Sleep(soon)
				var want []string
				for i := range 20 {
					b.join(room, fmt.Sprint(i))
					want = append(want, fmt.Sprint("+", i))
				}
				b.leave(room, "3")
				time.Sleep(time.Second)
				a.want("all is heard", room, append(want, "-3")...)
				if s := a.table.Stats(); s.Degraded != 1 || s.Degradations != 1 || s.Members != 0 || s.Bytes != 0 {
					t.Errorf("%+v", s)
				}
				b.kill()
				time.Sleep(later)
				a.want("nothing is known", room)
				a.table.Unwatch(room)
				time.Sleep(soon)
				if s := a.table.Stats(); s.Degraded != 0 || s.Channels != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestCrowdFoundByAskingIsPassedThrough(t *testing.T) {
	inCountry(t, 2, Config{MaxChannel: 10}, func(c *country) {
		for i := range 11 {
			c.nodes[1].join(room, fmt.Sprint(i))
		}
		c.nodes[0].table.Watch(room)
		time.Sleep(soon)
		if s := c.nodes[0].table.Stats(); s.Degraded != 1 || s.Members != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRostersLiveAsLongAsSomebodyListens(t *testing.T) {
	inCountry(t, 2, Config{Linger: 4 * time.Second}, func(c *country) {
		a, b := c.nodes[0], c.nodes[1]
		b.join(room, "x")
		a.table.Watch(room)
		a.table.Watch(room)
		time.Sleep(soon)
		a.table.Unwatch(room)
		time.Sleep(soon)
		if s := a.table.Stats(); s.Channels != 1 || s.Members != 1 {
			t.Errorf("one still listens: %+v", s)
		}
		before := a.table.Stats().Questions
		a.table.Unwatch(room)
		time.Sleep(1500 * time.Millisecond)
		a.table.Watch(room) // a reconnect
		time.Sleep(soon)
		if s := a.table.Stats(); s.Channels != 1 || s.Members != 1 || s.Questions != before {
			t.Errorf("back within the linger: %+v", s)
		}
		a.table.Unwatch(room)
		time.Sleep(soon)
		if s := a.table.Stats(); s.Channels != 0 || s.Members != 0 || s.Bytes != 0 {
			t.Errorf("nobody listens: %+v", s)
		}
		a.table.Watch(room)
		time.Sleep(soon)
		if s := a.table.Stats(); s.Channels != 1 || s.Members != 1 || s.Questions != before+1 {
			t.Errorf("listening again: %+v", s)
		}
	})
}

func TestOnlyJoinsAndLeavesAreTaken(t *testing.T) {
	inCountry(t, 2, Config{}, func(c *country) {
		a := c.nodes[0]
		for _, line := range []string{"", "{}", `{"info":{"user":"1"}}`, `{"kind":"join"`, `{"kind":"joint"}`, `{"kind":"leave","info":1}`, `{"kind":"purge","offset":3}`} {
			if a.table.Receive(room, line) {
				t.Errorf("%q was taken", line)
			}
		}
		for _, line := range []string{`{"kind":"join","info":{"client":"old version"}}`, `{"kind":"leave","info":{"client":"own"},"node":"N0"}`} {
			if !a.table.Receive(room, line) {
				t.Errorf("%q was not taken", line)
			}
		}
		a.want("passed on", room, "+old version", "-own")
	})
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	inCountry(t, 1, Config{}, func(c *country) {
		for _, q := range []string{"", "x", "{}", `{"limit":-1,"channels":["a"]}`, `{"limit":1,"channels":["` + strings.Repeat(`a","`, maxQuestion) + `"]}`} {
			if _, err := c.nodes[0].table.Answer([]byte(q)); err == nil {
				t.Errorf("%.40q was answered", q)
			}
		}
	})
}

func TestLongAnswersComeInParts(t *testing.T) {
	inCountry(t, 2, Config{}, func(c *country) {
		a, b := c.nodes[0], c.nodes[1]
		c.mu.Lock()
		big := []byte(`"` + strings.Repeat("x", 100_000) + `"`)
		for i := range 30 {
			b.here[fmt.Sprint(i)] = map[string]wire.ClientInfo{"x": {Client: "x", ConnInfo: big}}
		}
		b.here["huge"] = map[string]wire.ClientInfo{}
		for i := range 100 {
			b.here["huge"][fmt.Sprint(i)] = wire.ClientInfo{Client: fmt.Sprint(i), ConnInfo: big}
		}
		c.mu.Unlock()
		for i := range 30 {
			a.table.Watch(fmt.Sprint(i))
		}
		a.table.Watch("huge")
		time.Sleep(time.Minute)
		if s := a.table.Stats(); s.Members != 30 || s.Degraded != 1 || s.Waiting != 0 || s.Unfinished != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestBytesAreCountedAboutRight(t *testing.T) {
	inCountry(t, 1, Config{MaxChannel: 1 << 20}, func(c *country) {
		a := c.nodes[0]
		a.table.Watch(room)
		time.Sleep(soon)
		lines := make([]string, 20_000)
		for i := range lines {
			info := wire.ClientInfo{User: fmt.Sprint("user", i), Client: fmt.Sprintf("%036d", i), ConnInfo: []byte(`{"name":"somebody"}`)}
			lines[i] = string(wire.AppendMeta(nil, &wire.Meta{Kind: wire.KindJoin, Info: &info, Node: "other"}))
		}
		r, from := a.table.find(room), a.table.nodes.of("other")
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, line := range lines {
			m, _ := wire.ParseMeta(line)
			r.mu.Lock()
			a.table.hear(r, from, m)
			r.mu.Unlock()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		counted, real := a.table.Stats().Bytes, int64(after.HeapAlloc-before.HeapAlloc)
		t.Logf("%d bytes a member, counted as %d", real/int64(len(lines)), counted/int64(len(lines)))
		if real > 2*counted {
			t.Errorf("%d bytes, counted as %d", real, counted)
		}
		runtime.KeepAlive(lines)
	})
}

func FuzzReadPart(f *testing.F) {
	f.Add([]byte("1\n" + `{"user":"u","client":"c"}` + "\n-1\n"))
	f.Add([]byte("-2\n0\n"))
	f.Add([]byte("99999999\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		for {
			one, rest, ok := readPart(p)
			if !ok {
				return
			}
			if len(rest) >= len(p) || one.crowd && len(one.infos) > 0 {
				t.Fatalf("%q", p)
			}
			p = rest
		}
	})
}
