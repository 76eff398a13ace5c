// A small client of the Centrifuge protocol, JSON over WebSocket: connect, subscribe with recovery, publish, presence,
// history. It needs backoff.js and connection.js beside it and nothing else; copy the three and change what you like.
// For more (Protobuf, other transports, rpc, delta) take the official SDK, centrifuge-js: the server speaks to both.
//
//   const throng = new Throng({
//     url: "wss://example.org/connection/websocket",
//     getToken: async () => (await fetch("/token", { method: "POST" })).text(),
//     on: { state: (state) => console.log(state) },
//   });
//   const kitchen = throng.subscribe("chat:kitchen", {
//     joined: ({ recovered }) => console.log("in", recovered),
//     publication: ({ data, info }) => console.log(info?.user, data),
//   });
//   throng.start();
//   await kitchen.publish({ text: "hello" });
//
// What it does by itself: one frame with connect and all subscriptions; pings answered and missed; reconnects with
// back-off and full jitter; a new token before the old one ends, and when the server does not take it; for each channel
// the position (offset and epoch), so that after a reconnect the server sends what was missed, and nothing twice.
//
// Everything happens in the page's one thread. Callbacks come in the order of the wire and must not throw. Sockets,
// timers and the clock are given (env), so it runs in a test without a browser.

import { Backoff } from "./backoff.js";
import { Connection, State } from "./connection.js";

export { State }; // connecting, open, reconnecting, offline, stopped

export const REPLY_TIMEOUT_MS = 5_000; // for one command
export const PING_GRACE_MS = 10_000; // how late a ping may be before the connection counts as dead
const LONGEST_TIMER_MS = 20 * 24 * 3600_000; // setTimeout overflows above 24.8 days

// Codes of the protocol that are treated in a way of their own.
const TOKEN_EXPIRED = 109;
const INVALID_TOKEN = 3500;
const TOO_BIG = 1009;
const CONNECTION_EXPIRED = 3005;
const STATE_INVALIDATED = 3014;
const SUBSCRIPTION_INVALIDATED = 2502;
// Of this side; never on the wire.
const NO_PING = 2;
const NO_REPLY = 3;
const NO_TOKEN = 4;
const BAD_DATA = 5;

// What went wrong with one command. temporary: the same may work in a moment.
export class ThrongError extends Error {
  constructor(code, message, temporary = false) {
    super(message);
    this.name = "ThrongError";
    this.code = code;
    this.temporary = temporary;
  }
}

const offline = () => new ThrongError(0, "not connected", true);

// True for close codes after which coming back is no use.
export function isTerminal(code) {
  return (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000) || code === TOO_BIG;
}

const browser = {
  get WebSocket() {
    return WebSocket;
  },
  setTimeout: (fn, ms) => setTimeout(fn, ms),
  clearTimeout: (timer) => clearTimeout(timer),
  now: () => Date.now(),
  online: () => navigator.onLine,
};

export class Throng {
  #connection;
  #env;
  #getToken;
  #name;
  #on;
  #token = "";
  #state = State.stopped;
  #wasOpen = false; // ever
  #live = false; // the connect command is sent: others may follow
  #nextId = 1;
  #waiting = new Map(); // id -> { done(reply), fail(error), timer }
  #lines = []; // commands of this turn, sent as one frame
  #subscriptions = new Map(); // channel -> Subscription
  #silence = 0; // ms without data after which the connection is dead; 0 = not told
  #answerPings = false;
  #watchdog = null;
  #renewal = null;
  #client = "";

