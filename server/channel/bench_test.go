package channel

import "testing"

func BenchmarkLookup(b *testing.B) {
	r := compile(b, town)
	for _, name := range []string{"lobby", "news:sport", "chat:dialog#1,2", "sensors:a.b.c", "digits:123456"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Lookup(name)
			}
		})
	}
}

func BenchmarkCanSubscribe(b *testing.B) {
	r := compile(b, town)
	q := SubscribeRequest{Channel: "chat:dialog#1,2", User: "2"}
	b.ReportAllocs()
	for b.Loop() {
		r.CanSubscribe(q)
	}
}
