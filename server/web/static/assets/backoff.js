// Reconnect delays: exponential back-off with full jitter. After a node dies its clients come back spread over the
// whole window instead of in waves. Pure: the random source is given.

export const BASE_MS = 500; // window of the first retry
export const CAP_MS = 20_000; // widest window

export class Backoff {
  #base;
  #cap;
  #random;
  #attempt = 0;

  constructor({ base = BASE_MS, cap = CAP_MS, random = Math.random } = {}) {
    this.#base = base;
    this.#cap = cap;
    this.#random = random;
  }

  // Failed attempts since the last reset.
  get attempt() {
    return this.#attempt;
  }

  // The next delay in ms, uniform in [0, min(cap, base * 2^attempt)].
  next() {
    const window = Math.min(this.#cap, this.#base * 2 ** this.#attempt);
    this.#attempt += 1;
    return Math.round(this.#random() * window);
  }

  reset() {
    this.#attempt = 0;
  }
}
