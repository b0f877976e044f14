/** What the store knows of a registry's reference. Small, because every start loads it. */

import { RktError } from "../../shared/errors.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import { formatPlatform, isHostPlatform, type Platform } from "../oci/platform.ts";
import { formatRegistryReference, type RegistryReference } from "../oci/reference.ts";
import type { RemoteRecord, StoredImage } from "../store/store.ts";
import type { FetchStore } from "./fetch-context.ts";

export interface KnownImage {
  record: RemoteRecord;
  image: StoredImage;
}

/** What the store's record of a reference's image is called by. */
export const remoteUrl = (reference: RegistryReference, platform: Platform): string =>
  formatRegistryReference(reference) + (isHostPlatform(platform) ? "" : ` ${formatPlatform(platform)}`);

/** The image that the reference was when it was fetched, if somebody has vouched for it: a digest vouches for itself. */
export function knownImage(
  reference: RegistryReference,
  platform: Platform,
  { store, insecure }: { store: FetchStore; insecure: ReadonlySet<InsecureOption> },
): KnownImage | undefined {
  const record = store.remote(remoteUrl(reference, platform));
  if (record === undefined) return undefined;
  const vouched = reference.digest !== undefined || record.signatureUrl !== undefined || insecure.has("image");
  if (!vouched) return undefined;
  try {
    return { record, image: store.resolve(record.key) };
  } catch (error) {
    if (error instanceof RktError && error.code === "no-such-image") return undefined;
    throw error;
  }
}
