package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"throng/server/wire"
)

// Two nodes in one process, the second a client of the first one's NATS server.
func twoNodes(t *testing.T, args ...string) (a, b *testNode) {
	t.Helper()
	a = startTestNode(t, "1111", append([]string{"--nats-listen=127.0.0.1:0"}, args...)...)
	b = startTestNode(t, "2222", append([]string{"--nats-url=" + a.nats}, args...)...)
	a.awaitReady(http.StatusOK, "")
	b.awaitReady(http.StatusOK, "")
	return a, b
}

func TestTwoNodesAreOneChat(t *testing.T) {
	a, b := twoNodes(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, a, b *place)
	}{
		{"everybody hears a text from the node it is connected to, the sender included", textReachesAll},
		{"each sender's messages arrive in their order", orderPerSender},
		{"rooms are apart, and three addresses are the default room", roomsAreApart},
		{"bad rooms are refused", badRooms},
		{"binary stays binary, byte by byte", binaryUnchanged},
		{"messages up to the limit pass whole, in one piece or many", largeMessages},
		{"the first subprotocol the client offers is answered", subprotocols},
		{"a NATS publisher reaches clients", natsPublisher},
		{"a NATS subscriber hears clients", natsSubscriber},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := a.place, b.place
			a.t, b.t = t, t
			test.run(t, &a, &b)
		})
	}
	for _, n := range []*place{&a.place, &b.place} {
		if lost := lostMessages(n); len(lost) > 0 {
			t.Errorf("node %s lost messages: %v", n.id, lost)
		}
	}
}

// lostMessages returns every loss counter of a node that is not 0.
func lostMessages(n *place) (lost []string) {
	_, body := get(n.admin + "/metrics")
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(name, "_lost_") && !strings.HasPrefix(name, "#") && value != "0" {
			lost = append(lost, line)
		}
	}
	return lost
}

func textReachesAll(t *testing.T, a, b *place) {
	one := dial(t, a.addr, "/")
	one.wantText("Connected to server 1111")
	one.say("I am client!!!")
	one.wantText("1111:I am client!!!")
	two := dial(t, b.addr, "/")
	two.wantText("Connected to server 2222")
	two.say("I am client!!!")
	two.wantText("2222:I am client!!!")
	one.wantText("1111:I am client!!!")
	one.say("привет, 👋")
	one.wantText("1111:привет, 👋")
	two.wantText("2222:привет, 👋")
	one.say("")
	one.wantText("1111:")
	two.wantText("2222:")
	one.leave()
	two.say("alone")
	two.wantText("2222:alone")
	two.leave()
}

