/** What an image must be to be the one that was asked for, before it is known what there is. */

import type { ImageID, NameValue } from "../../shared/schema/types.ts";
import { type ImageName, mismatch } from "./image-name.ts";

export interface Expectation {
  asked?: ImageName | undefined;
  /** SHA-512 or SHA-256 (`Dependency.imageID`); it may be shortened. */
  id?: string | undefined;
  /** Bytes of the file: a download is checked against it. */
  size?: number | undefined;
}

/** An expectation that a look-up by name can go by. */
export type NamedExpectation = Expectation & { asked: ImageName };

/** Why an image is not the expected one; undefined when it is. `sha256` gives the image's ID of that type. */
export function unexpected(
  image: { id: ImageID; name: string; labels: NameValue[] },
  { id, asked }: Expectation,
  sha256: () => string,
): string | undefined {
  const wrong = asked === undefined ? undefined : mismatch(image, asked);
  // An image of another name is not hashed.
  if (id === undefined || (wrong !== undefined && id.startsWith("sha256-"))) return wrong;
  return hasID(image.id, id, sha256) ? wrong : `its ID is ${id.startsWith("sha256-") ? sha256() : image.id}`;
}

/** Whether `wanted` is an image's ID, or begins it. `sha256` is called only if `wanted` is of that type. */
export function hasID(id: ImageID, wanted: string, sha256: () => string): boolean {
  return (wanted.startsWith("sha256-") ? sha256() : id).startsWith(wanted);
}
