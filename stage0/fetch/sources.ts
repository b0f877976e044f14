/** The sources of images there are, and which of them a person's text is for. */

import { usageError } from "../../shared/errors.ts";
import type { ImageSource } from "./image-source.ts";
import { dockerArchiveSource } from "./source-docker-archive.ts";
import { dockerSource } from "./source-docker.ts";
import { fileSource } from "./source-file.ts";
import { hashSource } from "./source-hash.ts";
import { nameSource } from "./source-name.ts";
import { ociArchiveSource } from "./source-oci-archive.ts";
import { ociSource } from "./source-oci.ts";
import { urlSource } from "./source-url.ts";

/** The first one that can parse a text gets it. The last one takes nearly everything. */
const SOURCES = [hashSource, urlSource, dockerSource, ociSource, ociArchiveSource, dockerArchiveSource, fileSource, nameSource] as const;

type ReferenceOf<Source> = Source extends ImageSource<infer Reference> ? Reference : never;

/** What a person called an image, as one of the sources has parsed it. */
export type ImageReference = ReferenceOf<(typeof SOURCES)[number]>;

export function parseImageReference(text: string): ImageReference {
  for (const source of SOURCES) {
    const reference = source.parse(text);
    if (reference !== undefined) return reference;
  }
  const schemes = SOURCES.flatMap((source) => source.schemes).map((scheme) => `${scheme}:`);
  const list = `${schemes.slice(0, -1).join(", ")} and ${schemes.at(-1)}`;
  throw usageError(`image URL ${JSON.stringify(text)}: rkt fetches from ${list} only`);
}

/** The source that has parsed the reference. */
export function sourceOf(reference: ImageReference): ImageSource<ImageReference> {
  const source = SOURCES.find(({ kind }) => kind === reference.kind);
  // Each source takes the references of its own kind alone, which TypeScript cannot see here.
  return source as ImageSource<never> as ImageSource<ImageReference>;
}
