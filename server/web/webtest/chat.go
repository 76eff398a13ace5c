package webtest

import (
	"strings"

	"github.com/chromedp/cdproto/input"
)

// Message is one message as the chat page shows it.
type Message struct {
	Own      bool   `json:"own"`      // said by this tab
	Name     string `json:"name"`     // who said it, as shown; empty for one's own
	Body     string `json:"body"`     // what was said
	Delivery string `json:"delivery"` // of one's own: waiting, sent, overdue, held or delivered
}

// States of the connection, for WaitState.
const (
	StateConnecting   = "connecting"
	StateOpen         = "open"
	StateReconnecting = "reconnecting"
	StateOffline      = "offline"
)

const messagesJS = `[...document.querySelectorAll(".message")].map((m) => ({
	own: m.classList.contains("own"),
	name: m.querySelector(".name")?.textContent ?? "",
	body: m.querySelector(".body").textContent,
	delivery: m.dataset.delivery ?? "",
}))`

// WaitState waits until the page shows the connection in this state.
func (p *Page) WaitState(state string) {
	p.t.Helper()
	p.Wait("connection is "+state, "document.documentElement.dataset.state === "+quote(state))
}

// WaitNode waits until the page is connected to, and greeted by, the node with this id.
func (p *Page) WaitNode(id string) {
	p.t.Helper()
	p.WaitState(StateOpen)
	p.Wait("greeted by node "+id, `document.getElementById("node").textContent === `+quote(id))
}

// SetName gives the person a name.
func (p *Page) SetName(name string) {
	p.t.Helper()
	Eval[*string](p, `void document.getElementById("name").select()`)
	p.insert(name)
	p.Press("Tab")
}

// Type writes text into the box without sending it.
func (p *Page) Type(text string) {
	p.t.Helper()
	Eval[*string](p, `void document.getElementById("text").focus()`)
	p.insert(text)
}

// Say writes text into the box and presses Enter.
func (p *Page) Say(text string) {
	p.t.Helper()
	p.Type(text)
	p.Press("Enter")
}

// Typed returns what stands in the box.
func (p *Page) Typed() string {
	p.t.Helper()
	return Eval[string](p, `document.getElementById("text").value`)
}

// Messages returns all messages shown, in order; those not delivered yet are at the end.
func (p *Page) Messages() []Message {
	p.t.Helper()
	return Eval[[]Message](p, messagesJS)
}

// WaitHeard waits until a message of somebody else with this body is shown.
func (p *Page) WaitHeard(body string) {
	p.t.Helper()
	p.Wait("heard "+quote(body), messagesJS+`.some((m) => !m.own && m.body === `+quote(body)+`)`)
}

// WaitSaid waits until this tab's own message with this body has the delivery state.
func (p *Page) WaitSaid(body, delivery string) {
	p.t.Helper()
	p.Wait(quote(body)+" is "+delivery, messagesJS+`.some((m) => m.own && m.delivery === `+
		quote(delivery)+` && m.body === `+quote(body)+`)`)
}

// insert types as an input method does: any Unicode, any length, one input event.
func (p *Page) insert(text string) {
	p.t.Helper()
	call(p, "typing", input.InsertText, input.InsertTextParams{Text: text})
}

// Press presses and releases one of the keys that do something: Enter, Tab, Escape, or with
// Shift held, as in "Shift+Enter".
//
// chromedp.KeyEvent sends a key's character as an event of its own, which reaches the page even when the page prevented
// the key's default; with text inside the key event the browser derives the character itself, as it does for a person.
func (p *Page) Press(name string) {
	p.t.Helper()
	const shift = 8
	name, shifted := strings.CutPrefix(name, "Shift+")
	k, known := keys[name]
	if !known {
		p.t.Fatalf("webtest: no key %q", name)
	}
	down := input.DispatchKeyEventParams{
		Type: "keyDown", Key: name, Code: name, WindowsVirtualKeyCode: k.code, Text: k.text,
	}
	if shifted {
		down.Modifiers = shift
	}
	up := down
	up.Type, up.Text = "keyUp", ""
	call(p, "pressing "+name, input.DispatchKeyEvent, down)
	call(p, "releasing "+name, input.DispatchKeyEvent, up)
}

var keys = map[string]struct {
	code int64  // Windows virtual key code, which is what Chromium acts on
	text string // character the key types
}{
	"Enter":  {13, "\r"},
	"Escape": {27, ""},
	"Tab":    {9, ""},
}
