import assert from "node:assert/strict";
import { test } from "node:test";
import type { Isolator } from "../../shared/schema/types.ts";
import { deniedPriorities, withoutPriorities } from "./host-priorities.ts";

const where = { object: "app x", path: "isolators" };
const score = (value: number): Isolator => ({ name: "os/linux/oom-score-adj", value });
const limits = (value: Record<string, { soft: number; hard?: number }>): Isolator => ({
  name: "coreos.com/rocket/rlimits",
  value,
});

test("an image gives its app no place before the programs of the host", () => {
  const image = [score(-1000), limits({ rtprio: { soft: 0, hard: 99 }, nofile: { soft: 100_000 }, memlock: { soft: 1 << 30 } })];
  assert.deepEqual(withoutPriorities(image, where), [limits({ nofile: { soft: 100_000 } })]);
  assert.deepEqual(deniedPriorities("x", image, [], where), [
    "app x: its image asks for an oom-score-adj of -1000 (--oom-score-adj) and more than the usual limit of rtprio, memlock (--ulimit), which only the command line can give",
  ]);
});

test("an image may ask for less than is usual", () => {
  const image = [score(500), limits({ rtprio: { soft: 0 }, memlock: { soft: 65_536 }, nice: { soft: 0 }, core: { soft: 0 } })];
  assert.deepEqual(withoutPriorities(image, where), image);
  assert.deepEqual(deniedPriorities("x", image, [], where), []);
});

test("what the command line says instead is not reported", () => {
  const image = [score(-5), limits({ nice: { soft: 40 } })];
  assert.deepEqual(deniedPriorities("x", image, [score(-500), limits({ nice: { soft: 30 } })], where), []);
});
