// Package peers holds small servers on the libraries that a user might pick
// instead of Throng, for `bench compare`. It is a module of its own, so that none
// of them is a dependency of Throng.
//
// Each peer keeps one tiny contract: `-addr host:port`, prints "ready" when it
// listens, greets a raw client once it has joined, and broadcasts what a client
// sends to everybody, the sender included. Each is written as the library's own
// documentation and examples do it, with their defaults: the comparison is with
// what a user gets, not with what an expert could tune out of it.
//
//	gorilla     gorilla/websocket v1.5.3, the hub of its chat example
//	gws         lxzan/gws v1.8.9, its Broadcaster over a map of connections
//	nbiows      lesismal/nbio v1.6.12, its own websocket package, non-blocking
//	centrifuge  centrifugal/centrifuge v0.38.0, JSON protocol, memory broker (/connection/websocket), history in channels "history:…"
//	natsws      nats-server v2.15.2, its WebSocket listener
//	node        Node.js, ws and Redis: node/start.sh installs and starts both
package peers
