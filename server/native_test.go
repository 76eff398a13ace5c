package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	centrifuge "github.com/centrifugal/centrifuge-go"
	"github.com/nats-io/nats.go"

	"throng/server/wire"
)

const nativeConfig = sdkConfig + `
    - name: sensors
      subject: sensors.>
      allow_wildcards: true
      allow_subscribe_for_client: true
      allow_publish_for_client: true
`

// natsClient is somebody else on the node's NATS, who knows nothing of Throng.
func (n *sdkNode) natsClient(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(n.nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// hears subscribes a client of the SDK.
func (c *goClient) hears(name string) (*centrifuge.Subscription, <-chan centrifuge.PublicationEvent) {
	c.t.Helper()
	sub, err := c.NewSubscription(name)
	if err != nil {
		c.t.Fatal(err)
	}
	heard, subscribed := make(chan centrifuge.PublicationEvent, 100), make(chan struct{}, 1)
	sub.OnPublication(func(e centrifuge.PublicationEvent) { heard <- e })
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { subscribed <- struct{}{} })
	if err := sub.Subscribe(); err != nil {
		c.t.Fatal(err)
	}
	receiveFrom(c.t, "subscribed to "+name, subscribed)
	return sub, heard
}

func startNativeNode(t *testing.T) (*sdkNode, string) {
	t.Helper()
	file := writeFile(t, "throng.yaml", nativeConfig)
	n := startSDKNode(t, "1111", "--config", file, "--nats-listen=127.0.0.1:0", "--interest-linger=1ms")
	return n, file
}

func TestNATSPublisherReachesSDKsWithoutCode(t *testing.T) {
	n, _ := startNativeNode(t)
	nc := n.natsClient(t)
	var heard []<-chan centrifuge.PublicationEvent
	var subs []*centrifuge.Subscription
	for _, protobuf := range []bool{false, true} {
		c := n.goClient(t, protobuf, centrifuge.Config{Token: n.tokens["alice"]})
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"sensors:hall.temp", "sensors:*.temp"} {
			sub, h := c.hears(name)
			subs, heard = append(subs, sub), append(heard, h)
		}
	}
	await(t, "interest at NATS", func() bool {
		return n.metric("throng_broker_interest_native_channels") == 2 && n.metric("throng_broker_interest_pending_changes") == 0
	})
	if err := nc.Publish("sensors.hall.temp", []byte(`{"v":1}`)); err != nil {
		t.Fatal(err)
	}
	for i, h := range heard {
		if e := receiveFrom(t, fmt.Sprint("publication ", i), h); string(e.Data) != `{"v":1}` || e.Info != nil || e.Tags["channel"] != []string{"", "sensors:hall.temp"}[i%2] {
			t.Errorf("%d heard %+v", i, e)
		}
	}
	// What is no JSON reaches Protobuf clients only; forged headers reach nobody.
	m := &nats.Msg{Subject: "sensors.hall.temp", Data: []byte{0xff, 1}, Header: nats.Header{"Throng-Meta": {`{"info":{"user":"root","client":"x"},"tags":{"a":"b"}}`}}}
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{2, 3} {
		if e := receiveFrom(t, fmt.Sprint("bytes ", i), heard[i]); string(e.Data) != "\xff\x01" || e.Info != nil || e.Tags["a"] != "" {
			t.Errorf("%d heard %+v", i, e)
		}
	}
	if got := n.metric("throng_hub_not_json_publications_total"); got < 2 {
		t.Errorf("%v publications counted as not JSON, want one for each channel", got)
	}
	// The way back: plain data on the plain subject, and back to everybody who listens.
	spy, err := nc.SubscribeSync("sensors.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := subs[0].Publish(t.Context(), []byte(`{"set":2}`)); err != nil {
		t.Fatal(err)
	}
	got, err := spy.NextMsg(patience)
	if err != nil || string(got.Data) != `{"set":2}` || !strings.Contains(got.Header.Get("Throng-Meta"), `"user":"alice"`) {
		t.Errorf("on the wire %+v, %v", got, err)
	}
	for i, h := range heard {
		if e := receiveFrom(t, fmt.Sprint("command ", i), h); string(e.Data) != `{"set":2}` {
			t.Errorf("%d heard %+v", i, e)
		}
	}
	if _, err := subs[1].Publish(t.Context(), []byte(`{}`)); err == nil {
		t.Error("published on a wildcard")
	}
}

// session is a bare client of the Centrifuge protocol, which has sent a connect.
func (n *sdkNode) bareSession(t *testing.T) *client {
	t.Helper()
	c := dial(t, n.addr, "/connection/websocket")
	c.say(fmt.Sprintf(`{"id":1,"connect":{"token":"%s"}}`, n.tokens["alice"]))
	c.wantReply(`{"id":1,"connect":`)
	return c
}

