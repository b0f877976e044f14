import assert from "node:assert/strict";
import { test } from "node:test";
import { DEAF_TO, deafen } from "./runtime.ts";

const binary = (names: readonly string[]): Buffer =>
  Buffer.from(names.map((name) => `code\0${name}\0MY_${name}\0${name}_TOO\0`).join(""), "latin1");

test("the names of variables are emptied where they are whole, and nothing else is touched", () => {
  const bytes = binary([...DEAF_TO, "NODE_OPTIONS", "OPENSSL_CONF"]);
  const before = bytes.toString("latin1");
  deafen(bytes);
  const expected = DEAF_TO.reduce((text, name) => text.replaceAll(`\0${name}\0`, `\0\0${name.slice(1)}\0`), before);
  assert.equal(bytes.toString("latin1"), expected);
  assert.notEqual(expected, before);
  assert.ok(expected.includes("\0NODE_OPTIONS\0"));
});

for (const name of DEAF_TO)
  test(`a binary without ${name} is one that nobody knows`, () => {
    assert.throws(() => deafen(binary(DEAF_TO.filter((other) => other !== name))), {
      code: "not-deaf",
      message: `the Node.js binary has no string ${name}`,
    });
  });
