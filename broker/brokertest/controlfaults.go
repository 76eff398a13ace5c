package brokertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"throng/broker"
)

func surveyExpired(t *testing.T, start ControlFactory) {
	release := make(chan struct{})
	g := group(t, start, 2, func(_ int, c *broker.ControlConfig) { c.Workers = 1 })
	late := g.Nodes[1]
	running, performed := make(chan struct{}, 1), make(chan string, 8)
	late.HandleSurvey("hold", func([]byte) ([]byte, error) { running <- struct{}{}; <-release; return nil, nil })
	late.HandleSurvey("act", func(p []byte) ([]byte, error) { performed <- string(p); return nil, nil })
	done := make(chan error, 1)
	go func() {
		_, err := g.Nodes[0].Ask(context.Background(), late.Self().UID, "hold", nil)
		done <- err
	}()
	<-running
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.Nodes[0].Ask(ctx, late.Self().UID, "act", []byte("late")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Ask: %v", err)
	}
	until(t, g, "the late request waits", func() bool { return late.Stats().Queued == 1 })
	time.Sleep(500 * time.Millisecond) // its time counts from its arrival, which nothing announces
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := g.Nodes[0].Ask(context.Background(), late.Self().UID, "act", []byte("in time")); err != nil {
		t.Fatal(err)
	}
	if got := <-performed; got != "in time" || late.Stats().Expired != 1 {
		t.Errorf("performed %q, %+v", got, late.Stats())
	}
}

func surveyDeath(t *testing.T, start ControlFactory) {
	release := make(chan struct{})
	defer close(release)
	g := group(t, start, 3, nil)
	running := make(chan struct{}, 1)
	for i, c := range g.Nodes {
		c.HandleSurvey("work", func([]byte) ([]byte, error) {
			if i == 2 {
				running <- struct{}{}
				<-release
			}
			return []byte(c.Self().Name), nil
		})
	}
	result := make(chan broker.Survey, 1)
	go func() {
		s, err := g.Nodes[0].Survey(context.Background(), "work", nil)
		if err != nil {
			t.Error(err)
		}
		result <- s
	}()
	<-running
	g.Kill(2)
	// The next survey finds it gone, long before the time is over.
	s := mustSurvey(t, g.Nodes[1], "work", "")
	want(t, "answers", answers(s), "node-0", "node-1")
	want(t, "silent", silent(s), "node-2 unreachable=true")
	if n := g.Nodes[1].Stats(); n.Incomplete != 1 || n.Silent != 1 {
		t.Errorf("stats: %+v", n)
	}
	_, err := g.Nodes[1].Ask(context.Background(), g.Nodes[2].Self().UID, "work", nil)
	if !errors.Is(err, broker.ErrNoNode) {
		t.Errorf("Ask: %v", err)
	}
	s = <-result
	want(t, "answers", answers(s), "node-0", "node-1")
	want(t, "silent", silent(s), "node-2 unreachable=true")
}

func nodesForgotten(t *testing.T, start ControlFactory) {
	g := group(t, start, 3, func(i int, c *broker.ControlConfig) {
		if i == 0 {
			c.ForgetAfter = 400 * time.Millisecond
		}
	})
	g.Nodes[1].Close()
	until(t, g, "the one that left is not known", func() bool { return len(g.Nodes[2].Nodes()) == 2 })
	if n := g.Nodes[2].Stats().Forgotten; n != 0 {
		t.Errorf("%d nodes forgotten, though it said goodbye", n)
	}
	g.Kill(2)
	until(t, g, "the dead one is forgotten", func() bool { return len(g.Nodes[0].Nodes()) == 1 })
	echo(g)
	want(t, "answers", answers(mustSurvey(t, g.Nodes[0], "echo", "x")), "node-0:x")
}

func surveyCut(t *testing.T, start ControlFactory) {
	g := group(t, start, 3, func(_ int, c *broker.ControlConfig) { c.ForgetAfter = 300 * time.Millisecond })
	echo(g)
	g.Cut()
	until(t, g, "link lost", func() bool {
		s, err := g.Nodes[0].Survey(context.Background(), "echo", []byte("x"))
		return errors.Is(err, broker.ErrDisconnected) && len(s.Answers) == 1
	})
	s, err := g.Nodes[0].Survey(context.Background(), "echo", []byte("x"))
	want(t, "answers", answers(s), "node-0:x")
	want(t, "silent", silent(s), "node-1 unreachable=false", "node-2 unreachable=false")
	if !errors.Is(err, broker.ErrDisconnected) {
		t.Errorf("Survey without a link: %v", err)
	}
	if _, err := g.Nodes[0].Ask(context.Background(), g.Nodes[1].Self().UID, "echo", nil); !errors.Is(err, broker.ErrDisconnected) {
		t.Errorf("Ask without a link: %v", err)
	}
	if _, err := g.Nodes[0].Request(context.Background(), broker.ServiceRequest{Subject: "svc.x"}); !errors.Is(err, broker.ErrDisconnected) {
		t.Errorf("Request without a link: %v", err)
	}
	g.Heal()
	until(t, g, "everybody answers again", func() bool {
		s, err := g.Nodes[0].Survey(context.Background(), "echo", []byte("x"))
		return err == nil && s.Complete() && len(s.Answers) == 3
	})
}

func surveyOversize(t *testing.T, start ControlFactory) {
	g := group(t, start, 2, func(i int, c *broker.ControlConfig) {
		c.MaxAnswerBytes = 100_000
		if i == 1 {
			c.MaxAnswerBytes = 150_000
		}
	})
	for _, c := range g.Nodes {
		c.HandleSurvey("size", func(p []byte) ([]byte, error) {
			var n int
			_, err := fmt.Sscan(string(p), &n)
			return make([]byte, n), err
		})
	}
	s := mustSurvey(t, g.Nodes[0], "size", "50000")
	if !s.Complete() {
		t.Errorf("just below the limit: %v %v", answers(s), silent(s))
	}
	s = mustSurvey(t, g.Nodes[0], "size", "200000")
	want(t, "answers", answers(s), "node-0!answer of 200000 bytes is over the limit of 100000", "node-1!answer of 200000 bytes is over the limit of 150000")
	s = mustSurvey(t, g.Nodes[0], "size", "80000")
	if got := len(s.Answers); got != 2 || s.Complete() {
		t.Errorf("together over the limit: %d answers, complete %v", got, s.Complete())
	}
	if _, err := g.Nodes[0].Ask(context.Background(), g.Nodes[1].Self().UID, "size", []byte("120000")); !errors.Is(err, broker.ErrTooBig) {
		t.Errorf("Ask for too much: %v", err)
	}
	huge := make([]byte, 2<<20)
	if _, err := g.Nodes[0].Survey(context.Background(), "size", huge); !errors.Is(err, broker.ErrTooBig) {
		t.Errorf("Survey: %v", err)
	}
	if _, err := g.Nodes[0].Ask(context.Background(), g.Nodes[1].Self().UID, "size", huge); !errors.Is(err, broker.ErrTooBig) {
		t.Errorf("Ask: %v", err)
	}
	if _, err := g.Nodes[0].Request(context.Background(), broker.ServiceRequest{Subject: "svc.x", Data: huge}); !errors.Is(err, broker.ErrTooBig) {
		t.Errorf("Request: %v", err)
	}
}
