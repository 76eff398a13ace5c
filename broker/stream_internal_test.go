package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func FuzzAcknowledgement(f *testing.F) {
	for _, seed := range []string{
		`{"stream":"throng_hist_chat","seq":12}`, `{"stream":"throng_hist_chat","seq":12,"duplicate": true}`,
		`{"stream":"throng_hist_chat","domain":"d","seq":12}`, `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"},"stream":"throng_hist_chat","seq":0}`,
		`{"stream":"throng_hist_chat","seq":012}`, `{"stream":"throng_hist_chat","seq":}`, `{"stream":"other","seq":1}`, ``, `{"stream":"throng_hist_chat","seq":18446744073709551616}`,
	} {
		f.Add([]byte(seed))
	}
	prefix := ackPrefix("throng_hist_chat")
	f.Fuzz(func(t *testing.T, data []byte) {
		got := readAck(prefix, &nats.Msg{Data: data})
		if (got.err == nil) != (got.seq > 0) {
			t.Fatalf("%q: %+v", data, got)
		}
		var want struct {
			Stream    string
			Seq       uint64
			Duplicate bool
			Error     *apiError
		}
		if got.err != nil {
			return
		}
		if err := json.Unmarshal(data, &want); err != nil || want.Seq != got.seq || want.Duplicate != got.duplicate || want.Error != nil || want.Stream != "throng_hist_chat" {
			t.Fatalf("%q read as %+v, is %+v, %v", data, got, want, err)
		}
	})
}

func TestRefusalsOfJetStreamAreNamedErrors(t *testing.T) {
	prefix := ackPrefix("s")
	for code, want := range map[int]error{
		codeWrongLast: ErrConflict, codeWrongLastConst: ErrConflict, codeAccountResources: ErrStoreFull, codeStoreFailed: ErrStoreFull,
		codeInsufficient: ErrStoreFull, codeMessageTooBig: ErrTooBig, codeHeaderTooBig: ErrTooBig, codeNotEnabled: ErrNoStream,
		codeStreamOffline: ErrNoStream, codeDuplicateInWork: ErrUnconfirmed, codeTooManyRequests: ErrBusy, 99999: ErrNoStream,
	} {
		ack := readAck(prefix, &nats.Msg{Data: fmt.Appendf(nil, `{"error":{"code":400,"err_code":%d,"description":"x"}}`, code)})
		if !errors.Is(ack.err, want) {
			t.Errorf("%d: %v, want %v", code, ack.err, want)
		}
		if got := failureOf(ack.err); failureErrors[got] != want {
			t.Errorf("%d counted as %v", code, got)
		}
	}
}

func FuzzNamespaceNames(f *testing.F) {
	f.Add("chat", "", "lobby")
	f.Add("a.b", "a%2Eb", "x.y")
	f.Add("a/b", `a\b`, "%")
	c, err := newCodec("throng", 255)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b, channel string) {
		x, y := namespaceToken(a), namespaceToken(b)
		if (x == y) != (a == b) || (histName("p", x) == histName("p", y)) != (a == b) {
			t.Fatalf("%q and %q: %q and %q", a, b, x, y)
		}
		if name := histName("p", x); strings.ContainsAny(name, " .*>/\\\t\r\n\"") || strings.ContainsAny(x, " .*>\t\r\n") || x == "" {
			t.Fatalf("%q becomes %q, %q", a, x, name)
		}
		if c.check(channel) != nil {
			return
		}
		live := c.subject(channel)
		stored := "throng.hist." + x + "." + strings.TrimPrefix(live, "throng.live.")
		if got, ok := c.republished(stored, live); !ok || got != a {
			t.Fatalf("%q in %q came back as %q, %v", channel, a, got, ok)
		}
	})
}

func TestRepublishedByOthersIsNotOurs(t *testing.T) {
	c, err := newCodec("throng", 255)
	if err != nil {
		t.Fatal(err)
	}
	for _, stored := range []string{"", "throng", "throng.hist", "throng.hist.", "throng.hist.a", "throng.hist.a.", "throng.hist.a.other", "other.hist.a.c", "throng.live.c", "throng.hist.%zz.c", "throng.hist.%61.c"} {
		if namespace, ok := c.republished(stored, "throng.live.c"); ok {
			t.Errorf("%q taken for the namespace %q", stored, namespace)
		}
	}
}

