package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"throng/server/web/webtest"
)

// The pages in a real browser against a fake node. One Chromium serves all of these tests; each has its own persons.
func TestPagesInBrowser(t *testing.T) {
	browser := webtest.Start(t)
	tests := map[string]func(*testing.T, *webtest.Browser){
		"loads without a complaint and a message makes the round trip": roundTrip,
		"two persons hear each other":                                  twoPersons,
		"two tabs of one person each know their own messages":          twoTabs,
		"a killed node is shown and the page comes back by itself":     nodeKilled,
		"unsent text survives a reload":                                unsentSurvives,
		"what was sent but never echoed is sent again":                 sentAgain,
		"a refused message is not sent again unasked":                  refused,
		"markup in text and names stays text":                          markupIsText,
		"any Unicode fits and comes back whole":                        unicode,
		"a message over the limit stays in the box":                    overLimit,
		"bare text and binary messages are shown":                      foreignMessages,
		"the log is bounded":                                           boundedLog,
		"rooms are apart and in the address":                           rooms,
		"the keyboard does everything":                                 keyboard,
		"the browser goes offline and back":                            offline,
		"every text has AA contrast in both schemes":                   contrast,
		"nothing is wider than a small phone":                          narrow,
		"an unknown path has a page that works":                        notFoundPage,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, browser) })
	}
}

// quiet fails if the console of the page holds anything.
func quiet(t *testing.T, pages ...*webtest.Page) {
	t.Helper()
	for _, p := range pages {
		if problems := p.Problems(); len(problems) > 0 {
			t.Errorf("console is not empty: %q", problems)
		}
	}
}

func roundTrip(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.WaitNode("1111")
	ada.SetName("Ada")
	ada.Say("hello there")
	ada.WaitSaid("hello there", "delivered")
	if got, want := node.texts(), []string{"Ada: hello there"}; !slices.Equal(got, want) {
		t.Errorf("the node got %q, want %q", got, want)
	}
	if got := ada.Typed(); got != "" {
		t.Errorf("the box holds %q after sending", got)
	}
	if got := ada.Messages(); len(got) != 1 {
		t.Errorf("one message was said, the page shows %+v", got)
	}
	quiet(t, ada)
}

func twoPersons(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada, bob := browser.Open(t, node.url()), browser.Open(t, node.url())
	ada.SetName("Ada")
	bob.SetName("Bob")
	ada.WaitNode("1111")
	bob.WaitNode("1111")
	ada.Say("ping")
	bob.WaitHeard("ping")
	bob.Say("pong")
	ada.WaitHeard("pong")
	ada.WaitSaid("ping", "delivered")
	if got := bob.Messages()[0]; got.Name != "Ada" || got.Own {
		t.Errorf("Bob sees %+v, want Ada's ping", got)
	}
	quiet(t, ada, bob)
}

func twoTabs(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	first := browser.Open(t, node.url())
	first.SetName("Ada")
	second := first.OpenTab(node.url())
	first.WaitNode("1111")
	second.WaitNode("1111")
	second.Say("from the second")
	first.WaitHeard("from the second")
	second.WaitSaid("from the second", "delivered")
	if got := first.Messages()[0].Name; got != "Ada" {
		t.Errorf("the second tab speaks as %q, want the person's name, Ada", got)
	}
	quiet(t, first, second)
}

func nodeKilled(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.SetName("Ada")
	ada.WaitNode("1111")
	node.stop()
	ada.WaitState(webtest.StateReconnecting)
	ada.Wait("the banner counts down", `/\d+ s|now/.test(document.querySelector("#banner:not([hidden])")?.textContent)`)
	ada.Say("said while away")
	ada.Say("and one more")
	ada.WaitSaid("said while away", "waiting")
	ada.Type("half a thou")
	node.id = "2222"
	node.start()
	ada.WaitNode("2222")
	ada.WaitSaid("said while away", "delivered")
	ada.WaitSaid("and one more", "delivered")
	if got, want := node.texts(), []string{"Ada: said while away", "Ada: and one more"}; !slices.Equal(got, want) {
		t.Errorf("the node got %q, want %q, in this order and once", got, want)
	}
	if got := ada.Typed(); got != "half a thou" {
		t.Errorf("the box holds %q after the reconnect", got)
	}
	if got := webtest.Eval[bool](ada, `document.getElementById("banner").hidden`); !got {
		t.Error("the banner is still there")
	}
}

