package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/centrifugal/protocol"
	fdelta "github.com/shadowspore/fossil-delta"
)

// deltaPairs are publications and their successors.
var deltaPairs = []struct {
	name, previous, data string
	small                bool // a delta is worth it
}{
	{"equal", strings.Repeat(`{"a":1}`, 10), strings.Repeat(`{"a":1}`, 10), true},
	{"one field", `{"home":"Arsenal","away":"Leeds","score":[1,0],"minute":34}`, `{"home":"Arsenal","away":"Leeds","score":[1,1],"minute":35}`, true},
	{"nothing alike", strings.Repeat("ab", 100), strings.Repeat("cd", 100), false},
	{"both empty", "", "", false},
	{"short", "1234567", "1234567", false},
	{"eight bytes", "12345678", "12345678", false},
	{"first half", strings.Repeat("0123456789", 20), strings.Repeat("0123456789", 10), true},
	{"grown", strings.Repeat("0123456789", 10), strings.Repeat("0123456789", 20), true},
	{"one letter", strings.Repeat("a", 1000), strings.Repeat("a", 999) + "b", true},
	{"characters that share their first byte", `"` + strings.Repeat("дом книга река ", 8) + `б"`, `"` + strings.Repeat("дом книга река ", 7) + `дом крига река г"`, true},
	{"not JSON before JSON", `"` + strings.Repeat("x", 50), `"` + strings.Repeat("x", 50) + `"`, false},
	{"JSON before not JSON", `"` + strings.Repeat("x", 50) + `"`, `"` + strings.Repeat("x", 50), true},
	{"binary", strings.Repeat("\xff\x00\xd0", 50), strings.Repeat("\xff\x00\xd0", 50) + "\x80", true},
	{"longest", strings.Repeat("0123456789abcdef", MaxDeltaBytes/16), "x" + strings.Repeat("0123456789abcdef", MaxDeltaBytes/16)[1:], true},
	{"too long", strings.Repeat("0123456789abcdef", MaxDeltaBytes/16) + "x", strings.Repeat("0123456789abcdef", 10), false},
}

// checkDelta applies the delta with another's implementation of the format.
func checkDelta(t *testing.T, previous, data []byte) []byte {
	t.Helper()
	delta := Delta(previous, data)
	if delta == nil {
		return nil
	}
	if len(delta) >= len(data) {
		t.Fatalf("delta of %d bytes for %d", len(delta), len(data))
	}
	if got, err := fdelta.Apply(previous, delta); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%q -> %q: %q gives %q, %v", previous, data, delta, got, err)
	}
	if !utf8.Valid(data) {
		return delta
	}
	if !utf8.Valid(delta) {
		t.Fatalf("%q -> %q: %q cuts a character", previous, data, delta)
	}
	var text string
	if err := json.Unmarshal(StringData(nil, delta), &text); err != nil || text != string(delta) {
		t.Fatalf("%q as a JSON string: %q, %v", delta, text, err)
	}
	return delta
}

func TestADeltaGivesThePublicationBackAndIsSmaller(t *testing.T) {
	for _, v := range deltaPairs {
		delta := checkDelta(t, []byte(v.previous), []byte(v.data))
		if (delta != nil) != v.small {
			t.Errorf("%s: %.100q", v.name, delta)
		}
	}
}

func TestDeltasOfRandomEdits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "b", "é", "д", "б", "€", "😀", "\n", `"`, " "}
	made := 0
	previous := ""
	for range 3000 {
		data := previous
		for range rng.IntN(4) {
			runes := []rune(data)
			at := rng.IntN(len(runes) + 1)
			to := min(len(runes), at+rng.IntN(20))
			var b strings.Builder
			for range rng.IntN(60) {
				b.WriteString(alphabet[rng.IntN(len(alphabet))])
			}
			data = string(runes[:at]) + b.String() + string(runes[to:])
			data = data[:min(len(data), 4000)]
		}
		if checkDelta(t, []byte(previous), []byte(data)) != nil {
			made++
		}
		previous = data
	}
	if made < 1000 {
		t.Errorf("only %d of 3000 edits gave a delta", made)
	}
}

func FuzzDelta(f *testing.F) {
	for _, v := range deltaPairs {
		if len(v.previous) < 4096 {
			f.Add([]byte(v.previous), []byte(v.data))
		}
	}
	f.Fuzz(func(t *testing.T, previous, data []byte) { checkDelta(t, previous, data) })
}

func TestADeltaCostsOneAllocationAndNoneIfThereIsNone(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	previous := []byte(strings.Repeat(`{"a":1,"b":2}`, 100))
	data := append([]byte("x"), previous...)
	other := bytes.Repeat([]byte("z"), 1000)
	if n := testing.AllocsPerRun(100, func() { Delta(previous, data) }); n != 1 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { Delta(previous, other) }); n != 0 {
		t.Errorf("%v allocations for nothing", n)
	}
}

