package webtest

import "slices"

// Verbs of the chat with rooms, beside those that both pages have.

const (
	peopleJS = `[...document.querySelectorAll("#people .name")].map((e) => e.textContent)`
	roomsJS  = `[...document.querySelectorAll("#room-list bdi")].map((e) => e.textContent)`
)

// EnterRoom writes a room's name into its box and presses Enter, as one does on a wide screen.
func (p *Page) EnterRoom(name string) {
	p.t.Helper()
	Eval[*string](p, `void document.getElementById("room-input").focus()`)
	p.insert(name)
	p.Press("Enter")
	p.WaitRoom(name)
}

// WaitRoom waits until the page shows the room with this name.
func (p *Page) WaitRoom(name string) {
	p.t.Helper()
	p.Wait("in room "+name, `document.querySelector("[data-room-name]").textContent === `+quote(name))
}

// ShowRoom clicks on a room of the list.
func (p *Page) ShowRoom(name string) {
	p.t.Helper()
	Eval[*string](p, `void document.querySelector("[data-room=" + CSS.escape(`+quote(name)+`) + "] .entry").click()`)
	p.WaitRoom(name)
}

// Rooms returns the names in the list of rooms, in order.
func (p *Page) Rooms() []string {
	p.t.Helper()
	return Eval[[]string](p, roomsJS)
}

// WaitPeople waits until the list of people is this, in any order.
func (p *Page) WaitPeople(names ...string) {
	p.t.Helper()
	slices.Sort(names)
	list := "["
	for _, name := range names {
		list += quote(name) + ","
	}
	p.Wait("people are "+list+"]", `JSON.stringify(`+peopleJS+`.sort()) === JSON.stringify(`+list+`])`)
}

// WaitUnread waits until the list of rooms shows this many unread messages of a room, "" for none.
func (p *Page) WaitUnread(room, count string) {
	p.t.Helper()
	p.Wait(room+" has "+count+" unread", `(document.querySelector("[data-room=" + CSS.escape(`+quote(room)+`) + "] .badge")?.firstChild.data ?? "") === `+quote(count))
}

// WaitNotice waits until a notice with this text stands in the conversation.
func (p *Page) WaitNotice(text string) {
	p.t.Helper()
	p.Wait("notice "+quote(text), `[...document.querySelectorAll("#log .notice")].some((e) => e.textContent === `+quote(text)+`)`)
}

// Hide makes the page believe that nobody sees it, or somebody does again.
func (p *Page) Hide(hidden bool) {
	p.t.Helper()
	Eval[*string](p, `void (() => {
		Object.defineProperty(document, "hidden", { configurable: true, get: () => `+map[bool]string{true: "true", false: "false"}[hidden]+` });
		document.dispatchEvent(new Event("visibilitychange"));
	})()`)
}
