// The raw-text protocol, as strings. A node greets with "Connected to server <node id>" and then delivers every
// message as "<node id>:<text>", where the id is the delivering node's: always the node this page is connected to.
// Inside <text> this page writes "<name>: <message>"; programs that send bare text are shown without a name.
// Pure: no DOM, no sockets.

const GREETING = "Connected to server ";
const NAME_MAX = 32; // code points

// Control characters, marks that reorder the line they stand in, and the colon that ends a name on the wire. Joiners
// stay: emoji and several scripts need them.
const NOT_IN_NAME = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff:]/gu;
const NOT_IN_ROOM = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
const SPEECH = /^([^:\n]+): ([\s\S]*)$/u;

// The node id of a greeting, or null.
export function parseGreeting(frame) {
  return frame.startsWith(GREETING) ? frame.slice(GREETING.length).trim() : null;
}

// Splits a delivery into { node, text }. nodeId is the greeting's; it may itself hold a colon. Before a greeting
// (it can be delayed) the first colon has to do.
export function parseDelivery(frame, nodeId) {
  if (nodeId && frame.startsWith(nodeId + ":")) {
    return { node: nodeId, text: frame.slice(nodeId.length + 1) };
  }
  const colon = frame.indexOf(":");
  if (colon < 0) return { node: "", text: frame };
  return { node: frame.slice(0, colon), text: frame.slice(colon + 1) };
}

// Splits a text into { name, body }; name is "" when nobody signed.
export function parseSpeech(text) {
  const match = SPEECH.exec(text);
  if (match && match[1] === cleanName(match[1])) return { name: match[1], body: match[2] };
  return { name: "", body: text };
}

export function formatSpeech(name, body) {
  return wellFormed(`${name}: ${body}`);
}

// Makes typed input a name that parseSpeech finds again: one line, no colon, no invisible characters, at most 32 code
// points. "" when nothing is left.
export function cleanName(input) {
  const line = wellFormed(input).replace(NOT_IN_NAME, " ").replace(/\s+/gu, " ").trim();
  return Array.from(line).slice(0, NAME_MAX).join("").trim();
}

// Makes typed input a room name the node accepts: one line, no marks that reorder it; and no "#" in front. "" when nothing
// is left. The length is the caller's to check.
export function cleanRoom(input) {
  return wellFormed(input).replace(NOT_IN_ROOM, "").trim().replace(/^#+/u, "").trim();
}

// What UTF-8 takes, in bytes: the unit of the node's limit.
export function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

// Replaces lone surrogates as WebSocket.send would, so that the echo equals what was queued.
export function wellFormed(text) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text));
}

// The WebSocket address of a room on the host the page came from. The default room is not named: it is what clients
// of the bare address are in.
export function socketURL(page, { socketPath, defaultRoom }, room) {
  const url = new URL(socketPath, page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  url.hash = "";
  if (room !== defaultRoom) url.searchParams.set("room", room);
  return url.href;
}

// The room a page address asks for.
export function roomOf(page, defaultRoom) {
  return cleanRoom(new URL(page).searchParams.get("room") ?? "") || defaultRoom;
}

// The page address of a room.
export function pageURL(page, room, defaultRoom) {
  const url = new URL(page);
  url.searchParams.delete("room");
  if (room !== defaultRoom) url.searchParams.set("room", room);
  return url.href;
}
