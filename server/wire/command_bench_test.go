package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestCommandsAndPushesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var r CommandReader
	var c Command
	dst := make([]byte, 0, 4096)
	publish := []byte(`{"id":5,"publish":{"channel":"news","data":{"a":1}}}`)
	record := []byte("\x08\x08\x06\x3a\x04\x0a\x02ab")
	pong := []byte("{}")
	info := &ClientInfo{User: "u", Client: "c", ConnInfo: []byte(`{}`)}
	for name, step := range map[string]func(){
		"JSON publish":     func() { r.Reset(JSON, publish, 1); _ = r.Next(&c) },
		"JSON pong":        func() { r.Reset(JSON, pong, 1); _ = r.Next(&c) },
		"Protobuf publish": func() { r.Reset(Protobuf, record, 1); _ = r.Next(&c) },
		"empty result":     func() { AppendEmpty(dst, 0, Protobuf, 7, MethodPublish) },
		"error":            func() { AppendError(dst, 0, JSON, 7, ErrorInternal) },
		"push JSON":        func() { AppendPush(dst, JSON, "news", []byte(`{"a":1}`), &Meta{Info: info}) },
		"push Protobuf":    func() { AppendPush(dst, Protobuf, "news", []byte(`{"a":1}`), &Meta{Info: info}) },
		"meta":             func() { AppendMeta(dst, &Meta{Info: info}) },
	} {
		if n := testing.AllocsPerRun(100, step); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The frames that cost most per byte, 64 KiB each.
func BenchmarkWorstFrames(b *testing.B) {
	fill := func(unit string) []byte { return bytes.Repeat([]byte(unit), (64<<10)/len(unit)) }
	for _, w := range []struct {
		name  string
		p     Protocol
		frame []byte
	}{
		{"pongs", JSON, fill("{}\n")},
		{"pings", JSON, fill("{\"id\":1,\"ping\":{}}\n")},
		{"brackets", JSON, []byte(`{"id":1,"publish":{"data":` + strings.Repeat("[", 65000))},
		{"arrays", JSON, []byte(`{"id":1,"publish":{"data":[` + strings.Repeat("[],", 21000) + `1]}}`)},
		{"members", JSON, []byte(`{"id":1,"publish":{` + strings.Repeat(`"":1,`, 13000) + `"a":1}}`)},
		{"unknown payloads", JSON, []byte(`{` + strings.Repeat(`"":1,`, 13000) + `"a":1}`)},
		{"escapes", JSON, []byte(`{"id":1,"publish":{"channel":"` + strings.Repeat(`\ud83d\ude00`, 5400) + `"}}`)},
		{"subs", JSON, []byte(`{"id":1,"connect":{"subs":{` + strings.Repeat(`"":{},`, 1000) + `"a":{}}}}`)},
		{"one string", JSON, []byte(`{"id":1,"publish":{"channel":"c","data":"` + strings.Repeat("é", 32000) + `"}}`)},
		{"pongs", Protobuf, fill("\x00")},
		{"ids", Protobuf, fill("\x02\x08\x01")},
		{"subs", Protobuf, []byte("\xd3\x0f\x22\xd0\x0f" + strings.Repeat("\x1a\x00", 1000))},
	} {
		b.Run(fmt.Sprintf("%v %s", w.p, w.name), func(b *testing.B) {
			var r CommandReader
			var c Command
			b.SetBytes(int64(len(w.frame)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(w.p, w.frame, 1<<20)
				for r.Next(&c) == nil {
				}
			}
		})
	}
}

func BenchmarkPublishCommand(b *testing.B) {
	var r CommandReader
	var c Command
	frame := []byte(`{"id":5,"publish":{"channel":"news","data":{"text":"hello, world","n":12345}}}`)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(JSON, frame, 1)
		_ = r.Next(&c)
	}
}

func BenchmarkMeta(b *testing.B) {
	m := &Meta{Info: &ClientInfo{User: "42", Client: "2d1c9f6e-1111-4222-8333-444455556666", ConnInfo: []byte(`{"name":"Ada"}`)}}
	line := AppendMeta(nil, m)
	b.Run("append", func(b *testing.B) {
		dst := make([]byte, 0, 1024)
		b.ReportAllocs()
		for b.Loop() {
			AppendMeta(dst, m)
		}
	})
	b.Run("parse", func(b *testing.B) {
		text := string(line)
		b.ReportAllocs()
		for b.Loop() {
			ParseMeta(text)
		}
	})
	b.Run("push", func(b *testing.B) {
		dst := make([]byte, 0, 1024)
		b.ReportAllocs()
		for b.Loop() {
			AppendPush(dst, JSON, "news", []byte(`{"text":"hello, world","n":12345}`), m)
		}
	})
}
