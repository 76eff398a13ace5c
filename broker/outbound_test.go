package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Under synctest a call that blocks shows: Wait returns only when every goroutine of the bubble is durably blocked,
// and net.Pipe's ends are channels.
func TestOutboundWriteNeverWaitsAndAdmitDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := newOutbound(near, time.Hour, 100)
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
		o := newOutbound(near, time.Hour, 1)
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
		o := newOutbound(near, 5*time.Second, 1)
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