func TestTableAnswersEachOnceInOrderOfAge(t *testing.T) {
	table, to := newAckTable(3, time.Second), &stream{}
	begun := time.Now()
	var all []*storing
	for i := range 3 {
		p := &storing{to: to, accepted: begun.Add(time.Duration(i) * 100 * time.Millisecond)}
		if err := table.add(p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := table.add(&storing{to: to}); !errors.Is(err, ErrBusy) {
		t.Errorf("a fourth of three: %v", err)
	}
	late, again := table.overdue(begun.Add(1050 * time.Millisecond))
	if len(late) != 1 || late[0] != all[0] || again != 50*time.Millisecond {
		t.Errorf("%d overdue, again in %v", len(late), again)
	}
	if table.take(all[0].id) != nil || table.remove(all[0]) || table.writing(all[0]) {
		t.Error("answered twice")
	}
	if !table.writing(all[2]) {
		t.Error("cannot be written")
	}
	if lost := table.takeWritten(); len(lost) != 1 || lost[0] != all[2] {
		t.Errorf("%d lost with the link", len(lost))
	}
	if left := table.close(); len(left) != 1 || left[0] != all[1] || table.len() != 0 {
		t.Errorf("%d left", len(left))
	}
	if err := table.add(&storing{to: to}); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if late, again := table.overdue(begun.Add(time.Hour)); len(late) != 0 || again != 0 {
		t.Errorf("%d overdue of none, again in %v", len(late), again)
	}
}

func TestSlowAcknowledgementsTurnPublicationsAwayWhileOthersWait(t *testing.T) {
	table, slow, quick := newAckTable(100, time.Second), &stream{}, &stream{}
	p := &storing{to: slow}
	if err := table.add(p); err != nil {
		t.Fatal(err)
	}
	slow.lag.Store(int64(600 * time.Millisecond))
	if err := table.add(&storing{to: slow}); !errors.Is(err, ErrBusy) {
		t.Errorf("behind one that waits: %v", err)
	}
	if err := table.add(&storing{to: quick}); err != nil {
		t.Errorf("another stream: %v", err)
	}
	table.remove(p)
	if err := table.add(&storing{to: slow}); err != nil {
		t.Errorf("alone: %v", err)
	}
}

func TestMessageIDsAreScopedToTheChannel(t *testing.T) {
	seen := make(map[string]string)
	for _, pair := range [][2]string{{"a", "b"}, {"ab", ""}, {"", "ab"}, {"a", "1:b"}, {"a1:", "b"}, {"1:a", "b"}} {
		id := messageID(pair[0], pair[1])
		if other, taken := seen[id]; taken || len(id) != idLength {
			t.Errorf("%q has the id of %q", pair, other)
		}
		seen[id] = fmt.Sprint(pair)
	}
}

func TestStreamsConfigSaysWhatIsWrong(t *testing.T) {
	good := StreamConfig{Namespace: "a", Size: 1, MaxAge: time.Second}
	change := func(f func(c *StreamConfig)) []StreamConfig { c := good; f(&c); return []StreamConfig{c} }
	for field, streams := range map[string][]StreamConfig{
		"Namespace":       {good, good},
		"Size":            change(func(c *StreamConfig) { c.Size = 0 }),
		"MaxAge":          change(func(c *StreamConfig) { c.MaxAge = 0 }),
		"DuplicateWindow": change(func(c *StreamConfig) { c.DuplicateWindow = time.Minute }),
		"MaxBytes":        change(func(c *StreamConfig) { c.MaxBytes = -1 }),
		"Replicas":        change(func(c *StreamConfig) { c.Replicas = 7 }),
		"Storage":         change(func(c *StreamConfig) { c.Storage = "tape" }),
	} {
		var bad *ConfigError
		if err := validateStreams(streams); !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := validateStreams([]StreamConfig{good}); err != nil {
		t.Error(err)
	}
}

func TestChangedSizeIsRecordedInTheStream(t *testing.T) {
	n := &NATS{cfg: Config{Prefix: "throng"}}
	c := StreamConfig{Namespace: "a", Size: 5, MaxAge: time.Hour}
	c.setDefaults()
	st := n.newStream(c, make(chan struct{}, 1))
	have := st.wanted(&c, "throng")
	if limit, grown := have.limitRecord(); limit != 6 || grown != 0 {
		t.Errorf("new stream: %d since %d", limit, grown)
	}
	if _, changed := st.merged(&c, have, "throng"); changed {
		t.Error("a stream as wanted is changed")
	}
	c.Size = 9
	next, changed := st.merged(&c, have, "throng")
	if _, grown := next.limitRecord(); !changed || grown != never || number(next["max_msgs_per_subject"]) != 10 {
		t.Errorf("growing: %s", next)
	}
	next.setMetadata(metaSince, "77")
	if limit, grown := next.limitRecord(); limit != 10 || grown != 77 {
		t.Errorf("grown: %d since %d", limit, grown)
	}
	c.Size = 2
	less, _ := st.merged(&c, next, "throng")
	if limit, grown := less.limitRecord(); limit != 0 || grown != never {
		t.Errorf("shrunk: %d since %d", limit, grown)
	}
	less["description"] = json.RawMessage(`"an operator's"`)
	if kept, _ := st.merged(&c, less, "throng"); !bytes.Equal(kept["description"], less["description"]) {
		t.Error("an operator's setting is lost")
	}
}
