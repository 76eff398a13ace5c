package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// checkBytes is how much is stored, in one message: a disk that is all but full still takes a few bytes.
const checkBytes = 64 << 10

// writeCheck publishes to itself, and makes a stream as history has them, uses it and removes it.
func (x *examination) writeCheck(ctx context.Context) {
	token := random()
	live := x.cfg.Prefix + ".live.doctor-" + token
	heard, err := x.conn.SubscribeSync(live)
	if err != nil {
		x.report.wrong(Fail, "writing", err.Error(), "look at the server's log")
		return
	}
	defer func() { _ = heard.Unsubscribe() }()
	if !x.publishCheck(ctx, heard, live) || len(x.cfg.Streams) == 0 {
		return
	}
	x.streamCheck(ctx, heard, token)
}

func (x *examination) publishCheck(ctx context.Context, heard *nats.Subscription, live string) bool {
	began := time.Now()
	err := x.conn.Publish(live, []byte("throng doctor"))
	if err == nil && x.refused("Publish", live) {
		err = errDenied
	}
	if err == nil {
		err = x.hear(ctx, heard)
	}
	if err != nil {
		x.report.wrong(Fail, "writing", fmt.Sprintf("publishing to %s: %v", live, err), fmt.Sprintf("allow this user to publish and subscribe to \"%s.>\"", x.cfg.Prefix))
		return false
	}
	x.report.add(OK, "writing", fmt.Sprintf("a publication is back after %v", time.Since(began).Round(time.Microsecond)))
	return true
}

func (x *examination) hear(ctx context.Context, sub *nats.Subscription) error {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.AskTimeout)
	defer cancel()
	_, err := sub.NextMsgWithContext(ctx)
	return err
}

// streamCheck takes the largest number of replicas and the storage that the configuration asks for.
func (x *examination) streamCheck(ctx context.Context, heard *nats.Subscription, token string) {
	name, subject := x.cfg.Prefix+"_doctor_"+token, x.cfg.Prefix+".doctor."+token
	name = streamToken(name)
	config := jetstream.StreamConfig{
		Name: name, Subjects: []string{subject}, Replicas: 1, MaxBytes: 2 * checkBytes, MaxAge: time.Minute, MaxMsgsPerSubject: 2,
		Duplicates: time.Minute, AllowDirect: true, AllowMsgTTL: true, Storage: jetstream.FileStorage,
		RePublish: &jetstream.RePublish{Source: subject, Destination: x.cfg.Prefix + ".live.doctor-" + token},
	}
	for _, s := range x.cfg.Streams {
		config.Replicas = max(config.Replicas, s.Replicas)
	}
	if x.cfg.Streams[0].Storage == "memory" {
		config.Storage = jetstream.MemoryStorage
	}
	body, err := json.Marshal(config)
	if err != nil {
		x.report.add(Fail, "writing", err.Error())
		return
	}
	if err := x.api(ctx, "STREAM.CREATE."+name, body, nil); err != nil {
		x.cannotStore("creating a stream with "+plural(config.Replicas, "replica"), err)
		return
	}
	defer x.removeStream(name)
	if err := x.storeCheck(ctx, name, subject); err != nil {
		x.cannotStore("storing a message", err)
		return
	}
	if err := x.hear(ctx, heard); err != nil {
		x.report.wrong(Fail, "writing", "a stored message is not republished: "+err.Error(), "update nats-server; is "+x.cfg.Prefix+".live.> denied to this user?")
		return
	}
	if err := x.direct(ctx, name, subject); err != nil {
		x.report.wrong(Fail, "writing", "a stored message cannot be read directly: "+err.Error(), `allow this user to publish to "$JS.API.DIRECT.GET.>"`)
	}
}

// streamToken makes a stream's name of a prefix, which may have dots.
func streamToken(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c == '.' {
			out[i] = '_'
		}
	}
	return string(out)
}

// storeCheck stores one message with a life of its own, as an epoch has.
func (x *examination) storeCheck(ctx context.Context, name, subject string) error {
	inbox := x.conn.NewRespInbox()
	sub, err := x.conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	m := nats.NewMsg(subject)
	m.Reply, m.Data = inbox, make([]byte, min(checkBytes, x.conn.MaxPayload()-headerRoom))
	m.Header.Set("Nats-TTL", "never")
	m.Header.Set("Nats-Expected-Stream", name)
	began := time.Now()
	if err := x.conn.PublishMsg(m); err != nil {
		return err
	}
	if x.refused("Publish", subject) {
		return errDenied
	}
	wait, cancel := context.WithTimeout(ctx, x.cfg.AskTimeout)
	defer cancel()
	answer, err := sub.NextMsgWithContext(wait)
	if err != nil {
		return errSilent
	}
	var ack struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return fmt.Errorf("acknowledgement %q: %w", answer.Data, err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	x.report.add(OK, "writing", fmt.Sprintf("a stored publication is acknowledged after %v", time.Since(began).Round(time.Microsecond)))
	return nil
}

// removeStream has time of its own: the stream must go also when the examination was broken off.
func (x *examination) removeStream(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), x.cfg.AskTimeout)
	defer cancel()
	if err := x.api(ctx, "STREAM.DELETE."+name, nil, nil); err != nil {
		x.report.wrong(Warn, "writing", "the stream "+name+" was made for this check and could not be removed: "+err.Error(), "nats stream rm "+name)
	}
}

// cannotStore explains the errors that operators meet.
func (x *examination) cannotStore(what string, err error) {
	fix := "look at the server's log"
	failed, isAPI := errors.AsType[*apiError](err)
	code := 0
	if isAPI {
		code = failed.ErrCode
	}
	switch code {
	case codeNoResources, codeStorageExceeded, codeMemoryExceeded, codeStoreFailed, codeStoreNotMade:
		fix = "JetStream's store is full: raise max_file (or max_mem), the account's limit, or free space; a disk that was full needs a restart of nats-server too"
	case codeNoPeers, codeNotClustered:
		fix = "fewer servers with JetStream and room are there than replicas are wanted: start them, or lower the replicas"
	}
	if errors.Is(err, errDenied) {
		fix = `allow this user to publish to "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.DELETE.*" and below the prefix`
	}
	x.report.wrong(Fail, "writing", what+": "+err.Error(), fix)
}
