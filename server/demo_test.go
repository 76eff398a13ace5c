package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	centrifuge "github.com/centrifugal/centrifuge-go"

	"throng/server/channel"
)

func TestDemoIsOnUntilSomebodySaysWhoMayDoWhat(t *testing.T) {
	for _, test := range []struct {
		file string
		args []string
		env  map[string]string
		want bool
	}{
		{"", nil, nil, true},
		{"http_api:\n  key: x\nlog-level: warn\nclient:\n  command_rate: 10\n", nil, nil, true},
		{"auth:\n  token:\n    hmac_secret_key: 0123456789abcdef0123456789abcdef\n", nil, nil, false},
		{"auth: {}\n", nil, nil, false},
		{"channel:\n  namespaces:\n    - name: news\n", nil, nil, false},
		{"proxy: {}\n", nil, nil, false},
		{"client:\n  insecure: true\n", nil, nil, false},
		{"client:\n  allow_anonymous_connect_without_token: true\n", nil, nil, false},
		{"", []string{"--insecure"}, nil, false},
		{"", nil, map[string]string{"THRONG_TOKEN_HMAC_SECRET_KEY": "0123456789abcdef0123456789abcdef"}, false},
		{"", []string{"--demo=off"}, nil, false},
		{"demo: off\n", nil, nil, false},
		{"", nil, map[string]string{"THRONG_DEMO": "off"}, false},
		{"channel:\n  namespaces:\n    - name: news\n", []string{"--demo=on"}, nil, true},
	} {
		args := append([]string{"--config", writeFile(t, "throng.yaml", test.file)}, test.args...)
		if got := mustLoad(t, args, test.env).DemoOn(); got != test.want {
			t.Errorf("%q %q %v: on is %v, want %v", test.file, test.args, test.env, got, test.want)
		}
	}
}

func TestDemoLeavesANamespaceOfItsNameAlone(t *testing.T) {
	file := writeFile(t, "throng.yaml", "demo: on\nchannel:\n  namespaces:\n    - name: chat\n      presence: true\n")
	c := mustLoad(t, []string{"--config", file}, nil)
	if got := withDemo(c, channel.Environment{}); len(got.Namespaces) != 1 || got.Namespaces[0].AllowSubscribeForClient {
		t.Errorf("namespaces %+v", got.Namespaces)
	}
	c = mustLoad(t, nil, nil)
	if got := withDemo(c, channel.Environment{}); len(got.Namespaces) != 1 || len(c.Channel.Namespaces) != 0 {
		t.Errorf("with nothing configured: %d namespaces, %d in the configuration", len(got.Namespaces), len(c.Channel.Namespaces))
	}
}

func TestOperatorIsToldWhatGuestsMayDoElsewhere(t *testing.T) {
	const file = "channel:\n  namespaces:\n    - name: news\n      allow_subscribe_for_client: true\n    - name: private\n      presence: true\n"
	args := []string{"--config", writeFile(t, "throng.yaml", file)}
	if got := demoNotes(mustLoad(t, args, nil)); len(got) != 0 {
		t.Errorf("with the demo off: %q", got)
	}
	if got := demoNotes(mustLoad(t, append(args, "--demo=on"), nil)); len(got) != 1 || !strings.Contains(got[0], "news") {
		t.Errorf("with it on: %q", got)
	}
	if got := demoNotes(mustLoad(t, nil, nil)); len(got) != 0 {
		t.Errorf("with nothing configured: %q", got)
	}
}

// guestToken asks a node for a token.
func guestToken(addr, name, old string) (status int, token, user string, err error) {
	body, err := json.Marshal(map[string]string{"name": name, "token": old})
	if err != nil {
		return 0, "", "", err
	}
	r, err := http.Post("http://"+addr+tokenPath, "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, "", "", err
	}
	defer r.Body.Close()
	var a struct{ Token, User string }
	if r.StatusCode == http.StatusOK {
		err = json.NewDecoder(r.Body).Decode(&a)
	}
	return r.StatusCode, a.Token, a.User, err
}