func unsentSurvives(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.SetName("Ada")
	ada.WaitNode("1111")
	// The node lives on, so that the page can be loaded, while its chat is out of reach.
	webtest.Eval[*string](ada, `void (sessionStorage.setItem("throng.outgoing.livechat", JSON.stringify([{ text: "Ada: kept" }])))`)
	ada.Type("a draft")
	ada.Reload()
	ada.WaitSaid("kept", "delivered")
	if got := ada.Typed(); got != "a draft" {
		t.Errorf("the box holds %q after the reload", got)
	}
	if got, want := node.texts(), []string{"Ada: kept"}; !slices.Equal(got, want) {
		t.Errorf("the node got %q, want %q", got, want)
	}
	if got := webtest.Eval[string](ada, `sessionStorage.getItem("throng.outgoing.livechat")`); got != "[]" {
		t.Errorf("the stored queue is %s after delivery", got)
	}
	quiet(t, ada)
}

func sentAgain(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.SetName("Ada")
	ada.WaitNode("1111")
	ada.Say(swallow)
	ada.WaitSaid(swallow, "delivered")
	if got := len(node.texts()); got != 2 {
		t.Errorf("the node got it %d times, want 2: lost once, sent again", got)
	}
	if got := len(ada.Messages()); got != 1 {
		t.Errorf("the page shows %d messages, want 1", got)
	}
}

func refused(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.SetName("Ada")
	ada.WaitNode("1111")
	ada.Say(poison)
	ada.WaitSaid(poison, "held")
	ada.WaitNode("1111")
	ada.Say("harmless")
	ada.WaitSaid("harmless", "delivered")
	if got, want := node.texts(), []string{"Ada: " + poison, "Ada: harmless"}; !slices.Equal(got, want) {
		t.Errorf("the node got %q, want %q", got, want)
	}
	ada.Do("dropping it", chromedp.Click(chromedp.CSS(`.pending .actions button:not(.again)`)))
	ada.Wait("it is gone", `!document.querySelector(".pending")`)
}

func markupIsText(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, `<b>1</b>`)
	ada, eve := browser.Open(t, node.url()), browser.Open(t, node.url())
	ada.WaitNode(`<b>1</b>`)
	eve.WaitNode(`<b>1</b>`)
	eve.SetName(`<img src=x onerror=alert(1)>`)
	attacks := []string{
		`<script>document.title = "owned"</script>`,
		`<img src=x onerror="document.title='owned'">`,
		`javascript:alert(1) http://example.org/ <a href="javascript:alert(1)">x</a>`,
		`"><svg onload=alert(1)>`,
	}
	for _, attack := range attacks {
		eve.Say(attack)
		ada.WaitHeard(attack)
		eve.WaitSaid(attack, "delivered")
	}
	for _, p := range []*webtest.Page{ada, eve} {
		elements := webtest.Eval[int](p, `document.querySelectorAll("#log :is(script, a, svg, b, img)").length`)
		if elements != 0 || strings.Contains(webtest.Eval[string](p, "document.title"), "owned") {
			t.Errorf("markup became %d elements", elements)
		}
	}
	quiet(t, ada, eve)
}

