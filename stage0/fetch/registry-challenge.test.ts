import assert from "node:assert/strict";
import { test } from "node:test";
import { parseChallenges } from "./registry-challenge.ts";

const cases: [header: string, challenges: [string, Record<string, string>][]][] = [
  ["", []],
  ["Basic", [["basic", {}]]],
  ['Basic realm="Registry Realm"', [["basic", { realm: "Registry Realm" }]]],
  [
    'Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"',
    [["bearer", { realm: "https://auth.example.com/token", service: "registry", scope: "repository:a/b:pull,push" }]],
  ],
  ['bearer REALM = "x" , Service=y', [["bearer", { realm: "x", service: "y" }]]],
  ['Basic realm="a", Bearer realm="b",service="c"', [["basic", { realm: "a" }], ["bearer", { realm: "b", service: "c" }]]],
  ["Negotiate, Basic realm=x", [["negotiate", {}], ["basic", { realm: "x" }]]],
  ['Bearer realm="a\\"b"', [["bearer", { realm: 'a"b' }]]],
  ['Bearer realm="a",realm="b"', []],
  ['Bearer realm="unclosed', [["bearer", {}]]],
  [`Bearer realm="${"a".repeat(9000)}"`, []],
];

for (const [header, expected] of cases)
  test(`challenge ${header.slice(0, 40)}`, () => {
    const found = parseChallenges(header);
    const seen = found.map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
    assert.deepEqual(seen.slice(0, Math.max(expected.length, 1)), expected);
  });
