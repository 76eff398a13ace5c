package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"throng/broker"
)

// account is the answer to $JS.API.INFO.
type account struct {
	tier
	Domain string `json:"domain"`
	API    struct {
		Level int `json:"level"`
	} `json:"api"`
	Tiers map[string]tier `json:"tiers"`
}

type tier struct {
	Memory         int64 `json:"memory"`
	Storage        int64 `json:"storage"`
	ReservedMemory int64 `json:"reserved_memory"`
	ReservedStore  int64 `json:"reserved_storage"`
	Streams        int   `json:"streams"`
	Limits         struct {
		MaxMemory        int64 `json:"max_memory"`
		MaxStorage       int64 `json:"max_storage"`
		MaxStreams       int   `json:"max_streams"`
		StorageMaxStream int64 `json:"storage_max_stream_bytes"`
		MaxBytesRequired bool  `json:"max_bytes_required"`
	} `json:"limits"`
}

// nearlyFull is the share of a limit from which on it is worth a warning.
const nearlyFull = 0.9

// jetStream looks at what the account has, and at the streams that history needs.
func (x *examination) jetStream(ctx context.Context) {
	var a account
	if err := x.api(ctx, "INFO", nil, &a); err != nil {
		x.noJetStream(err)
		return
	}
	text := fmt.Sprintf("on, API level %d, %s", a.API.Level, plural(a.Streams, "stream"))
	if a.Domain != "" {
		text += ", domain " + a.Domain
	}
	x.report.add(OK, "jetstream", text)
	if len(a.Tiers) == 0 {
		x.limits("", a.tier)
		x.left = map[string]int64{"file": left(a.Limits.MaxStorage, a.Storage, a.ReservedStore), "memory": left(a.Limits.MaxMemory, a.Memory, a.ReservedMemory)}
	}
	for name, t := range a.Tiers {
		x.limits(" of "+name, t)
	}
	x.mayManage(ctx)
	for i := range x.cfg.Streams {
		x.stream(ctx, &x.cfg.Streams[i])
	}
	if len(x.cfg.Streams) > 0 {
		x.report.add(Note, "sync", "sync_interval cannot be seen from here. Its default of 2 minutes can lose acknowledged publications when all replicas lose power together; "+
			"jetstream { sync_interval: always } in each nats.conf closes that at about half the rate")
	}
}

// left is what an account may still use of a store.
func left(limit, used, reserved int64) int64 {
	if limit < 0 {
		return math.MaxInt64
	}
	return limit - max(used, reserved)
}

// noJetStream tells why, as far as the answer says.
func (x *examination) noJetStream(err error) {
	const use = "; history, recovery and idempotency need it"
	failed, isAPI := errors.AsType[*apiError](err)
	switch {
	case errors.Is(err, errDenied):
		x.report.wrong(x.needed(), "jetstream", "this user may not publish to $JS.API.INFO"+use, `allow this user to publish to "$JS.API.>" and to subscribe to "_INBOX.>"`)
	case isAPI && failed.ErrCode == codeNotEnabledAccount:
		x.report.wrong(x.needed(), "jetstream", "off for this account"+use, "give the account a jetstream block (or limits, with an operator)")
	case isAPI && failed.ErrCode == codeUnavailable:
		x.report.wrong(x.needed(), "jetstream", "has no leader: more than half of its servers do not answer"+use, "start the missing servers")
	case isAPI && failed.ErrCode == codeNotEnabled, errors.Is(err, errNobody):
		x.report.wrong(x.needed(), "jetstream", "off"+use,
			"write jetstream {} into nats.conf; if it is there: JetStream switches itself off when its disk is full, until space is free and the server was restarted")
	case errors.Is(err, errSilent):
		x.report.wrong(x.needed(), "jetstream", fmt.Sprintf("does not answer within %v", x.cfg.AskTimeout)+use,
			`look at the server's log; may this user subscribe to "_INBOX.>"? Are more than half of the servers there?`)
	default:
		x.report.wrong(x.needed(), "jetstream", err.Error(), "look at the server's log")
	}
}

// limits compares what is used, or promised to streams, with what the account may use.
func (x *examination) limits(of string, t tier) {
	for _, l := range []struct {
		what        string
		used, limit int64
		show        func(int64) string
	}{
		{"storage", max(t.Storage, t.ReservedStore), t.Limits.MaxStorage, sizeText},
		{"memory", max(t.Memory, t.ReservedMemory), t.Limits.MaxMemory, sizeText},
		{"streams", int64(t.Streams), int64(t.Limits.MaxStreams), func(n int64) string { return fmt.Sprint(n) }},
	} {
		x.limit(l.what+of, [2]int64{l.used, l.limit}, l.show)
	}
	if t.Limits.MaxBytesRequired {
		for _, s := range x.cfg.Streams {
			if s.MaxBytes <= 0 {
				x.report.wrong(Fail, "limits", "the account wants max_bytes on every stream, namespace "+named(s.Namespace)+" has none", "give the namespace a limit of bytes")
			}
		}
	}
}

func (x *examination) limit(what string, usedOf [2]int64, show func(int64) string) {
	used, limit := usedOf[0], usedOf[1]
	if limit < 0 || limit == 0 && what == "streams" {
		x.report.add(OK, "limits", fmt.Sprintf("%s: %s used, the account has no limit of its own", what, show(used)))
		return
	}
	text := fmt.Sprintf("%s: %s of %s used or reserved", what, show(used), show(limit))
	switch {
	case limit == 0:
		x.report.add(Note, "limits", what+": none allowed to this account")
	case used >= limit:
		x.report.wrong(x.needed(), "limits", text+": full", "raise the account's limit, or remove streams; publications to channels with history are refused until then")
	case float64(used) >= nearlyFull*float64(limit):
		x.report.wrong(Warn, "limits", text, "raise the account's limit before it is reached")
	default:
		x.report.add(OK, "limits", text)
	}
}

// mayManage finds out, by requests that say nothing and are refused for it, whether this user may create and change streams.
func (x *examination) mayManage(ctx context.Context) {
	for _, s := range x.cfg.Streams {
		name := broker.StreamName(x.cfg.Prefix, s.Namespace)
		for what, why := range map[string]string{"STREAM.CREATE.": "create", "STREAM.UPDATE.": "change", "STREAM.MSG.GET.": "read the epoch of"} {
			// {} names another stream than the subject does, or no message: refused before anything else is looked at.
			if err := x.api(ctx, what+name, []byte("{}"), nil); errors.Is(err, errDenied) {
				x.report.wrong(Fail, "permissions", fmt.Sprintf("may not publish to $JS.API.%s%s: %s the stream", what, name, why),
					fmt.Sprintf("allow this user to publish to \"$JS.API.%s*\"", what))
			}
		}
	}
}

// direct asks for a message that is not there, the way history is read.
func (x *examination) direct(ctx context.Context, name, subject string) error {
	body, err := json.Marshal(map[string]any{"multi_last": []string{subject}, "batch": 1})
	if err != nil {
		return err
	}
	_, err = x.request(ctx, "$JS.API.DIRECT.GET."+name, body)
	return err
}

func named(namespace string) string {
	if namespace == "" {
		return "(without a name)"
	}
	return namespace
}
