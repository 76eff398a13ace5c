// Package broker carries publications between nodes over NATS, and within one process without it.
//
// Duty: a publication accepted by Publish on one node reaches the Handler of every node that has interest in its
// channel, in the publisher's order; interest is a level ("this node wants this channel") that survives
// reconnects; every publication that does not make it is counted with a [LossReason].
//
// Publications of namespaces with history go through [Streams] instead: JetStream stores them, numbers them, acknowledges
// each and republishes it on the channel's live subject; Streams reads them back, with what proves that nothing is missing.
//
// It does not know clients, sessions, frames or Centrifuge; live publications are at most once; it decides nothing about
// recovery, and imports nothing below server/.
//
// # Subjects
//
// A channel's subject is "<prefix>.live.<escaped channel>" (subject.go). Text travels as the bare message data, so
// `nats pub throng.live.livechat hello` is a publication on the channel "livechat"; binary data carries the NATS
// header "Throng-Binary: 1". What a publication is besides its data (who published, joins, tags) travels as one line of text
// in the header "Throng-Meta", which this package does not read; `nats sub` shows data and line apart. Channels that stand for
// subjects of others (native.go) are the one exception: they have those subjects.
//
// # Goroutines, of one connected NATS broker
//
//	goroutine     | how many         | owns                                              | may block?
//	--------------|------------------|---------------------------------------------------|------------------------------
//	publisher     | 1                | publications and interest on their way to NATS    | while the socket's buffer is full
//	pump          | 1                | writes to the NATS socket                         | on the socket, WriteTimeout
//	confirmer     | 1                | the PING that confirms what was written            | for one round trip
//	reader        | Limits.Readers   | one delivery channel each                          | in Handler (back-pressure)
//	sorter        | 1, once needed   | messages of the wide subscription (wide.go)       | no
//	nats.go's own | 3 or 4           | socket reads, its write buffer, callbacks, reconnect | -
//	manager       | 1 with Streams   | what streams are like; creates and watches them   | on JetStream's API
//	sweeper       | 1 with Streams   | publications that NATS does not acknowledge       | in StorePublication.Done
//	nats.go's own | 3 with Streams   | acknowledgements, answers to reads, advisories    | in Done and OnDoubt
//
// Callers (epoll pollers) touch only the queue's leaf mutex and atomics: nothing on their side blocks. There is no
// goroutine and no timer per channel. Beyond Limits.WideInterest channels there is no NATS subscription per channel either (wide.go).
//
// # Where a publication can be lost, each with a counter
//
// Refused, the caller knows: bad_subject, oversize, publish_queue_full, disconnected (no link), closed.
// Lost after acceptance: disconnected (the link went between acceptance and writing), rejected (nats.go or the
// server refused it), unconfirmed (written, but the link died before NATS confirmed reading it, so it may or may
// not have been delivered), reader_full (this node's Handler was too slow), closed (undelivered at Close).
// What others published while this node had no link is known to nobody here and is not counted.
// Publications given to Streams are not among these: each is answered, once (StoreFailure).
//
// # Ownership of bytes
//
// Publish copies data once. A Message handed to Handler belongs to the receiver: nothing else holds its bytes.
//
// # Lock order
//
// All mutexes of the package are leaves: none is held while another is taken or while nats.go is called, except
// dropLog.mu, under which nats.go's per-subscription mutex is taken to read a counter, and natives.mu, under which the
// publisher subscribes.
//
// Source: nats.go v1.55.0 and nats-server v2.15.2, the versions whose code the comments here refer to; the NATS
// client protocol, https://docs.nats.io/reference/reference-protocols/nats-protocol.
package broker
