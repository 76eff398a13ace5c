package channel

import (
	"bytes"
	"encoding/json"
)

// Decision says what the caller does next.
type Decision uint8

const (
	// Refuse: tell the client the Code.
	Refuse Decision = iota
	// Grant: go on with the namespace's options.
	Grant
	// VerifyToken: the subscription token decides, and nothing else.
	VerifyToken
	// AskProxy: the proxy named in Verdict.Proxy decides.
	AskProxy
	// AskStreamProxy: the subscribe stream proxy named in Verdict.Proxy decides.
	AskStreamProxy
)

// Verdict is the answer to "may this client do that": what to do next, and the code if it is no.
type Verdict struct {
	Decision Decision
	Code     Code
	Proxy    string
	Channel  Channel
}

func refuse(c Code) Verdict { return Verdict{Decision: Refuse, Code: c} }

// Client is what permission checks need to know of a connection. The zero value is an anonymous stranger.
type Client struct {
	User       string // "" = anonymous
	Subscribed bool   // to the channel in question
}

// SubscribeRequest is a subscribe command as the rules see it.
type SubscribeRequest struct {
	Channel string
	User    string
	// Held is how many channels the connection has already, being subscribed included.
	Held int
	// Type is the newer SDKs' subscription type; 0 is the plain stream.
	Type int
	// Already says that the channel is held or being subscribed, server-side subscriptions included.
	Already bool
	// Token says that the client sent a subscription token.
	Token bool
}

// CanSubscribe decides a client's subscribe command, in the order of the specification.
//
// Codes: CloseBadRequest, BadRequest, AlreadySubbed, LimitExceeded, UnknownChannel, PermissionDenied, and NotAvailable for
// a subscription type this node does not serve. Any goroutine; never blocks or allocates.
//
// Source: centrifuge-protocol.md, 8, steps 1 to 15; 14 for Type.
func (r *Rules) CanSubscribe(q SubscribeRequest) Verdict {
	switch {
	case q.Channel == "":
		return refuse(CloseBadRequest)
	case len(q.Channel) > r.maxLength:
		return refuse(BadRequest)
	case q.Already:
		return refuse(AlreadySubbed)
	case q.Held >= r.channelLimit:
		return refuse(LimitExceeded)
	}
	ch, code := r.resolve(q.Channel)
	if code != Allowed {
		return refuse(code)
	}
	if q.Type != 0 {
		return refuse(NotAvailable)
	}
	v := Verdict{Decision: Refuse, Code: PermissionDenied, Channel: ch}
	switch ns := ch.Namespace; {
	case q.Token:
		v.Decision = VerifyToken
	case ch.Private:
		return v
	case ch.UserLimited && r.UserAllowed(&ch, q.User):
		v.Decision = Grant
	case ch.UserLimited:
		v.Decision = r.insecureGrant()
	case ns.SubscribeProxyEnabled:
		v.Decision, v.Proxy = AskProxy, ns.SubscribeProxyName
	case ns.SubscribeStreamProxyEnabled && r.env.StreamProxy:
		v.Decision, v.Proxy = AskStreamProxy, ns.SubscribeStreamProxyName
	case ns.AllowSubscribeForClient && (q.User != "" || ns.AllowSubscribeForAnonymous):
		v.Decision = Grant
	default:
		v.Decision = r.insecureGrant()
	}
	if v.Decision != Refuse {
		v.Code = Allowed
	}
	return v
}

func (r *Rules) insecureGrant() Decision {
	if r.env.Insecure {
		return Grant
	}
	return Refuse
}

