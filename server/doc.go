// Command throng is a real-time messaging server: it holds very many client connections on a few threads and
// fans messages out between nodes over NATS.
//
//	go run ./server                       serve on :8080 with an embedded NATS server
//	go run ./server -h                    every option, its default and its reason
//	go run ./server --check-config        validate and exit
//	go run ./server doctor                what the NATS it would use lacks
//	go run ./server token --user ann      a token for trying things out
//	go run ./server version
//
// # Map
//
//	main.go     signals, exit codes
//	node.go     one node: the one place where packages meet
//	serving.go  what the public port answers
//	config*.go  one table of options: flag, environment, YAML file
//	admin.go, metrics*.go, profile.go, limits.go, logging.go, version.go
//	wire        bytes <-> values: frames, request heads, close codes; no I/O
//	ws          sockets: the only package that touches nbio
//	hub         who listens to what; fan-out by shards that own connections
//	session     one client's conversation in the Centrifuge protocol
//	channel     names, namespaces, permissions; auth: tokens; proxy, httpapi: the application backend's two roads
//	history     streams of channels: nothing missed, or said so; members: who is on other nodes
//	livechat    the raw-text chat; demo: guests of the chat with rooms
//	web         the embedded pages
//	../broker   live fan-out between nodes over NATS, and streams on JetStream
//
// Arrows point down only: arch_test.go holds the table.
//
// # Goroutines
//
// None of them per connection; their number does not change with load.
//
//	acceptor   ws      one per listener
//	poller     ws      nbio's, one per core: reads, handlers, closing
//	writable   ws      one: continues outboxes of slow peers
//	wheel      ws      one: every deadline and ping
//	shard      hub     one per core: owns subscribers' lists, fans out
//	sweeper    hub     one: lingering interest
//	sweeper    history one: lingering lines, checks; reads of the store on a bounded pool
//	streams    broker  three or four: creating and watching streams, acknowledgements
//	requests   main    tokens' keys, hooks, presence, history: bounded by client.max_requests
//	publisher  broker  one: every write to NATS
//	confirmer  broker  one: asks NATS what it has read
//	reader     broker  one per core: messages from NATS to the hub
//	net/http   plain HTTP on both listeners, bounded by http-max-connections
//
// # Lock order
//
// A stripe of the hub's interest table, then the broker's queue. A connection's mutex, then ws.writable.mu; wheel.mu is taken
// alone. A line's order (history; pollers never take it), then what hub.Deliver takes. Everything else is a leaf. No lock is held while a Handler, a Subscriber or an Encoder is called.
package main
