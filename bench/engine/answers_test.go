package engine

import (
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"throng/server/wire"
)

// field is a message or text in a field.
func field(dst []byte, number protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), body)
}

func varint(dst []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), v)
}

func recordOf(body []byte) []byte { return protowire.AppendBytes(nil, body) }

var stampText = string(AppendStamp(nil, &Stamp{}, StampLen))

var replyVectors = []struct {
	name     string
	json     string
	protobuf []byte
	want     Reply
	epoch    string
}{
	{"push", `{"push":{"channel":"c","pub":{"data":"` + stampText + `","offset":7}}}`,
		field(nil, replyPush, field(field(nil, 2, []byte("c")), pushPub, varint(nil, publicationOffset, 7))), Reply{Offset: 7}, ""},
	{"ping", `{}`, nil, Reply{}, ""},
	{"acknowledged", `{"id":18,"publish":{}}`, field(varint(nil, replyID, 18), replyPublish, nil), Reply{ID: 18, Published: true}, ""},
	{"refused", `{"id":18,"error":{"code":111,"message":"too many requests","temporary":true}}`,
		field(varint(nil, replyID, 18), replyError, varint(nil, errorCode, 111)), Reply{ID: 18, Code: 111}, ""},
	{"unsubscribed", `{"push":{"channel":"c","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`,
		field(nil, replyPush, field(nil, pushUnsubscribe, varint(nil, unsubscribeCode, 2500))), Reply{Code: 2500}, ""},
	{"fresh", `{"id":2,"subscribe":{"recoverable":true,"epoch":"xyz","offset":5,"positioned":true}}`,
		field(varint(nil, replyID, 2), replySubscribe, varint(field(nil, resultEpoch, []byte("xyz")), resultOffset, 5)),
		Reply{ID: 2, Subscribed: true, Offset: 5}, "xyz"},
	{"recovered", `{"id":2,"subscribe":{"epoch":"xyz","publications":[{"data":"` + stampText + `","offset":6},{"data":"` + stampText + `","offset":9}],"recovered":true,"offset":5,"was_recovering":true}}`,
		field(varint(nil, replyID, 2), replySubscribe, varint(varint(varint(field(field(field(nil, resultEpoch, []byte("xyz")),
			resultPublication, varint(nil, publicationOffset, 6)), resultPublication, varint(nil, publicationOffset, 9)),
			resultRecovered, 1), resultOffset, 5), resultRecovering, 1)),
		Reply{ID: 2, Subscribed: true, Recovering: true, Recovered: true, Attached: 2, Offset: 9}, "xyz"},
	{"not recovered", `{"id":2,"subscribe":{"epoch":"abc","offset":3,"was_recovering":true}}`,
		field(varint(nil, replyID, 2), replySubscribe, varint(varint(field(nil, resultEpoch, []byte("abc")), resultOffset, 3), resultRecovering, 1)),
		Reply{ID: 2, Subscribed: true, Recovering: true, Offset: 3}, "abc"},
}

