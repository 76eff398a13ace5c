import assert from "node:assert/strict";
import { test } from "node:test";
import { Delivery, MAX_CHARS, MAX_ENTRIES, Outgoing } from "../static/assets/outgoing.js";

// A store and a socket that remember; up says whether the socket takes anything.
function harness(saved = []) {
  const h = { saved, sent: [], up: true };
  const store = { load: () => h.saved, save: (list) => (h.saved = JSON.parse(JSON.stringify(list))) };
  h.queue = new Outgoing(store);
  h.flush = (now = 0) => h.queue.flush((text) => h.up && h.sent.push(text) > 0, now);
  h.states = () => h.queue.entries.map((e) => e.state);
  h.texts = () => h.queue.entries.map((e) => e.text);
  return h;
}

test("an entry stays until its echo, in the store too", () => {
  const h = harness();
  h.queue.add("A: one");
  h.flush();
  assert.deepEqual(h.states(), [Delivery.sent]);
  assert.equal(h.saved.length, 1);
  assert.equal(h.queue.echo("A: one"), "echo");
  assert.deepEqual(h.saved, []);
});

test("somebody else's message confirms nothing", () => {
  const h = harness();
  h.queue.add("A: one");
  assert.equal(h.queue.echo("A: one"), null, "not sent yet, so it cannot be ours");
  h.flush();
  assert.equal(h.queue.echo("B: one"), null);
  assert.equal(h.queue.entries.length, 1);
});

test("nothing is sent twice on one connection", () => {
  const h = harness();
  h.queue.add("A: one");
  h.flush();
  h.queue.add("A: two");
  h.flush();
  assert.deepEqual(h.sent, ["A: one", "A: two"]);
});

test("what a closed socket refuses waits, in order", () => {
  const h = harness();
  h.up = false;
  h.queue.add("A: one");
  h.queue.add("A: two");
  h.flush();
  assert.deepEqual(h.states(), [Delivery.waiting, Delivery.waiting]);
  h.up = true;
  h.flush();
  assert.deepEqual(h.sent, ["A: one", "A: two"]);
});

test("what was sent without an echo is sent again over the next connection", () => {
  const h = harness();
  h.queue.add("A: one");
  h.flush();
  h.queue.connectionLost();
  assert.deepEqual(h.states(), [Delivery.waiting]);
  h.flush();
  assert.deepEqual(h.sent, ["A: one", "A: one"]);
  assert.equal(h.queue.echo("A: one"), "echo");
  assert.equal(h.queue.echo("A: one"), "repeat", "the first copy arrived late");
  assert.equal(h.queue.echo("A: one"), null, "a third one is somebody else's");
});

test("equal texts are confirmed one by one", () => {
  const h = harness();
  h.queue.add("A: ok");
  h.queue.add("A: ok");
  h.flush();
  assert.equal(h.queue.echo("A: ok"), "echo");
  assert.equal(h.queue.entries.length, 1);
  assert.equal(h.queue.echo("A: ok"), "echo");
  assert.equal(h.queue.echo("A: ok"), null);
});

test("what made the node close is held, also after a reload, until the user decides", () => {
  const h = harness();
  h.queue.add("A: bad");
  h.flush();
  h.queue.connectionLost({ refused: true });
  assert.deepEqual(h.states(), [Delivery.held]);
  h.flush();
  assert.deepEqual(h.sent, ["A: bad"]);
  const reloaded = harness(h.saved);
  reloaded.flush();
  assert.deepEqual(reloaded.sent, []);
  reloaded.queue.retry(reloaded.queue.entries[0].id);
  reloaded.flush();
  assert.deepEqual(reloaded.sent, ["A: bad"]);
});

test("an echo that takes too long is told apart, and still counts when it comes", () => {
  const h = harness();
  h.queue.add("A: slow");
  h.flush(1000);
  assert.equal(h.queue.expire(1999, 1000), false);
  assert.equal(h.queue.expire(2000, 1000), true);
  assert.equal(h.queue.expire(3000, 1000), false, "already marked");
  assert.deepEqual(h.states(), [Delivery.overdue]);
  assert.equal(h.queue.echo("A: slow"), "echo");
});

test("a reload brings everything back", () => {
  const h = harness();
  h.up = false;
  h.queue.add("A: one");
  h.queue.add("A: two");
  const reloaded = harness(h.saved);
  assert.deepEqual(reloaded.texts(), ["A: one", "A: two"]);
  reloaded.flush();
  assert.deepEqual(reloaded.sent, ["A: one", "A: two"]);
});

test("an echo of what was sent before a reload is recognised", () => {
  const h = harness();
  h.queue.add("A: one");
  h.flush();
  assert.equal(harness(h.saved).queue.echo("A: one"), "echo");
});

test("an entry can be dropped", () => {
  const h = harness();
  const { id } = h.queue.add("A: one");
  h.queue.add("A: two");
  h.queue.discard(id);
  assert.deepEqual(h.texts(), ["A: two"]);
  assert.equal(h.saved.length, 1);
});

test("the queue is bounded in entries and in size, and says so", () => {
  const many = harness();
  for (let i = 0; i < MAX_ENTRIES; i++) assert.ok(many.queue.add(`A: ${i}`));
  assert.equal(many.queue.add("A: one more"), null);
  const large = harness();
  assert.ok(large.queue.add("x".repeat(MAX_CHARS - 1)));
  assert.equal(large.queue.add("xx"), null);
});

test("a broken store is an empty queue", () => {
  assert.deepEqual(harness([null, 7, { text: 5 }, {}, { text: "A: ok", sends: "x" }]).texts(), ["A: ok"]);
});
