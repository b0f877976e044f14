/**
 * From what a person calls an image to that image, and all it depends on, in
 * the store. Owns the order of things: the store or the network first, which
 * endpoint of a name, dependencies after their image, how many at once.
 */

import { existsSync } from "node:fs";
import { RktError, usageError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { LAYER_LIMITS } from "../store/layers.ts";
import { bestOf, leastProvenance, passedOverHint, rank } from "../store/provenance.ts";
import type { StoredImage } from "../store/store.ts";
import { discoverEndpoints, formatAttempts } from "./discovery.ts";
import { type Expectation, type FetchContext, unexpected } from "./fetch-context.ts";
import { fetchFile } from "./fetch-file.ts";
import { fetchUrl } from "./fetch-url.ts";
import { HttpError, withoutUrl } from "./http.ts";
import { formatImageName, type ImageName, type ImageReference } from "../store/image-name.ts";

export interface FetchRequest {
  image: ImageReference;
  /** File of the image's signature, in place of the one beside it. */
  signature?: string | undefined;
  /** Signed, whatever is turned off. */
  verified?: boolean;
}

const PARALLEL_FETCHES = 4;
/** Of dependencies; a server that invents ever new ones ends here. */
const MAX_DEPTH = LAYER_LIMITS.depth;

/**
 * In the order of the requests; the first failure ends the others. With
 * `dependencies` false an image is enough without them.
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
      const label = requests.length === 1 ? "Downloading aci" : `Downloading ${shortName(request.image)}`;
      try {
        const image = await fetchOne(request, label, { ...context, signal });
        const alone = options.dependencies === false;
        const whole = alone ? new Set([image.key]) : await fetchDependencies(image, { ...context, signal });
        // A file of the person's own can be read again; what was downloaded stays, whatever comes of the rest.
        if (request.image.kind === "file") whole.delete(image.key);
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

/** Fetches what images in the store depend on: all that one of them does, or, where the store holds back, nothing of it. */
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

/** The last part of a URL, a path or a name: what tells the bars of several images apart. */
function shortName(image: ImageReference): string {
  if (image.kind === "hash") return image.hash;
  const path = image.kind === "url" ? image.url.pathname : image.kind === "file" ? image.path : image.name;
  return path.split("/").at(-1) || path;
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
  switch (image.kind) {
    case "hash":
      return context.store.resolve(image.hash);
    case "file":
      return fetchFile(image.path, signature, context);
    case "url":
      return fetchUrl({ url: image.url, signatureFile: signature, expected: {}, label }, context);
    case "name":
      return fetchName(image, { signature, label, expected: { asked: image } }, context);
  }
}

/** The same, where signatures count even when they are turned off. */
const verifying = (context: FetchContext): FetchContext => ({
  ...context,
  insecure: new Set([...context.insecure].filter((option) => option !== "image")),
});

interface NameRequest {
  signature?: string | undefined;
  label: string;
  expected: Expectation;
}

async function fetchName(name: ImageName, request: NameRequest, from: FetchContext): Promise<StoredImage> {
  const { signature, expected, label } = request;
  // An ID leaves nothing to be vouched for.
  const context = from.least === "verified" && expected.id === undefined ? verifying(from) : from;
  const { http, pullPolicy, reporter, signal } = context;
  if (pullPolicy !== "update" && signature === undefined) {
    const stored = bestStored(expected, context);
    if (stored !== undefined) return stored;
  }
  const passedOver = bestStored(expected, { ...context, least: "none" });
  const least = context.least ?? leastProvenance(context.insecure);
  const hint =
    passedOver === undefined || rank(passedOver.provenance) >= rank(least)
      ? undefined
      : passedOverHint(shortId(passedOver.id), least);
  const text = formatImageName(name);
  if (pullPolicy === "never") {
    throw new RktError("no-such-image", `image ${text} is not in the store`, {
      hint: hint ?? "--pull-policy=new fetches it",
    });
  }

  const { found, attempts } = await discoverEndpoints(http, name, {
    signal,
    port: context.discoveryPort,
    onPlainHttp: (url) => reporter.line(`rkt: warning: image discovery over plain http: ${url}`),
  });
  let last: HttpError | undefined;
  for (const { image, signature: signatureUrl } of found) {
    try {
      return await fetchUrl({ url: image, signatureUrl, signatureFile: signature, expected, label }, context);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      attempts.push({ url: image.href, why: withoutUrl(error) });
      last = error;
    }
  }
  const elsewhere = last?.status === 404 || last?.code === "unreachable" ? undefined : last?.hint;
  throw new RktError("image-not-found", `image ${text} cannot be found: ${formatAttempts(attempts)}`, {
    hint: hint ?? (existsSync(name.name) ? `the file of that name is ./${name.name}` : (elsewhere ?? NOWHERE)),
    cause: last,
  });
}

const NOWHERE = "is the name right, its host included? an image is also a URL or a file";

function bestStored(expected: Expectation, { store, least, insecure }: FetchContext): StoredImage | undefined {
  const found = store
    .list()
    .filter((image) => unexpected(image, expected, () => store.sha256(image.key)) === undefined);
  // An ID leaves nothing to be vouched for.
  return bestOf(found, expected.id === undefined ? (least ?? leastProvenance(insecure)) : "none");
}

/** Fetches all that an image depends on; the keys of the image and those. */
async function fetchDependencies(image: StoredImage, context: FetchContext): Promise<Set<string>> {
  const done = new Set<string>();
  await fetchDependenciesOf(image, [], { done, found: new Map() }, context);
  return done;
}

interface Fetched {
  /** Keys of images whose dependencies are there. */
  done: Set<string>;
  /** What each way to ask for a dependency has come to: each is asked once. */
  found: Map<string, StoredImage>;
}

/** `path`: the images on the way here. */
async function fetchDependenciesOf(
  image: StoredImage,
  path: readonly StoredImage[],
  fetched: Fetched,
  context: FetchContext,
): Promise<void> {
  if (fetched.done.has(image.key)) return;
  const here = [...path, image];
  if (path.some(({ key }) => key === image.key)) {
    const names = here.map(({ name }) => name).join(" → ");
    throw new RktError("dependency-cycle", `image ${image.name} depends on itself: ${names}`);
  }
  if (here.length > MAX_DEPTH) {
    throw new RktError("dependency-depth", `image ${here[0]?.name}: dependencies more than ${MAX_DEPTH} deep`);
  }
  for (const { imageName, imageID, labels, size } of context.store.manifest(image.key).dependencies) {
    const asked = { name: imageName, labels };
    const expected = { asked, id: imageID, size };
    const request = { label: `Downloading ${shortName({ kind: "name", ...asked })}`, expected };
    const text = JSON.stringify([asked.name, labels, imageID, size]);
    let dependency = fetched.found.get(text);
    try {
      // An ID leaves nothing to be newer.
      const stored = dependency ?? (imageID === undefined ? undefined : bestStored(expected, context));
      dependency = stored ?? (await fetchName(asked, request, context));
    } catch (error) {
      if (!(error instanceof RktError) || context.signal?.aborted === true) throw error;
      throw new RktError(error.code, `dependency of image ${image.name}: ${error.message}`, {
        hint: error.hint,
        exitCode: error.exitCode,
        cause: error,
      });
    }
    fetched.found.set(text, dependency);
    await fetchDependenciesOf(dependency, here, fetched, context);
  }
  fetched.done.add(image.key);
}
