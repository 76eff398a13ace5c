// Command centrifuge is a node on the centrifuge library as a peer for the bench:
// bidirectional WebSocket, JSON and Protobuf protocol, memory broker, everybody
// may connect, subscribe and publish. Channels that begin with "history:" keep
// 1,000 publications for an hour in memory, and give positions to whoever asks.
//
// Source: github.com/centrifugal/centrifuge v0.38.0, README.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof"
	"runtime"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
)

// historyPrefix begins the channels with history.
const historyPrefix = "history:"

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	admin := flag.String("admin-addr", "", "address of /metrics and of /debug/pprof, with which the bench asks for garbage collections; empty = none")
	flag.Parse()
	if *admin != "" {
		http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Fprintf(w, "go_goroutines %d\ngo_memstats_heap_alloc_bytes %d\n", runtime.NumGoroutine(), m.HeapAlloc)
		})
		go func() { log.Fatal(http.ListenAndServe(*admin, nil)) }() // and net/http/pprof's handlers
	}
	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelError})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: ""}}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(e centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			var r centrifuge.SubscribeReply
			if strings.HasPrefix(e.Channel, historyPrefix) {
				r.Options.EnablePositioning, r.Options.EnableRecovery = e.Positioned, e.Recoverable
			}
			done(r, nil)
		})
		c.OnPublish(func(e centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			var r centrifuge.PublishReply
			if strings.HasPrefix(e.Channel, historyPrefix) {
				r.Options.HistorySize, r.Options.HistoryTTL = 1000, time.Hour
			}
			done(r, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		CheckOrigin: func(*http.Request) bool { return true },
	}))
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal(http.Serve(l, mux))
}
