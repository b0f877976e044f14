/** Makes an image from a manifest and a directory. */

import { statSync } from "node:fs";
import { join } from "node:path";
import { readNamed } from "../bounded-read.ts";
import { errorCode, errorText, RktError, usageError } from "../errors.ts";
import { label, parseImageManifest } from "../schema/image-manifest.ts";
import { MAX_MANIFEST_BYTES } from "../schema/json.ts";
import type { ImageManifest } from "../schema/types.ts";
import type { OutputFile } from "../output-file.ts";
import { readTree } from "./tree.ts";
import { requireSize } from "./tree-size.ts";
import { type Compression, sourceDateEpoch, type WrittenAci, writeAci } from "./writer.ts";

export interface DirectoryImage {
  /** File of the image manifest. The manifest is checked, and written as it is. */
  manifest: string;
  /** The directory that becomes the root file system. */
  rootfs: string;
  /** The file to write; by default one in `directory` that is named as the image. */
  output: string | undefined;
  directory: string;
  /** Owner of all files, in place of their own. */
  owner: { uid: number; gid: number } | undefined;
  compression: Compression;
  level: number | undefined;
  /** Bytes of its files at most; no bound by default. */
  maxSize?: number;
  /** Mode of the image's file. */
  mode?: number;
}

/**
 * Writes the image. `finish` is called with the complete file before it is renamed to `output`; if it throws, no file
 * is left.
 */
export async function writeDirectoryImage(
  image: DirectoryImage,
  finish: (file: OutputFile, output: string) => Promise<void> = async () => {},
): Promise<WrittenAci & { output: string }> {
  const { owner, level, compression, mode } = image;
  const text = readManifest(image.manifest);
  const manifest = parseImageManifest(text, { object: image.manifest });
  if (statSync(image.rootfs, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw usageError(`--rootfs: ${image.rootfs} is not a directory`);
  const output = image.output ?? join(image.directory, fileName(manifest));
  const rootfs = readTree(image.rootfs, owner === undefined ? {} : { owner });
  if (image.maxSize !== undefined) requireSize(rootfs, image.maxSize, (path) => join(image.rootfs, path));
  const written = await writeAci(
    output,
    { manifest: text, rootfs, mtime: sourceDateEpoch() },
    { compression, ...(level === undefined ? {} : { level }), ...(mode === undefined ? {} : { mode }), finish: (file) => finish(file, output) },
  );
  return { ...written, output };
}

function readManifest(path: string): string {
  try {
    return readNamed(path, MAX_MANIFEST_BYTES).toString();
  } catch (cause) {
    if (errorCode(cause) === "ENOENT") throw usageError(`--manifest: there is no ${path}`);
    throw new RktError("no-such-file", `cannot read ${path}: ${errorText(cause)}`, { cause });
  }
}

/** The value of `--owner`. */
export function parseOwner(text: string): { uid: number; gid: number } {
  const match = /^(\d{1,10}):(\d{1,10})$/.exec(text);
  if (match === null) throw usageError(`--owner takes UID:GID in numbers, not ${text}`);
  return { uid: Number(match[1]), gid: Number(match[2]) };
}

/** The file name of simple discovery (appc spec, discovery.md). Labels that the manifest lacks are left out. */
function fileName(manifest: ImageManifest): string {
  const name = manifest.name.slice(manifest.name.lastIndexOf("/") + 1);
  const labels = ["version", "os", "arch"].map((key) => label(manifest, key)?.replaceAll("/", "-"));
  return `${[name, ...labels].filter((part) => part !== undefined).join("-")}.aci`;
}
