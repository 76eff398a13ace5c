package engine

import (
	"bytes"
	"strconv"

	"throng/server/wire"
)

// natsWS is the NATS client protocol inside WebSocket frames, as nats-server's
// websocket listener speaks it: CONNECT, SUB and PING go out together, and the
// PONG says that the subscription stands.
// Source: docs.nats.io, "Client Protocol".
type natsWS struct{}

func (natsWS) Name() string           { return "nats-ws" }
func (natsWS) Stream() bool           { return true }
func (natsWS) WebSocket() bool        { return true }
func (natsWS) RequestHeaders() string { return "" }

func (natsWS) AppendHello(dst []byte, h Hello) []byte {
	p := make([]byte, 0, 128)
	p = append(p, `CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":1}`+"\r\nSUB "...)
	p = append(p, h.Channel...)
	p = append(p, " 1\r\nPING\r\n"...)
	return appendFrame(dst, wire.OpBinary, p)
}

func (natsWS) AppendPublish(dst []byte, channel string, payload []byte) []byte {
	p := make([]byte, 0, len(payload)+len(channel)+24)
	p = append(p, "PUB "...)
	p = append(p, channel...)
	p = append(p, ' ')
	p = strconv.AppendInt(p, int64(len(payload)), 10)
	p = append(p, "\r\n"...)
	p = append(p, payload...)
	p = append(p, "\r\n"...)
	return appendFrame(dst, wire.OpBinary, p)
}

func (natsWS) AppendPong(dst []byte) []byte {
	return appendFrame(dst, wire.OpBinary, []byte("PONG\r\n"))
}

var (
	natsMsg  = []byte("MSG ")
	natsPing = []byte("PING")
	natsPong = []byte("PONG")
	natsErr  = []byte("-ERR")
)

func (natsWS) Inspect(p []byte, ready bool) (used int, sig Signal) {
	for used < len(p) {
		rest := p[used:]
		end := bytes.Index(rest, []byte("\r\n"))
		if end < 0 {
			return used, sig
		}
		line, need := rest[:end], end+2
		switch {
		case bytes.HasPrefix(line, natsMsg):
			size, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
			if err != nil || size < 0 || size > maxMessage {
				return len(p), sig | SignalRejected
			}
			need += size + 2
		case bytes.Equal(line, natsPing):
			sig |= SignalPing
		case bytes.Equal(line, natsPong) && !ready:
			sig |= SignalReady
		case bytes.HasPrefix(line, natsErr):
			sig |= SignalRejected
		}
		if need > len(rest) {
			return used, sig
		}
		used += need
	}
	return used, sig
}
