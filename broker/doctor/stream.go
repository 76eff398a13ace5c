package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"throng/broker"
)

// stream looks at one stream: whether it is there, as configured, led, in step, and has room.
func (x *examination) stream(ctx context.Context, want *broker.StreamConfig) {
	name := broker.StreamName(x.cfg.Prefix, want.Namespace)
	about := "namespace " + named(want.Namespace) + ", stream " + name + ": "
	var raw json.RawMessage
	var info jetstream.StreamInfo
	var stored struct {
		Config json.RawMessage `json:"config"`
	}
	err := x.api(ctx, "STREAM.INFO."+name, nil, &raw)
	if err == nil {
		err = errors.Join(json.Unmarshal(raw, &info), json.Unmarshal(raw, &stored))
	}
	if failed, is := errors.AsType[*apiError](err); is && failed.ErrCode == codeStreamNotFound {
		x.missing(about, want)
		return
	}
	if err != nil {
		x.report.wrong(Fail, "stream", about+err.Error(), fmt.Sprintf("allow this user to publish to \"$JS.API.STREAM.INFO.%s\"", name))
		return
	}
	before := len(x.report.Findings)
	mismatches, unusable := broker.StreamMismatches(x.cfg.Prefix, *want, stored.Config)
	for _, m := range mismatches {
		x.report.wrong(Warn, "stream", about+m, "a node changes it when it starts, if NATS lets it; else delete the stream, with all it holds")
	}
	if unusable != nil {
		x.report.wrong(Fail, "stream", about+strings.TrimPrefix(unusable.Error(), broker.ErrNoStream.Error()+": "), "rename or delete that stream, or choose another --nats-prefix")
	}
	x.replicas(about, &info)
	x.room(about, &info)
	if err := x.direct(ctx, name, x.cfg.Prefix+".epoch.doctor"); errors.Is(err, errDenied) {
		x.report.wrong(Fail, "stream", about+"may not be read", fmt.Sprintf("allow this user to publish to \"$JS.API.DIRECT.GET.%s\" and \"$JS.API.DIRECT.GET.%s.>\"", name, name))
	} else if errors.Is(err, errNobody) {
		x.report.wrong(Fail, "stream", about+"does not answer direct gets", "set allow_direct on it; a node does when it starts")
	}
	if len(x.report.Findings) == before {
		x.report.add(OK, "stream", fmt.Sprintf("%sas configured, %s, %s in %s%s", about, replicasText(&info), plural(int(info.State.Msgs), "message"), sizeText(int64(info.State.Bytes)), maxText(&info)))
	}
}

// missing stream: is there room for it?
func (x *examination) missing(about string, want *broker.StreamConfig) {
	storage := "file"
	if want.Storage != "" {
		storage = want.Storage
	}
	if left, known := x.left[storage]; known && want.MaxBytes > left {
		x.report.wrong(Fail, "stream", fmt.Sprintf("%snot there yet, and its max_bytes of %s are more than the %s that the account may still use", about, sizeText(want.MaxBytes), sizeText(max(left, 0))),
			"raise the account's limit, or lower history_max_bytes")
		return
	}
	x.report.add(Note, "stream", about+"not there yet; a node creates it when it starts")
}

func replicasText(info *jetstream.StreamInfo) string {
	if info.Cluster == nil || info.Config.Replicas < 2 {
		return "1 replica"
	}
	return fmt.Sprintf("%s, led by %s", plural(info.Config.Replicas, "replica"), info.Cluster.Leader)
}

func maxText(info *jetstream.StreamInfo) string {
	if info.Config.MaxBytes <= 0 {
		return ""
	}
	return " of " + sizeText(info.Config.MaxBytes)
}

func (x *examination) replicas(about string, info *jetstream.StreamInfo) {
	if info.Cluster == nil {
		return
	}
	if info.Cluster.Leader == "" {
		x.report.wrong(Fail, "stream", about+"has no leader: nothing can be stored", "start the servers that hold its other replicas")
		return
	}
	var behind []string
	for _, r := range info.Cluster.Replicas {
		switch {
		case r.Offline:
			behind = append(behind, r.Name+" is away")
		case !r.Current && r.Lag > 0:
			behind = append(behind, fmt.Sprintf("%s is %d behind", r.Name, r.Lag))
		case !r.Current:
			behind = append(behind, r.Name+" is not in step")
		}
	}
	if len(behind) > 0 {
		x.report.wrong(Warn, "stream", about+strings.Join(behind, ", "), "start the server, or wait until it has caught up, before another one goes")
	}
}

// room warns of a stream that refuses; one that drops its oldest messages is meant to be full.
func (x *examination) room(about string, info *jetstream.StreamInfo) {
	c := info.Config
	if c.MaxBytes <= 0 || c.Discard == jetstream.DiscardOld || float64(info.State.Bytes) < nearlyFull*float64(c.MaxBytes) {
		return
	}
	x.report.wrong(Fail, "stream", fmt.Sprintf("%s%s of %s used, and it refuses when full", about, sizeText(int64(info.State.Bytes)), sizeText(c.MaxBytes)),
		"set discard: old on it; a node does when it starts")
}