func unicode(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada, bob := browser.Open(t, node.url()), browser.Open(t, node.url())
	ada.WaitNode("1111")
	bob.WaitNode("1111")
	ada.SetName("Zoë 李雷 👩‍👩‍👧")
	texts := []string{"naïve café ☕ 👩‍👩‍👧‍👦 🏳️‍🌈", "مرحبا بالعالم: 123", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "a: b: c", strings.Repeat("longword", 500), "e\u0301" + strings.Repeat("\u0336", 50)}
	for _, text := range texts {
		ada.Say(text)
		bob.WaitHeard(text)
		ada.WaitSaid(text, "delivered")
	}
	if got := bob.Messages()[0].Name; got != "Zoë 李雷 👩‍👩‍👧" {
		t.Errorf("the name arrived as %q", got)
	}
	if wide := webtest.Eval[bool](bob, `document.getElementById("scroller").scrollWidth > document.getElementById("scroller").clientWidth`); wide {
		t.Error("a long word makes the log scroll sideways")
	}
	quiet(t, ada, bob)
}

func overLimit(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.WaitNode("1111")
	ada.SetName("Ada")
	fits := strings.Repeat("€", (64<<10-len("Ada: "))/len("€"))
	ada.Say(fits + "€")
	ada.Wait("the size is shown", `document.getElementById("size").textContent.includes("too long")`)
	if got := ada.Typed(); got != fits+"€" {
		t.Errorf("the box holds %d characters after Enter, want all", len(got))
	}
	if got := node.texts(); len(got) != 0 {
		t.Errorf("the node got %d messages", len(got))
	}
	webtest.Eval[*string](ada, `void document.getElementById("text").select()`)
	ada.Say(fits)
	ada.WaitSaid(fits, "delivered")
	quiet(t, ada)
}

func foreignMessages(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.WaitNode("1111")
	node.deliver("", websocket.MessageText, "1111:I am client!!!")
	ada.WaitHeard("I am client!!!")
	node.deliver("", websocket.MessageBinary, "\x00\x01\x02")
	ada.WaitHeard("3 bytes")
	node.deliver("", websocket.MessageText, "no colon at all")
	ada.WaitHeard("no colon at all")
	if got := ada.Messages()[0].Name; got != "Unnamed client" {
		t.Errorf("bare text is said by %q", got)
	}
	quiet(t, ada)
}

func boundedLog(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.WaitNode("1111")
	for i := range 700 {
		node.deliver("", websocket.MessageText, fmt.Sprintf("1111:Bob: line %d", i))
	}
	ada.WaitHeard("line 699")
	messages := ada.Messages()
	if len(messages) != 500 || messages[0].Body != "line 200" {
		t.Errorf("%d messages from %q on, want the last 500", len(messages), messages[0].Body)
	}
	const atEnd = `(() => { const s = document.getElementById("scroller"); return s.scrollHeight - s.scrollTop - s.clientHeight < 2; })()`
	if !webtest.Eval[bool](ada, atEnd) {
		t.Error("the log does not follow the end")
	}
	webtest.Eval[*string](ada, `void (document.getElementById("scroller").scrollTop = 100)`)
	ada.Wait("the way back is offered", `!document.getElementById("jump").hidden`)
	node.deliver("", websocket.MessageText, "1111:Bob: one more")
	ada.Wait("what was missed is counted", `document.getElementById("jump").textContent.startsWith("1 new message")`)
	if webtest.Eval[bool](ada, atEnd) {
		t.Error("a new message takes a reader away from where he reads")
	}
	ada.Do("jumping", chromedp.Click(chromedp.CSS("#jump")))
	ada.Wait("the offer is gone", `document.getElementById("jump").hidden`)
	quiet(t, ada)
}

