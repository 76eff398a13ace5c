import assert from "node:assert/strict";
import { test } from "node:test";
import { ITEMS_KEPT, nameOf, personName, Room, roomName } from "../static/assets/room.js";

const NOW = 2_000_000_000_000;
const room = () => new Room("lobby", (user) => user === "me");
const who = (user, client = user, name = user) => ({ user, client, conn_info: { name } });
const pub = (text, offset, more = {}) => ({ data: { text, id: `id of ${text}`, at: NOW - 5 }, info: who("ann"), offset, ...more });
const bodies = (r) => r.items.map((item) => item.body ?? item.notice);

test("each thing is taken once, by offset and by id", () => {
  const r = room();
  r.entered("e");
  assert.equal(r.take(pub("a", 1), NOW).body, "a");
  assert.equal(r.take(pub("a", 1), NOW), null);
  assert.equal(r.take(pub("a", 7), NOW), null); // said again after a reconnect
  assert.equal(r.take(pub("b", 1), NOW), null);
  assert.equal(r.take(pub("b", 2), NOW).body, "b");
  assert.equal(r.take({ data: { text: "no id" } }, NOW).name, "");
  assert.equal(r.take({ data: { text: "no id" } }, NOW).body, "no id");
});

test("what is remembered goes before what came meanwhile", () => {
  const r = room();
  r.entered("e");
  r.take(pub("d", 40), NOW);
  assert.equal(r.remember([pub("b", 20), pub("d", 40), pub("a", 10), pub("c", 30)], NOW), 3);
  assert.deepEqual(bodies(r), ["a", "b", "c", "d"]);
});

test("after a gap the note stands where the gap is", () => {
  const r = room();
  r.entered("e");
  r.take(pub("a", 1), NOW);
  r.entered("e");
  r.notice("gap");
  r.remember([pub("a", 1), pub("x", 90), pub("y", 91)], NOW);
  assert.deepEqual(bodies(r), ["a", "gap", "x", "y"]);
});

test("in a new epoch offsets are counted anew", () => {
  const r = room();
  r.entered("e");
  r.take(pub("old", 1000), NOW);
  r.entered("f");
  r.notice("gap");
  r.remember([pub("new", 1)], NOW);
  assert.equal(r.take(pub("newer", 2), NOW).body, "newer");
  assert.deepEqual(bodies(r), ["old", "gap", "new", "newer"]);
});

test("what nobody looked at is counted, but for our own words", () => {
  const r = room();
  r.entered("e");
  r.take(pub("a", 10), NOW);
  r.take(pub("mine", 20, { info: who("me") }), NOW);
  r.notice("note");
  r.take(pub("b", 30), NOW);
  assert.equal(r.unread, 2);
  assert.equal(r.firstUnread.body, "a");
  assert.deepEqual(r.markRead(), { epoch: "e", offset: 30 });
  assert.equal(r.unread, 0);
  assert.equal(r.firstUnread, undefined);
  r.remember([pub("older", 5)], NOW); // from before what was looked at
  assert.equal(r.unread, 0);
  r.take(pub("c", 40), NOW);
  assert.equal(r.unread, 1);
});

test("a page goes on where the one before stopped reading, in the same epoch", () => {
  const history = [pub("a", 10), pub("b", 20), pub("c", 30)];
  for (const [seen, unread] of [[{ epoch: "e", offset: 20 }, 1], [{ epoch: "e", offset: 30 }, 0], [{ epoch: "old", offset: 20 }, 3], [{}, 3], [undefined, 3]]) {
    const r = new Room("lobby", () => false, seen);
    r.entered("e");
    r.remember(history, NOW);
    assert.equal(r.unread, unread, JSON.stringify(seen));
  }
  const live = new Room("lobby", () => false, { epoch: "", offset: 20 }); // without history there are no positions
  live.entered("");
  live.take(pub("a"), NOW);
  assert.equal(live.unread, 1);
});

test("what is no message is not shown", () => {
  const r = room();
  for (const data of [undefined, null, 1, "x", {}, { text: 1 }, { event: "name" }, [], { text: " \n" }]) assert.equal(r.take({ data }, NOW), null);
  assert.equal(r.items.length, 0);
});

