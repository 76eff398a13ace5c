// Package load spreads one load over engines in several processes and machines,
// and merges what they count.
//
// A worker (Serve) runs one engine and takes orders as JSON lines; a Fleet gives
// the same order to all workers and waits for all answers. The link between them
// is any byte stream: pipes to a child process, an in-memory pipe (tests, small
// loads), or NATS subjects (agents on other machines). Every order has one answer
// with the same id; answers come in any order.
//
// It knows nothing of servers, /proc and reports, and judges nothing.
//
// Goroutines: a worker has its caller's (reads orders) and the engine's loop; a
// fleet has one reader per worker. Ownership: Fleet methods may be called by any
// goroutine; Close once, by the one that started it.
package load
