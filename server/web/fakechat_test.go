package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

const (
	// poison makes the fake node refuse a message as too big.
	poison = "poison"

	// swallow makes the fake node lose the connection over a message without delivering it, the first time.
	swallow = "swallow"
)

// fakeNode serves the pages and speaks the raw-text protocol: it greets, and every text goes to all clients of the room,
// the sender included, behind the node's id. It can be killed and brought back on the same port.
type fakeNode struct {
	t    testing.TB
	id   string
	addr string

	mu        sync.Mutex
	rooms     map[string]map[*websocket.Conn]bool
	heard     []string // every text any client sent, in order
	swallowed bool
	server    *http.Server
	running   sync.WaitGroup
}

func startFakeNode(t testing.TB, id string) *fakeNode {
	t.Helper()
	n := &fakeNode{t: t, id: id, addr: "127.0.0.1:0", rooms: make(map[string]map[*websocket.Conn]bool)}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *fakeNode) url() string { return "http://" + n.addr }

func (n *fakeNode) start() {
	n.t.Helper()
	listener, err := net.Listen("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.addr = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("/", Handler(Config{MaxMessageBytes: 64 << 10, ChatPath: testChatPath}))
	mux.HandleFunc("/livechat", n.chat)
	server := &http.Server{Handler: mux}
	n.mu.Lock()
	n.server = server
	n.mu.Unlock()
	n.running.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			n.t.Errorf("fake node: %v", err)
		}
	})
}

// stop kills the node: every connection breaks without a close frame, the port refuses.
func (n *fakeNode) stop() {
	n.mu.Lock()
	server := n.server
	n.server = nil
	n.mu.Unlock()
	if server == nil {
		return
	}
	server.Close()
	n.mu.Lock()
	for _, room := range n.rooms {
		for conn := range room {
			conn.CloseNow()
		}
	}
	n.mu.Unlock()
	n.running.Wait()
}

func (n *fakeNode) chat(w http.ResponseWriter, r *http.Request) {
	room := r.URL.Query().Get("room")
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	conn.SetReadLimit(1 << 20)
	n.running.Add(1)
	defer n.running.Done()
	defer conn.CloseNow()
	if !n.join(conn, room) {
		return
	}
	defer n.leave(conn, room)
	for {
		_, data, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		if text := string(data); !n.said(conn, room, text) {
			return
		}
	}
}

// join greets and joins in one step, as the greeting comes before every delivery. False if the node was stopped.
func (n *fakeNode) join(conn *websocket.Conn, room string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return false
	}
	if n.rooms[room] == nil {
		n.rooms[room] = make(map[*websocket.Conn]bool)
	}
	n.rooms[room][conn] = true
	return conn.Write(context.Background(), websocket.MessageText, []byte("Connected to server "+n.id)) == nil
}

func (n *fakeNode) leave(conn *websocket.Conn, room string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.rooms[room], conn)
}

// said handles one text; false ends the connection.
func (n *fakeNode) said(conn *websocket.Conn, room, text string) bool {
	n.mu.Lock()
	n.heard = append(n.heard, text)
	lose := strings.Contains(text, swallow) && !n.swallowed
	n.swallowed = n.swallowed || lose
	n.mu.Unlock()
	switch {
	case strings.Contains(text, poison):
		conn.Close(websocket.StatusMessageTooBig, "too big")
		return false
	case lose:
		return false
	}
	n.deliver(room, websocket.MessageText, n.id+":"+text)
	return true
}

// deliver sends a frame to everyone in a room, as if it came from another node.
func (n *fakeNode) deliver(room string, kind websocket.MessageType, frame string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for conn := range n.rooms[room] {
		// A client that is gone is its own reader's business.
		_ = conn.Write(context.Background(), kind, []byte(frame))
	}
}

// texts returns what clients sent so far.
func (n *fakeNode) texts() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.heard...)
}
