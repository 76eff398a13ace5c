package ws

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// The outbox against a plain byte string, for random pushes, partial writes and cuts.
func TestOutboxIsAByteStream(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var o outbox
	var model []byte
	var frames []int // bytes left of each frame
	for range 200_000 {
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			f := make([]byte, r.IntN(40))
			for i := range f {
				f[i] = byte(r.Uint32())
			}
			o.push(f)
			model = append(model, f...)
			if len(f) > 0 {
				frames = append(frames, len(f))
			}
		case 4, 5, 6, 7, 8:
			dst := make([]byte, 0, 1+r.IntN(100))
			got := o.gather(dst)
			if want := model[:min(len(model), cap(dst))]; !bytes.Equal(got, want) {
				t.Fatalf("gathered %x, want %x", got, want)
			}
			n := r.IntN(len(got) + 1)
			o.consume(n)
			model = model[n:]
			frames = eat(frames, n)
		case 9:
			if r.IntN(50) > 0 {
				continue
			}
			dropped := o.truncate()
			keep := 0
			if len(frames) > 0 {
				keep, frames = frames[0], frames[:1]
			}
			if want := len(model) - keep; dropped != want {
				t.Fatalf("truncate dropped %d, want %d", dropped, want)
			}
			model = model[:keep]
		}
		if o.bytes != len(model) || o.empty() != (len(model) == 0) || o.cost() < o.bytes {
			t.Fatalf("bytes %d, empty %v, cost %d with %d bytes pending", o.bytes, o.empty(), o.cost(), len(model))
		}
		if o.empty() && (o.head != nil || o.more != nil) {
			t.Fatal("an empty outbox holds memory")
		}
	}
	if n := o.clear(); n != len(model) || !o.empty() {
		t.Errorf("clear dropped %d, want %d", n, len(model))
	}
}

func eat(frames []int, n int) []int {
	for n > 0 {
		if n < frames[0] {
			frames[0] -= n
			return frames
		}
		n -= frames[0]
		frames = frames[1:]
	}
	return frames
}

func TestOutboxDoesNotAllocateInSteadyState(t *testing.T) {
	var o outbox
	frame := make([]byte, 100)
	for _, n := range []int{1, 8} {
		if got := testing.AllocsPerRun(1000, func() {
			for range n {
				o.push(frame)
			}
			o.consume(100 * n)
		}); got != 0 {
			t.Errorf("%d frames: %v allocations, want 0", n, got)
		}
	}
}

func BenchmarkOutbox(b *testing.B) {
	frame := make([]byte, 130)
	buf := make([]byte, 0, joinSize)
	for _, n := range []int{1, 8, 64} {
		b.Run(map[int]string{1: "frames=1", 8: "frames=8", 64: "frames=64"}[n], func(b *testing.B) {
			b.ReportAllocs()
			var o outbox
			for b.Loop() {
				for range n {
					o.push(frame)
				}
				if n > 1 {
					o.gather(buf)
				}
				o.consume(130 * n)
			}
		})
	}
}
