// The chat with rooms: where the parts meet. What is on the wire is in throng.js, what a room knows in room.js, who we are
// in guest.js; here they are put together and shown.

import { Composer } from "./composer.js";
import { $, paced } from "./dom.js";
import { Guest } from "./guest.js";
import { LogView } from "./logview.js";
import { friendlyName } from "./names.js";
import { Outgoing } from "./outgoing.js";
import { byteLength, wellFormed } from "./protocol.js";
import { nameOf, personName, Room, roomName } from "./room.js";
import { drawBadge, drawPeople, Drawers, RoomList } from "./roomviews.js";
import { StatusView } from "./statusview.js";
import { SafeStorage } from "./storage.js";
import { State, Throng } from "./throng.js";

const HOME = "lobby"; // the room of a page opened without one
const MOST_ROOMS = 30; // of a page; the server allows 128 channels
const HISTORY = 50; // messages shown on entry
const LONGEST_TEXT = 8 << 10; // bytes: what people write by hand, and fifty of it fit one answer
const ENVELOPE = 512; // bytes of a publish command beside its data
const ECHO_TIMEOUT_MS = 10_000; // without an echo for this long a message is shown as not confirmed
const LEAVE_NOTICE_MS = 4_000; // who is back by then has not left: a reload, a node that went down
const PRESENCE_AGAIN_MS = 60_000; // joins and leaves are sent once and may get lost: the list is asked for now and then
const QUIET_MS = 1_000; // screen readers are not told what is drawn within this time after a change of room
const DRAW_EVERY_MS = 100; // lists that change with every message or person, in a busy room
const CROWD = 50; // with so many people here, who comes and goes is no news
const PRESENCE_RETRY_MS = 5_000;
const NOT_AVAILABLE = 108; // the channel has no history

const root = document.documentElement;
const config = {
  sessionPath: root.dataset.sessionPath,
  tokenPath: root.dataset.tokenPath,
  prefix: root.dataset.channelPrefix,
  limit: Math.min(LONGEST_TEXT, Number(root.dataset.maxMessageBytes) - ENVELOPE),
};
const local = new SafeStorage(() => window.localStorage);
const session = new SafeStorage(() => window.sessionStorage);

const wireForm = (id, text, at) => JSON.stringify({ text, id, at });