func TestRepliesAndPositionsAreRead(t *testing.T) {
	for _, v := range replyVectors {
		for d, p := range map[AnsweringDialect][]byte{centrifugeJSON{}: []byte(v.json + "\n{}"), centrifugeProtobuf{}: append(recordOf(v.protobuf), 0)} {
			var r Reply
			rest := d.NextReply(p, &r)
			epoch := string(r.Epoch)
			r.Epoch = nil
			if got, want := mustJSON(t, r), mustJSON(t, v.want); got != want || epoch != v.epoch {
				t.Errorf("%s, %s: %s %q, want %s %q", d.Name(), v.name, got, epoch, want, v.epoch)
			}
			if len(rest) == 0 || len(d.NextReply(rest, &r)) != 0 || r.ID != 0 {
				t.Errorf("%s, %s: rest %q", d.Name(), v.name, rest)
			}
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	p, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func TestBrokenRepliesEnd(t *testing.T) {
	var r Reply
	for _, p := range []string{"\xff", "\x05\x08", "\x02\x22\x05", "\x03\x32\x01\xff"} {
		rest := []byte(p)
		for n := 0; len(rest) > 0; n++ {
			if rest = (centrifugeProtobuf{}).NextReply(rest, &r); n > 10 {
				t.Fatalf("%q does not end", p)
			}
		}
	}
	for _, p := range []string{"\n", "{", `{"id":`, `{"push":{"pub":{"offset":`, `{"id":2,"subscribe":{"epoch":"`} {
		(centrifugeJSON{}).NextReply([]byte(p), &r)
	}
}

// jsonEngine is an engine of one publisher that listens, against a server that
// answers by on.
func jsonEngine(t *testing.T, on func(line map[string]any) string) *rig {
	t.Helper()
	srv := &recorded{t: t, on: func(p []byte) (out []byte) {
		for _, line := range splitLines(p) {
			var v map[string]any
			if json.Unmarshal(line, &v) == nil {
				if reply := on(v); reply != "" {
					out = append(out, wire.AppendFrame(nil, wire.OpText, []byte(reply))...)
				}
			}
		}
		return out
	}}
	return startEngine(t, Config{
		Targets: []Target{target(t, srv.start(nil))}, Dialect: centrifugeJSON{}, Count: 1, ChannelPrefix: "c",
		Answers: true, Positioned: true, PerAddress: -1,
	})
}

func splitLines(p []byte) (lines [][]byte) {
	start := 0
	for i, b := range p {
		if b == '\n' {
			lines = append(lines, p[start:i])
			start = i + 1
		}
	}
	return append(lines, p[start:])
}

func idOf(line map[string]any) string {
	p, _ := json.Marshal(line["id"])
	return string(p)
}

func TestOutstandingCommandsAreKeptAndErrorsCountedByCode(t *testing.T) {
	n := 0
	r := jsonEngine(t, func(line map[string]any) string {
		switch {
		case line["subscribe"] != nil:
			return `{"id":2,"subscribe":{"epoch":"e","offset":1}}`
		case line["publish"] == nil:
			return ""
		}
		n++
		if n%10 == 0 {
			return `{"id":` + idOf(line) + `,"error":{"code":111}}`
		}
		return `{"id":` + idOf(line) + `,"publish":{}}`
	})
	r.open(OpenOrder{})
	r.do(func(e *Engine, done func()) {
		e.Acks(AckOrder{Outstanding: 7, Count: 100, Timeout: 10 * time.Second}, done)
	})
	got := r.collect()
	r.want("sent", got.Counters.Sent, 100)
	r.want("acked", got.Counters.Acked, 90)
	r.want("rejected", got.Counters.Rejections, 10)
	r.want("of them busy", got.Codes["111"], 10)
	r.want("unanswered", got.Counters.Unanswered, 0)
	r.want("answers timed", uint64(got.Ack.TotalCount()), 100)
}

func TestAnswersThatNeverComeAreCounted(t *testing.T) {
	n := 0
	r := jsonEngine(t, func(line map[string]any) string {
		switch {
		case line["subscribe"] != nil:
			return `{"id":2,"subscribe":{"epoch":"e","offset":1}}`
		case line["publish"] == nil:
			return ""
		}
		if n++; n > 5 {
			return ""
		}
		return `{"id":` + idOf(line) + `,"publish":{}}`
	})
	r.open(OpenOrder{})
	r.do(func(e *Engine, done func()) {
		e.Acks(AckOrder{Outstanding: 3, For: 50 * time.Millisecond, Timeout: 50 * time.Millisecond}, done)
	})
	got := r.collect()
	r.want("acked", got.Counters.Acked, 5)
	r.want("sent", got.Counters.Sent, 8)
	r.want("unanswered", got.Counters.Unanswered, 3)
}

func TestAConnectionComesBackToItsPosition(t *testing.T) {
	hellos := make(chan map[string]any, 3)
	r := jsonEngine(t, func(line map[string]any) string {
		sub, ok := line["subscribe"].(map[string]any)
		if !ok {
			return ""
		}
		if hellos <- sub; len(hellos) == 1 {
			return `{"id":2,"subscribe":{"epoch":"e","offset":4,"positioned":true}}` + "\n" + `{"push":{"channel":"c","pub":{"data":1,"offset":5}}}`
		}
		return `{"id":2,"subscribe":{"epoch":"f","offset":1,"was_recovering":true}}`
	})
	for range 3 {
		r.open(OpenOrder{})
		r.do(func(e *Engine, done func()) { e.Drop(0, 1); done() })
	}
	got := r.collect()
	r.want("not recovered", got.Counters.Unrecovered, 2)
	r.want("without a position", got.Counters.Unpositioned, 0)
	want := []string{
		`{"channel":"c","positioned":true,"recoverable":true}`,
		`{"channel":"c","epoch":"e","offset":5,"positioned":true,"recover":true,"recoverable":true}`,
		`{"channel":"c","epoch":"f","offset":1,"positioned":true,"recover":true,"recoverable":true}`,
	}
	for i := range want {
		if text := mustJSON(t, <-hellos); text != want[i] {
			t.Errorf("hello %d: %s, want %s", i, text, want[i])
		}
	}
}

func TestASubscriptionTakenBackIsADrop(t *testing.T) {
	r := jsonEngine(t, func(line map[string]any) string {
		if line["subscribe"] == nil {
			return ""
		}
		return `{"id":2,"subscribe":{}}` + "\n" + `{"push":{"channel":"c","unsubscribe":{"code":2500}}}`
	})
	r.open(OpenOrder{})
	got := r.collect()
	r.want("without a position", got.Counters.Unpositioned, 1)
	r.want("failed or dropped", got.Counters.Dropped+got.Counters.Failed, 1)
	r.want("by code", got.Codes["2500"], 1)
}
