package engine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"throng/server/wire"
)

// recorded is a server that plays its side of a dialect's conversation: the answer
// to each thing it is told, as real servers were seen to give it.
type recorded struct {
	t      *testing.T
	l      net.Listener
	wg     sync.WaitGroup
	onOpen func() []byte           // frames right after the 101
	on     func(msg []byte) []byte // frames in answer to a message
	head   func(request []byte) []byte
}

func (r *recorded) start(tlsConfig *tls.Config) (url string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	scheme := "ws://"
	if r.l = l; tlsConfig != nil {
		r.l, scheme = tls.NewListener(l, tlsConfig), "wss://"
	}
	r.wg.Go(func() {
		for {
			c, err := r.l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(c) })
		}
	})
	r.t.Cleanup(func() { r.l.Close(); r.wg.Wait() })
	return scheme + l.Addr().String() + "/"
}

func (r *recorded) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 0, 4096)
	for !bytes.Contains(buf, []byte("\r\n\r\n")) {
		p := make([]byte, 4096)
		n, err := c.Read(p)
		if err != nil {
			return
		}
		buf = append(buf, p[:n]...)
	}
	if r.head != nil {
		_, _ = c.Write(r.head(buf))
		_, _ = c.Read(make([]byte, 1)) // until the client goes
		return
	}
	key := bytes.SplitN(bytes.SplitN(buf, []byte("Sec-WebSocket-Key: "), 2)[1], []byte("\r\n"), 2)[0]
	out := []byte("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept:" + acceptOf(string(key)) + "\r\n\r\n")
	if r.onOpen != nil {
		out = append(out, r.onOpen()...)
	}
	for i := range out { // byte by byte: every boundary is met
		if _, err := c.Write(out[i : i+1]); err != nil {
			return
		}
	}
	r.converse(c)
}

func (r *recorded) converse(c net.Conn) {
	var dec wire.Decoder
	lim := wire.Limits{MaxMessage: 1 << 20, MaxFrame: 1 << 20}
	p := make([]byte, 64<<10)
	for {
		n, err := c.Read(p)
		if err != nil || dec.Feed(p[:n], &lim, sink{r, c}) != nil {
			return
		}
	}
}

type sink struct {
	r *recorded
	c net.Conn
}

func (s sink) OnMessage(_ wire.Opcode, p []byte) error {
	_, err := s.c.Write(s.r.on(p))
	return err
}
func (s sink) OnControl(wire.Opcode, []byte) error { return nil }

func text(s string) []byte     { return wire.AppendFrame(nil, wire.OpText, []byte(s)) }
func binFrame(p []byte) []byte { return wire.AppendFrame(nil, wire.OpBinary, p) }
func centrifugeReply(p []byte) []byte {
	switch {
	case bytes.Contains(p, []byte(`"publish"`)):
		data := p[bytes.Index(p, []byte(`"data":`))+7 : len(p)-2]
		return text(`{"id":3,"publish":{}}` + "\n" + `{"push":{"channel":"bench","pub":{"data":` + string(data) + "}}}\n{}")
	case string(p) == "{}":
		return nil
	}
	return text(`{"id":1,"connect":{"client":"c","version":"0","ping":25,"pong":true}}` + "\n" + `{"id":2,"subscribe":{}}`)
}

func protobufReply(p []byte) []byte {
	if len(p) == 1 && p[0] == 0 {
		return nil
	}
	if i := bytes.Index(p, stampMarker); i >= 0 {
		push := protowire.AppendTag(nil, 4, protowire.BytesType)
		push = protowire.AppendBytes(push, p[i:])
		return binFrame(append(protowire.AppendBytes(nil, push), 0))
	}
	connect := []byte{8, 1, 0x2a, 0} // id 1, connect {}
	subscribe := []byte{8, 2, 0x32, 0}
	return binFrame(protowire.AppendBytes(protowire.AppendBytes(nil, connect), subscribe))
}

func natsReply(p []byte) []byte {
	if bytes.HasPrefix(p, []byte("CONNECT")) {
		return append(binFrame([]byte("PO")), binFrame([]byte("NG\r\nPING\r\n"))...)
	}
	if bytes.HasPrefix(p, []byte("PUB bench ")) {
		msg := append([]byte("MSG bench 1 "), p[len("PUB bench "):]...)
		cut := len(msg) / 2 // frames may be cut anywhere
		return append(binFrame(msg[:cut]), binFrame(msg[cut:])...)
	}
	return nil
}

func TestDialectsJoinPublishAndAnswerPings(t *testing.T) {
	for name, c := range map[string]struct {
		r     *recorded
		pings uint64
	}{
		"raw": {&recorded{
			onOpen: func() []byte { return text("Connected to server x") },
			on:     func(p []byte) []byte { return text("x:" + string(p)) },
		}, 0},
		"centrifuge-json":     {&recorded{on: centrifugeReply}, 3},
		"centrifuge-protobuf": {&recorded{on: protobufReply}, 3},
		"nats-ws": {&recorded{
			onOpen: func() []byte { return binFrame([]byte("INFO {\"server_id\":\"x\"}\r\n")) }, on: natsReply,
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.t = t
			d, err := NewDialect(name, false)
			if err != nil {
				t.Fatal(err)
			}
			r := startEngine(t, Config{Targets: []Target{target(t, c.r.start(nil))}, Count: 1, Dialect: d, ChannelPrefix: "bench"})
			r.open(OpenOrder{})
			for range 3 {
				r.burst(1)
			}
			got := r.collect()
			r.want("opened", got.Counters.Opened, 1)
			r.want("received", got.Counters.Received, 3)
			r.want("rejections", got.Counters.Rejections, 0)
			r.want("pings", got.Counters.PingsSeen, c.pings)
		})
	}
}

