/** An image of a registry, by its reference: `docker://[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`. */

import { RktError } from "../../shared/errors.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import { formatPlatform, isHostPlatform, type Platform } from "../oci/platform.ts";
import {
  formatRegistryReference,
  isRegistryReference,
  parseRegistryReference,
  type RegistryReference,
} from "../oci/reference.ts";
import type { RemoteRecord, StoredImage } from "../store/store.ts";
import type { FetchStore } from "./fetch-context.ts";
import { type ImageSource, lastPart } from "./image-source.ts";

export interface DockerReference extends RegistryReference {
  kind: "docker";
}

export const dockerSource: ImageSource<DockerReference> = {
  kind: "docker",
  schemes: ["docker"],
  origin: "network",
  parse: (text) => (isRegistryReference(text) ? { kind: "docker", ...parseRegistryReference(text) } : undefined),
  format: formatRegistryReference,
  shortName: ({ repository }) => lastPart(repository),
  stored(reference, store) {
    const record = store.remote(formatRegistryReference(reference));
    return record === undefined ? [] : [store.resolve(record.key)];
  },
  async find(reference, { store, pullPolicy, insecure, platform, signature }) {
    // A tag may be another image by now; a digest is always the same one.
    if (signature !== undefined || (pullPolicy === "update" && reference.digest === undefined)) return undefined;
    return knownImage(reference, platform, { store, insecure })?.image;
  },
  async fetch(reference, { signature }, context) {
    const { fetchDocker } = await import("./fetch-docker.ts");
    return await fetchDocker(reference, signature, context);
  },
};

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
