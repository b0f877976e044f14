import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { escapeName, escapePath, unitName } from "./index.ts";

/** systemd-escape(1)'s own answer; undefined when it refuses. */
function systemdEscape(...args: string[]): string | undefined {
  const run = spawnSync("systemd-escape", args, { encoding: "utf8" });
  if (run.error !== undefined) throw run.error;
  return run.status === 0 ? run.stdout.replace(/\n$/, "") : undefined;
}

const names: { name: string; text: string; escaped: string }[] = [
  { name: "plain", text: "Az09:_.", escaped: "Az09:_." },
  { name: "empty", text: "", escaped: "" },
  { name: "slashes become dashes", text: "a/b//", escaped: "a-b--" },
  { name: "dashes and backslashes", text: "a-b\\c", escaped: "a\\x2db\\x5cc" },
  // No hidden files.
  { name: "a dot in front", text: "..a.b", escaped: "\\x2e.a.b" },
  { name: "a dot after a slash", text: "/.a", escaped: "-.a" },
  { name: "instances and specifiers", text: "a@%i", escaped: "a\\x40\\x25i" },
  { name: "line ends, quotes, space", text: "\r\n\"' $;", escaped: "\\x0d\\x0a\\x22\\x27\\x20\\x24\\x3b" },
  { name: "bytes of UTF-8", text: "é😀", escaped: "\\xc3\\xa9\\xf0\\x9f\\x98\\x80" },
];

for (const c of names)
  test(`escapeName: ${c.name}`, () => {
    assert.equal(escapeName(c.text), c.escaped);
    assert.equal(systemdEscape("--", c.text), c.escaped);
  });

const paths: { name: string; path: string; escaped: string }[] = [
  { name: "root", path: "/", escaped: "-" },
  { name: "slashes of root", path: "///", escaped: "-" },
  { name: "a path", path: "/usr/lib/a-b", escaped: "usr-lib-a\\x2db" },
  { name: "redundant slashes and dots", path: "//a/./b//./", escaped: "a-b" },
  { name: "a hidden file", path: "/.a/.b", escaped: "\\x2ea-.b" },
  { name: "names of more than two dots", path: "/...", escaped: "\\x2e.." },
  { name: "hostile", path: "/a b/%n/\n/\\/é", escaped: "a\\x20b-\\x25n-\\x0a-\\x5c-\\xc3\\xa9" },
];

for (const c of paths)
  test(`escapePath: ${c.name}`, () => {
    assert.equal(escapePath(c.path), c.escaped);
    assert.equal(systemdEscape("--path", "--", c.path), c.escaped);
  });

for (const path of ["/..", "/a/../b", "/a/.."])
  test(`escapePath refuses ${path}, as systemd-escape does`, () => {
    assert.throws(() => escapePath(path), {
      name: "UnitError",
      rule: "path",
      message: `the path "${path}" contains ".."`,
    });
    assert.equal(systemdEscape("--path", "--", path), undefined);
  });

// systemd-escape warns that these can't be told from absolute ones afterwards.
for (const path of ["", "a", "./a"])
  test(`escapePath refuses the relative ${JSON.stringify(path)}`, () => {
    assert.throws(() => escapePath(path), { rule: "path", message: `the path "${path}" is not absolute` });
  });

test("escapeName refuses what no C string or no text can hold", () => {
  assert.throws(() => escapeName("a\0"), { rule: "nul" });
  assert.throws(() => escapePath("/\ud800"), { rule: "surrogate" });
});

/** Whether systemd takes the name for a unit's: systemd-analyze(1) looks at it before the file. */
function systemdTakes(name: string): boolean {
  const run = spawnSync("systemd-analyze", ["verify", "--man=no", `/nonexistent/${name}`], { encoding: "utf8" });
  if (run.error !== undefined) throw run.error;
  return !run.stderr.includes("Failed to prepare filename");
}

// systemd.unit(5): letters, digits and :-_.\, an @ after the prefix, and a unit type.
const longest = `${"a".repeat(247)}.service`;
for (const name of ["a.service", "a@.service", "a@b@c.target", "-.mount", "..slice", "a\\x20.b.scope", longest])
  test(`unitName takes ${name.slice(0, 20)}`, () => {
    assert.equal(unitName(name), name);
    assert.ok(systemdTakes(name));
  });

const notUnits = [
  "",
  ".service",
  "a",
  "a.servic",
  "@b.service",
  "a b.service",
  "a.service\n",
  "é.service",
  "a%n.service",
];
for (const name of notUnits)
  test(`unitName refuses ${JSON.stringify(name)}`, () => {
    assert.throws(() => unitName(name), { rule: "unit-name", message: `${JSON.stringify(name)} is not a unit name` });
    assert.ok(!systemdTakes(name));
  });

test("unitName refuses 256 bytes", () => {
  const name = `a${longest}`;
  assert.throws(() => unitName(name), { message: `unit name "${"a".repeat(80)}…" is longer than 255 bytes` });
  assert.ok(!systemdTakes(name));
});
