// The chat page: where the parts meet. Everything the user sees comes from here; everything that can be wrong without a
// browser is in the modules without a DOM (backoff, protocol, outgoing, connection, names).

import { Backoff } from "./backoff.js";
import { Composer } from "./composer.js";
import { Connection, State } from "./connection.js";
import { $ } from "./dom.js";
import { LogView } from "./logview.js";
import { friendlyName } from "./names.js";
import { Outgoing } from "./outgoing.js";
import * as protocol from "./protocol.js";
import { RoomDialog } from "./roomdialog.js";
import { StatusView } from "./statusview.js";
import { SafeStorage } from "./storage.js";

const ECHO_TIMEOUT_MS = 10_000; // without an echo for this long a message is shown as not confirmed
const REFUSALS = new Set([1003, 1007, 1008, 1009]); // close codes that mean: because of what you sent
const RESTARTS = new Set([1001, 1012, 3001]); // a node that drains

const root = document.documentElement;
const config = {
  socketPath: root.dataset.socketPath,
  defaultRoom: root.dataset.defaultRoom,
  maxRoomBytes: Number(root.dataset.maxRoomBytes),
  maxMessageBytes: Number(root.dataset.maxMessageBytes),
};
const local = new SafeStorage(() => window.localStorage);
const session = new SafeStorage(() => window.sessionStorage);

class ChatPage {
  #room = protocol.roomOf(location.href, config.defaultRoom);
  #name = protocol.cleanName(session.get("throng.name") ?? local.get("throng.name") ?? "") || friendlyName();
  #node = "";
  #connection = null;
  #outgoing = null;
  #lostSince = false; // a notice of the loss stands in the log
  #unread = 0;

