import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../static/assets/backoff.js";

test("the window doubles from the base up to the cap", () => {
  const backoff = new Backoff({ base: 500, cap: 20_000, random: () => 1 });
  const delays = Array.from({ length: 8 }, () => backoff.next());
  assert.deepEqual(delays, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
});

test("the jitter is full: a delay may be anything from nothing to the whole window", () => {
  const at = (random) => new Backoff({ random: () => random }).next();
  assert.deepEqual([at(0), at(0.5), at(0.999)], [0, 250, 500]);
});

test("a reset starts afresh, and thousands of failures overflow nothing", () => {
  const backoff = new Backoff({ random: () => 1 });
  for (let i = 0; i < 5000; i++) assert.ok(backoff.next() <= 20_000);
  backoff.reset();
  assert.equal(backoff.attempt, 0);
  assert.equal(backoff.next(), 500);
});
