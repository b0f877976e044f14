import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { parseEnvironment } from "./callers-environment.ts";

const cases: { name: string; bytes: string; expected: Record<string, string> }[] = [
  { name: "nothing", bytes: "", expected: {} },
  { name: "an empty value, and one with = and a line's end", bytes: "A=\0B=c=d\n\0", expected: { A: "", B: "c=d\n" } },
  { name: "of two of a name the first", bytes: "A=1\0A=2\0", expected: { A: "1" } },
  { name: "no name, and no =", bytes: "=x\0word\0\0A=1\0", expected: { A: "1" } },
  { name: "a last one that is cut off", bytes: "A=1\0B=2", expected: { A: "1", B: "2" } },
];

for (const { name, bytes, expected } of cases)
  test(`variables: ${name}`, () => {
    assert.deepEqual({ ...parseEnvironment(Buffer.from(bytes)) }, expected);
  });

test("a variable may be called __proto__", () => {
  assert.deepEqual(Object.entries(parseEnvironment(Buffer.from("__proto__=x\0toString=y\0"))), [
    ["__proto__", "x"],
    ["toString", "y"],
  ]);
});

test("it is what the program was started with, whatever has become of process.env", () => {
  const script = `import { callersEnvironment } from "./shared/callers-environment.ts";
    for (const name of Object.keys(process.env)) delete process.env[name];
    console.log(JSON.stringify([callersEnvironment(), process.env]));`;
  const env = { A: "1", B: "\u00e4" };
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { env, encoding: "utf8" });
  assert.deepEqual(JSON.parse(stdout), [env, {}], stderr);
});
