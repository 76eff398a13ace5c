package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"throng/broker"
)

func TestStoredPublicationIsAcknowledgedAndComesBackOnTheLiveSubject(t *testing.T) {
	heard := make(chan broker.Message, 10)
	_, n, s := streamNode(t, broker.StreamsConfig{}, func(m broker.Message) { heard <- m })
	n.Subscribe("chat:lobby")
	mustSync(t, n)
	a := mustStore(t, s, "chat:lobby", "one")
	b := store(t, s, broker.StorePublication{
		Namespace: "chat", Channel: "chat:lobby", Data: []byte{0, 1, 2}, Meta: []byte(`{"a":1}`), Binary: true, ID: "k",
	})
	if b.Err != nil || a.Epoch == "" || a.Epoch == "_" || b.Epoch != a.Epoch || b.Offset <= a.Offset || a.Duplicate || b.Duplicate {
		t.Fatalf("%+v then %+v", a, b)
	}
	first, second := <-heard, <-heard
	if first.Offset != a.Offset || first.Previous != 0 || first.Namespace != "chat" || string(first.Data) != "one" || time.Since(first.Time) > time.Minute {
		t.Errorf("first heard %+v", first)
	}
	if second.Offset != b.Offset || second.Previous != a.Offset || second.Meta != `{"a":1}` || !second.Binary || second.Channel != "chat:lobby" {
		t.Errorf("second heard %+v", second)
	}
	if err := n.Publish("chat:lobby", []byte("live"), false); err != nil {
		t.Fatal(err)
	}
	if live := <-heard; live.Offset != 0 || live.Namespace != "" || !live.Time.IsZero() {
		t.Errorf("live publication heard as %+v", live)
	}
	p := mustRead(t, s, broker.ReadQuery{Channel: "chat:lobby", Limit: 10})
	if len(p.Messages) != 2 || p.Messages[1].Offset != b.Offset || !bytes.Equal(p.Messages[1].Data, []byte{0, 1, 2}) ||
		p.Messages[1].Meta != `{"a":1}` || !p.Messages[1].Binary || !p.Messages[1].Time.Equal(second.Time) || p.Epoch != a.Epoch {
		t.Errorf("read %+v", p)
	}
}

func TestRepeatedIDIsStoredOncePerChannel(t *testing.T) {
	_, _, s := streamNode(t, broker.StreamsConfig{}, nil)
	put := func(channel, id string) broker.Stored {
		r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: channel, Data: []byte("x"), ID: id})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r
	}
	long := strings.Repeat("\r\n key", 1000)
	for _, id := range []string{"a", "\x00", long} {
		first, again, other := put("chat:a", id), put("chat:a", id), put("chat:b", id)
		if first.Duplicate || !again.Duplicate || again.Offset != first.Offset || other.Duplicate || again.Epoch != first.Epoch {
			t.Errorf("id %.10q: %+v, %+v, elsewhere %+v", id, first, again, other)
		}
	}
	if st := s.Stats(); st.Stored != 6 || st.Duplicates != 3 || st.Pending != 0 {
		t.Errorf("%+v", st)
	}
}

func TestExpectedLastOffsetDecidesWhoWins(t *testing.T) {
	_, _, s := streamNode(t, broker.StreamsConfig{}, nil)
	put := func(last uint64) broker.Stored {
		return store(t, s, broker.StorePublication{Namespace: "chat", Channel: "c", Data: []byte("x"), ExpectLast: true, LastOffset: last})
	}
	first := put(0)
	if first.Err != nil {
		t.Fatal(first.Err)
	}
	if again := put(0); !errors.Is(again.Err, broker.ErrConflict) {
		t.Errorf("second first publication: %+v", again)
	}
	if next := put(first.Offset); next.Err != nil {
		t.Errorf("successor: %+v", next)
	}
	if st := s.Stats(); st.Failed[broker.FailedConflict] != 1 || s.Status()[0].Ready != true {
		t.Errorf("%+v", st)
	}
}

