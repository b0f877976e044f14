/** An image of the store, by its hash or the beginning of it, or by the digest that registries know it by. */

import { usageError } from "../../shared/errors.ts";
import { isDigest } from "../oci/descriptor.ts";
import type { ImageSource } from "./image-source.ts";

export interface HashReference {
  kind: "hash";
  hash: string;
}

export const hashSource: ImageSource<HashReference> = {
  kind: "hash",
  schemes: [],
  origin: "store",
  parse(text) {
    if (text.startsWith("sha256:")) {
      if (isDigest(text)) return { kind: "hash", hash: text };
      throw usageError(`image digest ${JSON.stringify(text)}: must be sha256: and 64 lower-case hex digits`);
    }
    if (!text.startsWith("sha512-")) return undefined;
    if (/^sha512-[0-9a-f]{2,128}$/.test(text)) return { kind: "hash", hash: text };
    throw usageError(
      `image hash ${JSON.stringify(text)}: must be sha512- and 2 to 128 lower-case hex digits`,
      "a file of that name is meant by ./" + text,
    );
  },
  format: ({ hash }) => hash,
  shortName: ({ hash }) => hash,
  stored: ({ hash }, store) => [store.resolve(hash)],
  find: async ({ hash }, { store }) => store.resolve(hash),
  fetch: async ({ hash }, _, { store }) => store.resolve(hash),
};
