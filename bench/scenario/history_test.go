package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"throng/bench/nullserver"
)

// historian is a small server of the Centrifuge protocol with history, and with
// the faults that a run must find.
type historian struct {
	wg      sync.WaitGroup
	mu      sync.Mutex
	streams map[string]*stream
	n       int

	forget    bool // answers every recovery with a new epoch
	loseOne   int  // every n-th publication of a recovery is left out
	twice     bool // recovered publications come again as pushes
	refuse    int  // every n-th publish command is refused
	noEpoch   bool // gives no positions
	takesBack bool // ends subscriptions that come back
}

type stream struct {
	pubs []json.RawMessage
	subs map[*peer]bool
}

type peer struct {
	conn *websocket.Conn
	out  bytes.Buffer
}

func (h *historian) start(t *testing.T) *Options {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.Close(); h.wg.Wait() })
	opts := against(t, nullserver.Config{})
	opts.Targets = []string{"ws" + strings.TrimPrefix(srv.URL, "http") + "/"}
	opts.Dialect, opts.Connections = "centrifuge-json", 60
	return opts
}

func (h *historian) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	h.wg.Add(1)
	defer h.wg.Done()
	h.serve(&peer{conn: c})
}

// historianEnv makes the test binary a historian at that address.
const historianEnv = "THRONG_BENCH_TEST_HISTORIAN"

func runHistorian(addr string) int {
	fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, &historian{}))
	return 1
}

// spawned are options for a historian in a process of its own.
func spawned(t *testing.T) *Options {
	t.Helper()
	opts := against(t, nullserver.Config{})
	opts.Spawn = "env " + historianEnv + "={addr} '" + os.Args[0] + "'"
	opts.SpawnTarget, opts.Dialect, opts.Connections = "ws://{addr}/", "centrifuge-json", 60
	return opts
}

type command struct {
	ID        int
	Subscribe *struct {
		Channel string
		Recover bool
		Offset  int
	}
	Publish *struct {
		Channel string
		Data    json.RawMessage
	}
}

func (h *historian) serve(p *peer) {
	defer p.conn.Close()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, s := range h.streams {
			delete(s.subs, p)
		}
	}()
	for {
		_, text, err := p.conn.ReadMessage()
		if err != nil {
			return
		}
		h.mu.Lock()
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			var c command
			if json.Unmarshal(line, &c) == nil {
				h.obey(p, &c)
			}
		}
		p.flush()
		h.mu.Unlock()
	}
}

func (p *peer) say(format string, args ...any) {
	if p.out.Len() > 0 {
		p.out.WriteByte('\n')
	}
	fmt.Fprintf(&p.out, format, args...)
}

func (p *peer) flush() {
	if p.out.Len() > 0 {
		_ = p.conn.WriteMessage(websocket.TextMessage, p.out.Bytes())
		p.out.Reset()
	}
}

func (h *historian) stream(name string) *stream {
	if h.streams == nil {
		h.streams = map[string]*stream{}
	}
	if h.streams[name] == nil {
		h.streams[name] = &stream{subs: map[*peer]bool{}}
	}
	return h.streams[name]
}

func (h *historian) obey(p *peer, c *command) {
	switch {
	case c.Subscribe != nil:
		s := h.stream(c.Subscribe.Channel)
		s.subs[p] = true
		h.subscribe(p, c, s)
	case c.Publish != nil:
		if h.n++; h.refuse > 0 && h.n%h.refuse == 0 {
			p.say(`{"id":%d,"error":{"code":111,"message":"too many requests"}}`, c.ID)
			return
		}
		s := h.stream(c.Publish.Channel)
		s.pubs = append(s.pubs, c.Publish.Data)
		p.say(`{"id":%d,"publish":{}}`, c.ID)
		for sub := range s.subs {
			sub.say(`{"push":{"channel":%q,"pub":{"data":%s,"offset":%d}}}`, c.Publish.Channel, c.Publish.Data, len(s.pubs))
			if sub != p {
				sub.flush()
			}
		}
	}
}

func (h *historian) subscribe(p *peer, c *command, s *stream) {
	q := c.Subscribe
	switch {
	case h.noEpoch:
		p.say(`{"id":%d,"subscribe":{}}`, c.ID)
		return
	case !q.Recover:
		p.say(`{"id":%d,"subscribe":{"recoverable":true,"epoch":"e","offset":%d,"positioned":true}}`, c.ID, len(s.pubs))
		return
	case h.forget || q.Offset > len(s.pubs):
		p.say(`{"id":%d,"subscribe":{"recoverable":true,"epoch":"f","offset":%d,"positioned":true,"was_recovering":true}}`, c.ID, len(s.pubs))
		return
	}
	var missed []string
	for at := q.Offset; at < len(s.pubs); at++ {
		if h.loseOne == 0 || at%h.loseOne != 0 {
			missed = append(missed, fmt.Sprintf(`{"data":%s,"offset":%d}`, s.pubs[at], at+1))
		}
	}
	p.say(`{"id":%d,"subscribe":{"recoverable":true,"epoch":"e","publications":[%s],"recovered":true,"offset":%d,"positioned":true,"was_recovering":true}}`,
		c.ID, strings.Join(missed, ","), q.Offset)
	for _, pub := range missed {
		if h.twice {
			p.say(`{"push":{"channel":%q,"pub":%s}}`, q.Channel, pub)
		}
	}
	if h.takesBack {
		p.flush()
		p.say(`{"push":{"channel":%q,"unsubscribe":{"code":2500,"reason":"insufficient state"}}}`, q.Channel)
	}
}

