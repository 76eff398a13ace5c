// The two lists beside the conversation, rooms and people, and the drawers they are in on a narrow screen.

import { element } from "./dom.js";
import { avatar } from "./messages.js";

const MOST_SHOWN = 99; // a badge with more says so

const badgeText = (count) => (count > MOST_SHOWN ? `${MOST_SHOWN}+` : String(count));

export class RoomList {
  #list;
  #actions;

  // list: the <ul>. actions: { show(name), leave(name) }.
  constructor(list, actions) {
    this.#list = list;
    this.#actions = actions;
  }

  // rooms: [{ name, unread, trouble }]; current: the name of the one that is shown.
  draw(rooms, current) {
    const focused = document.activeElement?.closest?.("[data-room]")?.dataset.room;
    this.#list.replaceChildren(...rooms.map((room) => this.#row(room, room.name === current, rooms.length > 1)));
    if (focused !== undefined && this.#list.contains(document.activeElement) === false) {
      this.#find(focused)?.querySelector(".entry").focus();
    }
  }

  #find(name) {
    return [...this.#list.children].find((row) => row.dataset.room === name);
  }

  #row({ name, unread, trouble }, current, leavable) {
    const open = element(
      "button",
      { type: "button", class: "entry", "aria-current": current ? "true" : null },
      element("span", { class: "sharp", "aria-hidden": "true" }, "#"),
      element("bdi", {}, name),
    );
    if (trouble) open.append(element("span", { class: "trouble", title: trouble }, "!"));
    if (unread > 0) {
      open.append(element("span", { class: "badge" }, badgeText(unread), element("span", { class: "hidden" }, " unread")));
    }
    open.addEventListener("click", () => this.#actions.show(name));
    const row = element("li", { "data-room": name }, open);
    if (!leavable) return row;
    const leave = element("button", { type: "button", class: "leave", "aria-label": `Leave ${name}`, title: "Leave" }, "×");
    leave.addEventListener("click", () => this.#actions.leave(name));
    row.append(leave);
    return row;
  }
}

// people: of Room. The list is drawn anew: it is short, or nobody reads it.
export function drawPeople(list, people) {
  const shown = people.slice(0, 200);
  list.replaceChildren(...shown.map(({ user, name, me }) => {
    const row = element("li", { class: "person" }, avatar(name, user), element("bdi", { class: "name" }, name));
    if (me) row.append(element("span", { class: "you" }, "you"));
    return row;
  }));
  if (people.length > shown.length) {
    list.append(element("li", { class: "more" }, `and ${(people.length - shown.length).toLocaleString()} more`));
  }
}

export function drawBadge(badge, count) {
  badge.hidden = count === 0;
  badge.textContent = badgeText(count);
}

// The panels as drawers: one is open at a time, Escape and a tap beside it close it, and the focus comes back to the
// button that opened it. On a wide screen the panels are always there and this does nothing.
export class Drawers {
  #root;
  #shade;
  #behind;
  #panels;
  #open = null;

  // panels: { name: { button, panel } }. behind: elements out of reach while a drawer is open.
  constructor({ root, shade, behind, panels }) {
    this.#root = root;
    this.#shade = shade;
    this.#behind = behind;
    this.#panels = panels;
    for (const [name, { button }] of Object.entries(panels)) {
      button.addEventListener("click", () => (this.#open === name ? this.close() : this.#show(name)));
    }
    shade.addEventListener("click", () => this.close());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#open) this.close();
    });
    matchMedia("(min-width: 861px)").addEventListener("change", (wide) => wide.matches && this.close(false));
  }

  close(giveBackFocus = true) {
    if (!this.#open) return;
    const { button } = this.#panels[this.#open];
    this.#open = null;
    this.#mark();
    if (giveBackFocus) button.focus();
  }

  #show(name) {
    this.#open = name;
    this.#mark();
    this.#panels[name].panel.querySelector("button, input, a, [tabindex]")?.focus({ preventScroll: true }); // the drawer still moves
  }

  #mark() {
    this.#root.dataset.drawer = this.#open ?? "";
    this.#shade.hidden = !this.#open;
    for (const part of this.#behind) part.inert = this.#open !== null;
    for (const [name, { button }] of Object.entries(this.#panels)) {
      button.setAttribute("aria-expanded", String(name === this.#open));
    }
  }
}
