/** An image of a registry, by its reference: `docker://[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`. */

import {
  formatRegistryReference,
  isRegistryReference,
  parseRegistryReference,
  type RegistryReference,
} from "../oci/reference.ts";
import { type ImageSource, lastPart } from "./image-source.ts";
import { knownImage } from "./known-image.ts";

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
