// The official JavaScript SDK against a running node. sdk_test.go starts the node, passes what to use in THRONG_SDK
// and reads one line per scenario: "ok <name>" or "not ok <name>: <why>".
import { Centrifuge as JSONCentrifuge } from "centrifuge";
import { Centrifuge as ProtobufCentrifuge } from "centrifuge/build/protobuf";
import WebSocket from "ws";

const env = JSON.parse(process.env.THRONG_SDK);
const Centrifuge = env.protobuf ? ProtobufCentrifuge : JSONCentrifuge;
const patience = 15000;

const encode = (v) => (env.protobuf ? new TextEncoder().encode(JSON.stringify(v)) : v);
const decode = (v) => (env.protobuf ? JSON.parse(new TextDecoder().decode(v)) : v);

const clients = [];
function client(options = {}) {
  const c = new Centrifuge(options.endpoint ?? env.url, { websocket: WebSocket, minReconnectDelay: 50, maxReconnectDelay: 300, ...options });
  clients.push(c);
  return c;
}

function once(emitter, event, accept = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} within ${patience} ms`)), patience);
    const listener = (ctx) => {
      if (!accept(ctx)) return;
      clearTimeout(timer);
      emitter.removeListener(event, listener);
      resolve(ctx);
    };
    emitter.on(event, listener);
  });
}

async function connected(options) {
  const c = client(options);
  const done = once(c, "connected");
  c.connect();
  return [c, await done];
}

async function subscribed(c, channel, options) {
  const sub = c.newSubscription(channel, options);
  const done = once(sub, "subscribed");
  sub.subscribe();
  return [sub, await done];
}

async function api(method, params) {
  const r = await fetch(`${env.api}/api/${method}`, { method: "POST", headers: { "X-API-Key": env.apiKey, "Content-Type": "application/json" }, body: JSON.stringify(params) });
  const body = await r.json();
  if (body.error) throw new Error(`${method}: ${JSON.stringify(body.error)}`);
  return body.result;
}

function equal(got, want, what) {
  const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
  if (g !== w) throw new Error(`${what}: got ${g}, want ${w}`);
}

async function refusal(promise, code) {
  try {
    await promise;
  } catch (e) {
    equal(e.code, code, "error code");
    return;
  }
  throw new Error(`no error, want ${code}`);
}

const scenarios = {
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

  async "history is not available yet where it is off"() {
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
};

const chosen = Object.entries(scenarios).filter(([name]) => !env.only || env.only.includes(name));
for (const [name, run] of chosen) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (e) {
    console.log(`not ok ${name}: ${e?.message ?? JSON.stringify(e)}`);
  }
  for (const c of clients.splice(0)) c.disconnect();
}
process.exit(0);