  #log = new LogView(
    { scroller: $("scroller"), log: $("log"), pending: $("pending"), empty: $("empty"), jump: $("jump") },
    { retry: (id) => this.#retry(id), discard: (id) => this.#discard(id) },
  );
  #status = new StatusView(
    {
      root, label: $("state"), node: $("node"), banner: $("banner"), headline: $("headline"),
      countdown: $("countdown"), retry: $("retry"),
    },
    () => this.#connection.retryNow(),
  );
  #composer = new Composer(
    { form: $("composer"), text: $("text"), size: $("size"), send: $("send") },
    {
      drafts: {
        load: () => session.get(`throng.draft.${this.#room}`) ?? "",
        save: (text) => session.set(`throng.draft.${this.#room}`, text),
      },
      measure: (body) => protocol.byteLength(protocol.formatSpeech(this.#name, body)),
      limit: config.maxMessageBytes,
      submit: (body) => this.#say(body),
    },
  );
  #rooms = new RoomDialog(
    {
      open: $("room"), dialog: $("rooms"), form: $("room-form"), input: $("room-input"), error: $("room-error"),
      recent: $("recent"), cancel: $("room-cancel"),
    },
    {
      recent: local.list("throng.rooms"), home: config.defaultRoom, maxBytes: config.maxRoomBytes,
      join: (room) => this.#moveTo(room),
    },
  );

  start() {
    this.#watchName();
    window.addEventListener("online", () => this.#connection.networkChanged());
    window.addEventListener("offline", () => this.#connection.networkChanged());
    window.addEventListener("pageshow", () => this.#connection.retryNow());
    window.addEventListener("popstate", () => this.#enter(protocol.roomOf(location.href, config.defaultRoom)));
    document.addEventListener("visibilitychange", () => this.#seen());
    this.#enter(this.#room);
    if (matchMedia("(pointer: fine)").matches) $("text").focus();
  }

  // Connects to a room and shows it alone. What waits in the room that was left stays there, in its own queue.
  #enter(room) {
    this.#connection?.stop();
    this.#room = room;
    this.#lostSince = false;
    this.#node = "";
    this.#status.node("");
    this.#outgoing = new Outgoing(session.list(`throng.outgoing.${room}`));
    this.#log.clear();
    this.#log.outgoing(this.#outgoing.entries);
    this.#composer.reload();
    this.#rooms.visited(room);
    for (const label of document.querySelectorAll("[data-room-name]")) label.textContent = room;
    this.#title();
    this.#connection = new Connection({
      url: protocol.socketURL(location.href, config, room),
      backoff: new Backoff(),
      on: {
        state: (state, retryAt) => this.#status.show(state, retryAt),
        open: () => this.#send(),
        frame: (data) => this.#heard(data),
        lost: (how) => this.#lost(how),
      },
      env: {
        WebSocket,
        setTimeout: (fn, ms) => setTimeout(fn, ms),
        clearTimeout: (timer) => clearTimeout(timer),
        now: () => Date.now(),
        online: () => navigator.onLine,
      },
    });
    this.#connection.start();
  }

  #moveTo(room) {
    if (room === this.#room) return;
    history.pushState(null, "", protocol.pageURL(location.href, room, config.defaultRoom));
    this.#enter(room);
  }

  #heard(data) {
    const at = Date.now();
    if (typeof data !== "string") {
      const body = `${data.byteLength.toLocaleString()} bytes`;
      this.#log.message({ own: false, name: "", body, node: this.#node, at, binary: true });
      return;
    }
    const greeting = protocol.parseGreeting(data);
    if (greeting !== null) {
      this.#greeted(greeting);
      return;
    }
    const { node, text } = protocol.parseDelivery(data, this.#node);
    const receipt = this.#outgoing.echo(text);
    if (receipt === "echo") this.#log.outgoing(this.#outgoing.entries);
    else if (receipt === null && document.hidden) this.#title(this.#unread + 1);
    const { name, body } = protocol.parseSpeech(text);
    this.#log.message({ own: receipt !== null, name, body, node, at, binary: false, repeat: receipt === "repeat" });
  }

  #greeted(node) {
    if (node !== this.#node || this.#lostSince) this.#log.notice(`Connected to node ${node}`);
    this.#node = node;
    this.#lostSince = false;
    this.#status.node(node);
  }

  #lost({ code, wasOpen }) {
    this.#outgoing.connectionLost({ refused: REFUSALS.has(code) });
    this.#log.outgoing(this.#outgoing.entries);
    if (!wasOpen) return;
    this.#lostSince = true;
    this.#status.node("");
    this.#log.notice(this.#whyLost(code));
  }

  #whyLost(code) {
    const node = this.#node ? `node ${this.#node}` : "the node";
    if (REFUSALS.has(code)) return `Closed by ${node}: it refused a message (code ${code})`;
    if (RESTARTS.has(code)) return `Closed by ${node}: it is going down`;
    return `Connection to ${node} lost`;
  }

  // True if the text is safe in the queue.
  #say(body) {
    const entry = this.#outgoing.add(protocol.formatSpeech(this.#name, body));
    if (!entry) {
      this.#log.notice("Too much is waiting to be sent. Your text stays in the box.");
      return false;
    }
    this.#send();
    this.#log.follow();
    return true;
  }

  #send() {
    const { state } = this.#connection;
    if (state === State.open) {
      this.#outgoing.flush((text) => this.#connection.send(text), Date.now());
      setTimeout(() => this.#expire(), ECHO_TIMEOUT_MS + 100);
    }
    this.#log.outgoing(this.#outgoing.entries);
  }

  #expire() {
    if (this.#outgoing.expire(Date.now(), ECHO_TIMEOUT_MS)) this.#log.outgoing(this.#outgoing.entries);
  }

  #retry(id) {
    this.#outgoing.retry(id);
    this.#send();
  }

  #discard(id) {
    this.#outgoing.discard(id);
    this.#log.outgoing(this.#outgoing.entries);
    $("text").focus();
  }

  #watchName() {
    const input = $("name");
    const show = () => {
      input.value = this.#name;
      session.set("throng.name", this.#name); // this tab's
      local.set("throng.name", this.#name); // the last one chosen in any tab, for new ones
    };
    show();
    input.addEventListener("change", () => {
      this.#name = protocol.cleanName(input.value) || this.#name;
      show();
      this.#composer.refresh();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) $("text").focus();
    });
  }

  #seen() {
    if (document.hidden) return;
    this.#title(0);
    this.#connection.retryNow();
  }

  #title(unread = this.#unread) {
    this.#unread = unread;
    document.title = `${unread > 0 ? `(${unread}) ` : ""}#${this.#room} · Throng`;
  }
}

new ChatPage().start();
