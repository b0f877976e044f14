import assert from "node:assert/strict";
import { test } from "node:test";
import { isForeground } from "./terminal.ts";

const PTS_3 = 0x8803;
const stat = (group: number, controlling: number, foreground: number): string =>
  `42 (a) b) S 40 ${group} 40 ${controlling} ${foreground} 4194560 1 2`;

const cases: [name: string, stat: string, foreground: boolean][] = [
  ["the foreground job", stat(42, PTS_3, 42), true],
  ["a job in the background", stat(42, PTS_3, 40), false],
  ["a terminal that is not the controlling one", stat(42, 0x8801, 40), true],
  ["no controlling terminal", stat(42, 0, -1), true],
];

for (const [name, text, foreground] of cases)
  test(`foreground of a terminal: ${name}`, () => {
    assert.equal(isForeground(text, PTS_3), foreground);
  });