func TestReadSaysWhatIsNeededToProveContinuity(t *testing.T) {
	_, _, s := streamNode(t, broker.StreamsConfig{}, nil)
	var a []uint64
	for i := range 5 {
		a = append(a, mustStore(t, s, "a", fmt.Sprint(i)).Offset)
		mustStore(t, s, "b", "noise")
	}
	last := mustStore(t, s, "b", "last").Offset
	for _, c := range []struct {
		q    broker.ReadQuery
		want []string
		more bool
		has  bool
	}{
		{broker.ReadQuery{Since: a[1], Limit: 10}, []string{"2", "3", "4"}, false, true},
		{broker.ReadQuery{Since: a[1], Limit: 3}, []string{"2", "3", "4"}, false, true},
		{broker.ReadQuery{Since: a[1], Limit: 2}, []string{"2", "3"}, true, true},
		{broker.ReadQuery{Since: a[4], Limit: 2}, nil, false, true},
		{broker.ReadQuery{Since: a[4] + 1, Limit: 2}, nil, false, false},
		{broker.ReadQuery{Since: a[1] + 1, Limit: 2}, []string{"2", "3"}, true, false},
		{broker.ReadQuery{Since: 0, Limit: 2}, []string{"0", "1"}, true, false},
		{broker.ReadQuery{Since: 0, Limit: 5}, []string{"0", "1", "2", "3", "4"}, false, false},
		{broker.ReadQuery{Since: a[1], Limit: 10, MaxBytes: 1}, []string{"2"}, true, true},
		{broker.ReadQuery{Since: 0, Limit: 10, MaxBytes: 1}, []string{"0"}, true, false},
	} {
		c.q.Channel = "a"
		p := mustRead(t, s, c.q)
		if c.q.MaxBytes > 0 { // at least one, and it is told that more follow
			if len(p.Messages) == 0 || !slices.Equal(texts(p.Messages[:1]), c.want) {
				t.Errorf("%+v: %q", c.q, texts(p.Messages))
			}
			continue
		}
		if !slices.Equal(texts(p.Messages), c.want) || p.More != c.more || p.SinceStored != c.has || p.Top != a[4] || p.Last != last {
			t.Errorf("%+v: %+v", c.q, p)
		}
		if !p.SinceStored && (p.Oldest != a[0] || p.Count != 5 || p.StreamFirst != a[0]) {
			t.Errorf("%+v: proof %+v", c.q, p)
		}
	}
	if p := mustRead(t, s, broker.ReadQuery{Channel: "a"}); p.Top != a[4] || p.Last != last || len(p.Messages) != 0 {
		t.Errorf("position only: %+v", p)
	}
	empty := mustRead(t, s, broker.ReadQuery{Channel: "never", Since: 3, Limit: 10})
	if empty.Top != 0 || empty.Last != last || empty.Oldest != 0 || empty.Count != 0 || empty.StreamFirst != a[0] || empty.More {
		t.Errorf("empty channel: %+v", empty)
	}
}

func TestTopsOfManyChannels(t *testing.T) {
	_, _, s := streamNode(t, broker.StreamsConfig{ReadBytes: 4000}, nil)
	const most = 2500
	var channels []string
	want := make([]uint64, most)
	for i := range most {
		channels = append(channels, fmt.Sprintf("room.%d:*>%%", i))
		if i%5 == 0 {
			want[i] = mustStore(t, s, channels[i], strings.Repeat("x", 100)).Offset
		}
	}
	channels, want = append(channels, channels[0]), append(want, want[0])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got, err := s.Tops(ctx, "chat", channels)
	if err != nil || !slices.Equal(got.Top, want) || got.Epoch != s.Status()[0].Epoch || got.Last != want[most-5] {
		t.Errorf("err %v, epoch %q, last %d (want %d), %d tops", err, got.Epoch, got.Last, want[most-5], len(got.Top))
	}
	if none, err := s.Tops(ctx, "chat", nil); err != nil || none.Last != got.Last || none.Epoch != got.Epoch {
		t.Errorf("no channels: %+v, %v", none, err)
	}
	if _, err := s.Tops(ctx, "other", channels); !errors.Is(err, broker.ErrNoStream) {
		t.Errorf("unknown namespace: %v", err)
	}
}

func TestPurgeRemovesBelowOnly(t *testing.T) {
	_, _, s := streamNode(t, broker.StreamsConfig{}, nil)
	var at []uint64
	for i := range 4 {
		at = append(at, mustStore(t, s, "a", fmt.Sprint(i)).Offset)
		mustStore(t, s, "a.b", "other")
	}
	if err := s.Purge(context.Background(), "chat", "a", at[2]); err != nil {
		t.Fatal(err)
	}
	if p := mustRead(t, s, broker.ReadQuery{Channel: "a", Limit: 10}); !slices.Equal(texts(p.Messages), []string{"2", "3"}) || p.Oldest != at[2] {
		t.Errorf("after purge: %+v", p)
	}
	if p := mustRead(t, s, broker.ReadQuery{Channel: "a.b", Limit: 10}); p.Count != 4 {
		t.Errorf("another channel lost messages: %+v", p)
	}
}

func TestOldMessagesExpireAndTheEpochStays(t *testing.T) {
	c := historyOf("chat")
	c.MaxAge, c.DuplicateWindow = time.Second, time.Second
	_, n, s := streamNode(t, broker.StreamsConfig{Streams: []broker.StreamConfig{c}}, nil)
	r := mustStore(t, s, "a", "x")
	var p broker.Page
	eventually(t, "expired", n, func() bool {
		p = mustRead(t, s, broker.ReadQuery{Channel: "a", Since: r.Offset, Limit: 1})
		return p.Top == 0
	})
	if p.Epoch != r.Epoch || p.Last != r.Offset || p.StreamFirst != r.Offset+1 || p.SinceStored {
		t.Errorf("%+v after %+v", p, r)
	}
	if next := mustStore(t, s, "a", "y"); next.Epoch != r.Epoch || next.Offset <= r.Offset {
		t.Errorf("%+v after %+v", next, r)
	}
}

