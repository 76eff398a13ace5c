// The list of messages on the screen: what everybody heard, in the node's order, and below it what is still on its way.
// Changes are gathered and drawn once per frame, so a busy room costs one layout per frame and not one per message.

import { element } from "./dom.js";
import { messageItem, noticeItem, pendingItem, updatePending } from "./messages.js";

export const LOG_LIMIT = 500; // items kept on the page; older ones are dropped
const JOIN_MS = 3 * 60_000; // a person's messages within this time share one heading
const NEAR_BOTTOM_PX = 60; // closer than this to the end counts as reading along
const HIDDEN_DRAW_MS = 250; // a page in the background gets no frames

export class LogView {
  #scroller;
  #log;
  #pending;
  #empty;
  #jump;
  #actions;
  #incoming = []; // not drawn yet
  #entries = []; // of Outgoing, as last shown
  #items = new Map(); // entry id -> its list item
  #last = null; // last message drawn, for joining
  #following = true;
  #missed = 0; // drawn below the view since the reader left the end
  #scheduled = false;

  // parts: { scroller, log, pending, empty, jump } elements; actions: { retry(id), discard(id), bodyOf(text) }, as of pendingItem.
  constructor(parts, actions) {
    this.#scroller = parts.scroller;
    this.#log = parts.log;
    this.#pending = parts.pending;
    this.#empty = parts.empty;
    this.#jump = parts.jump;
    this.#actions = actions;
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#jump.addEventListener("click", () => this.follow());
    // The keyboard of a phone takes half the view: the end must stay in sight.
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.#scroller);
  }

  message(message) {
    this.#push({ message });
  }

  notice(text) {
    this.#push({ notice: text });
  }

  // Shows the outgoing entries as they are now.
  outgoing(entries) {
    this.#entries = entries.map(({ id, text, state }) => ({ id, text, state }));
    this.#schedule();
  }

  clear() {
    this.#incoming = [];
    this.#last = null;
    this.#log.replaceChildren();
    this.follow();
    this.#schedule();
  }

  // Scrolls to the end and stays there.
  follow() {
    this.#following = true;
    this.#missed = 0;
    this.#toEnd();
    this.#showJump();
  }

  #push(item) {
    this.#incoming.push(item);
    if (this.#incoming.length > LOG_LIMIT) this.#incoming.shift();
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const draw = () => {
      this.#scheduled = false;
      this.#draw();
    };
    if (document.hidden) setTimeout(draw, HIDDEN_DRAW_MS);
    else requestAnimationFrame(draw);
  }

  #draw() {
    const fresh = this.#incoming.map((item) => this.#build(item));
    this.#incoming = [];
    this.#log.append(...fresh);
    for (let surplus = this.#log.children.length - LOG_LIMIT; surplus > 0; surplus--) {
      this.#log.firstElementChild.remove();
    }
    this.#drawPending();
    this.#empty.hidden = this.#log.querySelector(".message") !== null || this.#entries.length > 0;
    if (this.#following) this.#toEnd();
    else this.#missed += fresh.length;
    this.#showJump();
  }

  #build({ message, notice }) {
    if (!message) {
      this.#last = null;
      return noticeItem(notice);
    }
    const last = this.#last;
    this.#last = message;
    const joined = last !== null && last.own === message.own && last.name === message.name && last.user === message.user &&
      last.node === message.node && last.binary === message.binary && message.at - last.at < JOIN_MS;
    return messageItem(message, joined);
  }

  #drawPending() {
    const live = new Set(this.#entries.map((entry) => entry.id));
    for (const [id, item] of this.#items) {
      if (live.has(id)) continue;
      this.#items.delete(id);
      item.remove();
    }
    for (const entry of this.#entries) {
      let item = this.#items.get(entry.id);
      if (!item) {
        item = pendingItem(entry, this.#actions);
        this.#items.set(entry.id, item);
        this.#pending.append(item);
      }
      updatePending(item, entry.state);
    }
  }

  #scrolled() {
    const below = this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight;
    this.#following = below < NEAR_BOTTOM_PX;
    if (this.#following) this.#missed = 0;
    this.#showJump();
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #showJump() {
    this.#jump.hidden = this.#following;
    const count = this.#missed;
    const label = count === 0 ? "To the latest" : `${count} new ${count === 1 ? "message" : "messages"}`;
    this.#jump.replaceChildren(label, " ", element("span", { "aria-hidden": "true" }, "↓"));
  }
}
