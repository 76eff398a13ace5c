import assert from "node:assert/strict";
import { test } from "node:test";
import * as protocol from "../static/assets/protocol.js";

test("a greeting names the node, anything else does not", () => {
  assert.equal(protocol.parseGreeting("Connected to server 1111"), "1111");
  assert.equal(protocol.parseGreeting("1111:Connected to server 2222"), null);
});

test("a delivery is split at the id of the node, even one with a colon", () => {
  assert.deepEqual(protocol.parseDelivery("1111:hi: all", "1111"), { node: "1111", text: "hi: all" });
  assert.deepEqual(protocol.parseDelivery("a:8080:hi", "a:8080"), { node: "a:8080", text: "hi" });
  assert.deepEqual(protocol.parseDelivery("1111:early", ""), { node: "1111", text: "early" });
  assert.deepEqual(protocol.parseDelivery("no colon", "1111"), { node: "", text: "no colon" });
});

test("what was formatted is found again", () => {
  for (const name of ["Ada", "Grace Hopper", "李雷", "👩‍👩‍👧 family", "می‌خواهم", "x".repeat(32)]) {
    assert.equal(protocol.cleanName(name), name);
    for (const body of ["hi", "a: b: c", "", "two\nlines", ": colon first"]) {
      assert.deepEqual(protocol.parseSpeech(protocol.formatSpeech(name, body)), { name, body });
    }
  }
});

test("text without a name stays whole", () => {
  for (const text of ["I am client!!!", "http://example.org", ": x", "a\nb: c", "x".repeat(33) + ": hi", " a: b"]) {
    assert.deepEqual(protocol.parseSpeech(text), { name: "", body: text });
  }
});

test("a name is one visible line without a colon", () => {
  assert.equal(protocol.cleanName("  A:d\na \u202e x "), "A d a x");
  assert.equal(protocol.cleanName("\u0000\t: "), "");
  assert.equal(protocol.cleanName("😀".repeat(40)), "😀".repeat(32));
  assert.equal(protocol.cleanName("a".repeat(31) + " bc"), "a".repeat(31));
});

test("a room is one line the node accepts", () => {
  assert.equal(protocol.cleanRoom("  ##ops \n\u202e team\u0007 "), "ops  team");
  assert.equal(protocol.cleanRoom(" # "), "");
});

test("size is counted in bytes of UTF-8", () => {
  assert.equal(protocol.byteLength("aé€😀"), 1 + 2 + 3 + 4);
});

test("lone surrogates become what the socket sends, and a BOM stays", () => {
  assert.equal(protocol.formatSpeech("A", "x\ud800y"), "A: x\ufffdy");
  assert.equal(protocol.wellFormed("\ufeffhi"), "\ufeffhi");
});

test("socket addresses keep the host, follow the scheme and name no default room", () => {
  const config = { socketPath: "/livechat", defaultRoom: "livechat" };
  const url = (page, room) => protocol.socketURL(page, config, room);
  assert.equal(url("http://127.0.0.1:8080/?room=x#y", "livechat"), "ws://127.0.0.1:8080/livechat");
  assert.equal(url("https://chat.example/", "a b&c"), "wss://chat.example/livechat?room=a+b%26c");
});

test("a room survives the way into the page address and out again", () => {
  const page = "http://h/?theme=x";
  for (const room of ["ops", "a&b=c", "日本語", "100%"]) {
    assert.equal(protocol.roomOf(protocol.pageURL(page, room, "livechat"), "livechat"), room);
  }
  assert.equal(protocol.pageURL("http://h/?room=x", "livechat", "livechat"), "http://h/");
  assert.equal(protocol.roomOf("http://h/?room=%20%23ops", "livechat"), "ops");
  assert.equal(protocol.roomOf("http://h/?room=", "livechat"), "livechat");
});
