// Package engine is the bench's load generator: many client connections in one
// goroutine, over epoll, in flat tables that hold no pointer per connection.
//
// Duty: open, hold, drop and reopen connections at a stated rate; answer and send
// heartbeats; publish at intended times; find every delivery's stamp, check its
// order, and measure its latency from the intended send time.
//
// It does not start servers, read /proc, split itself into processes or write
// reports: package load gives it orders, the commands in package main judge.
//
// Goroutines: one loop (Run) owns the whole state. Other goroutines reach it by
// Do only, which queues a closure and wakes the loop. With TLS a bounded pool of
// handshake goroutines exists beside it (tls.go), and hands finished connections
// over by Do.
//
// Memory: a connection is one row of conns (40 B), one row of trackers per
// publisher it listens to (12 B), its descriptor, and with Config.Positioned its
// position (12 B). Buffers exist only while a
// frame is incomplete or a write is blocked (sides). With TLS a crypto/tls
// connection is added to that, several KiB; the 300 B budget is for plain TCP.
//
// Source: RFC 6455 for the client side of WebSocket; epoll(7), timerfd_create(2),
// ip(7) for IP_BIND_ADDRESS_NO_PORT; G. Tene, "How NOT to Measure Latency", for
// latency from the intended time.
package engine
