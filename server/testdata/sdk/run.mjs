// The official JavaScript SDK: connections, tokens, channels, the server API.
import { env, encode, decode, client, once, connected, subscribed, api, equal, refusal, run } from "./lib.mjs";

await run({
  async "connect with a token"() {
    const [, ctx] = await connected({ token: env.tokens.alice });
    if (!ctx.client || ctx.transport !== "websocket") throw new Error(JSON.stringify(ctx));
  },

  async "an expired token is refreshed"() {
    let asked = 0;
    await connected({ token: env.tokens.expired, getToken: async () => (asked++, env.tokens.alice) });
    equal(asked, 1, "refreshes");
  },

  async "a wrong token ends the connection for good"() {
    const c = client({ token: env.tokens.wrong });
    const done = once(c, "disconnected");
    c.connect();
    equal((await done).code, 3500, "disconnect code");
  },

  async "subscribe and publish, connect and subscribe in one frame"() {
    const c = client({ token: env.tokens.alice });
    const sub = c.newSubscription("chat:one");
    const heard = once(sub, "publication");
    const ready = once(sub, "subscribed");
    sub.subscribe();
    c.connect();
    await ready;
    await sub.publish(encode({ text: "hi" }));
    const pub = await heard;
    equal(decode(pub.data), { text: "hi" }, "data");
    equal(pub.info?.user, "alice", "publisher");
  },

  async "two clients hear each other in order"() {
    const [a] = await connected({ token: env.tokens.alice });
    const [b] = await connected({ token: env.tokens.bob });
    const [sa] = await subscribed(a, "chat:two");
    const [sb] = await subscribed(b, "chat:two");
    const got = [];
    const all = once(sb, "publication", (p) => got.push(decode(p.data)) === 50);
    await Promise.all([all, ...Array.from({ length: 50 }, (_, i) => sa.publish(encode(i)))]);
    equal(got, [...Array(50).keys()], "order");
  },

  async "an unknown namespace is error 102"() {
    const [c] = await connected({ token: env.tokens.alice });
    const sub = c.newSubscription("nowhere:x");
    const done = once(sub, "unsubscribed");
    sub.subscribe();
    equal((await done).code, 102, "code");
  },

  async "a user-limited channel admits its users only"() {
    const [a] = await connected({ token: env.tokens.alice });
    const [b] = await connected({ token: env.tokens.bob });
    await subscribed(a, "dialog:x#alice");
    const sub = b.newSubscription("dialog:x#alice");
    const done = once(sub, "unsubscribed");
    sub.subscribe();
    equal((await done).code, 103, "code");
  },

  async "presence, its stats, join and leave"() {
    const [a, actx] = await connected({ token: env.tokens.alice });
    const [sa] = await subscribed(a, "room:p");
    const joined = once(sa, "join", (x) => x.info.user === "bob");
    const [b] = await connected({ token: env.tokens.bob });
    const [sb] = await subscribed(b, "room:p");
    await joined;
    const p = await sa.presence();
    equal(Object.values(p.clients).map((x) => x.user).sort(), ["alice", "bob"], "presence");
    if (!p.clients[actx.client]) throw new Error("own client id not in presence");
    const stats = await sa.presenceStats();
    equal([stats.numClients, stats.numUsers], [2, 2], "presence stats");
    const left = once(sa, "leave", (x) => x.info.user === "bob");
    sb.unsubscribe();
    await left;
  },

  async "history is not available where it is off"() {
    const [c] = await connected({ token: env.tokens.alice });
    const [sub] = await subscribed(c, "chat:h");
    await refusal(sub.history({ limit: 1 }), 108);
  },

  async "rpc to an unknown method is error 104"() {
    const [c] = await connected({ token: env.tokens.alice });
    await refusal(c.rpc("nothing", encode({})), 104);
  },

  async "pings are answered and counted upon"() {
    const [c] = await connected({ token: env.tokens.alice });
    let gone = false;
    c.on("disconnected", () => (gone = true));
    c.on("connecting", () => (gone = true));
    await new Promise((r) => setTimeout(r, env.pingMs * 3.5));
    if (gone) throw new Error("connection lost while idle");
  },

  async "the API publishes, unsubscribes and disconnects"() {
    const [c] = await connected({ token: env.tokens.carol });
    const [sub] = await subscribed(c, "chat:api");
    const heard = once(sub, "publication");
    await api("publish", { channel: "chat:api", data: { n: 1 } });
    equal(decode((await heard).data), { n: 1 }, "data");
    const out = once(sub, "unsubscribed");
    await api("unsubscribe", { channel: "chat:api", user: "carol" });
    equal((await out).code, 2000, "unsubscribe code");
    const gone = once(c, "disconnected");
    await api("disconnect", { user: "carol" });
    equal((await gone).code, 3503, "disconnect code");
  },

  async "the API subscribes a client on the server's side"() {
    const [c] = await connected({ token: env.tokens.dave });
    const sub = once(c, "subscribed", (x) => x.channel === "chat:server");
    await api("subscribe", { channel: "chat:server", user: "dave" });
    await sub;
    const heard = once(c, "publication", (x) => x.channel === "chat:server");
    await api("publish", { channel: "chat:server", data: 7 });
    equal(decode((await heard).data), 7, "data");
  },
});
