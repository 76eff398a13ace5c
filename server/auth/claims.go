package auth

import (
	"slices"
	"strings"

	"throng/server/channel"
)

// Claims is what a verified token says. Nothing in it aliases the token, and everything may be kept: byte slices are of
// their own size, shared by nobody, and nil where the claim is absent.
//
// Source: centrifuge-protocol.md, 7.1 and 7.2.
type Claims struct {
	// User is the sub claim (or the configured one); "" is the anonymous user.
	User string
	// ID is jti and IssuedAt is iat in unix seconds, 0 if absent: they serve revocation.
	ID       string
	IssuedAt int64
	// ExpireAt is when the connection or subscription ends, in unix seconds: expire_at if present, else exp; 0 = never.
	ExpireAt int64
	// Channel and Client are for subscription tokens: the channel the token opens; the one client that may use it, "" = any.
	Channel string
	Client  string
	// Info becomes conn_info (connection) or chan_info (subscription): JSON, or bytes if it came as b64info.
	Info []byte
	// Data is returned to the subscriber; JSON, or bytes if it came as b64data. Subscription tokens only.
	Data []byte
	// Meta is JSON kept on the server and sent to proxies. Connection tokens only.
	Meta []byte
	// Subs are the server-side subscriptions (subs, or else channels), sorted by channel, each channel once.
	Subs []Sub
	// Override replaces namespace options. Subscription tokens only.
	Override channel.Override
}

// Sub is one server-side subscription of a connection token.
type Sub struct {
	Channel  string
	Info     []byte
	Data     []byte
	Override channel.Override
}

// Check tells whether a subscription token serves this user, channel and client: nil or ErrMismatch.
//
// Source: centrifuge-protocol.md, 7.2.
func (c *Claims) Check(user, name, client string) error {
	if c.User != user || c.Channel != name || c.Client != "" && c.Client != client {
		return ErrMismatch
	}
	return nil
}

// rawClaims is a payload on its way to Claims, with the claims that are judged and not handed out.
type rawClaims struct {
	Claims
	kind           Kind
	exp, nbf       int64
	expires        bool // exp is there
	begins         bool // nbf is there
	expireAtSet    bool
	channelPresent bool
	issuer         string
	issuerPresent  bool
	audience       []string
	subs           []Sub
	channels       []Sub
	info, data     payload
}

// payload is a JSON value that may also come as base64, which then wins.
type payload struct{ json, binary []byte }

func (p *payload) value() []byte {
	if p.binary != nil {
		return p.binary
	}
	return p.json
}

// parseClaims decodes a payload whose signature has been verified. userClaim is the name of the claim with the user id.
func parseClaims(p []byte, kind Kind, userClaim string) (*rawClaims, error) {
	if !validObject(p) {
		return nil, refuse(ReasonClaims)
	}
	c := &rawClaims{kind: kind}
	err := eachMember(p, func(name, value []byte) error {
		if string(name) == userClaim {
			return set(&c.User, value, text)
		}
		return c.member(name, value)
	})
	if err != nil {
		return nil, err
	}
	c.Info, c.Data = c.info.value(), c.data.value()
	c.Subs = c.channels
	if len(c.subs) > 0 {
		c.Subs = c.subs
	}
	c.Subs = unique(c.Subs)
	if !c.expireAtSet {
		c.ExpireAt = c.exp
	}
	return c, nil
}

// set decodes value into field.
func set[T any](field *T, value []byte, decode func([]byte) (T, error)) (err error) {
	*field, err = decode(value)
	return err
}

// member takes one claim. Claims that belong to the other kind of token are somebody else's: an identity provider may use
// the same names for its own ends.
func (c *rawClaims) member(name, value []byte) error {
	switch string(name) {
	case "exp":
		c.expires = true
		return set(&c.exp, value, seconds)
	case "nbf":
		c.begins = true
		return set(&c.nbf, value, seconds)
	case "iat":
		return set(&c.IssuedAt, value, seconds)
	case "expire_at":
		c.expireAtSet = true
		if err := set(&c.ExpireAt, value, seconds); err != nil || c.ExpireAt < 0 {
			return refuse(ReasonClaims)
		}
		return nil
	case "jti":
		return set(&c.ID, value, text)
	case "iss":
		c.issuerPresent = true
		return set(&c.issuer, value, text)
	case "aud":
		return set(&c.audience, value, textOrList)
	case "channel":
		c.channelPresent = true
		if c.kind == Connection {
			return nil
		}
		return set(&c.Channel, value, text)
	}
	if c.kind == Connection {
		return c.connectionMember(name, value)
	}
	return c.subscriptionMember(name, value)
}