func rooms(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada, bob := browser.Open(t, node.url()+"/?room=ops"), browser.Open(t, node.url())
	ada.WaitNode("1111")
	bob.WaitNode("1111")
	ada.Say("only for ops")
	ada.WaitSaid("only for ops", "delivered")
	bob.Type("a draft for the default room")
	bob.Do("opening the dialog", chromedp.Click(chromedp.CSS("#room")))
	bob.Do("naming the room", chromedp.SendKeys(chromedp.CSS("#room-input"), "#ops"))
	bob.Press("Enter")
	bob.Wait("the room is shown", `document.querySelector("#room [data-room-name]").textContent === "ops"`)
	bob.WaitNode("1111")
	if got := bob.Messages(); len(got) != 0 {
		t.Errorf("a room begins with %+v", got)
	}
	if got := bob.Typed(); got != "" {
		t.Errorf("the draft %q followed into another room", got)
	}
	ada.Say("hello ops")
	bob.WaitHeard("hello ops")
	if got, want := webtest.Eval[string](bob, "location.search"), "?room=ops"; got != want {
		t.Errorf("the address says %q, want %q", got, want)
	}
	bob.Do("opening the dialog", chromedp.Click(chromedp.CSS("#room")))
	if got, want := webtest.Eval[[]string](bob, `[...document.querySelectorAll("#recent button")].map((b) => b.textContent)`),
		[]string{"# livechat"}; !slices.Equal(got, want) {
		t.Errorf("the dialog offers %q, want %q", got, want)
	}
	bob.Press("Escape")
	webtest.Eval[*string](bob, "void history.back()")
	bob.Wait("back in the default room", `document.querySelector("#room [data-room-name]").textContent === "livechat"`)
	bob.WaitNode("1111")
	if got := bob.Typed(); got != "a draft for the default room" {
		t.Errorf("the box holds %q after coming back", got)
	}
	quiet(t, ada, bob)
}

func keyboard(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.WaitNode("1111")
	ada.SetName("Ada")
	if got := webtest.Eval[string](ada, "document.activeElement.id"); got != "text" {
		t.Errorf("after the name, Tab leads to %q, want the box", got)
	}
	ada.Type("one")
	ada.Press("Shift+Enter")
	ada.Say("two")
	ada.WaitSaid("one\ntwo", "delivered")
	webtest.Eval[*string](ada, `void document.getElementById("room").focus()`)
	ada.Press("Enter")
	ada.Wait("the dialog is open", `document.getElementById("rooms").open`)
	if got := webtest.Eval[string](ada, "document.activeElement.id"); got != "room-input" {
		t.Errorf("the dialog opens with the focus on %q", got)
	}
	ada.Press("Enter")
	ada.Wait("the error is said", `!document.getElementById("room-error").hidden`)
	ada.Press("Escape")
	ada.Wait("the dialog is closed", `!document.getElementById("rooms").open`)
	if got := webtest.Eval[string](ada, "document.activeElement.id"); got != "room" {
		t.Errorf("after the dialog the focus is on %q, want where it was", got)
	}
	const unnamed = `[...document.querySelectorAll("input, textarea, button")].filter((e) =>
		!(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label") || e.id === "jump")).map((e) => e.id)`
	if got := webtest.Eval[[]string](ada, unnamed); len(got) > 0 {
		t.Errorf("controls without a name: %q", got)
	}
	quiet(t, ada)
}

func offline(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	ada := browser.Open(t, node.url())
	ada.WaitNode("1111")
	ada.Network(false)
	node.stop()
	ada.WaitState(webtest.StateOffline)
	node.start()
	ada.Network(true)
	ada.WaitNode("1111")
}

func notFoundPage(t *testing.T, browser *webtest.Browser) {
	node := startFakeNode(t, "1111")
	p := browser.Open(t, node.url()+"/nowhere")
	if got := webtest.Eval[string](p, "document.querySelector('h1').textContent"); !strings.Contains(got, "nothing here") {
		t.Errorf("the page says %q", got)
	}
	if got, want := webtest.Eval[string](p, "document.querySelector('a').href"), node.url()+"/"; got != want {
		t.Errorf("the way out leads to %q, want %q", got, want)
	}
	if styled := webtest.Eval[string](p, "getComputedStyle(document.querySelector('main')).display"); styled != "grid" {
		t.Errorf("the page is not styled: display is %q", styled)
	}
}
