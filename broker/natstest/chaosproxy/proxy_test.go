package chaosproxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// echo answers every connection with its own bytes, and ends its direction when the other has ended.
func echo(t *testing.T) string {
	t.Helper()
	return target(t, func(c *net.TCPConn) {
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
	})
}

func target(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

// silent fails when anything is heard in a short while.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := c.Read(make([]byte, 1))
	if ne, is := errors.AsType[net.Error](err); !is || !ne.Timeout() {
		t.Fatalf("heard %d bytes, %v; want nothing", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
}

// wantRefused dials and is reset, at once or a moment later.
func wantRefused(t *testing.T, p *Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	wantReset(t, c)
}

func wantReset(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("end of the stream %v, want a reset", err)
	}
}

func TestEveryByteArrivesInOrderWhateverTheShape(t *testing.T) {
	for name, shape := range map[string]Shape{
		"plain":            {},
		"delay and jitter": {Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond},
		"rate":             {Rate: 20 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			p := Start(t, echo(t))
			p.Shape(Up, shape)
			p.Shape(Down, shape)
			c := dial(t, p)
			sent := make([]byte, 3<<20)
			for i := range sent {
				sent[i] = byte(rand.Uint32())
			}
			go func() {
				_, _ = c.Write(sent)
				_ = c.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d of %d bytes came back, %v", len(got), len(sent), err)
			}
			await(t, "no connection left", func() bool { return p.Stats().Open == 0 })
			if s := p.Stats(); s.Bytes != [2]uint64{3 << 20, 3 << 20} || s.Accepted != 1 || s.Cut != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestDelayAndRateTakeTheirTime(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	p.Shape(Up, Shape{Delay: 60 * time.Millisecond})
	p.Shape(Down, Shape{Rate: 100_000})
	began := time.Now()
	text := string(make([]byte, 10_000))
	say(t, c, text)
	hear(t, c, text)
	if took := time.Since(began); took < 155*time.Millisecond { // 60 ms and 10,000 / 100,000 s, less a clock's grain
		t.Errorf("took %v", took)
	}
}

func TestHeldDirectionIsSilentUntilHealed(t *testing.T) {
	for name, directions := range map[string][]Direction{"up": {Up}, "down": {Down}, "both": nil} {
		t.Run(name, func(t *testing.T) {
			p := Start(t, echo(t))
			c := dial(t, p)
			say(t, c, "a")
			hear(t, c, "a")
			p.Hold(directions...)
			say(t, c, "b")
			silent(t, c)
			if reached := p.Stats().Bytes[Up] == 2; reached != slices.Equal(directions, []Direction{Down}) {
				t.Errorf("the held byte is with the target: %v", reached)
			}
			p.Heal()
			hear(t, c, "b")
		})
	}
}

func TestHeldLinkTakesConnectionsAndNoBoundlessBytes(t *testing.T) {
	p := Start(t, echo(t))
	p.Hold()
	c := dial(t, p)
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := io.Copy(c, zeros{})
	if ne, is := errors.AsType[net.Error](err); !is || !ne.Timeout() || n > 64<<20 {
		t.Errorf("%d bytes vanished, %v", n, err)
	}
	p.Heal()
	if read, err := io.CopyN(io.Discard, c, n); err != nil {
		t.Errorf("%d of %d bytes came back: %v", read, n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestCutResetsBothSidesAndLosesWhatIsUnderWay(t *testing.T) {
	ended := make(chan error, 1)
	heard := make(chan byte, 10)
	p := Start(t, target(t, func(c *net.TCPConn) {
		one := make([]byte, 1)
		for {
			if _, err := c.Read(one); err != nil {
				ended <- err
				return
			}
			heard <- one[0]
			_, _ = c.Write([]byte("!"))
		}
	}))
	c := dial(t, p)
	p.Hold(Down)
	say(t, c, "a")
	<-heard // and its answer is cut
	p.Cut()
	wantReset(t, c)
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target saw %v", err)
	}
	p.Heal()
	again := dial(t, p)
	say(t, again, "b")
	hear(t, again, "!")
	if s := p.Stats(); s.Cut != 1 || s.Open != 1 {
		t.Errorf("%+v", s)
	}
}

func TestRefusedUntilHealed(t *testing.T) {
	p := Start(t, echo(t))
	c := dial(t, p)
	say(t, c, "a")
	hear(t, c, "a")
	p.Refuse()
	wantRefused(t, p)
	say(t, c, "b") // those inside go on
	hear(t, c, "b")
	p.Heal()
	again := dial(t, p)
	say(t, again, "c")
	hear(t, again, "c")
	if s := p.Stats(); s.Refused != 1 || s.Accepted != 2 {
		t.Errorf("%+v", s)
	}
}

func TestHalfCloseEndsOneDirectionOnly(t *testing.T) {
	ended := make(chan error, 1)
	p := Start(t, target(t, func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		ended <- err
		_, _ = io.WriteString(c, "still here")
	}))
	c := dial(t, p)
	say(t, c, "a")
	await(t, "the byte arrived", func() bool { return p.Stats().Bytes[Up] == 1 })
	p.HalfClose(Up)
	if err := <-ended; err != nil {
		t.Errorf("the target saw %v, want an orderly end", err)
	}
	say(t, c, "thrown away")
	if got, err := io.ReadAll(c); err != nil || string(got) != "still here" {
		t.Errorf("heard %q, %v", got, err)
	}
	c.Close()
	await(t, "no connection left", func() bool { return p.Stats().Open == 0 })
	if s := p.Stats(); s.Bytes[Up] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTargetThatIsAwayResets(t *testing.T) {
	away, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away.Close()
	p := Start(t, away.Addr().String())
	wantRefused(t, p)
}

// Close comes back whatever state the proxy is in; TestMain looks for goroutines.
func TestCloseEndsEverything(t *testing.T) {
	for name, prepare := range map[string]func(*Proxy){
		"idle":   func(*Proxy) {},
		"held":   func(p *Proxy) { p.Hold() },
		"slow":   func(p *Proxy) { p.Shape(Up, Shape{Delay: time.Hour}) },
		"narrow": func(p *Proxy) { p.Shape(Up, Shape{Rate: 1}) },
		"half":   func(p *Proxy) { p.HalfClose(Up) },
	} {
		p := Start(t, echo(t))
		var clients []*net.TCPConn
		for range 10 {
			c := dial(t, p)
			clients = append(clients, c)
			say(t, c, "a")
			hear(t, c, "a")
		}
		prepare(p)
		for _, c := range clients {
			say(t, c, "b")
		}
		p.Close()
		p.Close()
		if s := p.Stats(); s.Open != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
