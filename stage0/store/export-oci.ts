/**
 * An OCI image out of the store: as an archive of an OCI layout or of Docker's,
 * with the bytes that came in; or squashed to an App Container image. The same
 * image gives the same bytes.
 */

import { createHash } from "node:crypto";
import { closeSync, readFileSync } from "node:fs";
import { BLOCK, header, padding } from "../../shared/aci/tar-header.ts";
import { readTree } from "../../shared/aci/tree.ts";
import { requireSize } from "../../shared/aci/tree-size.ts";
import { archive } from "../../shared/aci/writer.ts";
import { OCI_ANNOTATIONS } from "../../shared/contract/annotations.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { RktError } from "../../shared/errors.ts";
import { annotation, formatImageManifest, label } from "../../shared/schema/image-manifest.ts";
import type { ImageManifest } from "../../shared/schema/types.ts";
import { fileChunks } from "../archive/file-chunks.ts";
import { type EntrySink, TarReader } from "../archive/tar-reader.ts";
import { parseOciManifest } from "../oci/manifest.ts";
import { IMPORT_LIMITS } from "./blob-import.ts";
import type { StoredImage } from "./index-images.ts";
import { damagedLayer } from "./layer-trees.ts";
import type { ManifestReader } from "./manifest-reader.ts";
import { type LayerRef, OCI_ENTRIES, type OciContent, type OciTexts } from "./oci-content.ts";
import type { Rendering } from "./rendering.ts";
import { openTree } from "./tree-directories.ts";

export const OCI_ARCHIVES = ["oci-archive", "docker-archive"] as const;
export type OciArchive = (typeof OCI_ARCHIVES)[number];

/** The bytes of an archive that skopeo and podman read; `oci` is what the image is made of. */
export async function* ociArchive(
  layout: DataLayout,
  image: StoredImage,
  manifest: ImageManifest,
  oci: OciContent,
  format: OciArchive,
): AsyncGenerator<Buffer> {
  const texts = readTexts(layout, image.key);
  yield* format === "oci-archive" ? ociLayout(layout, manifest, oci, texts) : dockerArchive(layout, manifest, oci, texts);
  yield Buffer.alloc(2 * BLOCK);
}

async function* ociLayout(
  layout: DataLayout,
  manifest: ImageManifest,
  { digest, layers }: OciContent,
  texts: OciTexts,
): AsyncGenerator<Buffer> {
  const { mediaType, config } = parseOciManifest(texts.manifest);
  const tag = label(manifest, "version");
  const descriptor = {
    ...{ mediaType, digest, size: texts.manifest.length },
    ...(tag === undefined ? {} : { annotations: { "org.opencontainers.image.ref.name": tag } }),
  };
  yield* file("oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  yield* file("index.json", JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }));
  yield* file(blobName(digest), texts.manifest);
  yield* file(blobName(config.digest), texts.config);
  for (const layer of unique(layers)) yield* layerFile(layout, blobName(layer.digest), layer);
}

const blobName = (digest: string): string => `blobs/${digest.replace(":", "/")}`;

/** What `docker save` writes, but that layers are as they came: whoever reads them looks at their first bytes. */
async function* dockerArchive(
  layout: DataLayout,
  manifest: ImageManifest,
  { layers }: OciContent,
  texts: OciTexts,
): AsyncGenerator<Buffer> {
  const { config } = parseOciManifest(texts.manifest);
  const name = ({ digest }: LayerRef) => `${hex(digest)}.tar`;
  const tag = repositoryTag(manifest);
  const described = {
    Config: `${hex(config.digest)}.json`,
    RepoTags: tag === undefined ? null : [tag],
    Layers: layers.map(name),
  };
  yield* file("manifest.json", JSON.stringify([described]));
  yield* file(described.Config, texts.config);
  for (const layer of unique(layers)) yield* layerFile(layout, name(layer), layer);
}

/** `docker.io/library/nginx:1.25`; undefined for an image that has no tag. */
function repositoryTag(manifest: ImageManifest): string | undefined {
  const reference = annotation(manifest.annotations, OCI_ANNOTATIONS.reference) ?? "";
  const [, tagged] = /^docker:\/\/([^@]+:[\w.-]+)(?:@|$)/.exec(reference) ?? [];
  const version = label(manifest, "version");
  return version === undefined ? undefined : (tagged ?? `${manifest.name}:${version}`);
}

const hex = (digest: string): string => digest.slice("sha256:".length);
const unique = (layers: readonly LayerRef[]): Iterable<LayerRef> =>
  new Map(layers.map((layer) => [layer.digest, layer])).values();

function* file(path: string, content: string | Uint8Array): Generator<Buffer> {
  const bytes = Buffer.from(content);
  yield* member(path, bytes.length);
  yield bytes;
  if (padding(bytes.length) > 0) yield Buffer.alloc(padding(bytes.length));
}

function* member(path: string, size: number): Generator<Buffer> {
  yield header({ path, type: "file", mode: 0o644, uid: 0, gid: 0, size, mtime: 0 });
}

async function* layerFile(layout: DataLayout, path: string, layer: LayerRef): AsyncGenerator<Buffer> {
  yield* member(path, layer.size);
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of fileChunks(layout.layerBlob(layer.digest))) {
    hash.update(chunk);
    size += chunk.length;
    yield chunk;
  }
  const found = `sha256:${hash.digest("hex")}`;
  if (size !== layer.size || found !== layer.digest) throw damagedLayer(layer, `it has the digest ${found}`);
  if (padding(size) > 0) yield Buffer.alloc(padding(size));
}

/** The image's own documents, which its blob has. */
function readTexts(layout: DataLayout, key: string): OciTexts {
  const parts = new Map<string, Buffer[]>(OCI_ENTRIES.map((name) => [name, []]));
  const reader = new TarReader(({ path }): EntrySink | undefined => {
    const part = parts.get(path);
    return part && { data: (chunk) => part.push(Buffer.from(chunk)), end: () => {} };
  });
  reader.write(readFileSync(layout.blob(key)));
  reader.end();
  const [manifest, config] = OCI_ENTRIES.map((name) => Buffer.concat(parts.get(name) ?? []));
  if (manifest === undefined || config === undefined) throw new Error("a blob has two documents");
  return { manifest, config };
}

/** The bytes of an App Container image with all that the layers make together. */
export async function* squashedAci(
  layout: DataLayout,
  image: StoredImage,
  store: ManifestReader & Rendering,
): AsyncGenerator<Buffer> {
  const { id } = await renderSomehow(image, store);
  const root = await openTree(layout, id);
  try {
    const rootfs = readTree(`/proc/self/fd/${root}/.`, { times: true });
    requireSize(rootfs, IMPORT_LIMITS.archiveSize, (path) => `/${path}`);
    yield* archive({ manifest: formatImageManifest(store.manifest(image.key)), rootfs });
  } finally {
    closeSync(root);
  }
}

async function renderSomehow(image: StoredImage, store: Rendering): Promise<{ id: string }> {
  try {
    return await store.render(image.key, "none");
  } catch (error) {
    if (!(error instanceof RktError) || error.code !== "overlay-failed") throw error;
    return await store.render(image.key, "none", { merged: true });
  }
}
