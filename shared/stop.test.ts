import assert from "node:assert/strict";
import { test } from "node:test";
import { STOP_SIGNAL_ANNOTATION, STOP_TIMEOUT_ANNOTATION } from "./contract/annotations.ts";
import { signalNumber, stopSettings } from "./stop.ts";

const signals: [text: string, number: number | undefined][] = [
  ["SIGTERM", 15],
  ["QUIT", 3],
  ["sigusr1", 10],
  ["10", 10],
  ["SIGRTMIN", 34],
  ["SIGRTMIN+3", 37],
  ["64", 64],
  ["65", undefined],
  ["SIGRTMIN+31", undefined],
  ["0", undefined],
  ["SIGNOPE", undefined],
  ["TERM 9", undefined],
  ["__proto__", undefined],
  ["", undefined],
];
for (const [text, number] of signals)
  test(`signal "${text}"`, () => {
    assert.equal(signalNumber(text), number);
  });

test("ten seconds and SIGTERM, unless an annotation says otherwise", () => {
  assert.deepEqual(stopSettings("x", []), { signal: 15, seconds: 10 });
  const annotations = [
    { name: STOP_SIGNAL_ANNOTATION, value: "SIGINT" },
    { name: STOP_TIMEOUT_ANNOTATION, value: "90" },
  ];
  assert.deepEqual(stopSettings("x", annotations), { signal: 2, seconds: 90 });
});

for (const [name, value] of [
  [STOP_SIGNAL_ANNOTATION, "SIGWHAT"],
  [STOP_TIMEOUT_ANNOTATION, "1.5"],
  [STOP_TIMEOUT_ANNOTATION, "-1"],
  [STOP_TIMEOUT_ANNOTATION, "10s"],
  [STOP_TIMEOUT_ANNOTATION, "1000000"],
] as const)
  test(`refused: ${name}=${value}`, () => {
    assert.throws(() => stopSettings("db", [{ name, value }]), {
      code: "bad-annotation",
      message: new RegExp(`^app db: the annotation ${name} is "${value}", not `),
    });
  });
