package broker

import (
	"context"
	"encoding/json"
	"log/slog"
	"regexp"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// natsControl is the control plane's link over a broker's connection.
type natsControl struct{ n *NATS }

func (l *natsControl) listen(subjects []string, into chan *nats.Msg) (func(), error) {
	var subs []*nats.Subscription
	stop := func() {
		for _, s := range subs {
			_ = s.Unsubscribe() // fails only when the connection is closed
		}
	}
	for _, subject := range subjects {
		s, err := l.n.conn.ChanSubscribe(subject, into)
		if err != nil {
			stop()
			return nil, linkError(err)
		}
		subs = append(subs, s)
	}
	return stop, nil
}

// send refuses while the socket is congested: the control plane must not make that worse, and its callers have time limits.
func (l *natsControl) send(m *nats.Msg) error {
	if l.n.aborted() {
		return ErrClosed
	}
	if !l.n.link.up.Load() {
		return ErrDisconnected
	}
	if o := l.n.dialer.current.Load(); o != nil && o.buffered.Load() >= 2*o.limit {
		return ErrBusy
	}
	return linkError(l.n.conn.PublishMsg(m))
}

func (l *natsControl) settle(ctx context.Context) error {
	return linkError(l.n.conn.FlushWithContext(ctx))
}

func (l *natsControl) up() uint64 {
	if !l.n.link.up.Load() {
		return 0
	}
	return l.n.count.reconnects.Load() + 1
}

func (l *natsControl) maxPayload() int {
	if most := int(l.n.link.maxPayload.Load()); most > 0 {
		return most
	}
	return defaultMaxMessageBytes
}

var semanticVersion = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)$`)

// announce makes the node a NATS micro service: `nats micro ls`, `nats micro info throng`, `nats micro stats throng`.
func (l *natsControl) announce(c *Control) (func(), error) {
	version := "0.0.0"
	if m := semanticVersion.FindStringSubmatch(c.self.Version); m != nil {
		version = m[1]
	}
	s, err := micro.AddService(l.n.conn, micro.Config{
		Name: "throng", Version: version, Description: "Throng node " + c.self.Name,
		Metadata: map[string]string{"node": c.self.Name, "uid": c.self.UID, "version": c.self.Version, "prefix": l.n.cfg.Prefix},
		StatsHandler: func(*micro.Endpoint) any {
			return c.describe().Counts
		},
		Endpoint: &micro.EndpointConfig{
			Subject: c.prefix + "describe." + c.self.UID,
			Handler: micro.HandlerFunc(func(r micro.Request) {
				data, err := json.Marshal(c.describe())
				if err == nil {
					err = r.Respond(data)
				}
				if err != nil {
					l.n.events.event(slog.LevelWarn, "description of this node could not be sent", "err", err)
				}
			}),
		},
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = s.Stop() }, nil // fails only when the connection is closed
}
