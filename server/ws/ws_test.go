package ws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"throng/server/wire"
)

func TestEcho(t *testing.T) {
	f := start(t, Config{}, nil)
	c := f.dial()
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		p := strings.Repeat("x", n)
		c.send(wire.OpText, p)
		c.want(wire.OpText, p)
		c.send(wire.OpBinary, p)
		c.want(wire.OpBinary, p)
	}
	c.send(wire.OpPing, "hello")
	c.want(wire.OpPong, "hello")
	c.send(wire.OpClose, "\x03\xe8bye")
	c.wantClose(wire.CloseNormal)
	c.wantEOF()
	await(t, "counted as closed by the peer", func() bool { return f.Stats().ClosedByPeer["normal"] == 1 })
	if s := f.Stats(); s.TextIn != 7 || s.BinaryIn != 7 || s.PingsIn != 1 || s.Connections != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestHeadAndFramesInAnyPieces(t *testing.T) {
	f := start(t, Config{}, func(e *echo) { e.greeting = wire.AppendFrame(nil, wire.OpText, []byte("hi")) })
	stream := []byte(upgradeHead)
	stream = wire.AppendMaskedFrame(stream, wire.OpText, false, []byte("one, "), testMask)
	stream = wire.AppendMaskedFrame(stream, wire.OpPing, true, []byte("p"), testMask)
	stream = wire.AppendMaskedFrame(stream, wire.OpContinuation, true, []byte("two"), testMask)
	for _, step := range []int{1, 2, 7, 64, len(stream) - 3, len(stream)} {
		c := f.dialRaw()
		for p := stream; len(p) > 0; {
			n := min(step, len(p))
			c.write(p[:n])
			p = p[n:]
		}
		c.wantStatus(101)
		c.want(wire.OpText, "hi")
		c.want(wire.OpPong, "p")
		c.want(wire.OpText, "one, two")
		c.Close()
	}
}

func TestGreetingLeavesWithThe101(t *testing.T) {
	f := start(t, Config{}, func(e *echo) { e.greeting = wire.AppendFrame(nil, wire.OpText, []byte("hi")) })
	c := f.dial()
	c.want(wire.OpText, "hi")
	await(t, "write counted", func() bool { return f.Stats().Writes > 0 })
	if w := f.Stats().Writes; w != 1 {
		t.Errorf("%d writes for 101 and greeting, want 1", w)
	}
}

func TestRepliesOfOneTurnLeaveInOneWrite(t *testing.T) {
	f := start(t, Config{}, nil)
	c := f.dial()
	await(t, "write of the 101 counted", func() bool { return f.Stats().Writes == 1 })
	before := f.Stats().Writes
	var p []byte
	for i := range 50 {
		p = wire.AppendMaskedFrame(p, wire.OpText, true, fmt.Appendf(nil, "m%d", i), testMask)
	}
	c.write(p)
	for i := range 50 {
		c.want(wire.OpText, fmt.Sprintf("m%d", i))
	}
	await(t, "write counted", func() bool { return f.Stats().Writes > before }) // the bytes may be here first
	if w := f.Stats().Writes - before; w != 1 {
		t.Errorf("%d writes for 50 replies to one read, want 1", w)
	}
}

func TestBrokenFramesGetTheirCode(t *testing.T) {
	masked := func(p ...byte) []byte { return append(p, 0, 0, 0, 0) }
	for _, tc := range []struct {
		name string
		in   []byte
		code wire.CloseCode
	}{
		{"unmasked (N2)", []byte{0x81, 0x01, 'x'}, wire.CloseProtocolError},
		{"RSV1 not negotiated (N3)", masked(0xc1, 0x80), wire.CloseProtocolError},
		{"RSV1 with zero payload on a control frame (N10)", masked(0xc9, 0x80), wire.CloseProtocolError},
		{"stray continuation (N4)", masked(0x80, 0x80), wire.CloseProtocolError},
		{"reserved opcode", masked(0x83, 0x80), wire.CloseProtocolError},
		{"giant declared length", []byte{0x82, 0xff, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0}, wire.CloseTooBig},
		{"length 2^63", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, wire.CloseProtocolError},
		{"message over the limit", wire.AppendMaskedFrame(nil, wire.OpBinary, true, make([]byte, 65537), testMask), wire.CloseTooBig},
		{"invalid UTF-8", wire.AppendMaskedFrame(nil, wire.OpText, true, []byte("\xff"), testMask), wire.CloseInvalidPayload},
		{"close code 1005 sent", wire.AppendMaskedFrame(nil, wire.OpClose, true, []byte{3, 0xed}, testMask), wire.CloseProtocolError},
		{"close body of one byte", wire.AppendMaskedFrame(nil, wire.OpClose, true, []byte{3}, testMask), wire.CloseProtocolError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t, Config{CloseTimeout: patience}, nil)
			steady, c := f.dial(), f.dial()
			c.write(tc.in)
			c.wantClose(tc.code)
			c.wantEOF() // half-closed by the server without waiting for us
			steady.send(wire.OpText, "still here")
			steady.want(wire.OpText, "still here")
			c.Close()
			await(t, "counted", func() bool { return f.Stats().ClosedByServer[tc.code.String()] == 1 })
		})
	}
}

