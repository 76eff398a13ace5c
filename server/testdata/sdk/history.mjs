// The official JavaScript SDK: history, recovery, cache mode, deltas and tags filters.
import { env, encode, decode, client, once, connected, subscribed, api, equal, refusal, breakLink, run } from "./lib.mjs";

let unique = 0;
const fresh = (namespace) => `${namespace}:${env.protobuf ? "p" : "j"}${process.pid}-${unique++}`;
const publish = (channel, data, more = {}) => api("publish", { channel, data, ...more });

async function publishMany(channel, from, to) {
  for (let i = from; i <= to; i++) await publish(channel, i);
}

/** What a subscription hears, as it comes. */
function listen(sub) {
  const heard = [];
  sub.on("publication", (p) => heard.push(decode(p.data)));
  return heard;
}

async function until(what, holds) {
  const deadline = Date.now() + 15000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`never: ${what()}`);
    await new Promise((r) => setTimeout(r, 10));
  }
}

/** The subscription's connection breaks, meanwhile happens, and it is back. */
async function away(c, sub, meanwhile) {
  const paused = once(sub, "subscribing");
  c.disconnect();
  await paused;
  await meanwhile();
  const back = once(sub, "subscribed");
  c.connect();
  return back;
}

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

await run({
  async "history forward, backward, since, and the position alone"() {
    const channel = fresh("past");
    await publishMany(channel, 1, 5);
    const [c] = await connected({ token: env.tokens.alice });
    const [sub, ctx] = await subscribed(c, channel);
    equal([ctx.positioned, ctx.recoverable, ctx.wasRecovering], [true, true, false], "subscribed");
    const data = (h) => h.publications.map((p) => decode(p.data));
    const all = await sub.history({ limit: -1 });
    equal(data(all), [1, 2, 3, 4, 5], "all");
    equal([all.epoch, all.offset], [ctx.streamPosition.epoch, ctx.streamPosition.offset], "position");
    equal(data(await sub.history({ limit: 0 })), [], "position alone");
    const two = await sub.history({ limit: 2 });
    equal(data(two), [1, 2], "first two");
    equal(data(await sub.history({ limit: 2, since: { offset: two.publications[1].offset, epoch: two.epoch } })), [3, 4], "next two");
    equal(data(await sub.history({ limit: 2, reverse: true })), [5, 4], "newest two");
    await refusal(sub.history({ limit: 2, since: { offset: two.offset, epoch: "other" } }), 112);
    await refusal(sub.history({ limit: 2, reverse: true, since: { offset: 0, epoch: two.epoch } }), 107);
  },

  async "what was missed is recovered, in order and once"() {
    const channel = fresh("past");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, channel);
    const heard = listen(sub);
    await publishMany(channel, 1, 3);
    await until(() => heard.join(), () => heard.length === 3);
    for (const [from, to] of [[4, 4], [5, 20], [21, 20]]) {
      const ctx = await away(c, sub, () => publishMany(channel, from, to));
      equal([ctx.wasRecovering, ctx.recovered], [true, true], `recovered ${from} to ${to}`);
      await until(() => heard.join(), () => heard.length === to);
    }
    await publishMany(channel, 21, 22);
    await until(() => heard.join(), () => heard.length === 22);
    equal(heard, range(1, 22), "heard");
  },

  async "a broken link loses nothing of what is published at the same time"() {
    const channel = fresh("past");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, channel);
    const heard = listen(sub);
    for (let round = 0; round < 5; round++) {
      const busy = publishMany(channel, round * 20 + 1, round * 20 + 20);
      const back = once(sub, "subscribed");
      breakLink(c);
      await busy;
      equal((await back).recovered, true, "recovered");
    }
    await until(() => heard.join(), () => heard.length === 100);
    equal(heard, range(1, 100), "heard");
  },

  async "who missed more than is kept is told so, and goes on"() {
    const channel = fresh("short");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, channel);
    const heard = listen(sub);
    const ctx = await away(c, sub, () => publishMany(channel, 1, 12));
    equal([ctx.wasRecovering, ctx.recovered, heard.length], [true, false, 0], "not recovered");
    await publish(channel, 13);
    await until(() => heard.join(), () => heard.length === 1);
    equal(heard, [13], "heard");
  },

  async "after history_remove who is behind is told so"() {
    const channel = fresh("past");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, channel);
    await publishMany(channel, 1, 2);
    let ctx = await away(c, sub, async () => {
      await publishMany(channel, 3, 4);
      await api("history_remove", { channel });
    });
    equal([ctx.wasRecovering, ctx.recovered], [true, false], "behind");
    equal((await sub.history({ limit: -1 })).publications.length, 0, "publications left");
    ctx = await away(c, sub, () => api("history_remove", { channel }));
    equal([ctx.wasRecovering, ctx.recovered], [true, true], "at the top");
    const heard = listen(sub);
    await publish(channel, 5);
    await until(() => heard.join(), () => heard.length === 1);
  },

  async "a position of another stream is not recovered"() {
    const channel = fresh("past");
    await publishMany(channel, 1, 2);
    const [c] = await connected({ token: env.tokens.alice });
    const [, ctx] = await subscribed(c, channel, { since: { offset: 1, epoch: "other" } });
    equal([ctx.wasRecovering, ctx.recovered], [true, false], "other epoch");
  },

  async "cache mode hands out the newest on every entry"() {
    const channel = fresh("cache");
    await publishMany(channel, 1, 3);
    const [c] = await connected({ token: env.tokens.alice });
    const sub = c.newSubscription(channel);
    const heard = listen(sub);
    const ready = once(sub, "subscribed");
    sub.subscribe();
    await ready;
    await until(() => heard.join(), () => heard.length === 1);
    equal(heard, [3], "newest");
    await away(c, sub, () => publishMany(channel, 4, 9));
    await until(() => heard.join(), () => heard.length === 2);
    equal(heard, [3, 9], "newest again");
  },

  async "a hundred random edits arrive as deltas and are whole"() {
    const channel = fresh("delta");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub, ctx] = await subscribed(c, channel, { delta: "fossil" });
    const heard = listen(sub);
    const sent = [];
    let text = Array.from({ length: 40 }, (_, i) => `line ${i} of a text that changes little: äöü € 🎈`).join("; ");
    const edit = async () => {
      const at = Math.floor(Math.random() * (text.length - 10));
      text = text.slice(0, at) + Math.random().toString(36).slice(2) + text.slice(at + Math.floor(Math.random() * 8));
      text = text.toWellFormed?.() ?? text;
      const doc = { text, n: sent.length };
      sent.push(doc);
      await publish(channel, doc);
    };
    for (let i = 0; i < 40; i++) await edit();
    await until(() => `${heard.length} of ${sent.length}`, () => heard.length === sent.length);
    await away(c, sub, async () => {
      for (let i = 0; i < 20; i++) await edit();
    });
    await away(c, sub, async () => {});
    for (let i = 0; i < 40; i++) await edit();
    await until(() => `${heard.length} of ${sent.length}`, () => heard.length === sent.length);
    equal(heard, sent, "heard");
  },

  async "a tags filter chooses, live and recovered"() {
    const channel = fresh("past");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, channel, { tagsFilter: { key: "kind", cmp: "in", vals: ["a", "b"] } });
    const heard = listen(sub);
    for (const kind of ["a", "c", "b"]) await publish(channel, kind, { tags: { kind } });
    await away(c, sub, async () => {
      for (const kind of ["c", "a", "d"]) await publish(channel, kind, { tags: { kind } });
    });
    await publish(channel, "b", { tags: { kind: "b" } });
    await until(() => heard.join(), () => heard.length === 4);
    equal(heard, ["a", "b", "a", "b"], "heard");
  },

  async "idempotency keys and versions publish once"() {
    const channel = fresh("past");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, channel);
    const heard = listen(sub);
    const first = await publish(channel, 1, { idempotency_key: "k" });
    equal(await publish(channel, 2, { idempotency_key: "k" }), first, "position of a repeated key");
    await publish(channel, 3, { version: 5 });
    await publish(channel, 4, { version: 5 });
    await publish(channel, 5, { version: 4 });
    await publish(channel, 6, { version: 6 });
    await publish(channel, 7, { version: 1, version_epoch: "new" });
    await until(() => heard.join(), () => heard.includes(7));
    equal(heard, [1, 3, 6, 7], "heard");
    const live = fresh("chat");
    const [other] = await subscribed(c, live);
    const lively = listen(other);
    await publish(live, 1, { idempotency_key: "k" });
    await publish(live, 2, { idempotency_key: "k" });
    await publish(live, 3);
    await until(() => lively.join(), () => lively.includes(3));
    equal(lively, [1, 3], "heard live");
  },

  async "server-side subscriptions recover at connect"() {
    const [c] = await connected({ token: env.tokens.server });
    const heard = [];
    c.on("publication", (p) => heard.push(decode(p.data)));
    const paused = once(c, "disconnected");
    await publish("past:server", 1);
    await until(() => heard.join(), () => heard.length === 1);
    c.disconnect();
    await paused;
    await publishMany("past:server", 2, 4);
    const back = once(c, "subscribed", (x) => x.channel === "past:server");
    c.connect();
    equal((await back).recovered, true, "recovered");
    await until(() => heard.join(), () => heard.length === 4);
    equal(heard, [1, 2, 3, 4], "heard");
  },

  async "clients publish into a stream and are answered when it is stored"() {
    const channel = fresh("past");
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, channel);
    const heard = listen(sub);
    await Promise.all(range(1, 100).map((i) => sub.publish(encode(i))));
    equal((await sub.history({ limit: -1 })).publications.length, 100, "stored");
    await until(() => heard.join(), () => heard.length === 100);
    equal(heard, range(1, 100), "heard");
  },
});