// wantReply skips pings until a frame comes that begins so.
func (c *client) wantReply(prefix string) string {
	c.t.Helper()
	for {
		op, p, err := c.frame()
		if err != nil || op != wire.OpText {
			c.t.Fatalf("want %s, got %v %q, %v", prefix, op, p, err)
		}
		if string(p) == "{}" {
			continue
		}
		if !strings.HasPrefix(string(p), prefix) {
			c.t.Fatalf("want %s, got %s", prefix, p)
		}
		return string(p)
	}
}

func TestWildcardSubscribersLearnTheChannel(t *testing.T) {
	n, _ := startNativeNode(t)
	nc := n.natsClient(t)
	c := n.bareSession(t)
	c.say(`{"id":2,"subscribe":{"channel":"sensors:*.temp"}}`)
	c.wantReply(`{"id":2,"subscribe":{}}`)
	await(t, "interest at NATS", func() bool { return n.metric("throng_broker_interest_native_channels") == 1 })
	// A subject that no name stands for is counted, and disturbs nobody.
	for _, subject := range []string{"sensors.h\u00e4ll.temp", "sensors.hall.temp"} {
		if err := nc.Publish(subject, []byte(`{"v":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"push":{"channel":"sensors:*.temp","pub":{"data":{"v":1},"tags":{"channel":"sensors:hall.temp"},"channel":"sensors:hall.temp"}}}`
	if got := c.wantReply(`{"push"`); got != want {
		t.Errorf("heard %s, want %s", got, want)
	}
	if got := n.metric(`throng_broker_lost_messages_total{reason="bad_subject"}`); got != 1 {
		t.Errorf("%v counted as lost, want 1", got)
	}
}

func TestAPIPublishesIntoNativeChannels(t *testing.T) {
	n, _ := startNativeNode(t)
	nc := n.natsClient(t)
	spy, err := nc.SubscribeSync("sensors.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	post := func(body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.admin+"/api/publish", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-API-Key", "api-key-of-the-tests")
		answer, err := plainHTTP.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var out [1000]byte
		k, _ := answer.Body.Read(out[:])
		return string(out[:k])
	}
	if out := post(`{"channel":"sensors:*.temp","data":{}}`); !strings.Contains(out, `"error"`) {
		t.Errorf("published on a wildcard: %s", out)
	}
	if out := post(`{"channel":"sensors:hall.temp","data":{"v":7}}`); strings.Contains(out, `"error"`) {
		t.Fatal(out)
	}
	m, err := spy.NextMsg(patience)
	if err != nil || m.Subject != "sensors.hall.temp" || string(m.Data) != `{"v":7}` || len(m.Header) != 0 {
		t.Errorf("on the wire %+v, %v", m, err)
	}
}

func TestRoomsOfTheRawChatAreNeverBridged(t *testing.T) {
	file := writeFile(t, "throng.yaml", `
channel:
  without_namespace:
    subject: plain.*
    allow_subscribe_for_client: true
  namespaces:
    - name: livechat
      subject: rooms.>
`)
	n := &sdkNode{testNode: startTestNode(t, "1111", "--config", file, "--nats-listen=127.0.0.1:0")}
	nc := n.natsClient(t)
	spy, err := nc.SubscribeSync("*.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"", "?room=lobby"} {
		n.enter("/livechat" + room)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if k, _, _ := spy.Pending(); k != 0 {
		t.Errorf("%d messages reached foreign subjects", k)
	}
}

func TestReloadMovesNativeChannelsInUse(t *testing.T) {
	n, file := startNativeNode(t)
	nc := n.natsClient(t)
	c := n.goClient(t, false, centrifuge.Config{Token: n.tokens["alice"]})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	_, heard := c.hears("sensors:a")
	reload := func(from, to string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(nativeConfig, from, to)), 0o600); err != nil {
			t.Fatal(err)
		}
		before := strings.Count(n.log.String(), "configuration reloaded")
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(t, "reload", func() bool { return strings.Count(n.log.String(), "configuration reloaded") > before })
	}
	reaches := func(subject string) {
		t.Helper()
		await(t, subject+" reaches the client", func() bool {
			if err := nc.Publish(subject, []byte(`"`+subject+`"`)); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			for len(heard) > 0 {
				if e := <-heard; string(e.Data) == `"`+subject+`"` {
					return true
				}
			}
			return false
		})
	}
	reaches("sensors.a")
	reload("subject: sensors.>", "subject: probes.>")
	reaches("probes.a")
	reload("      subject: sensors.>\n      allow_wildcards: true\n", "")
	reaches("throng.live.sensors:a")
	reload("", "")
	reaches("sensors.a")
	if len(c.disconnected) != 0 {
		t.Error("the client lost its connection")
	}
}
