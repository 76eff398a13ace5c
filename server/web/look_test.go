package web

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"throng/server/web/webtest"
)

// scene fills a room with what a room holds, and returns Ada's page.
func scene(t *testing.T, browser *webtest.Browser, node *fakeNode) *webtest.Page {
	t.Helper()
	ada := browser.Open(t, node.url())
	ada.SetName("Ada")
	ada.WaitNode("1111")
	others := []string{
		"Grace Hopper: Morning! The second node just joined, its clients hear us already.",
		"Linus: Nice. Is that the one behind the balancer?",
		"Linus: I see it too, by the way",
		"I am client!!!",
	}
	say := func(text string) {
		node.deliver("", websocket.MessageText, "1111:"+text)
		_, body, named := strings.Cut(text, ": ")
		if !named {
			body = text
		}
		ada.WaitHeard(body)
	}
	for _, text := range others {
		say(text)
	}
	ada.Say("It is. Round robin, so reload and you may land on either.")
	ada.WaitSaid("It is. Round robin, so reload and you may land on either.", "delivered")
	ada.Say("And if one dies, the page finds the other by itself")
	ada.WaitSaid("And if one dies, the page finds the other by itself", "delivered")
	say("Grace Hopper: Then let me pull a plug… here is the log of the last time:\n\n    node 2222 gone, 4 812 clients back in 0.8 s")
	say("李雷: 你好! مرحبا")
	return ada
}

func contrast(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := scene(t, browser, node)
	node.deliver("", websocket.MessageBinary, "123")
	ada.WaitHeard("3 bytes")
	node.stop()
	ada.WaitState(webtest.StateReconnecting)
	ada.Say("waiting")
	ada.WaitSaid("waiting", "waiting")
	ada.Type(strings.Repeat("x", 65<<10))
	for _, scheme := range []string{"light", "dark"} {
		ada.View(1100, 800, scheme, false)
		for _, delivery := range []string{"waiting", "sent", "overdue", "held"} {
			webtest.Eval[*string](ada, `void (document.querySelector(".pending").dataset.delivery = "`+delivery+`")`)
			if low := ada.LowContrast(); len(low) > 0 {
				t.Errorf("%s, %s: contrast too low: %q", scheme, delivery, low)
			}
		}
		webtest.Eval[*string](ada, `void document.getElementById("rooms").showModal()`)
		if low := ada.LowContrast(); len(low) > 0 {
			t.Errorf("%s, dialog: contrast too low: %q", scheme, low)
		}
		webtest.Eval[*string](ada, `void document.getElementById("rooms").close()`)
	}
}

func narrow(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "a-rather-long-node-name-0123456789.example.internal")
	ada := browser.Open(t, node.url()+"/?room="+strings.Repeat("verylongroom", 5))
	ada.View(320, 560, "light", true)
	ada.WaitState(webtest.StateOpen)
	ada.SetName(strings.Repeat("W", 32))
	ada.Say(strings.Repeat("W", 3000))
	ada.WaitSaid(strings.Repeat("W", 3000), "delivered")
	if got := ada.TooWide(); len(got) > 0 {
		t.Errorf("wider than the screen: %q", got)
	}
}

// Screenshots for human eyes: THRONG_SHOTS=/some/folder go test -run TestScreenshots ./server/web
func TestScreenshots(t *testing.T) {
	folder := os.Getenv("THRONG_SHOTS")
	if folder == "" {
		t.Skip("set THRONG_SHOTS to a folder to get screenshots")
	}
	browser := webtest.Start(t)
	node := startFakeNode(t, "1111")
	shoot := func(p *webtest.Page, name string) { p.Screenshot(filepath.Join(folder, name+".png")) }

	empty := browser.Open(t, node.url()+"/?room=quiet")
	empty.View(1100, 760, "light", false)
	empty.WaitNode("1111")
	shoot(empty, "empty")
	webtest.Eval[*string](empty, `void document.getElementById("room").click()`)
	shoot(empty, "rooms")

	ada := scene(t, browser, node)
	ada.View(1100, 760, "light", false)
	ada.Type("I will ")
	shoot(ada, "desktop")
	ada.View(1100, 760, "dark", false)
	shoot(ada, "dark")
	ada.View(390, 780, "light", true)
	shoot(ada, "mobile")
	ada.View(390, 780, "dark", true)
	shoot(ada, "mobile-dark")

	node.stop()
	ada.WaitState(webtest.StateReconnecting)
	ada.Say("keep this one for me")
	ada.WaitSaid("I will keep this one for me", "waiting")
	ada.View(1100, 760, "light", false)
	shoot(ada, "reconnecting")
	ada.View(1100, 760, "dark", false)
	shoot(ada, "reconnecting-dark")
	ada.View(390, 780, "light", true)
	shoot(ada, "reconnecting-mobile")
	webtest.Eval[*string](ada, `void (document.querySelector(".pending").dataset.delivery = "overdue")`)
	ada.View(1100, 760, "light", false)
	shoot(ada, "overdue")
}
