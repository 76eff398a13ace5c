package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Under synctest a call that blocks shows: Wait returns only when every goroutine of the bubble is durably blocked,
// and net.Pipe's ends are channels.
func TestOutboundWriteNeverWaitsAndAdmitDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := (&dialer{timeout: time.Hour, limit: 100}).newOutbound(near)
		start := time.Now()
		var sent bytes.Buffer
		for i := range 50 {
			p := bytes.Repeat([]byte{byte(i)}, 10)
			sent.Write(p)
			if n, err := o.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
			clear(p) // nats.go reuses its buffer
		}
		if time.Since(start) != 0 {
			t.Error("Write waited for a peer that does not read")
		}
		admitted := make(chan struct{})
		go func() { o.admit(t.Context()); close(admitted) }()
		synctest.Wait()
		select {
		case <-admitted:
			t.Fatal("admitted with 500 of 100 bytes waiting")
		default:
		}
		got := make([]byte, 500)
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, sent.Bytes()) {
			t.Errorf("read %v, in order %v", err, bytes.Equal(got, sent.Bytes()))
		}
		<-admitted
		o.Close()
		far.Close()
	})
}

func TestOutboundAdmitEndsWithItsContextAndWithTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		o := (&dialer{timeout: time.Hour, limit: 1}).newOutbound(near)
		_, _ = o.Write(make([]byte, 10))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		o.admit(ctx)
		go func() { time.Sleep(time.Second); o.Close() }()
		o.admit(t.Context())
		if _, err := o.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
	})
}

func TestOutboundWriteTimeoutEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := (&dialer{timeout: 5 * time.Second, limit: 1, silence: time.Hour}).newOutbound(near)
		_, _ = o.Write([]byte("never read"))
		// What nats.go does around its writes must not lift the deadline.
		_ = o.SetWriteDeadline(time.Time{})
		_ = o.SetDeadline(time.Time{})
		start := time.Now()
		o.admit(t.Context())
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("link ended after %v", waited)
		}
		synctest.Wait()
		if _, err := o.Read(make([]byte, 1)); err == nil {
			t.Error("the socket is still open for reading")
		}
		if _, err := o.Write([]byte("x")); err == nil {
			t.Error("Write succeeds on a dead link")
		}
		far.Close()
	})
}

func TestOutboundEndsAfterSilenceAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := (&dialer{timeout: time.Hour, limit: 1, silence: 12 * time.Second}).newOutbound(near)
		// nats.go's handshake has a deadline of its own, lifted while its read loop is already reading.
		_ = o.SetDeadline(time.Now().Add(2 * time.Second))
		start := time.Now()
		if _, err := o.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("handshake read: %v after %v", err, time.Since(start))
		}
		go func() {
			for range 10 {
				time.Sleep(11 * time.Second)
				_, _ = far.Write([]byte("x"))
			}
		}()
		go func() { time.Sleep(time.Second); _ = o.SetDeadline(time.Time{}) }()
		_ = o.SetDeadline(time.Now().Add(2 * time.Second))
		start = time.Now()
		for {
			if _, err := o.Read(make([]byte, 1)); err != nil {
				break
			}
		}
		if lived := time.Since(start); lived != (110+12)*time.Second {
			t.Errorf("the link lived %v, want 10 x 11 s and 12 s of silence", lived)
		}
		o.Close()
		far.Close()
	})
}
