import assert from "node:assert/strict";
import { test } from "node:test";
import { errorCode } from "../../shared/errors.ts";
import { MAX_LAYERS, OCI_LAYER, parseOciManifest } from "./manifest.ts";

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest: digest("1"), size: 10 };
const layer = { mediaType: OCI_LAYER, digest: digest("2"), size: 20 };
const manifest = (over: object = {}): object => ({ schemaVersion: 2, config, layers: [layer], ...over });
const parse = (value: object | string) =>
  parseOciManifest(Buffer.from(typeof value === "string" ? value : JSON.stringify(value)));

test("an OCI manifest and one of Docker's", () => {
  const docker = {
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    config: { ...config, mediaType: "application/vnd.docker.container.image.v1+json" },
    layers: [{ ...layer, mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", urls: ["https://example.com"] }],
  };
  assert.deepEqual(parse(manifest()), {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: [layer],
  });
  assert.equal(parse(docker).mediaType, docker.mediaType);
  assert.deepEqual(parse(manifest({ layers: [] })).layers, []);
  for (const suffix of ["+gzip", "+zstd"])
    assert.equal(parse(manifest({ layers: [{ ...layer, mediaType: `${OCI_LAYER}${suffix}` }] })).layers.length, 1);
});

const refused: [name: string, value: object | string, code: string, message: RegExp][] = [
  ["no JSON", "<html>", "manifest-invalid", /expected a value/],
  ["a list", "[]", "manifest-invalid", /must be an object/],
  ["two of a name", '{"schemaVersion":2,"schemaVersion":2}', "manifest-invalid", /schemaVersion: is given twice/],
  ["schema 1", { schemaVersion: 1, fsLayers: [] }, "old-image-format", /schema 1/],
  ["schema 3", manifest({ schemaVersion: 3 }), "manifest-invalid", /schemaVersion: must be an integer from 2 to 2/],
  ["no schema", { config, layers: [] }, "manifest-invalid", /schemaVersion: is required/],
  ["an index", { schemaVersion: 2, manifests: [] }, "manifest-invalid", /manifests: must not be there/],
  ["both at once", manifest({ manifests: [] }), "manifest-invalid", /manifests: must not be there/],
  ["the type of an index", manifest({ mediaType: "application/vnd.oci.image.index.v1+json" }), "manifest-invalid", /mediaType: must be/],
  ["a chart", manifest({ config: { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" } }), "not-an-image", /something else than an image: application\/vnd.cncf/],
  ["no configuration", { schemaVersion: 2, layers: [] }, "manifest-invalid", /config: is required/],
  ["another hash", manifest({ layers: [{ ...layer, digest: `sha512:${"a".repeat(128)}` }] }), "manifest-invalid", /layers\[0\].digest: must be "sha256:"/],
  ["a digest that is a path", manifest({ layers: [{ ...layer, digest: "sha256:../../etc" }] }), "manifest-invalid", /layers\[0\].digest/],
  ["capitals", manifest({ config: { ...config, digest: digest("A") } }), "manifest-invalid", /config.digest/],
  ["a size below 0", manifest({ layers: [{ ...layer, size: -1 }] }), "manifest-invalid", /layers\[0\].size: must be an integer/],
  ["a size that is no number", manifest({ layers: [{ ...layer, size: "20" }] }), "manifest-invalid", /layers\[0\].size/],
  ["a size of a petabyte", manifest({ layers: [{ ...layer, size: 2 ** 50 }] }), "manifest-invalid", /layers\[0\].size/],
  ["a huge configuration", manifest({ config: { ...config, size: 5_000_000 } }), "manifest-invalid", /config.size/],
  ["an encrypted layer", manifest({ layers: [{ ...layer, mediaType: `${OCI_LAYER}+gzip+encrypted` }] }), "manifest-invalid", /layers\[0\].mediaType: must be a tar archive/],
  ["too many layers", manifest({ layers: Array(MAX_LAYERS + 1).fill(layer) }), "manifest-invalid", /layers: must not be more than/],
  ["a string for layers", manifest({ layers: "none" }), "manifest-invalid", /layers: must be a list/],
];

for (const [name, value, code, message] of refused)
  test(`a manifest is refused: ${name}`, () => {
    assert.throws(() => parse(value), (error: Error) => errorCode(error) === code && message.test(error.message));
  });
