package hub

import (
	"strings"
	"testing"
)

func TestFirstPublicationIsWholeWhereTheOneBeforeWasNotSent(t *testing.T) {
	for _, e := range []Encoding{EncodingJSONDelta, EncodingJSONDeltaJoins, EncodingProtobufDelta, EncodingProtobufDeltaJoins} {
		x := newHarness(t, everyEncoding(Config{}))
		unheld, told, empty, old := &fakeConn{}, &fakeConn{}, &fakeConn{}, &fakeConn{}
		x.h.Subscribe(&Subscription{Sub: old, Encoding: e}, "c")
		x.stream("c", 1)
		x.settle()
		subs := []*Subscription{x.joinSpecial(unheld, e, Special{}), x.joinSpecial(told, e, Special{Hold: true}), x.joinSpecial(empty, e, Special{Hold: true})}
		x.stream("c", 2)
		x.h.Open(subs[1], 2, false)
		x.h.Open(subs[2], 2, true)
		x.h.Deliver(joinOf("c"))
		x.settle()
		x.stream("c", 3, 4)
		x.settle()
		x.stream("c", 5)
		x.settle()
		clean := func(c *fakeConn) string { return strings.ReplaceAll(c.text(), "+;", "") }
		x.want("without hold", clean(unheld), "2;2>3;3>4;4>5;")
		x.want("had it in the answer", clean(told), "2>3;3>4;4>5;")
		x.want("had nothing in the answer", clean(empty), "3;3>4;4>5;")
		x.want("from the beginning", clean(old), "1;1>2;2>3;3>4;4>5;")
		for i, s := range subs {
			if s.special.Load() != nil {
				t.Errorf("%d is still off the fast path", i)
			}
		}
	}
}

func TestDeltaIsNotSentAgainstWhatAnEncoderLeftOut(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	fast, held, other := &fakeConn{}, &fakeConn{}, &fakeConn{}
	x.joinSpecial(fast, EncodingJSONDelta, Special{})
	x.joinSpecial(other, EncodingJSON, Special{})
	s := x.joinSpecial(held, EncodingJSONDelta, Special{Hold: true})
	mute := at("c", 2)
	mute.Data, mute.Delta = []byte("mute"), nil
	x.stream("c", 1)
	x.h.Deliver(mute)
	x.settle()
	x.stream("c", 3, 4)
	x.h.Deliver(mute)
	x.stream("c", 5, 6)
	x.settle()
	x.h.Open(s, 0, true)
	x.settle()
	x.stream("c", 7)
	x.settle()
	x.want("fast path", fast.text(), "1;3;3>4;5;5>6;6>7;")
	x.want("held", held.text(), "1;3;3>4;5;5>6;6>7;")
	if !strings.Contains(other.text(), "2>3;") {
		t.Error("an encoding without deltas has to do with that")
	}
}

func TestDeltasAndFilterTogetherAreAllWhole(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	a := &fakeConn{}
	x.joinSpecial(a, EncodingJSONDelta, Special{Filter: prefixFilter("1")})
	x.stream("c", 1, 2, 10, 11)
	x.settle()
	x.stream("c", 12)
	x.settle()
	x.want("whole", a.text(), "1;10;11;12;")
}

// A live message between what was told and what follows is no base for a delta, nor has it one that the client could use.
func TestDeltasAroundALiveMessageThatComesBeforeTheStreamGoesOn(t *testing.T) {
	x := newHarness(t, everyEncoding(Config{}))
	a := &fakeConn{}
	s := x.joinSpecial(a, EncodingJSONDelta, Special{Hold: true})
	x.h.Open(s, 2, false)
	x.stream("c", 1)
	x.h.Deliver(Publication{Channel: "c", Data: []byte("x"), Delta: []byte("1>x")})
	x.settle()
	x.h.Deliver(Publication{Channel: "c", Data: []byte("y"), Delta: []byte("x>y")})
	x.settle()
	x.stream("c", 2)
	x.stream("c", 3, 4)
	x.settle()
	x.stream("c", 5)
	x.settle()
	x.want("whole until the stream goes on", a.text(), "x;y;3;3>4;4>5;")
}
