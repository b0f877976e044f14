/** Content descriptors (image-spec, descriptor.md): what is somewhere else, by its digest and size. */

import { fields, integer, type Place, type Rule, report, string } from "../../shared/schema/place.ts";

/** A content descriptor, checked: `digest` is `sha256:` and 64 hex digits. */
export interface Descriptor {
  mediaType: string;
  digest: string;
  /** Bytes. */
  size: number;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export const isDigest = (text: string): boolean => DIGEST.test(text);

/** The specification allows other algorithms too; registries have SHA-256, and nothing here would check another one. */
export const digestRule: Rule = (text) =>
  isDigest(text) ? undefined : 'must be "sha256:" and 64 lower-case hex digits: rkt checks no other digests';

/** The largest that rkt takes; the reader of a layer has a bound of its own for what it unpacks to. */
export const MAX_BLOB_BYTES = 64 * 1024 ** 3;

/** `types`: the media types that there may be, and what else to say of another one. */
export function readDescriptor(place: Place, types: readonly string[], maxSize: number): Descriptor {
  const field = fields(place);
  const mediaType = string(field("mediaType"));
  if (mediaType !== "" && !types.includes(mediaType)) report(field("mediaType"), unknownType(types));
  return {
    mediaType,
    digest: string(field("digest"), digestRule),
    size: integer(field("size"), 0, maxSize),
  };
}

const unknownType = (types: readonly string[]): string =>
  types.length > 3 ? "must be a tar archive, as it is or compressed by gzip or zstd" : `must be ${types.join(" or ")}`;
