import assert from "node:assert/strict";
import { test } from "node:test";
import { PRIVATE_IDS } from "../../shared/contract/host-state.ts";
import { FIRST_RANGE, freeRanges, type IdSources, inOrder, LAST_RANGE } from "./user-ranges.ts";

const ALL = "         0          0 4294967295\n";
const NOTHING: IdSources = { accounts: [], subordinate: [], maps: [ALL, ALL], nspawn: [] };
const id = (range: number) => range * PRIVATE_IDS;
const R = 100;

for (const c of [
  { name: "a host that says nothing", sources: {}, free: [FIRST_RANGE, R, LAST_RANGE], taken: [] },
  {
    name: "accounts, and their groups",
    sources: { accounts: [`a:x:${id(R)}:${id(R + 2) - 1}:A:/:/bin/sh\n`, `g:x:${id(R + 3)}:1,${id(R + 4)}\n`] },
    free: [R - 1, R + 2, R + 4],
    taken: [R, R + 1, R + 3],
  },
  {
    name: "accounts below and above the ranges",
    sources: { accounts: ["root:x:0:0:root:/root:/bin/sh\nlast:x:4294967294:0::/:\n"] },
    free: [FIRST_RANGE, LAST_RANGE],
    taken: [],
  },
  {
    name: "subordinate ids: all ranges they touch",
    sources: { subordinate: [`a:${id(R) + 1}:65536\n`, `b:${id(R + 5)}:1\n`, `c:${id(FIRST_RANGE) - 5}:6\n`] },
    free: [R - 1, R + 2, R + 4, R + 6, FIRST_RANGE + 1],
    taken: [FIRST_RANGE, R, R + 1, R + 5],
  },
  { name: "systemd-nspawn's", sources: { nspawn: [String(id(R)), "x"] }, free: [R - 1, R + 1], taken: [R] },
  {
    name: "a user namespace that has a part only",
    sources: { maps: [`0 100000 65536\n ${id(R)} 500000  ${2 * PRIVATE_IDS}\n`, `0 0 ${id(R + 2) - 1}\n`] },
    free: [R],
    taken: [FIRST_RANGE - 1, R - 1, R + 1, R + 2],
  },
])
  test(c.name, () => {
    const free = freeRanges({ ...NOTHING, ...c.sources });
    for (const range of c.free) assert.ok(free(range), `${range} is free`);
    for (const range of c.taken) assert.ok(!free(range), `${range} is taken`);
  });

test("every range is looked at once, from one that is the container's own on", () => {
  const order = [...inOrder("ffffffff-9dad-41d1-80b4-00c04fd430c8")];
  assert.equal(new Set(order).size, LAST_RANGE - FIRST_RANGE + 1);
  assert.equal(order.length, LAST_RANGE - FIRST_RANGE + 1);
  assert.ok(order.every((range) => range >= FIRST_RANGE && range <= LAST_RANGE));
  assert.notEqual(order[0], [...inOrder("6ba7b810-9dad-41d1-80b4-00c04fd430c8")][0]);
});
