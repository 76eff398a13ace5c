package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	"throng/server/web/webtest"
)

// The chat with rooms in a real browser against real nodes.
func TestChatWithRooms(t *testing.T) {
	t.Parallel()
	browser := webtest.Start(t)
	n := startTestNode(t, "1111", "--nats-listen=127.0.0.1:0", "--config", writeFile(t, "throng.yaml", "http_api:\n  key: api-key-of-the-tests\n"))
	for _, test := range []struct {
		name string
		run  func(*testing.T, *webtest.Browser, *testNode)
	}{
		{"persons meet, hear each other, and are seen to come and go", personsMeet},
		{"persons on two nodes meet", personsMeetOverNodes},
		{"a new name is seen by all and proven by the server", renamed},
		{"rooms are apart, in the address, and can be left", roomsApart},
		{"messages nobody looked at are counted", unreadCounted},
		{"markup in texts, names and rooms stays text", markupInRooms},
		{"the keyboard does everything", roomsByKeyboard},
		{"an ended connection is told in words and can be taken up again", endedByServer},
		{"it looks right on screens wide and narrow, light and dark", roomsLook},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, browser, n) })
	}
	t.Run("a killed node's people come back by themselves and lose nothing unsaid", func(t *testing.T) { killedUnderRooms(t, browser) })
}

// person opens the page in a room under a name.
func person(t *testing.T, browser *webtest.Browser, addr, room, name string) *webtest.Page {
	t.Helper()
	p := browser.Open(t, "http://"+addr+chatPath+"#"+room)
	p.View(1180, 760, "light", false)
	p.WaitState(webtest.StateOpen)
	p.SetName(name)
	p.Wait("I am here as "+name, `[...document.querySelectorAll("#people .person:has(.you) .name")].some((e) => e.textContent === "`+name+`")`)
	return p
}

func personsMeet(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada := person(t, browser, n.addr, "kitchen", "Ada")
	bob := person(t, browser, n.addr, "kitchen", "Bob")
	ada.WaitPeople("Ada", "Bob")
	bob.WaitPeople("Ada", "Bob")
	ada.Say("Is there any coffee left?")
	bob.WaitHeard("Is there any coffee left?")
	ada.WaitSaid("Is there any coffee left?", "delivered")
	bob.Say("A pot, just made ☕")
	ada.WaitHeard("A pot, just made ☕")
	if got := bob.Messages(); len(got) != 2 || got[0].Name != "Ada" || got[0].Own || !got[1].Own {
		t.Errorf("Bob sees %+v", got)
	}
	second := bob.OpenTab("http://" + n.addr + chatPath + "#kitchen") // Bob again, not another
	second.WaitState(webtest.StateOpen)
	second.WaitPeople("Ada", "Bob")
	ada.Say("two of you?")
	second.WaitHeard("two of you?")
	ada.WaitPeople("Ada", "Bob")
	bob.Do("leaving", chromedp.Navigate("about:blank"))
	second.Say("still here")
	ada.WaitHeard("still here")
	ada.WaitPeople("Ada", "Bob")
	second.Do("leaving", chromedp.Navigate("about:blank"))
	ada.WaitPeople("Ada")
	ada.WaitNotice("Bob left")
	noProblems(t, ada)
}

func personsMeetOverNodes(t *testing.T, browser *webtest.Browser, n *testNode) {
	other := startTestNode(t, "2222", "--nats-url="+n.nats)
	ada, bob := person(t, browser, n.addr, "bridge", "Ada"), person(t, browser, other.addr, "bridge", "Bob")
	ada.WaitPeople("Ada", "Bob")
	bob.WaitPeople("Ada", "Bob")
	ada.Say("over there?")
	bob.WaitHeard("over there?")
	bob.Say("over here")
	ada.WaitHeard("over here")
	noProblems(t, ada, bob)
}

func renamed(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada, bob := person(t, browser, n.addr, "names", "Ada"), person(t, browser, n.addr, "names", "Bob")
	bob.WaitPeople("Ada", "Bob")
	ada.SetName("Ada Lovelace")
	bob.WaitPeople("Ada Lovelace", "Bob")
	bob.WaitNotice("Ada is now Ada Lovelace")
	ada.Say("still me")
	bob.WaitHeard("still me")
	if got := bob.Messages(); got[len(got)-1].Name != "Ada Lovelace" {
		t.Errorf("Bob hears %+v", got)
	}
	ada.Reload()
	ada.WaitState(webtest.StateOpen)
	ada.Say("and after a reload")
	bob.WaitHeard("and after a reload")
	bob.WaitPeople("Ada Lovelace", "Bob")
	noProblems(t, ada, bob)
}