test("the time is the server's, else the sender's of what was missed, never the future", () => {
  const r = room();
  assert.equal(r.take(pub("a", 1, { time: NOW - 9 }), NOW).at, NOW - 9);
  assert.equal(r.take(pub("b", 2), NOW).at, NOW);
  r.remember([pub("c", 3), pub("d", 4, { data: { text: "d", at: NOW + 1e9 } }), pub("e", 5, { data: { text: "e", at: "x" } })], NOW);
  assert.deepEqual(r.items.slice(2).map((item) => item.at), [NOW - 5, NOW, NOW]);
});

test("a room keeps so much and no more", () => {
  const r = room();
  r.entered("e");
  for (let i = 1; i <= ITEMS_KEPT + 10; i++) r.take(pub(`m${i}`, i), NOW);
  assert.equal(r.items.length, ITEMS_KEPT);
  assert.equal(r.items[0].body, "m11");
});

test("a full room makes place by dropping what is oldest, whenever it was told", () => {
  const r = room();
  r.entered("e");
  for (let i = 1; i <= ITEMS_KEPT; i++) r.take(pub(`m${i}`, 100 + i), NOW);
  r.remember([pub("older", 5), pub("newer", 9000)], NOW);
  assert.equal(r.items.length, ITEMS_KEPT);
  assert.equal(r.items[0].body, "m2");
  assert.equal(r.items.at(-1).body, "newer");
});

test("people are listed once, we first, however many connections they have", () => {
  const r = room();
  r.asked();
  r.answered([who("bob", "1"), who("ann", "2"), who("bob", "3"), who("me", "4", "Zoe")]);
  assert.deepEqual(r.people.map((p) => p.name), ["Zoe", "ann", "bob"]);
  assert.equal(r.leave(who("bob", "1")), "");
  assert.equal(r.leave(who("bob", "3")), "bob");
  assert.equal(r.join(who("eve", "5")), true);
  assert.equal(r.join(who("eve", "6")), false);
  assert.equal(r.leave(who("nobody", "9")), "");
  assert.deepEqual(r.people.map((p) => p.name), ["Zoe", "ann", "eve"]);
});

test("who comes or goes while presence is asked for is not forgotten", () => {
  const r = room();
  r.asked();
  r.join(who("late", "1"));
  r.leave(who("gone", "2"));
  r.answered([who("gone", "2"), who("ann", "3")]);
  assert.deepEqual(r.people.map((p) => p.name), ["ann", "late"]);
});

test("a new name is noticed once", () => {
  const r = room();
  r.asked();
  r.answered([who("ann", "1", "Ann"), who("ann", "2", "Ann")]);
  assert.equal(r.heard(who("ann", "1", "Anna")), "Ann");
  assert.equal(r.heard(who("ann", "2", "Anna")), "");
  assert.equal(r.heard(who("eve", "3")), "");
  assert.deepEqual(r.people.map((p) => p.name), ["Anna"]);
});

test("names of rooms are of one spelling, and of the server's", () => {
  for (const [input, want] of [["lobby", "lobby"], [" #Lobby ", "lobby"], ["Coffee  Corner", "coffee-corner"], ["李雷", "李雷"], ["a.b_c-d", "a.b_c-d"],
    ["Cafe\u0301", "caf\u00e9"], ["é".repeat(40), "é".repeat(40)]]) {
    assert.deepEqual(roomName(input), { name: want, problem: "" });
  }
  for (const input of ["", "  ", "#", "-a", "a b!", "a/b", "a\u0000", "x".repeat(41), "<b>", "a*", "a>", "a,b"]) {
    const { name, problem } = roomName(input);
    assert.equal(name, "", input);
    assert.match(problem, /\.$/);
  }
});

test("names of people are one visible line, whoever sent them", () => {
  assert.equal(personName("  Ann \n Lee "), "Ann Lee");
  assert.equal(personName("👩‍👩‍👧 Zoë"), "👩‍👩‍👧 Zoë");
  assert.equal(personName("\u202eevil\u200b\u00ad\u3164"), "evil");
  for (const input of ["", " ", "\u200d", "\u3164", "\u0300"]) assert.equal(personName(input), "");
  assert.equal(Array.from(personName("x".repeat(99))).length, 32);
  for (const info of [undefined, null, {}, { conn_info: null }, { conn_info: { name: 1 } }, { conn_info: { name: "\u200b" } }]) {
    assert.equal(nameOf(info), "Guest");
  }
});
