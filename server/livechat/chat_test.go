package livechat

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"throng/server/hub"
	"throng/server/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeConn keeps the frames it gets, told apart by their first byte.
type fakeConn struct {
	mu      sync.Mutex
	shard   int
	got     []string
	pending int
	flushed int
}

func (c *fakeConn) Shard() int                   { return c.shard }
func (c *fakeConn) Close(wire.CloseCode, string) {}

func (c *fakeConn) Send(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(frame) > 0 {
		n := int(frame[1]) // the tests' messages are shorter than 126 bytes
		kind := "text "
		if frame[0] == 0x82 {
			kind = "binary "
		}
		c.got = append(c.got, kind+string(frame[2:2+n]))
		frame = frame[2+n:]
	}
	c.pending++
	return c.pending == 1
}

func (c *fakeConn) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushed = len(c.got)
	c.pending = 0
}

func (c *fakeConn) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushed != len(c.got) {
		return fmt.Sprintf("%d not flushed", len(c.got)-c.flushed)
	}
	return strings.Join(c.got, "|")
}

// cluster is the road between the nodes of a test: what one publishes all get, as with NATS.
type cluster struct{ nodes []*node }

type node struct {
	cluster *cluster
	hub     *hub.Hub
	chat    *Chat
	err     error // what Publish returns
}

func (n *node) Subscribe(string)   {}
func (n *node) Unsubscribe(string) {}

func (n *node) Publish(channel string, data []byte, binary bool) error {
	if n.err != nil {
		return n.err
	}
	data = append([]byte(nil), data...)
	for _, other := range n.cluster.nodes {
		other.hub.Deliver(hub.Publication{Channel: channel, Data: data, Binary: binary})
	}
	return nil
}

// PublishMeta is there for the interface: the chat's messages are nothing but their data.
func (n *node) PublishMeta(string, []byte, []byte) error { panic("livechat published meta data") }

// newCluster starts one node per config; stop it within the synctest bubble.
func newCluster(cfgs ...Config) *cluster {
	c := &cluster{}
	for _, cfg := range cfgs {
		n := &node{cluster: c}
		hc := hub.Config{Shards: 2}
		hc.Encoders[hub.EncodingRaw] = Encoder(cfg.NodeID)
		n.hub = hub.New(hc, n)
		n.chat = New(cfg, n.hub)
		n.hub.Start()
		c.nodes = append(c.nodes, n)
	}
	return c
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.chat.Close()
		n.hub.Close()
	}
}

func (n *node) join(t *testing.T, room string) (*Session, *fakeConn) {
	t.Helper()
	conn := &fakeConn{shard: int(n.chat.stats.sessions.Load())}
	s, err := n.chat.Join(conn, room)
	if err != nil {
		t.Fatalf("join %q: %v", room, err)
	}
	s.Open()
	return s, conn
}

func say(t *testing.T, s *Session, text string) {
	t.Helper()
	if err := s.Message(wire.OpText, []byte(text)); err != nil {
		t.Errorf("message %q: %v", text, err)
	}
}

func want(t *testing.T, why, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", why, got, want)
	}
}

func TestEveryClientOfEveryNodeGetsTheTextFromItsOwnNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "1111"}, Config{NodeID: "2222"})
		defer c.stop()
		a, connA := c.nodes[0].join(t, "")
		_, connB := c.nodes[0].join(t, "")
		d, connD := c.nodes[1].join(t, "livechat")
		say(t, a, "hi")
		say(t, d, "hello")
		synctest.Wait()
		want(t, "sender", connA.text(), "text Connected to server 1111|text 1111:hi|text 1111:hello")
		want(t, "same node", connB.text(), "text Connected to server 1111|text 1111:hi|text 1111:hello")
		want(t, "other node", connD.text(), "text Connected to server 2222|text 2222:hi|text 2222:hello")
	})
}

func TestBinaryIsRelayedUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "1"}, Config{NodeID: "2"})
		defer c.stop()
		a, _ := c.nodes[0].join(t, "")
		_, connB := c.nodes[1].join(t, "")
		if err := a.Message(wire.OpBinary, []byte{0, 0xff, 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, "other node", connB.text(), "text Connected to server 2|binary \x00\xff\x01")
	})
}

func TestMessagesOfOneSenderStayInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "1"}, Config{NodeID: "2"})
		defer c.stop()
		a, _ := c.nodes[0].join(t, "r")
		_, connB := c.nodes[1].join(t, "r")
		all := "text Connected to server 2"
		for i := range 500 {
			say(t, a, fmt.Sprint(i))
			all += fmt.Sprintf("|text 2:%d", i)
		}
		synctest.Wait()
		want(t, "other node", connB.text(), all)
	})
}

func TestRoomsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n", DefaultRoom: "lobby"})
		defer c.stop()
		lobby, connLobby := c.nodes[0].join(t, "")
		_, connNamed := c.nodes[0].join(t, "lobby")
		red, connRed := c.nodes[0].join(t, "red")
		say(t, lobby, "to lobby")
		say(t, red, "to red")
		synctest.Wait()
		want(t, "default room", connLobby.text(), "text Connected to server n|text n:to lobby")
		want(t, "default room by name", connNamed.text(), "text Connected to server n|text n:to lobby")
		want(t, "red", connRed.text(), "text Connected to server n|text n:to red")
		want(t, "channel of the default room", lobby.channel, "livechat")
		want(t, "channel of a named room", red.channel, "livechat:red")
	})
}

func TestSessionsOfARoomShareItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n"})
		defer c.stop()
		a, _ := c.nodes[0].join(t, "red")
		b, _ := c.nodes[0].join(t, "red")
		if unsafe.StringData(a.channel) != unsafe.StringData(b.channel) {
			t.Error("each session keeps a copy")
		}
	})
}

func TestWhoLeftGetsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n"})
		defer c.stop()
		a, connA := c.nodes[0].join(t, "")
		b, _ := c.nodes[0].join(t, "")
		a.Closed(wire.CloseNormal)
		a.Closed(wire.CloseAbnormal)
		synctest.Wait()
		say(t, b, "gone?")
		synctest.Wait()
		want(t, "left", connA.text(), "text Connected to server n")
		never, err := c.nodes[0].chat.Join(&fakeConn{}, "")
		if err != nil {
			t.Fatal(err)
		}
		never.Closed(wire.CloseAbnormal) // upgrade failed
		if s := c.nodes[0].chat.Stats(); s.Sessions != 1 || s.Text != 1 {
			t.Errorf("stats %+v, want 1 session, 1 text", s)
		}
		if s := c.nodes[0].hub.Stats(); s.Subscribers != 1 {
			t.Errorf("hub has %d subscribers, want 1", s.Subscribers)
		}
	})
}

func TestLostMessagesAreCountedByReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(Config{NodeID: "n"}, Config{NodeID: "strict", CloseOnLoss: true})
		defer c.stop()
		a, _ := c.nodes[0].join(t, "")
		strict, _ := c.nodes[1].join(t, "")
		for _, err := range []error{
			fmt.Errorf("adapter: %w", hub.ErrBusy), hub.ErrBusy, hub.ErrTooBig, hub.ErrDisconnected, hub.ErrClosed, errors.New("odd"),
		} {
			c.nodes[0].err, c.nodes[1].err = err, err
			say(t, a, "lost")
			var pe *wire.ProtocolError
			if got := strict.Message(wire.OpText, []byte("lost")); !errors.As(got, &pe) || pe.Code != wire.CloseTryLater {
				t.Errorf("with CloseOnLoss: %v, want close code 1013", got)
			}
		}
		for _, n := range c.nodes {
			s := n.chat.Stats()
			if s.LostBusy != 2 || s.LostTooBig != 1 || s.LostDisconnected != 1 || s.LostClosed != 1 || s.LostOther != 1 {
				t.Errorf("stats %+v", s)
			}
		}
	})
}