func roomsApart(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada, bob := person(t, browser, n.addr, "one", "Ada"), person(t, browser, n.addr, "two", "Bob")
	ada.Say("only for one")
	ada.WaitSaid("only for one", "delivered")
	bob.Type("half a thought for two")
	webtest.Eval[*string](bob, `void document.getElementById("room-input").focus()`)
	bob.Do("naming a room", chromedp.SendKeys(chromedp.CSS("#room-input"), "#ONE"))
	bob.Press("Enter")
	bob.WaitRoom("one")
	if got := bob.Typed(); got != "" {
		t.Errorf("the draft %q followed into another room", got)
	}
	bob.WaitPeople("Ada", "Bob")
	ada.Say("hello one")
	bob.WaitHeard("hello one")
	if got, want := webtest.Eval[string](bob, "location.hash"), "#one"; got != want {
		t.Errorf("the address says %q, want %q", got, want)
	}
	webtest.Eval[*string](bob, "void history.back()")
	bob.WaitRoom("two")
	if got := bob.Typed(); got != "half a thought for two" {
		t.Errorf("the box holds %q after coming back", got)
	}
	if got := bob.Rooms(); !slices.Equal(got, []string{"two", "one"}) {
		t.Errorf("rooms %q", got)
	}
	bob.Reload()
	bob.WaitState(webtest.StateOpen)
	bob.WaitRoom("two")
	ada.WaitPeople("Ada", "Bob") // in one still, in another room or not
	webtest.Eval[*string](bob, `void document.querySelector("[data-room=one] .leave").click()`)
	ada.WaitPeople("Ada")
	if got := bob.Rooms(); !slices.Equal(got, []string{"two"}) {
		t.Errorf("rooms %q", got)
	}
	noProblems(t, ada, bob)
}

func unreadCounted(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada, bob := person(t, browser, n.addr, "busy", "Ada"), person(t, browser, n.addr, "busy", "Bob")
	ada.WaitPeople("Ada", "Bob")
	bob.EnterRoom("elsewhere")
	for i := range 3 {
		ada.Say(fmt.Sprintf("line %d", i))
	}
	bob.WaitUnread("busy", "3")
	if title := webtest.Eval[string](bob, "document.title"); title != "(3) #elsewhere · Throng" {
		t.Errorf("the title is %q", title)
	}
	bob.ShowRoom("busy")
	bob.WaitUnread("busy", "")
	bob.WaitHeard("line 2")
	bob.Hide(true)
	ada.Say("while hidden")
	bob.WaitUnread("busy", "1")
	bob.Hide(false)
	bob.WaitUnread("busy", "")
	if title := webtest.Eval[string](bob, "document.title"); title != "#busy · Throng" {
		t.Errorf("the title is %q", title)
	}
	noProblems(t, ada, bob)
}

func markupInRooms(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada := person(t, browser, n.addr, "markup", "Ada")
	eve := person(t, browser, n.addr, "markup", `<img src=x onerror=1>`)
	ada.WaitPeople("Ada", `<img src=x onerror=1>`)
	for _, attack := range []string{
		`<script>document.title = "owned"</script>`, `<img src=x onerror="document.title='owned'">`,
		`javascript:alert(1) <a href="javascript:alert(1)">x</a>`, `"><svg onload=alert(1)>`, `{{7*7}} ${7*7}`,
	} {
		eve.Say(attack)
		ada.WaitHeard(attack)
		eve.WaitSaid(attack, "delivered")
	}
	eve.SetName(`<b>Eve</b>`)
	ada.WaitNotice(`<img src=x onerror=1> is now <b>Eve</b>`)
	eve.Do("naming a room", chromedp.SendKeys(chromedp.CSS("#room-input"), `<img src=x>`))
	eve.Press("Enter")
	eve.Wait("it is told why not", `!document.getElementById("room-error").hidden`)
	webtest.Eval[*string](eve, `void (location.hash = "#<svg onload=alert(1)>")`) // no room: the page stays where it is
	eve.Wait("the address is right again", `location.hash === "#markup"`)
	for _, p := range []*webtest.Page{ada, eve} {
		elements := webtest.Eval[int](p, `document.querySelectorAll(":is(#log, .panel) :is(script, img, svg, b, a[href^=javascript])").length`)
		if elements != 0 || strings.Contains(webtest.Eval[string](p, "document.title"), "owned") {
			t.Errorf("markup became %d elements", elements)
		}
	}
	noProblems(t, ada, eve)
}