func TestARefusedJoinIsRejected(t *testing.T) {
	for name, answer := range map[string][]byte{
		"centrifuge-json":     text(`{"id":1,"error":{"code":101,"message":"unauthorized"}}`),
		"centrifuge-protobuf": binFrame(protowire.AppendBytes(nil, []byte{8, 1, 0x12, 2, 8, 101})),
		"nats-ws":             binFrame([]byte("-ERR 'Authorization Violation'\r\n")),
	} {
		t.Run(name, func(t *testing.T) {
			d, err := NewDialect(name, false)
			if err != nil {
				t.Fatal(err)
			}
			s := recorded{t: t, on: func([]byte) []byte { return answer }}
			r := startEngine(t, Config{Targets: []Target{target(t, s.start(nil))}, Count: 1, Dialect: d, ChannelPrefix: "bench"})
			r.open(OpenOrder{})
			r.want("rejected", r.collect().Failures[KindRejected], 1)
		})
	}
}

func TestEventStreamsAreReadAcrossChunks(t *testing.T) {
	const run = 0xbe7c
	st := Stamp{Run: run, Phase: PhaseWarm}
	event := append(append([]byte("data: "), AppendStamp(nil, &st, StampLen)...), "\n\n"...)
	s := recorded{t: t, head: func([]byte) []byte {
		out := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		out = append(out, "b\r\n: welcome\n\n\r\n"...)
		return append(append(out, "3a\r\n"...), event...)
	}}
	d, err := NewDialect("sse", false)
	if err != nil {
		t.Fatal(err)
	}
	r := startEngine(t, Config{Targets: []Target{target(t, "http"+s.start(nil)[2:])}, Count: 1, Dialect: d})
	r.open(OpenOrder{})
	var got Snapshot
	for got.Counters.Received < 1 {
		r.do(func(e *Engine, done func()) { got = e.Peek(); done() })
	}
	r.want("opened", got.Counters.Opened, 1)
	r.want("damaged", got.Counters.Damaged, 0)
}

// certificate makes a server's certificate for 127.0.0.1 and the pool to trust it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSCarriesTheSameConversation(t *testing.T) {
	cert, pool := certificate(t)
	s := recorded{t: t, onOpen: func() []byte { return text("hello") }, on: func(p []byte) []byte { return text("x:" + string(p)) }}
	url := s.start(&tls.Config{Certificates: []tls.Certificate{cert}})
	r := startEngine(t, Config{Targets: []Target{target(t, url)}, Count: 20, Channels: 20, ChannelPrefix: "c", TLS: &tls.Config{RootCAs: pool}})
	r.open(OpenOrder{})
	for range 3 {
		r.burst(2)
	}
	got := r.collect()
	r.want("opened", got.Counters.Opened, 20)
	r.want("received", got.Counters.Received, 20*3*2)
}

func TestAnUntrustedCertificateIsATLSFailure(t *testing.T) {
	cert, _ := certificate(t)
	s := recorded{t: t, on: func([]byte) []byte { return nil }}
	url := s.start(&tls.Config{Certificates: []tls.Certificate{cert}})
	r := startEngine(t, Config{Targets: []Target{target(t, url)}, Count: 5, TLS: &tls.Config{}})
	r.open(OpenOrder{})
	r.want("tls", r.collect().Failures[KindTLS], 5)
}

func TestASilentTLSServerTimesOut(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0") // accepts by its backlog, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := startEngine(t, Config{
		Targets: []Target{target(t, "wss://"+l.Addr().String()+"/")}, Count: 3, TLS: &tls.Config{}, HandshakeTimeout: 200 * time.Millisecond,
	})
	r.open(OpenOrder{})
	r.want("timeouts", r.collect().Failures[KindConnectTime], 3)
}

func TestTargetsAreParsedStrictly(t *testing.T) {
	for _, bad := range []string{"127.0.0.1:80", "ftp://127.0.0.1/", "ws://127.0.0.1:99999/", "ws://%zz/", "ws://no.such.host.invalid/"} {
		if _, err := ParseTarget(t.Context(), bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for url, want := range map[string]string{
		"ws://127.0.0.1:1/livechat":             "GET /livechat?room=c7 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n",
		"ws://127.0.0.1:1/livechat?x=1":         "GET /livechat?x=1&room=c7 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n",
		"ws://127.0.0.1:1/r/{channel}/socket?x": "GET /r/c7/socket?x HTTP/1.1\r\nHost: 127.0.0.1:1\r\n",
		"http://127.0.0.1/":                     "GET /?room=c7 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n",
	} {
		tg := target(t, url).WithRoom()
		if got := string(tg.appendRequest(nil, "c7")); !bytes.HasPrefix([]byte(got), []byte(want)) {
			t.Errorf("%s: %q", url, got)
		}
	}
}

func TestSourceAddressesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range 200_000 {
		a := SourceAddr(i)
		if b := a.As4(); b[0] != 127 || b[1] == 0 || b[3] == 0 || b[3] == 255 || seen[a.String()] {
			t.Fatalf("address %d is %s", i, a)
		}
		seen[a.String()] = true
	}
}
