// Package session is one client's conversation in the Centrifuge protocol: who it is, what it hears, and an answer to each of
// its commands.
//
// A Session is a state machine without I/O. Bytes come in by Message, frames go out by [Conn]; channels are the hub's, names
// and permissions are package channel's, tokens are package auth's, the application backend is behind [Hooks], other nodes are
// behind [Surveyor]. It does not know sockets, NATS or HTTP, writes no log and keeps no history (history and recovery are
// answered with error 108 until that is built).
//
// # One owner
//
// All methods of a Session, and every function given to [Conn.Post], run on the connection's owner, its poller, one at a time;
// nothing in them blocks. What must wait (a key that has to be fetched, a hook, the presence of other nodes) runs on
// [Requests] and comes back through Post, the only door. Meanwhile the session is busy: what the client says is kept, bounded,
// and read when the answer is there, so replies leave in the order of the commands. Pongs are the exception.
//
// # States
//
//	fresh       nothing but a connect command is welcome; ends after Config.StaleTimeout with 3502
//	connecting  the connect command is being decided elsewhere
//	connected   identity and subscriptions are there
//	refused     the connect command got an error reply; the client goes by itself, or 3502 comes
//	over        the connection is closing or gone; nothing is sent, nothing is heard
//
// # Replies and pushes
//
// Replies to the commands of one frame gather in a turn and leave as one frame. The hub sends pushes by itself, straight to the
// connection; so a subscription enters the hub only after its reply has been handed to the connection, and leaves it before the
// reply to an unsubscribe. Joins and leaves are messages of the channel like any other.
//
// # What other goroutines see
//
//	users      striped table user -> sessions, for limits and for the server API (control.go)
//	presence   striped table channel -> subscriptions, for channels that keep presence
//	stats      counters, striped by Conn.Shard
//
// Their locks are leaves: no lock is held while a Conn, the hub or a hook is called. Goroutines: none here.
//
// Memory: a session with one subscription is one object (budget_test.go pins it). Strings are those of the hub's and the users'
// tables, the client id is 16 bytes, and of the handshake only what hooks were promised is kept.
//
// Source: centrifuge-protocol.md; sections are named where they apply.
package session