func TestGuestOfTheDemoWithTheOfficialSDK(t *testing.T) {
	n := &sdkNode{testNode: startTestNode(t, "1111")}
	_, token, user, err := guestToken(n.addr, "Ann", "")
	if err != nil || !strings.HasPrefix(user, "guest-") {
		t.Fatalf("user %q, %v", user, err)
	}
	c := n.goClient(t, false, centrifuge.Config{Token: token})
	sub, err := c.NewSubscription("chat:lobby")
	if err != nil {
		t.Fatal(err)
	}
	in, heard := make(chan bool, 1), make(chan centrifuge.PublicationEvent, 1)
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { in <- true })
	sub.OnPublication(func(e centrifuge.PublicationEvent) { heard <- e })
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "subscribed", in)
	if _, err := sub.Publish(t.Context(), []byte(`{"text":"hi"}`)); err != nil {
		t.Fatal(err)
	}
	if e := receiveFrom(t, "publication", heard); e.Info.User != user || string(e.Info.ConnInfo) != `{"name":"Ann"}` {
		t.Errorf("published by %+v", e.Info)
	}
	if _, err := c.Publish(t.Context(), "chat:other", []byte(`{"text":"hi"}`)); err == nil {
		t.Error("a guest speaks into a room it is not in")
	}
	if got := n.metric(`throng_demo_tokens_total{result="issued"}`); got != 1 {
		t.Errorf("%v tokens counted", got)
	}
}

func TestTokenOfAnotherNodeIsInvalidHere(t *testing.T) {
	a, b := startTestNode(t, "1111"), &sdkNode{testNode: startTestNode(t, "2222")}
	_, token, _, err := guestToken(a.addr, "Ann", "")
	if err != nil {
		t.Fatal(err)
	}
	c := b.goClient(t, false, centrifuge.Config{Token: token})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	if e := receiveFrom(t, "disconnected", c.disconnected); e.Code != 3500 {
		t.Errorf("code %d, want 3500", e.Code)
	}
}

// Off is off: no page, no link, no tokens, no namespace; the raw chat stays. And a reload may switch it.
func TestDemoIsSwitchedByAReload(t *testing.T) {
	file := writeFile(t, "throng.yaml", "demo: on\n")
	n := startTestNode(t, "1111", "--config", file)
	_, token, _, err := guestToken(n.addr, "Ann", "")
	if err != nil {
		t.Fatal(err)
	}
	check := func(on bool) {
		t.Helper()
		want := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[on]
		status, _, _, err := guestToken(n.addr, "Ann", token)
		page, _ := get("http://" + n.addr + chatPath)
		raw, body := get("http://" + n.addr + "/")
		if err != nil || status != want || page != want || raw != http.StatusOK || strings.Contains(body, `href="`+chatPath+`"`) != on {
			t.Errorf("on %v: token %d, page %d, raw chat %d, %v", on, status, page, raw, err)
		}
	}
	check(true)
	for i, on := range []bool{false, true} {
		mode := map[bool]string{true: "demo: on\n", false: "channel: {}\n"}[on]
		if err := os.WriteFile(file, []byte(mode), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(t, "reload", func() bool { return strings.Count(n.log.String(), "configuration reloaded") == i+1 })
		check(on)
		if on {
			continue
		}
		c := (&sdkNode{testNode: n}).goClient(t, false, centrifuge.Config{Token: token})
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-c.disconnected: // as if no token had been shown
			if e.Code != 3501 {
				t.Errorf("code %d", e.Code)
			}
		case <-c.connected:
			t.Error("a guest gets in")
		case <-time.After(patience):
			t.Error("a guest is not answered")
		}
	}
	if strings.Contains(n.log.String(), "level=WARN") {
		t.Errorf("warnings in the log:\n%s", n.log.String())
	}
}
