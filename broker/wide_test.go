package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"throng/broker"
)

// tally checks what arrives: each publisher's messages of each channel, once and in order.
type tally struct {
	t    *testing.T
	mu   sync.Mutex
	last map[string]int // by channel and publisher
	same map[string]int // by channel: messages that all look the same
}

func newTally(t *testing.T) *tally {
	return &tally{t: t, last: make(map[string]int), same: make(map[string]int)}
}

func (y *tally) handle(m broker.Message) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if string(m.Data) == "same" {
		y.same[m.Channel]++
		return
	}
	from, number, _ := strings.Cut(string(m.Data), " ")
	var seq int
	if _, err := fmt.Sscan(number, &seq); err != nil {
		y.t.Errorf("heard %q", m.Data)
		return
	}
	key := m.Channel + " " + from
	if last := y.last[key]; seq <= last || seq > last+1 && !strings.HasPrefix(m.Channel, "churn") {
		y.t.Errorf("%s: %d after %d", key, seq, last)
	}
	y.last[key] = seq
}

// crowd publishes on channels until stopped.
type crowd struct {
	t    *testing.T
	stop chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	sent map[string]int // by channel and publisher; "channel same" for those that look the same
}

func (c *crowd) publish(nc *nats.Conn, from string, channels []string) {
	c.wg.Go(func() {
		sent := make(map[string]int)
		for i := 0; ; i++ {
			select {
			case <-c.stop:
				c.mu.Lock()
				for k, v := range sent {
					c.sent[k] += v
				}
				c.mu.Unlock()
				if err := nc.Flush(); err != nil {
					c.t.Error(err)
				}
				return
			default:
			}
			channel := channels[rand.IntN(len(channels))]
			for range 1 + rand.IntN(4) {
				key, text := channel+" "+from, "same"
				if strings.HasPrefix(channel, "same") {
					key = channel
				} else {
					text = fmt.Sprintf("%s %d", from, sent[key]+1)
				}
				if err := nc.Publish("throng.live."+channel, []byte(text)); err != nil {
					c.t.Error(err)
					return
				}
				sent[key]++
			}
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // the load's pace, nothing waits for it
		}
	})
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

// wideStress is a node that hears many channels and few by turns, and those who talk on them.
type wideStress struct {
	*broker.NATS
	t     *testing.T
	url   string
	heard *tally
}

func (n *wideStress) subscribe(channels []string) {
	for _, c := range channels {
		n.Subscribe(c)
	}
	mustSync(n.t, n)
}

func (n *wideStress) unsubscribe(channels []string) {
	for _, c := range channels {
		n.Unsubscribe(c)
	}
	mustSync(n.t, n)
}

// churn joins and leaves channels until stopped.
func (n *wideStress) churn(channels []string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			n.unsubscribe(channels)
			return
		default:
		}
		name := channels[rand.IntN(len(channels))]
		n.Subscribe(name)
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		n.Unsubscribe(name)
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	}
}

// Many channels, then few, then many: whatever subscription a channel's messages come by, each comes once and in order.
func TestNothingIsLostOrDoubledBetweenManyChannelsAndFew(t *testing.T) {
	const limit = 100
	s := startServer(t, "127.0.0.1:0")
	y := newTally(t)
	n := &wideStress{t: t, url: s.url(), heard: y}
	n.NATS = connect(t, broker.Config{URLs: []string{n.url}, Limits: broker.Limits{WideInterest: limit, Readers: 4}}, y.handle)
	always, filler := numbered("narrow", 5), numbered("filler", limit)
	n.subscribe(always)
	for round := range 6 {
		n.subscribe(filler)
		tested := append(numbered(fmt.Sprintf("wide%d-", round), 15), numbered(fmt.Sprintf("same%d-", round), 2)...)
		if round == 1 {
			tested = append(tested, "silent")
		}
		n.subscribe(tested)
		if st := n.Stats(); st.WideInterest < len(tested) || st.Interest != len(always)+len(tested)+limit {
			t.Fatalf("round %d: %+v", round, st)
		}
		n.round(round, always, tested, filler)
		n.unsubscribe(tested)
	}
	if st := n.Stats(); st.Lost != [broker.NumLossReasons]uint64{} || st.AsyncErrors != 0 {
		t.Errorf("%+v", st)
	}
}

// round has everybody talk while the fillers leave.
func (n *wideStress) round(round int, always, tested, filler []string) {
	churn := numbered(fmt.Sprintf("churn%d-", round), 5)
	c := &crowd{t: n.t, stop: make(chan struct{}), sent: make(map[string]int)}
	talk := slices.DeleteFunc(slices.Concat(always, tested, churn), func(name string) bool { return name == "silent" })
	for i := range 4 {
		nc, err := nats.Connect(n.url)
		if err != nil {
			n.t.Fatal(err)
		}
		defer nc.Close()
		c.publish(nc, fmt.Sprintf("r%dp%d", round, i), talk)
	}
	c.wg.Go(func() { n.churn(churn, c.stop) })
	n.unsubscribe(filler)
	eventually(n.t, "every channel has its own subscription again", n, func() bool { return n.Stats().WideInterest == 0 })
	if round%2 == 0 { // and on to many again while all speak
		n.subscribe(filler)
		n.unsubscribe(filler)
	}
	close(c.stop)
	c.wg.Wait()
	mustSync(n.t, n)
	n.heard.compare(c, append(always, tested...))
}

