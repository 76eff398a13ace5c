import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../static/assets/backoff.js";
import { isTerminal, PING_GRACE_MS, REPLY_TIMEOUT_MS, State, Throng } from "../static/assets/throng.js";

const settle = () => new Promise((resolve) => setImmediate(resolve));

// A client in a world with its own clock. h.last() is the newest socket, h.sent() what it got since the last call, one
// array of commands for each frame; h.says answers.
function harness({ tokens = [], ...options } = {}) {
  const h = { now: 1_000_000, timers: new Map(), sockets: [], log: [], asked: [] };
  class FakeSocket {
    static OPEN = 1;
    readyState = 0;
    frames = [];
    constructor(url) {
      this.url = url;
      h.sockets.push(this);
    }
    send(text) {
      this.frames.push(text);
    }
    close() {
      this.readyState = 3;
    }
    opens() {
      this.readyState = 1;
      this.onopen({});
    }
    dies(code = 1006, reason = "") {
      this.readyState = 3;
      this.onclose({ code, reason });
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
  h.sent = () => h.last().frames.splice(0).map((frame) => frame.split("\n").map((line) => JSON.parse(line)));
  h.says = (...replies) => h.last().onmessage({ data: replies.map((r) => JSON.stringify(r)).join("\n") });
  h.throng = new Throng({
    url: "ws://h/connection/websocket",
    name: "test",
    backoff: new Backoff({ random: () => 1 }),
    on: {
      state: (state) => h.log.push(state),
      stopped: ({ code }) => h.log.push(`stopped ${code}`),
    },
    env: {
      WebSocket: FakeSocket,
      setTimeout: (fn, ms) => {
        h.timers.set(nextTimer, { at: h.now + ms, fn });
        return nextTimer++;
      },
      clearTimeout: (id) => h.timers.delete(id),
      now: () => h.now,
      online: () => true,
    },
    getToken: tokens.length === 0 ? null : async (why) => {
      h.asked.push(why);
      const token = tokens.shift();
      if (token instanceof Error) throw token;
      return token;
    },
    ...options,
  });
  h.subscribe = (channel, options) => {
    const on = (what) => (value) => h.log.push(`${channel} ${what} ${JSON.stringify(value)}`);
    return h.throng.subscribe(channel, {
      joined: ({ recovered, wasRecovering }) => h.log.push(`${channel} joined ${recovered} ${wasRecovering}`),
      publication: ({ data, offset }, { recovered }) => h.log.push(`${channel} ${data} @${offset}${recovered ? " recovered" : ""}`),
      join: on("join"), leave: on("leave"), waiting: ({ code }) => h.log.push(`${channel} waits ${code}`), refused: ({ code }) => h.log.push(`${channel} refused ${code}`),
    }, options);
  };
  h.open = async (result = {}) => {
    h.last().opens();
    await settle();
    const frames = h.sent();
    h.says({ id: frames[0][0].id, connect: { client: "c1", version: "1", ping: 25, pong: true, ...result } });
    return frames;
  };
  h.events = () => h.log.splice(0);
  h.throng.start();
  return h;
}

test("connect and all subscriptions go out in one frame, before any answer", async () => {
  const h = harness({ tokens: ["t1"] });
  h.subscribe("a");
  h.subscribe("b", { recoverable: true, joinLeave: true });
  const frames = await h.open();
  assert.deepEqual(frames, [[
    { id: 1, connect: { name: "test", token: "t1" } },
    { id: 2, subscribe: { channel: "a" } },
    { id: 3, subscribe: { channel: "b", recoverable: true, join_leave: true } },
  ]]);
  assert.deepEqual(h.asked, ["first"]);
  assert.deepEqual(h.events(), [State.connecting, State.connecting, State.open]);
  h.says({ id: 2, subscribe: {} }, { id: 3, subscribe: {} }, { push: { channel: "a", pub: { data: "x" } } });
  assert.deepEqual(h.events(), ["a joined false false", "b joined false false", "a x @undefined"]);
});

test("commands of one turn share a frame, and each gets its own answer", async () => {
  const h = harness();
  const sub = h.subscribe("a");
  await h.open();
  h.says({ id: 2, subscribe: {} });
  const [said, refused, who, past] = [sub.publish({ n: 1 }), sub.publish({ n: 2 }), sub.presence(), sub.history({ limit: 5, reverse: true })];
  await settle();
  assert.deepEqual(h.sent(), [[
    { id: 3, publish: { channel: "a", data: { n: 1 } } },
    { id: 4, publish: { channel: "a", data: { n: 2 } } },
    { id: 5, presence: { channel: "a" } },
    { id: 6, history: { channel: "a", limit: 5, reverse: true } },
  ]]);
  h.says(
    { id: 3, publish: {} }, { id: 4, error: { code: 111, message: "slowly", temporary: true } },
    { id: 5, presence: { presence: { c1: { user: "u", client: "c1" } } } },
    { id: 6, history: { publications: [{ data: 1, offset: 7 }], offset: 7, epoch: "e" } }, { id: 99, publish: {} },
  );
  await said;
  await assert.rejects(refused, { code: 111, temporary: true, message: "slowly" });
  assert.deepEqual(await who, [{ user: "u", client: "c1" }]);
  assert.deepEqual(await past, { publications: [{ data: 1, offset: 7 }], offset: 7, epoch: "e" });
});

test("pings are answered, and a server that is silent too long is left", async () => {
  const h = harness();
  await h.open({ ping: 25, pong: true });
  h.says({});
  assert.deepEqual(h.sent(), [[{}]]);
  h.advance(25_000 + PING_GRACE_MS - 1);
  assert.equal(h.throng.state, State.open);
  h.says({}); // any data will do
  h.advance(25_000 + PING_GRACE_MS - 1);
  assert.equal(h.throng.state, State.open);
  h.advance(1);
  assert.equal(h.throng.state, State.reconnecting);
  h.advance(500);
  assert.equal(h.sockets.length, 2);
});

test("a ping nobody wants answered gets no answer, and no announced ping is no silence", async () => {
  const h = harness();
  await h.open({ ping: 0, pong: false });
  h.says({});
  assert.deepEqual(h.sent(), []);
  h.advance(3600_000);
  assert.equal(h.throng.state, State.open);
});

test("after a reconnect each channel goes on where it was, and nothing comes twice", async () => {
  const h = harness();
  h.subscribe("a", { recoverable: true });
  await h.open();
  h.says({ id: 2, subscribe: { recoverable: true, positioned: true, epoch: "e", offset: 10 } });
  h.says({ push: { channel: "a", pub: { data: "one", offset: 12 } } });
  h.last().dies();
  h.events();
  h.advance(500);
  const [[, subscribe]] = await h.open();
  assert.deepEqual(subscribe.subscribe, { channel: "a", recoverable: true, recover: true, offset: 12, epoch: "e" });
  h.says(
    { id: subscribe.id, subscribe: {
      recoverable: true, positioned: true, epoch: "e", offset: 12, was_recovering: true, recovered: true,
      publications: [{ data: "one", offset: 12 }, { data: "two", offset: 15 }, { data: "three", offset: 20 }],
    } },
    { push: { channel: "a", pub: { data: "three", offset: 20 } } },
    { push: { channel: "a", pub: { data: "four", offset: 21 } } },
  );
  assert.deepEqual(h.events().slice(3), [
    "a joined true true", "a two @15 recovered", "a three @20 recovered", "a four @21",
  ]);
});

test("what could not be recovered is told, and the position is the server's", async () => {
  const h = harness();
  const sub = h.subscribe("a", { recoverable: true });
  await h.open();
  h.says({ id: 2, subscribe: { recoverable: true, epoch: "e", offset: 10 } });
  h.last().dies();
  h.advance(500);
  const [[, subscribe]] = await h.open();
  h.events();
  h.says({ id: subscribe.id, subscribe: { recoverable: true, epoch: "f", offset: 3, was_recovering: true } });
  assert.deepEqual(h.events(), ["a joined false true"]);
  assert.deepEqual(sub.position, { offset: 3, epoch: "f" });
  h.says({ push: { channel: "a", pub: { data: "new", offset: 4 } } });
  assert.deepEqual(h.events(), ["a new @4"]);
});

test("a token the server does not take is replaced, with back-off, and the person stays", async () => {
  const h = harness({ tokens: ["of another node", "fresh"] });
  h.last().opens();
  await settle();
  h.sent();
  h.last().dies(3500, "invalid token");
  assert.equal(h.throng.state, State.reconnecting);
  h.advance(499);
  assert.equal(h.sockets.length, 1);
  h.advance(1);
  const [[connect]] = await h.open();
  assert.equal(connect.connect.token, "fresh");
  assert.deepEqual(h.asked, ["first", "refused"]);
});

test("an expired token is replaced, in time and when it was too late", async () => {
  const h = harness({ tokens: ["t1", "t2", "t3"] });
  await h.open({ expires: true, ttl: 60, ping: 0 });
  h.advance(60_000);
  await settle();
  const [[refresh]] = h.sent();
  assert.deepEqual(refresh.refresh, { token: "t2" });
  h.says({ id: refresh.id, refresh: { client: "c1", expires: true, ttl: 60 } });
  h.last().dies(3005, "connection expired");
  h.advance(500);
  h.last().opens();
  await settle();
  const [[connect]] = h.sent();
  assert.equal(connect.connect.token, "t3");
  h.says({ id: connect.id, error: { code: 109, message: "token expired" } });
  assert.equal(h.throng.state, State.reconnecting);
});

test("a token that cannot be had now is asked for again; one that never can be ends it", async () => {
  const h = harness({ tokens: [new Error("away"), Object.assign(new Error("switched off"), { temporary: false })] });
  h.last().opens();
  await settle();
  assert.equal(h.throng.state, State.reconnecting);
  h.advance(500);
  h.last().opens();
  await settle();
  assert.equal(h.throng.state, State.stopped);
  h.advance(3600_000);
  assert.equal(h.sockets.length, 2);
});

test("terminal codes end it, all others do not", async () => {
  for (const [code, terminal] of [[1000, false], [1001, false], [1006, false], [1009, true], [3001, false], [3499, false],
    [3501, true], [3999, true], [4000, false], [4499, false], [4500, true], [4999, true]]) {
    assert.equal(isTerminal(code), terminal, String(code));
    const h = harness();
    await h.open();
    h.events();
    h.last().dies(code);
    assert.deepEqual(h.events(), terminal ? [State.stopped, `stopped ${code}`] : [State.reconnecting], String(code));
    h.advance(3600_000);
    assert.equal(h.sockets.length, terminal ? 1 : 2, String(code));
  }
});

test("a refused channel is told, one that may work later is tried again", async () => {
  const h = harness();
  h.subscribe("a");
  h.subscribe("b");
  await h.open();
  h.events();
  h.says({ id: 2, error: { code: 103, message: "permission denied" } }, { id: 3, error: { code: 100, message: "x", temporary: true } });
  assert.deepEqual(h.events(), ["a refused 103", "b waits 100"]);
  h.advance(500);
  await settle();
  const [[again]] = h.sent();
  assert.deepEqual(again.subscribe, { channel: "b" });
  h.says({ id: again.id, subscribe: {} });
  assert.deepEqual(h.events(), ["b joined false false"]);
});

test("the server may end a subscription, for good or to be entered again", async () => {
  const h = harness();
  h.subscribe("a", { recoverable: true });
  h.subscribe("b");
  await h.open();
  h.says({ id: 2, subscribe: { recoverable: true, epoch: "e", offset: 1 } }, { id: 3, subscribe: {} });
  h.events();
  h.says({ push: { channel: "b", unsubscribe: { code: 2000, reason: "server unsubscribe" } } });
  h.says({ push: { channel: "a", unsubscribe: { code: 2500, reason: "insufficient state" } } });
  assert.deepEqual(h.events(), ["b refused 2000"]);
  h.advance(500);
  await settle();
  assert.deepEqual(h.sent(), [[{ id: 4, subscribe: { channel: "a", recoverable: true, recover: true, offset: 1, epoch: "e" } }]]);
});

test("a channel that is left is heard no more and not entered again", async () => {
  const h = harness();
  const sub = h.subscribe("a");
  await h.open();
  h.says({ id: 2, subscribe: {} });
  h.events();
  sub.leave();
  await settle();
  assert.deepEqual(h.sent(), [[{ id: 3, unsubscribe: { channel: "a" } }]]);
  h.says({ push: { channel: "a", pub: { data: "late" } } });
  h.last().dies();
  h.advance(500);
  assert.equal((await h.open())[0].length, 1);
  assert.deepEqual(h.events().filter((e) => e.startsWith("a ")), []);
  h.subscribe("a");
  await settle();
  assert.deepEqual(h.sent()[0][0].subscribe, { channel: "a" });
});

test("what waits when the connection goes is told so, and so is what is asked without one", async () => {
  const h = harness();
  const sub = h.subscribe("a");
  const early = sub.publish({});
  await assert.rejects(early, { temporary: true });
  await h.open();
  h.says({ id: 2, subscribe: {} });
  const said = sub.publish({});
  await settle();
  h.last().dies();
  await assert.rejects(said, { temporary: true });
});

test("a server that answers neither connect nor subscribe is left", async () => {
  const h = harness();
  h.last().opens();
  await settle();
  h.advance(REPLY_TIMEOUT_MS);
  assert.equal(h.throng.state, State.reconnecting);
  h.advance(500);
  h.subscribe("a");
  await h.open();
  h.advance(REPLY_TIMEOUT_MS);
  assert.equal(h.throng.state, State.reconnecting);
});

test("what is no JSON ends the connection, not the client", async () => {
  const h = harness();
  await h.open();
  h.last().onmessage({ data: "{" });
  assert.equal(h.throng.state, State.reconnecting);
});

test("renew tells the server at once, or the next one", async () => {
  const h = harness({ tokens: ["t1", "t2", "t3"] });
  await h.open();
  const renewed = h.throng.renew();
  await settle();
  const [[refresh]] = h.sent();
  assert.deepEqual(refresh.refresh, { token: "t2" });
  h.says({ id: refresh.id, refresh: {} });
  await renewed;
  h.last().dies();
  await h.throng.renew();
  h.advance(500);
  assert.equal((await h.open())[0][0].connect.token, "t3");
});
