package broker

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// deafServer speaks just enough NATS to be connected to (INFO, and PONG to the first PING) and then reads no more,
// like a server whose own writes to us are stuck.
func deafServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, `INFO {"server_id":"deaf","version":"2.15.2","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
		for in := bufio.NewReaderSize(conn, 16); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "PING") {
				break
			}
		}
		fmt.Fprint(conn, "PONG\r\n")
		_, _ = l.Accept() // until the listener is closed
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "nats://" + l.Addr().String()
}

// nats.go's read loop needs the connection's mutex for each PONG and each message it drops. Were that mutex held
// during a write that cannot finish, neither side would read any more: the standstill that outbound exists to prevent.
func TestNATSMutexIsFreeWhileTheServerReadsNothing(t *testing.T) {
	n, err := Connect(Config{
		URLs: []string{deafServer(t)}, Logger: discard, PingInterval: time.Hour,
		WriteTimeout: time.Hour, Limits: Limits{QueueMessages: 64, QueueBytes: 64 << 20},
	}, func(Message) {})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 256<<10)
	full := func() bool { return errors.Is(n.Publish("c", data, false), ErrBusy) }
	for deadline := time.Now().Add(30 * time.Second); !full(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never full: %+v", n.Stats())
		}
	}
	free := make(chan nats.Statistics, 1)
	go func() { free <- n.conn.Stats() }()
	select {
	case <-free:
	case <-time.After(30 * time.Second):
		t.Fatal("the mutex is held")
	}
	closed := make(chan struct{})
	go func() { n.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Fatal("Close hangs")
	}
	if s := n.Stats(); s.Lost[LostClosed] == 0 || s.Lost[LostUnconfirmed] != s.Published {
		t.Errorf("not all accounted for: %+v", s)
	}
}

// A PONG may be far behind a flood of messages: a link on which anything arrives is alive.
func TestALinkThatCarriesMessagesIsNotDeadForWantOfAPong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const maxPings = 200
	pings := make(chan struct{}, 10*maxPings)
	served := make(chan struct{})
	go func() { defer close(served); busyServer(l, pings) }()
	n, err := Connect(Config{
		URLs: []string{"nats://" + l.Addr().String()}, Logger: discard,
		PingInterval: 10 * time.Millisecond, MaxPings: maxPings,
	}, func(Message) {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { n.Close(); <-served }()
	for range maxPings + 20 {
		select {
		case <-pings:
		case <-time.After(30 * time.Second):
			t.Fatalf("no pings: %v %+v", n.Ready(), n.Stats())
		}
	}
	if s := n.Stats(); s.Disconnects != 0 || n.Ready() != nil {
		t.Errorf("declared dead: %+v, %v", s, n.Ready())
	}
}

// busyServer answers the first PING, then reports pings instead of answering them, and sends something else
// all the time, until the client goes.
func busyServer(l net.Listener, pings chan<- struct{}) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, `INFO {"server_id":"busy","version":"2.15.2","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
	in := bufio.NewReader(conn)
	sending := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch {
		case !strings.HasPrefix(line, "PING"):
		case sending:
			pings <- struct{}{}
		default:
			sending = true
			fmt.Fprint(conn, "PONG\r\n")
			go chatter(conn)
		}
	}
}

// chatter sends what nats.go ignores, every few milliseconds, until the connection ends.
func chatter(conn net.Conn) {
	for {
		if _, err := fmt.Fprint(conn, "+OK\r\n"); err != nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Were nats.go to keep publications while it has no link, they would arrive after newer ones had been refused.
func TestNATSKeepsNothingForLaterWhileDisconnected(t *testing.T) {
	e := startEmbedded(t, EmbeddedConfig{})
	n, err := Connect(Config{Server: e, Logger: discard}, func(Message) {})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	e.Shutdown()
	for deadline := time.Now().Add(30 * time.Second); n.Ready() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("loss of the link not noticed")
		}
	}
	if err := n.conn.Publish("throng.live.c", []byte("late")); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("nats.go took it: %v", err)
	}
}
