import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../static/assets/backoff.js";
import { Connection, DIAL_TIMEOUT_MS, STABLE_MS, State } from "../static/assets/connection.js";

// A connection in a world with its own clock: h.sockets are the dials so far, h.log what the page was told.
function harness() {
  const h = { now: 1_000_000, timers: new Map(), sockets: [], log: [], online: true };
  class FakeSocket {
    static OPEN = 1;
    readyState = 0;
    sent = [];
    closed = false;
    constructor(url) {
      this.url = url;
      h.sockets.push(this);
    }
    send(text) {
      this.sent.push(text);
    }
    close() {
      this.closed = true;
    }
    opens() {
      this.readyState = 1;
      this.onopen({});
    }
    dies(code = 1006) {
      this.readyState = 3;
      this.onclose({ code, reason: "" });
    }
  }
  let nextTimer = 1;
  h.advance = (ms) => {
    h.now += ms;
    for (const [id, { at, fn }] of [...h.timers]) {
      if (at <= h.now && h.timers.delete(id)) fn();
    }
  };
  h.last = () => h.sockets.at(-1);
  h.connection = new Connection({
    url: "ws://h/livechat",
    backoff: new Backoff({ random: () => 1 }),
    on: {
      state: (state, retryAt) => h.log.push(retryAt ? `${state} in ${retryAt - h.now}` : state),
      open: () => h.log.push("opened"),
      frame: (data) => h.log.push(`frame ${data}`),
      lost: ({ code, wasOpen }) => h.log.push(`lost ${code} ${wasOpen}`),
    },
    env: {
      WebSocket: FakeSocket,
      setTimeout: (fn, ms) => {
        h.timers.set(nextTimer, { at: h.now + ms, fn });
        return nextTimer++;
      },
      clearTimeout: (id) => h.timers.delete(id),
      now: () => h.now,
      online: () => h.online,
    },
  });
  h.connection.start();
  return h;
}

test("it opens, delivers frames and sends", () => {
  const h = harness();
  assert.equal(h.connection.send("too early"), false);
  h.last().opens();
  h.last().onmessage({ data: "hello" });
  assert.deepEqual(h.log, ["connecting", "open", "opened", "frame hello"]);
  assert.equal(h.connection.send("hi"), true);
  assert.deepEqual(h.last().sent, ["hi"]);
});

test("a socket that is closing takes nothing", () => {
  const h = harness();
  h.last().opens();
  h.last().readyState = 2;
  assert.equal(h.connection.send("hi"), false);
});

test("lost connections are dialled again after longer and longer waits", () => {
  const h = harness();
  h.last().dies();
  assert.equal(h.log.at(-1), "reconnecting in 500");
  h.advance(499);
  assert.equal(h.sockets.length, 1);
  h.advance(1);
  assert.equal(h.sockets.length, 2);
  assert.equal(h.log.at(-1), "reconnecting");
  h.last().dies();
  assert.equal(h.log.at(-1), "reconnecting in 1000");
});

test("a connection that opens and dies at once does not start the back-off afresh; a stable one does", () => {
  const h = harness();
  h.last().opens();
  h.last().dies();
  h.advance(500);
  h.last().opens();
  h.advance(STABLE_MS - 1);
  h.last().dies(1001);
  assert.deepEqual(h.log.slice(-2), ["lost 1001 true", "reconnecting in 1000"]);
  h.advance(1000);
  h.last().opens();
  h.advance(STABLE_MS);
  h.last().dies();
  assert.equal(h.log.at(-1), "reconnecting in 500");
});

test("an attempt that hangs is given up, and heard no more", () => {
  const h = harness();
  const hung = h.last();
  h.advance(DIAL_TIMEOUT_MS);
  assert.ok(hung.closed);
  assert.equal(h.log.at(-1), "reconnecting in 500");
  const before = h.log.length;
  hung.opens();
  hung.dies();
  assert.equal(h.log.length, before);
});

test("retryNow ends a wait, does not disturb an attempt or an open socket, and keeps the back-off's place", () => {
  const h = harness();
  h.connection.retryNow();
  assert.equal(h.sockets.length, 1, "first attempt under way");
  h.last().dies();
  h.connection.retryNow();
  assert.equal(h.sockets.length, 2);
  h.connection.retryNow();
  assert.equal(h.sockets.length, 2, "second attempt under way");
  h.last().dies();
  assert.equal(h.log.at(-1), "reconnecting in 1000");
  h.advance(1000);
  h.last().opens();
  h.connection.retryNow();
  assert.equal(h.sockets.length, 3);
});

test("without a network it says offline, goes on trying, and dials at once when the network is back", () => {
  const h = harness();
  h.last().opens();
  h.online = false;
  h.connection.networkChanged();
  assert.equal(h.connection.state, State.open, "the node may be on this machine");
  h.last().dies();
  assert.equal(h.log.at(-1), "offline in 500");
  h.advance(500);
  assert.equal(h.sockets.length, 2);
  h.last().dies();
  h.online = true;
  h.connection.networkChanged();
  assert.equal(h.sockets.length, 3);
  assert.equal(h.connection.state, State.reconnecting);
});

test("going offline while waiting is shown and changes no deadline", () => {
  const h = harness();
  h.last().dies();
  h.advance(100);
  h.online = false;
  h.connection.networkChanged();
  assert.equal(h.log.at(-1), "offline in 400");
});

test("stop ends everything", () => {
  const h = harness();
  h.last().opens();
  const socket = h.last();
  h.connection.stop();
  assert.ok(socket.closed);
  socket.dies();
  h.advance(1_000_000);
  assert.equal(h.sockets.length, 1);
  assert.equal(h.log.at(-1), "stopped");
});