func TestPushesOfDeltaSubscribers(t *testing.T) {
	previous, data := []byte(deltaPairs[1].previous), []byte(deltaPairs[1].data)
	delta := Delta(previous, data)
	meta := &Meta{Offset: 5, Delta: true}
	for _, v := range []struct {
		name    string
		payload Payload
		delta   bool
		text    string // of the data for JSON
	}{
		{"full", Payload{Data: data}, false, string(data)},
		{"delta", Payload{data, delta}, true, string(delta)},
		{"line breaks stay", Payload{Data: []byte("{\n\"a\":\r\n\t\"\\u0001\"}")}, false, "{\n\"a\":\r\n\t\"\\u0001\"}"},
		{"a delta that is no text", Payload{data, []byte("\xff")}, false, string(data)},
	} {
		frame, ok := AppendPushDelta([]byte("before"), JSON, "news", v.payload, meta)
		var r struct {
			Push struct {
				Pub struct {
					Data   string
					Offset uint64
					Delta  bool
				}
			}
		}
		body := payloadOf(t, frame[6:], OpText)
		if err := json.Unmarshal(body, &r); !ok || err != nil || bytes.ContainsAny(body, "\n") {
			t.Fatalf("%s: %v, %q", v.name, err, body)
		}
		if p := r.Push.Pub; p.Data != v.text || p.Delta != v.delta || p.Offset != 5 {
			t.Errorf("%s: %+v", v.name, p)
		}
	}
	frame, _ := AppendPushDelta(nil, Protobuf, "news", Payload{data, delta}, meta)
	r, err := protocol.NewProtobufReplyDecoder(payloadOf(t, frame, OpBinary)).Decode()
	if p := r.Push.Pub; err != nil || !p.Delta || !bytes.Equal(p.Data, delta) || p.Offset != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	full, _ := AppendPushDelta(nil, Protobuf, "news", Payload{Data: data}, meta)
	if plain, _ := AppendPush(nil, Protobuf, "news", data, meta); !bytes.Equal(plain, full) {
		t.Errorf("a full publication: %q, plain %q", full, plain)
	}
	join := &Meta{Kind: KindJoin, Info: pushInfo}
	got, _ := AppendPushDelta(nil, JSON, "news", Payload{}, join)
	if want, _ := AppendPush(nil, JSON, "news", nil, join); !bytes.Equal(got, want) {
		t.Errorf("join: %q", got)
	}
}

func TestWhatDeltaSubscribersCannotBeSent(t *testing.T) {
	purge := &Meta{Kind: KindPurge, Offset: 3}
	for _, p := range []Protocol{JSON, Protobuf} {
		if frame, ok := AppendPushDelta([]byte("x"), p, "c", Payload{}, purge); ok || string(frame) != "x" {
			t.Errorf("%v: purge became %q", p, frame)
		}
		if frame, ok := AppendPush([]byte("x"), p, "c", nil, purge); ok || string(frame) != "x" {
			t.Errorf("%v: purge became %q", p, frame)
		}
	}
	if frame, ok := AppendPushDelta([]byte("x"), JSON, "c", Payload{[]byte("{"), []byte("1")}, nil); ok || string(frame) != "x" {
		t.Errorf("rubbish became %q", frame)
	}
}

func TestOlderNodesDoNotTakeAPublicationForADelta(t *testing.T) {
	line := AppendMeta(nil, &Meta{Delta: true})
	if string(line) != `{"deltas":true}` {
		t.Errorf("%s", line)
	}
	if m, ok := ParseMeta(`{"delta":true}`); !ok || m.Delta {
		t.Errorf("%+v, %t", m, ok)
	}
}

// collisions are deltaWindow-sized words of one hash in an index of that many windows.
func collisions(windows, n int) [][]byte {
	var m deltaMaker
	m.previous = make([]byte, windows*deltaWindow)
	m.index()
	var found [][]byte
	for v := 0; len(found) < n; v++ {
		word := fmt.Appendf(nil, "%08x", v)
		if m.hash(window(word)) == 5 {
			found = append(found, word)
		}
	}
	return found
}

// BenchmarkDelta: what is usual, and what costs most.
func BenchmarkDelta(b *testing.B) {
	random := func(n int, seed uint64) []byte {
		rng := rand.New(rand.NewPCG(seed, 1))
		p := make([]byte, n)
		for i := range p {
			p[i] = byte('a' + rng.IntN(26))
		}
		return p
	}
	edited := func(p []byte) []byte {
		p = bytes.Clone(p)
		p[len(p)/2] = '!'
		return p
	}
	collide := func(n int) (previous, data []byte) {
		words := collisions(n/deltaWindow, 64)
		for i := 0; len(previous) < n; i++ {
			previous = append(previous, words[i%32]...)
			data = append(data, words[32+i%32]...)
		}
		return previous, data
	}
	bench := func(name string, previous, data []byte) {
		b.Run(fmt.Sprintf("%s/%d", name, len(data)), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				Delta(previous, data)
			}
		})
		b.Run(fmt.Sprintf("%s/%d/fdelta", name, len(data)), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				fdelta.Create(previous, data)
			}
		})
	}
	score := `{"home":"Arsenal","away":"Leeds","score":[1,0],"minute":34,"events":["goal","card","corner","goal","free kick"]},`
	for _, n := range []int{1, 18, 500} {
		p := []byte("[" + strings.Repeat(score, n) + "0]")
		bench("JSON", p, bytes.Replace(p, []byte("34"), []byte("35"), 1))
	}
	for _, n := range []int{200, 2000, 64 << 10, MaxDeltaBytes} {
		bench("one byte", random(n, 1), edited(random(n, 1)))
		bench("nothing alike", random(n, 1), random(n, 2))
	}
	previous, data := collide(MaxDeltaBytes)
	bench("collisions", previous, data)
	same := bytes.Repeat([]byte("a"), MaxDeltaBytes)
	bench("one letter", same, edited(same))
	every := bytes.Clone(same)
	for i := 17; i < len(every); i += 18 {
		every[i] = 'b'
	}
	bench("short repetitions", same, every)
}
