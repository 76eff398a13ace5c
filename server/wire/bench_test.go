package wire

import (
	"bytes"
	"fmt"
	"testing"
)

var benchSizes = []int{0, 16, 128, 1024, 16 << 10, 60 << 10}

// BenchmarkDecoder/whole feeds one complete frame, /read one buffer of 64 KiB
// full of them (ns/op is per frame), /pieces one frame in reads of 1,460 bytes.
func BenchmarkDecoder(b *testing.B) {
	key := [4]byte{0, 0, 0, 0}
	for _, op := range []Opcode{OpText, OpBinary} {
		for _, n := range benchSizes {
			frame := AppendMaskedFrame(nil, op, true, bytes.Repeat([]byte("a"), n), key)
			b.Run(fmt.Sprintf("whole/%v/%d", op, n), func(b *testing.B) { benchFeed(b, frame, len(frame), 1) })
		}
	}
	for _, n := range []int{16, 128, 1024} {
		frame := AppendMaskedFrame(nil, OpText, true, bytes.Repeat([]byte("a"), n), key)
		count := 64 << 10 / len(frame)
		b.Run(fmt.Sprintf("read/text/%d", n), func(b *testing.B) {
			full := bytes.Repeat(frame, count)
			benchFeed(b, full, len(full), count)
		})
	}
	for _, n := range []int{128, 1024, 16 << 10, 60 << 10} {
		frame := AppendMaskedFrame(nil, OpText, true, bytes.Repeat([]byte("a"), n), key)
		b.Run(fmt.Sprintf("pieces/text/%d", n), func(b *testing.B) { benchFeed(b, frame, min(1460, len(frame)/2), 1) })
	}
}

// benchFeed feeds p, which holds count frames, in pieces of size; one op is one
// frame.
func benchFeed(b *testing.B, p []byte, size, count int) {
	var d Decoder
	var c counter
	b.ReportAllocs()
	b.SetBytes(int64(len(p) / count))
	for i := 0; i < b.N; i += count {
		for at := 0; at < len(p); at += size {
			if err := d.Feed(p[at:min(at+size, len(p))], &testLimits, &c); err != nil {
				b.Fatal(err)
			}
		}
	}
	if c.messages == 0 {
		b.Fatal("no message")
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, n := range benchSizes {
		payload := bytes.Repeat([]byte("a"), n)
		dst := make([]byte, 0, n+MaxHeader)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				dst = AppendFrame(dst[:0], OpText, payload)
			}
		})
	}
}

// BenchmarkHandshake/browser is what one client costs beside the system calls:
// parse, check, negotiate, answer.
func BenchmarkHandshake(b *testing.B) {
	small := "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + keyLine + versionLine + "\r\n"
	cookies := with("Cookie: " + rep("session=0123456789abcdef; ", 64) + "\r\n")
	for _, c := range []struct{ name, head string }{{"small", small}, {"browser", upgradeHead}, {"cookies", cookies}} {
		b.Run(fmt.Sprintf("%s/%d", c.name, len(c.head)), func(b *testing.B) {
			var r Request
			p, dst := []byte(c.head), make([]byte, 0, 512)
			known := []string{"chat"}
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if _, err := judge(&r, p); err != nil {
					b.Fatal(err)
				}
				dst = AppendSwitching(dst[:0], r.Key, r.Subprotocol(known), "")
			}
		})
	}
}
