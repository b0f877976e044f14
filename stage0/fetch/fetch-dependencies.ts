/** What an image depends on, wherever the image itself came from: each dependency by its name, then those of each. */

import { RktError } from "../../shared/errors.ts";
import { LAYER_LIMITS } from "../store/layers.ts";
import type { StoredImage } from "../store/store.ts";
import { type FetchContext, leastOf } from "./fetch-context.ts";
import { fetchName } from "./fetch-name.ts";
import { lastPart } from "./image-source.ts";

/** A server that invents ever new dependencies ends here. */
const MAX_DEPTH = LAYER_LIMITS.depth;

interface Fetched {
  /** Keys of images whose dependencies are there. */
  done: Set<string>;
  /** The image of each dependency, by all that asks for it: each is fetched once. */
  found: Map<string, StoredImage>;
}

/** Fetches all that an image depends on; gives the keys of the image and of those. */
export async function fetchDependencies(image: StoredImage, context: FetchContext): Promise<Set<string>> {
  const done = new Set<string>();
  await fetchDependenciesOf(image, [], { done, found: new Map() }, context);
  return done;
}

/** `path`: the images that led here, each of which depends on the next. */
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
    const request = { label: `Downloading ${lastPart(imageName)}`, expected };
    const text = JSON.stringify([asked.name, labels, imageID, size]);
    let dependency = fetched.found.get(text);
    try {
      // Of an image with a given ID there is nothing newer.
      if (imageID !== undefined) dependency ??= context.store.best(expected, leastOf(context));
      dependency ??= await fetchName(asked, request, context);
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
