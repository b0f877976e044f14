/**
 * From what a person calls an image to an image in the store. What can be had
 * without the network is found here, for a start that costs nothing; `fetch`
 * and all it needs is loaded for the rest.
 */

import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { RktError, usageError } from "../../shared/errors.ts";
import { DEFAULT_STAGE1_IMAGE, STAGE1_IMAGE_DIRS } from "../../shared/contract/configuration.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import type { Stage1Settings } from "../config/settings.ts";
import { bestOf, leastProvenance, type Provenance } from "../store/provenance.ts";
import type { Store, StoredImage } from "../store/store.ts";
import type { FetchContext, PullPolicy } from "./fetch-context.ts";
import { formatImageName, type ImageName, type ImageReference, mismatch, parseImageReference } from "../store/image-name.ts";
import { signaturePaths } from "./signature-paths.ts";

export interface ImageFinder {
  store: Store;
  pullPolicy: PullPolicy;
  insecure: ReadonlySet<InsecureOption>;
  /** Opens the network at first need. */
  network(): Promise<FetchContext>;
}

/** What a person wrote: a file, too, that no image can be called. */
export function imageReference(text: string): ImageReference {
  try {
    return parseImageReference(text);
  } catch (error) {
    if (existsSync(text)) return { kind: "file", path: text };
    throw error;
  }
}

export interface WantedImage {
  reference: ImageReference;
  /** File of its signature. */
  signature?: string | undefined;
  /** An image in the store that serves without going to the reference. */
  stored?: ImageName | undefined;
}

/** The images, in order, and in the store all they depend on; by name, those that are `least` at least. */
export async function findImages(
  wanted: readonly WantedImage[],
  finder: ImageFinder,
  least = leastProvenance(finder.insecure),
): Promise<StoredImage[]> {
  const here: (StoredImage | undefined)[] = [];
  for (const one of wanted) here.push(await findHere(one, finder, least));
  const elsewhere = wanted.flatMap(({ reference, signature, stored }, i) =>
    // A location that stands for a name counts as the name does.
    here[i] === undefined
      ? { image: reference, signature, verified: least === "verified" && stored !== undefined }
      : [],
  );
  const dependent = here.filter((image) => image !== undefined && hasDependencies(image, finder)) as StoredImage[];
  if (elsewhere.length === 0 && dependent.length === 0) return asNamed(wanted, here as StoredImage[]);

  const { completeImages, fetchImages } = await import("./fetch.ts");
  const context = { ...(await finder.network()), least };
  await completeImages(dependent, context);
  const fetched = await fetchImages(elsewhere, context);
  return asNamed(
    wanted,
    here.map((image) => image ?? (fetched.shift() as StoredImage)),
  );
}

/** What stands for an image of some name must be one. */
function asNamed(wanted: readonly WantedImage[], images: StoredImage[]): StoredImage[] {
  for (const [i, { stored }] of wanted.entries()) {
    const image = images[i];
    if (stored === undefined || image === undefined) continue;
    const wrong = mismatch(image, stored);
    if (wrong === undefined) continue;
    throw new RktError("wrong-image", `the image at the location of ${formatImageName(stored)} is another: ${wrong}`, {
      hint: "correct the name, the version or the location: `rkt config` shows them",
    });
  }
  return images;
}

const hasDependencies = ({ key }: StoredImage, { store }: ImageFinder): boolean =>
  store.manifest(key).dependencies.length > 0;

/** Undefined when it takes the network, or a signature is to be verified. */
async function findHere(wanted: WantedImage, finder: ImageFinder, least: Provenance): Promise<StoredImage | undefined> {
  const { reference, signature } = wanted;
  const { store, pullPolicy } = finder;
  const served = wanted.stored === undefined ? undefined : storedByName(wanted.stored, store, least);
  if (served !== undefined) return served;
  switch (reference.kind) {
    case "hash":
      return store.resolve(reference.hash);
    case "file":
      return signature === undefined && !isSigned(reference.path, finder)
        ? await store.importFile(reference.path)
        : undefined;
    case "name":
      return pullPolicy === "update" || signature !== undefined ? undefined : storedByName(reference, store, least);
    case "url":
      return undefined;
  }
}

/** Whether a signature lies beside the file, and counts. */
function isSigned(path: string, { insecure }: ImageFinder): boolean {
  return !insecure.has("image") && signaturePaths(path).some((beside) => existsSync(beside));
}

/** The image that this name and these labels stand for. */
function storedByName(asked: ImageName, store: Store, least: Provenance): StoredImage | undefined {
  return bestOf(
    store.list().filter((image) => mismatch(image, asked) === undefined),
    least,
  );
}

// --- stage1 images ------------------------------------------------------------------------

/** Which stage1 image is asked for, and by what; undefined: the default one. */
export type Stage1Request = { by: "image" | "path" | "url" | "name" | "hash" | "from-dir"; text: string } | undefined;

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
  const reference = imageReference(text);
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
