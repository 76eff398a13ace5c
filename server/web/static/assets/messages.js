// From a message to its list item. No state.

import { element } from "./dom.js";
import { hueOf, initials } from "./names.js";
import { parseSpeech } from "./protocol.js";

const HUES = 12; // classes hue-0 to hue-11 in messages.css
const LONG_CHARS = 1500; // longer bodies are folded
const LONG_LINES = 16;

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// message: { own, name, body, node, at, binary, repeat, user }; user is an id, where names may be alike. joined: the one
// before is by the same person, just before.
export function messageItem(message, joined) {
  const kind = message.own ? "own" : "other";
  const item = element("li", {
    class: `message ${kind}${joined ? " joined" : ""}${message.binary ? " binary" : ""}`,
    "data-own": String(message.own),
    "data-delivery": message.own ? "delivered" : undefined,
  });
  const bubble = element("div", { class: "bubble" }, bodyOf(message.body), foot(message));
  if (message.own) {
    item.append(element("span", { class: "hidden" }, "You: "), bubble);
    return item;
  }
  const shown = message.name || (message.binary ? "Binary message" : "Unnamed client");
  item.append(avatar(message.name, message.user), element("div", { class: "said" }, heading(shown, message, joined), bubble));
  return item;
}

// entry: of Outgoing. actions: { retry(id), discard(id), bodyOf(text) }, the last being optional.
export function pendingItem(entry, actions) {
  const body = actions.bodyOf ? actions.bodyOf(entry.text) : parseSpeech(entry.text).body;
  const button = (label, action) => {
    const b = element("button", { type: "button", class: "link" }, label);
    b.addEventListener("click", () => action(entry.id));
    return b;
  };
  const label = element("p", { class: "foot label" });
  const retry = button("Send again", actions.retry);
  retry.classList.add("again");
  const item = element(
    "li",
    { class: "message own pending" },
    element("span", { class: "hidden" }, "You: "),
    element("div", { class: "bubble" }, bodyOf(body), label),
    element("p", { class: "actions" }, retry, button("Discard", actions.discard)),
  );
  return item;
}

const DELIVERY_TEXT = {
  waiting: "Waiting for a connection",
  sent: "Sending…",
  overdue: "Not confirmed yet",
  held: "Refused by the node",
};

export function updatePending(item, state) {
  if (item.dataset.delivery === state) return;
  item.dataset.delivery = state;
  item.querySelector(".label").textContent = DELIVERY_TEXT[state];
}

export function noticeItem(text) {
  return element("li", { class: "notice" }, element("span", {}, text));
}

function heading(shown, message, joined) {
  const line = element("p", { class: joined ? "heading hidden" : "heading" }, element("bdi", { class: "name" }, shown));
  if (message.node) line.append(" ", element("span", { class: "via" }, `via ${message.node}`));
  return line;
}

// The round sign of a person; key decides the colour.
export function avatar(name, key = name) {
  const hue = name ? `hue-${hueOf(key, HUES)}` : "hue-none";
  return element("span", { class: `avatar ${hue}`, "aria-hidden": "true" }, name ? initials(name) : "•");
}

function foot(message) {
  const at = new Date(message.at);
  const time = element("time", { datetime: at.toISOString(), title: calendar.format(at) }, clock.format(at));
  const line = element("p", { class: "foot" }, time);
  if (message.own) {
    const receipt = message.repeat ? "Delivered again" : "Delivered";
    line.append(
      element("span", { class: "tick", "aria-hidden": "true", title: receipt }, message.repeat ? "✓✓" : "✓"),
      element("span", { class: "hidden" }, receipt),
    );
  }
  return line;
}

function bodyOf(text) {
  const body = element("p", { class: "body", dir: "auto" });
  body.textContent = text;
  const lines = text.split("\n", LONG_LINES + 1).length;
  if (text.length <= LONG_CHARS && lines <= LONG_LINES) return body;
  body.classList.add("folded");
  const button = element("button", { type: "button", class: "link", "aria-expanded": "false" }, "Show all");
  button.addEventListener("click", () => {
    const folded = body.classList.toggle("folded");
    button.textContent = folded ? "Show all" : "Show less";
    button.setAttribute("aria-expanded", String(!folded));
  });
  return element("div", {}, body, button);
}
