package faults

import (
	"encoding/json"

	centrifuge "github.com/centrifugal/centrifuge-go"
)

// sdk adds a subscriber that is the official Go SDK, with the protocol of one's choice.
func (c *crowd) sdk(n *node, channel string, protobuf bool) {
	c.t.Helper()
	dial := centrifuge.NewJsonClient
	if protobuf {
		dial = centrifuge.NewProtobufClient
	}
	client := dial("ws://"+n.addr+"/connection/websocket", centrifuge.Config{})
	s := &subscriber{record: record{name: "sdk of " + n.id, channel: channel}, nodes: []*node{n}}
	sub, err := client.NewSubscription(channel, centrifuge.SubscriptionConfig{Recoverable: true, Positioned: true})
	if err != nil {
		c.t.Fatal(err)
	}
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		if e.StreamPosition == nil {
			s.note(event{})
			return
		}
		s.connects.Add(1)
		s.note(event{offset: e.StreamPosition.Offset, epoch: e.StreamPosition.Epoch, asked: e.WasRecovering, recovered: e.Recovered})
	})
	sub.OnPublication(func(e centrifuge.PublicationEvent) {
		var data struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			data.ID = err.Error()
		}
		s.note(event{publication: true, offset: e.Offset, id: data.ID})
	})
	sub.OnSubscribing(func(e centrifuge.SubscribingEvent) {
		if e.Code != 0 && c.ctx.Err() == nil { // 0: subscribe was called
			s.amiss("subscribing %d %s", e.Code, e.Reason)
		}
	})
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		if c.ctx.Err() == nil {
			s.amiss("unsubscribed for good, %d %s", e.Code, e.Reason)
		}
	})
	sub.OnError(func(e centrifuge.SubscriptionErrorEvent) { s.amiss("%v", e.Error) })
	if err := sub.Subscribe(); err != nil {
		c.t.Fatal(err)
	}
	if err := client.Connect(); err != nil {
		c.t.Fatal(err)
	}
	c.members = append(c.members, s)
	c.wg.Go(func() {
		<-c.ctx.Done()
		client.Close()
	})
}
