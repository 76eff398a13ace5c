package web

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"throng/server/web/webtest"
)

// contrastJS lists the visible texts whose contrast with what lies behind them is below 4.5 : 1, or 3 : 1 for large text
// (WCAG 2.2, 1.4.3). It knows plain colours: every ground of the pages is one.
const contrastJS = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = (colour) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] / 255 + under[i] * (1 - top[3] / 255));
	const ground = (element) => {
		if (!element) return [255, 255, 255];
		const colour = rgba(getComputedStyle(element).backgroundColor);
		return colour[3] === 255 ? colour.slice(0, 3) : over(colour, ground(element.parentElement));
	};
	const luminance = (c) => c.slice(0, 3)
		.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const low = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const text = walker.currentNode.textContent.trim();
		const element = walker.currentNode.parentElement;
		if (!text || !element.checkVisibility({ visibilityProperty: true }) || element.closest(".hidden, noscript, :disabled, dialog:not([open])")) continue;
		const style = getComputedStyle(element);
		const under = ground(element);
		const [a, b] = [luminance(over(rgba(style.color), under)), luminance(under)];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		const size = parseFloat(style.fontSize);
		const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
		if (ratio < (large ? 3 : 4.5)) low.push(text.slice(0, 40) + " " + ratio.toFixed(2));
	}
	return low;
})()`

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
			if low := webtest.Eval[[]string](ada, contrastJS); len(low) > 0 {
				t.Errorf("%s, %s: contrast too low: %q", scheme, delivery, low)
			}
		}
		webtest.Eval[*string](ada, `void document.getElementById("rooms").showModal()`)
		if low := webtest.Eval[[]string](ada, contrastJS); len(low) > 0 {
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
	const wide = `[document.documentElement, document.getElementById("scroller")].filter((e) => e.scrollWidth > e.clientWidth)
		.concat([...document.querySelectorAll("button, input, textarea, .bubble, .pill, .node")]
			.filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth))
		.map((e) => e.outerHTML.slice(0, 80))`
	if got := webtest.Eval[[]string](ada, wide); len(got) > 0 {
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