func TestPublicationsOfAnyChannelStayInsideThePrefix(t *testing.T) {
	srv, n, s := streamNode(t, broker.StreamsConfig{Streams: []broker.StreamConfig{historyOf("chat"), historyOf(""), historyOf("we.ird >*/\\ é%")}}, nil)
	spy := rawConn(t, srv)
	seen := make(chan *nats.Msg, 4096)
	if _, err := spy.ChanSubscribe(">", seen); err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	names := []string{"*", ">", "a.>", "$JS.API.STREAM.DELETE.x", "_INBOX.x", "a\r\nPUB b 1\r\n", "\x00", strings.Repeat("x", 255), "a..b", ".", "%", "\xff"}
	for _, namespace := range []string{"chat", "", "we.ird >*/\\ é%"} {
		for _, name := range names {
			r := store(t, s, broker.StorePublication{Namespace: namespace, Channel: name, Data: []byte(name)})
			if r.Err != nil {
				t.Fatalf("%q in %q: %v", name, namespace, r.Err)
			}
			p := mustRead(t, s, broker.ReadQuery{Namespace: namespace, Channel: name, Limit: 9})
			if namespace != "" && (len(p.Messages) != 1 || string(p.Messages[0].Data) != name) {
				t.Errorf("%q in %q read back as %+v", name, namespace, p)
			}
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 256)} {
		if err := s.Store(&broker.StorePublication{Namespace: "chat", Channel: bad}); !errors.Is(err, broker.ErrBadChannel) {
			t.Errorf("%.9q: %v", bad, err)
		}
	}
	mustSync(t, n)
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	for len(seen) > 0 {
		if m := <-seen; !strings.HasPrefix(m.Subject, "throng.") && !strings.HasPrefix(m.Subject, "_INBOX.") && !strings.HasPrefix(m.Subject, "$JS.API.") && !strings.HasPrefix(m.Subject, "$JS.EVENT.") {
			t.Errorf("sent outside the prefix: %q", m.Subject)
		} else if strings.HasPrefix(m.Subject, "$JS.API.STREAM.DELETE") {
			t.Errorf("a channel name reached the API: %q", m.Subject)
		}
	}
}

func TestForeignMessagesInAStreamArePlainPublications(t *testing.T) {
	heard := make(chan broker.Message, 10)
	srv, n, s := streamNode(t, broker.StreamsConfig{}, func(m broker.Message) { heard <- m })
	n.Subscribe("chat:lobby")
	mustSync(t, n)
	spy := rawConn(t, srv)
	forged := &nats.Msg{Subject: "throng.hist.chat.chat:lobby", Data: []byte("by hand"), Header: nats.Header{
		"Nats-Sequence": {"77777"}, "Nats-Last-Sequence": {"66666"}, "Status": {"404"}, "Nats-Subject": {"x"},
	}}
	if err := spy.PublishMsg(forged); err != nil {
		t.Fatal(err)
	}
	m := <-heard
	if m.Offset == 0 || m.Offset > 100 || m.Previous != 0 || string(m.Data) != "by hand" || m.Meta != "" || m.Namespace != "chat" {
		t.Errorf("heard %+v", m)
	}
	p := mustRead(t, s, broker.ReadQuery{Channel: "chat:lobby", Limit: 10})
	if len(p.Messages) != 1 || p.Messages[0].Offset != m.Offset || string(p.Messages[0].Data) != "by hand" {
		t.Errorf("read %+v", p)
	}
	// Some other stream's republication on our live subject is no stored publication of ours.
	other := &nats.Msg{Subject: "throng.live.chat:lobby", Data: []byte("foreign"), Header: nats.Header{
		"Nats-Sequence": {"5"}, "Nats-Subject": {"orders.new"}, "Nats-Stream": {"ORDERS"},
	}}
	if err := spy.PublishMsg(other); err != nil {
		t.Fatal(err)
	}
	if m := <-heard; m.Offset != 0 || m.Namespace != "" {
		t.Errorf("heard %+v", m)
	}
}

