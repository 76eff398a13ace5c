// Web storage that never throws: private modes forbid it, quotas end it. What could not be stored is kept in memory,
// so it lives as long as the page.

export class SafeStorage {
  #backing;
  #memory = new Map();

  // open: () => Storage; merely naming window.sessionStorage can throw.
  constructor(open) {
    try {
      this.#backing = open();
    } catch {
      this.#backing = null;
    }
  }

  get(key) {
    if (this.#memory.has(key)) return this.#memory.get(key);
    try {
      return this.#backing?.getItem(key) ?? null;
    } catch {
      return null;
    }
  }

  set(key, value) {
    try {
      if (!this.#backing) throw new Error("no storage");
      this.#backing.setItem(key, value);
      this.#memory.delete(key);
    } catch {
      this.#memory.set(key, value);
    }
  }

  // The object under key; anything unreadable is an empty one.
  object(key) {
    try {
      const value = JSON.parse(this.get(key) ?? "{}");
      return typeof value === "object" && value !== null ? value : {};
    } catch {
      return {};
    }
  }

  // A list under key, as Outgoing wants it; anything unreadable is an empty list.
  list(key) {
    return {
      load: () => {
        try {
          const value = JSON.parse(this.get(key) ?? "[]");
          return Array.isArray(value) ? value : [];
        } catch {
          return [];
        }
      },
      save: (value) => this.set(key, JSON.stringify(value)),
    };
  }
}