func TestCloseCodesAreEchoed(t *testing.T) {
	f := start(t, Config{}, nil)
	for _, code := range []wire.CloseCode{1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		c := f.dial()
		c.write(wire.AppendMaskedFrame(nil, wire.OpClose, true, []byte{byte(code >> 8), byte(code)}, testMask))
		c.wantClose(code)
		c.wantEOF()
	}
	c := f.dial()
	c.send(wire.OpClose, "")
	op, p, err := c.frame()
	if op != wire.OpClose || len(p) != 0 || err != nil {
		t.Errorf("empty close answered by %v %q %v", op, p, err)
	}
}

func TestServerCloseWaitsForThePeer(t *testing.T) {
	closed := make(chan wire.CloseCode, 1)
	f := start(t, Config{CloseTimeout: patience}, func(e *echo) { e.closed = closed })
	c := f.dial()
	f.conn(0).Close(wire.CloseGoingAway, "moving")
	f.conn(0).Close(wire.CloseInternal, "a later cause does not count")
	c.wantClose(wire.CloseGoingAway)
	c.send(wire.OpText, "too late") // allowed until our close frame, ignored by the server
	c.send(wire.OpClose, "\x03\xe9")
	c.wantEOF()
	if code := <-closed; code != wire.CloseGoingAway {
		t.Errorf("handler was told %d", code)
	}
}

func TestServerCloseCutsAPeerThatStaysSilent(t *testing.T) {
	f := start(t, Config{CloseTimeout: 50 * time.Millisecond, WheelTick: 5 * time.Millisecond}, nil)
	c := f.dial()
	f.conn(0).Close(wire.CloseNormal, "")
	c.wantClose(wire.CloseNormal)
	c.wantEOF()
	await(t, "closed", func() bool { return f.Stats().Connections == 0 })
}

func TestHandlerErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func() error
		code wire.CloseCode
	}{
		{"protocol error", func() error { return &wire.ProtocolError{Code: wire.CloseUnsupported, Reason: "no"} }, wire.CloseUnsupported},
		{"other error", func() error { return errors.New("boom") }, wire.CloseInternal},
		{"panic stays with its connection (F24)", func() error { panic("planted") }, wire.CloseInternal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t, Config{}, func(e *echo) {
				e.onMsg = func(op wire.Opcode, p []byte) error {
					if string(p) == "bad" {
						return tc.do()
					}
					e.c.Send(wire.AppendFrame(nil, op, p))
					return nil
				}
			})
			steady, c := f.dial(), f.dial()
			c.send(wire.OpText, "bad")
			c.wantClose(tc.code)
			steady.send(wire.OpText, "ok")
			steady.want(wire.OpText, "ok")
		})
	}
}

// The rest of a stream must not be lost because its end is already there (nbio.md, halfclose).
func TestDataBeforeFINIsNotLost(t *testing.T) {
	var got int
	var mu sync.Mutex
	closed := make(chan wire.CloseCode, 1)
	f := start(t, Config{Pollers: 1}, func(e *echo) {
		e.closed = closed
		e.onMsg = func(_ wire.Opcode, p []byte) error {
			mu.Lock()
			got += len(p)
			mu.Unlock()
			time.Sleep(time.Millisecond) // a busy poller: data and FIN pile up
			return nil
		}
	})
	c := f.dial()
	const messages, size = 64, 16 << 10
	var p []byte
	for range messages {
		p = wire.AppendMaskedFrame(p, wire.OpBinary, true, make([]byte, size), testMask)
	}
	c.write(p)
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	<-closed
	if got != messages*size {
		t.Errorf("%d of %d bytes arrived before the end of the stream", got, messages*size)
	}
}

func TestSlowConsumerIsCutAndNobodyElse(t *testing.T) {
	closed := make(chan wire.CloseCode, 2)
	f := start(t, Config{OutboxLimit: 256 << 10, CloseTimeout: 100 * time.Millisecond, WheelTick: 10 * time.Millisecond}, func(e *echo) { e.closed = closed })
	slow, good := f.dial(), f.dial()
	frame := wire.AppendFrame(nil, wire.OpBinary, make([]byte, 16<<10))
	for f.Stats().SlowConsumers == 0 {
		if f.conn(0).Send(frame) {
			f.conn(0).Flush()
		}
	}
	if code := <-closed; code != wire.CloseSlow {
		t.Errorf("slow consumer closed with %v", code)
	}
	good.send(wire.OpText, "hello")
	good.want(wire.OpText, "hello")
	s := f.Stats()
	if s.LostBytesSlow == 0 || s.ClosedByServer[wire.CloseSlow.String()] != 1 {
		t.Errorf("not counted: %+v", s)
	}
	_ = slow
}

