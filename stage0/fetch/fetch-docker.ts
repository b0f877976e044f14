/**
 * An image from a registry. What the tag or digest calls is asked for first; if
 * the store has that image, nothing else is. Then the platform's image is
 * found, somebody must vouch for it, and only then its layers are downloaded,
 * those that the store lacks.
 */

import { RktError, usageError } from "../../shared/errors.ts";
import { DOCUMENT_LIMIT, findPlatform } from "../oci/index.ts";
import { HOST_PLATFORM } from "../oci/platform.ts";
import { formatRegistryReference, imageNameOf, type RegistryReference } from "../oci/reference.ts";
import type { StoredImage } from "../store/store.ts";
import type { FetchContext } from "./fetch-context.ts";
import { importOci } from "./import-oci.ts";
import { knownImage, remoteUrl } from "./known-image.ts";
import { openRegistry } from "./registry.ts";
import { vouchFor } from "./vouch.ts";

export async function fetchDocker(
  reference: RegistryReference,
  signature: string | undefined,
  context: FetchContext,
): Promise<StoredImage> {
  const { store, http, insecure, pullPolicy, reporter, signal, registries, platform = HOST_PLATFORM } = context;
  const shown = formatRegistryReference(reference);
  if (signature !== undefined)
    throw usageError(`--signature is for App Container images, and ${shown} is none`, "its signatures lie in its registry or its lookaside");
  const known = knownImage(reference, platform, context);
  // Of a digest there is nothing newer.
  if (known !== undefined && (pullPolicy !== "update" || reference.digest !== undefined)) return known.image;
  if (known === undefined && pullPolicy === "never")
    throw new RktError("no-such-image", `image ${shown} is not in the store`, { hint: "--pull-policy=new fetches it" });

  reporter.line(`rkt: fetching ${shown}`);
  if (insecure.has("tls")) reporter.line("rkt: warning: the registry's certificate is not checked");
  const access = await registries();
  const registry = openRegistry(reference, { http, access, insecure, reporter, signal });
  const called = reference.digest ?? reference.tag ?? "latest";
  const top = await registry.document(called, known?.record.etag);
  if (known !== undefined && (top === "unchanged" || top.descriptor.digest === known.record.etag)) {
    store.updateRemote({ ...known.record, downloadedAt: Date.now() });
    return known.image;
  }
  if (top === "unchanged") throw new Error("an unchanged image that nobody knew");

  const found = await findPlatform(top, platform, registry.read, shown);
  const vouched = await vouchFor(
    { reference, digests: new Set([top.descriptor.digest, found.descriptor.digest]) },
    registry,
    access,
    context,
  );
  const config = await registry.blob(found.config, DOCUMENT_LIMIT);
  const documents = { name: imageNameOf(reference), reference: shown, manifest: found.bytes, config };
  return await importOci(
    store.beginOci(shown),
    { documents, layer: registry.layer },
    {
      by: reference.digest === undefined ? undefined : "digest",
      reporter,
      signal,
      remote: {
        url: remoteUrl(reference, platform),
        etag: top.descriptor.digest,
        signatureUrl: vouched.signatureUrl,
        downloadedAt: Date.now(),
      },
    },
  );
}