func TestPublicationsAreAnsweredAndDelivered(t *testing.T) {
	opts := (&historian{}).start(t)
	o := Publish(deadline(t), opts, ui(t), PublishSpec{
		Rounds: 1, Channels: 20, Outstanding: []int{1, 5}, Rate: 500, For: 200 * time.Millisecond, WarmUp: 50 * time.Millisecond, MinAcked: 1,
	})
	wantMet(t, o)
	for _, name := range []string{"1 outstanding", "5 outstanding", "rate"} {
		p := phaseOf(t, o, name)
		want(t, name+", answers", p.Counters.Acked, p.Counters.Sent)
		want(t, name+", deliveries", p.Counters.Received, p.Counters.Sent*3)
	}
	if v, ok := o.Runs[0].Figure("acked_per_s_k5"); !ok || v <= 0 || phaseOf(t, o, "5 outstanding").Ack == nil {
		t.Errorf("figures %+v", o.Runs[0].Figures)
	}
}

func TestRefusedPublicationsAreAMissWithTheirCode(t *testing.T) {
	opts := (&historian{refuse: 7}).start(t)
	o := Publish(deadline(t), opts, ui(t), PublishSpec{Rounds: 1, Channels: 4, Outstanding: []int{3}, For: 100 * time.Millisecond, MinAcked: 1e9})
	if text := strings.Join(o.Misses, "; "); !strings.Contains(text, "rejected (by code: 111 ") || !strings.Contains(text, "wanted 1e+09") {
		t.Errorf("missed: %q", text)
	}
}

func TestWhatWasMissedIsRecoveredOnce(t *testing.T) {
	opts := (&historian{}).start(t)
	opts.Procs = "2"
	o := Recover(deadline(t), opts, ui(t), RecoverSpec{Rounds: 1, Outages: 2, Channels: 3, Missed: 40, LiveRate: 20})
	wantMet(t, o)
	for _, name := range []string{"outage 1", "outage 2"} {
		c := phaseOf(t, o, name).Counters
		want(t, "recovered", c.Recovered, 60)
		want(t, "sent", c.Sent, 3*(40+40))
		want(t, "received", c.Received, 60*80)
		if c.Attached < 60*40 {
			t.Errorf("%d publications came with the answers", c.Attached)
		}
	}
	want(t, "after", phaseOf(t, o, "after outage 2").Counters.Received, 60)
}

func TestFaultsOfARecoveryAreMisses(t *testing.T) {
	for word, h := range map[string]*historian{
		"60 subscriptions not recovered":     {forget: true},
		"lost":                               {loseOne: 5},
		"duplicated":                         {twice: true},
		"60 subscriptions without a positi":  {noEpoch: true},
		"unsubscribed":                       {takesBack: true},
		"took only 0 of 60 subscriptions fo": {noEpoch: true},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			opts := h.start(t)
			o := Recover(deadline(t), opts, ui(t), RecoverSpec{Rounds: 1, Outages: 1, Channels: 1, Missed: 20})
			if text := strings.Join(o.Misses, "; "); !strings.Contains(text, word) {
				t.Errorf("missed: %q", text)
			}
		})
	}
}

func TestAKilledServerIsStartedAgainAndWhatItForgotIsAMiss(t *testing.T) {
	opts := spawned(t)
	o := Recover(deadline(t), opts, ui(t), RecoverSpec{Rounds: 1, Outages: 1, Channels: 1, Missed: 1, Restart: true})
	if text := strings.Join(o.Misses, "; "); !strings.Contains(text, "60 subscriptions not recovered") || strings.Contains(text, "dropped") {
		t.Errorf("missed: %q", text)
	}
	want(t, "all back", uint64(phaseOf(t, o, "outage 1").Counters.Open), 61)
	want(t, "heard afterwards", phaseOf(t, o, "after outage 1").Counters.Received, 60)
	if peak, ok := o.Runs[0].Figure("recover_peak_rss"); !ok || peak <= 0 {
		t.Errorf("peak %v", peak)
	}
}

func TestPositionedAndPlainAreMeasuredOnServersOfTheirOwn(t *testing.T) {
	opts := spawned(t)
	o := Positions(deadline(t), opts, ui(t), PositionsSpec{Rounds: 2, Channels: 1})
	wantMet(t, o)
	var order []string
	pids := map[int]bool{}
	for i := range o.Runs {
		order = append(order, fmt.Sprint(o.Runs[i].Server, " ", o.Runs[i].Round))
		pids[o.Runs[i].PIDs[0]] = true
	}
	if got := strings.Join(order, ", "); got != "null plain 1, null positioned 1, null plain 2, null positioned 2" || len(pids) != 4 {
		t.Errorf("order %q, %d servers", got, len(pids))
	}
	if len(o.Notes) == 0 || !strings.Contains(strings.Join(o.Notes, " "), "a position costs") {
		t.Errorf("notes %q", o.Notes)
	}
}

func TestARestartNeedsAServerOfOurOwn(t *testing.T) {
	opts := (&historian{}).start(t)
	if o := Recover(deadline(t), opts, ui(t), RecoverSpec{Rounds: 1, Outages: 1, Channels: 1, Missed: 1, Restart: true}); len(o.Misses) != 1 {
		t.Errorf("missed: %q", o.Misses)
	}
	if o := Positions(deadline(t), opts, ui(t), PositionsSpec{Rounds: 1, Channels: 1}); len(o.Misses) != 1 {
		t.Errorf("missed: %q", o.Misses)
	}
}
