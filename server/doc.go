// Command throng is a real-time messaging server: it holds very many client connections on a few threads and
// fans messages out between nodes over NATS.
//
//	go run ./server                       serve on :8080 with an embedded NATS server
//	go run ./server -h                    every option, its default and its reason
//	go run ./server --check-config        validate and exit
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
//	livechat    the raw-text chat
//	web         the embedded pages
//	../broker   live fan-out between nodes over NATS
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
//	publisher  broker  one: every write to NATS
//	confirmer  broker  one: asks NATS what it has read
//	reader     broker  one per core: messages from NATS to the hub
//	net/http   plain HTTP on both listeners, bounded by http-max-connections
//
// # Lock order
//
// A stripe of the hub's interest table, then the broker's queue. A connection's mutex, then ws.writable.mu; wheel.mu is taken
// alone. Everything else is a leaf. No lock is held while a Handler, a Subscriber or an Encoder is called.
package main
