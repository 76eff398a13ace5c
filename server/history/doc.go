// Package history gives channels positions: it keeps the live path without gaps, answers who comes back what was missed, and
// publishes into and reads from the store of publications.
//
// It does not know NATS, sockets, sessions or permissions: the store is behind [Store], the fan-out behind [Hub]. It promises
// (reliability.md): in a recoverable channel every acknowledged publication reaches every subscriber once, in order, without a
// gap, or the subscriber is told. "Told" is [Hub].Cut for one who listens and Recovered false for one who comes.
//
// # Lines
//
// A line is what this node knows of a channel that has positioned subscribers here: its top (the offset up to which everything
// was handed to the hub), the epoch, and the newest publications, its tail. Stored messages name their predecessor; as long as
// each names the line's top they are delivered at once. Anything else is read back from the store:
//
//	closed --Recover--> opening --Sync, Tops--> open --broken chain, doubt--> broken --read back and proved--> open
//	  ^                                                                          |
//	  +---------------------- Cut: not provable, other epoch, too long -----------+
//
// While a line is closed or opening, messages pass straight to the hub: whoever asks meanwhile gets a position at or beyond
// them. While it is broken they wait in a bounded list.
//
// Top moves before Deliver is called. A subscriber is held by the hub before it asks for a position, so everything beyond the
// answered top passes the hub after it was held, and what was on its way at that moment is at or below it and skipped.
//
// Beside its top a line knows how far the stream was looked through without finding more of the channel ("seen"). Proofs begin
// there, so that a channel idle for weeks does not become unprovable when its last message expires.
//
// # What is proved, and what is not
//
// proof.go decides alone whether anything after a position was removed; everything else only gathers what it needs. Removal by
// age, by the limit per channel, by the size of the stream and by [Service.Remove] is seen. Single messages deleted by an
// operator with NATS's own tools are not, and raising a stream's limit per channel makes one of the rules too hopeful for what
// the old limit removed: the stream needs a new epoch then.
//
// # Doubt
//
// After a lost link, a slow reader or a leader election messages may be missing at the end, where no later one shows it, and the
// stream may be another one. [Service.Doubt] holds the messages of the namespace back until one request has shown the epoch,
// and re-checks all its lines in batches. Who cannot be re-checked within Config.RepairTimeout is cut.
//
// # Goroutines and locks
//
// One sweeper for all lines. Reads, repairs and checks run on at most Config.Workers goroutines, publications that need reading
// on at most Config.PublishWorkers; both end when they have nothing to do. [Service.Receive] runs on the broker's readers and
// may wait in Hub.Deliver; all else that pollers call never blocks.
//
// Lock order: a line's order (held while delivering; pollers never take it), a stripe of the table, a line's mu, and then the leaves:
// a space, a pool, the queues. No lock but order is held while the hub, the store or a callback is called.
//
// # Memory
//
// See Config.TailLen, LineTailBytes and TailBytes for the tails, MaxLines for the lines, and BenchmarkLines for an idle one.
package history
