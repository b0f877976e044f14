/** Layers that nobody's tool makes: what they must not do. What they may do is judged by umoci (store/oci-layers.test.ts). */

import assert from "node:assert/strict";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, tar } from "../../test/fixtures/aci.ts";
import { dir, file, hard, symlink } from "../../test/fixtures/oci-images.ts";
import { LAYER_LIMITS, LayerAlone, LayersMerged, type LayerNotes } from "./layer.ts";
import { TarReader } from "./tar-reader.ts";

/** A root, and beside it something that no layer may reach. */
function roots(t: TestContext): { root: string; outside: string } {
  const base = mkdtempSync(join(tmpdir(), "rkt-layer-"));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  const [root, outside] = [join(base, "root"), join(base, "outside")];
  for (const path of [root, outside]) mkdirSync(path);
  writeFileSync(join(outside, "secret"), "untouched");
  return { root, outside };
}

function read(entries: readonly Entry[], extractor: Pick<LayerAlone, "entry">): void {
  const reader = new TarReader((entry) => extractor.entry(entry), LAYER_LIMITS);
  reader.write(tar(entries));
  reader.end();
}

function alone(root: string, entries: readonly Entry[]): LayerNotes {
  const extractor = new LayerAlone(root, () => {});
  try {
    read(entries, extractor);
    return extractor.finish();
  } finally {
    extractor.close();
  }
}

function merged(root: string, layers: readonly (readonly Entry[])[]): void {
  const extractor = new LayersMerged(root, () => {});
  try {
    for (const entries of layers) {
      extractor.nextLayer();
      read(entries, extractor);
    }
    extractor.finish();
  } finally {
    extractor.close();
  }
}

const strange: [name: string, entry: Entry, message: RegExp][] = [
  ["a whiteout of nothing", { name: ".wh." }, /names nothing that can be removed/],
  ["a whiteout of nothing, deeper", { name: "a/.wh." }, /names nothing/],
  ["a whiteout of the directory", { name: "a/.wh.." }, /names nothing/],
  ["a whiteout of the directory above", { name: "a/.wh..." }, /names nothing/],
  ["a whiteout of a whiteout", { name: ".wh..wh.a" }, /names nothing/],
  ["a whiteout with a slash at its end", { name: ".wh./" }, /an empty file, and no directory/],
  ["a whiteout of a name, with a slash", { name: ".wh.a/" }, /an empty file, and no directory/],
  ["a whiteout that is a directory", dir(".wh.a"), /an empty file, and no directory/],
  ["a whiteout that is a link", symlink(".wh.a", "/"), /an empty file, and no symlink/],
  ["a whiteout that is a device", { name: ".wh.a", type: "3", device: [1, 3] }, /an empty file, and no character/],
  ["an opaque marker that is a directory", dir("a/.wh..wh..opq"), /an empty file, and no directory/],
  ["a file in a whiteout", file(".wh.a/b"), /a whiteout is no directory/],
  ["a file in an opaque marker", file("a/.wh..wh..opq/b"), /a whiteout is no directory/],
  ["a name that leads up", file("../outside/secret"), /has a component ".."/],
  ["a whiteout that leads up", { name: "../outside/.wh.secret" }, /has a component ".."/],
  ["an absolute name that leads up", file("/../outside/secret"), /has a component ".."/],
  ["an overlay's whiteout", { name: "w", type: "3", device: [0, 0] }, /a character device 0:0/],
  [
    "an overlay's attribute",
    dir("a", { pax: { "SCHILY.xattr.trusted.overlay.opaque": "y" } }),
    /is not allowed in an image/,
  ],
  ["an overlay's redirection", dir("a", { pax: { "SCHILY.xattr.trusted.overlay.redirect": "/b" } }), /is not allowed/],
  ["a hard link out", hard("a", "../outside/secret"), /outside of the image/],
  ["a hard link to the root", hard("a", "/"), /outside of the image/],
  ["a name that is too deep", file("deep", "x", { pax: { path: `${"d/".repeat(600)}f` } }), /more than 512 components/],
];
for (const [name, entry, message] of strange)
  test(`a layer is refused: ${name}`, (t) => {
    const { root, outside } = roots(t);
    assert.throws(() => alone(root, [entry]), message);
    assert.throws(() => merged(root, [[dir("a"), file("b")], [entry]]), message);
    assert.equal(readFileSync(join(outside, "secret"), "utf8"), "untouched");
  });

