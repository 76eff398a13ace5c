// Package httpapi is the server API: what an application backend asks of the whole cluster by HTTP, in the shapes that
// Centrifugo's API clients (pycent, gocent, curl) speak.
//
// It knows methods, keys and JSON. It does not know sockets, sessions or NATS: the local node is behind [Node], the others
// behind [Cluster], and names and permissions are package channel's. Every node makes an API, whether it serves HTTP or not,
// because that is also what answers the surveys of the others.
//
// # One request
//
// POST /api/<method>: key, body (bounded), JSON, then the method. Publications go out through this node alone. What concerns
// connections is a survey of all nodes; it succeeds only if every node that is known answered. Otherwise the caller is told
// error 100, and the header Throng-Nodes-Unanswered names the nodes; what was done elsewhere stays done, and trying again is
// harmless. Only info answers with what there is: the header tells what is missing.
//
// # Goroutines and ownership
//
// Requests run on net/http's goroutines, at most MaxConcurrent at once, and a parallel batch on at most MaxParallel more of
// its own. Survey handlers run on the cluster's workers. Requests and results are this package's and not kept; bytes of a
// Publication belong to the Node from then on. No mutex is held while a Node or the Cluster is called.
//
// openapi.yaml is the reference of the API; a test holds every field of it against the handlers.
//
// Source: centrifuge-protocol.md, 19 and 21; issue 4, item 5.
package httpapi
