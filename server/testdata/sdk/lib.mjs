// What the scenarios of the official JavaScript SDK share. sdk_test.go starts the node, passes what to use in THRONG_SDK and reads
// one line per scenario: "ok <name>" or "not ok <name>: <why>".
import { Centrifuge as JSONCentrifuge } from "centrifuge";
import { Centrifuge as ProtobufCentrifuge } from "centrifuge/build/protobuf";
import WebSocket from "ws";

export const env = JSON.parse(process.env.THRONG_SDK);
const Centrifuge = env.protobuf ? ProtobufCentrifuge : JSONCentrifuge;
const patience = 15000;

export const encode = (v) => (env.protobuf ? new TextEncoder().encode(JSON.stringify(v)) : v);
export const decode = (v) => (env.protobuf ? JSON.parse(new TextDecoder().decode(v)) : v);

const clients = [];
export function client(options = {}) {
  const c = new Centrifuge(options.endpoint ?? env.url, { websocket: WebSocket, minReconnectDelay: 50, maxReconnectDelay: 300, ...options });
  clients.push(c);
  return c;
}

export function once(emitter, event, accept = () => true) {
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

export async function connected(options) {
  const c = client(options);
  const done = once(c, "connected");
  c.connect();
  return [c, await done];
}

export async function subscribed(c, channel, options) {
  const sub = c.newSubscription(channel, options);
  const done = once(sub, "subscribed");
  sub.subscribe();
  return [sub, await done];
}

export async function api(method, params) {
  const r = await fetch(`${env.api}/api/${method}`, { method: "POST", headers: { "X-API-Key": env.apiKey, "Content-Type": "application/json" }, body: JSON.stringify(params) });
  const body = await r.json();
  if (body.error) throw new Error(`${method}: ${JSON.stringify(body.error)}`);
  return body.result;
}

export function equal(got, want, what) {
  const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
  if (g !== w) throw new Error(`${what}: got ${g}, want ${w}`);
}

export async function refusal(promise, code) {
  try {
    await promise;
  } catch (e) {
    equal(e.code, code, "error code");
    return;
  }
  throw new Error(`no error, want ${code}`);
}

/** The client's connection breaks as networks break, without a word. */
export function breakLink(c) {
  c._transport._transport.terminate();
}

export async function run(scenarios) {
  const chosen = Object.entries(scenarios).filter(([name]) => !env.only || env.only.includes(name));
  for (const [name, scenario] of chosen) {
    try {
      await scenario();
      console.log(`ok ${name}`);
    } catch (e) {
      console.log(`not ok ${name}: ${e?.message ?? JSON.stringify(e)}`);
    }
    for (const c of clients.splice(0)) c.disconnect();
  }
  process.exit(0);
}