const inside: [name: string, link: string][] = [
  ["absolute", "OUTSIDE"],
  ["up", "../../../../../../../../../../OUTSIDE"],
  ["by a link to the root", "r/OUTSIDE"],
];
for (const [name, target] of inside)
  test(`a link that leads out leads nowhere else: ${name}`, (t) => {
    const { root, outside } = roots(t);
    const link = target.replace("OUTSIDE", outside);
    const below = [symlink("r", "/"), symlink("l", link)];
    merged(root, [
      below,
      [file("l/secret", "mine"), file("l/new"), { name: "l/.wh.old" }],
      [{ name: "l/.wh..wh..opq" }, hard("h", "r")],
    ]);
    assert.equal(readFileSync(join(outside, "secret"), "utf8"), "untouched");
    assert.deepEqual(readdirSync(outside), ["secret"]);
  });

test("a link of the host below the root is not followed out", (t) => {
  const { root, outside } = roots(t);
  symlinkSync(outside, join(root, "l"));
  alone(root, [file("l/secret", "mine"), { name: "l/.wh.other" }]);
  assert.equal(readFileSync(join(outside, "secret"), "utf8"), "untouched");
  assert.deepEqual(readdirSync(outside), ["secret"]);
});

test("links in a circle are an error, and not for ever", (t) => {
  const { root } = roots(t);
  assert.throws(() => alone(root, [symlink("a", "b"), symlink("b", "a"), file("a/x")]), /more than 40 links/);
});

test("a whiteout does not follow a link at its end", (t) => {
  const { root, outside } = roots(t);
  merged(root, [
    [symlink("l", outside), dir("d"), file("d/x"), symlink("m", "d")],
    [{ name: ".wh.l" }, { name: ".wh.m" }],
  ]);
  assert.deepEqual(readdirSync(root), ["d"]);
  assert.deepEqual(readdirSync(join(root, "d")), ["x"]);
  assert.deepEqual(readdirSync(outside), ["secret"]);
});

test("a file over a directory that is not there yet, and the other way round", (t) => {
  const { root } = roots(t);
  merged(root, [[dir("a"), file("a/b")], [dir("a"), file("a/b/c")], [file("a")]]);
  assert.ok(lstatSync(join(root, "a")).isFile());
});

test("what a layer alone notes", (t) => {
  const { root } = roots(t);
  const notes = alone(root, [
    dir("a"),
    { name: "a/.wh.x" },
    file("b/c/d"),
    { name: "e/.wh..wh..opq" },
    { name: ".wh.f" },
    dir("f"),
  ]);
  assert.deepEqual(notes, {
    entered: ["b", "b/c", "e"],
    implied: ["b", "b/c", "e"],
    whiteouts: ["a/x"],
    opaque: new Set(["e", "f"]),
    again: false,
  });
  assert.ok(lstatSync(join(root, "a/x")).isCharacterDevice());
});

test("a layer without an end marker, and one with a hard link to what is not there", (t) => {
  const { root } = roots(t);
  const extractor = new LayerAlone(root, () => {});
  t.after(() => extractor.close());
  const reader = new TarReader((entry) => extractor.entry(entry), LAYER_LIMITS);
  reader.write(tar([file("a")], { end: false }));
  reader.end();
  const { root: other } = roots(t);
  assert.equal(alone(other, [hard("b", "a"), file("c")]).again, true);
  const { root: third } = roots(t);
  assert.throws(() => merged(third, [[hard("b", "a")]]), /hard link to "a", which is not there/);
});
