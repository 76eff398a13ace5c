import assert from "node:assert/strict";
import { test } from "node:test";
import { friendlyName, hueOf, initials } from "../static/assets/names.js";
import { cleanName } from "../static/assets/protocol.js";
import { SafeStorage } from "../static/assets/storage.js";

test("generated names are names the protocol keeps", () => {
  for (const random of [0, 0.3, 0.999999]) {
    const name = friendlyName(() => random);
    assert.equal(cleanName(name), name);
    assert.match(name, /^[A-Z][a-z]+ [A-Z][a-z]+$/);
  }
});

test("initials are whole characters", () => {
  assert.equal(initials("ada"), "A");
  assert.equal(initials("Grace Brewster Hopper"), "GB");
  assert.equal(initials("👩‍👩‍👧 family"), "👩‍👩‍👧F");
  assert.equal(initials(""), "?");
});

test("a colour belongs to a name", () => {
  assert.equal(hueOf("Ada", 12), hueOf("Ada", 12));
  const hues = new Set(Array.from({ length: 200 }, (_, i) => hueOf(`person ${i}`, 12)));
  assert.equal(hues.size, 12);
});

function memoryStorage(quota = Infinity) {
  const map = new Map();
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => {
      if (value.length > quota) throw new Error("quota");
      map.set(key, value);
    },
  };
}

test("storage keeps values and lists", () => {
  const backing = memoryStorage();
  new SafeStorage(() => backing).list("l").save([{ text: "hi" }]);
  assert.deepEqual(new SafeStorage(() => backing).list("l").load(), [{ text: "hi" }]);
});

test("forbidden or full storage falls back to memory, and to the store again when there is room", () => {
  const forbidden = new SafeStorage(() => {
    throw new Error("forbidden");
  });
  assert.equal(forbidden.get("k"), null);
  forbidden.set("k", "v");
  assert.equal(forbidden.get("k"), "v");

  const full = new SafeStorage(() => memoryStorage(3));
  full.set("k", "long value");
  assert.equal(full.get("k"), "long value");
  full.set("k", "ok");
  assert.equal(full.get("k"), "ok");
});

test("a list that cannot be read is empty", () => {
  const store = new SafeStorage(memoryStorage);
  for (const junk of ["{", "null", '{"a":1}', "7"]) {
    store.set("l", junk);
    assert.deepEqual(store.list("l").load(), []);
  }
});
