// Command gws is a chat room on lxzan/gws as a peer for the bench: its upgrader in
// net/http, a read goroutine per connection, its Broadcaster for fan-out.
//
// Source: github.com/lxzan/gws v1.8.9, README (Broadcast, ConcurrentMap).
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/lxzan/gws"
)

type room struct {
	gws.BuiltinEventHandler
	sessions *gws.ConcurrentMap[*gws.Conn, struct{}]
}

func (r *room) OnOpen(c *gws.Conn) {
	r.sessions.Store(c, struct{}{})
	_ = c.WriteString("Connected to server gws")
}

func (r *room) OnClose(c *gws.Conn, _ error) { r.sessions.Delete(c) }

func (r *room) OnPing(c *gws.Conn, p []byte) { _ = c.WritePong(p) }

func (r *room) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	b := gws.NewBroadcaster(m.Opcode, m.Bytes())
	defer b.Close()
	r.sessions.Range(func(c *gws.Conn, _ struct{}) bool {
		_ = b.Broadcast(c)
		return true
	})
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	r := &room{sessions: gws.NewConcurrentMap[*gws.Conn, struct{}](16)}
	up := gws.NewUpgrader(r, &gws.ServerOption{})
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, err := up.Upgrade(w, req)
		if err != nil {
			return
		}
		go c.ReadLoop()
	})))
}
