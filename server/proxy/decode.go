package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"throng/server/channel"
)

// answer is the outer shape of every answer. Fields of the inner objects that we do not know are ignored: backends written
// for a newer Centrifugo send some.
type answer struct {
	Result     json.RawMessage `json:"result"`
	Error      *ErrorBody      `json:"error"`
	Disconnect *DisconnectBody `json:"disconnect"`
}

// resultBody is the union of the results of all hooks.
type resultBody struct {
	User     *string                     `json:"user"`
	ExpireAt int64                       `json:"expire_at"`
	Expired  bool                        `json:"expired"`
	Info     json.RawMessage             `json:"info"`
	B64Info  string                      `json:"b64info"`
	Data     json.RawMessage             `json:"data"`
	B64Data  string                      `json:"b64data"`
	Meta     json.RawMessage             `json:"meta"`
	Channels []string                    `json:"channels"`
	Subs     map[string]subscriptionBody `json:"subs"`
	Override *overrideBody               `json:"override"`

	SkipHistory    bool              `json:"skip_history"`
	Tags           map[string]string `json:"tags"`
	IdempotencyKey string            `json:"idempotency_key"`
	Delta          bool              `json:"delta"`
	Version        uint64            `json:"version"`
	VersionEpoch   string            `json:"version_epoch"`
}

type subscriptionBody struct {
	Info         json.RawMessage `json:"info"`
	B64Info      string          `json:"b64info"`
	Data         json.RawMessage `json:"data"`
	B64Data      string          `json:"b64data"`
	ExpireAt     int64           `json:"expire_at"`
	Override     *overrideBody   `json:"override"`
	CacheRecover bool            `json:"cache_recover"`
}

type switchBody struct {
	Value bool `json:"value"`
}

type overrideBody struct {
	Presence           *switchBody `json:"presence"`
	JoinLeave          *switchBody `json:"join_leave"`
	ForceRecovery      *switchBody `json:"force_recovery"`
	ForcePositioning   *switchBody `json:"force_positioning"`
	ForcePushJoinLeave *switchBody `json:"force_push_join_leave"`
}

func (s *switchBody) value() channel.Switch {
	switch {
	case s == nil:
		return channel.Unset
	case s.Value:
		return channel.On
	}
	return channel.Off
}

func (o *overrideBody) value() channel.Override {
	if o == nil {
		return channel.Override{}
	}
	return channel.Override{
		Presence: o.Presence.value(), JoinLeave: o.JoinLeave.value(), ForceRecovery: o.ForceRecovery.value(),
		ForcePositioning: o.ForcePositioning.value(), ForcePushJoinLeave: o.ForcePushJoinLeave.value(),
	}
}

// decode reads the body of a 200 answer.
func decode(hook Hook, p []byte) *Result {
	var a answer
	if err := unmarshal(p, &a); err != nil {
		return failed(ReasonMalformed, err)
	}
	switch {
	case a.Disconnect != nil && !a.Disconnect.valid():
		return failed(ReasonMalformed, fmt.Errorf("disconnect code %d is not 3000 to 4999", a.Disconnect.Code))
	case a.Disconnect != nil:
		return a.Disconnect.result()
	case a.Error != nil && !a.Error.valid():
		return failed(ReasonMalformed, fmt.Errorf("error code %d is not 100 to 1999", a.Error.Code))
	case a.Error != nil:
		return a.Error.result()
	}
	r, err := accept(hook, a.Result)
	if err != nil {
		return failed(ReasonMalformed, err)
	}
	return r
}

// unmarshal takes exactly one JSON value of valid UTF-8.
func unmarshal(p []byte, into any) error {
	if !utf8.Valid(p) {
		return errors.New("answer is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(p))
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("answer is not the JSON object it should be: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value in the answer")
	}
	return nil
}

func accept(hook Hook, raw json.RawMessage) (*Result, error) {
	absent := len(raw) == 0 || bytes.Equal(raw, []byte("null"))
	var b resultBody
	if !absent {
		if err := json.Unmarshal(raw, &b); err != nil {
			return nil, fmt.Errorf("result: %w", err)
		}
	}
	switch {
	case hook == Connect && (absent || empty(raw)):
		// Nothing said about who this is: not authenticated, terminal.
		return &Result{Outcome: Disconnected, Reason: ReasonDisconnect, Code: channel.CloseBadRequest, Message: channel.CloseBadRequest.String()}, nil
	case absent && (hook == Refresh || hook == SubRefresh):
		return &Result{Outcome: Accepted, Expired: true}, nil
	}
	r := &Result{Outcome: Accepted, ExpireAt: b.ExpireAt, Expired: b.Expired, Channels: b.Channels, Override: b.Override.value()}
	if b.User != nil {
		r.User = *b.User
	}
	if hook == Publish {
		r.Publication = Publication{
			SkipHistory: b.SkipHistory, Tags: b.Tags, IdempotencyKey: b.IdempotencyKey,
			Delta: b.Delta, Version: b.Version, VersionEpoch: b.VersionEpoch,
		}
	}
	return r, r.payloads(&b)
}

func empty(object json.RawMessage) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal(object, &members) == nil && len(members) == 0
}

// payloads takes over what may be JSON or base64.
func (r *Result) payloads(b *resultBody) (err error) {
	if r.Info, err = payload("info", b.Info, b.B64Info); err != nil {
		return err
	}
	if r.Data, err = payload("data", b.Data, b.B64Data); err != nil {
		return err
	}
	if r.Meta, err = payload("meta", b.Meta, ""); err != nil {
		return err
	}
	if len(b.Subs) > 0 {
		r.Subs = make(map[string]Subscription, len(b.Subs))
	}
	for name, s := range b.Subs {
		sub := Subscription{ExpireAt: s.ExpireAt, Override: s.Override.value(), CacheRecover: s.CacheRecover}
		if sub.Info, err = payload("subs.info", s.Info, s.B64Info); err != nil {
			return err
		}
		if sub.Data, err = payload("subs.data", s.Data, s.B64Data); err != nil {
			return err
		}
		r.Subs[name] = sub
	}
	return nil
}

// payload returns bytes of their own: base64 wins, JSON is made one line, null is nothing.
func payload(field string, raw json.RawMessage, b64 string) ([]byte, error) {
	if b64 != "" {
		data, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			return nil, fmt.Errorf("b64 form of %s: %w", field, err)
		}
		return data, nil
	}
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return line.Bytes(), nil
}
