package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"throng/broker"
)

// ControlGroup is some nodes on one backing service, with their control planes.
type ControlGroup struct {
	Nodes []*broker.Control
	// Kill ends the broker of a node without a goodbye, as a crash would.
	Kill func(i int)
	// Cut takes the backing service away from all nodes, Heal brings it back.
	Cut, Heal func()
	// Serve puts a service on a subject, outside all nodes. An error that is no *broker.ServiceError means no answer.
	Serve func(t *testing.T, subject string, fn broker.ServiceFunc)
}

// ControlFactory starts one node per configuration and registers their end with t.Cleanup.
type ControlFactory func(t *testing.T, cfgs ...broker.ControlConfig) *ControlGroup

// TestControl runs the suite of the control plane.
func TestControl(t *testing.T, start ControlFactory) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, start ControlFactory)
	}{
		{"every node knows every node", nodesKnown},
		{"a survey has one answer of every node", surveyAll},
		{"payloads and answers survive, in parts where they must", surveyBytes},
		{"a handler's failure is that node's answer", surveyFailures},
		{"a slow handler is silence, and nobody else's business", surveySlow},
		{"a full queue answers busy", surveyBusy},
		{"a request that is too late is not performed", surveyExpired},
		{"a node that dies during a survey ends nobody's wait late", surveyDeath},
		{"a killed node is forgotten and one that leaves is at once", nodesForgotten},
		{"without a link a survey is this node's answer and an error", surveyCut},
		{"what is too big is refused on both ways", surveyOversize},
		{"Ask reaches one node and tells when there is none", askOne},
		{"Request reaches a service and maps its errors", requestService},
		{"Request sends nothing that could pass for something else", requestForgery},
		{"calls in flight are bounded", inFlight},
		{"Close ends calls under way and is idempotent", controlClose},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) { test.run(t, start) })
	}
}

// quick are settings for tests: impatient where something is awaited, patient where something must not happen.
func quick(name string) broker.ControlConfig {
	return broker.ControlConfig{
		Name: name, Version: "v1.2.3", HeartbeatInterval: 60 * time.Millisecond, ForgetAfter: patience,
		SettleTime: 20 * time.Millisecond, ProbeAfter: 20 * time.Millisecond, SurveyTimeout: patience,
	}
}

// group starts nodes and waits until all know each other.
func group(t *testing.T, start ControlFactory, n int, edit func(i int, c *broker.ControlConfig)) *ControlGroup {
	t.Helper()
	cfgs := make([]broker.ControlConfig, n)
	for i := range cfgs {
		cfgs[i] = quick(fmt.Sprintf("node-%d", i))
		if edit != nil {
			edit(i, &cfgs[i])
		}
	}
	g := start(t, cfgs...)
	for _, c := range g.Nodes {
		until(t, g, "all nodes known", func() bool { return len(c.Nodes()) == n })
	}
	return g
}

