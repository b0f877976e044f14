/**
 * From what a person calls images to those images, and all that they depend
 * on, in the store. Owns the order of things: how many images at once, what
 * they depend on after them, and what is released when. How one image is
 * fetched is for its source (image-source.ts).
 */

import { usageError } from "../../shared/errors.ts";
import type { StoredImage } from "../store/store.ts";
import { type FetchContext, verifying } from "./fetch-context.ts";
import { fetchDependencies } from "./fetch-dependencies.ts";
import { type ImageReference, sourceOf } from "./sources.ts";

export interface FetchRequest {
  image: ImageReference;
  /** File of the image's signature, in place of the one beside it. */
  signature?: string | undefined;
  /** The image must be signed, even if `--insecure-options=image` turns that off. */
  verified?: boolean;
}

const PARALLEL_FETCHES = 4;

/**
 * Gives the images in the order of the requests; the first failure ends the
 * others. With `dependencies` false, what they depend on is not fetched.
 */
export async function fetchImages(
  requests: readonly FetchRequest[],
  context: FetchContext,
  options: { dependencies?: boolean } = {},
): Promise<StoredImage[]> {
  const stop = new AbortController();
  const signal = context.signal === undefined ? stop.signal : AbortSignal.any([context.signal, stop.signal]);
  const images: StoredImage[] = [];
  let failure: { error: unknown } | undefined;
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < requests.length && failure === undefined; i = next++) {
      const request = requests[i] as FetchRequest;
      const source = sourceOf(request.image);
      const label = `Downloading ${requests.length === 1 ? "aci" : source.shortName(request.image)}`;
      try {
        const image = await fetchOne(request, label, { ...context, signal });
        const alone = options.dependencies === false;
        const whole = alone ? new Set([image.key]) : await fetchDependencies(image, { ...context, signal });
        if (source.origin === "host") whole.delete(image.key);
        await context.store.release(whole);
        images[i] = image;
      } catch (error) {
        failure ??= { error };
        stop.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL_FETCHES, requests.length) }, worker));
  if (failure !== undefined) throw failure.error;
  return images;
}

/**
 * Fetches what images that are in the store depend on. If the store holds imports, the dependencies of an image appear in
 * it when all of them are there.
 */
export async function completeImages(images: readonly StoredImage[], context: FetchContext): Promise<void> {
  for (const image of images) {
    const whole = await fetchDependencies(image, context);
    whole.delete(image.key);
    await context.store.release(whole);
  }
}

export async function fetchImage(request: FetchRequest, context: FetchContext): Promise<StoredImage> {
  const [image] = await fetchImages([request], context);
  return image as StoredImage;
}

async function fetchOne(
  { image, signature, verified }: FetchRequest,
  label: string,
  from: FetchContext,
): Promise<StoredImage> {
  const context = verified === true ? verifying(from) : from;
  if (signature !== undefined && context.insecure.has("image")) {
    throw usageError("--signature has no use where --insecure-options=image turns signatures off");
  }
  context.signal?.throwIfAborted();
  return await sourceOf(image).fetch(image, { signature, label }, context);
}