func TestStoreRefusesWhatCannotBeStored(t *testing.T) {
	_, n, s := streamNode(t, broker.StreamsConfig{}, nil)
	most := int(n.Stats().MaxPayload)
	for _, c := range []struct {
		p    broker.StorePublication
		want error
	}{
		{broker.StorePublication{Namespace: "other", Channel: "c"}, broker.ErrNoStream},
		{broker.StorePublication{Namespace: "chat", Channel: ""}, broker.ErrBadChannel},
		{broker.StorePublication{Namespace: "chat", Channel: "c", Data: make([]byte, most)}, broker.ErrTooBig},
		{broker.StorePublication{Namespace: "chat", Channel: "c", Meta: []byte("a\nb")}, broker.ErrBadMeta},
	} {
		if err := s.Store(&c.p); !errors.Is(err, c.want) {
			t.Errorf("%+.40v: %v, want %v", c.p, err, c.want)
		}
	}
	header := store(t, s, broker.StorePublication{Namespace: "chat", Channel: "c", Meta: bytes.Repeat([]byte("x"), 70000)})
	if !errors.Is(header.Err, broker.ErrTooBig) {
		t.Errorf("70,000 bytes of meta: %+v", header)
	}
	data := bytes.Repeat([]byte("y"), most-1000)
	if r := store(t, s, broker.StorePublication{Namespace: "chat", Channel: "c", Data: data, ID: "i", Meta: []byte("m")}); r.Err != nil {
		t.Errorf("nearly the largest message: %v", r.Err)
	}
	if p := mustRead(t, s, broker.ReadQuery{Channel: "c", Limit: 5}); len(p.Messages) != 1 || !bytes.Equal(p.Messages[0].Data, data) {
		t.Errorf("read %d messages", len(p.Messages))
	}
	n.Close()
	if err := s.Store(&broker.StorePublication{Namespace: "chat", Channel: "c"}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := s.Read(context.Background(), broker.ReadQuery{Namespace: "chat", Channel: "c"}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

func TestStoreOnceRecognisesRepetitions(t *testing.T) {
	_, _, s := streamNode(t, broker.StreamsConfig{Once: time.Minute}, nil)
	ask := func(channel, id string) broker.Stored {
		done := make(chan broker.Stored, 1)
		for {
			err := s.StoreOnce(channel, id, func(r broker.Stored) { done <- r })
			if err == nil {
				return <-done
			}
			if !errors.Is(err, broker.ErrNoStream) { // not looked at yet
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	a, again, other := ask("live:a", "1"), ask("live:a", "1"), ask("live:b", "1")
	if a.Err != nil || a.Duplicate || !again.Duplicate || other.Duplicate {
		t.Errorf("%+v, %+v, %+v", a, again, other)
	}
	if st := s.Stats(); st.OnceNew != 2 || st.OnceSeen != 1 {
		t.Errorf("%+v", st)
	}
}

func TestOrderWithLivePublicationsOfTheSameCallerIsKept(t *testing.T) {
	_, n, s := streamNode(t, broker.StreamsConfig{}, nil)
	// Seen from the NATS server, which takes both from one connection: the stored one is in the stream when the live one
	// that followed it has been confirmed.
	for i := range 200 {
		text := fmt.Sprint(i)
		var o outcome
		if err := s.Store(&broker.StorePublication{Namespace: "chat", Channel: "c", Data: []byte(text), Done: o.done}); err != nil {
			t.Fatal(err)
		}
		if err := n.Publish("live", []byte(text), false); err != nil {
			t.Fatal(err)
		}
	}
	mustSync(t, n)
	eventually(t, "all acknowledged", n, func() bool { return s.Stats().Stored == 200 })
	p := mustRead(t, s, broker.ReadQuery{Channel: "c", Limit: 100})
	if got := texts(p.Messages); len(got) != 11 || got[0] != "189" || got[10] != "199" || !slices.IsSorted(got) {
		t.Errorf("stored in the order %q", got)
	}
}

func TestDrainWaitsForAcknowledgements(t *testing.T) {
	_, n, s := streamNode(t, broker.StreamsConfig{}, nil)
	var o outcome
	const most = 2000
	for range most {
		if err := s.Store(&broker.StorePublication{Namespace: "chat", Channel: "c", Data: []byte("x"), Done: o.done}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); len(o.all()) != most || st.Stored != most {
		t.Errorf("%d answers, %+v", len(o.all()), st)
	}
}

func TestCloseAnswersEveryPublicationOnce(t *testing.T) {
	_, n, s := streamNode(t, broker.StreamsConfig{}, nil)
	var o outcome
	accepted := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			err := s.Store(&broker.StorePublication{Namespace: "chat", Channel: "c", Data: []byte("x"), Done: o.done})
			if errors.Is(err, broker.ErrClosed) {
				return
			}
			if err == nil {
				accepted++
			}
		}
	})
	eventually(t, "traffic", n, func() bool { return s.Stats().Stored > 1000 })
	n.Close()
	wg.Wait()
	if got := len(o.all()); got != accepted {
		t.Errorf("%d accepted, %d answered", accepted, got)
	}
}
