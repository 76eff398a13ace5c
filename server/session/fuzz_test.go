package session

import (
	"bytes"
	"context"
	"testing"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/wire"
)

// FuzzSession lets a client say anything, in frames separated by 0xff 0xfe. Whatever it says: no panic, nothing sent
// after the end, no more channels than allowed, and nothing left behind.
func FuzzSession(f *testing.F) {
	for _, v := range sdkFrames {
		var frames [][]byte
		for _, text := range v.says {
			frames = append(frames, sdkFrame(f, v.protocol, text))
		}
		f.Add(v.protocol == wire.Protobuf, bytes.Join(frames, []byte("\xff\xfe")))
	}
	f.Add(false, []byte("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"chat:1\"}}\n{\"id\":3,\"presence\":{\"channel\":\"chat:1\"}}\xff\xfe{}\xff\xfe{\"id\":3,\"rpc\":{\"method\":\"x\"}}"))
	cfg := auth.DefaultConfig()
	cfg.Token.HMACSecretKey = secret
	tokens, err := auth.NewTokens(cfg, auth.Options{})
	if err != nil {
		f.Fatal(err)
	}
	rules := rulesOf(f, func(_ *channel.Config, _ *channel.RPCConfig, e *channel.Environment) { e.Insecure = true })
	f.Cleanup(tokens.Close)
	f.Fuzz(func(t *testing.T, protobuf bool, script []byte) {
		h := &idleHub{}
		v := New(Config{AllowAnonymous: true, Insecure: len(script)%2 == 0, MaxPending: 1 << 10}, Parts{
			Hub: h, Rules: rules, Connection: tokens.Connection, Subscription: tokens.Subscription, Requests: inline{},
			Hooks: Hooks{RPC: func(_ context.Context, q *RPCCall) ([]byte, error) { return q.Data, nil }},
		})
		conn := &idleConn{}
		p := wire.JSON
		if protobuf {
			p = wire.Protobuf
		}
		s := v.Join(conn, Handshake{Protocol: p})
		s.Open()
		for frame := range bytes.SplitSeq(script, []byte("\xff\xfe")) {
			sent, over := conn.sent, conn.closed != 0
			frame = bytes.Clone(frame)
			if err := s.Message(p.Opcode(), frame); err != nil {
				t.Fatal(err)
			}
			clear(frame)
			conn.run()
			if over && conn.sent != sent {
				t.Fatal("something was sent after the end")
			}
		}
		s.Woken()
		held := s.held()
		if entered := h.members - h.left; entered != held || held > 128 || v.Stats().Subscriptions != held {
			t.Fatalf("%d held, %d in the hub, %d counted", held, entered, v.Stats().Subscriptions)
		}
		s.Closed(wire.CloseAbnormal)
		st := v.Stats()
		if h.members != h.left || st.Sessions != 0 || st.Users != 0 || st.Subscriptions != 0 {
			t.Fatalf("left behind: %+v, %+v", h, st)
		}
		for i := range v.presence.stripes {
			if len(v.presence.stripes[i].m) != 0 {
				t.Fatal("left behind in presence")
			}
		}
	})
}
