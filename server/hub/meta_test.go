package hub

import (
	"testing"

	"throng/server/wire"
)

func TestMetaTravelsAsOneLineAndComesBack(t *testing.T) {
	var got *wire.Meta
	cfg := Config{}
	cfg.Encoders[EncodingRaw] = func(dst []byte, p *Publication) []byte {
		got = p.Meta
		return append(dst, p.Data...)
	}
	x := newHarness(t, cfg)
	c := &fakeConn{}
	x.join(c, "a")
	sent := &wire.Meta{Info: &wire.ClientInfo{User: "u", Client: "c"}}
	if err := x.h.PublishMeta("a", []byte("hi"), sent); err != nil {
		t.Fatal(err)
	}
	line := `{"info":{"user":"u","client":"c"}}`
	if want := "+a a<hi " + line; x.broker.history() != want {
		t.Errorf("broker saw %q, want %q", x.broker.history(), want)
	}
	x.h.Receive(Publication{Channel: "a", Data: []byte("hi"), Meta: &wire.Meta{}}, line)
	x.settle()
	if c.text() != "hi" || got == nil || got.Info.User != "u" {
		t.Errorf("got %q with %+v", c.text(), got)
	}
	x.h.Receive(Publication{Channel: "a", Data: []byte("!")}, "")
	x.settle()
	if c.text() != "hi!" || got != nil {
		t.Errorf("plain message: %q with %+v", c.text(), got)
	}
	if err := x.h.PublishMeta("a", []byte("plain"), &wire.Meta{Tags: []wire.Tag{}}); err != nil || x.broker.history() != "+a a<hi "+line {
		t.Errorf("meta that tells nothing: %v, broker saw %q", err, x.broker.history())
	}
	for _, line := range []string{"rubbish", `{"kind":"of a later version"}`} {
		x.h.Receive(Publication{Channel: "a", Data: []byte("?")}, line)
	}
	x.settle()
	if s := x.h.Stats(); c.text() != "hi!" || s.Unreadable != 2 || s.Publications != 2 {
		t.Errorf("unreadable meta: %q, %+v", c.text(), s)
	}
}

func TestJoinsAndLeavesAreForThoseWhoAskedOnly(t *testing.T) {
	cfg := Config{}
	for _, e := range []Encoding{EncodingJSON, EncodingJSONJoins, EncodingProtobuf, EncodingProtobufJoins} {
		cfg.Encoders[e] = func(dst []byte, p *Publication) []byte {
			kind := wire.KindPublication
			if p.Meta != nil {
				kind = p.Meta.Kind
			}
			return append(append(dst, kind.String()...), ' ')
		}
	}
	x := newHarness(t, cfg)
	conns := map[Encoding]*fakeConn{}
	for e := range Encoding(5) {
		conns[e] = &fakeConn{}
		x.h.Subscribe(&Subscription{Sub: conns[e], Encoding: e}, "a")
	}
	for _, k := range []wire.Kind{wire.KindJoin, wire.KindPublication, wire.KindLeave} {
		x.h.Deliver(Publication{Channel: "a", Meta: &wire.Meta{Kind: k}})
	}
	x.settle()
	for e, want := range map[Encoding]string{
		EncodingRaw: "a/;", EncodingJSON: "pub ", EncodingJSONJoins: "join pub leave ", EncodingProtobuf: "pub ", EncodingProtobufJoins: "join pub leave ",
	} {
		if got := conns[e].text(); got != want {
			t.Errorf("encoding %d got %q, want %q", e, got, want)
		}
	}
}

func TestNothingIsSentAfterUnsubscribeEvenBeforeTheShardHears(t *testing.T) {
	x := newHarness(t, Config{})
	c := &fakeConn{}
	first := x.join(c, "a")
	second := &fakeConn{onSend: func([]byte) {}}
	s := x.join(second, "a")
	x.settle()
	x.deliver("a", "1")
	c.onSend = func([]byte) { x.h.Unsubscribe(s) } // while the shard is in the middle of the batch
	x.settle()
	if c.text() != "a/1;" || second.text() != "" {
		t.Errorf("first got %q, second %q", c.text(), second.text())
	}
	x.h.Unsubscribe(first)
}

func TestChannelsAreToldWithTheirSubscribers(t *testing.T) {
	x := newHarness(t, Config{Shards: 2})
	gone := x.join(&fakeConn{}, "gone")
	x.join(&fakeConn{}, "a")
	x.join(&fakeConn{shard: 1}, "a")
	x.join(&fakeConn{}, "b")
	x.h.Unsubscribe(gone)
	got := map[string]int{}
	x.h.Channels(func(name string, n int) { got[name] += n })
	if len(got) != 2 || got["a"] != 2 || got["b"] != 1 {
		t.Errorf("%v", got)
	}
}