  // url: of the WebSocket. getToken(why): optional, async; why is "first", "expiring" or "refused"; a rejection with
  // temporary === false ends the attempts. name: of the application, for the server's statistics.
  // on: { state(state, retryAt), connected(result), stopped({ code, reason }), lost({ code, reason }) }, all optional.
  constructor({ url, getToken = null, name = "throng.js", on = {}, env = browser, backoff = new Backoff() }) {
    this.#getToken = getToken;
    this.#name = name;
    this.#on = on;
    this.#env = env;
    this.#connection = new Connection({
      url, backoff, env,
      on: {
        state: (state, retryAt) => this.#socketState(state, retryAt),
        open: () => this.#opened(),
        frame: (data) => this.#heard(data),
        lost: (how) => this.#lost(how),
      },
    });
  }

  get state() {
    return this.#state;
  }

  // Id of this connection, "" before the first.
  get client() {
    return this.#client;
  }

  start() {
    this.#connection.start();
  }

  stop() {
    this.#quiet();
    this.#connection.stop();
  }

  retryNow() {
    this.#connection.retryNow();
  }

  networkChanged() {
    this.#connection.networkChanged();
  }

  // Gets another token and tells the server, on the connection that is open; without one the next will have another token.
  // For a change of what the token says of the user.
  async renew() {
    this.#token = "";
    if (this.#state !== State.open) return;
    this.#env.clearTimeout(this.#renewal);
    this.#token = await this.#getToken("expiring");
    const { refresh } = await this.#ask("refresh", { token: this.#token });
    this.#renewBefore(refresh);
  }

  // Subscribes, now and again after each reconnect, until leave(). options: { recoverable, joinLeave }, which ask for
  // what the channel's rules may grant anyway. on: see Subscription.
  subscribe(channel, on, options = {}) {
    if (this.#subscriptions.has(channel)) throw new ThrongError(105, "already subscribed");
    const link = {
      command: (kind, body, timeoutFails) => this.#command(kind, body, timeoutFails),
      ask: (kind, body) => this.#ask(kind, body),
      live: () => this.#live,
      env: this.#env,
      forget: () => this.#subscriptions.delete(channel),
    };
    const subscription = new Subscription(channel, on, options, link);
    this.#subscriptions.set(channel, subscription);
    subscription.enter();
    return subscription;
  }

  #ask(kind, body) {
    return new Promise((resolve, reject) => this.#command(kind, body).hear(resolve, reject));
  }

  // Queues a command for the frame of this turn. done and fail are called from the wire, not a promise later, so that a
  // reply is dealt with before what follows it in the same frame.
  #command(kind, body, failsConnection = false) {
    const reply = new Reply();
    if (!this.#live) {
      queueMicrotask(() => reply.fail(offline()));
      return reply;
    }
    const id = this.#nextId++;
    reply.timer = this.#env.setTimeout(() => {
      this.#waiting.delete(id);
      reply.fail(new ThrongError(NO_REPLY, "the server did not answer", true));
      if (failsConnection) this.#connection.fail(NO_REPLY, "no reply");
    }, REPLY_TIMEOUT_MS);
    this.#waiting.set(id, reply);
    if (this.#lines.length === 0) queueMicrotask(() => this.#flush());
    this.#lines.push(JSON.stringify({ id, [kind]: body }));
    return reply;
  }

  #flush() {
    const lines = this.#lines;
    this.#lines = [];
    if (lines.length > 0) this.#connection.send(lines.join("\n")); // if it is gone, so are they: #lost has told all
  }

  #socketState(state, retryAt) {
    // A socket alone is no connection: that takes the server's word.
    if (state === State.open) this.#enter(this.#wasOpen ? State.reconnecting : State.connecting, 0);
    else this.#enter(state, retryAt);
  }

  #enter(state, retryAt) {
    this.#state = state;
    this.#on.state?.(state, retryAt);
  }

  async #opened() {
    if (!this.#token && this.#getToken && !(await this.#fetchToken())) return;
    this.#live = true;
    this.#connect();
    for (const subscription of this.#subscriptions.values()) subscription.enter();
  }

  // True if there is a token and still the connection it is for.
  async #fetchToken() {
    const generation = (this.#generation += 1);
    const current = () => generation === this.#generation;
    try {
      const token = await this.#getToken(this.#refused ? "refused" : "first");
      this.#token = token;
      return current();
    } catch (error) {
      if (!current()) return false;
      if (error.temporary === false) this.#end(error.code ?? NO_TOKEN, error.message);
      else this.#connection.fail(NO_TOKEN, error.message);
      return false;
    }
  }

  #generation = 0; // of sockets, so that a token that comes late opens nothing
  #refused = false; // the server did not take the last token

  #connect() {
    const body = { name: this.#name };
    if (this.#token) body.token = this.#token;
    this.#command("connect", body, true).hear(
      ({ connect }) => this.#connected(connect),
      (error) => this.#notConnected(error),
    );
  }

  #connected(result) {
    this.#client = result.client;
    this.#wasOpen = true;
    this.#refused = false;
    this.#answerPings = result.pong === true;
    this.#silence = result.ping > 0 ? result.ping * 1000 + PING_GRACE_MS : 0;
    this.#watch();
    this.#renewBefore(result);
    this.#enter(State.open, 0);
    this.#on.connected?.(result);
  }

  #notConnected(error) {
    if (error.code === NO_REPLY || error.code === 0) return; // the connection is gone already
    if (error.code === TOKEN_EXPIRED) this.#token = "";
    if (error.temporary || error.code === TOKEN_EXPIRED) this.#connection.fail(error.code, error.message);
    else this.#end(error.code, error.message);
  }

  #lost({ code, reason }) {
    this.#quiet();
    this.#on.lost?.({ code, reason });
    if (code === INVALID_TOKEN && this.#getToken) {
      // Another node made it, or an earlier life of this one: a new token helps. The back-off bounds how often.
      this.#token = "";
      this.#refused = true;
    } else if (isTerminal(code)) {
      this.#end(code, reason);
    }
    if (code === CONNECTION_EXPIRED) this.#token = "";
    if (code === STATE_INVALIDATED) {
      this.#token = "";
      for (const subscription of this.#subscriptions.values()) subscription.forgetPosition();
    }
  }

  #end(code, reason) {
    this.stop();
    this.#on.stopped?.({ code, reason });
  }

  // Nothing more goes out or comes in over the connection there was.
  #quiet() {
    this.#live = false;
    this.#generation += 1;
    this.#silence = 0;
    this.#env.clearTimeout(this.#watchdog);
    this.#env.clearTimeout(this.#renewal);
    this.#lines = [];
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const reply of waiting) {
      this.#env.clearTimeout(reply.timer);
      reply.fail(offline());
    }
    for (const subscription of this.#subscriptions.values()) subscription.lost();
  }

  // The server pings in time or the connection is dead; any data will do.
  #watch() {
    this.#env.clearTimeout(this.#watchdog);
    if (this.#silence === 0) return;
    this.#watchdog = this.#env.setTimeout(() => this.#connection.fail(NO_PING, "no ping"), this.#silence);
  }

  #renewBefore({ expires, ttl }) {
    this.#env.clearTimeout(this.#renewal);
    if (!expires || !this.#getToken) return;
    const again = () => {
      // What fails here is tried once more by the server's closing the connection, when the token has run out.
      this.renew().catch((error) => error.code === TOKEN_EXPIRED && (this.#token = ""));
    };
    this.#renewal = this.#env.setTimeout(again, Math.min(ttl * 1000, LONGEST_TIMER_MS));
  }

  #heard(data) {
    this.#watch();
    if (typeof data !== "string") return; // we asked for JSON
    let replies;
    try {
      replies = data.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    } catch {
      this.#connection.fail(BAD_DATA, "the server sent no JSON");
      return;
    }
    for (const reply of replies) this.#reply(reply);
  }

  #reply({ id, error, push, ...result }) {
    if (push) this.#push(push);
    else if (!id) this.#pinged();
    const reply = this.#waiting.get(id);
    if (!reply) return; // an answer that came too late
    this.#waiting.delete(id);
    this.#env.clearTimeout(reply.timer);
    if (error) reply.fail(new ThrongError(error.code, error.message, error.temporary === true));
    else reply.done(result);
  }

  #pinged() {
    if (this.#answerPings) this.#connection.send("{}");
  }

  #push({ channel, pub, join, leave, unsubscribe }) {
    const subscription = this.#subscriptions.get(channel);
    if (!subscription) return; // of a channel left just now, or of a kind we do not use
    if (pub) subscription.published(pub);
    else if (join) subscription.told("join", join.info);
    else if (leave) subscription.told("leave", leave.info);
    else if (unsubscribe) subscription.unsubscribed(unsubscribe);
  }
}

