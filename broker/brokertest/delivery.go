package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"throng/broker"
)

func readyMeansReady(t *testing.T, start Factory) {
	p, a, _ := pair(t, start, broker.Limits{})
	for _, node := range []broker.Broker{p.A, p.B} {
		if s := node.Stats(); !s.Connected || s.MaxPayload <= 0 {
			t.Errorf("ready, but Stats say %+v", s)
		}
	}
	p.A.Subscribe("c")
	mustPublish(t, p.A, "c", "now")
	a.await(t, 1, p)
}

func selfDelivery(t *testing.T, start Factory) {
	p, a, _ := pair(t, start, broker.Limits{})
	const n = 500
	for i := range n {
		channel := fmt.Sprintf("self.%d", i)
		p.A.Subscribe(channel)
		mustPublish(t, p.A, channel, channel)
	}
	for _, m := range a.await(t, n, p) {
		if m.Channel != string(m.Data) {
			t.Fatalf("channel %q heard %q", m.Channel, m.Data)
		}
	}
}

func crossNode(t *testing.T, start Factory) {
	p, a, b := pair(t, start, broker.Limits{})
	p.A.Subscribe("both")
	p.B.Subscribe("both")
	p.B.Subscribe("only b")
	mustSync(t, p.A, p.B)
	mustPublish(t, p.A, "nobody", "0")
	mustPublish(t, p.A, "only b", "1")
	mustPublish(t, p.A, "both", "2")
	mustPublish(t, p.B, "both", "3")
	b.await(t, 3, p)
	a.await(t, 2, p)
	mustSync(t, p.A, p.B)
	if got := b.texts("only b"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("B heard %q on its channel", got)
	}
	for name, in := range map[string]*inbox{"A": a, "B": b} {
		got := in.texts("both")
		slices.Sort(got)
		if !slices.Equal(got, []string{"2", "3"}) {
			t.Errorf("%s heard %q on the common channel", name, got)
		}
		if heard := len(in.texts("nobody")); heard != 0 {
			t.Errorf("%s heard a channel without interest", name)
		}
	}
	if got := a.texts("only b"); len(got) != 0 {
		t.Errorf("A heard %q on a channel it has no interest in", got)
	}
}

