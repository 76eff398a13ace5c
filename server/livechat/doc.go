// Package livechat is the chat for plain WebSocket clients: raw text in, every client of the room on every node out.
//
// A client that connects is greeted with "Connected to server <node id>". Every text message reaches every client of its room
// on every node, the sender included, as "<id of the delivering node>:<text>"; binary messages reach them unchanged. There
// is no envelope on the way: what a NATS client publishes to the room's subject arrives like a client's own text.
//
// It does not know sockets or NATS: connections come in as [Conn], the road between nodes is the [Hub]. It keeps no history,
// no names and no presence, and it cannot answer a client: raw text has no place for an error. A message the hub does not
// take is lost and counted with its reason.
//
// The messages of one sender reach every client in the order it sent them. A client gets what is said after its greeting,
// and may get what was said while it connected.
//
// Goroutines: none with GreetDelay 0; else one for all greetings that wait. A session's methods run on its connection's
// poller and never block. Memory: one [Session] per connection, 72 bytes at most and nothing else.
package livechat