// One channel. Made by Throng.subscribe.
//
// on, all optional:
//   joined({ recovered, wasRecovering, position }): in, the first time or again; what was missed, if it could be
//     recovered, follows as publications. recovered === false after wasRecovering: something may be missing for good.
//   publication(publication, { recovered }): { data, info, offset, time, tags } in the channel's order, each once.
//   join(info), leave(info): somebody else's, or one's own; info is { user, client, conn_info, chan_info }.
//   waiting(error): not in, for a reason that may pass; it is tried again by itself.
//   refused(error): not in, and not trying any more.
export class Subscription {
  #on;
  #options;
  #link;
  #position = null; // { offset, epoch } of the last publication seen, where the server keeps track
  #retries = new Backoff();
  #timer = null;
  #attempt = 0; // counts entries, so that an answer to an old one changes nothing
  #in = false;
  #over = false;

  constructor(channel, on, options, link) {
    this.channel = channel;
    this.#on = on;
    this.#options = options;
    this.#link = link;
  }

  // True while the server sends us what is published.
  get joined() {
    return this.#in;
  }

  get position() {
    return this.#position;
  }

  // data: anything JSON. Rejects with a ThrongError; { temporary } tells whether it is worth another try.
  async publish(data) {
    await this.#link.ask("publish", { channel: this.channel, data });
  }

