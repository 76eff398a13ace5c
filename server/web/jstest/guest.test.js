import assert from "node:assert/strict";
import { test } from "node:test";
import { Guest } from "../static/assets/guest.js";
import { SafeStorage } from "../static/assets/storage.js";

function harness(...answers) {
  const h = { asked: [], store: new SafeStorage(() => null) };
  h.guest = () => new Guest({
    url: "/chat/token",
    store: h.store,
    fetch: async (url, options) => {
      h.asked.push([url, options.method, options.headers["Content-Type"], JSON.parse(options.body)]);
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      const [status, body] = answer;
      return { ok: status === 200, status, json: async () => JSON.parse(body) };
    },
  });
  return h;
}

test("the old token is shown for the new one, also by the next page, and all ids are ours", async () => {
  const h = harness([200, `{"token":"t1","user":"guest-1"}`], [200, `{"token":"t2","user":"guest-1"}`], [200, `{"token":"t3","user":"guest-2"}`]);
  const first = h.guest();
  assert.equal(await first.token("Ann"), "t1");
  assert.equal(await first.token("Anna"), "t2");
  const next = h.guest();
  assert.ok(next.is("guest-1"));
  assert.equal(await next.token("Anna"), "t3");
  assert.ok(next.is("guest-1") && next.is("guest-2") && !next.is("guest-3") && !next.is(""));
  assert.deepEqual(h.asked, [
    ["/chat/token", "POST", "application/json", { name: "Ann", token: "" }],
    ["/chat/token", "POST", "application/json", { name: "Anna", token: "t1" }],
    ["/chat/token", "POST", "application/json", { name: "Anna", token: "t2" }],
  ]);
});

test("what goes wrong is told in words, and whether to try again", async () => {
  for (const [answer, temporary, words] of [
    [new Error("refused"), true, /out of reach/], [[404, "not json"], false, /switched off/], [[429, "{}"], true, /Too many/],
    [[400, `{"error":"the name is empty"}`], false, /the name is empty/], [[500, ""], true, /500/], [[200, "{}"], true, /no token/],
  ]) {
    const { guest } = harness(answer);
    await assert.rejects(guest().token("Ann"), (error) => error.temporary === temporary && words.test(error.message));
  }
});

test("rubbish in the store is nobody", () => {
  for (const text of ["", "null", "[1]", "{", `{"token":5,"ids":"x"}`, `{"ids":[1,null]}`]) {
    const h = harness();
    h.store.set("throng.guest", text);
    assert.equal(h.guest().is("x"), false, text);
  }
});
