/**
 * Which image a name stands for. Every look-up by name goes through here: that
 * of `rkt run` and `rkt fetch`, of commands about stored images, and of what
 * an image depends on. docs/use/trust.md has the rules for users:
 *
 * 1. The image has that name and the labels that were asked for, and it is not
 *    for another operating system or processor unless that was asked for
 *    (`mismatch`). If an ID was given, the image has it.
 * 2. Its provenance is at least the one that the caller demands. An ID says
 *    which image is meant, so that nobody needs to vouch for its name.
 * 3. Of several, the one of the best provenance is meant; of those, the one
 *    that was imported last.
 */

import { shortId } from "../../shared/contract/image-ids.ts";
import { type NamedExpectation, unexpected } from "./expectation.ts";
import type { StoredImage } from "./index-images.ts";
import { type Provenance, rank } from "./provenance.ts";

/** The images that rule 1 admits, in the order of rule 3. `sha256` gives the ID of that type of the image with this key. */
export function candidatesOf(
  images: readonly StoredImage[],
  expected: NamedExpectation,
  sha256: (key: string) => string,
): StoredImage[] {
  return images
    .filter((image) => unexpected(image, expected, () => sha256(image.key)) === undefined)
    .sort((a, b) => rank(b.provenance) - rank(a.provenance) || b.importedAt - a.importedAt);
}

/** The image that a name stands for, of its candidates; undefined if rule 2 admits none. */
export function bestOf(
  candidates: readonly StoredImage[],
  { id }: NamedExpectation,
  least: Provenance,
): StoredImage | undefined {
  const [first] = candidates;
  return first === undefined || (id === undefined && rank(first.provenance) < rank(least)) ? undefined : first;
}

/** The hint about an image that would be meant, if somebody vouched for its name; undefined if there is none. */
export function passedOverHint(
  candidates: readonly StoredImage[],
  expected: NamedExpectation,
  least: Provenance,
): string | undefined {
  const [first] = candidates;
  if (first === undefined || bestOf(candidates, expected, least) !== undefined) return undefined;
  const otherWay = least === "verified" ? " or its file" : ", or --insecure-options=image";
  return `${shortId(first.id)} has that name, but no trusted key has signed it: give its hash${otherWay}`;
}
