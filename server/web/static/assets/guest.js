// Who we are in the chat with rooms: a guest, with an id that the server chose and a name that we did. A token proves
// both; showing the old one gets another for the same id. Pure: fetch and the store are given.

const STORE_KEY = "throng.guest";
const IDS_KEPT = 20; // ids of earlier lives, so that what we said then is still ours on the screen

// A token that could not be had. temporary: another try may help.
export class GuestError extends Error {
  constructor(message, temporary) {
    super(message);
    this.temporary = temporary;
  }
}

export class Guest {
  #url;
  #fetch;
  #store;
  #token = "";
  #signed = "";
  #ids = [];

  // url: of the token desk. store: a SafeStorage.
  constructor({ url, fetch, store }) {
    this.#url = url;
    this.#fetch = fetch;
    this.#store = store;
    const { token, ids } = store.object(STORE_KEY);
    if (typeof token === "string") this.#token = token;
    if (Array.isArray(ids)) this.#ids = ids.filter((id) => typeof id === "string").slice(-IDS_KEPT);
  }

  // True for every id we have had in this browser.
  is(id) {
    return this.#ids.includes(id);
  }

  // The name of the last token, "" before the first of this page.
  get signed() {
    return this.#signed;
  }

  // A new token for name, under the id we have if this server knows it, else under a new one.
  async token(name) {
    let response;
    try {
      response = await this.#fetch(this.#url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ name, token: this.#token }),
        cache: "no-store",
        credentials: "omit",
      });
    } catch {
      throw new GuestError("The server is out of reach.", true);
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw this.#problem(response.status, answer);
    if (typeof answer.token !== "string" || typeof answer.user !== "string") {
      throw new GuestError("The server sent no token.", true);
    }
    this.#token = answer.token;
    this.#signed = name;
    this.#ids = [...this.#ids.filter((id) => id !== answer.user), answer.user].slice(-IDS_KEPT);
    this.#store.set(STORE_KEY, JSON.stringify({ token: this.#token, ids: this.#ids }));
    return this.#token;
  }

  #problem(status, { error }) {
    if (status === 404) return new GuestError("This chat is switched off on the server.", false);
    if (status === 429) return new GuestError("Too many people are coming in at once.", true);
    const words = typeof error === "string" ? `: ${error}` : "";
    return new GuestError(`The server let nobody in (status ${status}${words}).`, status >= 500);
  }
}