// A peer that reads late gets everything, in order, without a copy of it being made.
func TestLateReaderGetsEverything(t *testing.T) {
	f := start(t, Config{OutboxLimit: 64 << 20}, nil)
	c := f.dial()
	const frames = 500
	go func() {
		for i := range frames {
			p := make([]byte, 20<<10)
			p[0], p[1] = byte(i>>8), byte(i)
			if f.conn(0).Send(wire.AppendFrame(nil, wire.OpBinary, p)) {
				f.conn(0).Flush()
			}
		}
	}()
	await(t, "socket full", func() bool { return f.Stats().Blocked == 1 })
	if f.Stats().OutboxBytes == 0 {
		t.Error("no outbox bytes counted for a blocked connection")
	}
	for i := range frames {
		_, p, err := c.frame()
		if err != nil || len(p) != 20<<10 || int(p[0])<<8|int(p[1]) != i {
			t.Fatalf("frame %d: %d bytes, %v", i, len(p), err)
		}
	}
	await(t, "no longer blocked", func() bool { return f.Stats().Blocked == 0 })
}

func TestLargeGreetingDoesNotHang(t *testing.T) { // nbio.md, openwrite
	f := start(t, Config{OutboxLimit: 32 << 20}, func(e *echo) { e.greeting = wire.AppendFrame(nil, wire.OpBinary, make([]byte, 16<<20)) })
	c := f.dial()
	if _, p, err := c.frame(); err != nil || len(p) != 16<<20 {
		t.Fatalf("%d bytes, %v", len(p), err)
	}
}

func TestPingFloodWithUnreadPongs(t *testing.T) { // N7, S9
	f := start(t, Config{}, nil)
	c := f.dial()
	flood := make([]byte, 0, 1<<20)
	for len(flood) < 1<<20-200 {
		flood = wire.AppendMaskedFrame(flood, wire.OpPing, true, make([]byte, 125), testMask)
	}
	for {
		if _, err := c.Write(flood); err != nil {
			break
		}
		if f.Stats().SlowConsumers > 0 {
			break
		}
	}
	await(t, "cut", func() bool { return f.Stats().SlowConsumers == 1 })
}

func TestKeepAlive(t *testing.T) {
	f := start(t, Config{PingInterval: 60 * time.Millisecond, PongTimeout: 200 * time.Millisecond, WheelTick: 5 * time.Millisecond}, nil)
	silent, alive := f.dial(), f.dial()
	go func() {
		for {
			op, _, err := alive.frame()
			if err != nil {
				return
			}
			if op == wire.OpPing {
				_, _ = alive.Write(wire.AppendMaskedFrame(nil, wire.OpPong, true, nil, testMask))
			}
		}
	}()
	silent.want(wire.OpPing, "")
	silent.wantEOF()
	await(t, "pong counted", func() bool { return f.Stats().PongsIn > 0 })
	if f.Stats().PongTimeouts == 0 {
		t.Error("the silent peer's cut is not counted")
	}
	alive.Close()
}

func TestDrainClosesEverybodyWithItsCode(t *testing.T) {
	f := start(t, Config{DrainBatchTick: 5 * time.Millisecond}, nil)
	var cs []*client
	for range 50 {
		cs = append(cs, f.dial())
	}
	silent := f.dialRaw() // never asks for anything
	var wg sync.WaitGroup
	for _, c := range cs {
		wg.Go(func() {
			c.wantClose(wire.CloseGoingAway)
			c.send(wire.OpClose, "\x03\xe9")
			c.wantEOF()
		})
	}
	f.drained = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.Drain(ctx, 100*time.Millisecond, goingAway); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	silent.wantEOF()
	if s := f.Stats(); s.Connections != 0 || s.Handshaking != 0 {
		t.Errorf("left over: %+v", s)
	}
	if _, err := net.Dial("tcp", f.Addr().String()); err == nil {
		t.Error("still accepting after drain")
	}
}

func TestDescriptorsAreReturned(t *testing.T) {
	f := start(t, Config{}, nil)
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	before := count()
	for range 200 {
		c := f.dial()
		c.send(wire.OpText, "x")
		c.want(wire.OpText, "x")
		c.Close()
	}
	await(t, "descriptors returned", func() bool { return count() <= before })
}
