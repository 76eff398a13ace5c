package history

import (
	"strings"
	"testing"
	"time"

	"throng/server/hub"
	"throng/server/wire"
)

// heard keeps what a line delivers.
type heard struct{ pubs []hub.Publication }

func (h *heard) Deliver(p hub.Publication) { h.pubs = append(h.pubs, p) }
func (*heard) Cut(string)                  {}

// What is not stored comes between two publications of a line: subscribers do not have the base of the next delta any more.
func TestNoDeltaAcrossAMessageThatIsNotStored(t *testing.T) {
	v := bare()
	defer v.Close()
	h := new(heard)
	v.parts.Hub = h
	l := known(t, v, "ns:a")
	l.WantDelta(1)
	put := func(offset uint64) bool {
		data := strings.Repeat("the same all the time ", 10) + string(rune('a'+offset))
		v.Receive(Message{
			Channel: "ns:a", Namespace: "ns", Data: []byte(data), Meta: string(wire.AppendMeta(nil, &wire.Meta{Delta: true})),
			Offset: offset, Previous: offset - 1, Time: time.Now(),
		})
		return h.pubs[len(h.pubs)-1].Delta != nil
	}
	if put(2) {
		t.Error("the first has a delta, against nothing")
	}
	if !put(3) {
		t.Error("the second has none")
	}
	v.Unstored("ns:a")()
	if put(4) {
		t.Error("a delta against what subscribers had before the message that is not stored")
	}
	if !put(5) {
		t.Error("no delta ever again")
	}
	l.WantDelta(-1)
	l.Leave()
}

// Every live message of a node passes by here.
func TestALiveMessageOfAChannelWithoutALineAllocatesNothing(t *testing.T) {
	v := bare()
	defer v.Close()
	defer known(t, v, "ns:a").Leave()
	if n := testing.AllocsPerRun(100, func() { v.Unstored("live")() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
