/** Which source takes what a person calls an image, and what each makes of it. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { parseImageReference, sourceOf } from "./sources.ts";

const references: [text: string, kind: string, value: string][] = [
  ["sha512-ab", "hash", "sha512-ab"],
  [`sha512-${"0f".repeat(64)}`, "hash", `sha512-${"0f".repeat(64)}`],
  ["https://example.com/x.aci", "url", "https://example.com/x.aci"],
  ["HTTP://Example.com/x.aci#part", "url", "http://example.com/x.aci"],
  ["file:///tmp/a%20b.aci", "file", "/tmp/a b.aci"],
  ["file:/tmp/x", "file", "/tmp/x"],
  ["/tmp/x", "file", "/tmp/x"],
  ["/tmp/x:1", "file", "/tmp/x:1"],
  ["./x", "file", "./x"],
  ["../x", "file", "../x"],
  ["x.aci", "file", "x.aci"],
  ["dir/x.aci", "file", "dir/x.aci"],
  ["dir/x", "name", "dir/x"],
  ["coreos.com/etcd:v2", "name", "coreos.com/etcd"],
  ["docker://nginx", "docker", "docker.io"],
  ["DOCKER://localhost:5000/x:1", "docker", "localhost:5000"],
  ["oci:./dir", "oci", "./dir"],
  ["oci:/dir:v1", "oci", "/dir"],
  ["oci-archive:x.tar:a/b:c", "oci-archive", "x.tar"],
  ["docker-archive:/x.tar:@1", "docker-archive", "/x.tar"],
];

for (const [text, kind, value] of references) {
  test(`reference ${text}`, () => {
    const reference = parseImageReference(text);
    assert.equal(reference.kind, kind);
    assert.equal(sourceOf(reference).kind, kind);
    // What follows the kind.
    assert.equal(String(Object.values(reference)[1]), value);
  });
}

const badReferences: [text: string, message: RegExp][] = [
  ["sha512-", /must be sha512- and 2 to 128/],
  ["sha512-xyz", /must be sha512- and 2 to 128/],
  [`sha512-${"0".repeat(129)}`, /must be sha512- and 2 to 128/],
  ["ftp://example.com/x", /from https:, http:, docker: and file: only/],
  ["docker://", /there is no repository/],
  ["http://", /is malformed/],
  ["file://host/x.aci", /names no host/],
];

for (const [text, message] of badReferences) {
  test(`bad reference ${text.slice(0, 20)}`, () => {
    assert.throws(() => parseImageReference(text), { code: "usage", message });
  });
}

const shown: [text: string, format: string, shortName: string][] = [
  ["sha512-ab", "sha512-ab", "sha512-ab"],
  ["https://me:secret@example.com/dir/x.aci?key=1", "https://example.com/dir/x.aci?key=1", "x.aci"],
  ["https://example.com", "https://example.com/", "/"],
  ["./dir/x.aci", "./dir/x.aci", "x.aci"],
  ["coreos.com/etcd:v2,os=linux", "coreos.com/etcd:v2,os=linux", "etcd"],
  ["docker://me/app", "docker://docker.io/me/app:latest", "app"],
];

for (const [text, format, shortName] of shown) {
  test(`reference ${text} as people see it`, () => {
    const reference = parseImageReference(text);
    const source = sourceOf(reference);
    assert.equal(source.format(reference), format);
    assert.equal(source.shortName(reference), shortName);
  });
}

/** A file and all that loads with it. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(file, "utf8");
  for (const [, path = ""] of text.matchAll(/^(?:import|export) (?!type )(?:[^"]*? from )?"(\.[^"]*)"/gm))
    loadedWith(join(dirname(file), path), seen);
  return seen;
}

test("what every start loads of the sources is nothing of the network, of signatures or of archives", () => {
  const loaded = [...loadedWith(join(import.meta.dirname, "find.ts"))].map((file) => basename(file));
  assert.ok(loaded.includes("source-url.ts"), "it follows imports");
  const expensive = /^(?:http.*|registry(?!-hosts).*|.*registries.*|toml|import-oci|vouch|retry|download|discovery|open-fetch|fetch(?!-context).*|verify|tar-reader)\.ts$/;
  assert.deepEqual(
    loaded.filter((file) => expensive.test(file)),
    [],
  );
});
