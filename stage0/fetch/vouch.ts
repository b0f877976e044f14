/** Who vouches for an image of a registry: the person who typed its digest, or a trusted key. */

import { RktError } from "../../shared/errors.ts";
import { formatRegistryReference, type RegistryReference } from "../oci/reference.ts";
import type { FetchContext } from "./fetch-context.ts";
import type { Registry } from "./registry.ts";

export interface Claim {
  reference: RegistryReference;
  /** Of the image, and of the index that led to it: a signature of either is one of the image. */
  digests: ReadonlySet<string>;
}

export interface Vouched {
  /** Of the signature that was verified. */
  signatureUrl: string | undefined;
}

/** Throws if nobody does. */
export async function vouchFor({ reference, digests }: Claim, _registry: Registry, context: FetchContext): Promise<Vouched> {
  if (context.insecure.has("image")) {
    context.reporter.line("rkt: warning: the image's signature is not checked");
    return { signatureUrl: undefined };
  }
  if (reference.digest !== undefined) return { signatureUrl: undefined };
  const [digest = ""] = digests;
  throw new RktError("no-signature", `${formatRegistryReference(reference)} is not signed by a key that is trusted for it`, {
    hint: `the image is ${formatRegistryReference({ ...reference, digest })}: with a digest that you know to be right nobody else vouches for it; --insecure-options=image does without`,
  });
}
