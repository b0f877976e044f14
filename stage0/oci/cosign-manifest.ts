/**
 * What cosign puts beside an image in its registry: a manifest under the tag
 * `sha256-DIGEST.sig`, of which each layer is a signed document, with its
 * signature in an annotation.
 *
 * Source: cosign, specs/SIGNATURE_SPEC.md.
 */

import { parseJson } from "../../shared/schema/json.ts";
import { absent, fields, finish, items, optionalString, report, root } from "../../shared/schema/place.ts";
import { type Descriptor, readDescriptor } from "./descriptor.ts";

export interface AttachedSignature {
  document: Descriptor;
  signature: Uint8Array;
}

const SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE = "dev.cosignproject.cosign/signature";
const MAX_SIGNATURES = 20;
const MAX_DOCUMENT = 64 << 10;

export const signatureTag = (digest: string): string => `${digest.replace(":", "-")}.sig`;

/** Signatures of other kinds, without an annotation, are passed over. */
export function parseSignatureManifest(bytes: Uint8Array, object: string): AttachedSignature[] {
  const place = root(parseJson(bytes, object), object);
  const layers = items(fields(place)("layers"));
  if (layers.length > MAX_SIGNATURES) report(place, `must have at most ${MAX_SIGNATURES} signatures`);
  const found = layers.slice(0, MAX_SIGNATURES).flatMap((layer): AttachedSignature[] => {
    const get = fields(layer);
    if (get("mediaType").value !== SIMPLE_SIGNING || absent(get("annotations"))) return [];
    const text = optionalString(fields(get("annotations"))(SIGNATURE), base64);
    if (text === undefined) return [];
    return [{ document: readDescriptor(layer, [SIMPLE_SIGNING], MAX_DOCUMENT), signature: Buffer.from(text, "base64") }];
  });
  return finish(place, found);
}

const base64 = (text: string) =>
  text.length <= 4096 && /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? undefined : "must be base64 of at most 4096 characters";
