/** From what a person calls an image to one in the store, and never to the network: for commands about stored images. */

import { RktError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { bestOf } from "../store/provenance.ts";
import type { Store, StoredImage } from "../store/store.ts";
import { plainHref } from "./http.ts";
import { formatImageName, mismatch, parseImageReference } from "../store/image-name.ts";

export interface FindStoredOptions {
  /** Of several images of a name: the best vouched for, of those the youngest, or an error that lists them. */
  several: "youngest" | "refuse";
}

/** `text` is a hash, a name with labels, or the URL that an image came from. */
export function findStored(text: string, store: Store, { several }: FindStoredOptions): StoredImage {
  const reference = parseImageReference(text);
  switch (reference.kind) {
    case "hash":
      return store.resolve(reference.hash);
    case "url": {
      const record = store.remote(plainHref(reference.url));
      if (record === undefined) throw absent(plainHref(reference.url));
      return store.resolve(record.key);
    }
    case "name": {
      const found = store.list().filter((image) => mismatch(image, reference) === undefined);
      const first = bestOf(found, "none");
      if (first === undefined) throw absent(formatImageName(reference));
      if (found.length > 1 && several === "refuse")
        throw new RktError(
          "ambiguous-image",
          `${text} is ambiguous: ${found.map(({ id }) => shortId(id)).join(", ")}`,
          { hint: "give a hash, or more labels" },
        );
      return store.resolve(first.id);
    }
    case "file":
      throw new RktError("no-such-image", `${text} is a file, not an image in the store`, {
        hint: "give its hash or its name: `rkt image list` shows both",
      });
  }
}

const absent = (what: string): RktError =>
  new RktError("no-such-image", `image ${what} is not in the store`, {
    hint: "`rkt image list` shows the images there are",
  });
