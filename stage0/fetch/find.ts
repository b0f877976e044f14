/**
 * From what a person calls an image to an image in the store. What can be had
 * without the network is found here; only for the rest is `fetch.ts` loaded,
 * with all that it needs, so that a start of a stored image does not pay for it.
 */

import { existsSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import { HOST_PLATFORM, type Platform } from "../oci/platform.ts";
import { formatImageName, type ImageName, mismatch } from "../store/image-name.ts";
import { leastProvenance, type Provenance } from "../store/provenance.ts";
import type { StoredImage } from "../store/store.ts";
import type { FetchContext, FetchStore, PullPolicy } from "./fetch-context.ts";
import { type ImageReference, parseImageReference, sourceOf } from "./sources.ts";

export interface ImageFinder {
  store: FetchStore;
  pullPolicy: PullPolicy;
  insecure: ReadonlySet<InsecureOption>;
  /** Undefined: this machine's. */
  platform?: Platform | undefined;
  /** Opens the network; called when an image needs it. */
  network(): Promise<FetchContext>;
}

/** What a person wrote. A text that is no reference is the path of a file, if there is such a file. */
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
  /** Name of the image. One in the store that has the name is taken without looking at the reference. */
  stored?: ImageName | undefined;
}

/**
 * Gives the images in the order of `wanted`, when they and all that they depend on are in the store. An image that is
 * found by its name has at least the provenance `least`.
 */
export async function findImages(
  wanted: readonly WantedImage[],
  finder: ImageFinder,
  least = leastProvenance(finder.insecure),
): Promise<StoredImage[]> {
  const here: (StoredImage | undefined)[] = [];
  for (const one of wanted) here.push(await findHere(one, finder, least));
  const elsewhere = wanted.flatMap(({ reference, signature, stored }, i) =>
    // A location that stands for a name needs the provenance that the name does.
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

/** An image from the location of a name must have that name. */
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

/** Undefined if it takes the network, or a signature is to be verified. */
async function findHere(wanted: WantedImage, finder: ImageFinder, least: Provenance): Promise<StoredImage | undefined> {
  const { reference, signature, stored } = wanted;
  const { store, pullPolicy, insecure, platform = HOST_PLATFORM } = finder;
  const serves = stored === undefined ? undefined : store.best({ asked: stored }, least);
  return serves ?? (await sourceOf(reference).find(reference, { store, pullPolicy, insecure, platform, signature, least }));
}
