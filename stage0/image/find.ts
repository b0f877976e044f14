/**
 * From what a person calls an image to an image in the store. Hashes and names
 * are looked up there, files are imported; what is elsewhere is left to
 * `fetch`.
 */

import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { RktError, usageError } from "../../shared/errors.ts";
import { DEFAULT_STAGE1_IMAGE, STAGE1_IMAGE_DIRS } from "../../shared/layout.ts";
import type { Store, StoredImage } from "../store/store.ts";
import { formatImageName, type ImageName, type ImageReference, mismatch, parseImageReference } from "./image-name.ts";

export type RemoteReference = Extract<ImageReference, { kind: "url" | "name" }>;

export interface ImageFinder {
  store: Store;
  /** Brings an image into the store; undefined when it may not. */
  fetch?: ((reference: RemoteReference, signature: string | undefined) => Promise<StoredImage>) | undefined;
  /** Whether an image in the store serves a name without asking anybody. */
  trustStore: boolean;
}

export interface WantedImage {
  reference: ImageReference;
  /** File of its signature. */
  signature?: string | undefined;
  /** An image in the store that serves without going to the reference. */
  stored?: ImageName | undefined;
}

export async function findImage(wanted: WantedImage, finder: ImageFinder): Promise<StoredImage> {
  const { reference, signature } = wanted;
  const { store, fetch } = finder;
  const served = wanted.stored === undefined ? undefined : storedByName(wanted.stored, store);
  if (served !== undefined) return served;
  switch (reference.kind) {
    case "hash":
      return store.resolve(reference.hash);
    case "file":
      return await store.importFile(reference.path);
    case "name": {
      const stored = finder.trustStore ? storedByName(reference, store) : undefined;
      if (stored !== undefined) return stored;
    }
  }
  if (fetch !== undefined) return await fetch(reference, signature);
  throw new RktError("no-such-image", `image ${describe(reference)} is not in the store`, {
    hint: reference.kind === "name" ? `a file of that name is meant by ./${reference.name}` : undefined,
  });
}

function describe(reference: RemoteReference): string {
  return reference.kind === "url" ? reference.url.href : formatImageName(reference);
}

/** The image of this name and these labels that came last. */
function storedByName(asked: ImageName, store: Store): StoredImage | undefined {
  return store
    .list()
    .filter((image) => mismatch(image, asked) === undefined)
    .sort((a, b) => b.importedAt - a.importedAt)[0];
}

// --- stage1 images ------------------------------------------------------------------------

/** Which stage1 image is asked for, and by what; undefined: the default one. */
export type Stage1Request = { by: "image" | "path" | "url" | "name" | "hash" | "from-dir"; text: string } | undefined;

/** What the configuration says of stage1 images. */
export interface Stage1Settings {
  /** A directory to look in first. */
  images?: string | undefined;
  /** The default: of this name and version in the store, or else from the location. */
  name?: string | undefined;
  version?: string | undefined;
  location?: string | undefined;
}

/** The stage1 image to take; `rkt` is the directory of the executable, where its images may lie. */
export function wantedStage1(request: Stage1Request, rkt: string, settings: Stage1Settings = {}): WantedImage {
  if (request !== undefined) return { reference: stage1Reference(request, rkt, settings) };
  const { name, version, location } = settings;
  const labels = version === undefined ? [] : [{ name: "version", value: version }];
  const stored = name === undefined ? undefined : { name, labels };
  if (location !== undefined) return { reference: parseImageReference(location), stored };
  if (stored !== undefined) return { reference: { kind: "name", ...stored }, stored };
  return { reference: { kind: "file", path: inImageDirs(DEFAULT_STAGE1_IMAGE, rkt, settings) } };
}

function stage1Reference(
  { by, text }: NonNullable<Stage1Request>,
  rkt: string,
  settings: Stage1Settings,
): ImageReference {
  if (by === "path") return { kind: "file", path: text };
  if (by === "from-dir") return { kind: "file", path: inImageDirs(text, rkt, settings) };
  const reference = parseImageReference(text);
  if (by !== "image" && reference.kind !== by && !(by === "url" && reference.kind === "file"))
    throw usageError(
      `--stage1-${by} ${JSON.stringify(text)} is a ${reference.kind}`,
      `--stage1-image takes a ${reference.kind}`,
    );
  return reference;
}

/** Where the running executable lies, links resolved. */
export function executableDirectory(): string {
  return dirname(realpathSync(process.execPath));
}

function inImageDirs(file: string, rkt: string, { images }: Stage1Settings): string {
  const dirs = [...(images === undefined ? [] : [images]), rkt, ...STAGE1_IMAGE_DIRS];
  const found = dirs.map((dir) => join(dir, file)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new RktError("no-stage1", `there is no stage1 image ${file}: looked in ${dirs.join(", ")}`, {
    hint: "put the one that came with rkt there, or give one with --stage1-image",
  });
}
