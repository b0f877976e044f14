import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { Descriptor } from "./descriptor.ts";
import { findPlatform, MEDIA_TYPES, parseOciDocument } from "./index.ts";
import { OCI_CONFIG } from "./manifest.ts";
import { formatPlatform, parsePlatform, suitability } from "./platform.ts";

const { ociIndex, dockerList, ociManifest, dockerManifest } = MEDIA_TYPES;

/** Documents by their digests, as a registry has them. */
function documents() {
  const blobs = new Map<string, Buffer>();
  const add = (value: unknown, mediaType: string): Descriptor => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  return {
    image: (name: string, type: string = ociManifest) =>
      add({ schemaVersion: 2, mediaType: type, config: { ...add({ name }, OCI_CONFIG) }, layers: [] }, type),
    index: (manifests: object[], type: string = ociIndex) => add({ schemaVersion: 2, mediaType: type, manifests }, type),
    read: async ({ digest }: Descriptor) => blobs.get(digest) as Buffer,
    find: async (top: Descriptor, platform = "linux/amd64") =>
      (
        await findPlatform(
          { descriptor: top, bytes: blobs.get(top.digest) as Buffer },
          parsePlatform(platform),
          async ({ digest }) => blobs.get(digest) as Buffer,
          "image x",
        )
      ).descriptor.digest,
  };
}

const on = (text: string) => {
  const [os, architecture, variant] = text.split("/");
  return { platform: { os, architecture, ...(variant === undefined ? {} : { variant }) } };
};

test("an image is itself, whatever the platform", async () => {
  const d = documents();
  for (const type of [ociManifest, dockerManifest]) {
    const image = d.image("a", type);
    assert.equal(await d.find(image, "linux/s390x"), image.digest);
  }
});

test("an index gives the image of the platform, attestations and other kinds aside", async () => {
  const d = documents();
  const [amd, arm, arm6, arm7, note] = ["amd", "arm", "arm6", "arm7", "note"].map((name) => d.image(name));
  for (const type of [ociIndex, dockerList]) {
    const index = d.index(
      [
        { ...note, ...on("unknown/unknown") },
        { ...note, ...on("linux/amd64"), annotations: { "vnd.docker.reference.type": "attestation-manifest" } },
        { ...note, mediaType: "application/vnd.example+json", ...on("linux/amd64") },
        { ...arm, ...on("linux/arm64/v8") },
        { ...arm6, ...on("linux/arm/v6") },
        { ...arm7, ...on("linux/arm/v7") },
        { ...note, ...on("windows/amd64") },
        { ...note, ...on("linux/amd64/v3") },
        { ...amd, ...on("linux/amd64") },
      ],
      type,
    );
    assert.equal(await d.find(index), amd?.digest);
    assert.equal(await d.find(index, "linux/arm64"), arm?.digest);
    assert.equal(await d.find(index, "linux/aarch64/v8"), arm?.digest);
    assert.equal(await d.find(index, "linux/arm"), arm7?.digest);
    assert.equal(await d.find(index, "linux/arm/v8"), arm7?.digest);
    assert.equal(await d.find(index, "linux/arm/v6"), arm6?.digest);
    await assert.rejects(d.find(index, "linux/riscv64"), {
      code: "no-such-platform",
      message: "image x is not for linux/riscv64",
      hint: "it is for linux/amd64, linux/amd64/v3, linux/arm/v6, linux/arm/v7, linux/arm64/v8, windows/amd64",
    });
  }
});

test("an index in an index; what does not say its platform", async () => {
  const d = documents();
  const [amd, other] = [d.image("amd"), d.image("other")];
  const inner = d.index([{ ...amd, ...on("linux/amd64") }]);
  const empty = d.index([{ ...other, ...on("linux/s390x") }]);
  assert.equal(await d.find(d.index([empty, inner])), amd.digest);
  assert.equal(await d.find(d.index([{ ...inner, ...on("linux/amd64") }])), amd.digest);
  assert.equal(await d.find(d.index([amd])), amd.digest, "the only one");
  await assert.rejects(d.find(d.index([amd, other])), { code: "no-such-platform", hint: "it is an index without an image" });
  await assert.rejects(d.find(d.index([])), { code: "no-such-platform" });
});

test("indexes are followed to a depth, in a number, and never in circles", async () => {
  const d = documents();
  let deep = d.index([{ ...d.image("amd"), ...on("linux/amd64") }]);
  for (let i = 0; i < 3; i++) deep = d.index([deep]);
  assert.ok(await d.find(deep));
  await assert.rejects(d.find(d.index([deep])), { code: "manifest-invalid", message: /nested more than 4 deep/ });

  const leaves = Array.from({ length: 50 }, (_, i) => d.index([{ ...d.image(`i${i}`), ...on("linux/s390x") }]));
  await assert.rejects(d.find(d.index(leaves)), { code: "manifest-invalid" });

  // A source that does not check its bytes.
  const self: Descriptor = { mediaType: ociIndex, digest: `sha256:${"0".repeat(64)}`, size: 1 };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [self, self] }));
  await assert.rejects(
    findPlatform({ descriptor: self, bytes }, parsePlatform("linux/amd64"), async () => bytes, "image x"),
    { code: "no-such-platform" },
  );
});

