import assert from "node:assert/strict";
import { test } from "node:test";
import { DEAF_IN_JAVASCRIPT, DEAF_TO, deafen } from "./runtime.ts";

const strings = (names: readonly string[]): string =>
  names.map((name) => `code\0${name}\0MY_${name}\0${name}_TOO\0`).join("");
const compiled = (name: string): string => `Pb\x01${String.fromCharCode(name.length)}\0\0\0${name}\0`;
const script = (names: readonly string[]): string =>
  names.map((name) => `if (process.env.${name}) { a = '${name}'; }${compiled(name)}`).join("");
const CLUSTER = "ObjectHasOwn(process.env, 'NODE_UNIQUE_ID') ? 'child' : 'primary'";

test("the names of variables are emptied where they are whole, and nothing else is touched", () => {
  const before = strings([...DEAF_TO, "NODE_OPTIONS", "OPENSSL_CONF"]);
  const rest = script(DEAF_IN_JAVASCRIPT) + CLUSTER;
  const bytes = Buffer.from(before + rest, "latin1");
  deafen(bytes);
  const expected = DEAF_TO.reduce((text, name) => text.replaceAll(`\0${name}\0`, `\0\0${name.slice(1)}\0`), before);
  assert.equal(bytes.toString("latin1", 0, before.length), expected);
  assert.notEqual(expected, before);
  assert.ok(expected.includes("\0NODE_OPTIONS\0"));
});

test("the runtime's own code reads nothing in place of its variables, in the source and compiled, at the same length", () => {
  const bytes = Buffer.from(strings(DEAF_TO) + script(DEAF_IN_JAVASCRIPT) + CLUSTER, "latin1");
  deafen(bytes);
  const text = bytes.toString("latin1");
  for (const name of DEAF_IN_JAVASCRIPT) {
    assert.ok(text.includes(`if (${"(void 0)".padEnd(12 + name.length)}) { a = '${name}'; }`), name);
    assert.ok(text.includes(compiled(name).replace(name, `\0${name.slice(1)}`)), name);
  }
  assert.ok(text.endsWith(CLUSTER.replace("NODE", "\0ODE")));
});

for (const name of [...DEAF_TO, ...DEAF_IN_JAVASCRIPT])
  test(`a binary without ${name} is one that nobody knows`, () => {
    const others = (names: readonly string[]) => names.filter((other) => other !== name);
    const binary = Buffer.from(strings(others(DEAF_TO)) + script(others(DEAF_IN_JAVASCRIPT)) + CLUSTER, "latin1");
    assert.throws(() => deafen(binary), { code: "not-deaf", message: `the Node.js binary has no string ${name}` });
  });
