package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"throng/broker"
)

// child is a NATS server in a process of its own.
type child struct {
	t     testing.TB
	addr  string
	store string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startChild(t testing.TB) *child {
	t.Helper()
	c := &child{t: t, addr: "127.0.0.1:0", store: t.TempDir()}
	c.start()
	t.Cleanup(c.kill)
	return c
}

func (c *child) start() {
	c.t.Helper()
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), serverEnv+"="+c.addr, serverEnv+"_STORE="+c.store)
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.stdin = stdin
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		c.t.Fatalf("NATS process did not start: %v", err)
	}
	c.addr = strings.TrimPrefix(strings.TrimSpace(url), "nats://")
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
	for s == syscall.SIGSTOP && !c.stopped() { // kill(2) returns before every thread has stopped
		time.Sleep(time.Millisecond)
	}
}

// stopped reports whether all threads are in state T (proc_pid_stat(5)).
func (c *child) stopped() bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.cmd.Process.Pid))
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if _, state, ok := strings.Cut(string(raw), ") "); !ok || state[0] != 'T' {
			return false
		}
	}
	return len(stats) > 0
}

// kill is kill -9; waiting for it frees the port.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = c.stdin.Close()
}

// flood publishes numbered messages from its own goroutine until stopped and reports how many were accepted.
func flood(n broker.Broker, channel string) (stop func() (accepted uint64)) {
	quit, result := make(chan struct{}), make(chan uint64, 1)
	go func() {
		accepted := uint64(0)
		for {
			select {
			case <-quit:
				result <- accepted
				return
			default:
			}
			if n.Publish(channel, []byte("x"), false) == nil {
				accepted++
			} else {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}()
	return func() uint64 { close(quit); return <-result }
}

// unexplained is what was accepted and neither heard nor counted; LostUnconfirmed may count what was heard, so the
// honest answer is never positive.
func unexplained(accepted uint64, s broker.Stats) int64 {
	known := s.Delivered + s.Lost[broker.LostReaderFull] + s.Lost[broker.LostUnconfirmed] + s.Lost[broker.LostClosed] +
		s.Lost[broker.LostDisconnected] + s.Lost[broker.LostRejected]
	return int64(accepted) - int64(known)
}

// withoutRefusals subtracts what Publish itself refused from the disconnected losses.
func withoutRefusals(s broker.Stats, refused uint64) broker.Stats {
	s.Lost[broker.LostDisconnected] -= refused
	return s
}

// F2, F5 in small: kill -9 NATS under full load, five times; every accepted publication is heard or counted.
func TestKilledNATSLosesNothingSilently(t *testing.T) {
	c := startChild(t)
	n := connect(t, broker.Config{URLs: []string{"nats://" + c.addr}, ConfirmInterval: time.Millisecond}, func(broker.Message) {})
	n.Subscribe("c")
	mustSync(t, n)
	counting := &countingBroker{Broker: n}
	stop := flood(counting, "c")
	for round := range uint64(5) {
		heard := n.Stats().Delivered
		eventually(t, "traffic flows", n, func() bool { return n.Stats().Delivered > heard+1000 })
		c.kill()
		eventually(t, "loss noticed", n, func() bool { return errors.Is(n.Ready(), broker.ErrDisconnected) })
		c.start()
		eventually(t, "reconnected", n, func() bool { return n.Ready() == nil && n.Stats().Reconnects == round+1 })
	}
	accepted := stop()
	mustSync(t, n)
	eventually(t, "readers empty", n, func() bool { s := n.Stats(); return s.ReaderMessages == 0 && s.QueueMessages == 0 })
	s := withoutRefusals(n.Stats(), counting.disconnected)
	if missing := unexplained(accepted, s); missing > 0 {
		t.Errorf("%d of %d accepted publications neither heard nor counted: %+v", missing, accepted, s)
	}
	t.Logf("accepted %d, %+v", accepted, s)
}

// countingBroker counts what Publish refuses for want of a link. For one publishing goroutine.
type countingBroker struct {
	broker.Broker
	disconnected uint64
}

func (c *countingBroker) Publish(channel string, data []byte, binary bool) error {
	err := c.Broker.Publish(channel, data, binary)
	if errors.Is(err, broker.ErrDisconnected) {
		c.disconnected++
	}
	return err
}

// F13 in small: a NATS that stands still first fills the bounded queue (callers are told ErrBusy and never held up),
// then loses its link, and is found again when it goes on.
func TestStoppedNATSNeverBlocksCallers(t *testing.T) {
	c := startChild(t)
	n := connect(t, broker.Config{
		URLs:         []string{"nats://" + c.addr},
		Limits:       broker.Limits{QueueMessages: 16, QueueBytes: 64 << 20},
		WriteTimeout: time.Second,
		PingInterval: time.Second,
		// A stopped process still completes TCP handshakes in its backlog: bound the wait for its INFO line.
		ConnectTimeout: 200 * time.Millisecond,
	}, func(broker.Message) {})
	n.Subscribe("c")
	mustSync(t, n)
	c.signal(syscall.SIGSTOP)
	stopped := true
	t.Cleanup(func() {
		if stopped {
			_ = c.cmd.Process.Signal(syscall.SIGCONT)
		}
	})
	data := make([]byte, 128<<10)
	var sawBusy, sawDisconnected bool
	eventually(t, "both refusals", n, func() bool {
		err := n.Publish("c", data, false)
		sawBusy = sawBusy || errors.Is(err, broker.ErrBusy)
		sawDisconnected = sawDisconnected || errors.Is(err, broker.ErrDisconnected)
		return sawBusy && sawDisconnected
	})
	n.Subscribe("joined")
	c.signal(syscall.SIGCONT)
	stopped = false
	eventually(t, "ready and in step again", n, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return n.Ready() == nil && n.Sync(ctx) == nil
	})
	before := n.Stats().Delivered
	if err := n.Publish("joined", []byte("x"), false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "heard again", n, func() bool { return n.Stats().Delivered > before })
	if s := n.Stats(); s.Lost[broker.LostUnconfirmed] == 0 || s.Lost[broker.LostQueueFull] == 0 {
		t.Errorf("losses not counted: %+v", s)
	}
}

// F7 in small: a link that goes silent without a word is found dead by unanswered pings, with no traffic of ours.
func TestSilentLinkIsFoundDead(t *testing.T) {
	c := startChild(t)
	n := connect(t, broker.Config{
		URLs: []string{"nats://" + c.addr}, PingInterval: 300 * time.Millisecond, ConnectTimeout: 200 * time.Millisecond,
	}, func(broker.Message) {})
	mustSync(t, n)
	c.signal(syscall.SIGSTOP)
	eventually(t, "dead", n, func() bool { return errors.Is(n.Ready(), broker.ErrDisconnected) })
	c.signal(syscall.SIGCONT)
	eventually(t, "ready again", n, func() bool { return n.Ready() == nil })
}

// Close must not wait for a server that does not answer.
func TestCloseDoesNotHangOnAStoppedNATS(t *testing.T) {
	c := startChild(t)
	n := connect(t, broker.Config{URLs: []string{"nats://" + c.addr}, WriteTimeout: 300 * time.Millisecond}, func(broker.Message) {})
	mustSync(t, n)
	c.signal(syscall.SIGSTOP)
	defer c.signal(syscall.SIGCONT)
	data := make([]byte, 64<<10)
	for range 200 {
		_ = n.Publish("c", data, false)
	}
	closed := make(chan struct{})
	go func() { n.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close hangs")
	}
	if s := n.Stats(); s.Published+s.Lost[broker.LostClosed]+s.Lost[broker.LostDisconnected]+s.Lost[broker.LostUnconfirmed] < 200 {
		t.Errorf("not all accounted for: %+v", s)
	}
}

func TestFloodingAChannelOneCannotFollowKeepsTheLinkAndCountsExactly(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	n := connect(t, broker.Config{
		URLs:            []string{s.url()},
		Limits:          broker.Limits{Readers: 1, ReaderMessages: 1},
		ConfirmInterval: time.Millisecond,
	}, func(broker.Message) {})
	n.Subscribe("c")
	data := make([]byte, 128)
	for accepted := 0; accepted < 150_000; {
		if err := n.Publish("c", data, false); err == nil {
			accepted++
		} else if errors.Is(err, broker.ErrBusy) {
			time.Sleep(100 * time.Microsecond)
		} else {
			t.Fatal(err)
		}
	}
	mustSync(t, n)
	eventually(t, "every message heard or counted", n, func() bool {
		st := n.Stats()
		return st.Delivered+st.Lost[broker.LostReaderFull] == 150_000
	})
	if st := n.Stats(); st.Disconnects != 0 {
		t.Errorf("the link was lost: %+v", st)
	}
}
