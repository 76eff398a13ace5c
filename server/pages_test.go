package main

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"throng/server/web/webtest"
	"throng/server/wire"
)

// The page in a real browser against real nodes. Screenshots for human eyes stay with -artifacts, or in THRONG_SHOTS.
func TestPagesOfRealNodes(t *testing.T) {
	t.Parallel()
	browser := webtest.Start(t)
	a := startTestNode(t, "1111", "--nats-listen=127.0.0.1:0")
	t.Run("the snippet hears its node and itself", func(t *testing.T) { snippet(t, browser, a) })
	t.Run("persons on two nodes see each other", func(t *testing.T) { personsOnTwoNodes(t, browser, a) })
	t.Run("a killed node's page comes back and loses nothing", func(t *testing.T) { killedNode(t, browser, a) })
	t.Run("limits of page and node agree", func(t *testing.T) { limitsAgree(t, browser) })
}

func shoot(t *testing.T, p *webtest.Page, name string) {
	t.Helper()
	folder := os.Getenv("THRONG_SHOTS")
	if folder == "" {
		folder = t.ArtifactDir()
	}
	file := filepath.Join(folder, name+".png")
	p.Screenshot(file)
	picture, err := png.Decode(bytes.NewReader([]byte(readAll(t, file))))
	if err != nil || picture.Bounds().Empty() {
		t.Errorf("screenshot %s: %v", file, err)
	}
}

func noProblems(t *testing.T, pages ...*webtest.Page) {
	t.Helper()
	for _, p := range pages {
		if problems := p.Problems(); len(problems) > 0 {
			t.Errorf("the console is not empty: %q", problems)
		}
	}
}

// snippet runs the browser code of issue 2 as it stands, but for the address and for where it writes what it hears.
func snippet(t *testing.T, browser *webtest.Browser, a *testNode) {
	b := startTestNode(t, "2222", "--nats-url="+a.nats)
	pages := map[*place]*webtest.Page{}
	for _, n := range []*place{&a.place, &b.place} {
		page := browser.Open(t, "http://"+n.addr+"/404")
		webtest.Eval[*string](page, `void (() => {
			const heard = []; document.title = "";
			const ws = new WebSocket("ws://`+n.addr+`"); ws.onmessage = m => { heard.push(m.data); document.title = heard.join("|") };
			ws.onopen = () => ws.send("I am client!!!")
		})()`)
		want := "Connected to server " + n.id + "|" + n.id + ":I am client!!!"
		page.Wait("greeting and own message of "+n.id, `document.title === "`+want+`"`)
		pages[n] = page
	}
	pages[&a.place].Wait("message of the other node's client", `document.title === "Connected to server 1111|1111:I am client!!!|1111:I am client!!!"`)
	for _, p := range pages { // the page of an unknown path is a 404, which the console notes
		if problems := p.Problems(); slices.ContainsFunc(problems, func(s string) bool { return !strings.Contains(s, "404") }) {
			t.Errorf("the console holds %q", problems)
		}
	}
}

func personsOnTwoNodes(t *testing.T, browser *webtest.Browser, a *testNode) {
	b := startTestNode(t, "2222", "--nats-url="+a.nats)
	const room = "/?room=kitchen"
	ada, bob := browser.Open(t, "http://"+a.addr+room), browser.Open(t, "http://"+b.addr+room)
	ada.SetName("Ada")
	bob.SetName("Bob")
	ada.WaitNode("1111")
	bob.WaitNode("2222")
	ada.Say("Is anybody at the other node?")
	ada.WaitSaid("Is anybody at the other node?", "delivered")
	bob.Say("I am, hello 👋")
	bob.WaitSaid("I am, hello 👋", "delivered")
	ada.WaitHeard("I am, hello 👋")
	ada.Say("Good to see you")
	bob.WaitHeard("Good to see you")
	ada.WaitSaid("Good to see you", "delivered")
	got := ada.Messages()
	if len(got) != 3 || got[1].Name != "Bob" || got[1].Own || !got[0].Own {
		t.Errorf("Ada sees %+v", got)
	}
	shoot(t, ada, "ada-on-1111")
	shoot(t, bob, "bob-on-2222")
	noProblems(t, ada, bob)
}

func killedNode(t *testing.T, browser *webtest.Browser, a *testNode) {
	binary := build(t)
	args := []string{"--node-id=2222", "--nats-url=" + a.nats}
	node := serve(t, binary, nil, args...)
	ada, bob := browser.Open(t, "http://"+a.addr+"/"), browser.Open(t, "http://"+node.addr+"/")
	ada.SetName("Ada")
	bob.SetName("Bob")
	ada.WaitNode("1111")
	bob.WaitNode("2222")
	ada.Say("first")
	ada.WaitSaid("first", "delivered") // so Ada hears what comes
	bob.Say("before")
	ada.WaitHeard("before")
	for _, end := range []struct {
		how    string
		signal os.Signal
	}{{"killed", syscall.SIGKILL}, {"stopped", syscall.SIGTERM}} {
		node.signal(end.signal)
		bob.WaitState(webtest.StateReconnecting)
		<-node.ended
		bob.Say("said while " + end.how)
		bob.WaitSaid("said while "+end.how, "waiting")
		half := "half a thought, " + end.how
		bob.Type(half)
		ada.Say("I stay, " + end.how)
		ada.WaitSaid("I stay, "+end.how, "delivered")
		shoot(t, bob, "node-"+end.how)
		node = serve(t, binary, nil, append(args, "--addr="+node.addr)...)
		bob.WaitNode("2222")
		bob.WaitSaid("said while "+end.how, "delivered")
		ada.WaitHeard("said while " + end.how)
		if got := bob.Typed(); got != half {
			t.Errorf("%s: the box holds %q after the reconnect", end.how, got)
		}
		bob.Press("Enter")
		ada.WaitHeard(half)
	}
	shoot(t, bob, "back-again")
	noProblems(t, ada)
}

// What the page lets through the node takes: the longest room, the longest message.
func limitsAgree(t *testing.T, browser *webtest.Browser) {
	n := startTestNode(t, "1111", "--max-message=1KiB")
	room := strings.Repeat("é", maxRoomBytes/2)
	ada := browser.Open(t, "http://"+n.addr+"/?room="+room)
	ada.SetName("Ada")
	ada.WaitNode("1111")
	longest := strings.Repeat("x", 1024-len("Ada: "))
	ada.Say(longest)
	ada.WaitSaid(longest, "delivered")
	ada.Say(longest + "y")
	if got := ada.Typed(); got != longest+"y" {
		t.Errorf("a message over the limit left the box, which holds %.20q", got)
	}
	ada.WaitState(webtest.StateOpen)
	noProblems(t, ada)
	if got := n.metric(`throng_ws_closes_total{code="` + wire.CloseTooBig.String() + `",side="server"}`); got != 0 {
		t.Errorf("%v connections closed for too big messages", got)
	}
}
