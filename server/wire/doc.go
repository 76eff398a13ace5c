// Package wire turns bytes into values and values into bytes: WebSocket frames
// (RFC 6455), close codes, the HTTP/1.1 head that opens a WebSocket, and the
// commands, replies and pushes of the Centrifuge protocol, JSON and Protobuf.
//
// Commands are decoded by our own readers, not by the schema package's: those
// allocate for each command, recurse as deep as the client likes, and alias the
// input in one encoding only. Tests hold ours to theirs, also under fuzzing.
// Replies are encoded by the schema package, except what is sent most.
//
// It does no I/O, reads no clock, starts no goroutine and logs nothing. It does
// not decide policy: which origins, rooms or messages are welcome is the
// caller's business, and so is writing the answers it builds. Extensions are
// not negotiated, so every reserved bit is an error; HTTP beyond the opening
// handshake belongs to net/http.
//
// The map:
//
//	frame.go       opcodes, frame headers, AppendFrame and its kin
//	close.go       the one table of close codes, close frames both ways
//	decoder.go     Decoder: a byte stream becomes messages and control frames
//	partial.go     what a Decoder keeps while a frame or message is incomplete
//	utf8.go        UTF-8 checked piece by piece, failing at the first bad byte
//	protocol.go    ProtocolError: what a peer can do wrong, and its close code
//	request.go     Request.Parse: a strict HTTP/1.1 request head
//	upgrade.go     Request.CheckUpgrade, Subprotocol, QueryValue
//	syntax.go      the character classes and lists of HTTP they rest on
//	response.go    the 101, the refusals and their status codes
//	command.go     CommandReader: Centrifuge commands out of a frame, flat and without allocation
//	centrifuge_json.go, centrifuge_protobuf.go   the two encodings of a command
//	filter.go, filter_read.go   what of a channel a subscriber wants, by tags
//	json.go, json_read.go   ValidJSON and the cursor it rests on: no recursion, no tree
//	reply.go       error codes and texts; replies, built from the schema's types
//	push.go        publications, joins and leaves as frames, one per encoding for all receivers
//	delta.go       Delta: what to send instead of a publication to who has the one before
//	meta.go        what of a publication travels between nodes beside its data
//
// Ownership of bytes: every function that takes a slice borrows it until it
// returns. Decoder.Feed also overwrites what it borrows, because it unmasks in
// place. Whoever wants bytes longer copies them. A Request aliases the bytes it
// parsed until the next Parse or Reset.
//
// Goroutines: none here, and no value of this package may be used by two at
// once. The only package state is sync.Pools of decoder buffers and of what Delta
// works with; it is invisible except for the memory it saves.
//
// Errors are sentinels that cost no allocation: a hostile peer must not be able
// to buy garbage collection with bad frames.
//
// Sources: RFC 6455 (WebSocket), RFC 9110 and 9112 (HTTP), RFC 3629 (UTF-8),
// the IANA WebSocket close code registry, and the Centrifuge protocol for codes
// from 3000 on.
package wire
