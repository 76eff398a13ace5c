package broker_test

import (
	"testing"
	"time"

	"throng/broker"
	"throng/broker/natstest"
	"throng/broker/natstest/chaosproxy"
)

// F7: whoever has to tell others of gaps in time is told of a lost link, and for how long it may have been lost already: a link
// that fell silent for as long as that took to notice, one that was reset for next to nothing.
func TestALostLinkIsToldWithTheSilenceBeforeIt(t *testing.T) {
	server := natstest.Start(t, natstest.Config{})
	for name, c := range map[string]struct {
		lose        func(*chaosproxy.Proxy)
		least, most time.Duration
	}{
		"silent": {func(p *chaosproxy.Proxy) { p.Hold() }, 900 * time.Millisecond, time.Hour},
		"reset":  {func(p *chaosproxy.Proxy) { p.Refuse(); p.Cut() }, 0, 900 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			p := chaosproxy.Start(t, server.Addr())
			n := connect(t, broker.Config{URLs: []string{"nats://" + p.Addr()}, PingInterval: 300 * time.Millisecond, ConnectTimeout: 200 * time.Millisecond}, func(broker.Message) {})
			lost := make(chan time.Duration, 10)
			s := startStreams(t, n, broker.StreamsConfig{Streams: []broker.StreamConfig{historyOf("chat")}, OnLost: func(silent time.Duration) { lost <- silent }})
			awaitStreams(t, n, s)
			c.lose(p)
			select {
			case silent := <-lost:
				if silent < c.least || silent > c.most {
					t.Errorf("told of a silence of %v, want %v to %v", silent, c.least, c.most)
				}
			case <-time.After(patience):
				t.Fatal("not told")
			}
			p.Heal()
			awaitStreams(t, n, s)
			if len(lost) > 0 {
				t.Errorf("told %d times more", len(lost))
			}
		})
	}
}

// A question to a stream without a leader is never answered; when it has one, nobody waits for the end of ReadTimeout.
func TestANewLeaderIsAskedAtOnce(t *testing.T) {
	cluster := natstest.StartCluster(t, natstest.Config{})
	c := historyOf("chat")
	c.Replicas = 3
	n, s := remoteNode(t, cluster.URL(), broker.StreamsConfig{Streams: []broker.StreamConfig{c}, ReadTimeout: 10 * patience}, nil)
	awaitStreams(t, n, s)
	for range 2 {
		cluster.WaitCurrent("throng_hist_chat")
		leader := cluster.Leader("throng_hist_chat")
		leader.Kill()
		persist(t, s, "c", "after "+leader.Name())
		leader.Start()
		cluster.WaitReady()
	}
}
