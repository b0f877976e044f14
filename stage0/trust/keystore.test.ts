import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { addKey, type KeystoreDirs, keysFor, listKeys, removeKey } from "./keystore.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const C = "c".repeat(64);

/** Files below the trustedkeys of "system" and "local"; "" is an empty one. */
function keystore(t: TestContext, files: Record<string, string> = {}): KeystoreDirs {
  const base = mkdtempSync(join(tmpdir(), "rkt-keystore-"));
  t.after(() => rmSync(base, { recursive: true }));
  for (const [path, content] of Object.entries(files)) {
    const [layer = "", ...below] = path.split("/");
    const file = join(base, layer, "trustedkeys", ...below);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
  return { systemConfig: join(base, "system"), localConfig: join(base, "local") };
}

const lookups: { name: string; files: string[]; masks?: string[]; image?: string; keys: string[] }[] = [
  { name: "no keystore", files: [], keys: [] },
  { name: "root keys are for all", files: [`local/root.d/${A}`, `system/root.d/${B}`], keys: [A, B] },
  { name: "a prefix is for itself", files: [`local/prefix.d/example.com/app/${A}`], keys: [A] },
  { name: "and for what is below", files: [`local/prefix.d/example.com/${A}`], keys: [A] },
  { name: "it ends with a path component", files: [`local/prefix.d/example.com/ap/${A}`], keys: [] },
  { name: "nor is it for what is above", files: [`local/prefix.d/example.com/app/x/${A}`], keys: [] },
  { name: "a host is no suffix", files: [`local/prefix.d/ample.com/${A}`], keys: [] },
  { name: "fingerprints of both lengths", files: [`local/root.d/${A}`, `local/root.d/${C}`], keys: [A, C] },
  {
    name: "names that are no fingerprints",
    files: [`local/root.d/README`, `local/root.d/${A}.bak`, `local/root.d/${A.toUpperCase()}`, `local/root.d/${A}1`],
    keys: [],
  },
  { name: "a directory is no key", files: [`local/root.d/${A}/x`], keys: [] },
  { name: "a mask", files: [`system/root.d/${A}`, `system/root.d/${B}`], masks: [`local/root.d/${A}`], keys: [B] },
  { name: "a mask by the vendor himself", files: [`local/root.d/${A}`], masks: [`system/root.d/${A}`], keys: [A] },
  {
    name: "a mask for a prefix",
    files: [`system/prefix.d/example.com/${A}`],
    masks: [`local/prefix.d/example.com/${A}`],
    keys: [],
  },
  {
    name: "a key as a prefix's directory",
    files: [`local/prefix.d/example.com/${A}`],
    image: `example.com/${A}`,
    keys: [A],
  },
];

for (const { name, files, masks = [], image = "example.com/app", keys } of lookups)
  test(`keys for an image: ${name}`, (t) => {
    const content = [...files.map((path) => [path, "key"]), ...masks.map((path) => [path, ""])];
    const found = keysFor(keystore(t, Object.fromEntries(content)), image);
    assert.deepEqual(found.map(({ fingerprint }) => fingerprint).sort(), keys);
  });

test("a mask holds for its own place: root and prefixes are apart", (t) => {
  const files = { [`system/root.d/${A}`]: "key", [`local/prefix.d/example.com/${A}`]: "" };
  const listed = listKeys(keystore(t, files)).map(({ prefix, trusted }) => [prefix, trusted]);
  assert.deepEqual(listed, [
    [undefined, true],
    ["example.com", false],
  ]);
});

test("all keys, by prefix and fingerprint", (t) => {
  const dirs = keystore(t, {
    [`local/prefix.d/example.com/app/${A}`]: "key",
    [`system/prefix.d/example.com/${B}`]: "key",
    [`local/prefix.d/example.com/${A}`]: "key",
    [`local/root.d/${B}`]: "key",
    [`system/root.d/${A}`]: "key",
  });
  const listed = listKeys(dirs).map(({ prefix, fingerprint }) => [prefix, fingerprint]);
  assert.deepEqual(listed, [
    [undefined, A],
    [undefined, B],
    ["example.com", A],
    ["example.com", B],
    ["example.com/app", A],
  ]);
});

test("a key is written whole, for all to read, whatever the umask", (t) => {
  const dirs = keystore(t);
  const umask = process.umask(0o077);
  t.after(() => process.umask(umask));
  const path = addKey(dirs, { fingerprint: A, armored: "armored", prefix: "example.com/app" });
  assert.equal(path, join(dirs.localConfig, "trustedkeys/prefix.d/example.com/app", A));
  assert.equal(readFileSync(path, "utf8"), "armored");
  assert.equal(statSync(path).mode & 0o777, 0o644);
  assert.equal(statSync(dirname(path)).mode & 0o777, 0o755);
  addKey(dirs, { fingerprint: A, armored: "renewed", prefix: "example.com/app" });
  assert.equal(readFileSync(path, "utf8"), "renewed");
  assert.deepEqual(readdirSync(dirname(path)), [A]);
});

test("a key that can't be written leaves nothing", (t) => {
  const dirs = keystore(t, { [`local/root.d/${A}/x`]: "a directory where the key would be" });
  assert.throws(() => addKey(dirs, { fingerprint: A, armored: "armored", prefix: undefined }), {
    code: "keystore-unwritable",
    message: /^cannot change the trusted keys: rename .*: EISDIR$/,
  });
  assert.deepEqual(readdirSync(join(dirs.localConfig, "trustedkeys/root.d")), [A]);
});

const removals: { name: string; files: Record<string, string>; done: string; left: string | undefined }[] = [
  { name: "this machine's key", files: { [`local/root.d/${A}`]: "key" }, done: "removed", left: undefined },
  { name: "a vendor's key", files: { [`system/root.d/${A}`]: "key" }, done: "masked", left: "" },
  {
    name: "a key of both",
    files: { [`system/root.d/${A}`]: "key", [`local/root.d/${A}`]: "key" },
    done: "masked",
    left: "",
  },
  {
    name: "over a vendor's empty file",
    files: { [`system/root.d/${A}`]: "", [`local/root.d/${A}`]: "key" },
    done: "removed",
    left: undefined,
  },
];

for (const { name, files, done, left } of removals)
  test(`remove: ${name}`, (t) => {
    const dirs = keystore(t, files);
    const [key] = keysFor(dirs, "example.com/app");
    assert.ok(key !== undefined);
    assert.equal(removeKey(dirs, key), done);
    assert.deepEqual(keysFor(dirs, "example.com/app"), []);
    const path = join(dirs.localConfig, "trustedkeys/root.d", A);
    assert.equal(left === undefined ? statSync(path, { throwIfNoEntry: false }) : readFileSync(path, "utf8"), left);
  });

for (const place of ["", "trustedkeys", "trustedkeys/root.d", `trustedkeys/root.d/${A}`])
  for (const [what, spoil] of [
    ["everybody can write", (path: string) => chmodSync(path, statSync(path).mode | 0o002)],
    ["belongs to another", (path: string) => chownSync(path, 1234, 0)],
  ] as const)
    test(`not believed: ${place || "the configuration directory"}, which ${what}`, (t) => {
      if (process.geteuid?.() !== 0) return t.skip("not root");
      const dirs = keystore(t, { [`local/root.d/${A}`]: "key" });
      const path = join(dirs.localConfig, place);
      spoil(path);
      const refused = { code: "keystore-unsafe", message: /^\/\S+ decides whom to trust, and / };
      assert.throws(() => keysFor(dirs, "example.com/app"), refused);
      assert.throws(() => listKeys(dirs), refused);
      if (!path.endsWith(A))
        assert.throws(() => addKey(dirs, { fingerprint: B, armored: "x", prefix: undefined }), refused);
    });

test("a group may write, as rkt's own does", (t) => {
  const dirs = keystore(t, { [`local/root.d/${A}`]: "key" });
  for (const place of ["trustedkeys", "trustedkeys/root.d"]) chmodSync(join(dirs.localConfig, place), 0o2775);
  assert.equal(keysFor(dirs, "example.com/app").length, 1);
});
