package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"throng/broker/doctor"
	"throng/broker/natstest"
)

// runDoctor is throng doctor with these arguments, and its exit status.
func runDoctor(t *testing.T, env map[string]string, args ...string) (out string, status int) {
	t.Helper()
	var b buffer
	err := run(t.Context(), append([]string{"doctor"}, args...), environment(env), output{&b, &b})
	if err != nil {
		return b.String() + errorText(err), exitCode(err)
	}
	return b.String(), 0
}

func TestDoctorTakesTheNodesOptions(t *testing.T) {
	s := natstest.Start(t, natstest.Config{Login: "ann:secret@", Lines: `authorization { user: ann, password: secret }`})
	file := writeFile(t, "throng.yaml", "nats-url: "+s.URL()+"\nnats-prefix: mine\n")
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
	}{
		"flag":     {nil, []string{"--nats-prefix=mine", "--nats-url", s.URL()}},
		"variable": {map[string]string{"THRONG_NATS_URL": s.URL(), "THRONG_NATS_PREFIX": "mine"}, nil},
		"file":     {nil, []string{"--config", file, "--write-check"}},
	} {
		out, status := runDoctor(t, c.env, c.args...)
		if status != 0 || !strings.Contains(out, "below mine.>") || !strings.HasSuffix(out, "verdict: fit\n") || strings.Contains(out, "secret") {
			t.Errorf("%s: status %d\n%s", name, status, out)
		}
	}
	out, status := runDoctor(t, nil, "--nats-url", s.URL(), "--format", "json")
	var reports []doctor.Report
	if err := json.Unmarshal([]byte(out), &reports); err != nil || status != 0 || len(reports) != 1 || !reports[0].Fit || len(reports[0].Findings) < 5 {
		t.Errorf("status %d, %v\n%s", status, err, out)
	}
}

func TestDoctorsExitStatus(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--nats-url=nats://" + freeAddr(t)}, 1, "is not fit: 1 problem"},
		{[]string{"--nats-url=nats://" + freeAddr(t), "--format=json"}, 1, `"level": "fail"`},
		{[]string{"--data-dir=" + t.TempDir()}, 0, "NATS inside the node"},
		{[]string{"-h"}, 0, "throng doctor [flags of the node]"},
		{[]string{"--format=xml"}, exitUsage, "use one of text, json"},
		{[]string{"--nats-url=http://a"}, exitUsage, `has scheme "http"`},
		{[]string{"now"}, exitUsage, `argument "now": not expected`},
	} {
		out, status := runDoctor(t, map[string]string{"XDG_CACHE_HOME": t.TempDir()}, c.args...)
		if status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%q: status %d, want %d with %q\n%s", c.args, status, c.status, c.want, out)
		}
	}
}

// What a node makes, doctor finds as configured; what it cannot make, doctor foresees.
func TestDoctorKnowsTheStreamsOfTheNode(t *testing.T) {
	s := natstest.Start(t, natstest.Config{})
	const namespaces = "channel:\n  namespaces:\n    - name: chat\n      history_size: 10\n      history_ttl: 1m\n"
	file := writeFile(t, "throng.yaml", "nats-url: "+s.URL()+"\n"+namespaces)
	out, status := runDoctor(t, nil, "--config", file)
	if status != 0 || !strings.Contains(out, "namespace chat, stream throng_hist_chat: not there yet") {
		t.Errorf("status %d\n%s", status, out)
	}
	n := startTestNode(t, "1111", "--config", file)
	n.awaitReady(200, "")
	await(t, "the stream as configured", func() bool {
		out, status = runDoctor(t, nil, "--config", file)
		return status == 0 && strings.Contains(out, "namespace chat, stream throng_hist_chat: as configured, 1 replica")
	})
	three := writeFile(t, "three.yaml", "nats-url: "+s.URL()+"\nhistory:\n  replicas: 3\n"+namespaces)
	if out, status := runDoctor(t, nil, "--config", three); status != 1 || !strings.Contains(out, "a single server, but history wants 3 replicas") {
		t.Errorf("status %d\n%s", status, out)
	}
	bad := writeFile(t, "bad.yaml", "channel:\n  namespaces:\n    - name: 'a b'\n")
	if out, status := runDoctor(t, nil, "--config", bad); status != exitUsage {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestDoctorSeesTheNodeThatRuns(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	startTestNode(t, "1111", "--data-dir="+dir, "--nats-listen="+addr)
	out, status := runDoctor(t, nil, "--data-dir="+dir, "--nats-listen="+addr)
	if status != 0 || !strings.Contains(out, "is in use by process") || !strings.Contains(out, "NATS at nats://"+addr) || strings.Count(out, "verdict: fit") != 2 {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestDoctorEndsWithItsContext(t *testing.T) {
	s := natstest.Start(t, natstest.Config{NoJetStream: true})
	s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var b buffer
	if err := run(ctx, []string{"doctor", "--nats-url", s.URL()}, environment(nil), output{&b, &b}); err == nil {
		t.Errorf("fit: %s", b.String())
	}
}
