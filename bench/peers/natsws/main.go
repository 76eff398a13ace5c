// Command natsws is a nats-server with its WebSocket listener as a peer for the
// bench: clients speak the NATS protocol in WebSocket frames.
//
// Source: github.com/nats-io/nats-server v2.15.2, docs.nats.io "WebSocket".
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address of the WebSocket listener")
	flag.Parse()
	host, portText, err := net.SplitHostPort(*addr)
	if err != nil {
		log.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, MaxConn: 1_000_000,
		Websocket: server.WebsocketOpts{Host: host, Port: port, NoTLS: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("nats-server is not ready")
	}
	fmt.Println("ready")
	s.WaitForShutdown()
}
