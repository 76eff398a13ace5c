package broker

import (
	"hash/maphash"
	"sync"
)

// readers is the fixed pool of goroutines that call Handler. Each owns one bounded channel; a broker channel always
// goes to the same one, which keeps its messages in order. T is what waits in the channel: *nats.Msg or Message.
type readers[T any] struct {
	chans []chan T
	seed  maphash.Seed // random per process: a client cannot aim its channels at one reader
	wg    sync.WaitGroup
}

func startReaders[T any](l *Limits, deliver func(T)) *readers[T] {
	r := &readers[T]{chans: make([]chan T, l.Readers), seed: maphash.MakeSeed()}
	for i := range r.chans {
		ch := make(chan T, l.ReaderMessages)
		r.chans[i] = ch
		r.wg.Go(func() {
			for m := range ch {
				deliver(m)
			}
		})
	}
	return r
}

// of returns the delivery channel of a broker channel.
func (r *readers[T]) of(channel string) chan T {
	return r.chans[maphash.String(r.seed, channel)%uint64(len(r.chans))]
}

func (r *readers[T]) waiting() int {
	n := 0
	for _, ch := range r.chans {
		n += len(ch)
	}
	return n
}

// finish lets the readers handle what waits and end. Nobody may send any more.
func (r *readers[T]) finish() {
	for _, ch := range r.chans {
		close(ch)
	}
}

func (r *readers[T]) wait() { r.wg.Wait() }
