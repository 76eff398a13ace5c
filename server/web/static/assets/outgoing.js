// What the user said and nobody confirmed yet. The protocol has no acknowledgement and no message ids, but a node
// sends every message back to its sender, in order: the echo is the receipt. Until it comes an entry stays here and in
// the store, over reconnects and reloads, so nothing said is lost. The price is that a message whose echo was lost
// with its connection is sent twice.
// Pure: the store is given; no DOM, no sockets, no clock.

export const MAX_ENTRIES = 200; // more unsent lines than anyone types while a node is away
export const MAX_CHARS = 1 << 20; // well under the 5 MB a browser gives sessionStorage

export const Delivery = Object.freeze({
  waiting: "waiting", // to be sent as soon as there is a connection
  sent: "sent", // on its way, echo not seen
  overdue: "overdue", // the echo takes too long: the user may send again or drop it
  held: "held", // the node closed the connection over it: not sent again unasked
});

export class Outgoing {
  #store;
  #entries = [];
  #repeats = new Map(); // text -> echoes that may still come for copies sent over an earlier connection
  #nextId = 1;

  // store: { load(): array, save(array) }.
  constructor(store) {
    this.#store = store;
    for (const saved of store.load()) {
      if (typeof saved?.text !== "string") continue;
      const state = saved.held ? Delivery.held : Delivery.waiting;
      this.#entries.push(this.#entry(saved.text, state, Number(saved.sends) || 0));
    }
  }

  // All entries, oldest first. Read-only for the caller.
  get entries() {
    return this.#entries;
  }

  // Queues text. Null when the queue is full: the caller must keep the text.
  add(text) {
    const chars = this.#entries.reduce((sum, e) => sum + e.text.length, text.length);
    if (this.#entries.length >= MAX_ENTRIES || chars > MAX_CHARS) return null;
    const entry = this.#entry(text, Delivery.waiting, 0);
    this.#entries.push(entry);
    this.#save();
    return entry;
  }

  // Sends everything that waits, in order, until send returns false.
  flush(send, now) {
    for (const entry of this.#entries) {
      if (entry.state !== Delivery.waiting) continue;
      if (!send(entry.text)) break;
      entry.state = Delivery.sent;
      entry.sends += 1;
      entry.sentAt = now;
    }
    this.#save();
  }

  // Takes a delivered text: "echo" if it confirms an entry (which leaves the queue), "repeat" if it is a further copy
  // of one confirmed before, null if it is somebody else's.
  echo(text) {
    const at = this.#entries.findIndex((e) => e.sends > 0 && e.text === text);
    if (at >= 0) {
      const [entry] = this.#entries.splice(at, 1);
      if (entry.sends > 1) this.#repeats.set(text, (this.#repeats.get(text) ?? 0) + entry.sends - 1);
      this.#save();
      return "echo";
    }
    const left = this.#repeats.get(text);
    if (!left) return null;
    if (left === 1) this.#repeats.delete(text);
    else this.#repeats.set(text, left - 1);
    return "repeat";
  }

  // The connection is gone: what it carried without an echo waits for the next one, or is held when the node closed
  // the connection because of what we sent.
  connectionLost({ refused = false } = {}) {
    this.#repeats.clear();
    for (const entry of this.#entries) {
      if (entry.state !== Delivery.sent && entry.state !== Delivery.overdue) continue;
      entry.state = refused ? Delivery.held : Delivery.waiting;
    }
    this.#save();
  }

  // Marks entries sent more than timeout ago. True if any changed.
  expire(now, timeout) {
    let changed = false;
    for (const entry of this.#entries) {
      if (entry.state !== Delivery.sent || now - entry.sentAt < timeout) continue;
      entry.state = Delivery.overdue;
      changed = true;
    }
    return changed;
  }

  // The server said no to this text: it is not sent again unasked.
  hold(text) {
    const entry = this.#entries.find((e) => e.text === text && e.sends > 0);
    if (entry) entry.state = Delivery.held;
    this.#save();
  }

  retry(id) {
    const entry = this.#entries.find((e) => e.id === id);
    if (entry) entry.state = Delivery.waiting;
    this.#save();
  }

  discard(id) {
    this.#entries = this.#entries.filter((e) => e.id !== id);
    this.#save();
  }

  #entry(text, state, sends) {
    return { id: this.#nextId++, text, state, sends, sentAt: 0 };
  }

  #save() {
    this.#store.save(
      this.#entries.map(({ text, sends, state }) => ({ text, sends, held: state === Delivery.held })),
    );
  }
}