func roomsByKeyboard(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada := person(t, browser, n.addr, "keys", "Ada")
	if got := webtest.Eval[string](ada, "document.activeElement.id"); got != "text" {
		t.Errorf("after the name, Tab leads to %q, want the box", got)
	}
	ada.Type("one")
	ada.Press("Shift+Enter")
	ada.Say("two")
	ada.WaitSaid("one\ntwo", "delivered")
	ada.EnterRoom("more-keys")
	if got := webtest.Eval[string](ada, "document.activeElement.id"); got != "text" {
		t.Errorf("in a new room the focus is on %q", got)
	}
	webtest.Eval[*string](ada, `void document.querySelector("[data-room=keys] .entry").focus()`)
	ada.Press("Enter")
	ada.WaitRoom("keys")
	if got := webtest.Eval[string](ada, "document.activeElement.closest('[data-room]')?.dataset.room ?? ''"); got != "keys" {
		t.Errorf("after a change of room the focus is on %q, want where it was", got)
	}
	webtest.Eval[*string](ada, `void document.getElementById("skip").focus()`)
	ada.Press("Enter")
	ada.Wait("the focus is on the box", `document.activeElement.id === "text"`)
	if got := webtest.Eval[string](ada, "location.hash"); got != "#keys" {
		t.Errorf("skipping leads to %q", got)
	}
	ada.View(390, 780, "light", true)
	webtest.Eval[*string](ada, `void document.getElementById("open-rooms").focus()`)
	ada.Press("Enter")
	ada.Wait("the drawer is open", `document.documentElement.dataset.drawer === "rooms"`)
	if got := webtest.Eval[bool](ada, `document.getElementById("rooms-panel").contains(document.activeElement) && document.getElementById("talk").inert`); !got {
		t.Error("the focus is not in the drawer")
	}
	ada.Press("Escape")
	ada.Wait("the drawer is closed", `document.documentElement.dataset.drawer === ""`)
	if got := webtest.Eval[string](ada, "document.activeElement.id"); got != "open-rooms" {
		t.Errorf("after the drawer the focus is on %q, want where it was", got)
	}
	const unnamed = `[...document.querySelectorAll("input, textarea, button")].filter((e) =>
		!(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label") || e.id === "jump")).map((e) => e.id)`
	if got := webtest.Eval[[]string](ada, unnamed); len(got) > 0 {
		t.Errorf("controls without a name: %q", got)
	}
	noProblems(t, ada)
}

// api calls a method of the server API.
func (n *testNode) api(method, body string) {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodPost, n.admin+"/api/"+method, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("X-API-Key", "api-key-of-the-tests")
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: %v %v", method, answer, err)
	}
	answer.Body.Close()
}

func endedByServer(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada := person(t, browser, n.addr, "ended", "Ada")
	user := webtest.Eval[string](ada, `JSON.parse(localStorage.getItem("throng.guest")).ids.at(-1)`)
	n.api("disconnect", `{"user":"`+user+`"}`)
	ada.WaitState("stopped")
	ada.Wait("it says why", `document.getElementById("headline").textContent.includes("force disconnect (3503)")`)
	shoot(t, ada, "rooms-ended")
	ada.Say("said in between")
	ada.WaitSaid("said in between", "waiting")
	ada.Do("trying again", chromedp.Click(chromedp.CSS("#retry")))
	ada.WaitState(webtest.StateOpen)
	ada.WaitSaid("said in between", "delivered")
	ada.WaitPeople("Ada")
	noProblems(t, ada)
}

