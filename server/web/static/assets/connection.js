// One WebSocket that comes back: dials, watches, and dials again with back-off until stopped. It moves frames and
// knows nothing of what they mean. Sockets, timers and the clock are given, so it runs in a test without a browser.

export const State = Object.freeze({
  connecting: "connecting", // first attempt
  open: "open",
  reconnecting: "reconnecting", // lost: waiting for the next attempt (retryAt > 0) or in it (retryAt = 0)
  offline: "offline", // as reconnecting, while the browser says it has no network; attempts go on, as it may be wrong
  stopped: "stopped",
});

export const STABLE_MS = 10_000; // a connection this old was a good one: the back-off starts afresh after it
export const DIAL_TIMEOUT_MS = 10_000; // an attempt that hangs longer is given up

export class Connection {
  #url;
  #backoff;
  #on;
  #env;
  #socket = null;
  #timer = null; // the one timer: retry, dial timeout or stability, by state
  #state = State.stopped;
  #retryAt = 0;

  // on: { state(state, retryAt), open(), frame(data), lost({ code, reason, wasOpen }) }.
  // env: { WebSocket, setTimeout, clearTimeout, now(), online() }.
  constructor({ url, backoff, on, env }) {
    this.#url = url;
    this.#backoff = backoff;
    this.#on = on;
    this.#env = env;
  }

  get state() {
    return this.#state;
  }

  start() {
    this.#dial(State.connecting);
  }

  stop() {
    this.#drop();
    this.#enter(State.stopped, 0);
  }

  // Hands text to the socket. False when there is none open: the caller keeps the text.
  send(text) {
    if (this.#state !== State.open || this.#socket.readyState !== this.#env.WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  // Gives the open socket, or the attempt under way, up and goes on as after a loss. For who finds it dead or useless.
  fail(code, reason) {
    if (this.#socket) this.#closed({ code, reason });
  }

  // Ends a wait now; does nothing unless waiting. The back-off keeps its place, so impatience does not become a storm.
  retryNow() {
    if (this.#retryAt > 0) this.#dial(this.#lostState());
  }

  // The browser's idea of the network changed. An open socket is left alone: the node may be on this very machine.
  networkChanged() {
    if (this.#env.online()) this.retryNow();
    if (this.#state === State.reconnecting || this.#state === State.offline) {
      this.#enter(this.#lostState(), this.#retryAt);
    }
  }

  #dial(state) {
    this.#drop();
    const socket = new this.#env.WebSocket(this.#url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    // A socket that was dropped may still speak: only the current one is heard.
    const heard = (fn) => (event) => socket === this.#socket && fn(event);
    socket.onopen = heard(() => this.#opened());
    socket.onmessage = heard((event) => this.#on.frame(event.data));
    socket.onclose = heard((event) => this.#closed(event));
    this.#arm(() => this.#closed({ code: 1006, reason: "no answer" }), DIAL_TIMEOUT_MS);
    this.#enter(state, 0);
  }

  #opened() {
    this.#arm(() => this.#backoff.reset(), STABLE_MS);
    this.#enter(State.open, 0);
    this.#on.open();
  }

  #closed({ code, reason }) {
    const wasOpen = this.#state === State.open;
    this.#drop();
    const delay = this.#backoff.next();
    this.#arm(() => this.#dial(this.#lostState()), delay);
    this.#on.lost({ code, reason, wasOpen });
    if (this.#state === State.stopped) return; // who was told wants no more
    this.#enter(this.#lostState(), this.#env.now() + delay);
  }

  #lostState() {
    return this.#env.online() ? State.reconnecting : State.offline;
  }

  #enter(state, retryAt) {
    this.#state = state;
    this.#retryAt = retryAt;
    this.#on.state(state, retryAt);
  }

  #arm(fn, delay) {
    this.#env.clearTimeout(this.#timer);
    this.#timer = this.#env.setTimeout(fn, delay);
  }

  #drop() {
    this.#env.clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
