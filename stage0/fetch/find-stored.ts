/** From what a person calls an image to one in the store, and never to the network: for commands about stored images. */

import { RktError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import type { StoredImage } from "../store/store.ts";
import type { FetchStore } from "./fetch-context.ts";
import { parseImageReference, sourceOf } from "./sources.ts";

export interface FindStoredOptions {
  /** Of several images with the name: the best one (best-image.ts), or an error that lists them. */
  several: "best" | "refuse";
}

/** `text` is a hash, a name with labels, or the URL that an image came from. */
export function findStored(text: string, store: FetchStore, { several }: FindStoredOptions): StoredImage {
  const reference = parseImageReference(text);
  const source = sourceOf(reference);
  const found = source.stored(reference, store);
  const [first] = found;
  if (first === undefined)
    throw new RktError("no-such-image", `image ${source.format(reference)} is not in the store`, {
      hint: "`rkt image list` shows the images there are",
    });
  if (found.length > 1 && several === "refuse")
    throw new RktError("ambiguous-image", `${text} is ambiguous: ${found.map(({ id }) => shortId(id)).join(", ")}`, {
      hint: "give a hash, or more labels",
    });
  // Once more, which takes the store's lock: nobody removes what is found now.
  return store.resolve(first.id);
}