const D = `sha256:${"a".repeat(64)}`;
const entry = { mediaType: ociManifest, digest: D, size: 1 };
const bad: [name: string, document: unknown, claimed: string | undefined, message: RegExp][] = [
  ["no object", [], undefined, /must be an object/],
  ["no version", { config: entry }, undefined, /schemaVersion: must be 2/],
  ["schema 3", { schemaVersion: 3, config: entry }, undefined, /schemaVersion: must be 2/],
  ["both kinds", { schemaVersion: 2, config: entry, manifests: [entry] }, undefined, /config: must not be in an index/],
  ["an index's type on an image", { schemaVersion: 2, config: entry, layers: [] }, ociIndex, /config: must not be in an index/],
  ["an image's type on an index", { schemaVersion: 2, manifests: [] }, ociManifest, /manifests: must not be in an image/],
  ["two types", { schemaVersion: 2, mediaType: ociIndex, manifests: [] }, ociManifest, /mediaType: must be the/],
  ["an unknown type", { schemaVersion: 2, mediaType: "text/plain", config: entry }, undefined, /mediaType: must be one of/],
  ["no list", { schemaVersion: 2, mediaType: ociIndex }, undefined, /manifests: is required/],
  ["a list that is none", { schemaVersion: 2, manifests: {} }, undefined, /manifests: must be a list/],
  ["too long a list", { schemaVersion: 2, manifests: Array(1001).fill(entry) }, undefined, /at most 1000/],
  ["a digest of another kind", { schemaVersion: 2, manifests: [{ ...entry, digest: "sha512:00" }] }, undefined, /manifests\[0\].digest: must be/],
  ["a size below 0", { schemaVersion: 2, manifests: [{ ...entry, size: -1 }] }, undefined, /size: must be an integer/],
  ["a media type with a line", { schemaVersion: 2, manifests: [{ ...entry, mediaType: "a/b\n" }] }, undefined, /must be a media type/],
  ["half a platform", { schemaVersion: 2, manifests: [{ ...entry, platform: { os: "linux" } }] }, undefined, /architecture: is required/],
  ["a strange platform", { schemaVersion: 2, manifests: [{ ...entry, platform: { os: "a b", architecture: "x" } }] }, undefined, /platform.os: must be a word/],
  ["a long name", { schemaVersion: 2, manifests: [{ ...entry, annotations: { "io.containerd.image.name": "a".repeat(2000) } }] }, undefined, /1024/],
];

for (const [name, document, claimed, message] of bad)
  test(`refused: ${name}`, () => {
    assert.throws(() => parseOciDocument(Buffer.from(JSON.stringify(document)), claimed, "image x"), {
      code: "manifest-invalid",
      message,
    });
  });

test("schema 1 is refused with a way out", () => {
  const v1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
  for (const [document, claimed] of [
    [{ schemaVersion: 1, fsLayers: [] }, v1],
    [{ schemaVersion: 1, fsLayers: [] }, "application/json"],
    [{ fsLayers: [] }, v1],
  ] as const)
    assert.throws(() => parseOciDocument(Buffer.from(JSON.stringify(document)), claimed, "image x"), {
      code: "old-image-format",
      hint: /push the image again/,
    });
});

test("platforms", () => {
  for (const [text, shown] of [
    ["linux/x86_64", "linux/amd64"],
    ["linux/arm/v7", "linux/arm/v7"],
    ["windows/amd64", "windows/amd64"],
  ] as const)
    assert.equal(formatPlatform(parsePlatform(text)), shown);
  for (const text of ["", "linux", "linux/", "/amd64", "linux/amd64/", "a/b/c/d", "Linux/amd64", "linux/amd64\n"])
    assert.throws(() => parsePlatform(text), { code: "usage" });
  const rank = (image: string, wanted: string) => suitability(parsePlatform(image), parsePlatform(wanted));
  assert.equal(rank("linux/amd64/v1", "linux/amd64"), 1);
  assert.equal(rank("linux/amd64/v3", "linux/amd64"), undefined);
  assert.equal(rank("linux/amd64", "linux/amd64/v3"), undefined);
  assert.equal(rank("linux/arm/v5", "linux/arm"), 3);
  assert.equal(rank("linux/arm/v8", "linux/arm/v7"), undefined);
});
