// Package faults tries the whole promise (reliability.md, C1 and C2): nodes and NATS servers as processes of their own, load
// through the server API, subscribers over WebSocket, and faults made for real: kill -9, SIGSTOP, links that are cut, streams
// that vanish. It holds tests only.
//
// loadcheck is a ledger of what was acknowledged, publishers that repeat themselves under one idempotency key until they are,
// subscribers that note all they are told, and a checker that compares the two when all is over: every acknowledged publication
// exactly once, in order, or the subscriber was told that it cannot be recovered.
//
// The short forms take about a minute and run with all other tests; THRONG_FAULTS=long (make faults) makes them longer and larger.
// It is original work.
package faults
