// Package agent lends load processes over NATS, so that many machines or pods make
// one load: an agent (Serve) starts workers when asked, a coordinator (Hire) gets a
// byte stream to each, as if it were a child process.
//
// Subjects, under "throngbench": "roll" asks who is there; "agent.<id>.start" hires
// one worker; "worker.<id>.orders" and ".answers" are the two directions of its
// stream. A stream is cut into messages of at most chunk bytes; NATS keeps the
// order of one publisher. A header marks its end, or that the coordinator lives: an
// agent ends a worker that has heard nothing for silence.
//
// Core NATS may lose messages when a link breaks: an order or answer that is lost
// ends the run with a time-out or a decoding error, never with wrong figures,
// because every answer carries whole totals.
//
// Goroutines: an agent has two per worker (answers, silence); the coordinator's
// streams have one keep-alive each and NATS's own callbacks.
package agent