  // Who is here: an array of { user, client, conn_info, chan_info }.
  async presence() {
    const { presence } = await this.#link.ask("presence", { channel: this.channel });
    return Object.values(presence.presence ?? {});
  }

  // { publications, offset, epoch }. limit: 0 for the position alone; since: { offset, epoch }; reverse: newest first.
  async history({ limit = 0, since, reverse = false } = {}) {
    const body = { channel: this.channel, limit };
    if (since) body.since = since;
    if (reverse) body.reverse = true;
    const { history } = await this.#link.ask("history", body);
    return { publications: history.publications ?? [], offset: history.offset ?? 0, epoch: history.epoch ?? "" };
  }

  leave() {
    if (this.#over) return;
    this.#end();
    if (this.#link.live()) this.#link.command("unsubscribe", { channel: this.channel });
  }

  // The rest is for Throng.

  enter() {
    this.#link.env.clearTimeout(this.#timer);
    if (this.#over || !this.#link.live()) return;
    const attempt = (this.#attempt += 1);
    const body = { channel: this.channel };
    if (this.#options.recoverable) body.recoverable = true;
    if (this.#options.joinLeave) body.join_leave = true;
    if (this.#position) Object.assign(body, { recover: true, ...this.#position });
    const heard = (fn) => (value) => attempt === this.#attempt && !this.#over && fn(value);
    this.#link.command("subscribe", body, true).hear(
      heard(({ subscribe }) => this.#entered(subscribe)),
      heard((error) => this.#notEntered(error)),
    );
  }

  #entered(result) {
    this.#in = true;
    this.#retries.reset();
    const wasRecovering = result.was_recovering === true;
    const recovered = result.recovered === true;
    if (!result.recoverable && !result.positioned) this.#position = null;
    else if (!recovered || !this.#position) this.#position = { offset: result.offset ?? 0, epoch: result.epoch ?? "" };
    else this.#position.epoch = result.epoch ?? this.#position.epoch;
    this.#on.joined?.({ recovered, wasRecovering, position: this.#position });
    for (const publication of result.publications ?? []) this.published(publication, recovered);
    if (this.#position && result.offset > this.#position.offset) this.#position.offset = result.offset;
  }

  #notEntered(error) {
    if (!this.#link.live()) return; // the next connection enters again
    if (!error.temporary && error.code !== TOKEN_EXPIRED) {
      this.#refuse(error);
      return;
    }
    this.#later();
    this.#on.waiting?.(error);
  }

  #later() {
    this.#link.env.clearTimeout(this.#timer);
    this.#timer = this.#link.env.setTimeout(() => this.enter(), this.#retries.next());
  }

  #refuse(error) {
    this.#end();
    this.#on.refused?.(error);
  }

  #end() {
    this.#over = true;
    this.#in = false;
    this.#link.env.clearTimeout(this.#timer);
    this.#link.forget();
  }

  published(publication, recovered = false) {
    const { offset } = publication;
    if (offset && this.#position) {
      if (offset <= this.#position.offset) return; // seen
      this.#position.offset = offset;
    }
    this.#on.publication?.(publication, { recovered });
  }

  told(what, info) {
    this.#on[what]?.(info);
  }

  unsubscribed({ code, reason }) {
    this.#in = false;
    if (code < 2500) {
      this.#refuse(new ThrongError(code, reason || "the server ended the subscription"));
      return;
    }
    if (code === SUBSCRIPTION_INVALIDATED) this.forgetPosition();
    this.#later();
  }

  forgetPosition() {
    this.#position = null;
  }

  lost() {
    this.#in = false;
    this.#attempt += 1;
    this.#link.env.clearTimeout(this.#timer);
  }
}

// A reply to come. hear() takes two functions, as then() of a promise does, and one of them is called right when the reply
// is there: a promise would call it a turn later, behind the pushes that came in the same frame.
class Reply {
  #done = null;
  #fail = null;

  hear(done, fail) {
    this.#done = done;
    this.#fail = fail;
  }

  done(result) {
    this.#done?.(result);
  }

  fail(error) {
    this.#fail?.(error);
  }
}
