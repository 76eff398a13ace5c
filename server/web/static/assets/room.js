// What one room knows: what was said, in the channel's order and each thing once, who is here, and how much of it nobody
// has looked at yet. Pure: no DOM, no sockets; the clock is given.

import { cleanName } from "./protocol.js";

export const ITEMS_KEPT = 500; // older ones are dropped
const LONGEST_ID = 64;
const NAME = /^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]{0,39}$/u; // the server's rule, server/demo

const INVISIBLE = /(?![\u200c\u200d])[\p{Cf}\p{Co}\p{Cn}\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]/gu;
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

// Makes typed input a room's name, or says what is wrong: { name, problem }, one of them "". Names are of one case and one
// spelling, so that people who mean the same room meet.
export function roomName(input) {
  const name = input.normalize("NFC").trim().replace(/^#+/u, "").trim().toLowerCase().replace(/\s+/gu, "-");
  if (name === "") return { name: "", problem: "A room needs a name." };
  if (NAME.test(name)) return { name, problem: "" };
  if (Array.from(name).length > 40) return { name: "", problem: "At most 40 characters." };
  return { name: "", problem: "Only letters, digits, dots, - and _, and a letter or digit first." };
}

// Makes typed input a person's name that the server takes (server/demo): one line, nothing invisible but the joiners that
// emoji and several scripts need. "" when nothing is left.
export function personName(input) {
  const name = cleanName(cleanName(input).replace(INVISIBLE, ""));
  return VISIBLE.test(name) ? name : "";
}

// The name in a conn_info, as it may be shown. It is text of a stranger's.
export function nameOf(info) {
  const name = info?.conn_info?.name;
  return (typeof name === "string" && personName(name)) || "Guest";
}

export class Room {
  #isMe;
  #items = [];
  #offsets = new Set();
  #ids = new Set();
  #last = 0; // order of the newest item
  #base = 0; // what offsets of this epoch are counted from
  #epoch = "";
  #members = new Map(); // client -> { user, name }
  #changes = null; // joins and leaves since presence was asked for
  #seen; // as of markRead, of an earlier page
  #readUpTo = 0; // order of the last item somebody looked at

  // isMe(user): true for our own ids. seen: what markRead returned last, on this page or an earlier one; {} for never.
  constructor(name, isMe, seen = {}) {
    this.name = name;
    this.#isMe = isMe;
    this.#seen = seen;
  }

  // What is shown, oldest first: messages as of messages.js, and { notice }. Read-only for the caller.
  get items() {
    return this.#items;
  }

  // The messages of others that nobody has looked at.
  get unread() {
    return this.#items.filter((item) => this.#isUnread(item)).length;
  }

  // The first of them; undefined if there is none.
  get firstUnread() {
    return this.#items.find((item) => this.#isUnread(item));
  }

  // Everything has been looked at. Returns { epoch, offset }, to be kept for the next page.
  markRead() {
    this.#readUpTo = this.#last;
    return { epoch: this.#epoch, offset: this.#last - this.#base };
  }

  #isUnread({ notice, own, order }) {
    return notice === undefined && !own && order > this.#readUpTo;
  }

  // Offsets are counted anew from here on if the epoch is not the one we know.
  entered(epoch) {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#base = this.#last;
    this.#offsets.clear();
    if (epoch !== "" && this.#seen.epoch === epoch && this.#seen.offset > 0) this.#readUpTo = this.#base + this.#seen.offset;
  }

  // Takes a publication that just came, or was caught up with; null if it is known or nothing to show.
  take(publication, now) {
    const item = this.#add(publication, now);
    this.#trim();
    return item;
  }

  // Takes what the server remembers, in any order. Returns how many were new.
  remember(publications, now) {
    const before = this.#items.length;
    for (const publication of publications) this.#add(publication, now, true);
    const added = this.#items.length - before;
    this.#items.sort((a, b) => a.order - b.order); // stable: a notice stays behind what it came after
    this.#trim();
    return added;
  }

  notice(text) {
    const item = { notice: text, order: this.#last };
    this.#items.push(item);
    this.#trim();
    return item;
  }

  #add({ data, info, offset, time }, now, remembered = false) {
    if (typeof data?.text !== "string" || data.text.trim() === "") return null;
    const id = typeof data.id === "string" && data.id.length <= LONGEST_ID ? data.id : "";
    if (this.#offsets.has(offset) || this.#ids.has(id)) return null;
    if (offset) this.#offsets.add(offset);
    if (id) this.#ids.add(id);
    const order = offset ? this.#base + offset : this.#last + 1;
    const user = info?.user ?? "";
    const item = {
      own: this.#isMe(user), name: info ? nameOf(info) : "", body: data.text, node: "", binary: false, user, id, offset, order,
      at: this.#moment(time, data.at, remembered, now),
    };
    this.#last = Math.max(this.#last, order);
    this.#items.push(item);
    return item;
  }

  // The server's time if it told one; the sender's only where there is no better, and never from the future.
  #moment(time, said, remembered, now) {
    if (time > 0) return time;
    return remembered && Number.isFinite(said) && said > 0 ? Math.min(said, now) : now;
  }

  #trim() {
    for (const old of this.#items.splice(0, Math.max(0, this.#items.length - ITEMS_KEPT))) {
      this.#offsets.delete(old.offset);
      this.#ids.delete(old.id);
    }
  }

  // How many connections are here, for who need not know of how many people.
  get connections() {
    return this.#members.size;
  }

  // People, each once however many connections they have: [{ user, name, me }], ourselves first, then by name.
  get people() {
    const byUser = new Map();
    for (const { user, name } of this.#members.values()) byUser.set(user, { user, name, me: this.#isMe(user) });
    return [...byUser.values()].sort((a, b) => b.me - a.me || a.name.localeCompare(b.name) || (a.user < b.user ? -1 : 1));
  }

  // Presence is asked for: what changes until the answer is here is remembered, for the answer may not have it yet.
  asked() {
    this.#changes = [];
  }

  answered(infos) {
    const changes = this.#changes ?? [];
    this.#changes = null;
    this.#members = new Map(infos.map((info) => [info.client, { user: info.user, name: nameOf(info) }]));
    for (const change of changes) change();
  }

  // True if this is somebody who was not here with another connection.
  join(info) {
    this.#changes?.push(() => this.#enter(info));
    const is = !this.#here(info.user);
    this.#enter(info);
    return is;
  }

  // The name of who is gone with this, "" if it is nobody.
  leave(info) {
    this.#changes?.push(() => this.#members.delete(info.client));
    const known = this.#members.get(info.client);
    this.#members.delete(info.client);
    return known && !this.#here(known.user) ? known.name : "";
  }

  // Notes the name someone speaks under. The old one if it was another.
  heard(info) {
    const known = this.#members.get(info?.client);
    const name = nameOf(info);
    if (!known || known.name === name) return "";
    const old = known.name;
    for (const member of this.#members.values()) {
      if (member.user === info.user) member.name = name;
    }
    return old;
  }

  #enter(info) {
    this.#members.set(info.client, { user: info.user, name: nameOf(info) });
  }

  #here(user) {
    for (const member of this.#members.values()) {
      if (member.user === user) return true;
    }
    return false;
  }
}
