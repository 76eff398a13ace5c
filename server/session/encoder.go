package session

import (
	"sync/atomic"

	"throng/server/hub"
	"throng/server/wire"
)

// Encoders make the hub's frames for sessions. They are made before the hub, which is made before the service.
type Encoders struct{ notJSON atomic.Uint64 }

// AddTo sets the encoders of the encodings that sessions use.
func (e *Encoders) AddTo(cfg *hub.Config) {
	cfg.Encoders[hub.EncodingJSON], cfg.Encoders[hub.EncodingJSONJoins] = e.json, e.json
	cfg.Encoders[hub.EncodingProtobuf], cfg.Encoders[hub.EncodingProtobufJoins] = e.protobuf, e.protobuf
	cfg.Encoders[hub.EncodingJSONDelta], cfg.Encoders[hub.EncodingJSONDeltaJoins] = e.jsonDelta, e.jsonDelta
	cfg.Encoders[hub.EncodingProtobufDelta], cfg.Encoders[hub.EncodingProtobufDeltaJoins] = e.protobufDelta, e.protobufDelta
}

// NotJSON counts publications that JSON clients did not get because their data is not JSON, once per shard and encoding: what a
// foreign NATS publisher, a Protobuf client or a raw one said. Others get them.
func (e *Encoders) NotJSON() uint64 { return e.notJSON.Load() }

func (e *Encoders) json(dst []byte, p *hub.Publication) []byte {
	frame, ok := wire.AppendPush(dst, wire.JSON, p.Channel, p.Data, p.Meta)
	if !ok {
		e.notJSON.Add(1)
	}
	return frame
}

func (e *Encoders) protobuf(dst []byte, p *hub.Publication) []byte {
	frame, _ := wire.AppendPush(dst, wire.Protobuf, p.Channel, p.Data, p.Meta)
	return frame
}

func (e *Encoders) jsonDelta(dst []byte, p *hub.Publication) []byte {
	frame, ok := wire.AppendPushDelta(dst, wire.JSON, p.Channel, wire.Payload{Data: p.Data, Delta: p.Delta}, p.Meta)
	if !ok {
		e.notJSON.Add(1)
	}
	return frame
}

func (e *Encoders) protobufDelta(dst []byte, p *hub.Publication) []byte {
	frame, _ := wire.AppendPushDelta(dst, wire.Protobuf, p.Channel, wire.Payload{Data: p.Data, Delta: p.Delta}, p.Meta)
	return frame
}
