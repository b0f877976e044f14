import assert from "node:assert/strict";
import { test } from "node:test";
import type { KeyFacts } from "./public-key.ts";
import { describeKey, strangersText } from "./review.ts";

const at = new Date("2024-01-02T03:04:05Z");
const part = { algorithm: "ed25519", created: at, expires: undefined, revoked: undefined };
const facts: KeyFacts = {
  ...part,
  fingerprint: "0123456789abcdef0123456789abcdef01234567",
  identities: ["Alice <alice@example.com>"],
  subkeys: [],
};

/** The lines as a terminal shows them. */
const onTerminal = (lines: readonly string[], columns: number): string[] =>
  lines.flatMap((line) => line.match(new RegExp(`.{1,${columns}}`, "gu")) ?? [""]);

const FORGED = "fingerprint: 0000 0000 0000 0000 0000  0000 0000 0000 0000 0000";

const hostile: { name: string; text: string }[] = [
  { name: "blanks up to the next line", text: `Alice${" ".repeat(62)}${FORGED}` },
  { name: "no-break spaces", text: `Alice${"\u00a0".repeat(62)}${FORGED}` },
  { name: "letters without ink", text: `Alice${"\u3164\u2800".repeat(31)}${FORGED}` },
  { name: "letters up to the next line", text: `${"a".repeat(65)}  ${FORGED}` },
  { name: "wide letters", text: `${"\u754c".repeat(33)}  ${FORGED}` },
  { name: "a control character", text: `Alice\n  ${FORGED}` },
];

for (const columns of [80, 100])
  for (const c of hostile)
    for (const place of ["identity", "further identity", "reason", "source"] as const)
      test(`a stranger's text looks like no line of rkt's: ${c.name}, ${place}, ${columns} columns`, () => {
        const text = c.text.replace("Alice", "A".repeat(columns - 75));
        const key: KeyFacts = {
          ...facts,
          identities: place === "identity" ? [text] : place === "further identity" ? ["A", text] : ["A"],
          revoked: place === "reason" ? { at, reason: text } : undefined,
        };
        const lines = describeKey(key, place === "source" ? `https://example.com/${text}` : "key.asc", columns);
        const shown = onTerminal(lines, columns);
        // What is ours begins with two blanks and a word.
        assert.deepEqual(
          shown.filter((line) => /^ {0,14}fingerprint/.test(line)),
          ["  fingerprint: 0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567"],
        );
        const wide = (line: string) => [...line].reduce((sum, c) => sum + (c > "\u007e" ? 2 : 1), 0);
        assert.ok(lines.every((line) => wide(line) <= columns), lines.join("\n"));
      });

test("an ordinary key", () => {
  const key: KeyFacts = {
    ...facts,
    identities: ["Alice <alice@example.com>", "Alice <a@example.org>"],
    subkeys: [{ ...part, fingerprint: "f".repeat(40), revoked: { at, reason: "it is no longer used" } }],
  };
  assert.deepEqual(describeKey(key, "alice.asc", 80), [
    "rkt: key from alice.asc",
    "  fingerprint: 0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567",
    "  kind:        ed25519 of 2024-01-02T03:04:05Z",
    "  identity:    Alice <alice@example.com>",
    "               Alice <a@example.org>",
    "  subkey:      FFFF FFFF FFFF FFFF FFFF  FFFF FFFF FFFF FFFF FFFF, ed25519 of 2024-01-02T03:04:05Z",
    "               REVOKED on 2024-01-02T03:04:05Z: it is no longer used",
  ]);
});

test("long and many texts are cut", () => {
  const identities = Array.from({ length: 1000 }, (_, i) => `identity ${i}`);
  const lines = describeKey({ ...facts, identities }, "key.asc", 80);
  assert.equal(lines.length, 14);
  assert.equal(lines.at(-1), "               and 990 more");
  assert.equal(strangersText("x".repeat(100_000)), `${"x".repeat(200)}…`);
});
