import assert from "node:assert/strict";
import { test } from "node:test";
import { paced } from "../static/assets/dom.js";

test("what is paced runs at once, then once for all calls that came too soon, the last one among them", async () => {
  let runs = 0;
  let state = 0;
  let seen = 0;
  const draw = paced(() => {
    runs += 1;
    seen = state;
  }, 20);
  for (state = 1; state < 5; state++) draw();
  assert.equal(runs, 1);
  while (runs < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(seen, state);
});
