import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parseRegistriesConf, readRegistriesConf, registryFor, relocated } from "./registries-conf.ts";

const FILE = `
unqualified-search-registries = ["docker.io", "quay.io"]
short-name-mode = "enforcing"
[aliases]
"nginx" = "evil.example.com/nginx"
[[registry]]
prefix = "docker.io/library"
location = "mirror.example.com:5000/hub"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "near.example.com/x"
insecure = true
[[registry.mirror]]
location = "[::1]:5000/y"
pull-from-mirror = "digest-only"
[[registry]]
location = "bad.example.com"
blocked = true
[[registry]]
prefix = "*.corp.example.com"
location = "cache.corp/all"
`;

test("what counts of a file", () => {
  const [hub, bad, corp, ...more] = parseRegistriesConf(FILE, "/x");
  assert.deepEqual(more, []);
  assert.deepEqual(hub, {
    prefix: "docker.io/library",
    location: "mirror.example.com:5000/hub",
    insecure: true,
    blocked: false,
    mirrorsByDigestOnly: true,
    mirrors: [
      { location: "near.example.com/x", insecure: true, pull: "all" },
      { location: "[::1]:5000/y", insecure: false, pull: "digest-only" },
    ],
    path: "/x",
  });
  assert.equal(bad?.prefix, "bad.example.com");
  assert.equal(bad?.blocked, true);
  assert.equal(corp?.location, "cache.corp/all");
});

const places: [reference: string, place: string | undefined][] = [
  ["docker.io/library/nginx:1", "mirror.example.com:5000/hub/nginx"],
  ["docker.io/library/a/b:1", "mirror.example.com:5000/hub/a/b"],
  ["docker.io/libraryx/nginx:1", undefined],
  ["docker.io/me/nginx:1", undefined],
  ["bad.example.com/x:1", "bad.example.com/x"],
  ["bad.example.com.evil/x:1", undefined],
  ["very.bad.example.com/x:1", undefined],
  ["a.corp.example.com/x:1", "cache.corp/all/x"],
  ["a.b.corp.example.com:5000/x:1", "cache.corp/all/x"],
  ["corp.example.com/x:1", undefined],
];

for (const [reference, place] of places)
  test(`where ${reference} is`, () => {
    const found = registryFor(parseRegistriesConf(FILE, "/x"), reference);
    assert.equal(found === undefined ? undefined : relocated(found, found.location, reference.replace(/:[^:/]*$/, "")), place);
  });

test("the longest prefix counts", () => {
  const file = `[[registry]]\nlocation="a.example/x"\n[[registry]]\nlocation="a.example"\n[[registry]]\nlocation="a.example/x/y"`;
  const registries = parseRegistriesConf(file, "/x");
  assert.equal(registryFor(registries, "a.example/x/y/z:1")?.prefix, "a.example/x/y");
  assert.equal(registryFor(registries, "a.example/x/yy:1")?.prefix, "a.example/x");
  assert.equal(registryFor(registries, "a.example/z:1")?.prefix, "a.example");
});

const bad: [name: string, text: string, message: RegExp][] = [
  ["no TOML", "[[registry]\n", /^\/x: line 1: /],
  ["a registry that is none", "registry = 1", /registry: must be written \[\[registry\]\]/],
  ["no place", "[[registry]]\ninsecure = true", /neither a prefix nor a location/],
  ["a prefix alone", '[[registry]]\nprefix = "a.example"', /it has no location/],
  ["a URL", '[[registry]]\nlocation = "https://a.example"', /must be HOST/],
  ["a place with ..", '[[registry]]\nlocation = "a.example/../b"', /must be HOST/],
  ["a port that is none", '[[registry]]\nlocation = "a.example:99999"', /must be HOST/],
  ["a place with a user", '[[registry]]\nlocation = "u:p@a.example"', /must be HOST/],
  ["a wildcard in a path", '[[registry]]\nprefix = "*.a.example/x"\nlocation = "b.example"', /"\*\." goes before/],
  ["text for a flag", '[[registry]]\nlocation = "a.example"\nblocked = "true"', /blocked: must be true or false/],
  ["twice", '[[registry]]\nlocation = "a.example"\n[[registry]]\nlocation = "a.example"', /given twice/],
  ["a mirror without a place", '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\ninsecure = true', /mirror\[0\]: it has no location/],
  ["a mirror for nothing", '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation="b.example"\npull-from-mirror = "x"', /must be all/],
  ["version 1 that blocks", '[registries.block]\nregistries = ["bad.example.com"]', /of the file's version 1/],
  ["depth", `a = ${"[".repeat(100)}${"]".repeat(100)}`, /^\/x: /],
];

for (const [name, text, message] of bad)
  test(`refused: ${name}`, () => assert.throws(() => parseRegistriesConf(text, "/x"), { code: "config-invalid", message }));

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "rkt-containers-"));
  t.after(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, "registries.conf.d"));
  return dir;
}

test("drop-ins override, by their names' order", (t) => {
  const dir = directory(t);
  assert.deepEqual(readRegistriesConf(dir), []);
  writeFileSync(join(dir, "registries.conf"), '[[registry]]\nlocation = "a.example"\nblocked = true\n[[registry]]\nlocation = "b.example"');
  writeFileSync(join(dir, "registries.conf.d/02.conf"), '[[registry]]\nprefix = "a.example"\nlocation = "two.example"');
  writeFileSync(join(dir, "registries.conf.d/01.conf"), '[[registry]]\nprefix = "a.example"\nlocation = "one.example"');
  writeFileSync(join(dir, "registries.conf.d/03.txt"), "no TOML at all [");
  const found = readRegistriesConf(dir);
  assert.deepEqual(
    found.map(({ prefix, location, blocked }) => [prefix, location, blocked]),
    [
      ["a.example", "two.example", false],
      ["b.example", "b.example", false],
    ],
  );
});

test("a file that others can write is not believed", (t) => {
  const dir = directory(t);
  const file = join(dir, "registries.conf");
  writeFileSync(file, "");
  chmodSync(file, 0o664);
  assert.throws(() => readRegistriesConf(dir), { code: "config-unsafe", hint: `chmod go-w ${file}` });
  chmodSync(file, 0o644);
  chownSync(file, 1234, 0);
  assert.throws(() => readRegistriesConf(dir), { code: "config-unsafe", message: /belongs to user 1234/ });
});
