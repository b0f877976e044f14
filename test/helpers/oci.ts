/** OCI images made in code, as layouts on disk that other tools read, and read back from those that other tools made. */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { gzipSync, zstdCompressSync } from "node:zlib";
import assert from "node:assert/strict";
import { type Entry, tar } from "../fixtures/aci.ts";

export interface Blob {
  mediaType: string;
  digest: string;
  bytes: Buffer;
}

export interface OciImage {
  manifest: Buffer;
  config: Buffer;
  layers: Blob[];
}

export const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

type Compression = "none" | "gzip" | "zstd";

const COMPRESS: Record<Compression, (bytes: Buffer) => Buffer> = {
  none: (bytes) => bytes,
  gzip: (bytes) => gzipSync(bytes, { level: 1 }),
  zstd: (bytes) => zstdCompressSync(bytes),
};

export interface OciOptions {
  /** Of each layer in turn, and again from the first. */
  compressions?: readonly Compression[];
  /** Members of the configuration. */
  over?: object;
  /** Members of its `config`. */
  config?: object;
}

/** An image of layers, each given by its entries or as an archive. */
export function ociImage(
  layers: readonly (readonly Entry[] | Buffer)[],
  { compressions = ["gzip"], over = {}, config = {} }: OciOptions = {},
): OciImage {
  const archives = layers.map((layer) => (Buffer.isBuffer(layer) ? layer : tar(layer as readonly Entry[])));
  const blobs = archives.map((archive, i): Blob => {
    const compression = compressions[i % compressions.length] ?? "gzip";
    const bytes = COMPRESS[compression](archive);
    const suffix = compression === "none" ? "" : `+${compression}`;
    return { mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`, digest: sha256(bytes), bytes };
  });
  const text = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config,
      rootfs: { type: "layers", diff_ids: archives.map(sha256) },
      ...over,
    }),
  );
  return { manifest: ociManifest(text, blobs), config: text, layers: blobs };
}

export function ociManifest(config: Buffer, layers: readonly Blob[], over: object = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: sha256(config),
        size: config.length,
      },
      layers: layers.map(({ mediaType, digest, bytes }) => ({ mediaType, digest, size: bytes.length })),
      ...over,
    }),
  );
}

/** Writes an OCI image layout (image-spec, image-layout.md) with one image. */
export function writeLayout(dir: string, { manifest, config, layers }: OciImage, ref = "latest"): void {
  mkdirSync(join(dir, "blobs/sha256"), { recursive: true });
  for (const bytes of [manifest, config, ...layers.map((layer) => layer.bytes)])
    writeFileSync(blobPath(dir, sha256(bytes)), bytes);
  writeFileSync(join(dir, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const descriptor = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: sha256(manifest),
    size: manifest.length,
    annotations: { "org.opencontainers.image.ref.name": ref },
  };
  writeFileSync(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }));
}

const blobPath = (dir: string, digest: string): string => join(dir, "blobs", digest.replace(":", "/"));

interface Named {
  mediaType: string;
  digest: string;
}

/** The image of a layout with this reference. */
export function readLayout(dir: string, ref = "latest"): OciImage {
  const index = JSON.parse(readFileSync(join(dir, "index.json"), "utf8")) as {
    manifests: (Named & { annotations?: Record<string, string> })[];
  };
  const found = index.manifests.find(({ annotations }) => annotations?.["org.opencontainers.image.ref.name"] === ref);
  assert.ok(found, `${dir} has ${ref}`);
  const manifest = readFileSync(blobPath(dir, found.digest));
  const said = JSON.parse(manifest.toString()) as { config: Named; layers: Named[] };
  return {
    manifest,
    config: readFileSync(blobPath(dir, said.config.digest)),
    layers: said.layers.map(({ mediaType, digest }) => ({ mediaType, digest, bytes: readFileSync(blobPath(dir, digest)) })),
  };
}

/**
 * What matters of a tree, as other tools see it, sorted by name. An overlay shows no mark of its own; a stack of one layer
 * is that layer, where it can be seen.
 */
export function treeFacts(root: string): string {
  const run = (script: string): string => {
    const { status, stdout, stderr } = spawnSync("sh", ["-ec", script], { cwd: root, maxBuffer: 1 << 28 });
    assert.equal(status, 0, stderr.toString());
    return stdout.toString("latin1");
  };
  const lines = run(`find . -mindepth 1 -type d -printf '%P|%y|%m|%U|%G|%T@\\n'
find . -mindepth 1 ! -type d -printf '%P|%y|%m|%U|%G|%T@|%s|%n|%l\\n'
find . \\( -type c -o -type b \\) -exec stat -c '%n|%t:%T' {} +
find . -type f -exec sha256sum {} +
find . ! -type l -exec getfattr -h -d -m - -e hex {} + | awk '/^# file: /{name=$0; next} /=/ && !/^trusted.overlay.opaque=/{print name "|" $0}'`);
  return lines.split("\n").sort().join("\n");
}

/** Compares what `treeFacts` says of two trees; a failure shows the lines that differ. */
export function assertSameTree(actual: string, expected: string, message: string): void {
  const [have, want] = [actual.split("\n"), expected.split("\n")];
  const only = (lines: string[], others: string[]) => lines.filter((line) => !others.includes(line)).slice(0, 20);
  if (actual !== expected) assert.deepEqual(only(have, want), only(want, have), message);
  assert.equal(have.length, want.length, message);
}

/** What `umoci unpack` makes of the image: the path of the root file system. */
export function umociUnpack(layout: string, bundle: string, ref = "latest"): string {
  const { status, stderr } = spawnSync("umoci", ["unpack", "--image", `${layout}:${ref}`, bundle], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return join(bundle, "rootfs");
}

/** A store of stage 0, as far as images of layers go. */
export interface OciStore<Image> {
  beginOci(shown: string): {
    describe(documents: { name: string; reference: string; manifest: Uint8Array; config: Uint8Array }): Promise<
      readonly {
        present: boolean;
        begin(): { write(chunk: Uint8Array): Promise<void>; finish(): Promise<void>; abort(): Promise<void> };
      }[]
    >;
    finish(): Promise<unknown>;
    commit(): Promise<Image>;
    abort(): Promise<void>;
  };
}

/** Brings an image in, as a source does: all layers that are not there, at once, in small pieces. */
export async function bring<Image>(
  store: OciStore<Image>,
  image: OciImage,
  name = "example.com/oci",
  piece = 5000,
): Promise<Image> {
  const pending = store.beginOci(name);
  try {
    const layers = await pending.describe({ name, reference: `docker://${name}:1`, ...image });
    await Promise.all(
      layers.map(async (layer, i) => {
        if (layer.present) return;
        const bytes = image.layers[i]?.bytes ?? Buffer.alloc(0);
        const coming = layer.begin();
        for (let at = 0; at < bytes.length; at += piece) await coming.write(bytes.subarray(at, at + piece));
        await coming.finish();
      }),
    );
    await pending.finish();
    return await pending.commit();
  } catch (error) {
    await pending.abort();
    throw error;
  }
}
