// Package ws holds client sockets: it accepts them, performs the WebSocket upgrade, reads and writes
// frames, keeps connections alive and closes them. It knows nothing of channels, sessions or NATS;
// what a connection is for is decided by the Handler its Upgrade callback returns.
//
// It is the only server package that touches nbio, and only nbio's core engine: nbio owns the epoll
// loops and closes descriptors, everything between the bytes and the messages is ours (engine.go).
//
// Goroutines, all bounded and none of them per connection:
//
//	acceptor   one per listener; accepts, never parses
//	poller     nbio's, one per core; the only place where bytes are read, handlers run and descriptors close
//	writable   one; waits until a slow peer's socket takes bytes again, then continues its outbox
//	wheel      one; pings, handshake, pong and close deadlines of all connections
//	close      nbio's, at most one; tells a connection's Handler that it is gone
//
// Ownership: bytes read are borrowed from the poller for one callback. Frames given to Conn.Send are
// shared and immutable. A Conn's outbox, state and descriptor are guarded by one mutex, nbio's own
// (engine.go says why); it is a leaf, only writable.mu and wheel.mu may be taken below it.
//
// Sources: RFC 6455 (WebSocket), RFC 9112 (HTTP/1.1 heads), ../shared/design/nbio.md (what must not be
// trusted in nbio; N1 to N13 in reliability.md).
package ws
