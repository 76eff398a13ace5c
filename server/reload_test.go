package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	centrifuge "github.com/centrifugal/centrifuge-go"
)

func TestReloadOnHangUpDropsNobody(t *testing.T) {
	file := writeFile(t, "throng.yaml", sdkConfig)
	n := &sdkNode{testNode: startTestNode(t, "1111", "--config", file)}
	c := n.goClient(t, false, centrifuge.Config{Token: n.token("alice", time.Now())})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "connected", c.connected)
	subscribe := func(channel string) uint32 {
		sub, err := c.NewSubscription(channel)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan uint32, 1)
		sub.OnSubscribed(func(centrifuge.SubscribedEvent) { got <- 0 })
		sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) { got <- e.Code })
		if err := sub.Subscribe(); err != nil {
			t.Fatal(err)
		}
		return receiveFrom(t, "answer for "+channel, got)
	}
	if code := subscribe("news:a"); code != 102 {
		t.Errorf("unknown namespace: code %d, want 102", code)
	}
	reload := func(text, log string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		before := strings.Count(n.log.String(), log)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(t, log, func() bool { return strings.Count(n.log.String(), log) > before })
	}
	reload("channel:\n  namespaces:\n    - nam: news\n", "configuration not reloaded")
	reload(sdkConfig+"    - name: news\n      allow_subscribe_for_client: true\n", "configuration reloaded")
	if code := subscribe("news:b"); code != 0 {
		t.Errorf("new namespace: code %d", code)
	}
	if len(c.disconnected) != 0 || n.metric(`throng_ws_connections{state="open"}`) != 1 {
		t.Error("the client did not keep its connection")
	}
}
