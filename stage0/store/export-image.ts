/** Writes images of the store as archives and as directories. Each appears whole, or not at all. */

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { gzip } from "../../shared/aci/gzip.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type DataLayout, dataLayout } from "../../shared/contract/data-directory.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { OutputFile } from "../../shared/output-file.ts";
import { formatImageManifest } from "../../shared/schema/image-manifest.ts";
import { callersMode } from "../host/caller-mask.ts";
import { OutputDirectory } from "../host/output-directory.ts";
import { openBlob } from "./blob.ts";
import type { OciArchive } from "./export-oci.ts";
import type { MustCheck } from "./layers.ts";
import type { ManifestReader } from "./manifest-reader.ts";
import type { Provenance } from "./provenance.ts";
import type { Rendering } from "./rendering.ts";
import type { StoredImage } from "./index-images.ts";
import type { OciContent } from "./oci-content.ts";
import { extractAt, renderAt } from "./trees.ts";

export interface ExportOptions {
  format: "aci" | OciArchive;
  compress: boolean;
  overwrite: boolean;
}

export async function exportImage(
  data: string,
  image: StoredImage,
  store: ManifestReader & Rendering,
  file: string,
  { format, compress, overwrite }: ExportOptions,
): Promise<void> {
  const layout = dataLayout(data);
  const source = store.treeSource("none");
  const oci = source.oci(image.key);
  if (oci === undefined && format !== "aci")
    throw new RktError("bad-request", `image ${shortId(image.id)} is an App Container image, which is no ${format}`, {
      hint: "leave --format out",
    });
  const chunks =
    oci === undefined
      ? blobChunks(layout, image.key, source.mustCheck)
      : await ociChunks(layout, image, store, oci, format);
  let target: OutputFile | undefined;
  try {
    target = new OutputFile(file, { mode: callersMode(0o666) });
    const output = target.stream();
    // A stream may keep a chunk, and the reader uses its buffer again: each chunk is copied.
    const copied = Readable.from(copies(chunks), { objectMode: false, highWaterMark: 1 << 20 });
    await (compress ? pipeline(copied, (input: AsyncIterable<Buffer>) => gzip(input), output) : pipeline(copied, output));
    target.place({ overwrite, flush: true });
  } catch (error) {
    throw writeError(file, error);
  } finally {
    target?.close();
  }
}

async function ociChunks(
  layout: DataLayout,
  image: StoredImage,
  store: ManifestReader & Rendering,
  content: OciContent,
  format: ExportOptions["format"],
): Promise<AsyncIterable<Buffer>> {
  const { ociArchive, squashedAci } = await import("./export-oci.ts");
  return format === "aci"
    ? squashedAci(layout, image, store)
    : ociArchive(layout, image, store.manifest(image.key), content, format);
}

async function* blobChunks(layout: DataLayout, key: string, mustCheck: MustCheck): AsyncGenerator<Buffer> {
  const blob = await openBlob(layout, key, mustCheck(key));
  try {
    yield* blob.chunks();
    await blob.verify();
  } finally {
    await blob.close();
  }
}

async function* copies(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) yield Buffer.from(chunk);
}

export interface DirectoryOptions {
  /** With what the image depends on, as a container sees it; otherwise only what the image itself has. */
  dependencies: boolean;
  /** Of what it depends on. */
  least: Provenance;
  /** The root file system alone, at the target itself. */
  rootfsOnly: boolean;
  overwrite: boolean;
}

/** Makes a directory with `manifest` and `rootfs/`. */
export async function writeDirectory(
  data: string,
  image: StoredImage,
  store: ManifestReader & Rendering,
  target: string,
  { dependencies, least, rootfsOnly, overwrite }: DirectoryOptions,
): Promise<void> {
  const layout = dataLayout(data);
  let output: OutputDirectory | undefined;
  try {
    output = new OutputDirectory(target);
    const directory = output.path;
    if (!rootfsOnly) {
      mkdirSync(directory, { mode: 0o700 });
      const manifest = formatImageManifest(store.manifest(image.key));
      writeFileSync(`${directory}/manifest`, manifest, { mode: callersMode(0o666) });
    }
    const rootfs = rootfsOnly ? directory : `${directory}/rootfs`;
    if (dependencies) await renderAt(layout, image.key, store.treeSource(least), rootfs);
    else await extractAt(layout, image.key, store.treeSource(least), rootfs);
    // Files of the image may be set-user-ID root, or owned by users who are others on this machine: only root gets at them.
    chmodSync(directory, 0o700);
    output.place(overwrite);
  } catch (error) {
    throw writeError(target, error);
  } finally {
    output?.close();
  }
}

function writeError(target: string, error: unknown): unknown {
  if (error instanceof RktError || errorCode(error) === undefined) return error;
  return new RktError("write-failed", `cannot write ${target}: ${errorText(error)}`, { cause: error });
}
