/**
 * Who vouches for an image of a registry: the person who typed its digest, or a
 * key that is trusted for its name. Signatures are looked for where podman
 * writes them (the lookaside), and beside the image in its registry, where
 * cosign puts them. One that counts is enough.
 */

import { readBoundedBytes } from "../../shared/bounded-read.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { fileURLToPath } from "node:url";
import { parseSignatureManifest, signatureTag } from "../oci/cosign-manifest.ts";
import {
  formatRegistryReference,
  imageNameOf,
  type RegistryReference,
  repositoryName,
} from "../oci/reference.ts";
import { openSignedMessage } from "../trust/signed-message.ts";
import { CLAIM_LIMIT, COSIGN_SIGNING, otherClaim, parseClaim, SIMPLE_SIGNING } from "../trust/signing-claim.ts";
import { fetchBytes } from "./fetch-bytes.ts";
import type { FetchContext } from "./fetch-context.ts";
import { reportVerified } from "./fetch-signature.ts";
import { HttpError } from "./http-error.ts";
import type { Registry } from "./registry.ts";
import type { RegistryAccess } from "./registry-access.ts";

export interface Claim {
  reference: RegistryReference;
  /** Of the image, and of the index that led to it: a signature of either is one of the image. */
  digests: ReadonlySet<string>;
}

export interface Vouched {
  /** Of the signature that was verified. */
  signatureUrl: string | undefined;
}

/** Signatures of one image; what comes after is not looked at. */
const MAX_SIGNATURES = 10;
const SIGNATURE_LIMIT = 256 << 10;

/** Throws if nobody does. */
export async function vouchFor(
  claim: Claim,
  registry: Registry,
  access: RegistryAccess,
  context: FetchContext,
): Promise<Vouched> {
  const { reference, digests } = claim;
  if (context.insecure.has("image")) {
    if (reference.digest === undefined) context.reporter.line("rkt: warning: the image's signature is not checked");
    return { signatureUrl: undefined };
  }
  if (reference.digest !== undefined) return { signatureUrl: undefined };
  const refusals: RktError[] = [];
  for await (const { url, verify } of signaturesOf(claim, registry, access, context, refusals)) {
    try {
      reportVerified(await verify(), context.reporter);
      return { signatureUrl: url };
    } catch (error) {
      if (!(error instanceof RktError)) throw error;
      context.signal?.throwIfAborted();
      refusals.push(error);
    }
  }
  const shown = formatRegistryReference(reference);
  const [digest = ""] = digests;
  const pinned = formatRegistryReference({ ...reference, digest });
  const [first] = refusals;
  if (first !== undefined)
    throw new RktError("signature-untrusted", `nobody who is trusted vouches for ${shown}: ${[...new Set(refusals.map(({ message }) => message))].join("; ")}`, {
      hint: first.hint ?? `${pinned} needs no signature, if you know its digest to be right`,
    });
  throw new RktError("no-signature", `${shown} is not signed`, {
    hint: `if you know its digest to be right: ${pinned}; --insecure-options=image does without`,
  });
}

interface FoundSignature {
  url: string;
  /** Gives the signer's identities, or throws. */
  verify(): Promise<string[]>;
}

async function* signaturesOf(
  { reference, digests }: Claim,
  registry: Registry,
  access: RegistryAccess,
  context: FetchContext,
  refusals: RktError[],
): AsyncGenerator<FoundSignature, void, undefined> {
  const name = imageNameOf(reference);
  for (const digest of digests)
    for await (const { url, bytes } of lookasideSignatures(access.lookaside(reference), digest, context, refusals))
      yield {
        url,
        async verify() {
          const { document, signature } = await openSignedMessage(bytes);
          const check = context.beginVerification();
          check.update(document);
          const { identities } = await check.finish(signature, name);
          checkClaim(document, SIMPLE_SIGNING, false);
          return identities;
        },
      };
  for (const digest of digests)
    for await (const { document, signature } of attachedSignatures(registry, digest, refusals))
      yield {
        url: `docker://${repositoryName(reference)}:${signatureTag(digest)}`,
        async verify() {
          const { identities } = context.verifyKeyPair(document, signature, name);
          checkClaim(document, COSIGN_SIGNING, true);
          return identities;
        },
      };

  /** After the signature: nobody's document is of no interest. */
  function checkClaim(document: Uint8Array, type: string, bare: boolean): void {
    const other = otherClaim(parseClaim(document, type), reference, digests, { bare });
    if (other !== undefined)
      throw new RktError("signature-untrusted", `the signature of image ${name} does not count: ${other}`, {
        hint: "the image must be signed under the name that it is fetched by",
      });
  }
}

/** `DIRECTORY@sha256=HEX/signature-1` and so on, until one is missing. */
async function* lookasideSignatures(
  directory: URL,
  digest: string,
  { http, signal }: FetchContext,
  refusals: RktError[],
): AsyncGenerator<{ url: string; bytes: Uint8Array }, void, undefined> {
  for (let i = 1; i <= MAX_SIGNATURES; i++) {
    const url = new URL(directory);
    url.pathname = `${url.pathname}@${digest.replace(":", "=")}/signature-${i}`;
    try {
      if (url.protocol === "file:") yield { url: url.href, bytes: readBoundedBytes(fileURLToPath(url), SIGNATURE_LIMIT) };
      else yield { url: url.href, bytes: (await fetchBytes(http, url, { limit: SIGNATURE_LIMIT, signal })).bytes };
    } catch (error) {
      signal?.throwIfAborted();
      if (errorCode(error) === "ENOENT" || (error instanceof HttpError && [403, 404, 410].includes(error.status ?? 0))) return;
      refusals.push(
        error instanceof RktError ? error : new RktError("no-signature", `cannot read the signature: ${errorText(error)}`, { cause: error }),
      );
      return;
    }
  }
}

async function* attachedSignatures(
  registry: Registry,
  digest: string,
  refusals: RktError[],
): AsyncGenerator<{ document: Uint8Array; signature: Uint8Array }, void, undefined> {
  try {
    const found = await registry.find(signatureTag(digest));
    if (found === undefined) return;
    for (const { document, signature } of parseSignatureManifest(found.bytes, "the manifest of signatures"))
      yield { document: await registry.blob(document, CLAIM_LIMIT), signature };
  } catch (error) {
    if (!(error instanceof RktError)) throw error;
    refusals.push(error);
  }
}
