// Package proxy asks the application backend what a client may do: HTTP calls (webhooks) for connect, refresh, subscribe,
// sub_refresh, publish and rpc, and rpc by NATS services.
//
// It does not know sessions, sockets or NATS: a session describes itself in a Request and gets a Result, through a callback
// where it must not wait. It decides nothing: which hook is asked and by which name is package channel's business, what a
// Result does to the connection is the session's. It imports auth for the type of secrets only.
//
// # How a call goes
//
// Call puts the request in the bounded queue of its endpoint and returns; a worker of that endpoint encodes, sends, reads at
// most MaxBodyBytes, decodes strictly and calls done. A full queue, or a wait longer than QueueTimeout, is answered with
// error 100 (temporary) without asking anybody: the backend of a reconnect storm gets what it can take, and the rest of the
// clients back off. Every endpoint has bounds of its own, so a slow backend holds up nobody else's.
//
// Redirects are not followed, cookies not kept, headers only sent if the configuration names them. A client's emulated
// headers can never replace one of the real request, and neither can replace a static one.
//
// # Goroutines and ownership
//
// One goroutine per call under way, at most MaxConcurrent per endpoint, none when idle; done is called by it, exactly once
// per accepted Call, and may block only at its own callers' cost. A Request must not be changed until done is called; its
// bytes are not kept after. A Result belongs to whoever got it. Mutexes are leaves.
//
// Source: centrifuge-protocol.md, 20 (hooks), 17 (codes), 12 (rpc); issue 4, items 6 and 7.
package proxy
