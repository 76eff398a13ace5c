package httpapi

import (
	"encoding/json"
	"slices"

	"throng/server/channel"
)

// Orders are what all nodes are told to do to connections.

// The operations of surveys. Nodes of different versions talk to each other: never change what one means.
const (
	opDisconnect  = "api_disconnect"
	opUnsubscribe = "api_unsubscribe"
	opSubscribe   = "api_subscribe"
	opRefresh     = "api_refresh"
	opPresence    = "api_presence"
	opUsers       = "api_users"
	opChannels    = "api_channels"
	opInfo        = "api_info"
)

type disconnectRequest struct {
	Target
	pro
	Whitelist  []string        `json:"whitelist"`
	Disconnect *disconnectCode `json:"disconnect"`
}

type disconnectCode struct {
	Code   uint32 `json:"code"`
	Reason string `json:"reason"`
}

type disconnectOrder struct {
	Target Target   `json:"target"`
	Code   uint32   `json:"code"`
	Reason string   `json:"reason"`
	Keep   []string `json:"keep,omitempty"`
}

// done is the result of orders.
type done struct{}

func (a *API) disconnect(c *call, q *disconnectRequest) (any, *Error) {
	if q.wanted() {
		return nil, ErrNotAvailable
	}
	o := disconnectOrder{Target: q.Target, Code: 3503, Reason: "force disconnect", Keep: q.Whitelist}
	if d := q.Disconnect; d != nil {
		// Browsers and SDKs know no other codes (centrifuge-protocol.md, 22.5 and 22.11).
		if d.Code < 3000 || d.Code > 4999 {
			return nil, ErrBadRequest
		}
		o.Code, o.Reason = d.Code, d.Reason
	}
	return a.order(c, opDisconnect, o)
}

type unsubscribeRequest struct {
	Target
	pro
	Channel string `json:"channel"`
}

type unsubscribeOrder struct {
	Target  Target `json:"target"`
	Channel string `json:"channel"`
}

func (a *API) unsubscribe(c *call, q *unsubscribeRequest) (any, *Error) {
	if q.wanted() {
		return nil, ErrNotAvailable
	}
	if q.Channel != "" {
		if _, code := a.deps.Rules().Lookup(q.Channel); code != channel.Allowed {
			return nil, errorOf(code)
		}
	}
	return a.order(c, opUnsubscribe, unsubscribeOrder{Target: q.Target, Channel: q.Channel})
}

type subscribeRequest struct {
	Target
	pro
	Channel      string          `json:"channel"`
	Info         json.RawMessage `json:"info"`
	B64Info      string          `json:"b64info"`
	Data         json.RawMessage `json:"data"`
	B64Data      string          `json:"b64data"`
	RecoverSince *Position       `json:"recover_since"`
	ExpireAt     int64           `json:"expire_at"`
	Override     override        `json:"override"`
}

type override struct {
	Presence           *boolValue `json:"presence"`
	JoinLeave          *boolValue `json:"join_leave"`
	ForceRecovery      *boolValue `json:"force_recovery"`
	ForcePositioning   *boolValue `json:"force_positioning"`
	ForcePushJoinLeave *boolValue `json:"force_push_join_leave"`
}

type boolValue struct {
	Value bool `json:"value"`
}

func (b *boolValue) toggle() channel.Switch {
	switch {
	case b == nil:
		return channel.Unset
	case b.Value:
		return channel.On
	}
	return channel.Off
}

type subscribeOrder struct {
	Target       Target       `json:"target"`
	Subscription Subscription `json:"subscription"`
}

func (a *API) subscribe(c *call, q *subscribeRequest) (any, *Error) {
	if q.wanted() {
		return nil, ErrNotAvailable
	}
	if _, code := a.deps.Rules().Lookup(q.Channel); code != channel.Allowed {
		return nil, errorOf(code)
	}
	s := Subscription{Channel: q.Channel, ExpireAt: q.ExpireAt, RecoverSince: q.RecoverSince, Override: channel.Override{
		Presence: q.Override.Presence.toggle(), JoinLeave: q.Override.JoinLeave.toggle(), ForceRecovery: q.Override.ForceRecovery.toggle(),
		ForcePositioning: q.Override.ForcePositioning.toggle(), ForcePushJoinLeave: q.Override.ForcePushJoinLeave.toggle(),
	}}
	var failure *Error
	if s.Info, _, failure = payload(q.Info, q.B64Info); failure != nil {
		return nil, failure
	}
	if s.Data, _, failure = payload(q.Data, q.B64Data); failure != nil {
		return nil, failure
	}
	return a.order(c, opSubscribe, subscribeOrder{Target: q.Target, Subscription: s})
}

type refreshRequest struct {
	Target
	pro
	Expired  bool            `json:"expired"`
	ExpireAt int64           `json:"expire_at"`
	Info     json.RawMessage `json:"info"`
}

type refreshOrder struct {
	Target  Target  `json:"target"`
	Refresh Refresh `json:"refresh"`
}

func (a *API) refresh(c *call, q *refreshRequest) (any, *Error) {
	if q.wanted() {
		return nil, ErrNotAvailable
	}
	info, _, failure := payload(q.Info, "")
	if failure != nil {
		return nil, failure
	}
	return a.order(c, opRefresh, refreshOrder{Target: q.Target, Refresh: Refresh{Expired: q.Expired, ExpireAt: q.ExpireAt, Info: info}})
}

// order tells all nodes; done only if all have done it.
func (a *API) order(c *call, op string, order any) (any, *Error) {
	if _, failure := a.survey(c, op, order); failure != nil {
		return nil, failure
	}
	return done{}, nil
}

// handle sets what answers an operation on this node.
func handle[O any](a *API, op string, do func(o O) (any, error)) {
	a.deps.Cluster.HandleSurvey(op, func(payload []byte) ([]byte, error) {
		var o O
		if err := json.Unmarshal(payload, &o); err != nil {
			return nil, err
		}
		result, err := do(o)
		if err != nil {
			return nil, err
		}
		return encode(result)
	})
}

func (a *API) answerSurveys() {
	node := a.deps.Node
	handle(a, opDisconnect, func(o disconnectOrder) (any, error) {
		return done{}, node.Disconnect(o.Target, o.Code, o.Reason, slices.Clone(o.Keep))
	})
	handle(a, opUnsubscribe, func(o unsubscribeOrder) (any, error) { return done{}, node.Unsubscribe(o.Target, o.Channel) })
	handle(a, opSubscribe, func(o subscribeOrder) (any, error) { return done{}, node.Subscribe(o.Target, o.Subscription) })
	handle(a, opRefresh, func(o refreshOrder) (any, error) { return done{}, node.Refresh(o.Target, o.Refresh) })
	handle(a, opPresence, func(o channelQuestion) (any, error) { return node.Presence(o.Channel) })
	handle(a, opUsers, func(o channelQuestion) (any, error) { return usersOn(node, o.Channel) })
	handle(a, opChannels, func(o channelsRequest) (any, error) { return channelsOn(node, o.Pattern) })
	handle(a, opInfo, func(struct{}) (any, error) { return node.Info(), nil })
}