function socketURL() {
  const url = new URL(config.sessionPath, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = url.hash = "";
  return url.href;
}

const addressOf = (room) => `#${encodeURIComponent(room)}`;

function roomOfAddress() {
  let text = location.hash.slice(1);
  try {
    text = decodeURIComponent(text);
  } catch {
    // a stray % stands for itself
  }
  return text;
}

// One room of ours: what it knows, its subscription, and what is on its way there.
class Seat {
  subscription = null;
  trouble = ""; // why it cannot be entered
  entered = false; // once at least
  asked = false; // history is under way, or here
  leaving = new Map(); // user -> timer of the notice

  constructor(name, isMe, seen) {
    this.room = new Room(name, isMe, seen);
    this.outgoing = new Outgoing(session.list(`throng.chat.outgoing.${name}`));
  }
}

class RoomsPage {
  #name = personName(session.get("throng.name") ?? local.get("throng.name") ?? "") || friendlyName();
  #guest = new Guest({ url: config.tokenPath, fetch: (url, options) => fetch(url, options), store: local });
  #seats = new Map();
  #current = HOME;
  #sign = Promise.resolve(); // the last change of our name, told to the server
  #state = State.stopped;
  #wasOpen = false;
  #seen = local.object("throng.chat.seen"); // room -> how far it was read, of rooms we are in

  #throng = new Throng({
    url: socketURL(),
    name: "throng-web",
    getToken: () => this.#guest.token(this.#name),
    on: {
      state: (state, retryAt) => this.#showState(state, retryAt),
      connected: () => this.#guest.signed !== this.#name && this.#resign(), // it changed while the token was on its way
      lost: () => this.#lost(),
      stopped: (how) => this.#stopped(how),
    },
  });
  #log = new LogView(
    { scroller: $("scroller"), log: $("log"), pending: $("pending"), empty: $("empty"), jump: $("jump") },
    { retry: (id) => this.#retry(id), discard: (id) => this.#discard(id), bodyOf: (text) => JSON.parse(text).text },
  );
  #status = new StatusView(
    { root, label: $("state"), banner: $("banner"), headline: $("headline"), countdown: $("countdown"), retry: $("retry") },
    () => this.#tryNow(),
  );
  #composer = new Composer(
    { form: $("composer"), text: $("text"), size: $("size"), send: $("send") },
    {
      drafts: {
        load: () => session.get(`throng.chat.draft.${this.#current}`) ?? "",
        save: (text) => session.set(`throng.chat.draft.${this.#current}`, text),
      },
      measure: (text) => byteLength(JSON.stringify(text)),
      limit: config.limit,
      submit: (text) => this.#say(text),
    },
  );
  #list = new RoomList($("room-list"), { show: (name) => this.#choose(name), leave: (name) => this.#leave(name) });
  #drawers = new Drawers({
    root, shade: $("shade"), behind: [$("talk")],
    panels: {
      rooms: { button: $("open-rooms"), panel: $("rooms-panel") },
      people: { button: $("open-people"), panel: $("people-panel") },
    },
  });

  #readPaced = paced(() => this.#read(), DRAW_EVERY_MS);
  #drawPeoplePaced = paced(() => this.#drawPeople(), DRAW_EVERY_MS);

  get #seat() {
    return this.#seats.get(this.#current);
  }

  start() {
    this.#watchName();
    this.#watchForm();
    this.#watchWindow();
    for (const name of local.list("throng.chat.rooms").load()) {
      if (typeof name === "string" && roomName(name).name === name) this.#sit(name);
    }
    this.#followAddress();
    this.#throng.start();
    setInterval(() => this.#state === State.open && !document.hidden && this.#askPresence(this.#seat), PRESENCE_AGAIN_MS);
    if (matchMedia("(pointer: fine)").matches) $("text").focus();
  }

  // Rooms

  #choose(name) {
    this.#drawers.close();
    // Setting location.hash would also scroll to, and focus, an element that happens to have the room's name as its id.
    if (name !== this.#current) history.pushState(null, "", addressOf(name));
    this.#show(name);
  }

  #followAddress() {
    const { name } = roomName(roomOfAddress());
    const wanted = name || (this.#seats.has(this.#current) ? this.#current : HOME);
    if (location.hash !== addressOf(wanted)) history.replaceState(null, "", addressOf(wanted));
    this.#show(wanted);
  }

  #show(name) {
    if (!this.#sit(name)) {
      this.#seat?.room.notice(`You are in ${MOST_ROOMS} rooms; leave one to enter another.`);
      this.#redraw();
      return;
    }
    if (this.#seats.has(this.#current)) this.#read(); // what was on the screen until now
    this.#current = name;
    const newFrom = this.#seat.room.firstUnread;
    for (const label of document.querySelectorAll("[data-room-name]")) label.textContent = name;
    this.#composer.reload();
    this.#redraw(newFrom);
    this.#drawPeople();
    this.#read();
  }

  // Makes sure there is a seat in the room; false if there are too many.
  #sit(name) {
    if (this.#seats.has(name)) return true;
    if (this.#seats.size >= MOST_ROOMS) return false;
    const seat = new Seat(name, (user) => this.#guest.is(user), this.#seen[name]);
    this.#seats.set(name, seat);
    this.#subscribe(seat);
    this.#keepRooms();
    return true;
  }

  #subscribe(seat) {
    const { room } = seat;
    seat.trouble = "";
    seat.subscription = this.#throng.subscribe(config.prefix + room.name, {
      joined: (how) => this.#joined(seat, how),
      publication: (publication) => this.#heard(seat, publication),
      join: (info) => this.#came(seat, info),
      leave: (info) => this.#went(seat, info),
      waiting: (error) => this.#troubled(seat, `This room cannot be entered now: ${error.message}. Trying again.`),
      refused: (error) => this.#troubled(seat, `This room cannot be entered: ${error.message} (${error.code}).`),
    }, { recoverable: true, joinLeave: true });
  }

  #leave(name) {
    const seat = this.#seats.get(name);
    seat.subscription.leave();
    for (const timer of seat.leaving.values()) clearTimeout(timer);
    this.#seats.delete(name);
    delete this.#seen[name];
    this.#keepRooms();
    if (name === this.#current) this.#choose(this.#seats.keys().next().value);
    else this.#drawRooms();
  }

  #keepRooms() {
    local.list("throng.chat.rooms").save([...this.#seats.keys()]);
    this.#drawRooms();
  }

  // What comes in

  #joined(seat, { recovered, wasRecovering, position }) {
    if (seat.trouble) {
      seat.trouble = "";
      this.#notice(seat, "You are in");
      this.#drawRooms();
    }
    seat.room.entered(position?.epoch ?? "");
    if (wasRecovering && !recovered) {
      this.#notice(seat, "You were away for long: something may be missing here");
      seat.asked = false;
    }
    if (!position && seat.entered) this.#notice(seat, "What was said meanwhile is not shown");
    seat.entered = true;
    this.#askPresence(seat);
    if (!seat.asked) this.#askHistory(seat);
    // What was missed comes right behind, our own words among it: only then is it known what to say again.
    queueMicrotask(() => this.#send(seat));
  }

  #heard(seat, publication) {
    const { room, outgoing } = seat;
    const { data, info } = publication;
    this.#heardName(seat, info);
    const item = room.take(publication, Date.now());
    if (!item) {
      this.#confirm(seat, data);
      return;
    }
    const mine = this.#confirm(seat, data);
    item.own ||= mine;
    if (room.name === this.#current) {
      this.#log.message(item);
      this.#log.outgoing(outgoing.entries);
    }
    this.#readPaced();
  }

  // True if this was one of ours on its way.
  #confirm(seat, data) {
    if (typeof data?.text !== "string") return false;
    const mine = seat.outgoing.echo(wireForm(data.id, data.text, data.at)) !== null;
    if (mine && seat.room.name === this.#current) this.#log.outgoing(seat.outgoing.entries);
    return mine;
  }

  #heardName(seat, info) {
    if (!info) return;
    const old = seat.room.heard(info);
    if (!old) return;
    this.#notice(seat, this.#guest.is(info.user) ? `You are now ${nameOf(info)}` : `${old} is now ${nameOf(info)}`);
    this.#drawPeoplePaced();
  }

  async #askHistory(seat) {
    seat.asked = true;
    try {
      const { publications } = await seat.subscription.history({ limit: HISTORY, reverse: true });
      if (seat.room.remember(publications.reverse(), Date.now()) === 0) return;
      if (seat === this.#seat) {
        this.#redraw();
        this.#read();
      } else {
        this.#drawRooms();
      }
    } catch (error) {
      // Without history a room begins when one enters it. Anything else: the next entry asks again.
      if (error.code !== NOT_AVAILABLE) seat.asked = false;
    }
  }

  async #askPresence(seat) {
    if (!seat.subscription.joined) return;
    seat.room.asked();
    try {
      seat.room.answered(await seat.subscription.presence());
    } catch (error) {
      // Some node did not answer. The list stays as it is until all do.
      const again = () => this.#seats.get(seat.room.name) === seat && this.#askPresence(seat);
      if (error.temporary) setTimeout(again, PRESENCE_RETRY_MS);
      return;
    }
    if (seat.room.name === this.#current) this.#drawPeople();
  }

  #came(seat, info) {
    const { room, leaving } = seat;
    const fresh = room.join(info);
    const timer = leaving.get(info.user);
    if (timer !== undefined) {
      clearTimeout(timer);
      leaving.delete(info.user);
    } else if (fresh && !this.#guest.is(info.user) && room.connections <= CROWD) {
      this.#notice(seat, `${nameOf(info)} came in`);
    }
    this.#drawPeoplePaced();
  }

  #went(seat, info) {
    const { room, leaving } = seat;
    const name = room.leave(info);
    if (name && !this.#guest.is(info.user) && room.connections < CROWD) {
      clearTimeout(leaving.get(info.user));
      leaving.set(info.user, setTimeout(() => {
        leaving.delete(info.user);
        this.#notice(seat, `${name} left`);
      }, LEAVE_NOTICE_MS));
    }
    this.#drawPeoplePaced();
  }

  #troubled(seat, words) {
    if (seat.trouble === words) return; // said once
    seat.trouble = words;
    this.#notice(seat, words);
    this.#drawRooms();
  }

  #notice(seat, text) {
    seat.room.notice(text);
    if (seat.room.name === this.#current) this.#log.notice(text);
  }

  // What goes out. True if the text is safe in the queue.

  #say(text) {
    const seat = this.#seat;
    const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    if (!seat.outgoing.add(wireForm(id, wellFormed(text), Date.now()))) {
      this.#notice(seat, "Too much is waiting to be sent. Your text stays in the box.");
      return false;
    }
    this.#send(seat);
    this.#log.follow();
    return true;
  }

  #send(seat) {
    if (seat.subscription.joined) {
      seat.outgoing.flush((text) => this.#publish(seat, text), Date.now());
      setTimeout(() => this.#expire(seat), ECHO_TIMEOUT_MS + 100);
    }
    if (seat === this.#seat) this.#log.outgoing(seat.outgoing.entries);
  }

  #publish(seat, text) {
    seat.subscription.publish(JSON.parse(text)).catch((error) => {
      if (error.temporary) return; // no echo: it is shown as not confirmed, or sent again when we are back
      seat.outgoing.hold(text);
      this.#notice(seat, `Not taken by the server: ${error.message} (${error.code})`);
      if (seat === this.#seat) this.#log.outgoing(seat.outgoing.entries);
    });
    return true;
  }

  #expire(seat) {
    if (seat.outgoing.expire(Date.now(), ECHO_TIMEOUT_MS) && seat === this.#seat) this.#log.outgoing(seat.outgoing.entries);
  }

  #retry(id) {
    this.#seat.outgoing.retry(id);
    this.#send(this.#seat);
  }

  #discard(id) {
    this.#seat.outgoing.discard(id);
    this.#log.outgoing(this.#seat.outgoing.entries);
    $("text").focus();
  }

  // The connection

  #showState(state, retryAt) {
    if (state === State.open) {
      if (this.#wasOpen) this.#notice(this.#seat, "Connected again");
      this.#wasOpen = true;
    }
    this.#state = state;
    this.#status.show(state, retryAt);
  }

  #lost() {
    for (const seat of this.#seats.values()) seat.outgoing.connectionLost();
    if (this.#state === State.open) this.#notice(this.#seat, "Connection lost");
    this.#log.outgoing(this.#seat.outgoing.entries);
  }

  #stopped({ code, reason }) {
    this.#state = State.stopped;
    this.#status.show(State.stopped, 0, code >= 1000 ? `The server ended the connection: ${reason} (${code}).` : reason);
  }

  #tryNow() {
    if (this.#state === State.stopped) this.#throng.start();
    else this.#throng.retryNow();
  }

  // What is seen

  // newFrom: the first item that was not looked at before, if there is one.
  #redraw(newFrom) {
    const { room, outgoing } = this.#seat;
    this.#log.clear();
    // A change of room is no news to read out.
    $("log").setAttribute("aria-live", "off");
    setTimeout(() => $("log").setAttribute("aria-live", "polite"), QUIET_MS);
    for (const item of room.items) {
      if (item === newFrom) this.#log.notice("New messages");
      if (item.notice === undefined) this.#log.message(item);
      else this.#log.notice(item.notice);
    }
    this.#log.outgoing(outgoing.entries);
  }

  #drawPeople() {
    const { people } = this.#seat.room;
    drawPeople($("people"), people);
    $("people-count").textContent = $("people-here").textContent = people.length.toLocaleString();
  }

  #drawRooms() {
    const seats = [...this.#seats.values()];
    this.#list.draw(seats.map(({ room, trouble }) => ({ name: room.name, unread: room.unread, trouble })), this.#current);
    const unread = seats.reduce((sum, { room }) => sum + room.unread, 0);
    drawBadge($("unread"), unread);
    document.title = `${unread > 0 ? `(${unread}) ` : ""}#${this.#current} · Throng`;
  }

  // Somebody looks at the current room, unless the page is hidden.
  #read() {
    const { room } = this.#seat;
    if (!document.hidden) {
      this.#seen[room.name] = room.markRead();
      local.set("throng.chat.seen", JSON.stringify(this.#seen));
    }
    this.#drawRooms();
  }

  #watchWindow() {
    window.addEventListener("hashchange", () => this.#followAddress());
    window.addEventListener("popstate", () => this.#followAddress());
    window.addEventListener("online", () => this.#throng.networkChanged());
    window.addEventListener("offline", () => this.#throng.networkChanged());
    // Who closes the page has left, and not only when the server finds the connection dead.
    window.addEventListener("pagehide", () => {
      this.#lost();
      this.#throng.stop();
    });
    window.addEventListener("pageshow", ({ persisted }) => persisted && this.#throng.start());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      this.#read();
      this.#throng.retryNow();
    });
    // The address holds the room, so a link within the page must not change it.
    $("skip").addEventListener("click", (event) => {
      event.preventDefault();
      $("text").focus();
    });
  }

  #watchForm() {
    const [form, input, error] = [$("room-form"), $("room-input"), $("room-error")];
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { name, problem } = roomName(input.value);
      error.textContent = problem;
      error.hidden = problem === "";
      if (problem) return;
      input.value = "";
      this.#choose(name);
      $("text").focus();
    });
    input.addEventListener("input", () => (error.hidden = true));
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
      const name = personName(input.value) || this.#name;
      const changed = name !== this.#name;
      this.#name = name;
      show();
      if (changed) this.#resign();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) $("text").focus();
    });
  }

  #resign() {
    this.#sign = this.#sign.then(() => this.#rename()).catch(() => {}); // without success the next connection does it
  }

  // Tells the server under what name we speak from now on, and every room, with a publication without text: others see
  // the new name in who has published it.
  async #rename() {
    if (this.#state === State.stopped) this.#throng.start(); // what stopped us may have been the name
    await this.#throng.renew();
    for (const { subscription } of this.#seats.values()) {
      if (subscription.joined) await subscription.publish({ event: "name" }).catch(() => {});
    }
  }
}

new RoomsPage().start();
