package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"throng/broker"
	"throng/server/channel"
)

// overNATS is what main makes of a control plane.
type overNATS struct{ c *broker.Control }

func (o overNATS) Request(ctx context.Context, subject string, data []byte, header map[string]string) ([]byte, error) {
	r, err := o.c.Request(ctx, broker.ServiceRequest{Subject: subject, Data: data, Header: header})
	if s, ok := errors.AsType[*broker.ServiceError](err); ok {
		code, _ := strconv.Atoi(s.Code)
		return nil, &ServiceError{Code: code, Text: s.Description}
	}
	switch {
	case errors.Is(err, broker.ErrNoService):
		err = fmt.Errorf("%w: %w", ErrNoService, err)
	case errors.Is(err, broker.ErrBadHeader), errors.Is(err, broker.ErrBadSubject), errors.Is(err, broker.ErrTooBig):
		err = fmt.Errorf("%w: %w", ErrUnsendable, err)
	}
	return r.Data, err
}

func TestRPCIsAnsweredByARealNATSService(t *testing.T) {
	server, err := broker.StartEmbedded(broker.EmbeddedConfig{NodeID: "test", StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	b, err := broker.Connect(broker.Config{Server: server}, func(broker.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	control, err := b.Control(broker.ControlConfig{Name: "node"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	service, err := micro.AddService(nc, micro.Config{Name: "sum", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Stop() })
	for subject, handle := range map[string]micro.HandlerFunc{
		"svc.echo": func(r micro.Request) {
			_ = r.RespondJSON(map[string]string{"user": r.Headers().Get(UserHeader), "client": r.Headers().Get(ClientHeader), "data": string(r.Data())})
		},
		"svc.fail": func(r micro.Request) { _ = r.Error("451", "not today", nil) },
		"svc.hang": func(micro.Request) {},
	} {
		if err := service.AddEndpoint(subject[len("svc."):], handle, micro.WithEndpointSubject(subject)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Service.Timeout = 200 * time.Millisecond
	p := start(t, cfg, Deps{Service: overNATS{control}})
	ask := func(subject, user string, data []byte) *Result {
		answer := make(chan *Result, 1)
		p.Call(RPC, &Request{Subject: subject, User: user, Client: "c1", Protocol: "json", Data: data}, func(r *Result) { answer <- r })
		return <-answer
	}
	if r := ask("svc.echo", "J. Öhm", []byte(`{"a":1}`)); r.Outcome != Accepted || string(r.Data) != `{"client":"c1","data":"{\"a\":1}","user":"J. Öhm"}` {
		t.Errorf("%+v %s", r, r.Data)
	}
	if r := ask("svc.fail", "u", nil); r.Outcome != Refused || r.Code != 451 || r.Message != "not today" {
		t.Errorf("%+v", r)
	}
	if r := ask("svc.hang", "u", nil); r.Reason != ReasonTimeout || !r.Temporary {
		t.Errorf("%+v", r)
	}
	if r := ask("svc.nobody", "u", nil); r.Reason != ReasonNoService || r.Code != channel.MethodNotFound {
		t.Errorf("%+v", r)
	}
	// A user id that would arrive as another one, or as another header, is not sent at all.
	for _, user := range []string{"bob\r\n" + UserHeader + ": root", " bob", "bob\n"} {
		if r := ask("svc.echo", user, nil); r.Reason != ReasonBadRequest || r.Code != channel.BadRequest {
			t.Errorf("%q: %+v", user, r)
		}
	}
	if r := ask("svc.echo", "u", make([]byte, 2<<20)); r.Reason != ReasonBadRequest {
		t.Errorf("too big: %+v", r)
	}
}