func orderPerSender(t *testing.T, a, b *place) {
	const messages, target = 1000, "/livechat?room=order"
	nodes := []*place{a, b}
	var clients []*client
	for range 2 {
		for _, n := range nodes {
			clients = append(clients, n.enter(target))
		}
	}
	errs := make(chan error)
	for i, c := range clients {
		go func() { errs <- c.readOrdered(nodes[i%2].id, len(clients), messages) }()
	}
	for i, c := range clients {
		go func() {
			var err error
			for k := 0; k < messages && err == nil; k++ {
				text := fmt.Appendf(nil, "sender %d says %d", i, k)
				_, err = c.Write(wire.AppendMaskedFrame(nil, wire.OpText, true, text, clientMask))
			}
			errs <- err
		}()
	}
	for range 2 * len(clients) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// readOrdered reads until it has everything from every sender, each one's in order.
func (c *client) readOrdered(id string, senders, messages int) error {
	next := make([]int, senders)
	for missing := senders * messages; missing > 0; {
		_, p, err := c.frame()
		if err != nil {
			return fmt.Errorf("%d messages missing: %w", missing, err)
		}
		text, ours := strings.CutPrefix(string(p), id+":")
		if ours && strings.HasPrefix(text, knock) {
			continue
		}
		var sender, k int
		if _, err := fmt.Sscanf(text, "sender %d says %d", &sender, &k); err != nil || !ours {
			return fmt.Errorf("got %q", p)
		}
		if k != next[sender] {
			return fmt.Errorf("sender %d: got message %d, want %d", sender, k, next[sender])
		}
		next[sender]++
		missing--
	}
	return nil
}

func roomsAreApart(t *testing.T, a, b *place) {
	rooms := map[string][]string{
		"default": {"/", "/livechat", "/livechat?room=livechat", "/?room=", "/livechat?other=x"},
		"red":     {"/livechat?room=red", "/?room=red", "/livechat?room=%72ed"},
		"odd":     {"/livechat?room=a.%3E%20*%F0%9F%98%80%25", "/livechat?room=a.%3e+*%F0%9F%98%80%25"},
	}
	members := map[string][]*client{}
	for room, targets := range rooms {
		for _, target := range targets {
			members[room] = append(members[room], a.enter(target), b.enter(target))
		}
	}
	for round := range 3 {
		for room, clients := range members {
			clients[0].say(fmt.Sprintf("for %s, round %d", room, round))
		}
	}
	ids := []string{"1111:", "2222:"}
	for room, clients := range members {
		for i, c := range clients {
			for round := range 3 {
				c.wantText(ids[i%2] + fmt.Sprintf("for %s, round %d", room, round))
			}
		}
	}
}

func badRooms(t *testing.T, a, _ *place) {
	before := a.metric("throng_livechat_refused_rooms_total")
	for _, room := range []string{strings.Repeat("x", maxRoomBytes+1), "%ff", "a%00b", "a%0d%0aX:y", "%E2%80%AEx"} {
		c := dialRaw(t, a.addr)
		c.write(upgradeHead(a.addr, "/livechat?room="+room, ""))
		answer := c.wantStatus(http.StatusBadRequest)
		if body, _ := io.ReadAll(answer.Body); !strings.HasPrefix(string(body), "room name") {
			t.Errorf("%.20q: %q", room, body)
		}
		c.wantEnd()
	}
	longest := a.enter("/livechat?room=" + strings.Repeat("%F0%9F%98%80", maxRoomBytes/4))
	longest.leave()
	if got := a.metric("throng_livechat_refused_rooms_total") - before; got != 5 {
		t.Errorf("%v refusals counted, want 5", got)
	}
}

func binaryUnchanged(t *testing.T, a, b *place) {
	one, two := a.enter("/livechat?room=binary"), b.enter("/livechat?room=binary")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, p := range []string{string(every), "plain text as binary", "", "\xff"} {
		one.send(wire.OpBinary, p)
		one.want(wire.OpBinary, p)
		two.want(wire.OpBinary, p)
	}
}

func largeMessages(t *testing.T, a, b *place) {
	one, two := a.enter("/livechat?room=large"), b.enter("/livechat?room=large")
	for _, size := range []int{125, 126, 65535, 65536} {
		text := strings.Repeat("x", size)
		one.say(text)
		one.wantText("1111:" + text)
		two.wantText("2222:" + text)
	}
	// In fragments that cut characters in half, with control frames between them (RFC 6455, 5.4).
	text := strings.Repeat("é", 1000)
	var stream []byte
	op := wire.OpText
	for rest := text; rest != ""; op = wire.OpContinuation {
		n := min(333, len(rest))
		stream = wire.AppendMaskedFrame(stream, op, n == len(rest), []byte(rest[:n]), clientMask)
		if n < len(rest) {
			stream = wire.AppendMaskedFrame(stream, wire.OpPing, true, []byte("between"), clientMask)
		}
		rest = rest[n:]
	}
	two.write(string(stream))
	for range (len(text) - 1) / 333 {
		two.want(wire.OpPong, "between")
	}
	two.wantText("2222:" + text)
	one.wantText("1111:" + text)
}

func subprotocols(t *testing.T, a, _ *place) {
	for offer, want := range map[string]string{
		"chat, superchat": "chat", "superchat,chat": "superchat", "mqtt, chat": "chat", "mqtt": "", "CHAT": "",
	} {
		c := dialRaw(t, a.addr)
		c.write(upgradeHead(a.addr, "/", "Sec-WebSocket-Protocol: "+offer+"\r\n"))
		if got := c.wantStatus(101).Header.Values("Sec-WebSocket-Protocol"); strings.Join(got, "+") != want {
			t.Errorf("%q is answered by %q, want %q", offer, got, want)
		}
		c.wantText("Connected to server 1111")
		c.leave()
	}
}

// natsClient is somebody at the same NATS who knows nothing of Throng.
func natsClient(t *testing.T, address string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		nc.Close()
		<-closed
	})
	return nc
}

func natsPublisher(t *testing.T, a, b *place) {
	one, two := a.enter("/"), b.enter("/")
	red := b.enter("/livechat?room=red")
	nc := natsClient(t, a.nats)
	binary := nats.NewMsg("throng.live.livechat")
	binary.Data = []byte("flagged")
	binary.Header.Set("Throng-Binary", "1")
	for _, err := range []error{
		nc.Publish("throng.live.livechat", []byte("hello from nats")),
		nc.Publish("throng.live.livechat", []byte("not \xff UTF-8")),
		nc.PublishMsg(binary),
		nc.Publish("throng.live.livechat:red", []byte("for red")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	one.wantText("1111:hello from nats")
	two.wantText("2222:hello from nats")
	for _, c := range []*client{one, two} {
		c.want(wire.OpBinary, "not \xff UTF-8")
		c.want(wire.OpBinary, "flagged")
	}
	red.wantText("2222:for red")
}

func natsSubscriber(t *testing.T, a, b *place) {
	nc := natsClient(t, a.nats)
	heard := make(chan *nats.Msg, 8)
	_, err := nc.ChanSubscribe("throng.live.>", heard)
	if err := errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	c := dial(t, b.addr, "/livechat?room="+url.QueryEscape("a b"))
	c.say("plain")
	c.send(wire.OpBinary, "\x00")
	text, binary := <-heard, <-heard
	if text.Subject != "throng.live.livechat:a%20b" || string(text.Data) != "plain" || len(text.Header) != 0 {
		t.Errorf("text is %q on %s with %v", text.Data, text.Subject, text.Header)
	}
	if string(binary.Data) != "\x00" || !slices.Equal(binary.Header["Throng-Binary"], []string{"1"}) {
		t.Errorf("binary is %q with %v", binary.Data, binary.Header)
	}
}
