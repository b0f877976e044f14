/** Finds images in the store: by hash, by name, or all of them. */

import { RktError } from "../../shared/errors.ts";
import { KEY_DIGITS, shortId } from "../../shared/contract/image-ids.ts";
import type { Dependency, ImageManifest } from "../../shared/schema/types.ts";
import { isDigest } from "../oci/descriptor.ts";
import { bestOf, candidatesOf, passedOverHint } from "./best-image.ts";
import { hasID, type NamedExpectation } from "./expectation.ts";
import { allImages, imagesByDigest, imagesByName, imagesByPrefix, type StoredImage } from "./index-images.ts";
import type { ManifestReader } from "./manifest-reader.ts";
import type { Provenance } from "./provenance.ts";
import type { StoreState } from "./store-state.ts";

/** Images of the store, with those that this process holds (held-imports.ts). */
export interface ImageLookup {
  /**
   * The one image whose ID begins with `prefix` ("sha512-" may be left out). By the digest of an OCI image's manifest, the
   * one that came last.
   */
  resolve(prefix: string): StoredImage;
  /** All images, by name. */
  list(): StoredImage[];
  /** The images that fit a name, best first (best-image.ts). */
  candidates(expected: NamedExpectation): StoredImage[];
  /** The image that a name stands for (best-image.ts). */
  best(expected: NamedExpectation, least: Provenance): StoredImage | undefined;
  /** The image that a dependency stands for; throws when there is none. */
  dependency(of: ImageManifest, dependency: Dependency, least: Provenance): StoredImage;
}

export function imageLookup(
  { lock, index, held, damaged }: StoreState,
  sha256: ManifestReader["sha256"],
): ImageLookup {
  /** Adds the images that are held. One that another process has stored meanwhile is the index's. */
  const withHeld = (indexed: readonly StoredImage[]): StoredImage[] => {
    const images = new Map(held.all().map((image) => [image.key, image]));
    for (const image of indexed) if (!damaged.has(image.key)) images.set(image.key, image);
    return [...images.values()];
  };

  const lookup: ImageLookup = {
    resolve(prefix) {
      if (/^sha256-[0-9a-f]{32,64}$/.test(prefix)) return resolveSha256(prefix);
      if (isDigest(prefix)) return resolveDigest(prefix);
      const digits = prefix.replace(/^sha512-/, "").toLowerCase();
      if (!/^[0-9a-f]{2,128}$/.test(digits))
        throw new RktError("bad-hash", `"${prefix}" is no image hash`, {
          hint: "a hash is sha512- and at least 2 hex digits",
        });
      lock.share();
      const indexed = imagesByPrefix(index, `sha512-${digits.slice(0, KEY_DIGITS)}`);
      const found = withHeld(indexed).filter((one) => one.id.startsWith(`sha512-${digits}`));
      const [first] = found;
      if (first === undefined)
        throw new RktError("no-such-image", `no image ${prefix} in the store`, {
          hint: "`rkt image list` shows the images there are",
        });
      if (found.length > 1)
        throw new RktError(
          "ambiguous-image",
          `${prefix} is ambiguous: ${found.map((one) => shortId(one.id)).join(", ")}`,
          { hint: "give more digits" },
        );
      return first;
    },

    list: () => withHeld(allImages(index)),

    candidates: (expected) => candidatesOf(withHeld(imagesByName(index, expected.asked.name)), expected, sha256),

    best(expected, least) {
      if (bestOf(lookup.candidates(expected), expected, least) === undefined) return undefined;
      // Once more under the lock: nobody removes what is found now. Without an image there is nothing to lock.
      lock.share();
      return bestOf(lookup.candidates(expected), expected, least);
    },

    dependency(of, dependency, least) {
      lock.share();
      const { imageName, imageID, labels } = dependency;
      const expected = { asked: { name: imageName, labels }, id: imageID };
      const candidates = lookup.candidates(expected);
      const best = bestOf(candidates, expected, least);
      if (best !== undefined) return best;
      throw new RktError(
        "no-such-image",
        `image ${of.name} depends on ${describeDependency(dependency)}, which is not in the store`,
        { hint: passedOverHint(candidates, expected, least) ?? `\`rkt fetch ${imageName}\` brings it` },
      );
    },
  };

  function resolveDigest(digest: string): StoredImage {
    lock.share();
    const [found] = withHeld(imagesByDigest(index, digest))
      .filter((image) => image.digest === digest)
      .sort((a, b) => b.importedAt - a.importedAt);
    if (found !== undefined) return found;
    throw new RktError("no-such-image", `no image ${digest} in the store`, {
      hint: "`rkt image list --full` shows the digests there are",
    });
  }

  /** The index has no column of these: each image is hashed, once. */
  function resolveSha256(prefix: string): StoredImage {
    const found = lookup.list().find(({ id, key }) => hasID(id, prefix, () => sha256(key)));
    if (found !== undefined) return found;
    throw new RktError("no-such-image", `no image ${prefix} in the store`, {
      hint: "that is an ID of before 0.2.0 of the specification: fetch the image of it by its name or file",
    });
  }

  return lookup;
}

function describeDependency({ imageName, labels, imageID }: Dependency): string {
  const parts = labels.map(({ name, value }) => `${name}=${value}`);
  if (imageID !== undefined) parts.push(shortId(imageID));
  return parts.length === 0 ? imageName : `${imageName} (${parts.join(", ")})`;
}
