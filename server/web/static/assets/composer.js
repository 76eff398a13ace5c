// The box in which messages are written. What is typed is kept as a draft, so a reload or a crash does not lose it, and
// leaves the box only once it is safe in the outgoing queue.

const COUNT_FROM = 0.8; // share of the limit from which the size is shown

export class Composer {
  #parts;
  #drafts;
  #measure;
  #limit;

  // parts: { form, text, size, send } elements. drafts: { load(): string, save(string) }. measure(text): bytes on the
  // wire; limit: bytes. submit(text): true if it took the text.
  constructor(parts, { drafts, measure, limit, submit }) {
    this.#parts = parts;
    this.#drafts = drafts;
    this.#measure = measure;
    this.#limit = limit;
    const { form, text } = parts;
    text.addEventListener("input", () => this.#changed());
    text.addEventListener("keydown", (event) => {
      // While an input method composes, Enter picks a candidate.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#sendable() && submit(text.value)) this.#set("");
      text.focus();
    });
    this.reload();
  }

  // Shows the draft of the current room.
  reload() {
    this.#set(this.#drafts.load());
  }

  // Measures again, after the name changed.
  refresh() {
    const { text, size, send } = this.#parts;
    const bytes = this.#measure(text.value);
    const over = bytes > this.#limit;
    size.setAttribute("aria-live", over ? "polite" : "off"); // a running count is no news
    size.hidden = bytes < this.#limit * COUNT_FROM;
    size.textContent = `${bytes.toLocaleString()} of ${this.#limit.toLocaleString()} bytes${over ? ": too long" : ""}`;
    size.classList.toggle("over", over);
    text.setAttribute("aria-invalid", String(over));
    send.disabled = !this.#sendable();
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
  }

  #set(value) {
    this.#parts.text.value = value;
    this.#changed();
  }

  #changed() {
    this.#drafts.save(this.#parts.text.value);
    this.refresh();
  }

  #sendable() {
    const value = this.#parts.text.value;
    return value.trim() !== "" && this.#measure(value) <= this.#limit;
  }
}
