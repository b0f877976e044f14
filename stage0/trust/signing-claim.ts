/**
 * "Simple signing": the document that is signed in an image's place, as skopeo,
 * podman and cosign write it. It claims a name and a digest. Strictly read:
 * whoever signed it may have signed others of another meaning.
 *
 * Source: containers/image, docs/containers-signature.5.md.
 */

import { RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { fields, finish, root, string } from "../../shared/schema/place.ts";
import { oneOf } from "../../shared/schema/values.ts";
import { digestRule } from "../oci/descriptor.ts";
import { formatReference, type RegistryReference, repositoryName, tryReference } from "../oci/reference.ts";

export const CLAIM_LIMIT = 64 << 10;

export const SIMPLE_SIGNING = "atomic container signature";
export const COSIGN_SIGNING = "cosign container image signature";

export interface SigningClaim {
  reference: string;
  digest: string;
}

/** `type` is what the document must say that it is. */
export function parseClaim(bytes: Uint8Array, type: string): SigningClaim {
  const object = "the signed document";
  if (bytes.length > CLAIM_LIMIT) throw new RktError("signature-malformed", `${object} has ${bytes.length} bytes, more than ${CLAIM_LIMIT}`);
  const place = root(parseJson(bytes, object), object);
  // Both tools write the members in this spelling, and Go's readers of them are strict in it.
  const critical = fields(fields(place)("critical"));
  string(critical("type"), oneOf(type));
  const reference = string(fields(critical("identity"))("docker-reference"), shortText);
  const digest = string(fields(critical("image"))("docker-manifest-digest"), digestRule);
  return finish(place, { reference, digest });
}

const shortText = (text: string) => (text.length <= 1024 ? undefined : "must not be longer than 1024 characters");

/**
 * Why the claim is not about what was asked for; undefined if it is. `bare`: a name without a tag claims every tag of it,
 * as cosign's does.
 */
export function otherClaim(
  { reference, digest }: SigningClaim,
  asked: RegistryReference,
  digests: ReadonlySet<string>,
  { bare }: { bare: boolean },
): string | undefined {
  if (!digests.has(digest)) return `it is of another image, ${digest}`;
  const claimed = tryReference(reference);
  if (claimed === undefined) return "it names no image";
  const lastPart = reference.replace(/@.*$/s, "").split("/").at(-1) ?? "";
  if (repositoryName(claimed) !== repositoryName(asked)) return `it is of ${formatReference(claimed)}`;
  if (!lastPart.includes(":")) return bare ? undefined : `it is of no tag of ${repositoryName(claimed)}`;
  return claimed.tag === asked.tag ? undefined : `it is of ${formatReference(claimed)}`;
}