func (c *rawClaims) connectionMember(name, value []byte) error {
	switch string(name) {
	case "meta":
		c.Meta = rawJSON(value)
	case "channels":
		return c.channelList(value)
	case "subs":
		return c.subscriptions(value)
	case "info", "b64info":
		return payloadMember(&c.info, &c.data, name, value)
	}
	return nil
}

func (c *rawClaims) subscriptionMember(name, value []byte) error {
	switch string(name) {
	case "client":
		return set(&c.Client, value, text)
	case "override":
		return set(&c.Override, value, override)
	}
	return payloadMember(&c.info, &c.data, name, value)
}

// payloadMember takes the claims that go to clients, in a token or in an entry of its subs.
func payloadMember(info, data *payload, name, value []byte) error {
	switch string(name) {
	case "info":
		info.json = rawJSON(value)
	case "b64info":
		return set(&info.binary, value, base64Text)
	case "data":
		data.json = rawJSON(value)
	case "b64data":
		return set(&data.binary, value, base64Text)
	}
	return nil
}

func (c *rawClaims) channelList(value []byte) error {
	if value[0] != '[' {
		return refuse(ReasonClaims)
	}
	c.channels = nil
	return eachElement(value, func(v []byte) error {
		name, err := text(v)
		c.channels = append(c.channels, Sub{Channel: name})
		return err
	})
}

func (c *rawClaims) subscriptions(value []byte) error {
	if value[0] != '{' {
		return refuse(ReasonClaims)
	}
	c.subs = nil
	return eachMember(value, func(name, value []byte) error {
		if value[0] != '{' {
			return refuse(ReasonClaims)
		}
		s := Sub{Channel: string(name)}
		var info, data payload
		err := eachMember(value, func(name, value []byte) error {
			if string(name) == "override" {
				return set(&s.Override, value, override)
			}
			return payloadMember(&info, &data, name, value)
		})
		s.Info, s.Data = info.value(), data.value()
		c.subs = append(c.subs, s)
		return err
	})
}

// unique sorts by channel and keeps the last entry of each, as a JSON object with a name twice is read.
func unique(subs []Sub) []Sub {
	slices.SortStableFunc(subs, func(a, b Sub) int { return strings.Compare(a.Channel, b.Channel) })
	kept := subs[:0]
	for i, s := range subs {
		if i+1 == len(subs) || subs[i+1].Channel != s.Channel {
			kept = append(kept, s)
		}
	}
	return kept
}

// textOrList decodes an aud claim: one string or a list of them.
//
// Source: RFC 7519, 4.1.3.
func textOrList(value []byte) ([]string, error) {
	if value[0] != '[' {
		one, err := text(value)
		return []string{one}, err
	}
	var all []string
	err := eachElement(value, func(v []byte) error {
		s, err := text(v)
		all = append(all, s)
		return err
	})
	return all, err
}

// override decodes `{"presence": {"value": true}, ...}`. Options it does not know are ignored, as unknown claims are.
func override(value []byte) (o channel.Override, err error) {
	if value[0] != '{' {
		return o, refuse(ReasonClaims)
	}
	err = eachMember(value, func(name, value []byte) error {
		var field *channel.Switch
		switch string(name) {
		case "presence":
			field = &o.Presence
		case "join_leave":
			field = &o.JoinLeave
		case "force_recovery":
			field = &o.ForceRecovery
		case "force_positioning":
			field = &o.ForcePositioning
		case "force_push_join_leave":
			field = &o.ForcePushJoinLeave
		default:
			return nil
		}
		return set(field, value, boolValue)
	})
	return o, err
}

// boolValue decodes `{"value": bool}`; without the value it is off, as Centrifugo reads it.
func boolValue(value []byte) (channel.Switch, error) {
	if value[0] != '{' {
		return channel.Unset, refuse(ReasonClaims)
	}
	s := channel.Off
	err := eachMember(value, func(name, value []byte) error {
		if string(name) != "value" {
			return nil
		}
		on, err := boolean(value)
		s = channel.Off
		if on {
			s = channel.On
		}
		return err
	})
	return s, err
}