func TestRoomNames(t *testing.T) {
	cfg := Config{NodeID: "n", RoomMaxLen: 12}.withDefaults()
	for _, c := range []struct {
		room, channel string
		err           error
	}{
		{"", "livechat", nil},
		{"livechat", "livechat", nil},
		{"red", "livechat:red", nil},
		{"a.*.> b", "livechat:a.*.> b", nil}, // the broker escapes
		{"каталог", "", ErrRoomTooLong},      // 14 bytes, 7 letters
		{"комната"[:12], "livechat:комнат", nil},
		{"123456789012", "livechat:123456789012", nil},
		{"1234567890123", "", ErrRoomTooLong},
		{"👩\u200d🚀", "livechat:👩\u200d🚀", nil},
		{"a\xff", "", ErrRoomNotUTF8},
		{"a\nb", "", ErrRoomControl},
		{"a\x00b", "", ErrRoomControl},
		{"a\u0085b", "", ErrRoomControl},
		{"a\x7f", "", ErrRoomControl},
		{"a\u202eb", "", ErrRoomControl},
	} {
		channel, err := cfg.channelOf(c.room)
		if channel != c.channel || !errors.Is(err, c.err) {
			t.Errorf("room %q: channel %q, error %v; want %q, %v", c.room, channel, err, c.channel, c.err)
		}
	}
	_, err := cfg.channelOf("1234567890123")
	want(t, "text for the client", fmt.Sprint(err), "room name is too long: 13 bytes, at most 12")
}

func TestBadRoomIsRefusedAndCounted(t *testing.T) {
	chat := New(Config{NodeID: "n"}, nil)
	if s, err := chat.Join(&fakeConn{}, "\n"); s != nil || !errors.Is(err, ErrRoomControl) {
		t.Errorf("got %v, %v", s, err)
	}
	if n := chat.Stats().RefusedRooms; n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
}

func TestEncoder(t *testing.T) {
	enc := Encoder("1111")
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		name   string
		pub    hub.Publication
		op     wire.Opcode
		expect string
	}{
		{"text", hub.Publication{Data: []byte("hi")}, wire.OpText, "1111:hi"},
		{"empty text", hub.Publication{}, wire.OpText, "1111:"},
		{"long text", hub.Publication{Data: []byte(long)}, wire.OpText, "1111:" + long},
		{"binary", hub.Publication{Data: []byte("hi"), Binary: true}, wire.OpBinary, "hi"},
		{"text that is none", hub.Publication{Data: []byte("a\xff")}, wire.OpBinary, "a\xff"},
	} {
		got := enc([]byte("before"), &c.pub)
		want(t, c.name, string(got), "before"+string(wire.AppendFrame(nil, c.op, []byte(c.expect))))
	}
	dst := make([]byte, 0, 1024)
	pub := hub.Publication{Data: []byte(long)}
	if n := testing.AllocsPerRun(100, func() { enc(dst, &pub) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	err := Config{NodeID: "a\xff", GreetDelay: -time.Second, DefaultRoom: "a\nb"}.Validate()
	for _, field := range []string{"NodeID", "GreetDelay", "DefaultRoom"} {
		if !strings.Contains(fmt.Sprint(err), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if err := (Config{NodeID: "1111"}).Validate(); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("New took a config without a NodeID")
		}
	}()
	New(Config{}, nil)
}

// silentHub takes everything and allocates nothing.
type silentHub struct{}

func (silentHub) Subscribe(*hub.Subscription, string) {}
func (silentHub) Unsubscribe(*hub.Subscription)       {}
func (silentHub) Publish(string, []byte, bool) error  { return nil }

func TestSessionIsSmallAndMessagesAllocateNothing(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 72 {
		t.Errorf("Session is %d bytes, want at most 72", n)
	}
	chat := New(Config{NodeID: "n"}, silentHub{})
	s, err := chat.Join(&fakeConn{}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.Open()
	p := []byte("hi")
	if n := testing.AllocsPerRun(100, func() { _ = s.Message(wire.OpText, p) }); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}
