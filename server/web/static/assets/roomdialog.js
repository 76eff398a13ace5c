// The dialog in which another room is chosen. It remembers the rooms visited last.

import { element } from "./dom.js";
import { byteLength, cleanRoom } from "./protocol.js";

const RECENT_MAX = 6;

export class RoomDialog {
  #parts;
  #recent;
  #home;
  #maxBytes;
  #join;
  #current = "";

  // parts: { open, dialog, form, input, error, recent, cancel } elements. recent: { load(), save(list) }.
  // home: the room that is always offered. join(room): called with a clean name.
  constructor(parts, { recent, home, maxBytes, join }) {
    this.#parts = parts;
    this.#recent = recent;
    this.#home = home;
    this.#maxBytes = maxBytes;
    this.#join = join;
    parts.open.addEventListener("click", () => this.#open());
    parts.cancel.addEventListener("click", () => parts.dialog.close());
    parts.dialog.addEventListener("click", (event) => event.target === parts.dialog && parts.dialog.close());
    parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#choose(parts.input.value);
    });
  }

  // Remembers a room as visited, and as the one we are in.
  visited(room) {
    this.#current = room;
    const others = this.#list().filter((r) => r !== room);
    this.#recent.save([room, ...others].slice(0, RECENT_MAX));
  }

  #open() {
    const { dialog, input, error, recent } = this.#parts;
    input.value = "";
    error.hidden = true;
    const offered = new Set([...this.#list(), this.#home]);
    offered.delete(this.#current);
    recent.replaceChildren(...[...offered].map((room) => this.#chip(room)));
    recent.hidden = offered.size === 0;
    dialog.showModal();
    input.focus();
  }

  #chip(room) {
    const button = element("button", { type: "button", class: "chip" }, element("bdi", {}, `# ${room}`));
    button.addEventListener("click", () => this.#choose(room));
    return element("li", {}, button);
  }

  #choose(typed) {
    const { dialog, error } = this.#parts;
    const room = cleanRoom(typed);
    const bytes = byteLength(room);
    if (bytes === 0 || bytes > this.#maxBytes) {
      error.textContent = bytes === 0 ? "A room needs a name." : `At most ${this.#maxBytes} bytes; this has ${bytes}.`;
      error.hidden = false;
      return;
    }
    dialog.close();
    this.#join(room);
  }

  #list() {
    return this.#recent.load().filter((room) => typeof room === "string");
  }
}