func order(t *testing.T, start Factory) {
	p, a, b := pair(t, start, broker.Limits{ReaderMessages: 1 << 14})
	const publishers, each = 4, 500
	channels := []string{"order.x", "order.y", "order z"}
	for _, c := range channels {
		p.A.Subscribe(c)
		p.B.Subscribe(c)
	}
	mustSync(t, p.A, p.B)
	var wg sync.WaitGroup
	for n := range publishers {
		node := []broker.Broker{p.A, p.B}[n%2]
		wg.Go(func() {
			for _, text := range numbered(fmt.Sprintf("%d/", n), each) {
				for _, c := range channels {
					if err := publishAll(node, c, []byte(text)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, in := range []*inbox{a, b} {
		in.await(t, publishers*each*len(channels), p)
		for _, c := range channels {
			checkOrder(t, in.texts(c), publishers, each)
		}
	}
}

// checkOrder: each publisher's texts are all there, in order.
func checkOrder(t *testing.T, texts []string, publishers, each int) {
	t.Helper()
	for n := range publishers {
		prefix := fmt.Sprintf("%d/", n)
		var got []string
		for _, text := range texts {
			if strings.HasPrefix(text, prefix) {
				got = append(got, text)
			}
		}
		if !slices.Equal(got, numbered(prefix, each)) {
			t.Fatalf("publisher %d: %d of %d messages, or out of order", n, len(got), each)
		}
	}
}

func unsubscribe(t *testing.T, start Factory) {
	p, _, b := pair(t, start, broker.Limits{})
	p.B.Subscribe("c")
	mustSync(t, p.B)
	mustPublish(t, p.A, "c", "first")
	b.await(t, 1, p)
	p.B.Unsubscribe("c")
	mustSync(t, p.B)
	if n := p.B.Stats().Interest; n != 0 {
		t.Errorf("interest in %d channels after Unsubscribe", n)
	}
	mustPublish(t, p.A, "c", "unheard")
	mustSync(t, p.A)
	p.B.Subscribe("c")
	p.B.Subscribe("c")
	mustSync(t, p.B)
	if n := p.B.Stats().Interest; n != 1 {
		t.Errorf("interest in %d channels after Subscribe twice", n)
	}
	mustPublish(t, p.A, "c", "last")
	b.await(t, 2, p)
	if got := b.texts("c"); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("heard %q", got)
	}
}

func lastWishWins(t *testing.T, start Factory) {
	p, a, _ := pair(t, start, broker.Limits{})
	for range 1001 {
		p.A.Subscribe("on")
		p.A.Subscribe("off")
		p.A.Unsubscribe("off")
		p.A.Unsubscribe("on")
		p.A.Unsubscribe("never")
	}
	p.A.Subscribe("on")
	mustPublish(t, p.A, "off", "no")
	mustPublish(t, p.A, "never", "no")
	mustPublish(t, p.A, "on", "yes")
	a.await(t, 1, p)
	mustSync(t, p.A)
	if heard := a.all(); len(heard) != 1 || heard[0].Channel != "on" {
		t.Errorf("heard %v", heard)
	}
	if n := p.A.Stats().Interest; n != 1 {
		t.Errorf("interest in %d channels, want 1", n)
	}
}

func bytesSurvive(t *testing.T, start Factory) {
	p, _, b := pair(t, start, broker.Limits{})
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	sent := []broker.Message{
		{Channel: "c", Data: every, Binary: true},
		{Channel: "c", Data: every, Binary: false},
		{Channel: "c", Data: nil, Binary: true},
		{Channel: "c", Data: nil, Binary: false},
		{Channel: "c", Data: []byte("MSG x 1 5\r\nhello\r\n"), Binary: false},
		{Channel: "c", Data: bytes.Repeat([]byte{0xff}, 40000), Binary: true}, // beyond nats.go's buffer
	}
	p.B.Subscribe("c")
	mustSync(t, p.B)
	for _, m := range sent {
		if err := p.A.Publish(m.Channel, m.Data, m.Binary); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range b.await(t, len(sent), p) {
		if m.Binary != sent[i].Binary || !bytes.Equal(m.Data, sent[i].Data) {
			t.Errorf("message %d: binary %v, %d bytes; want %v, %d", i, m.Binary, len(m.Data), sent[i].Binary, len(sent[i].Data))
		}
	}
}

func metaSurvives(t *testing.T, start Factory) {
	p, _, b := pair(t, start, broker.Limits{})
	p.B.Subscribe("c")
	mustSync(t, p.B)
	before := p.A.Stats().Lost[broker.LostRejected]
	bad := []string{"", " x", "x ", "a\nb", "a\rb"}
	for _, meta := range bad {
		if err := p.A.PublishMeta("c", nil, []byte(meta)); !errors.Is(err, broker.ErrBadMeta) {
			t.Errorf("PublishMeta with %q: %v", meta, err)
		}
	}
	if lost := p.A.Stats().Lost[broker.LostRejected] - before; lost != uint64(len(bad)) {
		t.Errorf("%d refusals counted", lost)
	}
	sent := []broker.Message{
		{Channel: "c", Data: []byte("with"), Meta: `{"a":"b: c, é\t\u0000"}`},
		{Channel: "c", Data: []byte("without")},
		{Channel: "c", Meta: strings.Repeat("x", 10000)},
	}
	for _, m := range sent {
		var err error
		if m.Meta == "" {
			err = p.A.Publish(m.Channel, m.Data, false)
		} else {
			err = p.A.PublishMeta(m.Channel, m.Data, []byte(m.Meta))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range b.await(t, len(sent), p) {
		if m.Meta != sent[i].Meta || string(m.Data) != string(sent[i].Data) || m.Binary {
			t.Errorf("message %d: %q with %.40q; want %q with %.40q", i, m.Data, m.Meta, sent[i].Data, sent[i].Meta)
		}
	}
	limit := int(p.A.Stats().MaxPayload)
	if err := p.A.PublishMeta("c", make([]byte, limit), []byte("x")); !errors.Is(err, broker.ErrTooBig) && limit > 0 {
		t.Errorf("payload of the whole limit and a line: %v", err)
	}
}

func notAliased(t *testing.T, start Factory) {
	a, b := newInbox(), newInbox()
	spoil := func(in *inbox) broker.Handler {
		return func(m broker.Message) {
			text := string(m.Data)
			for i := range m.Data {
				m.Data[i] = '#'
			}
			in.take(broker.Message{Channel: m.Channel, Data: []byte(text)})
		}
	}
	p := start(t, Options{A: spoil(a), B: spoil(b)})
	awaitReady(t, p)
	p.A.Subscribe("c")
	p.B.Subscribe("c")
	mustSync(t, p.A, p.B)
	const n = 200
	buf := make([]byte, 7)
	for _, text := range numbered("x", n) {
		copy(buf, text)
		if err := p.A.Publish("c", buf, false); err != nil {
			t.Fatal(err)
		}
		clear(buf)
	}
	for _, in := range []*inbox{a, b} {
		in.await(t, n, p)
		if !slices.Equal(in.texts("c"), numbered("x", n)) {
			t.Error("a receiver saw bytes that the sender or the other receiver had changed")
		}
	}
}

// wild are names that break naive codecs. The first half of each pair must never be heard as the second.
var wild = []string{
	"", ".", "..", "...", "a.", ".a", "a..b", "a...b", "a.b", "a%2Eb", "a%2eb", "a%252Eb", "%", "%2", "%%", "a b", " ", "a ", " a",
	"*", ">", "a.*", "a.>", "*.a", ">.a", "a*", "a>", "$JS.API.>", "$SYS", "$", "_INBOX.x", "_INBOX", "live", "throng.live.a",
	"a\r\nb", "\r\nPUB x 1\r\n1\r\n", "\n", "\x00", "a\x00b", "a\tb", "\xff", "\xff\xfe", "\xc3\x28", "é", "e\u0301",
	"привет", "\u202eabc", "\u2028", "\u00a0", "\ufeffa", "a/b", "a:b", "A", "a", "chat:lobby", "chat:*", "#", "&=?", `"`, "'", "{{wildcard(1)}}",
	"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r",
	strings.Repeat("a.", 127) + "a", strings.Repeat(".", 255), strings.Repeat("x", 255), strings.Repeat("*", 255), strings.Repeat("\xff", 255),
	strings.Repeat("x", 256), strings.Repeat("*", 10240),
}

func wildNames(t *testing.T, start Factory) {
	p, a, b := pair(t, start, broker.Limits{})
	var good []string
	refused := uint64(0)
	for _, name := range wild {
		if err := p.A.CheckChannel(name); err == nil {
			good = append(good, name)
			p.A.Subscribe(name)
			p.B.Subscribe(name)
			continue
		} else if !errors.Is(err, broker.ErrBadChannel) {
			t.Errorf("CheckChannel(%q): %v", name, err)
		}
		if err := p.A.Publish(name, []byte("x"), false); !errors.Is(err, broker.ErrBadChannel) {
			t.Errorf("Publish on %q, which CheckChannel refuses: %v", name, err)
		}
		p.A.Subscribe(name)
		p.A.Unsubscribe(name)
		refused += 3
	}
	if len(good) != len(wild)-3 {
		t.Errorf("%d of %d names are good; only the empty and the too long ones should be bad", len(good), len(wild))
	}
	if got := p.A.Stats().Lost[broker.LostBadSubject]; got != refused {
		t.Errorf("%d refusals counted, want %d", got, refused)
	}
	mustSync(t, p.A, p.B)
	for _, name := range good {
		mustPublish(t, p.A, name, name)
	}
	for node, in := range map[string]*inbox{"A": a, "B": b} {
		heard := make(map[string]int)
		for _, m := range in.await(t, len(good), p) {
			heard[m.Channel]++
			if m.Channel != string(m.Data) {
				t.Errorf("%s: published on %q, heard on %q", node, m.Data, m.Channel)
			}
		}
		for _, name := range good {
			if heard[name] != 1 {
				t.Errorf("%s: %q heard %d times", node, name, heard[name])
			}
		}
	}
}

func manyChannels(t *testing.T, start Factory) {
	const n = 10000
	p, a, _ := pair(t, start, broker.Limits{ReaderMessages: n})
	before := runtime.NumGoroutine()
	channels := numbered("many:", n)
	for _, c := range channels {
		p.A.Subscribe(c)
	}
	mustSync(t, p.A)
	if s := p.A.Stats(); s.Interest != n || s.InterestPending != 0 {
		t.Fatalf("interest in %d channels, %d pending; want %d, 0", s.Interest, s.InterestPending, n)
	}
	if now := runtime.NumGoroutine(); now > before+10 {
		t.Errorf("%d goroutines before, %d after %d subscriptions", before, now, n)
	}
	for _, c := range channels {
		if err := publishAll(p.B, c, []byte(c)); err != nil {
			t.Fatal(err)
		}
	}
	a.await(t, n, p)
	for _, c := range channels {
		p.A.Unsubscribe(c)
	}
	mustSync(t, p.A)
	if s := p.A.Stats(); s.Interest != 0 {
		t.Errorf("interest in %d channels after leaving all", s.Interest)
	}
}