// compare finds what was sent and is missing.
func (y *tally) compare(c *crowd, channels []string) {
	y.t.Helper()
	listened := make(map[string]bool)
	for _, name := range channels {
		listened[name] = true
	}
	for key, sent := range c.sent {
		channel, _, _ := strings.Cut(key, " ")
		if !listened[channel] {
			continue
		}
		get := func() int {
			y.mu.Lock()
			defer y.mu.Unlock()
			if strings.HasPrefix(channel, "same") {
				return y.same[channel]
			}
			return y.last[key]
		}
		for end := time.Now().Add(patience); get() != sent && time.Now().Before(end); time.Sleep(time.Millisecond) {
			if get() > sent {
				break
			}
		}
		if got := get(); got != sent {
			y.t.Errorf("%s: %d of %d", key, got, sent)
		}
	}
}

// A lost link costs what was said meanwhile, and nothing else: every channel is heard again, each message once.
func TestManyChannelsAreHeardAgainAfterALostLink(t *testing.T) {
	const limit = 50
	s := startServer(t, "127.0.0.1:0")
	y := newTally(t)
	n := connect(t, broker.Config{URLs: []string{s.url()}, Limits: broker.Limits{WideInterest: limit}}, y.handle)
	filler, tested := numbered("filler", limit), numbered("churn", 20)
	for _, c := range append(filler, tested...) {
		n.Subscribe(c)
	}
	seq := 0
	reaches := func(when string) {
		t.Helper()
		eventually(t, "reconnected "+when, n, func() bool { return n.Ready() == nil })
		mustSync(t, n)
		nc := foreign(t, s)
		seq++
		for _, c := range tested {
			for range 2 { // the same again and again, as twins that are none
				if err := nc.Publish("throng.live."+c, fmt.Appendf(nil, "p %d", seq)); err != nil {
					t.Fatal(err)
				}
				seq++
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			want := seq - 1
			eventually(t, c+" hears "+when, n, func() bool { y.mu.Lock(); defer y.mu.Unlock(); return y.last[c+" p"] == want })
		}
	}
	restart := func() {
		t.Helper()
		s.stop()
		eventually(t, "the lost link is noticed", n, func() bool { return n.Ready() != nil })
		s.start()
	}
	reaches("at first")
	restart()
	reaches("while there are many")
	for _, c := range filler {
		n.Unsubscribe(c)
	}
	mustSync(t, n)
	restart()
	reaches("while they move")
	eventually(t, "all have moved", n, func() bool { return n.Stats().WideInterest == 0 })
	reaches("when few are left")
	if st := n.Stats(); st.Interest != len(tested) {
		t.Errorf("%+v", st)
	}
}

// Native channels are never heard widely, and channels that become native leave the wide subscription.
func TestNativeChannelsStayApartFromTheWideSubscription(t *testing.T) {
	s := startServer(t, "")
	n := listen(t, broker.Config{Server: s, Limits: broker.Limits{WideInterest: 2}}, nil, "x", "y")
	for _, name := range []string{"s:a", "s:b", "own"} {
		n.mu.Lock()
		n.from[name] = make(chan broker.Message, 100)
		n.mu.Unlock()
		n.Subscribe(name)
	}
	mustSync(t, n)
	nc := foreign(t, s)
	reaches := func(subject, channel string) {
		t.Helper()
		mustSync(t, n)
		if err := nc.Publish(subject, []byte(subject)); err != nil {
			t.Fatal(err)
		}
		if m := receive(t, n.from[channel]); string(m.Data) != subject {
			t.Errorf("%s: heard %+v", channel, m)
		}
		for name, c := range n.from {
			if len(c) != 0 {
				t.Errorf("%s reached %s too", subject, name)
			}
		}
	}
	if st := n.Stats(); st.Interest != 5 || st.WideInterest != 3 {
		t.Fatalf("%+v", st)
	}
	reaches("throng.live.s:a", "s:a")
	n.SetNative(native{"s", "sensors"})
	reaches("sensors.a", "s:a")
	reaches("throng.live.own", "own")
	if st := n.Stats(); st.Interest != 5 || st.WideInterest != 1 || st.NativeInterest != 2 {
		t.Errorf("%+v", st)
	}
	n.SetNative(nil)
	reaches("throng.live.s:b", "s:b")
	reaches("throng.live.x", "x")
	if err := nc.Publish("throng.live.nobody", nil); err != nil {
		t.Fatal(err)
	}
	reaches("throng.live.own", "own")
	if st := n.Stats(); st.Interest != 5 || st.WideInterest != 3 || st.NativeInterest != 0 || st.Unwanted == 0 {
		t.Errorf("%+v", st)
	}
}
