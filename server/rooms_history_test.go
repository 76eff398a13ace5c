package main

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	"throng/server/web/webtest"
)

// What rooms remember, in a real browser against real nodes: Ada's node keeps the streams, Bob's is a process that dies.
func TestRoomsRemember(t *testing.T) {
	t.Parallel()
	browser := webtest.Start(t)
	n := startTestNode(t, "1111", "--nats-listen=127.0.0.1:0", "--config", writeFile(t, "throng.yaml", "http_api:\n  key: api-key-of-the-tests\n"))
	t.Run("who comes late sees the last 50 messages, each once and in order", func(t *testing.T) { latecomer(t, browser, n) })
	t.Run("a page goes on reading where the one before stopped", func(t *testing.T) { readingGoesOn(t, browser, n) })
	t.Run("where nothing can be kept the page says so", func(t *testing.T) { nothingKept(t, browser) })
	t.Run("who was away misses nothing, or is told", func(t *testing.T) { away(t, browser, n) })
}

// announce publishes messages of nobody into a room: "<word> 1" and so on. It returns their texts.
func (n *testNode) announce(room, word string, count int) (texts []string) {
	n.t.Helper()
	for i := range count {
		texts = append(texts, fmt.Sprintf("%s %d", word, i+1))
		n.api("publish", fmt.Sprintf(`{"channel":"chat:%s","data":{"text":%q}}`, room, texts[i]))
	}
	return texts
}

func bodies(p *webtest.Page) (texts []string) {
	for _, m := range p.Messages() {
		texts = append(texts, m.Body)
	}
	return texts
}

func latecomer(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada := person(t, browser, n.addr, "archive", "Ada")
	ada.Say("hello, who comes later?")
	ada.WaitSaid("hello, who comes later?", "delivered")
	bob := person(t, browser, n.addr, "archive", "Bob")
	bob.WaitHeard("hello, who comes later?")
	if got := bob.Messages(); len(got) != 1 || got[0].Name != "Ada" || got[0].Own {
		t.Errorf("Bob sees %+v", got)
	}
	want := n.announce("archive", "line", 60)[10:]
	bob.WaitHeard("line 60")
	eve := person(t, browser, n.addr, "archive", "Eve")
	eve.WaitHeard("line 60")
	// The news of Eve's own name is one of the last 50, and no message.
	if got := bodies(eve); !slices.Equal(got, want) && !slices.Equal(got, want[1:]) {
		t.Errorf("Eve sees %d messages: %q", len(got), got)
	}
	ada.Reload()
	ada.WaitHeard("line 60")
	if got := bodies(ada); len(got) > 50 || len(got) < 47 {
		t.Errorf("after a reload Ada sees %d messages", len(got))
	}
	noProblems(t, ada, bob, eve)
}

func readingGoesOn(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada, bob := person(t, browser, n.addr, "diary", "Ada"), person(t, browser, n.addr, "diary", "Bob")
	ada.Say("read")
	bob.WaitHeard("read")
	bob.EnterRoom("elsewhere")
	bob.WaitUnread("diary", "")
	url := webtest.Eval[string](bob, "location.href")
	bob.Do("leaving", chromedp.Navigate("about:blank"))
	ada.WaitPeople("Ada")
	ada.Say("not read")
	ada.Say("not read either")
	ada.WaitSaid("not read either", "delivered")
	bob.Do("coming back", chromedp.Navigate(url))
	bob.WaitState(webtest.StateOpen)
	bob.WaitUnread("diary", "2")
	bob.ShowRoom("diary")
	bob.WaitUnread("diary", "")
	bob.WaitNotice("New messages")
	if got, want := bodies(bob), []string{"read", "not read", "not read either"}; !slices.Equal(got, want) {
		t.Errorf("Bob sees %q, want %q", got, want)
	}
	noProblems(t, ada, bob)
}

func away(t *testing.T, browser *webtest.Browser, n *testNode) {
	binary := build(t)
	args := []string{"--node-id=2222", "--nats-url=" + n.nats}
	node := serve(t, binary, nil, args...)
	ada, bob := person(t, browser, n.addr, "trip", "Ada"), person(t, browser, node.addr, "trip", "Bob")
	bob.EnterRoom("second")
	bob.ShowRoom("trip")
	ada.WaitPeople("Ada", "Bob")
	ada.Say("before")
	bob.WaitHeard("before")
	restart := func(meanwhile func()) {
		t.Helper()
		node.signal(syscall.SIGKILL)
		<-node.ended
		bob.WaitState(webtest.StateReconnecting)
		bob.Say("Bob, meanwhile")
		meanwhile()
		node = serve(t, binary, nil, append(args, "--addr="+node.addr)...)
		bob.WaitState(webtest.StateOpen)
	}
	restart(func() {
		for i := range 5 {
			ada.Say(fmt.Sprintf("missed %d", i+1))
		}
		ada.WaitSaid("missed 5", "delivered")
		n.announce("second", "there", 3)
	})
	bob.WaitSaid("Bob, meanwhile", "delivered")
	bob.WaitHeard("missed 5")
	ada.WaitHeard("Bob, meanwhile")
	bob.WaitUnread("second", "3")
	want := []string{"before", "missed 1", "missed 2", "missed 3", "missed 4", "missed 5", "Bob, meanwhile"}
	for _, p := range []*webtest.Page{ada, bob} {
		if got := bodies(p); !slices.Equal(got, want) {
			t.Errorf("seen: %q, want %q", got, want)
		}
	}
	shoot(t, bob, "rooms-recovered")
	bob.ShowRoom("second")
	bob.WaitNotice("New messages")
	shoot(t, bob, "rooms-unread")
	if got := bodies(bob); len(got) != 3 {
		t.Errorf("in the other room: %q", got)
	}
	bob.ShowRoom("trip")
	restart(func() { n.announce("trip", "flood", 70) })
	bob.WaitNotice("You were away for long: something may be missing here")
	bob.WaitHeard("flood 70")
	got := bodies(bob)
	at := slices.Index(got, "flood 70")
	if at < 45 || !slices.Equal(got[:7], want) || got[at-45] != "flood 25" {
		t.Errorf("after the flood: %q", got)
	}
	noProblems(t, ada)
}

func nothingKept(t *testing.T, browser *webtest.Browser) {
	n := startTestNode(t, "1111", "--nats-config", writeFile(t, "nats.conf", "listen: 127.0.0.1:-1\n"))
	ada := browser.Open(t, "http://"+n.addr+chatPath+"#lobby")
	ada.WaitState(webtest.StateOpen)
	ada.Wait("it says so", `[...document.querySelectorAll("#log .notice")].some((e) => e.textContent.startsWith("This room cannot be entered now"))`)
	ada.Say("kept in the page")
	ada.WaitSaid("kept in the page", "waiting")
	shoot(t, ada, "rooms-no-store")
	noProblems(t, ada)
}