func until(t *testing.T, g *ControlGroup, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			for _, c := range g.Nodes {
				t.Logf("%s: %+v", c.Self().Name, c.Stats())
			}
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// echo answers with the node's name and the payload.
func echo(g *ControlGroup) {
	for _, c := range g.Nodes {
		c.HandleSurvey("echo", func(p []byte) ([]byte, error) { return append([]byte(c.Self().Name+":"), p...), nil })
	}
}

func mustSurvey(t *testing.T, c *broker.Control, op, payload string) broker.Survey {
	t.Helper()
	s, err := c.Survey(context.Background(), op, []byte(payload))
	if err != nil {
		t.Fatalf("Survey: %v %+v %+v", err, s, c.Stats())
	}
	return s
}

func answers(s broker.Survey) (out []string) {
	for _, a := range s.Answers {
		if a.Err != nil {
			out = append(out, a.Node.Name+"!"+a.Err.Error())
			continue
		}
		out = append(out, string(a.Data))
	}
	slices.Sort(out)
	return out
}

func silent(s broker.Survey) (out []string) {
	for _, n := range s.Silent {
		out = append(out, fmt.Sprintf("%s unreachable=%v", n.Node.Name, n.Unreachable))
	}
	slices.Sort(out)
	return out
}

func want(t *testing.T, what string, got []string, wanted ...string) {
	t.Helper()
	if !slices.Equal(got, wanted) {
		t.Errorf("%s: got %q, want %q", what, got, wanted)
	}
}

func nodesKnown(t *testing.T, start ControlFactory) {
	g := group(t, start, 3, func(i int, c *broker.ControlConfig) {
		c.Counts = func() broker.NodeCounts { return broker.NodeCounts{Clients: uint32(10 + i), Subs: 7} }
	})
	g.Nodes[2].SetCounts(func() broker.NodeCounts { return broker.NodeCounts{Clients: 99} })
	until(t, g, "later counts travel", func() bool {
		return slices.ContainsFunc(g.Nodes[0].Nodes(), func(n broker.Node) bool { return n.Counts.Clients == 99 })
	})
	g.Nodes[2].SetCounts(func() broker.NodeCounts { return broker.NodeCounts{Clients: 12, Subs: 7} })
	for _, c := range g.Nodes {
		until(t, g, "counts travel back", func() bool {
			return !slices.ContainsFunc(c.Nodes(), func(n broker.Node) bool { return n.Counts.Clients == 99 })
		})
		var names []string
		uids := map[string]bool{}
		for _, n := range c.Nodes() {
			names = append(names, fmt.Sprintf("%s %s %d %d", n.Name, n.Version, n.Counts.Clients, n.Counts.Subs))
			uids[n.UID] = true
		}
		slices.Sort(names)
		want(t, "nodes", names, "node-0 v1.2.3 10 7", "node-1 v1.2.3 11 7", "node-2 v1.2.3 12 7")
		if len(uids) != 3 || !uids[c.Self().UID] {
			t.Errorf("UIDs: %v, own %s", uids, c.Self().UID)
		}
	}
}

func surveyAll(t *testing.T, start ControlFactory) {
	g := group(t, start, 3, nil)
	echo(g)
	for i := range 20 {
		text := fmt.Sprint(i)
		for _, c := range g.Nodes {
			s := mustSurvey(t, c, "echo", text)
			want(t, "answers", answers(s), "node-0:"+text, "node-1:"+text, "node-2:"+text)
			if !s.Complete() {
				t.Errorf("not complete: %+v", s)
			}
		}
	}
	if s := g.Nodes[0].Stats(); s.Surveys != 20 || s.Incomplete != 0 || s.Handled != 60 || s.Nodes != 3 || s.InFlight != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func surveyBytes(t *testing.T, start ControlFactory) {
	g := group(t, start, 2, nil)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	var big []byte
	for len(big) < 3<<20 {
		big = append(big, every...)
	}
	for _, c := range g.Nodes {
		c.HandleSurvey("bytes", func(p []byte) ([]byte, error) {
			if string(p) == "big" {
				return big, nil
			}
			return p, nil
		})
	}
	for payload, answer := range map[string]string{"": "", string(every): string(every), "big": string(big)} {
		s := mustSurvey(t, g.Nodes[0], "bytes", payload)
		if len(s.Answers) != 2 || !s.Complete() {
			t.Fatalf("%d bytes: %d answers, silent %v", len(payload), len(s.Answers), silent(s))
		}
		for _, a := range s.Answers {
			if string(a.Data) != answer {
				t.Errorf("%s answered %d bytes, want %d", a.Node.Name, len(a.Data), len(answer))
			}
		}
		data, err := g.Nodes[0].Ask(context.Background(), g.Nodes[1].Self().UID, "bytes", []byte(payload))
		if err != nil || string(data) != answer {
			t.Errorf("Ask: %d bytes, %v", len(data), err)
		}
	}
}

func surveyFailures(t *testing.T, start ControlFactory) {
	g := group(t, start, 3, nil)
	g.Nodes[0].HandleSurvey("fail", func([]byte) ([]byte, error) { return []byte("ignored"), errors.New("no such thing") })
	g.Nodes[1].HandleSurvey("fail", func([]byte) ([]byte, error) { panic("oh") })
	s := mustSurvey(t, g.Nodes[2], "fail", "x")
	want(t, "answers", answers(s), "node-0!no such thing", "node-1!handler failed", `node-2!operation "fail" is not known to this node`)
	if s.Complete() {
		t.Error("failures count as complete")
	}
	var remote *broker.RemoteError
	if len(s.Answers) > 0 && !errors.As(s.Answers[0].Err, &remote) {
		t.Errorf("error is %T", s.Answers[0].Err)
	}
	if _, err := g.Nodes[0].Survey(context.Background(), "Bad Op\r\n", nil); err == nil {
		t.Error("a bad operation name was sent")
	}
	if n := g.Nodes[1].Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
}

func surveySlow(t *testing.T, start ControlFactory) {
	release := make(chan struct{})
	defer close(release)
	g := group(t, start, 3, func(_ int, c *broker.ControlConfig) { c.Workers = 2 })
	echo(g)
	for i, c := range g.Nodes {
		c.HandleSurvey("slow", func([]byte) ([]byte, error) {
			if i == 1 {
				<-release
			}
			return []byte(c.Self().Name), nil
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	s, err := g.Nodes[0].Survey(ctx, "slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "answers", answers(s), "node-0", "node-2")
	want(t, "silent", silent(s), "node-1 unreachable=false")
	// One worker of node-1 is held up, the node is not.
	want(t, "answers", answers(mustSurvey(t, g.Nodes[2], "echo", "x")), "node-0:x", "node-1:x", "node-2:x")
	want(t, "answers", answers(mustSurvey(t, g.Nodes[1], "echo", "x")), "node-0:x", "node-1:x", "node-2:x")
}

func surveyBusy(t *testing.T, start ControlFactory) {
	release := make(chan struct{})
	g := group(t, start, 2, func(i int, c *broker.ControlConfig) {
		if i == 1 {
			c.Workers, c.QueueLen = 1, 1
		}
	})
	held := g.Nodes[1]
	running := make(chan struct{}, 1)
	held.HandleSurvey("hold", func([]byte) ([]byte, error) { running <- struct{}{}; <-release; return nil, nil })
	results := make(chan error, 2)
	ask := func() {
		_, err := g.Nodes[0].Ask(context.Background(), held.Self().UID, "hold", nil)
		results <- err
	}
	go ask()
	<-running
	go ask()
	until(t, g, "one request waits", func() bool { return held.Stats().Queued == 1 })
	_, err := g.Nodes[0].Ask(context.Background(), held.Self().UID, "hold", nil)
	if err == nil || err.Error() != "node is busy" {
		t.Errorf("third request: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := held.Stats().Refused; n != 1 {
		t.Errorf("%d refusals counted", n)
	}
}

func askOne(t *testing.T, start ControlFactory) {
	g := group(t, start, 3, nil)
	echo(g)
	for _, c := range g.Nodes {
		data, err := g.Nodes[0].Ask(context.Background(), c.Self().UID, "echo", []byte("x"))
		if err != nil || string(data) != c.Self().Name+":x" {
			t.Errorf("%q, %v", data, err)
		}
	}
	for i, c := range g.Nodes {
		if n := c.Stats().Handled; n != 1 {
			t.Errorf("node %d handled %d requests", i, n)
		}
	}
	for _, uid := range []string{"nobody", "", "*", ">", "a.b", "$SYS", "a b\r\n"} {
		if _, err := g.Nodes[0].Ask(context.Background(), uid, "echo", nil); !errors.Is(err, broker.ErrNoNode) {
			t.Errorf("Ask(%q): %v", uid, err)
		}
	}
}

func requestService(t *testing.T, start ControlFactory) {
	g := group(t, start, 1, nil)
	g.Serve(t, "svc.sum", func(r broker.ServiceRequest) ([]byte, error) {
		switch string(r.Data) {
		case "fail":
			return nil, &broker.ServiceError{Code: "404", Description: "no such thing"}
		case "hang":
			return nil, errors.New("hang")
		}
		return []byte(r.Header["Throng-User"] + "/" + r.Header["Throng-Client"] + "/" + string(r.Data)), nil
	})
	call := func(subject, data string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if data == "hang" {
			ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
		}
		defer cancel()
		r, err := g.Nodes[0].Request(ctx, broker.ServiceRequest{
			Subject: subject, Data: []byte(data), Header: map[string]string{"Throng-User": "Ünï {\"a\"} ,;", "Throng-Client": "c1"},
		})
		return string(r.Data), err
	}
	until(t, g, "the service answers", func() bool { _, err := call("svc.sum", "up?"); return err == nil })
	if got, err := call("svc.sum", "1+1"); err != nil || got != "Ünï {\"a\"} ,;/c1/1+1" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := call("svc.nobody", "x"); !errors.Is(err, broker.ErrNoService) {
		t.Errorf("nobody there: %v", err)
	}
	var failure *broker.ServiceError
	if _, err := call("svc.sum", "fail"); !errors.As(err, &failure) || failure.Code != "404" || failure.Description != "no such thing" {
		t.Errorf("service error: %v", err)
	}
	if _, err := call("svc.sum", "hang"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
}

func requestForgery(t *testing.T, start ControlFactory) {
	g := group(t, start, 1, nil)
	for _, subject := range []string{
		"", "*", ">", "svc.*", "svc.>", "svc..x", ".svc", "svc.", "svc x", "svc\r\nPUB a 1", "svc.\x00", "$SYS.REQ.X", "$JS.API.INFO",
		"_INBOX.x", "throng.live.chat", "throng", "memory.ctl.beat", strings.Repeat("a", 5000),
	} {
		if strings.HasPrefix(subject, "throng") || strings.HasPrefix(subject, "memory") {
			continue // whose own prefix it is depends on the implementation; see the tests of each
		}
		if _, err := g.Nodes[0].Request(context.Background(), broker.ServiceRequest{Subject: subject}); !errors.Is(err, broker.ErrBadSubject) {
			t.Errorf("subject %.40q: %v", subject, err)
		}
	}
	for key, value := range map[string]string{
		"Throng-User": "bob\r\nThrong-User: root", "A": " bob", "B": "bob\t", "C": "bob\n", "D": "\x00", "E": "\xff", "F:x": "y", "": "y", "G ": "y", "H\r\n": "y",
	} {
		r := broker.ServiceRequest{Subject: "svc.x", Header: map[string]string{key: value}}
		if _, err := g.Nodes[0].Request(context.Background(), r); !errors.Is(err, broker.ErrBadHeader) {
			t.Errorf("header %q: %q: %v", key, value, err)
		}
	}
}

func inFlight(t *testing.T, start ControlFactory) {
	g := group(t, start, 2, func(_ int, c *broker.ControlConfig) { c.MaxInFlight = 2 })
	release := make(chan struct{})
	g.Nodes[1].HandleSurvey("hold", func([]byte) ([]byte, error) { <-release; return nil, nil })
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := g.Nodes[0].Ask(context.Background(), g.Nodes[1].Self().UID, "hold", nil)
			results <- err
		}()
	}
	until(t, g, "two in flight", func() bool { return g.Nodes[0].Stats().InFlight == 2 })
	if _, err := g.Nodes[0].Survey(context.Background(), "hold", nil); !errors.Is(err, broker.ErrBusy) {
		t.Errorf("Survey: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	until(t, g, "none in flight", func() bool { return g.Nodes[0].Stats().InFlight == 0 })
}

func controlClose(t *testing.T, start ControlFactory) {
	g := group(t, start, 2, nil)
	release := make(chan struct{})
	running := make(chan struct{}, 2)
	g.Nodes[1].HandleSurvey("hold", func([]byte) ([]byte, error) { running <- struct{}{}; <-release; return nil, nil })
	g.Nodes[0].HandleSurvey("hold", func([]byte) ([]byte, error) { return nil, nil })
	results := make(chan error, 2)
	go func() {
		_, err := g.Nodes[0].Survey(context.Background(), "hold", nil)
		results <- err
	}()
	go func() {
		_, err := g.Nodes[0].Ask(context.Background(), g.Nodes[1].Self().UID, "hold", nil)
		results <- err
	}()
	<-running
	<-running
	g.Nodes[0].Close()
	for range 2 {
		if err := <-results; !errors.Is(err, broker.ErrClosed) {
			t.Errorf("call under way: %v", err)
		}
	}
	g.Nodes[0].Close()
	if _, err := g.Nodes[0].Survey(context.Background(), "hold", nil); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Survey: %v", err)
	}
	if _, err := g.Nodes[0].Request(context.Background(), broker.ServiceRequest{Subject: "svc.x"}); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Request: %v", err)
	}
	closed := make(chan struct{})
	go func() { g.Nodes[1].Close(); close(closed) }()
	select {
	case <-closed:
		t.Error("Close did not wait for a running handler")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	<-closed
}