func roomsLook(t *testing.T, browser *webtest.Browser, n *testNode) {
	ada, bob := person(t, browser, n.addr, "kitchen-table", "Ada"), person(t, browser, n.addr, "kitchen-table", "Grace Hopper")
	ada.EnterRoom("lobby")
	ada.EnterRoom("night-shift")
	ada.ShowRoom("kitchen-table")
	bob.EnterRoom("lobby")
	bob.Say("anybody up here?")
	bob.Say("well, then")
	bob.ShowRoom("kitchen-table")
	ada.WaitUnread("lobby", "2")
	bob.Say("Morning! The second node just joined, its clients hear us already.")
	ada.WaitHeard("Morning! The second node just joined, its clients hear us already.")
	ada.Say("Nice. Is that the one behind the balancer?")
	bob.WaitHeard("Nice. Is that the one behind the balancer?")
	bob.Say("It is. Reload and you may land on either.")
	bob.Say("李雷: 你好! مرحبا")
	ada.WaitHeard("李雷: 你好! مرحبا")
	ada.Type("I will ")
	for _, scheme := range []string{"light", "dark"} {
		ada.View(1180, 760, scheme, false)
		if low := ada.LowContrast(); len(low) > 0 {
			t.Errorf("%s: contrast too low: %q", scheme, low)
		}
		shoot(t, ada, "rooms-desktop-"+scheme)
		ada.View(390, 780, scheme, true)
		shoot(t, ada, "rooms-phone-"+scheme)
		for _, drawer := range []string{"rooms", "people"} {
			webtest.Eval[*string](ada, `void document.getElementById("open-`+drawer+`").click()`)
			ada.Wait("the drawer is open", `document.documentElement.dataset.drawer === "`+drawer+`"`)
			webtest.Eval[*string](ada, `void document.getAnimations().forEach((a) => a.finish())`)
			if low := ada.LowContrast(); len(low) > 0 {
				t.Errorf("%s, drawer %s: contrast too low: %q", scheme, drawer, low)
			}
			shoot(t, ada, "rooms-drawer-"+drawer+"-"+scheme)
			ada.Press("Escape")
		}
	}
	ada.View(320, 560, "light", true)
	ada.SetName(strings.Repeat("W", 32))
	ada.View(1180, 760, "light", false)
	ada.EnterRoom(strings.Repeat("w", 40))
	ada.Say(strings.Repeat("W", 3000))
	ada.WaitSaid(strings.Repeat("W", 3000), "delivered")
	for _, width := range []int64{320, 861, 1180} {
		ada.View(width, 560, "light", width < 400)
		if got := ada.TooWide(); len(got) > 0 {
			t.Errorf("at %d: wider than the screen: %q", width, got)
		}
	}
	noProblems(t, ada, bob)
}

// The node dies and comes back under the same address, with another key: tokens of its earlier life are worth nothing.
func killedUnderRooms(t *testing.T, browser *webtest.Browser) {
	binary := build(t)
	n := serve(t, binary, nil)
	ada, bob := person(t, browser, n.addr, "plug", "Ada"), person(t, browser, n.addr, "plug", "Bob")
	ada.WaitPeople("Ada", "Bob")
	n.signal(syscall.SIGKILL)
	<-n.ended
	ada.WaitState(webtest.StateReconnecting)
	bob.WaitState(webtest.StateReconnecting)
	ada.Say("said meanwhile")
	ada.WaitSaid("said meanwhile", "waiting")
	shoot(t, ada, "rooms-reconnecting")
	ada.View(390, 780, "light", true)
	shoot(t, ada, "rooms-reconnecting-phone")
	back := serve(t, binary, nil, "--addr="+n.addr)
	ada.WaitState(webtest.StateOpen)
	bob.WaitState(webtest.StateOpen)
	ada.WaitSaid("said meanwhile", "delivered")
	ada.WaitPeople("Ada", "Bob")
	bob.WaitPeople("Ada", "Bob")
	bob.Say("welcome back")
	ada.WaitHeard("welcome back")
	if got := ada.Messages(); !slices.ContainsFunc(got, func(m webtest.Message) bool { return m.Own && m.Body == "said meanwhile" }) || len(got) != 2 {
		t.Errorf("Ada sees %+v", got)
	}
	if got := back.metric(`throng_demo_tokens_total{result="issued"}`); got != 2 {
		t.Errorf("%v new guests, want 2", got)
	}
}
