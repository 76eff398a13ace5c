// Command nbiows is a chat room on nbio's own websocket package as a peer for the
// bench: non-blocking mode, broadcast by a loop of WriteMessage.
//
// Source: github.com/lesismal/nbio v1.6.12, nbhttp/websocket and its examples.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/lesismal/nbio/mempool"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"
)

type room struct {
	mu    sync.RWMutex
	conns map[*websocket.Conn]struct{}
}

func (r *room) broadcast(t websocket.MessageType, p []byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for c := range r.conns {
		_ = c.WriteMessage(t, p)
	}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	mempool.DefaultMemPool = mempool.NewAligned() // its default hands out the largest buffer it has
	r := &room{conns: map[*websocket.Conn]struct{}{}}
	up := websocket.NewUpgrader()
	up.CheckOrigin = func(*http.Request) bool { return true }
	up.OnOpen(func(c *websocket.Conn) {
		r.mu.Lock()
		r.conns[c] = struct{}{}
		r.mu.Unlock()
		_ = c.WriteMessage(websocket.TextMessage, []byte("Connected to server nbiows"))
	})
	up.OnMessage(func(_ *websocket.Conn, t websocket.MessageType, p []byte) { r.broadcast(t, p) })
	up.OnClose(func(c *websocket.Conn, _ error) {
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) { _, _ = up.Upgrade(w, req, nil) })
	e := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp", Addrs: []string{*addr}, Handler: mux, IOMod: nbhttp.IOModNonBlocking, MaxLoad: 1_000_000,
	})
	if err := e.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	e.Stop()
}
