// The connection as the user sees it: the pill in the header and, while there is no connection, a banner with the time
// to the next attempt. Screen readers hear a change of state once, and not the seconds.

import { State } from "./connection.js";

const LABEL = {
  [State.connecting]: "Connecting",
  [State.open]: "Live",
  [State.reconnecting]: "Reconnecting",
  [State.offline]: "Offline",
  [State.stopped]: "Stopped",
};

export class StatusView {
  #parts;
  #state = State.stopped;
  #retryAt = 0;
  #timer = null;

  // parts: { root, label, node, banner, headline, countdown, retry } elements; retryNow: function.
  constructor(parts, retryNow) {
    this.#parts = parts;
    parts.retry.addEventListener("click", retryNow);
  }

  // retryAt: when the next attempt starts, ms since the epoch; 0 when it is under way. why: for a state that will not end
  // by itself.
  show(state, retryAt, why = "") {
    const { root, label, banner, headline } = this.#parts;
    this.#retryAt = retryAt;
    if (state !== this.#state) {
      this.#state = state;
      root.dataset.state = state;
      label.textContent = LABEL[state];
      headline.textContent = state === State.offline ? "Your browser is offline." : "The connection is gone.";
      banner.hidden = state !== State.reconnecting && state !== State.offline;
    }
    if (why) {
      headline.textContent = why;
      banner.hidden = false;
    }
    this.#tick();
  }

  // The id of the node, "" while there is none.
  node(id) {
    const { root, node } = this.#parts;
    root.dataset.node = id;
    node.textContent = id || "–";
    node.title = id;
  }

  #tick() {
    clearTimeout(this.#timer);
    const { countdown, retry, banner } = this.#parts;
    if (banner.hidden) return;
    const left = this.#retryAt - Date.now();
    // The button stays where it is while an attempt runs: a focused button must not vanish.
    retry.setAttribute("aria-disabled", String(this.#retryAt === 0 && this.#state !== State.stopped));
    if (this.#state === State.stopped) {
      countdown.textContent = "";
      return;
    }
    if (this.#retryAt === 0 || left <= 0) {
      countdown.textContent = "Trying now…";
      return;
    }
    const seconds = Math.ceil(left / 1000);
    countdown.textContent = `Next try in ${seconds}\u00a0s.`;
    this.#timer = setTimeout(() => this.#tick(), left - (seconds - 1) * 1000);
  }
}