// CanSubscribeAtConnect decides a channel that a unidirectional client asks for in its connect request. Refuse with code
// Allowed means that the channel is left out silently; with another code the connection ends.
//
// Source: centrifuge-protocol.md, 5, step 2.
func (r *Rules) CanSubscribeAtConnect(user, name string) Verdict {
	ch, code := r.Lookup(name)
	switch {
	case code == UnknownChannel || code == CloseBadRequest:
		return refuse(CloseBadRequest)
	case code != Allowed, ch.Private, ch.Namespace.SubscribeProxyEnabled:
		return refuse(Allowed)
	}
	ns := ch.Namespace
	v := Verdict{Channel: ch, Decision: r.insecureGrant()}
	switch {
	case ch.UserLimited && r.UserAllowed(&ch, user):
		v.Decision = Grant
	case !ch.UserLimited && ns.AllowSubscribeForClient && (user != "" || ns.AllowSubscribeForAnonymous):
		v.Decision = Grant
	}
	return v
}

// CanPublish decides a client's publish. The data is only looked at: BadRequest where the namespace's format refuses it.
//
// Source: centrifuge-protocol.md, 8, last paragraph.
func (r *Rules) CanPublish(name string, c Client, data []byte) Verdict {
	ch, code := r.Lookup(name)
	if code != Allowed {
		return refuse(code)
	}
	ns := ch.Namespace
	if code := ch.CheckPublication(data); code != Allowed {
		return refuse(code)
	}
	v := Verdict{Decision: Grant, Channel: ch}
	switch {
	case ns.PublishProxyEnabled:
		v.Decision, v.Proxy = AskProxy, ns.PublishProxyName
	case r.may(c, ns.publishers):
	default:
		v.Decision, v.Code = Refuse, PermissionDenied
	}
	return v
}

// CheckPublication tells whether data may be published into ch, by a client, the API or a proxy: the format fits, and ch
// is one channel and not a wildcard. BadRequest otherwise. Linear in len(data); nothing is kept.
func (ch *Channel) CheckPublication(data []byte) Code {
	if ch.Wildcard || !ch.Namespace.format.accepts(data) {
		return BadRequest
	}
	return Allowed
}

// CanPresence decides presence and presence_stats.
//
// Source: centrifuge-protocol.md, 8: feature first (NotAvailable), then permission (PermissionDenied).
func (r *Rules) CanPresence(name string, c Client) Verdict {
	ch, code := r.Lookup(name)
	switch {
	case code != Allowed:
		return refuse(code)
	case !ch.Namespace.Presence || ch.Wildcard:
		return refuse(NotAvailable)
	case !r.may(c, ch.Namespace.presenceReaders):
		return refuse(PermissionDenied)
	}
	return Verdict{Decision: Grant, Channel: ch}
}

// CanHistory decides history.
//
// Source: as CanPresence.
func (r *Rules) CanHistory(name string, c Client) Verdict {
	ch, code := r.Lookup(name)
	switch {
	case code != Allowed:
		return refuse(code)
	case !r.historyOn(ch.Namespace):
		return refuse(NotAvailable)
	case !r.may(c, ch.Namespace.historyReaders):
		return refuse(PermissionDenied)
	}
	return Verdict{Decision: Grant, Channel: ch}
}

// KeepsHistory tells whether what is published in ch is kept, as it is on a node that serves history in a namespace with
// history_size and history_ttl.
func (r *Rules) KeepsHistory(ch *Channel) bool { return r.historyOn(ch.Namespace) }

func (r *Rules) historyOn(ns *Namespace) bool { return r.env.History && ns.keepsHistory() }

// audience is who may do one thing in a namespace.
type audience struct{ client, subscriber, anonymous bool }

func (r *Rules) may(c Client, who audience) bool {
	listed := who.client || who.subscriber && c.Subscribed
	return listed && (c.User != "" || who.anonymous) || r.env.Insecure
}

// dataFormat is a publication_data_format.
type dataFormat uint8

const (
	formatNotEmpty dataFormat = iota
	formatJSON
	formatJSONObject
	formatBinary
)

var formatNames = map[string]dataFormat{
	"": formatNotEmpty, "json": formatJSON, "json_object": formatJSONObject, "binary": formatBinary,
}

func (f dataFormat) accepts(data []byte) bool {
	switch f {
	case formatBinary:
		return true
	case formatJSON:
		return json.Valid(data)
	case formatJSONObject:
		return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data)
	}
	return len(data) > 0
}
