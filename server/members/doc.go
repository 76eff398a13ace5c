// Package members knows who is in a channel on the other nodes, so that somebody's leave is told even when his node cannot tell
// it any more.
//
// It keeps a roster for each channel of which a client of this node hears joins and leaves, and for no other: a channel without
// such clients costs nothing here. It decides which joins and leaves local subscribers hear, and hands them to the hub; it does
// not know sessions, NATS, permissions, or who is in a channel on this node, for which it asks [Parts].Local. What clients are
// told of presence is not its business either: that is asked of all nodes each time (package session).
//
// # How a roster is learnt
//
//   - Joins and leaves carry the uid of the client's node (wire.Meta.Node). All of them pass [Table.Receive].
//   - When the first client comes, all nodes are asked once who is there: a seed. Many channels share one question, there is
//     at most one question at a time, and a pause between two. What joins or leaves while a question is out is newer than its
//     answers, which do not count for it.
//   - Another node that appears, comes back, or had lost its link for a moment, is asked about all rosters, and so is every node
//     when this one had lost its own: what differs is told to the local subscribers as joins and leaves. The first seed of a roster is told to nobody, for
//     clients read presence themselves when they subscribe.
//
// # When a node is gone
//
// The control plane says so: at its goodbye, or after 12 s of silence while this node's own link is up. Then local subscribers
// hear the leave of each of its members, once; every node does this for its own clients, so nothing is published. Leaves that
// come later from such a node are dropped unless their client has been told to have joined again.
//
// What is promised to one subscriber: no client joins twice without a leave between, and none leaves twice, unless joins or
// leaves were lost on the way or the roster is over its limits. A channel over its limits is passed through as if this package
// was not there, and counted ([Stats].Degraded).
//
// # Goroutines and locks
//
// Two goroutines: one asks the questions, one watches the nodes and forgets idle rosters. [Table.Receive] runs on the broker's
// readers. Lock order: a roster's, which is held while the hub takes what changed (so it may wait, and pollers never take it),
// then the others, which are leaves: a stripe of the table, the queue, the nodes.
//
// Memory: about 350 bytes for each member on another node besides its infos, bounded by [Config].
//
// Source: centrifuge-protocol.md, 11; nats.md, presence; reliability.md.
package members
