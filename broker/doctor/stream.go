package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"throng/broker"
)

// streamName is the name of a namespace's stream.
func (x *examination) streamName(namespace string) string {
	if namespace == "" {
		namespace = "%"
	}
	return streamToken(x.cfg.Prefix + "_hist_" + namespace)
}

// mismatches are the settings in which a stream is not what a node would make it, one sentence each.
func mismatches(want *broker.StreamConfig, is *jetstream.StreamConfig) (out []string) {
	differ := func(what string, got, wanted any) {
		if got != wanted {
			out = append(out, fmt.Sprintf("%s is %v, the configuration wants %v", what, got, wanted))
		}
	}
	storage := jetstream.FileStorage
	if want.Storage == "memory" {
		storage = jetstream.MemoryStorage
	}
	maxBytes := want.MaxBytes
	if maxBytes <= 0 {
		maxBytes = -1
	}
	differ("storage", is.Storage.String(), storage.String())
	differ("replicas", is.Replicas, max(want.Replicas, 1))
	differ("max_msgs_per_subject", is.MaxMsgsPerSubject, int64(want.Size+1))
	differ("max_age", is.MaxAge, want.MaxAge)
	differ("max_bytes", is.MaxBytes, maxBytes)
	differ("allow_direct", is.AllowDirect, true)
	differ("discard", is.Discard.String(), jetstream.DiscardOld.String())
	if is.RePublish == nil {
		out = append(out, "stored publications are not republished, so nobody hears them")
	}
	return out
}

// stream looks at one stream: whether it is there, as configured, led, in step, and has room.
func (x *examination) stream(ctx context.Context, want *broker.StreamConfig) {
	name := x.streamName(want.Namespace)
	about := "namespace " + named(want.Namespace) + ", stream " + name + ": "
	var info jetstream.StreamInfo
	err := x.api(ctx, "STREAM.INFO."+name, nil, &info)
	if failed, is := errors.AsType[*apiError](err); is && failed.ErrCode == codeStreamNotFound {
		x.report.add(Note, "stream", about+"not there yet; a node creates it when it starts")
		return
	}
	if err != nil {
		x.report.wrong(Fail, "stream", about+err.Error(), fmt.Sprintf("allow this user to publish to \"$JS.API.STREAM.INFO.%s\"", name))
		return
	}
	before := len(x.report.Findings)
	for _, m := range mismatches(want, &info.Config) {
		x.report.wrong(Warn, "stream", about+m, "a node changes it when it starts, if NATS lets it; else remove the stream, with all it holds")
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
