package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	centrifuge "github.com/centrifugal/centrifuge-go"
)

// follower is a subscription of the official Go SDK and what it heard.
type follower struct {
	sub        *centrifuge.Subscription
	subscribed chan centrifuge.SubscribedEvent
	mu         sync.Mutex
	heard      []string
}

func (c *goClient) follow(channel string, cfg centrifuge.SubscriptionConfig) *follower {
	c.t.Helper()
	sub, err := c.NewSubscription(channel, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	f := &follower{sub: sub, subscribed: make(chan centrifuge.SubscribedEvent, 100)}
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) { f.subscribed <- e })
	sub.OnPublication(func(e centrifuge.PublicationEvent) {
		f.mu.Lock()
		f.heard = append(f.heard, string(e.Data))
		f.mu.Unlock()
	})
	if err := errors.Join(sub.Subscribe(), c.Connect()); err != nil {
		c.t.Fatal(err)
	}
	return f
}

func (f *follower) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.heard)
}

// api calls the server API.
func (n *sdkNode) api(method, body string) {
	n.t.Helper()
	r, err := http.NewRequest(http.MethodPost, n.admin+"/api/"+method, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("X-API-Key", "api-key-of-the-tests")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || strings.Contains(string(got), `"error"`) {
		n.t.Fatalf("%s %s: %d %s %v", method, body, answer.StatusCode, got, err)
	}
}

func numbers(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func (n *sdkNode) publishNumbers(channel string, from, to int) {
	n.t.Helper()
	for _, data := range numbers(from, to) {
		n.api("publish", fmt.Sprintf(`{"channel":%q,"data":%s}`, channel, data))
	}
}

// A node goes away with everything it knew; what is published meanwhile through another one reaches its clients when they are
// back, and nothing twice.
func TestClientsOfANodeThatRestartsMissNothing(t *testing.T) {
	first := startSDKNode(t, "1111", "--nats-listen=127.0.0.1:0")
	addr := freeAddr(t)
	start := func() *sdkNode { return startSDKNode(t, "2222", "--nats-url="+first.nats, "--addr="+addr) }
	second := start()
	var followers []*follower
	for _, protobuf := range []bool{false, true} {
		for range 5 {
			c := second.goClient(t, protobuf, centrifuge.Config{Token: second.tokens["alice"], MinReconnectDelay: 20 * time.Millisecond, MaxReconnectDelay: 200 * time.Millisecond})
			f := c.follow("past:restart", centrifuge.SubscriptionConfig{})
			receiveFrom(t, "subscribed", f.subscribed)
			followers = append(followers, f)
		}
	}
	const each = 20
	for round := range 3 {
		at := round * 2 * each
		first.publishNumbers("past:restart", at+1, at+each)
		second.stop()
		first.publishNumbers("past:restart", at+each+1, at+2*each)
		second = start()
		for _, f := range followers {
			e := receiveFrom(t, "subscribed again", f.subscribed)
			if !e.WasRecovering || !e.Recovered {
				t.Errorf("round %d: was recovering %v, recovered %v", round, e.WasRecovering, e.Recovered)
			}
		}
	}
	for _, f := range followers {
		await(t, "all publications", func() bool { return len(f.all()) >= 3*2*each })
		if got := f.all(); !slices.Equal(got, numbers(1, 3*2*each)) {
			t.Errorf("heard %v", got)
		}
	}
}

func TestGoSDKTakesHistoryAndDeltas(t *testing.T) {
	n := startSDKNode(t, "1111")
	for _, protobuf := range []bool{false, true} {
		t.Run(map[bool]string{false: "JSON", true: "Protobuf"}[protobuf], func(t *testing.T) {
			c := n.goClient(t, protobuf, centrifuge.Config{Token: n.tokens["alice"]})
			past := fmt.Sprintf("past:go-%v", protobuf)
			n.publishNumbers(past, 1, 5)
			f := c.follow(past, centrifuge.SubscriptionConfig{Recoverable: true})
			receiveFrom(t, "subscribed", f.subscribed)
			h, err := f.sub.History(t.Context(), centrifuge.WithHistoryLimit(3), centrifuge.WithHistoryReverse(true))
			if err != nil || len(h.Publications) != 3 || string(h.Publications[0].Data) != "5" {
				t.Errorf("history %+v, %v", h, err)
			}
			delta := fmt.Sprintf("delta:go-%v", protobuf)
			d := c.follow(delta, centrifuge.SubscriptionConfig{Delta: centrifuge.DeltaTypeFossil})
			receiveFrom(t, "subscribed with deltas", d.subscribed)
			var want []string
			for i := range 20 {
				data := fmt.Sprintf(`{"text":"the same, the same, the same, the same, the same","n":%d}`, i)
				want = append(want, data)
				n.api("publish", fmt.Sprintf(`{"channel":%q,"data":%s}`, delta, data))
			}
			await(t, "all edits", func() bool { return len(d.all()) >= len(want) })
			if got := d.all(); !slices.Equal(got, want) {
				t.Errorf("heard %q", got)
			}
		})
	}
}
